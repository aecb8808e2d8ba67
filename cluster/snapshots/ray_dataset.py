"""A snapshot as a `ray.data.Dataset`: each task reads one data file straight from storage."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pyarrow as pa

from parquedb.cluster.client.connection import Connection
from parquedb.cluster.loads.direct_storage import open_storage
from parquedb.cluster.runtime import secrets
from parquedb.cluster.snapshots.hold import data_files
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.storage.compaction.merge_schema import Schema
from parquedb.storage.files import deletions
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.snapshot import Part, SnapshotContent, Wanted, memory_table, tables


def dataset(connection: Connection, content: SnapshotContent) -> Any:
    """Return the dataset; nothing is read yet but the documents that are in no file."""
    import ray.data  # noqa: PLC0415 - a second to import, which nobody else needs

    settings, *_ = connection.pickled()
    shared = pickle.dumps((settings, content.namespace, dict(content.schema)))
    rows = [{"part": pickle.dumps(_packed(part)), "shared": shared} for part in content.parts]
    memory = ray.data.from_arrow(memory_table(content.memory, Wanted(content.schema)))
    if not rows:
        return memory
    stored = ray.data.from_items(rows, override_num_blocks=len(rows))
    return stored.map_batches(_read, batch_size=1, batch_format="pyarrow").union(memory)


def _packed(part: Part) -> tuple[dict[str, Any], bytes | None]:
    return part.file.to_wire(), None if part.dead is None else deletions.encode(part.dead.copy())


def _read(batch: pa.Table) -> Iterator[pa.Table]:
    for part, shared in zip(batch.column("part").to_pylist(), batch.column("shared").to_pylist(), strict=True):
        settings, namespace, schema = pickle.loads(shared)  # noqa: S301 - made by `dataset`
        wire, dead = pickle.loads(part)  # noqa: S301 - as above
        yield from asyncio.run(_tables(secrets.recover(settings), namespace, schema, wire, dead))


async def _tables(
    settings: Settings, namespace: str, schema: Schema, wire: dict[str, Any], dead: bytes | None
) -> list[pa.Table]:
    file = DataFile.from_wire(wire)
    part = Part(file, None if dead is None else deletions.decode(dead, key=file.key, rows=file.rows))
    storage = open_storage(settings, HookRegistry())
    files = data_files(storage, settings, namespace)
    try:
        found: AsyncIterator[pa.Table] = tables(files, part, Wanted(schema))
        # Ray needs a schema even of a file without rows that count.
        empty = pa.schema(list(schema.items())).empty_table()
        return [table async for table in found] or [empty]
    finally:
        files.close()
        await storage.close()

"""A namespace as of one moment, as columns: every live row of every file, and of what is in no file yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from parquedb.errors import CorruptionError, SnapshotNotFoundError
from parquedb.storage.compaction.merge_schema import Schema, conform
from parquedb.storage.files import deletions, residual
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN, SEQ_COLUMN, ColumnRegistry, column_type
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.files.row_groups import Footer, decode_group, stored_schema
from parquedb.storage.files.shred import Columns, one_chunk, unshred
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.query.scan_plan import ScanSnapshot

_DELETED: Final = "deletedAt"
_SOMETIMES: Final = frozenset({"createdBy", "updatedBy", "deletedAt", "deletedBy"})


@dataclass(frozen=True, slots=True)
class Part:
    """One data file and what counts of it.

    Attributes:
        file: The file.
        dead: Its dead rows.
    """

    file: DataFile
    dead: BitMap | None


@dataclass(frozen=True, slots=True)
class SnapshotContent:
    """What a snapshot is made of; see `parquedb.actors.reads.snapshots.describe`.

    Attributes:
        namespace: Whose it is.
        parts: The data files.
        memory: Rows that are in no file.
        schema: All columns: `$id`, `$seq`, the namespace's fields, `$residual`.
    """

    namespace: str
    parts: tuple[Part, ...]
    memory: pa.Table
    schema: Schema

    @classmethod
    def of(cls, namespace: str, wire: Mapping[str, Any]) -> SnapshotContent:
        """Rebuild it from what the owner sent."""
        prefix = namespace_prefix(namespace)
        parts = []
        for one in wire["files"]:
            file = DataFile.from_wire(one)
            dead = wire["dead"].get(file.key)
            bitmap = None if dead is None else deletions.decode(dead, key=prefix + file.key, rows=file.rows)
            parts.append(Part(file, bitmap))
        columns = ColumnRegistry.from_wire(wire["registry"]).columns
        schema = {ID_COLUMN: column_type(columns[ID_COLUMN]), SEQ_COLUMN: pa.int64()}
        schema |= {name: column_type(column) for name, column in columns.items() if name != ID_COLUMN}
        schema[RESIDUAL_COLUMN] = pa.string()
        memory = pa.ipc.open_stream(wire["memory"]).read_all()
        return cls(namespace, tuple(parts), memory, schema)

    def scan(self, files: DataFiles) -> ScanSnapshot:
        """Return it as queries want it; its files are added to `files`."""
        for part in self.parts:
            files.add(part.file, dead=part.dead)
        return ScanSnapshot.of(files, unshred(self.memory))

    def present_columns(self) -> dict[str, pa.DataType]:
        """Return the columns and their types, without those of the database that no document has."""
        seen = set(self.memory.column_names).union(*(part.file.stats for part in self.parts))
        return {name: kind for name, kind in self.schema.items() if name not in _SOMETIMES or name in seen}

    def residual_fields(self) -> frozenset[str]:
        """Return the top-level fields of which some document has a value in `$residual`."""
        texts = self.memory.column(RESIDUAL_COLUMN).drop_null().to_pylist()
        in_memory = frozenset().union(*map(residual.decode, texts))
        return in_memory.union(*(part.file.residual_paths for part in self.parts))

    def arrow_schema(self, columns: Sequence[str] | None = None) -> pa.Schema:
        """Return the schema of `tables`."""
        return pa.schema([(name, self.schema[name]) for name in (columns if columns is not None else self.schema)])


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows and columns of a snapshot somebody wants.

    Attributes:
        schema: All columns of the snapshot.
        columns: Those wanted; None for all.
        include_deleted: Whether soft-deleted documents count.
    """

    schema: Schema
    columns: Sequence[str] | None = None
    include_deleted: bool = False

    def of(self, columns: Columns, length: int) -> pa.Table:
        """Return the wanted columns of rows that count, in the snapshot's schema."""
        names = self.schema if self.columns is None else dict.fromkeys((*columns, *self.columns))
        table, _ = conform(columns, {name: self.schema[name] for name in names}, length)
        return table if self.columns is None else table.select(list(self.columns))

    def stored(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of the columns of a file have to be read."""
        if self.columns is None:
            return names
        # `$residual` takes up what does not fit, `deletedAt` tells which documents are hidden.
        needed = dict.fromkeys([*self.columns, _DELETED, ID_COLUMN, RESIDUAL_COLUMN])
        return [name for name in needed if name in names]


def memory_table(memory: pa.Table, wanted: Wanted) -> pa.Table:
    """Return the rows that are in no file, in the snapshot's schema."""
    if not wanted.include_deleted and _DELETED in memory.column_names:
        memory = memory.filter(memory.column(_DELETED).is_null())
    return wanted.of({name: one_chunk(memory.column(name)) for name in memory.column_names}, memory.num_rows)


async def tables(files: DataFiles, part: Part, wanted: Wanted) -> AsyncIterator[pa.Table]:
    """Yield the rows of one file that count, a row group at a time.

    Raises:
        SnapshotNotFoundError: the file is gone: nobody held it.
        CorruptionError: it is altered or not what the manifest says.
    """
    data, footer = await borrowed(files, part.file)
    for group in range(footer.groups):
        try:
            table = await files.run(partial(_group, data, footer, group, part.dead, wanted))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            reason = f"row group {group} cannot be decoded: {error}"
            raise files.cache.corruption(part.file.key, reason, error) from error
        if table.num_rows:
            yield table


async def borrowed(files: DataFiles, file: DataFile) -> tuple[bytes, Footer]:
    """Return the object of a file and its structure; raises like `tables`."""
    try:
        return await files.cache.borrow(file)
    except CorruptionError as error:
        raise explained(error) from error


def explained(error: CorruptionError) -> CorruptionError | SnapshotNotFoundError:
    """Return why an object of a snapshot cannot be read: one that is missing was collected."""
    if error.cause is None or type(error.cause).__name__ != "ObjectNotFoundError":
        return error
    message = f"the snapshot was let go and its object {error.key!r} has been collected; take a new one"
    return SnapshotNotFoundError(message, cause=error)


def counts_whole(part: Part) -> bool:
    """Whether all rows of a file count: none is dead, and none is of a soft-deleted document."""
    return not part.dead and _DELETED not in part.file.stats


def has_schema(data: bytes, footer: Footer, schema: Schema) -> bool:
    """Whether the columns of an object are of the types they have in a snapshot; some may be missing."""
    return all(field.name in schema and field.type == schema[field.name] for field in stored_schema(data, footer))


def _group(data: bytes, footer: Footer, group: int, dead: BitMap | None, wanted: Wanted) -> pa.Table:
    arrays = decode_group(data, footer, group, wanted.stored(footer.names))
    live = deletions.live_mask(dead, footer.starts[group], footer.starts[group + 1])
    if not wanted.include_deleted and _DELETED in arrays:
        live &= arrays[_DELETED].is_null().to_numpy(zero_copy_only=False)
    if not live.all():
        rows = pa.array(np.flatnonzero(live))
        arrays = {name: array.take(rows) for name, array in arrays.items()}
    return wanted.of(arrays, int(np.count_nonzero(live)))

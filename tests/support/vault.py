"""A stored namespace whose bytes a test changes by hand, from single bits to forgeries with right checksums."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from pyroaring import BitMap

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.writes.commit_group import BulkRequest
from parquedb.clock import SystemClock
from parquedb.errors import CorruptionError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.bulk.load_entry import Bulk
from parquedb.storage.bulk.load_file import Plan, build
from parquedb.storage.bulk.table import rows_of
from parquedb.storage.files import deletions
from parquedb.storage.files.column_stats import column_stats
from parquedb.storage.files.data_file import DataFile, write_table
from parquedb.storage.files.partial_reads import tail_of
from parquedb.storage.log.entry import LogEntry, decode_entry, encode_entry, entry_key, position_of
from parquedb.storage.log.manifest import Manifest, checksum, decode_manifest, encode_manifest, object_key
from parquedb.storage.verification.report import Level, VerificationReport
from parquedb.storage.verification.verifier import Verifier
from tests.support.engines import NAMESPACE, inline, opened, run, settings

PREFIX = f"{NAMESPACE}/"


async def furnish(store: StorageBackend) -> None:
    """Store a namespace that has some of everything: epochs, files, dead rows, a load, segments of each kind.

    Its newest manifest folds some entries into tail segments, and some entries follow it.
    """
    async with opened(store, checkpoint_entries_max=100) as owner:
        await run(owner, "create_many", body=[{"$id": f"a{n:02}", "n": n, "t": f"text {n}"} for n in range(20)])
        await run(owner, "update", "a00", {"$set": {"odd": None}}, request="once")
        await owner.flush()
        for n in range(5):
            await run(owner, "update", f"a{n:02}", {"$inc": {"n": 100}}, request=f"r{n}")
        await run(owner, "delete", "a19", hard=True)
        await owner.flush()
        await run(owner, "create", "mixed", {"n": "no number", "deep": {"er": [1, "x"]}})
        await owner.flush()
    async with opened(store, checkpoint_entries_max=8) as owner:
        await load(owner, store, [f"b{n:02}" for n in range(10)])
        await owner.flush()
        for n in range(9):
            await run(owner, "create", f"c{n}", {"n": n})
        await run(owner, "update", "a05", {"$set": {"n": -1}})
        while not owner._data.tails:
            await asyncio.sleep(0)
    async with opened(store, checkpoint_entries_max=100) as owner:
        await run(owner, "create", "last", {"n": 1})
        await run(owner, "update", "a06", {"$set": {"n": -2}})
        await run(owner, "delete", "b03")


async def load(owner: NamespaceEngine, store: StorageBackend, ids: list[str], *, number: int = 1) -> None:
    """Load documents in bulk; each load has a number of its own."""
    state = owner._data
    key = object_key("data", state.epoch, f"{number:032x}", ".parquet")
    plan = Plan(NAMESPACE, datetime.now(UTC), None, "$id", state.registry)
    built = build(key, rows_of(pa.table({"$id": ids, "n": list(range(len(ids)))}), plan, 0), plan)
    await store.create(state.prefix + key, built.data)
    landed: asyncio.Future[LogEntry | None] = asyncio.get_running_loop().create_future()
    bulk = Bulk((built.file,), built.columns, ())
    owner._writer.submit_bulk(BulkRequest(lambda: bulk, landed))
    await landed


@asynccontextmanager
async def directory(folder: Path) -> AsyncIterator[LocalBackend]:
    """A directory as a store, closed at the end."""
    store = LocalBackend(folder)
    try:
        yield store
    finally:
        await store.close()


async def verified(store: StorageBackend, level: Level = Level.FULL, **changes: Any) -> VerificationReport:
    """Verify the namespace."""
    made = Verifier(store, NAMESPACE, settings(**changes), clock=SystemClock(), level=level, run=inline)
    return await made.verify()


class Vault:
    """The namespace in a directory, as bytes. Keys are relative to the namespace.

    Attributes:
        folder: The database's directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = folder / NAMESPACE

    # Bytes.

    def path(self, key: str) -> Path:
        return self._root / key

    def read(self, key: str) -> bytes:
        return self.path(key).read_bytes()

    def put(self, key: str, data: bytes) -> str:
        self.path(key).write_bytes(data)
        return key

    def flip(self, key: str, at: int | None = None) -> str:
        """Change one bit."""
        data = bytearray(self.read(key))
        data[len(data) // 2 if at is None else at] ^= 1
        return self.put(key, bytes(data))

    def cut(self, key: str, by: int = 1) -> str:
        """Cut bytes off the end."""
        return self.put(key, self.read(key)[:-by])

    def drop(self, key: str) -> str:
        self.path(key).unlink()
        return key

    def swap(self, one: str, other: str) -> tuple[str, str]:
        first, second = self.read(one), self.read(other)
        self.put(one, second)
        self.put(other, first)
        return one, other

    def keys(self, folder: str) -> list[str]:
        return sorted(f"{folder}/{path.name}" for path in (self._root / folder).iterdir())

    def digest(self) -> str:
        """Return a digest of every name and byte below the database's directory."""
        total = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            total.update(f"{path.relative_to(self.folder)} {path.stat().st_mtime_ns}".encode())
            total.update(path.read_bytes() if path.is_file() else b"")
        return total.hexdigest()

    # The log.

    @property
    def tail(self) -> int:
        return max(position_of(key) for key in self.keys("log"))

    def entry(self, position: int) -> LogEntry:
        return decode_entry("", self.read(entry_key(position)))

    def forge(self, position: int, *, body: bytes | None = None, **header: Any) -> str:
        """Change facts of an entry, checksum and all."""
        entry = self.entry(position)
        facts = {name: getattr(entry.header, name) for name in entry.header.__struct_fields__}
        made = LogEntry(type(entry.header)(**{**facts, **header}), entry.body if body is None else body)
        return self.put(entry_key(position), encode_entry(made))

    def fresh(self, kind: str) -> int:
        """Return the position of the newest entry of a kind above the newest manifest."""
        return max(
            position
            for position in range(self.manifest.through + 1, self.tail + 1)
            if self.entry(position).header.kind == kind
        )

    # The manifest.

    @property
    def base(self) -> Any:
        return self.entry(self.tail).header.base

    @property
    def manifest(self) -> Manifest:
        return decode_manifest("", self.read(self.base.manifest))

    def forge_manifest(self, **changes: Any) -> str:
        """Change facts of the manifest, with its checksum and with every entry that names it."""
        base = self.base
        data = encode_manifest(replace(self.manifest, **changes))
        self.put(base.manifest, data)
        self._rename_base(base, {"checksum": checksum(data)})
        return str(base.manifest)

    def _rename_base(self, base: Any, changes: Mapping[str, Any]) -> None:
        facts = {name: getattr(base, name) for name in base.__struct_fields__}
        for key in self.keys("log"):
            try:
                entry = decode_entry("", self.read(key))
            except CorruptionError:
                continue
            if entry.header.base == base:
                self.forge(position_of(key), base=type(base)(**{**facts, **changes}))

    # Data files.

    @property
    def files(self) -> list[DataFile]:
        """The current ones, the oldest first."""
        return [DataFile.from_wire(wire) for wire in self.manifest.files]

    def dead(self, file: DataFile) -> BitMap:
        vector = self.manifest.dead.get(file.key)
        return BitMap() if vector is None else deletions.decode(vector, key=file.key, rows=file.rows)

    def forge_dead(self, file: DataFile, dead: BitMap) -> str:
        """Put another deletion vector in the place of a file's."""
        self.forge_manifest(dead={**self.manifest.dead, file.key: deletions.encode(dead)})
        return file.key

    def describe(self, file: DataFile, **changes: Any) -> str:
        """Change what the manifest says of a file."""
        files = [replace(one, **changes) if one.key == file.key else one for one in self.files]
        self.forge_manifest(files=tuple(one.to_wire() for one in files))
        return file.key

    def rewrite(self, file: DataFile, change: Callable[[pa.Table], pa.Table], **changes: Any) -> str:
        """Store other rows in a file, and describe its bytes and statistics rightly."""
        table = change(pq.read_table(pa.BufferReader(self.read(file.key))))
        data = write_table(table, sorted_by_id=file.sorted)
        self.put(file.key, data)
        right = {
            "rows": table.num_rows,
            "bytes": len(data),
            "checksum": xxhash.xxh3_64_intdigest(data),
            "tail": tail_of(data),
            "stats": column_stats(table),
        }
        return self.describe(file, **{**right, **changes})


def with_column(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    """Return what changes the values of one column."""

    def apply(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        values = change(table.column(name).to_pylist())
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    return apply

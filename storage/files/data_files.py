"""The data files of one namespace: which rows are live, where an id is, and point reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

import pyarrow as pa
from pyroaring import BitMap

from parquedb.documents.budget import Budget
from parquedb.errors import InternalError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.files.data_file import Built, DataFile
from parquedb.storage.files.deletions import LiveRows
from parquedb.storage.files.file_cache import FileCache
from parquedb.storage.files.id_index import IdIndex, hash_id, hash_ids
from parquedb.storage.files.object_cache import Run
from parquedb.storage.files.row_reader import RowReader
from parquedb.storage.files.shred import Columns
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.query.scan_counts import CountedReads

if TYPE_CHECKING:
    from parquedb.storage.compaction.moved import Moved

KNOWN_IDS_MAX = 32_768
"""Rows whose id is remembered after it was read, so that `locate_now` can answer without waiting."""


class Location(NamedTuple):
    """One row.

    Attributes:
        file: Key of its data file.
        row: Position in it, from 0.
    """

    file: str
    row: int


class IndexNotLoaded(Exception):  # noqa: N818 - control flow inside the package, no fault
    """What `locate_now` would have to read is not in memory; await `load_index` and ask again."""


@dataclass(slots=True)
class _Entry:
    file: DataFile
    index: IdIndex | None
    dead: BitMap
    frozen: BitMap | None = None


@dataclass(slots=True)
class _Candidates:
    """Live rows whose hash is a wanted id's; the ids themselves are still to be compared."""

    locations: dict[str, list[Location]]
    rows: dict[str, tuple[DataFile, set[int]]]


class DataFiles:
    """The files that the manifest lists, and those flushed since. Ids are bare: without `<namespace>/`.

    Invariants:
        I1. An id has at most one live row over all files; two are a `CorruptionError`.
        I2. A row that is dead stays dead.

    Args:
        storage: Where the objects are.
        namespace: Its name; `$id` is `<namespace>/<bare id>`.
        cache_bytes_max: Bound of objects and decoded columns kept, in bytes. Id indexes come on top, 12 bytes a row.
        run: Runs CPU work off the event loop.
        prefix: In front of each `DataFile.key`; by default the namespace's.
    """

    def __init__(
        self, storage: StorageBackend, namespace: str, *, cache_bytes_max: int, run: Run, prefix: str | None = None
    ) -> None:
        self.namespace = namespace
        self.run = run
        self._prefix = f"{namespace}/"
        prefix = namespace_prefix(namespace) if prefix is None else prefix
        self.cache = FileCache(CountedReads(storage), prefix, bytes_max=cache_bytes_max, run=run)
        self._reader = RowReader(self.cache, run)
        self.live = LiveRows()
        self._entries: dict[str, _Entry] = {}
        self._known: dict[Location, str] = {}
        self._leaving: WeakValueDictionary[str, DataFile] = WeakValueDictionary()

    @property
    def files(self) -> tuple[DataFile, ...]:
        """All files, in the order they were added."""
        return tuple(entry.file for entry in list(self._entries.values()))

    @property
    def live_dead(self) -> dict[str, BitMap]:
        """The dead rows of each file that has some: the bitmaps themselves, which `kill` extends."""
        return {key: entry.dead for key, entry in list(self._entries.items()) if entry.dead}

    def frozen_dead(self) -> dict[str, BitMap]:
        """Return copies of the dead rows as of now; files that did not change since the last call share theirs."""
        for entry in self._entries.values():
            if entry.frozen is None:
                entry.frozen = entry.dead.copy()
        return {key: entry.frozen for key, entry in self._entries.items() if entry.frozen}

    def add(self, file: DataFile, built: Built | None = None, dead: BitMap | None = None) -> None:
        """Take a file in.

        Args:
            file: From the manifest or just built.
            built: Saves reading the object and indexing its ids.
            dead: Rows already dead; the bitmap belongs to this object from now on.
        """
        index = None if built is None else IdIndex(built.id_hashes, built.positions)
        if built is not None:
            self.cache.put_object(file, built.data)
        self._entries[file.key] = _Entry(file, index, BitMap() if dead is None else dead)

    def remove(self, key: str) -> None:
        """Let a file go. Its object is not touched; scans begun before may still read it."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._leaving[key] = entry.file
        self.cache.forget(key)
        self._known = {location: id_ for location, id_ in self._known.items() if location.file != key}

    def replace(self, moved: Moved, built: Sequence[Built]) -> None:
        """Put merged files in the place of those they were made of; rows that died meanwhile are dead in them.

        Args:
            moved: Where the rows went.
            built: The new files, as in `moved.keys`; one without its bytes is read again when it is needed.
        """
        dead = moved.dead({key: self._entries[key].dead for key in moved.ranks})
        known = {moved.location(at): id_ for at, id_ in self._known.items() if at.file in moved.ranks}
        for key in moved.ranks:
            self.remove(key)
        for one in built:
            entry = _Entry(one.file, IdIndex(one.id_hashes, one.positions), dead.get(one.file.key, BitMap()))
            self._entries[one.file.key] = entry
            if one.data:
                self.cache.put_object(one.file, one.data)
        self._known |= {location: id_ for location, id_ in known.items() if location is not None}

    def in_use(self) -> frozenset[str]:
        """Return the keys of files let go that something begun before still reads."""
        return frozenset(self._leaving)

    def index(self, key: str) -> IdIndex | None:
        """Return the id index of a file if it is in memory."""
        return self._entries[key].index

    @property
    def index_bytes(self) -> int:
        """Memory of the id indexes."""
        indexes = [entry.index for entry in list(self._entries.values()) if entry.index is not None]
        return sum(index.hashes.nbytes + index.positions.nbytes for index in indexes)

    def kill(self, location: Location) -> None:
        """Mark a row dead.

        Raises:
            InternalError: there is no such row.
        """
        entry = self._entries.get(location.file)
        if entry is None or not 0 <= location.row < entry.file.rows:
            raise InternalError(f"no row {location.row} of a data file {location.file!r} to mark dead")
        entry.dead.add(location.row)
        entry.frozen = None

    def close(self) -> None:
        """Stop reading and release memory; the object is not used afterwards."""
        self.cache.close()
        self._entries.clear()
        self._known.clear()

    # Where an id is.

    def locate_now(self, id: str) -> Location | None:  # noqa: A002 - the public word for it
        """Return the live row of an id without waiting; None means that no file has it.

        Raises:
            IndexNotLoaded: a covering file's index, or the id of a candidate row, is not in memory.
            CorruptionError: two live rows claim the id.
        """
        found: list[Location] = []
        hashed: int | None = None
        for entry in self._entries.values():
            if entry.file.may_hold(id):
                if entry.index is None:
                    raise IndexNotLoaded(entry.file.key)
                hashed = hash_id(id) if hashed is None else hashed
                for row in entry.index.rows(hashed):
                    location = Location(entry.file.key, row)
                    if row in entry.dead:
                        continue
                    known = self._known.get(location)
                    if known is None:
                        raise IndexNotLoaded(entry.file.key)
                    if known == id:
                        found.append(location)
        return self._only(id, found)

    def locate_many_now(self, ids: Iterable[str]) -> dict[str, Location | None]:
        """Do what `locate_now` does for many ids at a fraction of the cost; those it raises for are left out.

        Raises:
            CorruptionError: two live rows claim an id.
        """
        wanted = list(dict.fromkeys(ids))
        hashes = hash_ids(wanted)
        found: dict[str, list[Location]] = {id_: [] for id_ in wanted}
        for key, entry in self._entries.items():
            inside = [at for at, id_ in enumerate(wanted) if entry.file.may_hold(id_)]
            if entry.index is None:
                for at in inside:
                    found.pop(wanted[at], None)
                continue
            for at, row in entry.index.rows_of_many(hashes[inside]) if inside else ():
                id_, location = wanted[inside[at]], Location(key, row)
                if row in entry.dead or id_ not in found:
                    continue
                known = self._known.get(location)
                if known is None:
                    del found[id_]
                elif known == id_:
                    found[id_].append(location)
        return {id_: self._only(id_, locations) for id_, locations in found.items()}

    async def load_index(self, ids: Iterable[str] | None = None) -> None:
        """Bring into memory what `locate_now` needs for these ids; None: the index of every file.

        Raises:
            CorruptionError: an object is missing, altered or not what the manifest says.
        """
        if ids is None:
            await asyncio.gather(*[self._load(entry) for entry in self._entries.values() if entry.index is None])
            return
        candidates = await self._candidates(list(dict.fromkeys(ids)))
        await self._read(candidates, [ID_COLUMN])

    async def fetch(
        self, ids: Iterable[str], budget: Budget | None = None
    ) -> dict[str, tuple[Location, dict[str, Any]]]:
        """Return the live document of each id that has one, and where it is.

        All of the answer is of one moment: the one when the last index needed had come in. Rows that die afterwards,
        while theirs are being read, are still returned.

        Args:
            ids: Bare ones.
            budget: Bounds the documents returned; None for no bound.

        Raises:
            CorruptionError: an object is missing, altered or not what the manifest says; or two live rows claim an id.
            QueryMemoryError: the documents take more memory than allowed; no more of them are read.
        """
        candidates = await self._candidates(list(dict.fromkeys(ids)))
        documents = await self._read(candidates, None, budget)
        found: dict[str, tuple[Location, dict[str, Any]]] = {}
        for id_, locations in candidates.locations.items():
            location = self._only(id_, [one for one in locations if documents[one][ID_COLUMN] == self._prefix + id_])
            if location is not None:
                found[id_] = (location, documents[location])
        return found

    async def _candidates(self, ids: Sequence[str]) -> _Candidates:
        hashes = hash_ids(ids)
        while True:
            # Files may come and go while an index loads; the pass that counts awaits nothing.
            covering: list[tuple[_Entry, list[int]]] = []
            for entry in self._entries.values():
                inside = [at for at, id_ in enumerate(ids) if entry.file.may_hold(id_)]
                if inside:
                    covering.append((entry, inside))
            unloaded = [entry for entry, _ in covering if entry.index is None]
            if not unloaded:
                break
            await asyncio.gather(*map(self._load, unloaded))
        found = _Candidates({}, {})
        for entry, inside in covering:
            for at, row in entry.index.rows_of_many(hashes[inside]) if entry.index else []:
                if row not in entry.dead:
                    found.locations.setdefault(ids[inside[at]], []).append(Location(entry.file.key, row))
                    found.rows.setdefault(entry.file.key, (entry.file, set()))[1].add(row)
        return found

    async def _read(
        self, candidates: _Candidates, names: Sequence[str] | None, budget: Budget | None = None
    ) -> dict[Location, dict[str, Any]]:
        """Return the documents of candidate rows (None: all columns), and remember whose rows they are."""
        parts = await asyncio.gather(
            *[self._reader.read(file, sorted(rows), names, budget) for file, rows in candidates.rows.values()]
        )
        documents = {
            Location(key, row): document
            for key, part in zip(candidates.rows, parts, strict=True)
            for row, document in part.items()
        }
        hashes = {id_: hash_id(id_) for id_ in candidates.locations}
        for id_, locations in candidates.locations.items():
            for location in locations:
                self._remember(location, id_, hashes[id_], documents[location].get(ID_COLUMN))
        return documents

    async def rows(
        self, file: DataFile, columns: Columns, length: int, positions: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Return rows of decoded columns as documents; see `RowReader.documents`."""
        return await self._reader.documents(file, columns, length, positions)

    def _remember(self, location: Location, wanted: str, hashed: int, actual: Any) -> None:
        if type(actual) is not str or not actual.startswith(self._prefix):
            reason = f"row {location.row} holds the id {actual!r}, which is not of namespace {self.namespace!r}"
            raise self.cache.corruption(location.file, reason)
        bare = actual[len(self._prefix) :]
        if bare != wanted and hash_id(bare) != hashed:
            reason = f"row {location.row} holds the id {bare!r}, its index says otherwise"
            raise self.cache.corruption(location.file, reason)
        if len(self._known) >= KNOWN_IDS_MAX:
            del self._known[next(iter(self._known))]
        self._known[location] = bare

    async def _load(self, entry: _Entry) -> None:
        """Index a file from its `$id` column."""
        file = entry.file
        footer = await self.cache.footer(file)
        ids: list[str] = []
        for group in range(footer.groups):
            columns = await self.cache.columns(file, group, [ID_COLUMN])
            ids += await self.run(partial(bare_ids, columns[ID_COLUMN], self._prefix))
        if len(ids) != file.rows:
            raise self.cache.corruption(file.key, f"$id of a row is not of namespace {self.namespace!r}")
        index, low, high = await self.run(lambda: (IdIndex.of(ids), min(ids), max(ids)))
        if (low, high) != (file.id_min, file.id_max):
            reason = f"ids {low!r} to {high!r} instead of {file.id_min!r} to {file.id_max!r}"
            raise self.cache.corruption(file.key, reason)
        entry.index = index

    def _only(self, id_: str, found: list[Location]) -> Location | None:
        if len(found) > 1:
            first, second = found[:2]
            where = f"row {first.row} here and row {second.row} of {second.file!r}"
            raise self.cache.corruption(first.file, f"two live rows claim the id {id_!r}: {where}")
        return found[0] if found else None


def bare_ids(column: pa.Array, prefix: str) -> list[str]:
    """Return the ids without the prefix; those that lack it are left out."""
    return [id_[len(prefix) :] for id_ in column.to_pylist() if id_ is not None and id_.startswith(prefix)]

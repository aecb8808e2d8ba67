"""Whether ids about to be loaded in bulk are taken, by documents in memory or in files.

Ranges are compared first: ids above everything there is need nothing more. Where ranges overlap, the hashes of both
files' ids are compared as a whole, and what they have in common by the ids themselves.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import numpy as np

from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.storage.backend import StorageBackend
from parquedb.storage.bulk.column_ids import taken
from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.data_files import DataFiles, IndexNotLoaded
from parquedb.storage.files.id_index import IdIndex

_CONFIRMED_AT_ONCE = 1_000
_SPARE_BYTES = 64 << 20


class NewIds:
    """The ids of one load.

    Args:
        state: Whose documents there are.
        files: The files to be loaded, stored already; their ids differ.
        storage: Where they are.
        flush: Turns what is in memory into files.
    """

    def __init__(
        self,
        state: NamespaceState,
        files: Sequence[DataFile],
        storage: StorageBackend,
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._state = state
        self._files = tuple(files)
        self._flush = flush
        cache_bytes = 2 * max(file.bytes for file in files) + _SPARE_BYTES
        self._fresh = DataFiles(storage, state.namespace, cache_bytes_max=cache_bytes, run=state.files.run)
        for file in files:
            self._fresh.add(file)
        self._checked_seq = 0
        self._compared: set[str] = set()
        """Keys of files that were compared. A row that was dead stays dead, so nobody has to look there again."""

    async def check(self) -> None:
        """Look at everything; afterwards `hold` says whether that is still the truth.

        Raises:
            AlreadyExistsError: an id is taken; names one and says how many.
            CorruptionError: an object is missing or altered.
        """
        while True:
            # What changes from here on is `hold`'s to see.
            seq = self._state.next_seq
            await self._check_memory()
            for file in self._not_compared():
                for new in self._files:
                    if _overlap(new, file):
                        await self._compare(new, file)
                self._compared.add(file.key)
            self._checked_seq = seq
            if self.hold():
                return

    def hold(self) -> bool:
        """Whether nothing has changed since `check` that could have taken an id. Does not wait."""
        state, seq = self._state, self._checked_seq
        # Not only a flush or another load makes files: a merge puts old rows into new ones.
        if self._not_compared():
            return False
        if state.next_seq == seq:
            return True
        recent = [id_ for id_ in self._in_memory() if self._seq_of(id_) >= seq]
        try:
            return all(self._fresh.locate_now(id_) is None for id_ in recent)
        except IndexNotLoaded:
            return False

    def _not_compared(self) -> list[DataFile]:
        """Return the files that may hold an id and have not been compared."""
        files = [file for file in self._state.files.files if file.key not in self._compared]
        return [file for file in files if any(_overlap(file, new) for new in self._files)]

    def _in_memory(self) -> list[str]:
        """Return the ids in memory, removed ones too, that lie in the range of a new file."""
        tables = [self._state.active, *([self._state.frozen] if self._state.frozen is not None else [])]
        low, high = min(file.id_min for file in self._files), max(file.id_max for file in self._files)
        return [id_ for table in tables for id_ in table.rows if low <= id_ <= high]

    def _seq_of(self, id_: str) -> int:
        row = self._state.active.rows.get(id_)
        if row is None and self._state.frozen is not None:
            row = self._state.frozen.rows.get(id_)
        return 0 if row is None else row.seq

    async def _check_memory(self) -> None:
        while True:
            ids = list(dict.fromkeys(self._in_memory()))
            if not ids:
                return
            removed = False
            found: list[str] = []
            for start in range(0, len(ids), _CONFIRMED_AT_ONCE):
                some = ids[start : start + _CONFIRMED_AT_ONCE]
                await self._fresh.load_index(some)
                hits = [id_ for id_ in some if self._fresh.locate_now(id_) is not None]
                found += [id_ for id_ in hits if self._exists(id_)]
                removed = removed or len(found) < len(hits)
            if found:
                raise taken(found[0], self._state.namespace, len(found), "already exists")
            if not removed:
                return
            # A document that was removed for good is remembered until its row has left the files.
            await self._flush()

    def _exists(self, id_: str) -> bool:
        known, document = self._state.in_memory(id_)
        return known and document is not None

    async def _compare(self, new: DataFile, other: DataFile) -> None:
        """Refuse ids of a new file that live rows of another one have."""
        files, common = self._state.files, max(new.id_min, other.id_min)
        await self._fresh.load_index([common])
        await files.load_index([common])
        mine, theirs = self._fresh.index(new.key), _index(files, other)
        if mine is None or theirs is None:
            return  # Replaced meanwhile: what took its place has not been compared, so `hold` asks for it.
        dead = files.live_dead.get(other.key)
        run = self._state.files.run
        rows = [row for row, at in await run(partial(_common_rows, mine, theirs)) if dead is None or at not in dead]
        found: list[str] = []
        for start in range(0, len(rows), _CONFIRMED_AT_ONCE):
            found += await self._standing(await self._ids(new, rows[start : start + _CONFIRMED_AT_ONCE]))
        if found:
            raise taken(found[0], self._state.namespace, len(found), "already exists")

    async def _standing(self, ids: Sequence[str]) -> list[str]:
        """Return those of some ids whose documents are there."""
        while True:
            await self._state.files.load_index(ids)
            try:
                return [id_ for id_ in ids if self._stands(id_)]
            except IndexNotLoaded:
                continue  # A file came while the others' indexes were loaded.

    def _stands(self, id_: str) -> bool:
        """Whether an id with the hash of another is that one, and its document is there."""
        known, document = self._state.in_memory(id_)
        return document is not None if known else self._state.files.locate_now(id_) is not None

    async def _ids(self, file: DataFile, rows: Sequence[int]) -> list[str]:
        starts = (await self._fresh.cache.footer(file)).starts
        ids: list[str] = []
        for group in range(len(starts) - 1):
            inside = [row - starts[group] for row in rows if starts[group] <= row < starts[group + 1]]
            if inside:
                column = (await self._fresh.cache.columns(file, group, [ID_COLUMN]))[ID_COLUMN]
                ids += [id_.partition("/")[2] for id_ in column.take(inside).to_pylist()]
        return ids


def _overlap(one: DataFile, other: DataFile) -> bool:
    return one.id_min <= other.id_max and other.id_min <= one.id_max


def _index(files: DataFiles, file: DataFile) -> IdIndex | None:
    return files.index(file.key) if file.key in {one.key for one in files.files} else None


def _common_rows(mine: IdIndex, theirs: IdIndex) -> list[tuple[int, int]]:
    """Return the rows of both indexes that have one hash."""
    swapped = len(mine.hashes) > len(theirs.hashes)
    few, many = (theirs, mine) if swapped else (mine, theirs)
    starts = many.hashes.searchsorted(few.hashes)
    stops = many.hashes.searchsorted(few.hashes, side="right")
    pairs = [
        (int(few.positions[at]), int(many.positions[other]))
        for at in np.flatnonzero(stops > starts)
        for other in range(starts[at], stops[at])
    ]
    return [(other, at) for at, other in pairs] if swapped else pairs

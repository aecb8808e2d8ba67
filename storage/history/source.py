"""Reading history segments in parts: an index, some blocks, or the whole; small parts are kept for the next reader."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.errors import CorruptionError, ObjectNotFoundError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.history.segment import Block, SegmentIndex, decode_block, decode_index, named_files
from parquedb.storage.log.entry import Kind, LogEntry, entry_key
from parquedb.storage.log.events import Action, Event, decode_body
from parquedb.storage.log.manifest import HistorySegment, verify_object

CACHE_BYTES_MAX: Final = 32 * 1024 * 1024
AHEAD_BYTES: Final = 2 * 1024 * 1024
"""Who reads on in order gets so many stored bytes with one request."""

_GAP_BYTES: Final = 256 * 1024
"""Blocks with less between them are read with one request."""

_ROWS_AT_ONCE: Final = 500

Run = Callable[[Callable[[], Any]], Awaitable[Any]]


class PastEvent(NamedTuple):
    """One change of one document, and when it was.

    Attributes:
        seq: Its number.
        time_us: Log time, Unix microseconds.
        event: What happened.
        size: Bytes it takes, roughly.
    """

    seq: int
    time_us: int
    event: Event
    size: int


class HistorySource:
    """The history segments of one namespace.

    Args:
        storage: Where they are.
        prefix: The namespace's, in front of each key.
        files: Reads the data files that entries name; its executor is used for all CPU work.
    """

    def __init__(self, storage: StorageBackend, prefix: str, files: DataFiles) -> None:
        self._storage = storage
        self._prefix = prefix
        self._files = files
        self._run: Run = files.run
        self._kept: OrderedDict[tuple[str, int], tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    async def index(self, segment: HistorySegment) -> SegmentIndex:
        """Return the index of a segment.

        Raises:
            CorruptionError: the object is missing or altered.
        """
        kept = self._get((segment.key, -1))
        if kept is not None:
            return kept  # type: ignore[no-any-return]  # -1 is no place of a block: only indexes are kept under it.
        size = segment.bytes - segment.index_at
        data = await self._read(segment, segment.index_at, size)
        index: SegmentIndex = await self._run(partial(decode_index, self._prefix + segment.key, segment, data))
        self._keep((segment.key, -1), index, size)
        return index

    async def entries(self, segment: HistorySegment, blocks: Sequence[Block]) -> list[LogEntry]:
        """Return the entries of some blocks of a segment, given in order.

        Raises:
            CorruptionError: the object is missing or altered.
        """
        await self._fetch(segment, blocks)
        found: list[LogEntry] = []
        for block in blocks:
            data = self._get((segment.key, block.start)) or await self._read(segment, block.start, block.size)
            found += await self._run(partial(decode_block, self._prefix + segment.key, block, data))
        return found

    async def ahead(self, segment: HistorySegment, blocks: Sequence[Block]) -> None:
        """Read the first of these blocks together, as many as pay, for whoever goes through them one by one."""
        total, stop = 0, 0
        while stop < len(blocks) and total < AHEAD_BYTES:
            total, stop = total + blocks[stop].size, stop + 1
        if self._get((segment.key, blocks[0].start)) is None:
            await self._fetch(segment, blocks[:stop])

    async def whole(self, segment: HistorySegment) -> bytes:
        """Return the object of a segment.

        Raises:
            CorruptionError: it is missing or altered.
        """
        key = self._prefix + segment.key
        try:
            data = await self._storage.read(key)
        except ObjectNotFoundError as error:
            raise CorruptionError(key=key, reason="missing, though the manifest names it", cause=error) from error
        return verify_object(key, data, segment.checksum)

    async def events(self, entries: Sequence[LogEntry], start: int, stop: int) -> AsyncIterator[list[PastEvent]]:
        """Yield what happened in entries from seq `start` (inclusive) to `stop` (exclusive), in order, in pieces.

        Raises:
            CorruptionError: a body cannot be read, or a file that one names.
        """
        for entry in entries:
            if entry.header.kind == Kind.BULK:
                for file in named_files(entry):
                    async for rows in self._rows(file, start - file.seq_first, stop - file.seq_first):
                        yield [_created(file, entry, row, document) for row, document in rows]
            else:
                found: list[PastEvent] = await self._run(partial(_events, entry))
                yield [one for one in found if start <= one.seq < stop]

    async def events_of(self, entries: Sequence[LogEntry], ids: Collection[str]) -> list[PastEvent]:
        """Return what happened in entries to some documents, in order.

        Raises:
            CorruptionError: a body cannot be read, or a file that one names.
        """
        found: list[PastEvent] = []
        for entry in entries:
            if entry.header.kind == Kind.BULK:
                for file in named_files(entry):
                    for row in sorted((await self.rows_of(file, ids)).values()):
                        [[(_, document)]] = [rows async for rows in self._rows(file, row, row + 1)]
                        found.append(_created(file, entry, row, document))
            else:
                found += [one for one in await self._run(partial(_events, entry)) if one.event.id in ids]
        return found

    async def rows_of(self, file: DataFile, ids: Collection[str]) -> dict[str, int]:
        """Return which row of a file loaded in bulk each of some documents has, if it has one.

        Raises:
            CorruptionError: the file is missing or altered.
        """
        wanted = [f"{self._files.namespace}/{id_}" for id_ in ids if file.may_hold(id_)]
        if not wanted:
            return {}
        rows: dict[str, int] = {}
        starts = (await self._files.cache.footer(file)).starts
        for group, start in enumerate(starts[:-1]):
            column = (await self._files.cache.columns(file, group, [ID_COLUMN]))[ID_COLUMN]
            hits = await self._run(partial(pc.is_in, column, value_set=pa.array(wanted, pa.string())))
            for row in np.flatnonzero(hits.to_numpy(zero_copy_only=False)).tolist():
                rows[column[row].as_py().partition("/")[2]] = start + row
        return rows

    async def _rows(self, file: DataFile, start: int, stop: int) -> AsyncIterator[list[tuple[int, dict[str, Any]]]]:
        """Yield rows of a file with their documents, `_ROWS_AT_ONCE` at a time."""
        for group, (first, end) in enumerate(pairwise((await self._files.cache.footer(file)).starts)):
            for at in range(max(first, start), min(end, stop), _ROWS_AT_ONCE):
                rows = range(at, min(at + _ROWS_AT_ONCE, end, stop))
                columns = await self._files.cache.columns(file, group)
                documents = await self._files.rows(file, columns, end - first, [row - first for row in rows])
                yield list(zip(rows, documents, strict=True))

    async def _fetch(self, segment: HistorySegment, blocks: Sequence[Block]) -> None:
        """Read those blocks that are not kept, neighbours with one request."""
        absent = [block for block in blocks if self._get((segment.key, block.start)) is None]
        while absent:
            stop = 1
            while stop < len(absent):
                before = absent[stop - 1]
                near = absent[stop].start - (before.start + before.size) <= _GAP_BYTES
                if not near or absent[stop].start + absent[stop].size - absent[0].start > CACHE_BYTES_MAX // 2:
                    break
                stop += 1
            first, last = absent[0], absent[stop - 1]
            data = await self._read(segment, first.start, last.start + last.size - first.start)
            for block in absent[:stop]:
                at = block.start - first.start
                self._keep((segment.key, block.start), data[at : at + block.size], block.size)
            absent = absent[stop:]

    async def _read(self, segment: HistorySegment, start: int, size: int) -> bytes:
        key = self._prefix + segment.key
        try:
            return await self._storage.read_range(key, start, size)
        except ObjectNotFoundError as error:
            raise CorruptionError(key=key, reason="missing, though the manifest names it", cause=error) from error

    def _get(self, part: tuple[str, int]) -> Any:
        kept = self._kept.get(part)
        if kept is None:
            return None
        self._kept.move_to_end(part)
        return kept[0]

    def _keep(self, part: tuple[str, int], value: Any, size: int) -> None:
        if size > CACHE_BYTES_MAX:
            return
        before = self._kept.pop(part, None)
        self._kept[part] = (value, size)
        self._bytes += size - (before[1] if before else 0)
        while self._bytes > CACHE_BYTES_MAX:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone


def _events(entry: LogEntry) -> list[PastEvent]:
    header = entry.header
    events, _ = decode_body(entry_key(header.position), entry.body)
    size = len(entry.body) // max(1, len(events))
    return [PastEvent(seq, header.log_time_us, event, size) for seq, event in enumerate(events, header.first_seq)]


def _created(file: DataFile, entry: LogEntry, row: int, document: dict[str, Any]) -> PastEvent:
    event = Event(Action.CREATE.value, document[ID_COLUMN].partition("/")[2], document)
    return PastEvent(file.seq_first + row, entry.header.log_time_us, event, file.bytes // file.rows)

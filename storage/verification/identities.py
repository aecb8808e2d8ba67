"""Which document a row or an event is about: asked only for what goes into a report, by reading the object again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import CorruptionError
from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.object_cache import Run
from parquedb.storage.files.row_groups import DECODE_ERRORS
from parquedb.storage.history.segment import decode_segment
from parquedb.storage.log.entry import Kind, LogEntry, entry_key
from parquedb.storage.log.events import decode_body
from parquedb.storage.log.manifest import Segment
from parquedb.storage.verification.ledger import EventAt, RowAt
from parquedb.storage.verification.source import Source


class Identities:
    """Looks ids up.

    Args:
        source: Reads.
        files: Data files by key.
        segments: Segments by key.
        entries: Log entries that are in no segment.
        run: Runs CPU work off the event loop.
    """

    def __init__(
        self,
        source: Source,
        files: Mapping[str, DataFile],
        segments: Mapping[str, Segment],
        entries: Sequence[LogEntry],
        run: Run,
    ) -> None:
        self._source = source
        self._files = files
        self._segments = segments
        self._entries = entries
        self._run = run

    async def of_row(self, row: RowAt) -> str | None:
        """Return the bare id of a row; None where it cannot be read any more."""
        data = await self._source.read(row.file)
        return None if data is None else await self._run(lambda: _id_of_row(data, row.row))

    async def of_event(self, event: EventAt) -> str | None:
        """Return the bare id that an event is about; None where it cannot be read any more."""
        file = self._files.get(event.key)
        if file is not None:
            return await self.of_row(RowAt(event.key, event.seq - file.seq_first))
        segment = self._segments.get(event.key)
        if segment is None:
            return await self._run(lambda: _id_of_event(self._entries, event.seq))
        data = await self._source.read(event.key)
        return None if data is None else await self._run(lambda: _id_in_segment(segment, data, event.seq))

    def object_of(self, event: EventAt) -> str:
        """Return the key of the object that an event is in."""
        entries = (one for one in self._entries if one.header.first_seq <= event.seq < one.next_seq)
        return event.key or next((entry_key(one.header.position) for one in entries), "log/")


def _id_of_row(data: bytes, row: int) -> str | None:
    try:
        column = pq.read_table(pa.BufferReader(data), columns=[ID_COLUMN]).column(ID_COLUMN)
    except DECODE_ERRORS:
        return None
    id_ = column[row].as_py()
    return None if id_ is None else str(id_).partition("/")[2]


def _id_in_segment(segment: Segment, data: bytes, seq: int) -> str | None:
    try:
        return _id_of_event(decode_segment(segment.key, segment, data), seq)
    except CorruptionError:
        return None


def _id_of_event(entries: Sequence[LogEntry], seq: int) -> str | None:
    for entry in entries:
        if entry.header.first_seq <= seq < entry.next_seq and entry.header.kind == Kind.WRITE:
            events, _ = decode_body(entry_key(entry.header.position), entry.body)
            return events[seq - entry.header.first_seq].id
    return None

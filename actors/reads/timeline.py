"""The committed past of one namespace as of one moment, and reading it: segments, tails, and entries not yet folded."""

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass

from parquedb.actors.state.frames import Recent
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.storage.files.id_index import hash_ids
from parquedb.storage.history.source import HistorySource, PastEvent
from parquedb.storage.log.entry import Kind, LogEntry, decode_entry, entry_key
from parquedb.storage.log.manifest import HistorySegment, PastFile

_RECENT_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every kept event, without gaps. Taken without awaiting; what it refers to never changes.

    Attributes:
        segments: Stored entries, oldest first.
        recent: Entries in memory, which follow them.
        floor: The first seq that is kept; `next_seq` when there is none.
        next_seq: What the next event will get.
        last_us: Log time of the last entry, Unix microseconds.
        complete: Whether what a document was before a kept event can always be found.
        past_files: Data files with rows that merges have left out since.
    """

    segments: tuple[HistorySegment, ...]
    recent: tuple[Recent, ...]
    floor: int
    next_seq: int
    last_us: int
    complete: bool
    past_files: tuple[PastFile, ...]

    @classmethod
    def of(cls, state: NamespaceState) -> "Timeline":
        """Take what is committed now."""
        segments: list[HistorySegment] = list(state.history.segments)
        complete = True
        for tail in state.tails:
            if isinstance(tail, HistorySegment):
                segments.append(tail)
            else:
                # From before there was a history: it cannot be read in parts, so the past begins behind it.
                segments, complete = [], False
        recent = tuple(entry for entry in state.recent if entry.kind in {Kind.WRITE, Kind.BULK})
        floor = segments[0].first_seq if segments else recent[0].first_seq if recent else state.next_seq
        return cls(tuple(segments), recent, floor, state.next_seq, state.log_time_us, complete, state.history.files)

    async def entries(self, source: HistorySource, start: int, stop: int) -> AsyncIterator[list[LogEntry]]:
        """Yield the entries with events from seq `start` (inclusive) to `stop` (exclusive), in order, in pieces.

        Raises:
            CorruptionError: a segment is missing or altered.
        """
        for segment in self.segments:
            if segment.next_seq <= start or segment.first_seq >= stop:
                continue
            index = await source.index(segment)
            blocks = [block for block in index.blocks if block.next_seq > start and block.first_seq < stop]
            for at, block in enumerate(blocks):
                await source.ahead(segment, blocks[at:])
                entries = await source.entries(segment, [block])
                yield [one for one in entries if one.next_seq > start and one.header.first_seq < stop]
        for group in _groups([one for one in self.recent if one.next_seq > start and one.first_seq < stop]):
            yield group

    async def events(self, source: HistorySource, start: int, stop: int) -> AsyncIterator[list[PastEvent]]:
        """Yield the events from seq `start` (inclusive) to `stop` (exclusive), in order, in pieces.

        Raises:
            CorruptionError: a segment, or a file that an entry names, is missing or altered.
        """
        async for entries in self.entries(source, start, stop):
            async for events in source.events(entries, start, stop):
                yield events

    async def newest(self, source: HistorySource, ids: Collection[str], below: int) -> AsyncIterator[list[PastEvent]]:
        """Yield the events of some documents with a seq less than `below`, newest pieces first, in order within each.

        `ids` is looked at again before each piece, so that who has found what was wanted may take it out.

        Raises:
            CorruptionError: a segment is missing or altered.
        """
        groups = list(_groups([one for one in self.recent if one.first_seq < below]))
        for group in reversed(groups):
            if not ids:
                return
            yield [one for one in await source.events_of(group, ids) if one.seq < below]
        for segment in reversed(self.segments):
            if not ids:
                return
            if segment.first_seq >= below:
                continue
            index = await source.index(segment)
            blocks = [index.blocks[number] for number in index.holding(hash_ids(list(ids)))]
            entries = await source.entries(segment, [block for block in blocks if block.first_seq < below])
            yield [one for one in await source.events_of(entries, ids) if one.seq < below]

    async def of_document(self, source: HistorySource, id_: str, start: int) -> AsyncIterator[list[PastEvent]]:
        """Yield the events of one document from seq `start` on, in order, in pieces.

        Raises:
            CorruptionError: a segment is missing or altered.
        """
        wanted = hash_ids([id_])
        for segment in self.segments:
            if segment.next_seq <= start:
                continue
            index = await source.index(segment)
            for number in index.holding(wanted):
                block = index.blocks[number]
                if block.next_seq > start:
                    events = await source.events_of(await source.entries(segment, [block]), {id_})
                    yield [one for one in events if one.seq >= start]
        for group in _groups([one for one in self.recent if one.next_seq > start]):
            yield [one for one in await source.events_of(group, {id_}) if one.seq >= start]

    async def seq_at(self, source: HistorySource, time_us: int) -> int | None:
        """Return the seq of the last event whose log time is at most `time_us`; None when that is not known any more.

        Raises:
            CorruptionError: a segment is missing or altered.
        """
        if self.last_us <= time_us:
            return self.next_seq - 1
        for recent in reversed(self.recent):
            if recent.time_us <= time_us:
                return recent.next_seq - 1
        for segment in reversed(self.segments):
            if segment.first_us <= time_us:
                index = await source.index(segment)
                block = [block for block in index.blocks if block.first_us <= time_us][-1]
                entries = await source.entries(segment, [block])
                return [entry for entry in entries if entry.header.log_time_us <= time_us][-1].next_seq - 1
        return 0 if self.floor == 1 else None


def _groups(recent: Sequence[Recent]) -> Iterator[list[LogEntry]]:
    for at in range(0, len(recent), _RECENT_AT_ONCE):
        yield [decode_entry(entry_key(one.position), one.data) for one in recent[at : at + _RECENT_AT_ONCE]]

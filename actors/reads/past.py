"""The state of a namespace as it was: what stands unchanged since then, and over it what each changed document was.

A document that has changed since is looked for in the kept events; when its last change before that point is older than
those, its row is in a data file still: dead there, or in a file of the past.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap

from parquedb.actors.reads.timeline import Timeline
from parquedb.clock import Clock
from parquedb.errors import QueryMemoryError, SnapshotNotFoundError, ValidationError
from parquedb.errors.plain import repr_of
from parquedb.storage.files.columns import ID_COLUMN, SEQ_COLUMN
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.history.segment import named_files
from parquedb.storage.history.source import HistorySource, PastEvent
from parquedb.storage.log.entry import Kind
from parquedb.storage.log.events import Action
from parquedb.storage.query.scan_plan import ScanSnapshot

KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""The states of the point asked for last are kept for the next page of the query, unless they take more."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Document = dict[str, Any]


@dataclass(slots=True)
class _Since:
    """What changed after a point.

    Attributes:
        seq: The point.
        until: Events below this seq have been looked at.
        changed: Ids of the documents they touch.
        states: What those documents were at the point; one that did not exist is left out or None.
        loaded: Data files with documents that were loaded in bulk; those are not among `changed`.
        size: Bytes of the events, roughly.
    """

    seq: int
    until: int
    changed: set[str] = field(default_factory=set)
    states: dict[str, Document | None] = field(default_factory=dict)
    loaded: list[DataFile] = field(default_factory=list)
    size: int = 0


class Past:
    """Answers about earlier states of one namespace.

    Args:
        namespace: Its name.
        source: Reads history segments.
        clock: Tells the future from the past.
        settled: Set while no commit's fate is open.
        memory_max: Bytes that the changes since a point may take.
    """

    def __init__(
        self, namespace: str, source: HistorySource, *, clock: Clock, settled: asyncio.Event, memory_max: int
    ) -> None:
        self._namespace = namespace
        self._source = source
        self._clock = clock
        self._settled = settled
        self._memory_max = memory_max
        self._kept: _Since | None = None

    async def seq_of(self, as_of: Any, taken: Callable[[], Timeline]) -> int:
        """Return the seq that `as_of` (a seq, or an aware datetime) stands for.

        Raises:
            ValidationError: it is neither, or lies in the future.
            SnapshotNotFoundError: it is older than what is kept.
        """
        if isinstance(as_of, datetime) and as_of.tzinfo is not None:
            if as_of > self._clock.now():
                raise _refused(f"a time that is not in the future, at most {self._clock.now().isoformat()}", as_of)
            # An entry on its way may be older than the time asked for.
            await self._settled.wait()
            line = taken()
            seq = await line.seq_at(self._source, (as_of - _EPOCH) // timedelta(microseconds=1))
            if seq is None:
                raise self._gone(f"the state at {as_of.isoformat()}", line)
        elif type(as_of) is int and as_of >= 0:
            line, seq = taken(), as_of
        else:
            raise _refused("a seq of at least 0 or a datetime with its time zone", as_of)
        self._check(seq, line)
        return seq

    async def snapshot(self, seq: int, now: ScanSnapshot, line: Timeline) -> ScanSnapshot:
        """Return what a query as of `seq` sees.

        Args:
            seq: The last event that counts.
            now: The present without documents in memory that changed since.
            line: The past, of the same moment as `now`.

        Raises:
            SnapshotNotFoundError: the point is not kept any more.
            QueryMemoryError: more has changed since than may be held.
            CorruptionError: an object is missing or altered.
        """
        self._check(seq, line)
        since = await self._since(seq, line, now.source, now.files)
        files = tuple(file for file in now.files if file.seq_first <= seq)
        dead = dict(now.dead)
        for file in files:
            if file.seq_last > seq:
                dead[file.key] = dead.get(file.key, BitMap()) | await _later_rows(now.source, file, seq)
        states = [document for document in since.states.values() if document is not None]
        return replace(now, files=files, dead=dead, memory=[*now.memory, *states])

    async def document(
        self, id_: str, seq: int, current: Document | None, line: Timeline, files: DataFiles
    ) -> Document | None:
        """Return what one document was as of `seq`.

        Args:
            id_: Its bare id.
            seq: The last event that counts.
            current: What it is.
            line: The past, of the same moment as `current`.
            files: The namespace's data files.

        Raises:
            SnapshotNotFoundError: the point is not kept any more.
            CorruptionError: an object is missing or altered.
        """
        self._check(seq, line)
        present = files.files
        first: PastEvent | None = None
        async for events in line.newest(self._source, {id_}, line.next_seq):
            before = [one for one in events if one.seq <= seq]
            if before:
                return before[-1].event.document
            first = events[0] if events else first
        if first is None:
            return current
        if first.event.action == Action.CREATE:
            return None
        return (await self._stored({id_}, seq, line, files, present)).get(id_)

    def _check(self, seq: int, line: Timeline) -> None:
        newest = line.next_seq - 1
        if seq > newest:
            raise _refused(f"at most {newest}, the seq of the last change", seq)
        if seq < newest and (seq < line.floor - 1 or not line.complete):
            raise self._gone(f"the state at seq {seq}", line)

    def _gone(self, what: str, line: Timeline) -> SnapshotNotFoundError:
        oldest = line.floor - 1 if line.complete else line.next_seq - 1
        message = f"{what} of namespace {self._namespace!r} is not kept any more; the oldest is seq {oldest}"
        return SnapshotNotFoundError(message, oldest=oldest)

    async def _since(self, seq: int, line: Timeline, files: DataFiles, present: tuple[DataFile, ...]) -> _Since:
        kept = self._kept
        if kept is not None and kept.seq == seq and kept.until <= line.next_seq:
            since = replace(kept, changed=set(kept.changed), states=dict(kept.states), loaded=list(kept.loaded))
        else:
            since = _Since(seq, seq + 1)
        left = await self._look(since, line)
        since.until = line.next_seq
        async for events in line.newest(self._source, left, seq + 1):
            for one in reversed(events):
                if one.event.id in left:
                    left.discard(one.event.id)
                    since.states[one.event.id] = one.event.document
                    since.size += one.size
        for file in since.loaded:
            # What was before them, if anything, was not they.
            left -= {id_ for id_, row in (await self._source.rows_of(file, left)).items() if file.seq_first + row > seq}
        if left:
            since.states |= await self._stored(left, seq, line, files, present)
        self._kept = since if since.size <= KEPT_BYTES_MAX else None
        return since

    async def _look(self, since: _Since, line: Timeline) -> set[str]:
        """Look at the events that nobody has looked at; return the documents they touch that may have been there."""
        start, earlier = since.until, set[str]()
        async for entries in line.entries(self._source, start, line.next_seq):
            # Nobody has to know what was loaded since: it was not there, and its files are left out.
            since.loaded += [file for entry in entries for file in named_files(entry)]
            written = [entry for entry in entries if entry.header.kind == Kind.WRITE]
            async for events in self._source.events(written, start, line.next_seq):
                for one in events:
                    event = one.event
                    since.size += one.size
                    if event.action == Action.SCHEMA or event.id in since.changed:
                        continue
                    since.changed.add(event.id)
                    if event.action != Action.CREATE:
                        earlier.add(event.id)
                if since.size > self._memory_max:
                    raise QueryMemoryError(bytes_max=self._memory_max)
        return earlier

    async def _stored(
        self, ids: set[str], seq: int, line: Timeline, files: DataFiles, present: tuple[DataFile, ...]
    ) -> dict[str, Document]:
        """Return the newest rows up to `seq` of documents that changed since, dead ones included."""
        past = [DataFile.from_wire(one.file) for one in line.past_files]
        wanted = pa.array([f"{self._namespace}/{id_}" for id_ in ids], pa.string())
        best: dict[str, tuple[int, DataFile, int, int]] = {}
        for file in (*present, *past):
            if file.seq_first > seq or not any(map(file.may_hold, ids)):
                continue
            for group in range((await files.cache.footer(file)).groups):
                columns = await files.cache.columns(file, group, [ID_COLUMN, SEQ_COLUMN])
                for full_id, found, row in await files.run(partial(_rows_of, columns, wanted, seq)):
                    if found > best.get(full_id, (-1,))[0]:
                        best[full_id] = (found, file, group, row)
        places: dict[tuple[str, int], tuple[DataFile, list[int]]] = {}
        for _, file, group, row in best.values():
            places.setdefault((file.key, group), (file, []))[1].append(row)
        documents: dict[str, Document] = {}
        for (_, group), (file, rows) in places.items():
            columns = await files.cache.columns(file, group)
            for document in await files.rows(file, columns, len(columns[ID_COLUMN]), rows):
                documents[document[ID_COLUMN].partition("/")[2]] = document
        return documents


def _rows_of(columns: Mapping[str, pa.Array], ids: pa.Array, seq: int) -> list[tuple[str, int, int]]:
    """Return (full id, seq, row) of the rows of some documents up to a seq."""
    hits = pc.and_(pc.is_in(columns[ID_COLUMN], value_set=ids), pc.less_equal(columns[SEQ_COLUMN], seq))
    rows = np.flatnonzero(hits.to_numpy(zero_copy_only=False))
    at = pa.array(rows)
    names, seqs = columns[ID_COLUMN].take(at).to_pylist(), columns[SEQ_COLUMN].take(at).to_pylist()
    return list(zip(names, seqs, rows.tolist(), strict=True))


async def _later_rows(files: DataFiles, file: DataFile, seq: int) -> BitMap:
    """Return the rows of a file that came after a seq."""
    rows, start = BitMap(), 0
    for group in range((await files.cache.footer(file)).groups):
        seqs = (await files.cache.columns(file, group, [SEQ_COLUMN]))[SEQ_COLUMN]
        later = np.flatnonzero(seqs.to_numpy(zero_copy_only=False) > seq)
        rows |= BitMap((later + start).astype(np.uint32))
        start += len(seqs)
    return rows


def _refused(expected: str, actual: object) -> ValidationError:
    return ValidationError(
        f"as_of: expected {expected}, got {repr_of(actual)}", field="as_of", expected=expected, actual=actual
    )

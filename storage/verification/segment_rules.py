"""Whether segments hold the entries that the manifest says, and what their events say of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from parquedb.documents.codec import decode
from parquedb.errors import CorruptionError
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.id_index import hash_ids as index_hashes
from parquedb.storage.history.segment import MAGIC, Block, SegmentIndex, decode_block, decode_index, decode_segment
from parquedb.storage.history.segment import named_files as files_named_by
from parquedb.storage.log.entry import Kind, LogEntry, entry_key
from parquedb.storage.log.events import Action, Created, Event, decode_packed
from parquedb.storage.log.manifest import HistorySegment, Segment, checksum
from parquedb.storage.verification.report import Findings
from parquedb.storage.verification.rules import Rule
from parquedb.storage.verification.spill import Spill
from parquedb.storage.verification.traces import REMOVED, Trace, hash_ids

_DIGEST_BYTES: Final = 16


@dataclass(slots=True)
class EventTraces:
    """Collects what events say of documents.

    Args:
        namespace: Whose they are.
        seed: For hashes of ids.
    """

    namespace: str
    seed: int
    files: list[DataFile] = field(default_factory=list)
    """Data files that entries name, with the seqs of their rows."""
    _ids: list[str] = field(default_factory=list)
    _seqs: list[int] = field(default_factory=list)
    _versions: list[int] = field(default_factory=list)

    def add(self, key: str, entry: LogEntry) -> list[str]:
        """Take in the events of an entry; return the ids they touch.

        Raises:
            CorruptionError: the body or a document is unreadable, or of another namespace; names `key`.
        """
        header = entry.header
        self.files += files_named_by(entry)
        if header.kind != Kind.WRITE:
            return []
        first, seq = len(self._ids), header.first_seq
        events, _ = decode_packed(key, entry.body)
        for event in events:
            if isinstance(event, Created):
                self._check_created(key, event)
                self._ids += event.ids
                self._seqs += range(seq, seq + len(event))
                self._versions += [1] * len(event)
                seq += len(event)
                continue
            for single in [event] if isinstance(event, Event) else event.events():
                if single.action != Action.SCHEMA:
                    self._ids.append(single.id)
                    self._seqs.append(seq)
                    self._versions.append(self._version(key, single.id, single.document))
                seq += 1
        return self._ids[first:]

    def _check_created(self, key: str, created: Created) -> None:
        try:
            documents = created.documents()
        except (CorruptionError, TypeError, ValueError) as error:
            raise CorruptionError(key=key, reason=f"a document is unreadable: {error}", cause=error) from error
        if created.prefix != f"{self.namespace}/" or len(documents) != len(created):
            raise CorruptionError(key=key, reason=f"documents of {created.prefix!r}")

    def _version(self, key: str, id_: str, document: object) -> int:
        if document is None:
            return REMOVED
        version = document.get("version") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(version, int) or version < 1:
            raise CorruptionError(key=key, reason=f"the document {id_!r} has the version {version!r}")
        if document.get("$id") != f"{self.namespace}/{id_}":
            raise CorruptionError(key=key, reason=f"the event of {id_!r} holds the document {document.get('$id')!r}")
        return version

    def trace(self, key: str, spill: Spill) -> Trace:
        """Return what the events said."""
        seqs, versions = np.array(self._seqs, np.int64), np.array(self._versions, np.int64)
        return Trace.of(key, [hash_ids(self._ids, self.seed)], [seqs], [versions], spill)


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """What a whole segment says.

    Attributes:
        trace: Of its events.
        files: Data files that its entries name, with the seqs of their rows.
        first_seq: Of its first event.
        next_seq: One more than that of its last event.
    """

    trace: Trace
    files: tuple[DataFile, ...]
    first_seq: int
    next_seq: int


def check_segment(  # noqa: PLR0913 - each is a fact about one object
    segment: Segment, data: bytes, namespace: str, key: str, *, findings: Findings, seed: int, spill: Spill
) -> SegmentContent | None:
    """Check a segment of folded entries; return what it says, None where it does not.

    Takes CPU time in proportion to the entries: run it in an executor.
    """
    if checksum(data) != segment.checksum:
        message = f"checksum: expected {segment.checksum:016x}, found {checksum(data):016x}, {len(data)} bytes"
        findings.add(Rule.SEGMENT_DAMAGED, key, message)
        return None
    traces = EventTraces(namespace, seed)
    try:
        # Bodies are not kept: a segment may hold a million documents.
        entries = [LogEntry(entry.header, b"") for entry in _entries(segment, data, key, traces, findings)]
    except CorruptionError as error:
        findings.add(Rule.SEGMENT_DAMAGED, key, str(error.reason or error.message))
        return None
    for fault in _faults(segment, entries, traces):
        findings.add(Rule.SEGMENT_DISAGREES, key, fault)
        return None
    first, last = entries[0], entries[-1]
    return SegmentContent(traces.trace(segment.key, spill), tuple(traces.files), first.header.first_seq, last.next_seq)


def _entries(segment: Segment, data: bytes, key: str, traces: EventTraces, findings: Findings) -> Iterator[LogEntry]:
    """Yield the entries, block by block, after `traces` has taken in their events."""
    if not isinstance(segment, HistorySegment):
        for entry in decode_segment(key, segment, data):
            traces.add(key, entry)
            yield entry
        return
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptionError(key=key, reason="not a history segment")
    index = decode_index(key, segment, data[segment.index_at :])
    at = len(MAGIC)
    for number, block in enumerate(index.blocks):
        if block.start != at:
            raise CorruptionError(key=key, reason=f"block {number} begins at {block.start} instead of {at}")
        at += block.size
        touched: set[str] = set()
        entries = decode_block(key, block, data[block.start : at])
        for entry in entries:
            touched.update(traces.add(key, entry))
            yield entry
        _check_index(index, number, block, entries, touched, key, findings)
    if at != segment.index_at:
        raise CorruptionError(key=key, reason=f"blocks end at {at}, the index begins at {segment.index_at}")


def _check_index(  # noqa: PLR0913, PLR0917 - one step of the walk over blocks
    index: SegmentIndex,
    number: int,
    block: Block,
    entries: Sequence[LogEntry],
    ids: Iterable[str],
    key: str,
    findings: Findings,
) -> None:
    said = (block.first_seq, block.next_seq)
    actual = (entries[0].header.first_seq, entries[-1].next_seq) if entries else (0, 0)
    if said != actual:
        findings.add(Rule.SEGMENT_INDEX_WRONG, key, f"block {number} is said to hold seqs {said}, holds {actual}")
    wanted = np.unique(index_hashes(list(ids)))
    missing = np.setdiff1d(wanted, index.hashes[index.owners == number])
    if len(missing):
        findings.add(Rule.SEGMENT_INDEX_WRONG, key, f"{len(missing)} ids of block {number} are not in the index")


def _faults(segment: Segment, entries: Sequence[LogEntry], traces: EventTraces) -> Iterator[str]:
    if len(entries) != segment.count or not entries:
        yield f"{len(entries)} entries instead of {segment.count}"
        return
    previous = entries[0]
    for entry in entries[1:]:
        in_order = entry.header.position > previous.header.position
        if not in_order or entry.header.first_seq != previous.next_seq:
            yield (
                f"entry {entry.header.position} with first seq {entry.header.first_seq} stands behind entry "
                f"{previous.header.position}, after which seq {previous.next_seq} comes"
            )
            return
        previous = entry
    if entries[-1].header.log_time_us != segment.newest_us:
        yield f"newest log time {entries[-1].header.log_time_us} instead of {segment.newest_us}"
    if isinstance(segment, HistorySegment):
        said, actual = (segment.first_seq, segment.next_seq), (entries[0].header.first_seq, entries[-1].next_seq)
        if said != actual:
            yield f"seqs {actual} instead of {said}"
        if tuple(file.key for file in traces.files) != segment.files:
            yield f"its entries name other data files than {list(segment.files)}"


def check_request_ids(segment: Segment, data: bytes, key: str, next_seq: int, findings: Findings) -> None:
    """Check a segment of callers' request ids."""
    if checksum(data) != segment.checksum:
        message = f"checksum: expected {segment.checksum:016x}, found {checksum(data):016x}, {len(data)} bytes"
        findings.add(Rule.SEGMENT_DAMAGED, key, message)
        return
    try:
        rows = decode(data)
        plausible = len(rows) == segment.count and all(
            len(digest) == _DIGEST_BYTES and isinstance(kind, str) and 0 <= seq < next_seq and us <= segment.newest_us
            for digest, kind, seq, _, us in rows
        )
    except (CorruptionError, ValueError, TypeError) as error:
        findings.add(Rule.REQUEST_IDS_WRONG, key, f"unreadable: {error}")
        return
    if not plausible:
        message = (
            f"expected {segment.count} ids of 16 bytes with seqs below {next_seq}, at {segment.newest_us} µs at most"
        )
        findings.add(Rule.REQUEST_IDS_WRONG, key, message)


def events_of(entries: Sequence[LogEntry], namespace: str, seed: int, prefix: str, spill: Spill) -> SegmentContent:
    """Return what log entries say of documents.

    Raises:
        CorruptionError: a body or document is unreadable; names the entry.
    """
    traces = EventTraces(namespace, seed)
    for entry in entries:
        traces.add(prefix + entry_key(entry.header.position), entry)
    first, last = entries[0], entries[-1]
    return SegmentContent(traces.trace("", spill), tuple(traces.files), first.header.first_seq, last.next_seq)

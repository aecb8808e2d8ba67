"""Whether the rows of data files and the events of log and history tell the same story about every document.

Every event that is kept must be in the current state: the last event of a document says which version is live, and no
document is live twice. Rows and events meet by the hashes of ids, in shares of the range of hashes, so that memory
holds one share at a time however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from parquedb.storage.verification.report import FINDINGS_MAX
from parquedb.storage.verification.rules import Rule
from parquedb.storage.verification.traces import REMOVED, Trace

SHARE_ROWS: Final = 1 << 20
"""Rows and events looked at together, about."""

_HASHES: Final = 1 << 64

Flags = npt.NDArray[np.bool_]


class RowAt(NamedTuple):
    """One row: key of its file, relative to the namespace, and its place."""

    file: str
    row: int


class EventAt(NamedTuple):
    """One event: key of the segment it is in (empty: the log), or of the file loaded in bulk, and its seq."""

    key: str
    seq: int


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A document about which rows and events disagree.

    Attributes:
        rule: Which rule that breaks.
        message: What was found.
        row: The row, if there is one.
        other: A second row of the same document.
        event: The event, if there is one.
        times: How often the rule is broken in this share, where this is the last one named; otherwise 1.
    """

    rule: Rule
    message: str
    row: RowAt | None = None
    other: RowAt | None = None
    event: EventAt | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Live:
    """A data file of the current state and its dead rows."""

    trace: Trace
    dead: BitMap


@dataclass(frozen=True, slots=True)
class _Rows:
    """Live rows of one share, by hash and then by seq."""

    hashes: Any
    seqs: Any
    versions: Any
    places: Any
    files: Any


@dataclass(frozen=True, slots=True)
class _Events:
    hashes: Any
    seqs: Any
    versions: Any
    sources: Any


@dataclass(slots=True)
class Ledger:
    """Everything there is to say about documents.

    Args:
        rows: The data files.
        written: Events in order of nothing: of segments and of the log.
        loaded: Files loaded in bulk by events that are kept: each of their rows was one, with version 1.
        first_seq: Of the first event kept; None where none is.
        memory_from: Events of `written` from this seq on are in no data file yet.
    """

    rows: Sequence[Live]
    written: Sequence[Trace]
    loaded: Sequence[Trace]
    first_seq: int | None
    memory_from: int
    documents: int = 0
    events: int = 0
    _reported: dict[Rule, int] = field(default_factory=dict)

    def shares(self) -> list[tuple[int, int | None]]:
        """Return the ranges of hashes to look at one by one: from (inclusive) and to (exclusive; None: the end)."""
        total = sum(len(live.trace) for live in self.rows) + sum(map(len, (*self.written, *self.loaded)))
        count = max(1, -(-total // SHARE_ROWS))
        bounds = [_HASHES * number // count for number in range(count)]
        return list(zip(bounds, [*bounds[1:], None], strict=True))

    def check(self, low: int, high: int | None) -> list[Anomaly]:
        """Return what is wrong with the documents of one share.

        Takes CPU time in proportion to its rows: run it in an executor.
        """
        rows, events = self._live(low, high), self._told(low, high)
        found: list[Anomaly] = []
        twice = rows.hashes[1:] == rows.hashes[:-1]
        found += self._twice(rows, twice)
        same = events.hashes[1:] == events.hashes[:-1]
        found += self._broken_versions(events, same)
        newest_row = np.flatnonzero(np.append(~twice, True)[: len(rows.hashes)])
        last_event = np.flatnonzero(np.append(~same, True)[: len(events.hashes)])
        doubled = set(rows.hashes[1:][twice].tolist())
        found += self._compare(rows, events, newest_row, last_event, doubled)
        self.events += len(events.hashes)
        return found

    def _live(self, low: int, high: int | None) -> _Rows:
        parts: list[tuple[Any, ...]] = []
        for number, live in enumerate(self.rows):
            trace, share = live.trace, live.trace.between(low, high)
            places = np.asarray(trace.places[share])
            alive = _alive(live.dead, places)
            columns = (trace.hashes[share], trace.seqs[share], trace.versions[share], places)
            parts.append((*(np.asarray(column)[alive] for column in columns), np.full(alive.sum(), number)))
        hashes, seqs, versions, places, files = _concatenated(parts, 5)
        order = np.lexsort((seqs, hashes))
        return _Rows(hashes[order], seqs[order], versions[order], places[order], files[order])

    def _told(self, low: int, high: int | None) -> _Events:
        parts: list[tuple[Any, ...]] = []
        for number, trace in enumerate((*self.written, *self.loaded)):
            share = trace.between(low, high)
            versions = np.asarray(trace.versions[share])
            parts.append((trace.hashes[share], trace.seqs[share], versions, np.full(len(versions), number)))
        hashes, seqs, versions, sources = _concatenated(parts, 4)
        order = np.lexsort((seqs, hashes))
        return _Events(hashes[order], seqs[order], versions[order], sources[order])

    def _row(self, rows: _Rows, at: int) -> RowAt:
        return RowAt(self.rows[int(rows.files[at])].trace.key, int(rows.places[at]))

    def _event(self, events: _Events, at: int) -> EventAt:
        trace = (*self.written, *self.loaded)[int(events.sources[at])]
        return EventAt(trace.key, int(events.seqs[at]))

    def _twice(self, rows: _Rows, twice: Flags) -> Iterator[Anomaly]:
        for at, times in self._some(Rule.ID_TWICE, np.flatnonzero(twice)):
            one, other = self._row(rows, at), self._row(rows, at + 1)
            message = f"seq {rows.seqs[at]} here, seq {rows.seqs[at + 1]} in row {other.row} of {other.file!r}"
            yield Anomaly(Rule.ID_TWICE, message, one, other, times=times)

    def _broken_versions(self, events: _Events, same: Flags) -> Iterator[Anomaly]:
        versions = events.versions
        broken = same & (versions[1:] != REMOVED) & (versions[1:] != versions[:-1] + 1)
        for at, times in self._some(Rule.VERSION_BROKEN, np.flatnonzero(broken)):
            before, after = int(versions[at]), int(versions[at + 1])
            message = f"version {after} at seq {events.seqs[at + 1]} after version {before} at seq {events.seqs[at]}"
            yield Anomaly(Rule.VERSION_BROKEN, message, event=self._event(events, at + 1), times=times)

    def _compare(
        self, rows: _Rows, events: _Events, newest_row: Any, last_event: Any, doubled: set[int]
    ) -> Iterator[Anomaly]:
        """Hold the last event of each document against its live row."""
        row_hashes, event_hashes = rows.hashes[newest_row], events.hashes[last_event]
        row_of, has_row = _matches(event_hashes, row_hashes)
        _, has_event = _matches(row_hashes, event_hashes)
        seqs, versions = events.seqs[last_event], events.versions[last_event]
        in_memory = (events.sources[last_event] < len(self.written)) & (seqs >= self.memory_from)
        exists = versions != REMOVED
        at_row = _taken(newest_row, row_of)
        row_seqs, row_versions = _taken(rows.seqs, at_row), _taken(rows.versions, at_row)
        told_of = int((has_row & ~in_memory).sum() + (in_memory & exists).sum())
        self.documents += int((~has_event).sum()) + told_of
        stored = ~in_memory & (~np.isin(event_hashes, list(doubled)) if doubled else True)
        newer = has_row & (row_seqs > seqs)
        cases = {
            Rule.DOCUMENT_LOST: stored & exists & ~has_row,
            Rule.DOCUMENT_RESURRECTED: stored & ~exists & has_row & ~newer,
            Rule.DOCUMENT_STALE: stored & exists & has_row & (row_seqs < seqs),
            Rule.VERSION_DIFFERS: stored & exists & has_row & (row_seqs == seqs) & (row_versions != versions),
            Rule.EVENT_MISSING: newer | (in_memory & has_row & (row_seqs == seqs)),
        }
        for rule, mask in cases.items():
            for at, times in self._some(rule, np.flatnonzero(mask)):
                event = self._event(events, int(last_event[at]))
                row = self._row(rows, int(at_row[at])) if has_row[at] else None
                told = f"version {versions[at]}" if exists[at] else "removed"
                found = f"the row has version {row_versions[at]} of seq {row_seqs[at]}" if row else "there is no row"
                yield Anomaly(rule, f"{told} since seq {event.seq}, {found}", row, event=event, times=times)
        if self.first_seq is not None:
            alone = ~has_event & (rows.seqs[newest_row] >= self.first_seq)
            for at, times in self._some(Rule.EVENT_MISSING, np.flatnonzero(alone)):
                place = int(newest_row[at])
                message = f"seq {rows.seqs[place]}; events are kept from seq {self.first_seq} on"
                yield Anomaly(Rule.EVENT_MISSING, message, self._row(rows, place), times=times)

    def _some(self, rule: Rule, places: Any) -> Iterator[tuple[int, int]]:
        """Yield the first places, as long as findings of the rule are named; the last one stands for the rest."""
        named = max(1, FINDINGS_MAX - self._reported.get(rule, 0))
        self._reported[rule] = self._reported.get(rule, 0) + len(places)
        for number, at in enumerate(places[:named].tolist()):
            last = number == min(named, len(places)) - 1
            yield at, len(places) - number if last else 1


def _alive(dead: BitMap, places: npt.NDArray[np.uint32]) -> Flags:
    if not dead:
        return np.ones(len(places), np.bool_)
    return ~np.isin(places, np.frombuffer(dead.to_array(), np.uint32))


def _taken(values: Any, at: Any) -> Any:
    """Return the values at some places; of no values, zeros, which nobody looks at."""
    return values[at] if len(values) else np.zeros(len(at), np.int64)


def _matches(wanted: Any, among: Any) -> tuple[Any, Flags]:
    """Return where each wanted hash is among ascending ones, and whether it is there at all."""
    if not len(among):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    at = np.minimum(among.searchsorted(wanted), len(among) - 1)
    return at, among[at] == wanted


def _concatenated(parts: Sequence[tuple[Any, ...]], width: int) -> tuple[Any, ...]:
    if not parts:
        return (np.empty(0, np.uint64), *(np.empty(0, np.int64) for _ in range(width - 1)))
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))

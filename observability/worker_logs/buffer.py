"""Rows that wait to be stored: bounded in number and bytes, filled from any thread, with counts of everything.

When it is full, what comes next is dropped and counted: the beginning of an outage, which tells its cause, is kept, and
a full buffer costs its callers nothing but a count.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from parquedb.observability.worker_logs.rows import LEVEL_AT, OUTCOME_AT, SCRIPT_AT, Row

SCRIPTS_MAX: Final = 1_000
"""Different values of one kind that are counted; the rest are `OTHER`."""

OTHER: Final = "_other"


@dataclass(frozen=True, slots=True)
class LogCounts:
    """What one view has seen since it was made.

    Attributes:
        ingested: Rows that came, those dropped among them.
        stored: Rows that are in files.
        buffered: Rows that wait; those being stored among them.
        buffered_bytes: What these take, estimated from above.
        dropped: Rows that found the buffer full, or were left when the view was closed.
        rejected: Records that could not become rows, most of all because their redaction failed.
        files: Files stored.
        failures: Attempts to store a file that failed, or whose outcome was unknown.
        by_level, by_outcome, by_script: Rows that came, those dropped among them.
        dropped_by_level: Of those dropped.
        upkeeps: Turns of the data set's upkeep that this view took.
        upkeep_failures: Times that its upkeep met an error.
        files_merged: Files that its upkeep replaced by merged ones.
        files_deleted: Files that its upkeep deleted, expired ones among them.
    """

    ingested: int = 0
    stored: int = 0
    buffered: int = 0
    buffered_bytes: int = 0
    dropped: int = 0
    rejected: int = 0
    files: int = 0
    failures: int = 0
    by_level: dict[str, int] = field(default_factory=dict)
    by_outcome: dict[str, int] = field(default_factory=dict)
    by_script: dict[str, int] = field(default_factory=dict)
    dropped_by_level: dict[str, int] = field(default_factory=dict)
    upkeeps: int = 0
    upkeep_failures: int = 0
    files_merged: int = 0
    files_deleted: int = 0


class LogBuffer:
    """The rows that wait.

    Invariants:
        I1. `accepted == settled + rows waiting or being stored`.
        I2. The bytes held never exceed `bytes_max`.

    Args:
        rows_max: Rows held at most.
        bytes_max: Bytes held at most, as rows estimate themselves.
    """

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        # Reentrant: the garbage collector may run a destructor inside the lock, and that one may log.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._waiting: deque[tuple[Row, int]] = deque()
        self._bytes = 0
        self._ingested = self._dropped = self._unreported = 0
        self.accepted = self.settled = 0
        self.rejected = self.files = self.failures = self.stored = 0
        self.upkeeps = self.upkeep_failures = self.files_merged = self.files_deleted = 0
        self._by_level: Counter[str] = Counter()
        self._by_outcome: Counter[str] = Counter()
        self._by_script: Counter[str] = Counter()
        self._dropped_by_level: Counter[str] = Counter()

    def add(self, rows: list[tuple[Row, int]]) -> tuple[int, int]:
        """Take rows in as far as there is room; return how many waited before, and wait now. Never blocks long."""
        levels = [row[LEVEL_AT] for row, _ in rows]
        with self._lock:
            self._ingested += len(rows)
            _count(self._by_level, levels)
            _count(self._by_outcome, [row[OUTCOME_AT] for row, _ in rows])
            _count(self._by_script, [row[SCRIPT_AT] for row, _ in rows])
            before = len(self._waiting)
            held = self.accepted - self.settled
            size = sum(size for _, size in rows)
            if held + len(rows) <= self._rows_max and self._bytes + size <= self._bytes_max:
                self._waiting.extend(rows)
                self._bytes += size
                self.accepted += len(rows)
            else:
                self._add_some(rows, held)
            return before, len(self._waiting)

    def _add_some(self, rows: list[tuple[Row, int]], held: int) -> None:
        for row, size in rows:
            if held < self._rows_max and self._bytes + size <= self._bytes_max:
                self._waiting.append((row, size))
                self._bytes += size
                self.accepted += 1
                held += 1
            else:
                self._dropped += 1
                self._unreported += 1
                _count(self._dropped_by_level, [row[LEVEL_AT]])

    def wait_for_room(self, rows: int, size: int, timeout_s: float) -> bool:
        """Wait until so many rows and bytes fit in, or time is up; say whether they fit."""

        def fits() -> bool:
            return self.accepted - self.settled + rows <= self._rows_max and self._bytes + size <= self._bytes_max

        with self._room:
            return self._room.wait_for(fits, timeout_s)

    def take(self, rows_max: int) -> tuple[list[Row], int]:
        """Return the oldest rows, at most `rows_max`, and their bytes, which stay held until they are `settle`d."""
        with self._lock:
            taken = list(islice(self._waiting, rows_max))
            for _ in taken:
                self._waiting.popleft()
        return [row for row, _ in taken], sum(size for _, size in taken)

    def unreported(self) -> int:
        """Return how many rows were dropped since this was last asked."""
        with self._lock:
            dropped, self._unreported = self._unreported, 0
            return dropped

    def settle(self, rows: int, size: int, *, stored: bool) -> None:
        """Let go of rows that were taken: they are in files, or never will be."""
        with self._lock:
            self.settled += rows
            self._bytes -= size
            if stored:
                self.stored += rows
            else:
                self._dropped += rows
            self._room.notify_all()

    def abandon(self) -> None:
        """Drop everything that waits."""
        rows, size = self.take(self._rows_max)
        with self._lock:
            _count(self._dropped_by_level, [row[LEVEL_AT] for row in rows])
        self.settle(len(rows), size, stored=False)

    def reject(self) -> None:
        """Count a record that could not become a row."""
        with self._lock:
            self.rejected += 1

    @property
    def waiting(self) -> int:
        """Return how many rows wait and are not being stored."""
        return len(self._waiting)

    def counts(self) -> LogCounts:
        """Return all counts as of one moment."""
        with self._lock:
            return LogCounts(
                ingested=self._ingested,
                stored=self.stored,
                buffered=self.accepted - self.settled,
                buffered_bytes=self._bytes,
                dropped=self._dropped,
                rejected=self.rejected,
                files=self.files,
                failures=self.failures,
                by_level=dict(self._by_level),
                by_outcome=dict(self._by_outcome),
                by_script=dict(self._by_script),
                dropped_by_level=dict(self._dropped_by_level),
                upkeeps=self.upkeeps,
                upkeep_failures=self.upkeep_failures,
                files_merged=self.files_merged,
                files_deleted=self.files_deleted,
            )


def _count(counter: Counter[str], values: list[str]) -> None:
    if len(values) == 1:
        value = values[0]
        counter[value if value in counter or len(counter) < SCRIPTS_MAX else OTHER] += 1
        return
    for value, number in Counter(values).items():
        known = value in counter or len(counter) < SCRIPTS_MAX
        counter[value if known else OTHER] += number

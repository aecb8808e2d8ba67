"""Counting one kind of operation, cheaply enough to be always on.

Operations and calls gather in lists and are folded into the histograms by the hundred: a fold of numpy costs as much as
a few operations counted one by one. Appending to a list needs no lock: threads that count do not wait for each other.
"""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Final

import numpy as np

from parquedb.observability.metrics.measures import BUCKETS_S, WINDOWS_S, Failures, OperationMetrics, Recent
from parquedb.observability.metrics.sketch import DenseSketch, Floats, QuantileSketch

OTHER: Final = "_other"
"""The name under which namespaces, operations and types of error beyond a bound are summed."""

ERROR_TYPES_MAX: Final = 50
"""Types of error that one series tells apart."""

_FOLD_AT: Final = 512
_FOLD_CALLS_AT: Final = 128
_MARK_S: Final = 10.0
_MARKS_MAX: Final = int(WINDOWS_S[-1] / _MARK_S) + 2
_BOUNDS: Final = np.array(BUCKETS_S)


class Series:
    """The numbers of one kind of operation. Any thread may add.

    Args:
        now: Monotonic seconds.
        rows_each: Documents that each operation counted by `finish` reads or writes.

    Invariants:
        M1. Each operation is in exactly one of: what is pending, and one bin and one bucket.
        M2. No count ever falls.
    """

    __slots__ = (
        "_bins",
        "_buckets",
        "_bytes",
        "_calls",
        "_failures",
        "_folded",
        "_lock",
        "_mark_due_s",
        "_marks",
        "_max_s",
        "_min_s",
        "_now",
        "_pending",
        "_rows",
        "_successor",
        "_sum_s",
        "rows_each",
    )

    def __init__(self, now: Callable[[], float], rows_each: int = 0) -> None:
        self._now = now
        self.rows_each = rows_each
        self._pending: list[float] = []
        self._calls: list[tuple[float, int, int, int]] = []
        self._lock = threading.Lock()
        self._folded = self._rows = self._bytes = 0
        self._sum_s, self._min_s, self._max_s = 0.0, float("inf"), float("-inf")
        self._bins: DenseSketch | None = None
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._failures: dict[str, _Failures] = {}
        # How much had been counted at some past moments; the latest mark before a window began tells what is in it.
        self._marks: deque[tuple[float, int, int]] = deque(maxlen=_MARKS_MAX)
        self._mark_due_s = now() + _MARK_S
        self._successor: Callable[[], Series] | None = None

    @property
    def count(self) -> int:
        """Operations counted so far."""
        with self._lock:
            self._fold()
            return self._folded

    def finish(self, began_s: float, now_s: float | None = None) -> None:
        """Count one that went well, began then and ends now; on the clock given, which the caller may have read."""
        if now_s is None:
            now_s = self._now()
        if now_s >= self._mark_due_s:
            if self._successor is not None:
                self._successor().finish(began_s, now_s)
                return
            self._mark(now_s)
        pending = self._pending
        pending.append(now_s - began_s)
        if len(pending) >= _FOLD_AT:
            with self._lock:
                self._fold()

    def add_call(
        self,
        took_s: float,
        *,
        count: int = 1,
        errors: Mapping[str, int] | None = None,
        rows: int = 0,
        size: int = 0,
    ) -> None:
        """Count a call that ends now and carried operations of this kind, each of which took as long as the call.

        Args:
            took_s: Seconds.
            count: Operations, failed ones included.
            errors: How many of them failed, by type of error.
            rows: Documents read or written.
            size: Bytes read or written.
        """
        now_s = self._now()
        if now_s >= self._mark_due_s:
            if self._successor is not None:
                self._successor().add_call(took_s, count=count, errors=errors, rows=rows, size=size)
                return
            self._mark(now_s)
        calls = self._calls
        # `_numbers` reckons with `rows_each` for every operation, and this call speaks for itself.
        calls.append((took_s, count, rows - count * self.rows_each, size))
        if errors or len(calls) >= _FOLD_CALLS_AT:
            with self._lock:
                self._fold()
                for kind, times in (errors or {}).items():
                    self._failed(kind).add(took_s, bisect_left(BUCKETS_S, took_s), times)

    def retire(self, successor: Callable[[], "Series"]) -> OperationMetrics:
        """Return the last numbers; what is added from now on goes to the series that `successor` returns then.

        Whoever keeps a series and adds to it a thousand times a second must not have to ask whether it is still the
        one. What another thread adds in this very moment may be lost.
        """
        self._successor, self._mark_due_s = successor, float("-inf")
        with self._lock:
            return self._numbers(self._now())

    def taken(self) -> OperationMetrics:
        """Return the numbers as they stand."""
        now_s = self._now()
        if now_s >= self._mark_due_s:
            self._mark(now_s)
        with self._lock:
            return self._numbers(now_s)

    def _numbers(self, now_s: float) -> OperationMetrics:
        self._fold()
        return OperationMetrics(
            count=self._folded,
            sum_s=self._sum_s,
            min_s=self._min_s if self._folded else None,
            max_s=self._max_s if self._folded else None,
            sketch=QuantileSketch() if self._bins is None else self._bins.taken(),
            buckets=tuple(accumulate(self._buckets)),
            errors={kind: each.count for kind, each in self._failures.items()},
            failures={kind: each.taken() for kind, each in self._failures.items()},
            rows=self._rows + self._folded * self.rows_each,
            bytes=self._bytes,
            recent=tuple(self._recent(window_s, now_s) for window_s in WINDOWS_S),
        )

    def _fold(self) -> None:
        """Sort what is pending into the histograms. The lock is held; others may append meanwhile."""
        size = len(self._pending)
        if size:
            values = np.fromiter(self._pending, np.float64, size)
            del self._pending[:size]
            self._folded += size
            self._fold_in(values, None)
        size = len(self._calls)
        if size:
            values, counts, rows, bytes_ = np.array(self._calls[:size], dtype=np.float64).T
            del self._calls[:size]
            self._folded += int(counts.sum())
            self._rows += int(rows.sum())
            self._bytes += int(bytes_.sum())
            self._fold_in(values, counts)

    def _fold_in(self, values: Floats, counts: Floats | None) -> None:
        """Sort durations in, each once or as often as its count says."""
        self._sum_s += float(values.sum() if counts is None else values @ counts)
        self._min_s = min(self._min_s, float(values.min()))
        self._max_s = max(self._max_s, float(values.max()))
        if self._bins is None:
            self._bins = DenseSketch()
        self._bins.add(values, counts)
        places = np.bincount(np.searchsorted(_BOUNDS, values), counts, minlength=len(self._buckets))
        self._buckets = [before + int(more) for before, more in zip(self._buckets, places.tolist(), strict=True)]

    def _failed(self, kind: str) -> "_Failures":
        failures = self._failures
        if kind not in failures and len(failures) >= ERROR_TYPES_MAX:
            kind = OTHER
        return failures.setdefault(kind, _Failures())

    def _errors(self) -> int:
        return sum(each.count for each in self._failures.values())

    def _mark(self, now_s: float) -> None:
        """Note what had been counted when the mark was due: nothing has been added since, or it would be there."""
        with self._lock:
            if now_s >= self._mark_due_s:
                self._fold()
                self._marks.append((self._mark_due_s, self._folded, self._errors()))
                self._mark_due_s = now_s + _MARK_S

    def _recent(self, window_s: float, now_s: float) -> Recent:
        began_s = now_s - window_s
        count, errors = next(
            ((count, errors) for at_s, count, errors in reversed(self._marks) if at_s <= began_s), (0, 0)
        )
        return Recent(window_s, self._folded - count, self._errors() - errors)


class _Failures:
    """`Failures` in the making."""

    __slots__ = ("_buckets", "_sum_s", "count")

    def __init__(self) -> None:
        self.count, self._sum_s, self._buckets = 0, 0.0, [0] * (len(BUCKETS_S) + 1)

    def add(self, took_s: float, place: int, times: int) -> None:
        self.count += times
        self._sum_s += took_s * times
        self._buckets[place] += times

    def taken(self) -> Failures:
        return Failures(self._sum_s, tuple(accumulate(self._buckets)))

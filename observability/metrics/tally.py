"""What a process has counted so far: of each namespace its operations, openings, flushes and cache.

Namespaces beyond a bound are not kept apart: the less busy half of them is then summed as `OTHER`, so that a process
that serves a million tenants needs no more memory than one with a hundred, and shows its busiest.
"""

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from parquedb.observability.metrics.measures import (
    CacheMetrics,
    CircuitMetrics,
    Durations,
    OperationMetrics,
    OwnerGauges,
)
from parquedb.observability.metrics.series import OTHER, Series
from parquedb.observability.metrics.snapshot import CircuitKey, MetricsSnapshot, OperationKey

NAMESPACES_MAX: Final = 100
"""Namespaces that are kept apart, unless somebody says otherwise."""

OPERATIONS_MAX: Final = 100
"""Kinds of operation that are told apart in one namespace."""

CIRCUITS_MAX: Final = 100
"""Circuits whose changes are counted; a process has two or three."""

_MERGED_MAX: Final = 10_000
"""Merged namespaces whose names are remembered, to know how many they are."""

_Kind = tuple[str, str, str]


class _Namespace:
    """What is counted of one namespace."""

    __slots__ = ("cold_starts", "compactions", "flushes", "hits", "misses", "operations", "refused")

    def __init__(self) -> None:
        self.operations: dict[_Kind, Series] = {}
        self.cold_starts: Series | None = None
        self.flushes: dict[str, int] = {}
        self.compactions = self.hits = self.misses = self.refused = 0

    def busy(self) -> int:
        """Return how many operations there were."""
        return sum(series.count for series in self.operations.values())


class Tally:
    """The counts of one process. Thread-safe.

    Attributes:
        now: Its clock, monotonic seconds.
    """

    def __init__(
        self,
        *,
        namespaces_max: int = NAMESPACES_MAX,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Begin to count.

        Args:
            namespaces_max: Namespaces kept apart (count, from 1).
            now: Monotonic seconds.
            wall: Unix time.
        """
        self.now = now
        self._wall = wall
        self._started_s = wall()
        self._namespaces_max = namespaces_max
        self._namespaces: dict[str, _Namespace] = {}
        self._merged: set[str] = set()
        self._rest = MetricsSnapshot()
        self._circuits: dict[CircuitKey, CircuitMetrics] = {}
        self._lock = threading.RLock()

    def series(self, category: str, operation: str, namespace: str, side: str, *, rows_each: int = 0) -> Series:
        """Return where operations of a kind are counted; whoever asks may keep it.

        Args:
            category: As in `OperationKey`.
            operation: As there.
            namespace: As there.
            side: As there.
            rows_each: See `Series`; counts for a new one.
        """
        kind = (category, operation, side)
        known = self._namespaces.get(namespace)
        found = known.operations.get(kind) if known is not None else None
        if found is not None:
            return found
        with self._lock:
            operations = self._of(namespace).operations
            if kind not in operations and len(operations) >= OPERATIONS_MAX:
                kind = (category, OTHER, side)
            found = operations.get(kind)
            if found is None:
                found = operations[kind] = Series(self.now, rows_each)
            return found

    def cold_start(self, namespace: str, took_s: float) -> None:
        """Count an opening that took so many seconds."""
        with self._lock:
            of = self._of(namespace)
            if of.cold_starts is None:
                of.cold_starts = Series(self.now)
            of.cold_starts.add_call(took_s)

    def flush(self, namespace: str, reason: str) -> None:
        """Count a flush."""
        with self._lock:
            flushes = self._of(namespace).flushes
            flushes[reason] = flushes.get(reason, 0) + 1

    def compaction(self, namespace: str) -> None:
        """Count a compaction."""
        with self._lock:
            self._of(namespace).compactions += 1

    def refused(self, namespace: str, count: int = 1) -> None:
        """Count operations that an owner refused because something was full."""
        with self._lock:
            self._of(namespace).refused += count

    def cached(self, namespace: str, *, hits: int = 0, misses: int = 0) -> None:
        """Count reads that found what they needed in memory, and reads that did not."""
        with self._lock:
            of = self._of(namespace)
            of.hits += hits
            of.misses += misses

    def circuit(self, namespace: str, circuit: str, state: str) -> None:
        """Count that a circuit changed to a state."""
        key = CircuitKey(namespace, circuit)
        with self._lock:
            before = self._circuits.get(key)
            if before is None and len(self._circuits) >= CIRCUITS_MAX:
                return
            self._circuits[key] = CircuitMetrics(state, {state: 1}) + CircuitMetrics(
                state, before.transitions if before is not None else {}
            )

    def taken(self) -> MetricsSnapshot:
        """Return everything counted so far."""
        with self._lock:
            own = self._taken(self._namespaces, _numbers)
            return MetricsSnapshot.merge(own, self._rest)

    def _taken(
        self, namespaces: Mapping[str, _Namespace], numbers: Callable[[OperationKey, Series], OperationMetrics]
    ) -> MetricsSnapshot:
        series = {
            OperationKey(category, operation, name, side): each
            for name, of in namespaces.items()
            for (category, operation, side), each in of.operations.items()
        }
        return MetricsSnapshot(
            operations={key: numbers(key, each) for key, each in series.items()},
            owners={
                name: OwnerGauges(backpressure=of.refused, flushes=dict(of.flushes), compactions=of.compactions)
                for name, of in namespaces.items()
                if of.refused or of.flushes or of.compactions
            },
            circuits=dict(self._circuits),
            cold_starts={
                name: _durations(of.cold_starts.taken())
                for name, of in namespaces.items()
                if of.cold_starts is not None
            },
            cache={name: CacheMetrics(of.hits, of.misses) for name, of in namespaces.items() if of.hits or of.misses},
            merged_namespaces=len(self._merged),
            started_s=self._started_s,
            taken_s=self._wall(),
        )

    def _of(self, namespace: str) -> _Namespace:
        """Return a namespace's counts. The lock is held."""
        found = self._namespaces.get(namespace)
        if found is None:
            if len(self._namespaces) >= self._namespaces_max:
                self._merge()
            found = self._namespaces[namespace] = _Namespace()
        return found

    def _merge(self) -> None:
        """Sum the less busy half of the namespaces as `OTHER`. The lock is held."""
        by_use = sorted(self._namespaces, key=lambda name: self._namespaces[name].busy())
        quiet = {name: self._namespaces.pop(name) for name in by_use[: (len(by_use) + 1) // 2]}
        self._merged.update(itertools.islice(quiet, max(0, _MERGED_MAX - len(self._merged))))
        taken = replace(self._taken(quiet, self._retired), circuits={}).grouped(lambda _: OTHER)
        # What was recent then will not be for long, and nobody will come to say so.
        past = {key: replace(one, recent=OperationMetrics().recent) for key, one in taken.operations.items()}
        self._rest = MetricsSnapshot.merge(self._rest, replace(taken, operations=past))

    def _retired(self, key: OperationKey, series: Series) -> OperationMetrics:
        return series.retire(lambda: self.series(*key, rows_each=series.rows_each))


def _numbers(_key: OperationKey, series: Series) -> OperationMetrics:
    return series.taken()


def _durations(found: OperationMetrics) -> Durations:
    return Durations(found.count, found.sum_s, found.min_s, found.max_s, found.sketch, found.buckets)

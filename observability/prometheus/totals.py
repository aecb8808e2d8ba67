"""The sum over processes that come and go, as counters that never fall.

An owner that ends takes its counters along. In a sum with others that looks like a reset of all of them, which
Prometheus makes up for by counting the rest a second time; and an owner that is back before the next scrape with as
much on a counter as before (one cold start) looks as if nothing had happened. So what a process has counted is kept.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from parquedb.observability.metrics.measures import CircuitMetrics, OwnerGauges
from parquedb.observability.metrics.snapshot import OTHER, MetricsSnapshot
from parquedb.observability.metrics.tally import NAMESPACES_MAX

RETURNING_MAX: Final = 100
"""Ended processes that are still told apart, in case one was only out of sight."""


class RunningTotals:
    """What all processes of a database have counted together since this object was made. Not thread-safe.

    Args:
        namespaces_max: Namespaces with series of their own, some hundreds each; the others are summed as `_other`.
        returning_max: Ended processes that are kept apart before they are summed.

    Invariants:
        T1. No count of a returned snapshot is below the same count of an earlier one, if no process takes one back.
        T2. At most `namespaces_max` namespaces stand by themselves, and one that does not never will.
    """

    def __init__(self, *, namespaces_max: int = NAMESPACES_MAX, returning_max: int = RETURNING_MAX) -> None:
        self._namespaces_max = namespaces_max
        self._returning_max = returning_max
        self._named: set[str] = set()
        self._present: dict[str, MetricsSnapshot] = {}
        self._ended: dict[tuple[str, float], MetricsSnapshot] = {}
        self._settled = MetricsSnapshot()

    def update(self, found: Mapping[str, MetricsSnapshot]) -> MetricsSnapshot:
        """Return the totals, now that each process has said what it has counted.

        Args:
            found: What each counted, by the name of the process: of an owner its namespace. One that is missing here
                has ended, unless some snapshot lists it as `unreachable`, or lists the empty name, which stands for
                all: then its last word stands.
        """
        unreachable = {name: why for one in found.values() for name, why in one.unreachable.items()}
        for name, last in list(self._present.items()):
            now = found.get(name)
            if now is None:
                ended = name not in unreachable and "" not in unreachable
            else:
                ended = now.started_s != last.started_s
            if ended:
                self._end(name, self._present.pop(name))
        for name, now in found.items():
            self._ended.pop((name, now.started_s), None)
            self._present[name] = now
        present = MetricsSnapshot.merge(*self._present.values())
        nameless = self._name_newcomers(present)
        total = MetricsSnapshot.merge(self._settled, *self._ended.values(), self._renamed(present))
        return replace(total, merged_namespaces=present.merged_namespaces + nameless, unreachable=unreachable)

    def _end(self, name: str, last: MetricsSnapshot) -> None:
        self._ended[name, last.started_s] = self._renamed(_at_rest(last))
        while len(self._ended) > self._returning_max:
            oldest = next(iter(self._ended))
            self._settled = MetricsSnapshot.merge(self._settled, self._ended.pop(oldest))

    def _name_newcomers(self, present: MetricsSnapshot) -> int:
        """Give names to new namespaces while there are some, the busiest first; return how many go without."""
        calls = dict.fromkeys(present.namespaces, 0)
        for key, metrics in present.operations.items():
            if key.namespace in calls:
                calls[key.namespace] += metrics.count
        new = sorted(calls.keys() - self._named, key=lambda namespace: (-calls[namespace], namespace))
        self._named.update(new[: self._namespaces_max - len(self._named)])
        return sum(namespace not in self._named for namespace in new)

    def _renamed(self, snapshot: MetricsSnapshot) -> MetricsSnapshot:
        return snapshot.grouped(lambda name: name if not name or name in self._named else OTHER)


def _at_rest(snapshot: MetricsSnapshot) -> MetricsSnapshot:
    """Return what an ended process leaves: its counts, but nothing that waits and no circuit that is open."""
    return replace(
        snapshot,
        owners={
            namespace: OwnerGauges(
                backpressure=owner.backpressure, flushes=owner.flushes, compactions=owner.compactions
            )
            for namespace, owner in snapshot.owners.items()
        },
        circuits={key: CircuitMetrics(transitions=circuit.transitions) for key, circuit in snapshot.circuits.items()},
    )

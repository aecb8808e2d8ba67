"""Metrics as plain values: what was counted up to a moment, in one process or, merged, in many.

Counts only grow while a process lives. Merging adds, so its order does not matter. Where there are more namespaces than
a bound, the busiest keep their own numbers and the others are summed as `OTHER`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, NamedTuple

import msgspec

from parquedb.observability.callbacks import HookStats
from parquedb.observability.metrics.measures import (
    BUCKETS_S,
    CIRCUIT_STATES,
    WINDOWS_S,
    CacheMetrics,
    CircuitMetrics,
    Durations,
    Failures,
    HookMetrics,
    K,
    OperationMetrics,
    OwnerGauges,
    Recent,
    V,
    summed,
)
from parquedb.observability.metrics.series import OTHER

__all__ = [
    "BUCKETS_S",
    "CIRCUIT_STATES",
    "OTHER",
    "WINDOWS_S",
    "CacheMetrics",
    "CircuitKey",
    "CircuitMetrics",
    "Durations",
    "Failures",
    "HookMetrics",
    "MetricsSnapshot",
    "OperationKey",
    "OperationMetrics",
    "OwnerGauges",
    "Recent",
    "hooks_of",
]


class OperationKey(NamedTuple):
    """What the numbers of an operation are kept by.

    Attributes:
        category: `query`, `mutation`, `storage` or `commit`.
        operation: Such as `find`, `create` or `read_range`.
        namespace: Whose; empty where none is known.
        side: Where it was measured, `client` or `actor`. One call may be seen by both: do not add the two.
    """

    category: str
    operation: str
    namespace: str
    side: str


class CircuitKey(NamedTuple):
    """A circuit of a namespace's owner; with an empty namespace, one of a client's own storage."""

    namespace: str
    circuit: str


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """Everything counted up to a moment.

    Attributes:
        operations: By category, operation, namespace and side.
        owners: By namespace.
        circuits: By namespace and name.
        cold_starts: Openings of a namespace by an owner, by namespace.
        cache: Of owners, by namespace.
        hooks: By name of the hook.
        logs_dropped: Log records that were not kept (count).
        spans_dropped: Spans that were not sent (count).
        merged_namespaces: How many namespaces are summed as `OTHER`, at least; 0 when each has its own numbers.
        unreachable: Namespaces whose owner's numbers are missing here, and why.
        nodes: Nodes of the Ray cluster that are alive; 0 when nobody has asked.
        started_s: When counting began (Unix time); the earliest of several.
        taken_s: When this was taken (Unix time); the latest of several.
    """

    operations: dict[OperationKey, OperationMetrics] = field(default_factory=dict)
    owners: dict[str, OwnerGauges] = field(default_factory=dict)
    circuits: dict[CircuitKey, CircuitMetrics] = field(default_factory=dict)
    cold_starts: dict[str, Durations] = field(default_factory=dict)
    cache: dict[str, CacheMetrics] = field(default_factory=dict)
    hooks: dict[str, HookMetrics] = field(default_factory=dict)
    logs_dropped: int = 0
    spans_dropped: int = 0
    merged_namespaces: int = 0
    unreachable: dict[str, str] = field(default_factory=dict)
    nodes: int = 0
    started_s: float = 0.0
    taken_s: float = 0.0

    @staticmethod
    def merge(*snapshots: "MetricsSnapshot") -> "MetricsSnapshot":
        """Return the sum of several, taken in different processes."""
        return MetricsSnapshot(
            operations=summed(one.operations for one in snapshots),
            owners=summed(one.owners for one in snapshots),
            circuits=summed(one.circuits for one in snapshots),
            cold_starts=summed(one.cold_starts for one in snapshots),
            cache=summed(one.cache for one in snapshots),
            hooks=summed(one.hooks for one in snapshots),
            logs_dropped=sum(one.logs_dropped for one in snapshots),
            spans_dropped=sum(one.spans_dropped for one in snapshots),
            merged_namespaces=max((one.merged_namespaces for one in snapshots), default=0),
            unreachable={name: why for one in snapshots for name, why in one.unreachable.items()},
            nodes=max((one.nodes for one in snapshots), default=0),
            started_s=min((one.started_s for one in snapshots if one.started_s), default=0.0),
            taken_s=max((one.taken_s for one in snapshots), default=0.0),
        )

    def grouped(self, name_of: Callable[[str], str]) -> "MetricsSnapshot":
        """Return the same with each namespace under another name; those that get one name are summed."""
        return replace(
            self,
            operations=_renamed(self.operations, lambda key: key._replace(namespace=name_of(key.namespace))),
            owners=_renamed(self.owners, name_of),
            circuits=_renamed(self.circuits, lambda key: key._replace(namespace=name_of(key.namespace))),
            cold_starts=_renamed(self.cold_starts, name_of),
            cache=_renamed(self.cache, name_of),
        )

    def limited(self, namespaces_max: int, keep: Collection[str] = ()) -> "MetricsSnapshot":
        """Return the same with at most so many namespaces beside `OTHER`, as which the less busy ones are summed.

        Args:
            namespaces_max: How many (count).
            keep: Namespaces that stay whatever the others do, as far as they are within the bound: what has been shown
                once shall not vanish because another one has grown.
        """
        use = self._use()
        use.pop(OTHER, None)
        if len(use) <= namespaces_max:
            return self
        stay = set(sorted(use, key=lambda name: (name not in keep, -use[name], name))[:namespaces_max])
        # Whom a client has merged already, its owner may still name: the greater number, not the sum.
        merged = max(self.merged_namespaces, len(use) - len(stay))
        return replace(self.grouped(lambda name: name if name in stay else OTHER), merged_namespaces=merged)

    def _use(self) -> Counter[str]:
        """Return how many operations each namespace had; what is of no namespace counts for the empty name."""
        use = Counter(dict.fromkeys([*self.owners, *self.cold_starts, *self.cache], 0))
        use.update(dict.fromkeys((key.namespace for key in self.circuits), 0))
        for key, one in self.operations.items():
            use[key.namespace] += one.count
        return use

    @property
    def namespaces(self) -> list[str]:
        """The names of the namespaces with numbers of their own, sorted."""
        return sorted(self._use().keys() - {OTHER, ""})

    def to_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        plain: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in _KEYED:
            plain[name] = list(plain[name].items())
        made: dict[str, Any] = msgspec.to_builtins(plain, str_keys=True)
        return made

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> "MetricsSnapshot":
        """Make it again from what `to_json` returned.

        Raises:
            msgspec.ValidationError: it is something else; names the field.
        """
        keyed: dict[str, Any] = {
            name: dict(msgspec.convert(plain[name], pairs, str_keys=True)) for name, pairs in _KEYED.items()
        }
        rest = {name: value for name, value in plain.items() if name not in _KEYED}
        return replace(msgspec.convert(rest, MetricsSnapshot, str_keys=True), **keyed)


def hooks_of(stats: Iterable[HookStats]) -> dict[str, HookMetrics]:
    """Return what hooks have cost, by their names; several of one name are summed."""
    return summed({one.name: HookMetrics(sum(one.errors.values()), one.dropped)} for one in stats)


def _renamed(numbers: Mapping[K, V], name_of: Callable[[K], K]) -> dict[K, V]:
    return summed({name_of(key): value} for key, value in numbers.items())


# JSON has no tuples for keys: these two travel as lists of pairs.
_KEYED: Final[dict[str, Any]] = {
    "operations": list[tuple[OperationKey, OperationMetrics]],
    "circuits": list[tuple[CircuitKey, CircuitMetrics]],
}

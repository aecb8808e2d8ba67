"""Metrics as plain values: what was counted up to a moment, in one process or, merged, in many.

Counts only grow while a process lives. Merging adds, so its order does not matter. Where there are more namespaces than
a bound, the busiest keep their own numbers and the others are summed as `OTHER`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, NamedTuple

import msgspec

from parquedb.observability.metrics.measures import (
    BUCKETS_S,
    CIRCUIT_STATES,
    WINDOWS_S,
    CacheMetrics,
    CircuitMetrics,
    Durations,
    HookMetrics,
    OperationMetrics,
    OwnerGauges,
    Recent,
    summed,
)

__all__ = [
    "BUCKETS_S",
    "CIRCUIT_STATES",
    "OTHER",
    "WINDOWS_S",
    "CacheMetrics",
    "CircuitKey",
    "CircuitMetrics",
    "Durations",
    "HookMetrics",
    "MetricsSnapshot",
    "OperationKey",
    "OperationMetrics",
    "OwnerGauges",
    "Recent",
]

OTHER: Final = "_other"
"""The name under which namespaces, operations and types of error beyond a bound are summed."""


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
        merged_namespaces: How many namespaces are summed as `OTHER`; 0 when each has its own numbers.
        unreachable: Namespaces whose owner's numbers are missing here, and why.
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
    merged_namespaces: int = 0
    unreachable: dict[str, str] = field(default_factory=dict)
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
            merged_namespaces=max((one.merged_namespaces for one in snapshots), default=0),
            unreachable={name: why for one in snapshots for name, why in one.unreachable.items()},
            started_s=min((one.started_s for one in snapshots if one.started_s), default=0.0),
            taken_s=max((one.taken_s for one in snapshots), default=0.0),
        )

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


# JSON has no tuples for keys: these two travel as lists of pairs.
_KEYED: Final[dict[str, Any]] = {
    "operations": list[tuple[OperationKey, OperationMetrics]],
    "circuits": list[tuple[CircuitKey, CircuitMetrics]],
}

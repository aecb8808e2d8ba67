"""The numbers that metrics are made of. Two of a kind add up to one: `+` is what happened in both together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Any, Final, Protocol, Self, TypeVar

from parquedb.observability.metrics.sketch import QuantileSketch

BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds (inclusive) of the histograms' buckets, seconds; one more bucket holds everything."""

WINDOWS_S: Final = (60, 300)
"""Lengths of the windows that rates are given for, seconds."""

CIRCUIT_STATES: Final = ("closed", "half_open", "open")
"""Best first."""


class Summable(Protocol):
    """Something that adds up with its like."""

    def __add__(self, other: Self, /) -> Self: ...


K = TypeVar("K")
V = TypeVar("V", bound=Summable)


def summed(parts: Iterable[Mapping[K, V]]) -> dict[K, V]:
    """Return one mapping with, at each key, the sum of what the parts have there."""
    total: dict[K, V] = {}
    for part in parts:
        for key, value in part.items():
            before = total.get(key)
            total[key] = value if before is None else before + value
    return total


@dataclass(frozen=True, slots=True)
class Recent:
    """What happened in the last `window_s` seconds, give or take ten."""

    window_s: float
    requests: int = 0
    errors: int = 0

    @property
    def request_rate(self) -> float:
        """Operations a second."""
        return self.requests / self.window_s

    @property
    def error_rate(self) -> float:
        """Failed operations as a part of all, 0 to 1; 0 when there were none."""
        return self.errors / self.requests if self.requests else 0.0

    def __add__(self, other: "Recent") -> "Recent":
        return Recent(self.window_s, self.requests + other.requests, self.errors + other.errors)


@dataclass(frozen=True, slots=True)
class _Timed:
    """How long things of one kind took.

    Attributes:
        count: How many there were, failed ones included.
        sum_s: All their durations together.
        min_s: The shortest; None when there were none.
        max_s: The longest; None when there were none.
        sketch: For quantiles.
        buckets: How many took at most as long as each of `BUCKETS_S`, and at last all: 12 counts that never fall.
    """

    count: int = 0
    sum_s: float = 0.0
    min_s: float | None = None
    max_s: float | None = None
    sketch: QuantileSketch = field(default_factory=QuantileSketch)
    buckets: tuple[int, ...] = (0,) * (len(BUCKETS_S) + 1)

    @property
    def mean_s(self) -> float | None:
        """The mean duration; None when there were none."""
        return self.sum_s / self.count if self.count else None

    @property
    def p50_s(self) -> float | None:
        """The median."""
        return self.quantile(0.5)

    @property
    def p95_s(self) -> float | None:
        """What 95 % do not exceed."""
        return self.quantile(0.95)

    @property
    def p99_s(self) -> float | None:
        """What 99 % do not exceed."""
        return self.quantile(0.99)

    def quantile(self, fraction: float) -> float | None:
        """Return the duration that `fraction` (0 to 1) of them do not exceed, within 1.1 %; None without any."""
        value = self.sketch.quantile(fraction)
        if value is None or self.min_s is None or self.max_s is None:
            return None
        return min(max(value, self.min_s), self.max_s)


def _together(one: _Timed, other: _Timed) -> dict[str, Any]:
    return {
        "count": one.count + other.count,
        "sum_s": one.sum_s + other.sum_s,
        "min_s": min((each for each in (one.min_s, other.min_s) if each is not None), default=None),
        "max_s": max((each for each in (one.max_s, other.max_s) if each is not None), default=None),
        "sketch": one.sketch + other.sketch,
        "buckets": tuple(map(add, one.buckets, other.buckets)),
    }


@dataclass(frozen=True, slots=True)
class Durations(_Timed):
    """How long things took that can only succeed, such as cold starts."""

    def __add__(self, other: "Durations") -> "Durations":
        return Durations(**_together(self, other))


@dataclass(frozen=True, slots=True)
class OperationMetrics(_Timed):
    """The numbers of one kind of operation.

    Attributes:
        errors: How many failed, by type of error.
        rows: Documents read or written, where that is known.
        bytes: Bytes read or written, where that is known.
        recent: Counts in the windows of `WINDOWS_S`, shortest first.
    """

    errors: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0
    recent: tuple[Recent, ...] = tuple(Recent(window_s) for window_s in WINDOWS_S)

    @property
    def error_count(self) -> int:
        """How many failed."""
        return sum(self.errors.values())

    def __add__(self, other: "OperationMetrics") -> "OperationMetrics":
        return OperationMetrics(
            **_together(self, other),
            errors=summed((self.errors, other.errors)),
            rows=self.rows + other.rows,
            bytes=self.bytes + other.bytes,
            recent=tuple(map(add, self.recent, other.recent)),
        )


@dataclass(frozen=True, slots=True)
class OwnerGauges:
    """What the owner of a namespace says of itself.

    Attributes:
        queue_depth: Writes that wait to be committed.
        queue_bytes: Their size.
        commit_lag_s: Age of the oldest write that is not durable yet, seconds; 0 when all are.
        backpressure: Calls refused because something was full, since its start.
        flushes: Flushes to Parquet since its start, by reason.
        compactions: Compactions since its start.
    """

    queue_depth: int = 0
    queue_bytes: int = 0
    commit_lag_s: float = 0.0
    backpressure: int = 0
    flushes: dict[str, int] = field(default_factory=dict)
    compactions: int = 0

    def __add__(self, other: "OwnerGauges") -> "OwnerGauges":
        return OwnerGauges(
            self.queue_depth + other.queue_depth,
            self.queue_bytes + other.queue_bytes,
            max(self.commit_lag_s, other.commit_lag_s),
            self.backpressure + other.backpressure,
            summed((self.flushes, other.flushes)),
            self.compactions + other.compactions,
        )


@dataclass(frozen=True, slots=True)
class CircuitMetrics:
    """A circuit's `state` (`closed`, `half_open` or `open`; of several the worst), and how often it changed to each."""

    state: str = "closed"
    transitions: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: "CircuitMetrics") -> "CircuitMetrics":
        worst = max(self.state, other.state, key=CIRCUIT_STATES.index)
        return CircuitMetrics(worst, summed((self.transitions, other.transitions)))


@dataclass(frozen=True, slots=True)
class CacheMetrics:
    """How often a read found what it needed in memory (`hits`), and how often it had to be fetched (`misses`)."""

    hits: int = 0
    misses: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Hits as a part of all, 0 to 1; None when nothing was asked for."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None

    def __add__(self, other: "CacheMetrics") -> "CacheMetrics":
        return CacheMetrics(self.hits + other.hits, self.misses + other.misses)


@dataclass(frozen=True, slots=True)
class HookMetrics:
    """Callbacks of a hook that raised (`errors`), and those that were not run (`dropped`)."""

    errors: int = 0
    dropped: int = 0

    def __add__(self, other: "HookMetrics") -> "HookMetrics":
        return HookMetrics(self.errors + other.errors, self.dropped + other.dropped)

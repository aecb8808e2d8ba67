"""What a circuit breaker is told and what it tells: its options, and a reading of its counters."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from parquedb.errors import ConfigurationError
from parquedb.storage.breaker.changes import CircuitState
from parquedb.storage.breaker.verdict import counts_as_failure
from parquedb.storage.breaker.window import WindowTotals


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakerOptions:
    """When a breaker opens and closes.

    Attributes:
        failures: Failures in a row that open it, from 1.
        failure_rate: Failures per call, above 0 to 1, that open it.
        calls_min: Calls the window must hold before a rate is looked at, from 1.
        window_s: Seconds of calls that the rates are taken over.
        slow_call_s: Seconds from which a call is slow; None: slowness is not judged.
        slow_call_rate: Slow calls per call, above 0 to 1, that open it.
        open_s: Seconds from opening to the first probe.
        successes: Good probes that close it, from 1.
        probes_max: Probes at once, from 1.
        classify: Whether an error counts; see `counts_as_failure`. Called without any lock held.
    """

    failures: int = 5
    failure_rate: float = 0.5
    calls_min: int = 20
    window_s: float = 60.0
    slow_call_s: float | None = None
    slow_call_rate: float = 1.0
    open_s: float = 30.0
    successes: int = 2
    probes_max: int = 2
    classify: Callable[[BaseException], bool | None] = counts_as_failure

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            rate = option.name.endswith("_rate")
            if option.name == "classify" or value is None:
                continue
            if value < 1 if option.type is int else not 0 < value <= (1 if rate else float("inf")):
                limit = "at least 1" if option.type is int else "above 0 and at most 1" if rate else "above 0 seconds"
                raise ConfigurationError(
                    f"circuit breaker option {option.name} must be {limit}, not {value!r}", setting=option.name
                )

    def reason_to_open(self, consecutive: int, window: WindowTotals) -> str | None:
        """Say in words why a closed breaker must open now; None: it need not."""
        if consecutive >= self.failures:
            return f"{consecutive} failures in a row"
        if window.calls < self.calls_min:
            return None
        if window.failure_rate >= self.failure_rate:
            return f"{window.failures} of {window.calls} calls failed in {self.window_s:g} s"
        if self.slow_call_s is not None and window.slow_rate >= self.slow_call_rate:
            return f"{window.slow} of {window.calls} calls slow in {self.window_s:g} s"
        return None


@dataclass(frozen=True, slots=True)
class CircuitMetrics:
    """One consistent reading of a breaker.

    Attributes:
        name: The circuit.
        state: As of now; an OPEN breaker whose time is up stays OPEN until a call comes.
        isolated: Held open by hand.
        generation: Number of state changes and resets so far.
        state_s: Seconds since the last of them.
        retry_after_s: Seconds until a call may be admitted; 0 where one would be now.
        consecutive_failures: Counted failures since the last good answer.
        probes: Probes under way.
        window: Counts of the last `window_s` seconds; of the time before it opened, while it is not CLOSED.
        successes: Good answers since the breaker was made; so are the following.
        failures: Counted failures.
        ignored: Calls that said nothing about the store (cancelled, invalid).
        late: Results that began in an older generation.
        rejected: Calls refused.
        opened: Times it opened.
    """

    name: str
    state: CircuitState
    isolated: bool
    generation: int
    state_s: float
    retry_after_s: float
    consecutive_failures: int
    probes: int
    window: WindowTotals
    successes: int
    failures: int
    ignored: int
    late: int
    rejected: int
    opened: int

    @property
    def success_rate(self) -> float:
        """Return good answers per judged call since the beginning, 0 to 1; 1 without calls."""
        judged = self.successes + self.failures
        return self.successes / judged if judged else 1.0


@dataclass(slots=True)
class CallCounts:
    """The totals of `CircuitMetrics`, while they grow."""

    successes: int = 0
    failures: int = 0
    ignored: int = 0
    late: int = 0
    rejected: int = 0
    opened: int = 0

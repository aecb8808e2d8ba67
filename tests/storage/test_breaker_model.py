"""The circuit breaker on random walks, against a model that keeps every call."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parquedb import errors
from parquedb.clock import ManualClock
from parquedb.storage.breaker import CircuitBreaker, CircuitBreakerOptions, CircuitState, Permit
from parquedb.storage.breaker_window import BUCKETS

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


class Model:
    """The same rules with every call kept, time in whole buckets, and nothing clever."""

    def __init__(self, options: CircuitBreakerOptions) -> None:
        self.options = options
        self.now = 0
        self.state, self.isolated = CLOSED, False
        self.since = self.last_probe = 0
        self.era = object()
        self.probes: list[object] = []
        self.good = self.row = 0
        self.calls: list[tuple[int, bool, bool]] = []

    def enter(self, state: CircuitState, *, isolated: bool = False) -> None:
        self.state, self.isolated, self.since, self.era = state, isolated, self.now, object()
        self.probes, self.good = [], 0
        if state is CLOSED:
            self.calls, self.row = [], 0

    def admit(self) -> tuple[object, object, int] | None:
        stale = self.now - self.last_probe >= self.options.open_s
        full = len(self.probes) >= self.options.probes_max
        if self.isolated or (self.state is OPEN and self.now - self.since < self.options.open_s):
            return None
        if self.state is HALF_OPEN and full and not stale:
            return None
        if self.state is OPEN or (self.state is HALF_OPEN and full):
            self.enter(HALF_OPEN)
        permit = (self.era, object(), self.now)
        if self.state is HALF_OPEN:
            self.probes.append(permit)
            self.last_probe = self.now
        return permit

    def finish(self, permit: tuple[object, object, int], failed: bool | None) -> None:
        if permit[0] is not self.era:
            return
        if permit in self.probes:
            self.probes.remove(permit)
        if failed is None:
            return
        slow = self.now - permit[2] >= self.options.slow_call_s
        self.row = self.row + 1 if failed else 0
        if self.state is HALF_OPEN:
            self.good += 1
            if failed or slow:
                self.enter(OPEN)
            elif self.good == self.options.successes:
                self.enter(CLOSED)
            return
        self.calls.append((self.now, failed, slow))
        recent = self.recent()
        enough = len(recent) >= self.options.calls_min
        if (
            self.row >= self.options.failures
            or (enough and sum(f for _, f, _ in recent) / len(recent) >= self.options.failure_rate)
            or (enough and sum(s for _, _, s in recent) / len(recent) >= self.options.slow_call_rate)
        ):
            self.enter(OPEN)

    def recent(self) -> list[tuple[int, bool, bool]]:
        return [call for call in self.calls if self.now - call[0] < self.options.window_s]


VERDICTS = {True: errors.NetworkError(), False: None, None: errors.ValidationError()}


class BreakerAgainstModel(RuleBasedStateMachine):
    """Any order of calls, results, waiting and force leaves breaker and model in the same state."""

    def __init__(self) -> None:
        super().__init__()
        # One bucket of the window lasts one second, and time moves in whole seconds: the ring is then exact.
        options = CircuitBreakerOptions(
            failures=4, failure_rate=0.5, calls_min=6, window_s=BUCKETS, slow_call_s=5, slow_call_rate=0.6, open_s=7
        )
        self.clock = ManualClock()
        self.breaker = CircuitBreaker("model", options, clock=self.clock)
        self.model = Model(options)
        self.out: list[tuple[Permit, tuple[object, object, int]]] = []

    @rule()
    def begin(self) -> None:
        expected = self.model.admit()
        if expected is not None:
            self.out.append((self.breaker.acquire(), expected))
            return
        with pytest.raises(errors.CircuitOpenError) as caught:
            self.breaker.acquire()
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 7

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0), verdict=st.sampled_from([True, True, False, False, None]))
    def finish(self, which: int, verdict: bool | None) -> None:
        permit, expected = self.out.pop(which % len(self.out))
        self.breaker.settle(permit, VERDICTS[verdict])
        self.model.finish(expected, verdict)

    @rule(verdicts=st.lists(st.sampled_from([True, False, False]), min_size=1, max_size=12))
    def call(self, verdicts: list[bool]) -> None:
        for verdict in verdicts:
            self.begin()
            if self.out and self.model.state is not OPEN:
                permit, expected = self.out.pop()
                self.breaker.settle(permit, VERDICTS[verdict])
                self.model.finish(expected, verdict)

    @rule(seconds=st.integers(0, 9))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.model.now += seconds

    @rule(force=st.sampled_from(["trip", "reset", "isolate", "reset"]))
    def force(self, force: str) -> None:
        getattr(self.breaker, force)()
        if force == "isolate":
            self.model.enter(OPEN, isolated=True)
        elif force == "reset":
            self.model.enter(CLOSED)
        elif not self.model.isolated:
            self.model.enter(OPEN)

    @invariant()
    def same(self) -> None:
        metrics = self.breaker.metrics()
        assert (metrics.state, metrics.isolated, metrics.probes, metrics.consecutive_failures) == (
            self.model.state,
            self.model.isolated,
            len(self.model.probes),
            self.model.row,
        )
        recent = self.model.recent()
        window = metrics.window
        assert (window.calls, window.failures, window.slow) == (
            len(recent),
            sum(failed for _, failed, _ in recent),
            sum(slow for _, _, slow in recent),
        )
        assert metrics.retry_after_s >= 0


TestBreakerAgainstModel = BreakerAgainstModel.TestCase
TestBreakerAgainstModel.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)

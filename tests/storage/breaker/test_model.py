"""The circuit breaker on random walks, against a model that keeps every call."""

import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parquedb import errors
from parquedb.clock import ManualClock
from parquedb.storage.breaker.circuit import CircuitBreaker, CircuitBreakerOptions, CircuitState, Permit
from parquedb.storage.breaker.window import BUCKETS

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
        self.counts: Counter[str] = Counter()
        self.changes: list[tuple[CircuitState, CircuitState]] = []

    def enter(self, state: CircuitState, *, isolated: bool = False) -> None:
        if state is not self.state or isolated is not self.isolated:
            self.changes.append((self.state, state))
        self.counts["opened"] += state is OPEN and self.state is not OPEN
        self.state, self.isolated, self.since, self.era = state, isolated, self.now, object()
        self.probes, self.good = [], 0
        if state is CLOSED:
            self.calls, self.row = [], 0

    def admit(self) -> tuple[object, object, int] | None:
        stale = self.now - self.last_probe >= self.options.open_s
        full = len(self.probes) >= self.options.probes_max
        if self.isolated or (self.state is OPEN and self.now - self.since < self.options.open_s):
            self.counts["rejected"] += 1
            return None
        if self.state is HALF_OPEN and full and not stale:
            self.counts["rejected"] += 1
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
            self.counts["late"] += 1
            return
        if permit in self.probes:
            self.probes.remove(permit)
        self.counts["ignored" if failed is None else "failures" if failed else "successes"] += 1
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
COUNTS = ("successes", "failures", "ignored", "late", "rejected", "opened")


class Pair:
    """A breaker and its model, to which the same things happen."""

    def __init__(self) -> None:
        # One bucket of the window lasts one second, and time moves in whole seconds: the ring is then exact.
        options = CircuitBreakerOptions(
            failures=4, failure_rate=0.5, calls_min=6, window_s=BUCKETS, slow_call_s=5, slow_call_rate=0.6, open_s=7
        )
        self.clock = ManualClock()
        self.breaker = CircuitBreaker("model", options, clock=self.clock)
        self.changes: list[tuple[CircuitState, CircuitState]] = []
        self.reasons: Counter[str] = Counter()
        self.breaker.on_change(self._changed)
        self.model = Model(options)
        self.out: list[tuple[Permit, tuple[object, object, int]]] = []

    def _changed(self, _: str, before: CircuitState, after: CircuitState, reason: str) -> None:
        self.changes.append((before, after))
        self.reasons["".join(letter for letter in reason if not letter.isdigit())] += 1

    def begin(self) -> None:
        expected = self.model.admit()
        if expected is not None:
            self.out.append((self.breaker.acquire(), expected))
            return
        with pytest.raises(errors.CircuitOpenError) as caught:
            self.breaker.acquire()
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 7

    def finish(self, which: int, verdict: bool | None) -> None:
        permit, expected = self.out.pop(which % len(self.out))
        self.breaker.settle(permit, VERDICTS[verdict])
        self.model.finish(expected, verdict)

    def call(self, verdict: bool) -> None:
        self.begin()
        if self.out and self.model.state is not OPEN:
            self.finish(-1, verdict)

    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.model.now += seconds

    def force(self, force: str) -> None:
        getattr(self.breaker, force)()
        if force == "isolate":
            self.model.enter(OPEN, isolated=True)
        elif force == "reset":
            self.model.enter(CLOSED)
        elif not self.model.isolated:
            self.model.enter(OPEN)

    def check(self) -> None:
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
        assert {name: getattr(metrics, name) for name in COUNTS} == {name: self.model.counts[name] for name in COUNTS}
        assert self.changes == self.model.changes
        assert metrics.retry_after_s >= 0


class BreakerAgainstModel(RuleBasedStateMachine):
    """Any order of calls, results, waiting and force leaves breaker and model in the same state."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()

    @rule()
    def begin(self) -> None:
        self.pair.begin()

    @precondition(lambda self: self.pair.out)
    @rule(which=st.integers(0), verdict=st.sampled_from([True, True, False, False, None]))
    def finish(self, which: int, verdict: bool | None) -> None:
        self.pair.finish(which, verdict)

    @rule(verdicts=st.lists(st.sampled_from([True, False, False]), min_size=1, max_size=12))
    def call(self, verdicts: list[bool]) -> None:
        for verdict in verdicts:
            self.pair.call(verdict)

    @rule(seconds=st.integers(0, 9))
    def wait(self, seconds: int) -> None:
        self.pair.wait(seconds)

    @rule(force=st.sampled_from(["trip", "reset", "isolate", "reset"]))
    def force(self, force: str) -> None:
        self.pair.force(force)

    @invariant()
    def same(self) -> None:
        self.pair.check()


TestBreakerAgainstModel = BreakerAgainstModel.TestCase
TestBreakerAgainstModel.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)

STEPS = 100_000
STEPS_A_WALK = 1_000


def step(pair: Pair, rng: random.Random, failing: float) -> None:
    """Let one thing happen; the shares are such that every rule has its turn often."""
    what = rng.random()
    if pair.model.isolated and what < 0.1:
        pair.force("reset")
    elif what < 0.35 or (what < 0.65 and not pair.out):
        pair.begin()
    elif what < 0.65:
        pair.finish(rng.randrange(len(pair.out)), rng.choices((True, False, None), (failing, 0.95 - failing, 0.05))[0])
    elif what < 0.85:
        pair.call(rng.random() < failing)
    elif what < 0.99:
        pair.wait(rng.choice((0, 1, 1, 2, 5, 9)))
    else:
        pair.force(rng.choice(("trip", "reset", "isolate")))


def test_a_hundred_thousand_random_steps_leave_breaker_and_model_alike() -> None:
    rng = random.Random(20)
    reasons: Counter[str] = Counter()
    for _ in range(STEPS // STEPS_A_WALK):
        pair, failing = Pair(), rng.choice((0.05, 0.2, 0.4, 0.8))
        for _ in range(STEPS_A_WALK):
            step(pair, rng, failing)
            pair.check()
        reasons += pair.reasons
    # A walk that never came to one of the rules would say nothing about it.
    assert set(reasons) == {
        " failures in a row",
        " of  calls failed in  s",
        " of  calls slow in  s",
        "open for  s",
        "probe failed",
        "probe slow",
        " probes succeeded",
        "tripped",
        "isolated",
        "reset",
    }
    assert min(reasons.values()) >= 20, reasons

"""The circuit breaker: every arrow, permits, late results, rates, forms, callbacks and threads."""

import asyncio
import random
import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from parquedb import errors
from parquedb.clock import ManualClock
from parquedb.storage.breaker.circuit import (
    CircuitBreaker,
    CircuitBreakerOptions,
    CircuitState,
    create_conservative_circuit_breaker,
    create_fast_fail_circuit_breaker,
    create_storage_circuit_breaker,
)
from parquedb.storage.breaker.window import BUCKETS, CallWindow

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def make(**options: object) -> tuple[CircuitBreaker, ManualClock, list[tuple[str, str, str]]]:
    clock, changes = ManualClock(), []
    breaker = CircuitBreaker("disk", CircuitBreakerOptions(**options), clock=clock)
    breaker.on_change(lambda _, before, after, reason: changes.append((before.value, after.value, reason)))
    return breaker, clock, changes


def fail(breaker: CircuitBreaker, error: BaseException | None = None) -> None:
    def call() -> None:
        raise error or errors.NetworkError(key="k")

    with pytest.raises(type(error or errors.NetworkError())):
        breaker.execute(call)


def succeed(breaker: CircuitBreaker) -> None:
    assert breaker.execute(lambda: "answer") == "answer"


def refused(breaker: CircuitBreaker) -> errors.CircuitOpenError:
    with pytest.raises(errors.CircuitOpenError) as caught:
        breaker.execute(lambda: pytest.fail("an open circuit made the call"))
    return caught.value


# The arrows.


def test_it_opens_at_the_configured_number_of_failures_in_a_row_and_not_before():
    breaker, _, changes = make(failures=3)
    fail(breaker)
    fail(breaker)
    assert breaker.state is CLOSED
    fail(breaker)
    assert breaker.state is OPEN
    assert changes == [("closed", "open", "3 failures in a row")]


def test_a_success_starts_the_row_of_failures_again():
    breaker, _, changes = make(failures=2)
    for _ in range(5):
        fail(breaker)
        succeed(breaker)
    assert breaker.state is CLOSED
    assert changes == []


def test_an_open_circuit_refuses_with_its_name_and_the_time_left():
    breaker, clock, _ = make(failures=1, open_s=30)
    fail(breaker)
    clock.advance(12)
    error = refused(breaker)
    assert (error.circuit, error.retry_after) == ("disk", 18.0)
    assert str(error) == "circuit 'disk' is open; retry after 18 s"
    assert breaker.metrics().rejected == 1


def test_it_lets_a_probe_through_when_its_time_is_up_and_closes_after_enough_successes():
    breaker, clock, changes = make(failures=1, open_s=30, successes=2)
    fail(breaker)
    clock.advance(30)
    assert breaker.state is OPEN, "asking for the state changes nothing"
    assert breaker.metrics().retry_after_s == 0
    succeed(breaker)
    assert breaker.state is HALF_OPEN
    succeed(breaker)
    assert breaker.state is CLOSED
    assert changes[1:] == [("open", "half_open", "open for 30 s"), ("half_open", "closed", "2 probes succeeded")]


def test_a_failed_probe_opens_it_for_the_whole_time_again():
    breaker, clock, changes = make(failures=1, open_s=30, successes=2)
    fail(breaker)
    clock.advance(31)
    succeed(breaker)
    fail(breaker)
    assert changes[-1] == ("half_open", "open", "probe failed")
    assert refused(breaker).retry_after == 30


def test_closing_forgets_the_failures_that_opened_it():
    breaker, clock, _ = make(failures=2, open_s=1, successes=1, calls_min=2)
    fail(breaker)
    fail(breaker)
    clock.advance(1)
    succeed(breaker)
    fail(breaker)
    assert breaker.state is CLOSED
    assert breaker.metrics().window.calls == 1


def test_trip_opens_it_and_recovers_like_any_opening():
    breaker, clock, changes = make(open_s=5, successes=1)
    breaker.trip("maintenance")
    assert changes == [("closed", "open", "maintenance")]
    clock.advance(4)
    breaker.trip()
    assert refused(breaker).retry_after == 5, "tripping again starts the time again"
    assert len(changes) == 1
    clock.advance(5)
    succeed(breaker)
    assert breaker.state is CLOSED


def test_an_isolated_circuit_stays_open_until_it_is_reset():
    breaker, clock, changes = make(failures=1, open_s=5)
    fail(breaker)
    breaker.isolate()
    clock.advance(1_000_000)
    assert refused(breaker).retry_after == 5
    breaker.trip()
    clock.advance(5)
    refused(breaker)
    assert breaker.metrics().isolated
    breaker.reset()
    succeed(breaker)
    assert not breaker.metrics().isolated
    assert changes[1:] == [("open", "open", "isolated"), ("open", "closed", "reset")]


# Rates.


def test_the_failure_rate_is_not_looked_at_below_the_minimum_of_calls():
    breaker, _, changes = make(failures=100, failure_rate=0.5, calls_min=20)
    for _ in range(9):
        fail(breaker)
        succeed(breaker)
    succeed(breaker)
    assert breaker.state is CLOSED
    fail(breaker)
    assert breaker.state is OPEN
    assert changes == [("closed", "open", "10 of 20 calls failed in 60 s")]


def test_a_rate_just_below_the_limit_keeps_it_closed():
    breaker, _, _ = make(failures=100, failure_rate=0.5, calls_min=20)
    for _ in range(200):
        succeed(breaker)
        succeed(breaker)
        fail(breaker)
    assert breaker.state is CLOSED
    assert breaker.metrics().window.failure_rate == pytest.approx(1 / 3)


def test_failures_that_left_the_window_no_longer_count_towards_the_rate():
    breaker, clock, _ = make(failures=100, failure_rate=0.5, calls_min=10, window_s=60)
    for _ in range(9):
        fail(breaker)
    clock.advance(60)
    succeed(breaker)
    fail(breaker)
    assert breaker.state is CLOSED
    assert breaker.metrics().window.calls == 2


def test_slow_answers_open_it_and_a_slow_probe_does_too():
    breaker, clock, changes = make(slow_call_s=1.0, slow_call_rate=0.5, calls_min=4, open_s=10)
    for delay_s in (0.5, 0.5, 1.0, 1.5):
        breaker.execute(lambda delay_s=delay_s: clock.advance(delay_s))
    assert changes == [("closed", "open", "2 of 4 calls slow in 60 s")]
    clock.advance(10)
    breaker.execute(lambda: clock.advance(3))
    assert changes[-1] == ("half_open", "open", "probe slow")


def test_slowness_is_not_judged_unless_asked():
    breaker, clock, _ = make(calls_min=1)
    for _ in range(10):
        breaker.execute(lambda: clock.advance(1_000))
    assert breaker.state is CLOSED


def test_the_window_remembers_at_least_19_20ths_of_its_time_and_at_most_all_of_it():
    rng, window, calls = random.Random(1), CallWindow(20.0), []
    now_s = 0.0
    for _ in range(3_000):
        now_s += rng.choice([0, 0.01, 0.3, 1.0, 2.5, 30.0]) * rng.random()
        if rng.random() < 0.7:
            failed = rng.random() < 0.5
            window.add(now_s, failed=failed, slow=False)
            calls.append((now_s, failed))
        totals = window.totals(now_s)
        surely = sum(now_s - at_s <= 20 * (BUCKETS - 1) / BUCKETS - 1e-6 for at_s, _ in calls)
        perhaps = sum(now_s - at_s < 20 for at_s, _ in calls)
        assert surely <= totals.calls <= perhaps
        assert totals.failures <= totals.calls


def test_the_window_takes_a_time_that_comes_late_as_now():
    window = CallWindow(20.0)
    window.add(100.0, failed=True, slow=True)
    window.add(50.0, failed=True, slow=False)
    assert (window.totals(100.0).calls, window.totals(100.0).slow) == (2, 1)


# Permits.


def test_half_open_admits_a_bounded_number_of_probes_at_once():
    breaker, clock, _ = make(failures=1, open_s=10, probes_max=2, successes=9)
    fail(breaker)
    clock.advance(10)
    first, _ = breaker.acquire(), breaker.acquire()
    assert refused(breaker).retry_after == 1.0
    breaker.settle(first)
    breaker.acquire()
    refused(breaker)
    assert breaker.metrics().probes == 2


async def test_a_cancelled_probe_gives_its_place_back_and_counts_for_nothing():
    breaker, clock, _ = make(failures=1, open_s=10, probes_max=1)
    fail(breaker)
    clock.advance(10)
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    probe = asyncio.create_task(breaker.execute_async(hang))
    await started.wait()
    refused(breaker)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    metrics = breaker.metrics()
    assert (metrics.state, metrics.probes, metrics.ignored) == (HALF_OPEN, 0, 1)
    succeed(breaker)


@pytest.mark.parametrize(
    "error", [errors.ValidationError(field="f"), errors.PathTraversalError(path=".."), KeyboardInterrupt()]
)
def test_an_ignored_probe_gives_its_place_back(error: BaseException):
    breaker, clock, _ = make(failures=1, open_s=10, probes_max=1, successes=1)
    fail(breaker)
    clock.advance(10)
    fail(breaker, error)
    assert breaker.state is HALF_OPEN
    succeed(breaker)
    assert breaker.state is CLOSED


def test_a_permit_counts_once_however_often_it_is_settled():
    breaker, _, _ = make(failures=2)
    permit = breaker.acquire()
    for _ in range(5):
        breaker.settle(permit, errors.NetworkError())
    breaker.release(permit)
    assert breaker.state is CLOSED
    assert breaker.metrics().consecutive_failures == 1


def test_probes_that_never_come_back_do_not_keep_the_circuit_shut_for_ever():
    breaker, clock, changes = make(failures=1, open_s=10, probes_max=1, successes=1)
    fail(breaker)
    clock.advance(10)
    lost = breaker.acquire()
    clock.advance(9.5)
    refused(breaker)
    clock.advance(0.5)
    fresh = breaker.acquire()
    breaker.settle(lost, errors.NetworkError())
    assert breaker.state is HALF_OPEN, "the lost probe belongs to an older generation"
    breaker.settle(fresh)
    assert breaker.state is CLOSED
    assert [change[:2] for change in changes] == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


# Late results.


@pytest.mark.parametrize("late_error", [None, errors.NetworkError()])
def test_a_result_from_before_the_opening_says_nothing_about_the_probes(late_error: BaseException | None):
    breaker, clock, _ = make(failures=1, open_s=10, successes=1, probes_max=1)
    slow = breaker.acquire()
    fail(breaker)
    clock.advance(10)
    probe = breaker.acquire()
    breaker.settle(slow, late_error)
    assert breaker.state is HALF_OPEN
    assert breaker.metrics().probes == 1, "the late call held no probe's place"
    assert breaker.metrics().late == 1
    breaker.settle(probe)
    assert breaker.state is CLOSED


def test_a_failure_from_before_a_reset_does_not_count_after_it():
    breaker, _, _ = make(failures=1)
    old = breaker.acquire()
    breaker.reset()
    breaker.settle(old, errors.NetworkError())
    assert breaker.state is CLOSED
    assert breaker.metrics().failures == 0


# Forms.


async def test_decorated_functions_and_blocks_are_guarded_sync_and_async():
    breaker, _, _ = make(failures=4)

    @breaker
    def plain(fact: str, *, loud: bool) -> str:
        """Say it."""
        raise errors.NetworkError(fact.upper() if loud else fact)

    @breaker
    async def awaited() -> None:
        await asyncio.sleep(0)
        raise errors.NetworkError("async")

    assert plain.__doc__ == "Say it."
    assert asyncio.iscoroutinefunction(awaited)
    with pytest.raises(errors.NetworkError, match="HELLO"):
        plain("hello", loud=True)
    with pytest.raises(errors.NetworkError, match="async"):
        await awaited()
    with pytest.raises(errors.NetworkError), breaker.guard():
        raise errors.NetworkError
    with pytest.raises(errors.NetworkError):
        async with breaker.guard():
            raise errors.NetworkError
    assert breaker.state is OPEN
    with pytest.raises(errors.CircuitOpenError):
        plain("hello", loud=False)
    with pytest.raises(errors.CircuitOpenError):
        await awaited()
    with pytest.raises(errors.CircuitOpenError):
        await breaker.execute_async(awaited)


@pytest.mark.parametrize(
    ("create", "failures", "successes", "open_s", "window_s"),
    [
        (create_storage_circuit_breaker, 5, 2, 30, 60),
        (create_fast_fail_circuit_breaker, 3, 1, 10, 30),
        (create_conservative_circuit_breaker, 10, 5, 60, 120),
    ],
)
def test_presets_open_and_close_as_documented(
    create: Callable[..., CircuitBreaker], failures: int, successes: int, open_s: float, window_s: float
):
    clock = ManualClock()
    breaker = create(clock=clock)
    for _ in range(failures):
        assert breaker.state is CLOSED
        fail(breaker)
    assert breaker.options.window_s == window_s
    assert refused(breaker).retry_after == open_s
    clock.advance(open_s)
    for _ in range(successes):
        assert breaker.state is not CLOSED
        succeed(breaker)
    assert breaker.state is CLOSED


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("failures", 0, "circuit breaker option failures must be at least 1, not 0"),
        ("failure_rate", 1.5, "circuit breaker option failure_rate must be above 0 and at most 1, not 1.5"),
        ("window_s", 0, "circuit breaker option window_s must be above 0 seconds, not 0"),
        ("open_s", float("nan"), "circuit breaker option open_s must be above 0 seconds, not nan"),
        ("slow_call_s", -1, "circuit breaker option slow_call_s must be above 0 seconds, not -1"),
    ],
)
def test_an_option_out_of_range_is_named(option: str, value: float, message: str):
    with pytest.raises(errors.ConfigurationError) as caught:
        CircuitBreakerOptions(**{option: value})
    assert str(caught.value) == message
    assert caught.value.setting == option


def test_a_classifier_that_fails_counts_the_call_as_failed_and_hides_nothing(caplog: pytest.LogCaptureFixture):
    def broken(_: BaseException) -> bool | None:
        raise ZeroDivisionError

    breaker, _, _ = make(failures=1, classify=broken)
    with pytest.raises(KeyError):
        breaker.execute(lambda: {}["missing"])
    assert breaker.state is OPEN
    assert "circuit disk: its classifier failed; the call counts as a failure" in caplog.text


# Callbacks.


def test_a_callback_may_use_the_breaker_and_hears_changes_in_order():
    breaker, _, _ = make(failures=1)
    heard: list[tuple[str, str, bool]] = []

    def reset_when_open(_: str, before: CircuitState, after: CircuitState, __: str) -> None:
        heard.append((before.value, after.value, breaker._lock.locked()))
        if after is OPEN:
            breaker.reset()

    breaker.on_change(reset_when_open)
    after_the_resetting_one: list[CircuitState] = []
    breaker.on_change(lambda _, __, after, ___: after_the_resetting_one.append(after))
    fail(breaker)
    assert after_the_resetting_one == [OPEN, CLOSED]
    assert heard == [("closed", "open", False), ("open", "closed", False)]
    assert breaker.state is CLOSED


def test_a_raising_callback_harms_neither_the_call_nor_the_other_callbacks(caplog: pytest.LogCaptureFixture):
    breaker, _, _ = make()
    heard: list[str] = []

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    breaker.on_change(broken)
    stop = breaker.on_change(lambda *change: heard.append(change[-1]))
    breaker.trip("first")
    stop()
    stop()
    breaker.reset("second")
    assert heard == ["first"]
    assert "circuit disk: a state callback failed" in caplog.text


# Threads.


def test_of_many_threads_at_a_half_open_circuit_only_the_allowed_number_gets_through():
    breaker, clock, _ = make(failures=1, open_s=1, probes_max=3, successes=100)
    fail(breaker)
    clock.advance(1)
    start, leave = threading.Barrier(16), threading.Event()
    inside, turned_away = threading.Semaphore(0), threading.Semaphore(0)

    def call() -> None:
        start.wait()
        try:
            with breaker.guard():
                inside.release()
                leave.wait(10)
        except errors.CircuitOpenError:
            turned_away.release()

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in range(13):
        assert turned_away.acquire(timeout=10)
    for _ in range(3):
        assert inside.acquire(timeout=10)
    assert breaker.metrics().probes == 3
    leave.set()
    for thread in threads:
        thread.join(10)
    assert not inside.acquire(blocking=False)
    assert breaker.metrics().probes == 0


def test_threads_lose_no_call_and_their_changes_are_announced_as_one_chain():
    breaker, _, _ = make(failures=3, open_s=1, successes=1)
    clock, chain, done = breaker._clock, [], []
    assert isinstance(clock, ManualClock)
    breaker.on_change(lambda _, before, after, __: chain.append((before, after)))

    def work(seed: int) -> None:
        rng, counts = random.Random(seed), [0, 0]
        for _ in range(400):
            try:
                permit = breaker.acquire()
            except errors.CircuitOpenError:
                counts[1] += 1
                clock.advance(0.05)
            else:
                counts[0] += 1
                breaker.settle(permit, errors.NetworkError() if rng.random() < 0.5 else None)
        done.append(counts)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    metrics = breaker.metrics()
    assert metrics.successes + metrics.failures + metrics.late == sum(made for made, _ in done)
    assert metrics.rejected == sum(refusals for _, refusals in done) > 0
    assert all(one[1] is other[0] for one, other in pairwise(chain))
    assert chain[-1][1] is metrics.state
    assert 0.0 < metrics.success_rate < 1.0

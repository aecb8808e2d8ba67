"""The monitor of a process's circuits: who is heard, what is remembered, and that nobody can harm anybody."""

import gc
import random
import sys
import threading
import time
from typing import Any

import pytest

from parquedb import errors
from parquedb.clock import ManualClock
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import StorageSettings
from parquedb.storage.backends.faults import FaultyBackend
from parquedb.storage.backends.layers import ObservedBackend, wrap_backend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.breaker.circuit import CircuitBreaker, CircuitBreakerOptions, CircuitState
from parquedb.storage.breaker.listener import WAITING_MAX
from parquedb.storage.breaker.monitor import (
    CircuitBreakerMonitor,
    CircuitChange,
    CircuitHealthStatus,
    global_circuit_breaker_monitor,
)

WAIT_S = 20.0


def wrapped(store: Any = None, *, read_fallback: Any = None, **options: Any) -> ObservedBackend:
    return wrap_backend(
        store or MemoryBackend(),
        StorageSettings(**options),
        clock=ManualClock(),
        hooks=HookRegistry(),
        rng=random.Random(1),
        read_fallback=read_fallback,
    )


def monitor_for_tests(**options: Any) -> CircuitBreakerMonitor:
    """A monitor whose subscribers have heard when a change returns, however busy the machine is."""
    return CircuitBreakerMonitor(wait_s=WAIT_S, **options)


def counts(status: CircuitHealthStatus) -> tuple[bool, int, int, int]:
    return status.healthy, status.open_count, status.half_open_count, status.closed_count


async def test_registering_a_backend_is_enough_for_its_changes_to_reach_subscribers() -> None:
    monitor, heard = monitor_for_tests(clock=ManualClock()), []
    store = FaultyBackend(MemoryBackend(), rng=random.Random(1), clock=ManualClock())
    backend = wrapped(store, breaker_failures=3, retry_attempts_max=1)
    monitor.register("posts", backend)
    monitor.on_state_change(heard.append)
    store.outage(True)
    for _ in range(3):
        with pytest.raises(errors.NetworkError):
            await backend.read("posts/a")
    [change] = heard
    assert (change.circuit, change.before, change.after) == ("posts.read", CircuitState.CLOSED, CircuitState.OPEN)
    assert (change.reason, change.at) == ("3 failures in a row", ManualClock().now())
    backend.write_circuit.isolate("by hand")
    assert [(each.circuit, each.after, each.reason) for each in heard[1:]] == [("posts.write", "open", "by hand")]


async def test_the_status_tells_how_each_circuit_is_and_why() -> None:
    monitor = CircuitBreakerMonitor()
    store = FaultyBackend(MemoryBackend(), rng=random.Random(1), clock=ManualClock())
    backend = wrapped(store, breaker_failures=3, retry_attempts_max=1, read_fallback=MemoryBackend())
    monitor.register("posts", backend)
    clock = ManualClock()
    probed = CircuitBreaker("x", CircuitBreakerOptions(open_s=5), clock=clock)
    monitor.register("probed", probed)
    assert counts(monitor.get_health_status()) == (True, 0, 0, 4)
    await backend.exists("posts/a")
    store.outage(True)
    for _ in range(3):
        with pytest.raises(errors.NetworkError):
            await backend.exists("posts/a")
    with pytest.raises(errors.CircuitOpenError):
        await backend.exists("posts/a")
    probed.trip("drill")
    clock.advance(5)
    probed.acquire()
    status = monitor.get_health_status()
    assert counts(status) == (False, 1, 1, 2)
    assert list(status.circuits) == ["posts.fallback", "posts.read", "posts.write", "probed"]
    read = status.circuits["posts.read"]
    assert (read.state, read.failure_count, read.success_rate) == (CircuitState.OPEN, 3, 0.25)
    assert (read.consecutive_failures, read.rejected, read.opened, read.retry_after_s) == (3, 1, 1, 30.0)
    assert [event.reason for event in read.recent_events] == ["3 failures in a row"]
    assert [event.reason for event in status.recent_events] == ["3 failures in a row", "drill", "open for 5 s"]
    write = status.circuits["posts.write"]
    assert (write.state, write.failure_count, write.success_rate, write.recent_events) == ("closed", 0, 1.0, ())


def test_a_bare_circuit_is_known_by_the_name_it_was_registered_under() -> None:
    monitor, heard = monitor_for_tests(), []
    circuit = CircuitBreaker("its own name")
    monitor.on_state_change(heard.append)
    monitor.register("payments", circuit)
    circuit.trip()
    assert [change.circuit for change in heard] == ["payments"]
    assert list(monitor.get_health_status().circuits) == ["payments"]


def test_what_has_no_circuits_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="backend with circuits, as 'posts'; got MemoryBackend"):
        CircuitBreakerMonitor().register("posts", MemoryBackend())
    with pytest.raises(errors.ConfigurationError, match="history_max must be at least 1, not 0"):
        CircuitBreakerMonitor(history_max=0)


def test_who_unsubscribed_or_was_unregistered_is_left_alone() -> None:
    monitor, first, second = monitor_for_tests(), [], []
    backend = wrapped()
    monitor.register("posts", backend)
    stop = monitor.on_state_change(first.append)
    monitor.on_state_change(second.append)
    backend.read_circuit.trip()
    stop()
    backend.read_circuit.reset()
    assert (len(first), len(second)) == (1, 2)
    assert monitor.unregister("posts")
    assert not monitor.unregister("posts")
    backend.read_circuit.trip()
    assert len(second) == 2
    assert counts(monitor.get_health_status()) == (True, 0, 0, 0)
    assert len(monitor.get_health_status().recent_events) == 2, "what happened stays known"


def test_a_name_belongs_to_what_was_registered_last() -> None:
    monitor, heard = monitor_for_tests(), []
    old, new = wrapped(), wrapped()
    forget_old = monitor.register("posts", old)
    monitor.register("posts", new)
    monitor.on_state_change(heard.append)
    old.read_circuit.trip("old")
    new.read_circuit.trip("new")
    assert [change.reason for change in heard] == ["new"]
    forget_old()
    assert list(monitor.get_health_status().circuits) == ["posts.read", "posts.write"]


def test_the_history_is_bounded_and_keeps_the_latest() -> None:
    monitor, circuit = monitor_for_tests(history_max=5), CircuitBreaker("c")
    monitor.register("c", circuit)
    for number in range(20):
        circuit.trip(f"trip {number}")
        circuit.reset(f"reset {number}")
    assert [event.reason for event in monitor.get_health_status().recent_events] == [
        "reset 17",
        "trip 18",
        "reset 18",
        "trip 19",
        "reset 19",
    ]


def test_a_subscriber_that_raises_harms_neither_the_circuit_nor_the_others() -> None:
    monitor, heard = monitor_for_tests(), []

    def raising(_: CircuitChange) -> None:
        raise RuntimeError("on purpose")

    circuit = CircuitBreaker("c")
    monitor.register("c", circuit)
    monitor.on_state_change(raising)
    monitor.on_state_change(heard.append)
    circuit.trip()
    circuit.reset()
    assert [change.after for change in heard] == ["open", "closed"]
    assert circuit.execute(lambda: 7) == 7


def test_a_subscriber_that_hangs_delays_nobody_and_what_it_misses_is_bounded() -> None:
    monitor, slow = CircuitBreakerMonitor(wait_s=0.02), []
    entered, go_on, caught_up, other_heard = (threading.Event() for _ in range(4))

    def hanging(change: CircuitChange) -> None:
        entered.set()
        assert go_on.wait(WAIT_S)
        slow.append(change.reason)
        if change.reason == "last":
            caught_up.set()

    circuit = CircuitBreaker("c")
    monitor.register("c", circuit)
    monitor.on_state_change(hanging)
    monitor.on_state_change(lambda change: other_heard.set() if change.reason == "last" else None)
    circuit.trip("first")
    assert entered.wait(WAIT_S)
    started_s = time.monotonic()
    for number in range(WAITING_MAX):
        circuit.reset()
        circuit.trip(f"trip {number}")
    circuit.isolate("last")
    assert time.monotonic() - started_s < WAIT_S / 2
    assert other_heard.wait(WAIT_S), "while the first one hangs"
    go_on.set()
    assert caught_up.wait(WAIT_S)
    assert (len(slow), slow[0], slow[-1]) == (1 + WAITING_MAX, "first", "last"), "the oldest that waited were dropped"


def test_a_subscriber_may_use_the_circuit_and_the_monitor_and_leave() -> None:
    monitor, heard = monitor_for_tests(), []
    circuit = CircuitBreaker("c")
    monitor.register("c", circuit)

    def closing(change: CircuitChange) -> None:
        heard.append((change.after, monitor.get_health_status().healthy))
        if change.after is CircuitState.OPEN:
            circuit.reset("by the subscriber")
        else:
            stop()

    stop = monitor.on_state_change(closing)
    circuit.trip()
    assert circuit.state is CircuitState.CLOSED
    circuit.trip("nobody hears")
    assert heard == [("open", False), ("closed", True)]


def test_a_backend_that_nobody_has_any_more_is_forgotten_and_a_monitor_as_well() -> None:
    monitor, backend = monitor_for_tests(), wrapped()
    monitor.register("gone", backend)
    kept = CircuitBreaker("kept")
    monitor.register("kept", kept)
    del backend
    gc.collect()
    assert list(monitor.get_health_status().circuits) == ["kept"]
    heard: list[CircuitChange] = []
    before = set(threading.enumerate())
    monitor.on_state_change(heard.append)
    kept.trip()
    [thread] = set(threading.enumerate()) - before
    del monitor
    gc.collect()
    kept.reset()
    assert [change.after for change in heard] == ["open"]
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_threads_may_register_change_and_ask_at_the_same_time() -> None:
    monitor, heard = monitor_for_tests(history_max=10), []
    circuits = [CircuitBreaker(f"c{number}") for number in range(8)]
    monitor.on_state_change(heard.append)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(50):
                monitor.register(f"c{number}", circuits[number])
                circuits[number].trip()
                assert f"c{number}" in monitor.get_health_status().circuits
                circuits[number].reset()
                assert monitor.unregister(f"c{number}")
        except BaseException as error:  # noqa: BLE001 - told below, in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    interval_s = sys.getswitchinterval()
    # They meet more often, and wait less for one another: each lock otherwise costs a thread its whole turn.
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    finally:
        sys.setswitchinterval(interval_s)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
    assert counts(monitor.get_health_status()) == (True, 0, 0, 0)
    assert len(monitor.get_health_status().recent_events) == 10


def test_there_is_one_for_the_whole_process() -> None:
    assert isinstance(global_circuit_breaker_monitor, CircuitBreakerMonitor)

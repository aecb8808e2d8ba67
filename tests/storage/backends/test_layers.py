"""The layers around a store: what each adds, in which order, and what it leaves alone."""

import asyncio
import contextvars
import inspect
import random
from pathlib import Path
from typing import Any

import pytest

from parquedb import errors
from parquedb.clock import ManualClock
from parquedb.observability.contexts import CircuitContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.testing import RecordingHook
from parquedb.settings import StorageSettings
from parquedb.storage.backend import Range, StorageBackend
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.layers import (
    READ_OPERATIONS,
    WRITE_OPERATIONS,
    BreakerBackend,
    DelegatingBackend,
    ObservedBackend,
    RetryingBackend,
    wrap_backend,
)
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.backends.retry import Retrier, RetryBudget, RetryOptions, attempt, attempt_number
from parquedb.storage.breaker.circuit import CircuitBreaker, CircuitBreakerOptions, CircuitState
from parquedb.storage.query.scan_counts import ScanCounts, counting_reads

CALLS: dict[str, tuple[Any, ...]] = {
    "read": ("posts/a",),
    "read_range": ("posts/a", 1, 2),
    "read_ranges": ([Range("posts/a", 0, 1), Range("posts/a", 2, 2)],),
    "create": ("posts/new", b"data"),
    "create_file": ("posts/newer", Path(__file__)),
    "write": ("posts/a", b"data"),
    "delete": ("posts/a",),
    "abort_uploads": ("posts/", 60.0),
    "verifies_uploads": ("posts/probe",),
    "list": ("posts/",),
    "list_folders": ("",),
    "stat": ("posts/a",),
    "exists": ("posts/a",),
}


class Spy(DelegatingBackend):
    """Remembers the limit each call came with."""

    def __init__(self, inner: StorageBackend) -> None:
        super().__init__(inner)
        self.limits: list[float | None] = []

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        self.limits.append(timeout_s)
        return await super().read(key, timeout_s=timeout_s)


class Stack:
    """A wrapped memory store with a fault layer at its bottom."""

    def __init__(self, *, read_fallback: StorageBackend | None = None, **options: Any) -> None:
        self.clock, self.hooks = ManualClock(), HookRegistry()
        self.memory = MemoryBackend(clock=self.clock)
        self.store = FaultyBackend(self.memory, rng=random.Random(1), clock=self.clock)
        self.spy = Spy(self.store)
        self.changes: list[tuple[str, str, str, str]] = []
        self.backend = wrap_backend(
            self.spy,
            StorageSettings(**options),
            clock=self.clock,
            hooks=self.hooks,
            rng=random.Random(2),
            on_circuit_change=lambda name, before, after, why: self.changes.append((name, before, after, why)),
            read_fallback=read_fallback,
        )

    async def call(self, operation: str) -> Any:
        return await getattr(self.backend, operation)(*CALLS[operation])


@pytest.fixture
async def stack() -> Stack:
    stack = Stack()
    await stack.memory.create("posts/a", b"hello")
    return stack


def test_every_operation_of_the_interface_is_either_a_read_or_a_write():
    methods = {name for name, value in vars(StorageBackend).items() if inspect.iscoroutinefunction(value)} - {"close"}
    assert methods == READ_OPERATIONS | WRITE_OPERATIONS == set(CALLS)
    assert not READ_OPERATIONS & WRITE_OPERATIONS


@pytest.mark.parametrize("operation", CALLS)
async def test_every_operation_answers_through_all_layers_as_the_bare_store_does(stack: Stack, operation: str):
    bare = MemoryBackend(clock=stack.clock)
    await bare.create("posts/a", b"hello")
    expected = await getattr(bare, operation)(*CALLS[operation])
    assert await stack.call(operation) == expected
    assert stack.store.calls == {operation: 1}


@pytest.mark.parametrize("operation", CALLS)
async def test_every_layer_hands_every_argument_on(operation: str):
    arguments = inspect.signature(getattr(StorageBackend, operation)).parameters
    extra = {"timeout_s": 7.5, "if_match": "etag", "after": "posts/0", "limit": 3}
    given = {name: value for name, value in extra.items() if name in arguments}
    seen: list[tuple[Any, ...]] = []

    class Recorder(MemoryBackend):
        def __getattribute__(self, name: str) -> Any:
            if name not in CALLS:
                return super().__getattribute__(name)

            async def record(*args: Any, **kwargs: Any) -> str:
                seen.append((name, args, kwargs))
                return "answer"

            return record

    hooks = HookRegistry()
    wrapped = wrap_backend(Recorder(), StorageSettings(), clock=ManualClock(), hooks=hooks, rng=random.Random(1))
    for layer in (wrapped, DelegatingBackend(wrapped)):
        await getattr(layer, operation)(*CALLS[operation], **given)
    hooks.register_hook(RecordingHook())
    await getattr(wrapped, operation)(*CALLS[operation], **given)
    assert len(seen) == 3
    for name, args, kwargs in seen:
        bound = inspect.signature(getattr(StorageBackend, name)).bind(None, *args, **kwargs)
        wanted = inspect.signature(getattr(StorageBackend, operation)).bind(None, *CALLS[operation], **given)
        assert (name, bound.arguments) == (operation, wanted.arguments)


async def test_a_layer_has_the_stores_name_and_closes_it_and_shows_what_only_lower_layers_have(stack: Stack):
    closed = []

    class Closing(MemoryBackend):
        async def close(self) -> None:
            closed.append(True)

    outer = DelegatingBackend(DelegatingBackend(Closing()))
    await outer.close()
    assert closed == [True]
    assert (outer.name, outer.conditional_writes) == ("memory", True)
    assert stack.backend.read_circuit.name == "memory.read"
    assert DelegatingBackend(stack.backend).write_circuit is stack.backend.write_circuit
    with pytest.raises(AttributeError, match="no layer of this memory storage has 'write_circuit'"):
        _ = outer.write_circuit


# Retries.


@pytest.mark.parametrize("operation", sorted(CALLS.keys() - {"create", "create_file"}))
@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY])
async def test_idempotent_calls_are_sent_again_when_request_or_reply_is_lost(
    stack: Stack, operation: str, fault: Fault
):
    stack.store.add(FaultRule(fault=fault, count=2))
    await stack.call(operation)
    assert stack.store.calls[operation] == 3


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY])
async def test_conditional_writes_are_sent_once_and_their_unknown_outcome_is_reported(stack: Stack, fault: Fault):
    stack.store.add(FaultRule(fault=fault))
    etag = (await stack.memory.stat("posts/a")).etag
    with pytest.raises(errors.OutcomeUnknownError):
        await stack.backend.create("posts/new", b"data")
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        await stack.backend.write("posts/a", b"new", if_match=etag)
    assert stack.store.calls == {"create": 1, "write": 1}
    assert not hasattr(caught.value, "__notes__"), "the retry layer left it untouched"
    assert await stack.memory.read("posts/a") == (b"new" if fault is Fault.LOST_REPLY else b"hello")


async def test_each_try_is_given_the_time_that_is_left(stack: Stack):
    stack.store.add(FaultRule(fault=Fault.DELAY, delay_s=(2, 2)))
    stack.store.add(FaultRule(fault=Fault.LOST_REPLY, count=1))
    await stack.backend.read("posts/a", timeout_s=6)
    first, second = stack.spy.limits
    assert first == 6
    assert second is not None
    assert 3.9 < second <= 4


async def test_without_a_limit_the_settings_limit_holds_for_all_tries(stack: Stack):
    await stack.backend.read("posts/a")
    assert stack.spy.limits == [StorageSettings().timeout_s]


async def test_a_total_outage_soon_costs_one_request_a_call():
    stack = Stack(breaker_failures=1000, breaker_calls_min=1000)
    stack.store.outage(True)
    for _ in range(50):
        with pytest.raises(errors.NetworkError):
            await stack.backend.read("posts/a")
    assert 50 <= stack.store.calls["read"] <= 50 + 10


# Circuits.


async def test_an_outage_opens_the_circuit_and_an_open_circuit_stops_the_retries(stack: Stack):
    stack.store.outage(True)
    for _ in range(2):
        with pytest.raises((errors.NetworkError, errors.CircuitOpenError)):
            await stack.backend.read("posts/a")
    assert stack.backend.read_circuit.state is CircuitState.OPEN
    assert stack.store.calls["read"] == StorageSettings().breaker_failures
    before_s = stack.clock.boot_s()
    with pytest.raises(errors.CircuitOpenError) as caught:
        await stack.backend.read("posts/a")
    assert stack.clock.boot_s() == before_s, "it neither waited nor tried again"
    assert caught.value.circuit == "memory.read"
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 30
    assert stack.store.calls["read"] == StorageSettings().breaker_failures


async def test_reads_and_writes_have_circuits_of_their_own(stack: Stack):
    stack.store.add(FaultRule(fault=Fault.ERROR, operations=WRITE_OPERATIONS, error="quota"))
    for _ in range(5):
        with pytest.raises(errors.QuotaExceededError):
            await stack.backend.create("posts/new", b"")
    with pytest.raises(errors.CircuitOpenError, match=r"circuit 'memory\.write' is open; retry after 30 s"):
        await stack.backend.delete("posts/a")
    assert await stack.backend.read("posts/a") == b"hello"
    assert stack.backend.read_circuit.state is CircuitState.CLOSED


async def test_the_circuit_closes_again_once_the_store_answers(stack: Stack):
    stack.backend.read_circuit.trip("drill")
    stack.clock.advance(30)
    await stack.backend.read("posts/a")
    await stack.backend.exists("posts/a")
    assert stack.backend.read_circuit.state is CircuitState.CLOSED
    assert stack.changes == [
        ("memory.read", "closed", "open", "drill"),
        ("memory.read", "open", "half_open", "open for 30 s"),
        ("memory.read", "half_open", "closed", "2 probes succeeded"),
    ]


@pytest.mark.parametrize("error", ["missing", "exists", "etag", "conflict", "denied", "corrupt", "slow_down"])
async def test_answers_that_are_no_illness_never_open_a_circuit(stack: Stack, error: str):
    stack.store.add(FaultRule(fault=Fault.ERROR, error=error))
    for _ in range(30):
        with pytest.raises(errors.ParqueDBError):
            await stack.backend.create("posts/new", b"")
        with pytest.raises(errors.ParqueDBError):
            await stack.backend.read("posts/a", timeout_s=0.001)
    assert stack.backend.write_circuit.state is CircuitState.CLOSED
    assert stack.backend.read_circuit.state is CircuitState.CLOSED


async def test_a_cancelled_call_counts_for_nothing_and_gives_a_probes_place_back():
    started = asyncio.Event()

    class Hanging(MemoryBackend):
        async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
            started.set()
            await asyncio.Event().wait()
            return b""

    clock = ManualClock()
    options = CircuitBreakerOptions(probes_max=1)
    circuits = [CircuitBreaker(name, options, clock=clock) for name in ("read", "write")]
    backend = BreakerBackend(Hanging(), *circuits)
    circuits[0].trip()
    clock.advance(30)
    task = asyncio.create_task(backend.read("posts/a"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    metrics = circuits[0].metrics()
    assert (metrics.state, metrics.probes, metrics.failures) == (CircuitState.HALF_OPEN, 0, 0)


@pytest.mark.parametrize("bypass", [False, True])
async def test_stat_and_exists_pass_an_open_circuit_only_when_told_so(bypass: bool):
    stack = Stack(breaker_stat_bypass=bypass)
    await stack.memory.create("posts/a", b"hello")
    stack.backend.read_circuit.trip()
    if bypass:
        assert await stack.backend.exists("posts/a")
        assert (await stack.backend.stat("posts/a")).size == 5
    else:
        with pytest.raises(errors.CircuitOpenError):
            await stack.backend.exists("posts/a")
        with pytest.raises(errors.CircuitOpenError):
            await stack.backend.stat("posts/a")
    with pytest.raises(errors.CircuitOpenError):
        await stack.backend.list("posts/")


async def test_a_read_fallback_answers_while_the_circuit_is_open_and_never_says_missing():
    cache = MemoryBackend()
    await cache.create("posts/a", b"cached")
    stack = Stack(read_fallback=cache)
    await stack.memory.create("posts/a", b"stored")
    assert await stack.backend.read("posts/a") == b"stored"
    stack.backend.read_circuit.trip()
    assert await stack.backend.read("posts/a") == b"cached"
    assert await stack.backend.read_range("posts/a", 0, 3) == b"cac"
    assert await stack.backend.read_ranges([Range("posts/a", 0, 3), Range("posts/a", 5, 9)]) == [b"cac", b"d"]
    with pytest.raises(errors.CircuitOpenError) as caught:
        await stack.backend.read("posts/b")
    assert isinstance(caught.value.__cause__, errors.ObjectNotFoundError)
    with pytest.raises(errors.CircuitOpenError):
        await stack.backend.list("posts/")
    assert stack.backend.fallback_reads == 3


async def test_a_fallback_that_fails_as_well_is_soon_asked_no_more_and_is_closed_with_the_store():
    replica = FaultyBackend(MemoryBackend(), rng=random.Random(3), clock=ManualClock())
    replica.outage(True)
    stack = Stack(read_fallback=replica, breaker_failures=2)
    stack.backend.read_circuit.trip()
    for _ in range(10):
        with pytest.raises(errors.CircuitOpenError) as caught:
            await stack.backend.read("posts/a")
        assert caught.value.circuit == "memory.read"
    assert replica.calls["read"] == 2
    assert list(stack.backend.circuits) == ["read", "write", "fallback"]
    assert stack.backend.circuits["fallback"].state is CircuitState.OPEN
    closed: list[bool] = []

    class Closing(MemoryBackend):
        async def close(self) -> None:
            closed.append(True)

    await Stack(read_fallback=Closing()).backend.close()
    assert closed == [True]


async def test_calls_that_are_slow_open_the_circuit_where_the_settings_say_so():
    stack = Stack(breaker_slow_call_s=2.0, breaker_slow_call_rate=0.5, breaker_calls_min=4)
    await stack.memory.create("posts/a", b"hello")
    stack.store.add(FaultRule(fault=Fault.DELAY, delay_s=(3.0, 3.0), count=2))
    for _ in range(4):
        assert await stack.backend.read("posts/a") == b"hello"
    assert stack.changes == [("memory.read", "closed", "open", "2 of 4 calls slow in 60 s")]


async def test_an_attempt_that_hangs_is_cut_and_another_one_is_made():
    stack = Stack(timeout_s=2.0)
    await stack.memory.create("posts/a", b"hello")
    stack.store.add(FaultRule(fault=Fault.DELAY, delay_s=(60.0, 60.0), count=1))
    assert await stack.backend.read("posts/a") == b"hello"
    assert stack.spy.limits == [2.0, pytest.approx(2.0, abs=0.1)]
    assert 2.0 <= stack.clock.boot_s() < 2.1


# Hooks.


async def test_hooks_hear_each_try_with_its_facts_and_its_result(stack: Stack):
    hook = RecordingHook()
    stack.hooks.register_hook(hook)
    stack.store.add(FaultRule(fault=Fault.LOST_REQUEST, count=1, operations=frozenset({"read_range"})))
    for operation in (
        "read_range",
        "read_ranges",
        "create",
        "list",
        "list_folders",
        "stat",
        "exists",
        "delete",
        "read",
    ):
        try:
            await stack.call(operation)
        except errors.ObjectNotFoundError as error:
            missing = error
    starts = [record.context for record in hook.of("on_storage_start")]
    ends = {record.context.operation: record for record in hook.of("on_storage_end")}
    failed = hook.of("on_storage_error")
    assert [(context.operation, context.attempt) for context in starts[:2]] == [("read_range", 1), ("read_range", 2)]
    assert len(starts) == 10
    assert len({context.operation_id for context in starts}) == 10
    assert {(context.side, context.actor) for context in starts} == {("client", None)}
    assert {(context.backend, context.namespace) for context in starts} == {("memory", "posts"), ("memory", None)}
    part = ends["read_range"]
    assert (part.context.key, part.context.start, part.context.length) == ("posts/a", 1, 2)
    assert part.result.bytes == 2
    parts = ends["read_ranges"]
    assert (parts.context.start, parts.context.length, parts.result.bytes) == (None, 3, 3)
    assert part.result.duration_s > 0
    assert (ends["create"].context.bytes, ends["create"].result.bytes) == (4, 4)
    assert ends["create"].result.etag == ends["create"].result.etag is not None
    assert ends["stat"].result.bytes is None, "no bytes of the object were moved"
    assert (ends["list"].result.rows, ends["list_folders"].result.rows) == (2, 1)
    assert [record.context.operation for record in failed] == ["read_range", "read"]
    assert failed[1].result is missing


async def test_hooks_hear_of_a_cancelled_call(stack: Stack):
    hook, started = RecordingHook(), asyncio.Event()
    stack.hooks.register_hook(hook)

    class Hanging(MemoryBackend):
        async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
            started.set()
            await asyncio.Event().wait()
            return b""

    task = asyncio.create_task(ObservedBackend(Hanging(), stack.hooks).read("posts/a"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(hook.of("on_storage_error")[0].result, asyncio.CancelledError)


async def test_hooks_hear_of_changed_circuits(stack: Stack):
    hook = RecordingHook()
    stack.hooks.register_hook(hook)
    stack.backend.write_circuit.trip("drill")
    stack.backend.write_circuit.reset()
    assert [record.context for record in hook.of("on_circuit_change")] == [
        CircuitContext("memory.write", "closed", "open", 30.0, "drill"),
        CircuitContext("memory.write", "open", "closed", None, "reset"),
    ]


async def test_where_none_listens_nothing_is_asked_of_the_registry_but_that():
    asked = []

    class Registry(HookRegistry):
        def __getattribute__(self, name: str) -> Any:
            if not name.startswith("_"):
                asked.append(name)
            return super().__getattribute__(name)

    memory = MemoryBackend()
    await memory.create("posts/a", b"hello")
    registry = Registry()
    registry.register_hook(RecordingHook("on_query_start"))
    backend = ObservedBackend(memory, registry)
    asked.clear()
    for operation, arguments in CALLS.items():
        await getattr(backend, operation)(*arguments) if operation != "stat" else None
    assert asked == ["hears"] * (len(CALLS) - 1)


async def test_a_retry_layer_of_its_own_keeps_the_error_of_the_last_try():
    clock = ManualClock()
    store = FaultyBackend(MemoryBackend(), rng=random.Random(1), clock=clock)
    store.add(FaultRule(fault=Fault.ERROR, error="read", count=1))
    store.add(FaultRule(fault=Fault.ERROR, error="missing"))
    retrier = Retrier(RetryOptions(), RetryBudget(), clock=clock, rng=random.Random(1))
    with pytest.raises(errors.ObjectNotFoundError) as caught:
        await RetryingBackend(store, retrier).read("posts/a")
    assert caught.value.__notes__ == ["gave up after 2 of 4 tries: this error is final"]


def test_a_call_that_is_thrown_away_unfinished_is_closed_in_any_context():
    async def unfinished() -> None:
        with attempt(2), counting_reads(ScanCounts()):
            await asyncio.sleep(0)

    call = unfinished()
    contextvars.Context().run(call.send, None)
    call.close()
    assert attempt_number() == 1

"""Whatever a hook does, the operation it watches does not notice: it runs on a thread of its own."""

import asyncio
import contextvars
import gc
import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from parquedb.observability.contexts import FlushContext, QueryResult, create_query_context
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.testing import RecordingHook

pytestmark = pytest.mark.timeout(60)

BOUND_S = 5.0
"""Far more than announcing takes on a busy machine, far less than any of these hooks hangs."""


def query(namespace: str = "posts"):
    return create_query_context("find", namespace, {"a": 1})


class Hook:
    """A background hook whose callbacks all do `what`."""

    def __init__(self, what) -> None:
        self.what = what
        self.reached = threading.Event()

    def on_query_start(self, ctx):
        self.reached.set()
        return self.what()

    def on_flush(self, ctx):
        self.reached.set()
        return self.what()


class InOrder:
    """Notes what it hears, on which thread."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.threads: set[str] = set()

    def on_query_start(self, ctx):
        self.threads.add(threading.current_thread().name)
        self.heard.append(f"start {ctx.namespace}")

    async def on_query_end(self, ctx, result):
        await asyncio.sleep(0)
        self.heard.append(f"end {ctx.namespace}")


over = threading.Event()
"""Lets the hooks that hang go when their test is over, so that they burden no other."""


@pytest.fixture(autouse=True)
def _let_go():
    over.clear()
    yield
    over.set()


def sleeps_for_ever():
    over.wait()


def spins():
    while not over.is_set():
        pass


def deadlocks():
    lock = threading.Lock()
    lock.acquire()
    while not over.is_set():
        lock.acquire(timeout=1)


async def blocks_in_a_coroutine():
    over.wait()


async def never_finishes():
    await asyncio.Event().wait()


HANGING = [sleeps_for_ever, spins, deadlocks, blocks_in_a_coroutine, never_finishes]


@pytest.mark.parametrize("what", HANGING, ids=lambda what: what.__name__)
async def test_a_hook_that_hangs_delays_neither_operations_nor_other_hooks_nor_the_wait_for_it(what):
    registry, hook, other = HookRegistry(queue_max=10), Hook(what), RecordingHook()
    registry.register_hook(hook)
    registry.register_hook(other)
    registry.emit("flush", FlushContext("posts"))
    assert await asyncio.to_thread(hook.reached.wait, 10)
    started_s = time.monotonic()
    for _ in range(50):
        registry.start("query", query()).end(QueryResult())
    assert time.monotonic() - started_s < BOUND_S
    assert len(other.of("on_query_end")) == 50
    assert not registry.settle(timeout_s=0.05)
    assert not await registry.drain(timeout_s=0.05)
    assert time.monotonic() - started_s < BOUND_S
    assert registry.stats()[0].groups["query"].dropped == 40


def leaves():
    raise SystemExit(3)


def interrupts():
    raise KeyboardInterrupt


def fails():
    raise OSError("audit log full")


class Unheard(BaseException):
    """None that anybody expects."""


def fails_unheard():
    raise Unheard


async def cancels():
    raise asyncio.CancelledError


async def fails_later():
    await asyncio.sleep(0)
    raise OSError("audit log full")


async def leaves_later():
    await asyncio.sleep(0)
    raise SystemExit(3)


RAISING = [leaves, interrupts, fails, fails_unheard, cancels, fails_later, leaves_later]


@pytest.mark.parametrize("what", RAISING, ids=lambda what: what.__name__)
def test_whatever_a_hook_raises_is_counted_and_logged_once_and_it_is_called_again(what, caplog):
    registry = HookRegistry()
    registry.register_hook(Hook(what))
    with caplog.at_level(logging.WARNING, "parquedb"):
        for _ in range(3):
            registry.emit("flush", FlushContext("posts"))
        assert registry.settle(10)
    stats = registry.stats()[0].groups["flush"]
    assert (stats.calls, stats.errors, stats.dropped) == (3, 3, 0)
    assert len(caplog.records) == 1


def test_a_coroutine_that_does_not_end_in_time_is_cancelled_and_counted():
    registry, hook = HookRegistry(awaited_s=0.01), Hook(never_finishes)
    registry.register_hook(hook)
    registry.emit("flush", FlushContext("posts"))
    assert registry.settle(10)
    assert registry.stats()[0].errors == {"flush": 1}


def test_callbacks_run_one_after_the_other_in_the_order_of_the_calls_sync_or_async():
    registry, hook = HookRegistry(), InOrder()
    registry.register_hook(hook)
    for name in "abc":
        registry.start("query", query(name)).end(QueryResult())
    assert registry.settle(10)
    assert hook.heard == [f"{what} {name}" for name in "abc" for what in ("start", "end")]
    assert hook.threads == {f"parquedb-hook {__name__}.InOrder"}


def test_a_hook_whose_start_failed_in_the_background_is_spared_the_ending():
    heard = []

    class Broken:
        def on_query_start(self, ctx):
            if ctx.namespace == "bad":
                raise ValueError("broken start")

        def on_query_end(self, ctx, result):
            heard.append(ctx.namespace)

    registry = HookRegistry()
    registry.register_hook(Broken())
    for namespace in ("bad", "good"):
        registry.start("query", query(namespace)).end(QueryResult())
    assert registry.settle(10)
    assert heard == ["good"]


def test_context_variables_are_those_of_the_operation():
    variable, seen = contextvars.ContextVar("variable"), []

    class Reading:
        def on_query_start(self, ctx):
            seen.append(variable.get())

        async def on_query_end(self, ctx, result):
            seen.append(variable.get())

    registry = HookRegistry()
    registry.register_hook(Reading())
    variable.set("mine")
    operation = registry.start("query", query())
    variable.set("later")
    operation.end(QueryResult())
    assert registry.settle(10)
    assert seen == ["mine", "later"]


async def test_what_an_inline_hook_returns_to_await_is_awaited_beside_the_operation():
    class Inline:
        inline = True

        def __init__(self) -> None:
            self.done = threading.Event()

        async def on_flush(self, ctx):
            self.done.set()

    registry, hook = HookRegistry(), Inline()
    registry.register_hook(hook)
    registry.emit("flush", FlushContext("posts"))
    gc.collect()
    assert await registry.drain(10)
    assert hook.done.is_set()


def test_unregistering_a_hook_that_hangs_is_over_at_once():
    registry, hook = HookRegistry(), Hook(sleeps_for_ever)
    unregister = registry.register_hook(hook)
    registry.emit("flush", FlushContext("posts"))
    assert hook.reached.wait(10)
    unregister()
    assert (registry.active, registry.hears("flush"), registry.settle(0)) == (False, False, True)


def test_a_thread_ends_without_work_and_comes_back_with_it(monkeypatch):
    monkeypatch.setattr("parquedb.observability.hook_thread.IDLE_S", 0.0)
    registry, hook = HookRegistry(), InOrder()
    registry.register_hook(hook)
    name = f"parquedb-hook {__name__}.InOrder"
    for turn in range(1, 4):
        registry.start("query", query()).end(QueryResult())
        assert registry.settle(10)
        for thread in [each for each in threading.enumerate() if each.name == name]:
            thread.join(10)
        assert len(hook.heard) == 2 * turn
        assert name not in {thread.name for thread in threading.enumerate()}


def test_a_forked_child_calls_its_hooks_on_a_thread_of_its_own():
    registry, hook = HookRegistry(), InOrder()
    registry.register_hook(hook)
    registry.start("query", query("parent"))
    assert registry.settle(10)
    child = os.fork()
    if not child:
        hook.heard.clear()
        registry.start("query", query("child"))
        os._exit(0 if registry.settle(10) and hook.heard == ["start child"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


PROGRAM = """
import time
from parquedb.observability.contexts import FlushContext
from parquedb.observability.hooks import register_hook, global_hook_registry

class Hook:
    def on_flush(self, ctx):
        {what}

register_hook(Hook())
global_hook_registry.emit("flush", FlushContext("posts"))
"""


def run(what: str) -> tuple[str, float]:
    started_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(what=what)], capture_output=True, text=True, check=True, timeout=50
    )
    return done.stdout, time.monotonic() - started_s


def test_a_program_that_ends_lets_callbacks_under_way_finish_but_waits_for_none_that_hangs():
    told, quick_s = run("print('told', flush=True)")
    assert told == "told\n"
    _, hung_s = run("time.sleep(1000)")
    assert hung_s < quick_s + 10

"""What a failing store gets to see: requests on the wire, counted by a proxy, against the bounds that are promised."""

import asyncio
import contextlib
import math
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from parquedb.clock import SystemClock
from parquedb.errors import CircuitOpenError, ParqueDBError, StorageReadError
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.testing import RecordingHook
from parquedb.storage.backends.layers import wrap_backend
from parquedb.storage.backends.retry import RetryBudget
from parquedb.storage.open import open_backend
from tests.support.fault_proxy import FaultProxy
from tests.support.places import EngineCollection, engine_on, on_s3, settings_of
from tests.support.s3_servers import S3Server

LOG = r"/log/\d+"
FAILURES, OPEN_S, PROBES = 5, 0.3, 2
STORAGE = {"timeout_s": 5.0, "breaker_failures": FAILURES, "breaker_open_s": OPEN_S, "breaker_probes_max": PROBES}
QUIET = {"flush_interval_s": 3600, "collect_interval_s": 3600, "compaction_interval_s": 3600}
"""Engine settings under which nothing but the test asks storage for anything."""
CALLERS = 64


def wire_bound(failing_s: float) -> int:
    """Return the most requests of one owner that a circuit lets through while a store fails; see docs/resilience.md."""
    return FAILURES + PROBES * math.ceil(failing_s / OPEN_S + 1)


@pytest.fixture
def place(moto: S3Server, moto_proxy: FaultProxy, unique_prefix: str) -> dict[str, Any]:
    return on_s3(moto, unique_prefix, endpoint_url=moto_proxy.url, storage=STORAGE, engine=QUIET)


async def until(met: Any) -> None:
    async with asyncio.timeout(30):
        while not met():
            await asyncio.sleep(0.01)


async def test_a_write_sends_few_requests_while_the_store_fails_and_each_of_them_is_counted(
    place: dict[str, Any], moto_proxy: FaultProxy
) -> None:
    hook = RecordingHook()
    async with engine_on(settings_of(place), "wire") as engine:
        engine._hooks.register_hook(hook)
        await engine.open()
        posts = EngineCollection(engine)
        await posts.create({}, id="before")
        fault = moto_proxy.add("status", method="PUT", path=LOG, status=500, code="InternalError")
        began_s = time.monotonic()
        writes = [asyncio.create_task(posts.create({}, id=f"d{number}", timeout_s=30)) for number in range(CALLERS)]
        await until(lambda: fault.fired >= FAILURES + 2)
        failing_s = time.monotonic() - began_s
        moto_proxy.clear()
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        await engine.close()
    stored = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    assert stored, "those that were at storage when it failed"
    refused = {type(outcome) for outcome in outcomes if not isinstance(outcome, dict)}
    assert refused <= {CircuitOpenError}, "for certain, while the circuit was open"
    puts = Counter(seen.path for seen in moto_proxy.seen if seen.method == "PUT" and re.search(LOG, seen.path))
    sent = max(puts.values())
    assert fault.fired < sent <= wire_bound(failing_s)
    assert max(record.result.attempts for record in hook.of("on_commit")) == sent, "the hooks are told as many"


@pytest.mark.parametrize("kind", ["reads", "writes"])
async def test_many_impatient_callers_of_a_dead_store_stay_within_the_budget(
    kind: str, place: dict[str, Any], moto_proxy: FaultProxy
) -> None:
    calls: Counter[str] = Counter()
    async with engine_on(settings_of(place | {"engine": QUIET | {"read_lease_s": 0.0}}), "storm") as engine:
        await engine.open()
        posts = EngineCollection(engine)
        await posts.create({}, id="there")
        seen, began_s = len(moto_proxy.seen), time.monotonic()
        end_s = began_s + 2.0

        async def storm(number: int) -> None:
            while time.monotonic() < end_s:
                work = posts.get("there") if kind == "reads" else posts.create({}, id=f"{number}", timeout_s=0.2)
                try:
                    await work
                except ParqueDBError as error:
                    calls[type(error).__name__] += 1
                # As impatient as it gets: again at once, whatever it was told to wait.
                await asyncio.sleep(0.001)

        with moto_proxy.outage():
            await asyncio.gather(*map(storm, range(CALLERS)))
            wire = len(moto_proxy.seen) - seen
            failing_s = time.monotonic() - began_s
    assert FAILURES <= wire <= wire_bound(failing_s)
    assert calls["CircuitOpenError"] > 20 * wire, calls


@contextlib.contextmanager
def failing_reads(proxy: FaultProxy) -> Iterator[None]:
    proxy.add("status", method="GET", path="/data/", status=500, code="InternalError")
    try:
        yield
    finally:
        proxy.clear()


async def test_without_a_circuit_the_retry_budget_alone_keeps_a_storm_small(
    moto: S3Server, moto_proxy: FaultProxy, unique_prefix: str
) -> None:
    never = {"breaker_failures": 10_000, "breaker_calls_min": 100_000, "retry_attempts_max": 20}
    settings = settings_of(on_s3(moto, unique_prefix, endpoint_url=moto_proxy.url, storage=never))
    storage = wrap_backend(
        open_backend(settings), settings.storage, clock=SystemClock(), hooks=HookRegistry(), rng=random.Random(1)
    )
    await storage.create("posts/data/1-a", b"data")
    full = RetryBudget().tokens
    with failing_reads(moto_proxy):
        answers = await asyncio.gather(
            *[storage.read("posts/data/1-a") for _ in range(CALLERS)], return_exceptions=True
        )
    assert {type(answer) for answer in answers} == {StorageReadError}
    assert CALLERS < moto_proxy.count(method="GET", path="/data/") <= CALLERS + full
    assert await storage.read("posts/data/1-a") == b"data"
    await storage.close()

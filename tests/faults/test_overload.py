"""More than an owner can take: storage that swallows everything, floods of queries, floods through the bare handle."""

import asyncio
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import resident_bytes
from benchmarks.noop import start_noop
from parquedb.cluster.runtime.placement import find
from parquedb.cluster.transport.calls import reply_to, translate
from parquedb.errors import BackpressureError, ParqueDBError
from tests.support.chain import Bystander, check_attempts
from tests.support.fault_proxy import FaultProxy
from tests.support.owners import database
from tests.support.places import NAMESPACE, on_disk, on_s3, settings_of
from tests.support.s3_servers import S3Server
from tests.support.workloads import Ledger

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

QUEUE_OPS, QUEUE_AGE_S = 300, 1.0
QUEUE = {"queue_ops_max": QUEUE_OPS, "queue_age_max_s": QUEUE_AGE_S}
TEXT_BYTES = 20_000
OFFERED_PER_S, BLACK_HOLE_S = 400, 8.0
MEMORY_GROWTH_MAX = 48 << 20
"""Bytes; what is offered while storage is away adds up to more, and the two queues hold a quarter of this."""

HEALTH_RATIO_MAX = 6.0
"""Twice what is promised: other work goes on beside a test."""


class Offer:
    """Creates that are offered by the clock, whatever becomes of those before."""

    def __init__(self, posts: Any, ledger: Ledger) -> None:
        self._posts = posts
        self._ledger = ledger
        self._calls: list[asyncio.Task[Any]] = []

    async def during(self, seconds: float) -> None:
        """Offer for so long; what was begun goes on."""
        started_s = time.monotonic()
        begun = len(self._calls)
        while (passed_s := time.monotonic() - started_s) < seconds:
            for number in range(len(self._calls), begun + int(passed_s * OFFERED_PER_S)):
                self._calls.append(asyncio.create_task(self._one(f"d{number}")))
            await asyncio.sleep(0.01)

    async def _one(self, id_: str) -> None:
        # Returns nothing: the traceback of an error would keep the document.
        token = self._ledger.token()
        call = self._posts.create({"token": token, "text": "x" * TEXT_BYTES}, id=id_, timeout_s=20.0)
        await self._ledger.write(token, [id_], call)

    async def settled(self) -> None:
        """Return when every call has its answer."""
        await asyncio.wait(self._calls)


class Watched:
    """What an owner says of itself by turns with a no-op actor, and how much memory it takes."""

    def __init__(self, owner: Any, pid: int) -> None:
        self._owner, self._pid, self._noop = owner, pid, start_noop()
        self.health_s: list[float] = []
        self.noop_s: list[float] = []
        self.answers: list[dict[str, Any]] = []
        self.bytes: list[int] = []

    async def look(self) -> None:
        """Look once more."""
        started_s = time.perf_counter()
        self.answers.append(await self._owner.health.remote())
        answered_s = time.perf_counter()
        await self._noop.f.remote()
        self.health_s.append(answered_s - started_s)
        self.noop_s.append(time.perf_counter() - answered_s)
        self.bytes.append(resident_bytes(self._pid))

    async def until(self, work: "asyncio.Future[Any]") -> None:
        """Look until some work is done."""
        while not work.done():
            await self.look()
            await asyncio.wait({work}, timeout=0.05)
        await work

    @property
    def ratio(self) -> float:
        """How much longer health takes to answer than an actor that does nothing."""
        return statistics.median(self.health_s) / statistics.median(self.noop_s)


async def rate(posts: Any, ledger: Ledger, name: str) -> float:
    """Return acknowledged creates per second of some callers that each await their answer."""
    started_s = time.monotonic()

    async def caller(number: int) -> None:
        for turn in range(10):
            token, id_ = ledger.token(), f"{name}-{number}-{turn}"
            await ledger.write(token, [id_], posts.create({"token": token}, id=id_, timeout_s=30.0))

    await asyncio.gather(*map(caller, range(32)))
    return 320 / (time.monotonic() - started_s)


async def test_while_storage_swallows_every_request_nothing_piles_up_and_afterwards_all_goes_on(
    ray_cluster: str, weed: S3Server, weed_proxy: FaultProxy, unique_prefix: str, figures: Callable[..., None]
) -> None:
    place = on_s3(
        weed,
        unique_prefix,
        endpoint_url=weed_proxy.url,
        engine={**QUEUE, "group_ops_max": 100, "degraded_after_s": 0.5},
        client=QUEUE,
        # Only the queues are to bound what piles up here, not the circuit.
        storage={"timeout_s": 2.0, "breaker_failures": 1000, "breaker_failure_rate": 1.0},
    )
    ledger = Ledger()
    async with database(place) as db:
        posts = db[NAMESPACE]
        before = await rate(posts, ledger, "before")
        pid = (await posts.stats())["pid"]
        watched = Watched(posts.actor, pid)
        await watched.look()
        own_before = resident_bytes(os.getpid())
        hole = weed_proxy.add("hang_before")
        offer = Offer(posts, ledger)
        await watched.until(asyncio.ensure_future(offer.during(BLACK_HOLE_S)))
        own_growth = resident_bytes(os.getpid()) - own_before
        weed_proxy.clear()
        assert hole.fired
        await offer.settled()
        after = await rate(posts, ledger, "after")
        assert (await posts.stats())["pid"] == pid
        bystander = Bystander(settings_of(place), NAMESPACE)
        history = await bystander.history()
        await bystander.close()
        verdict = check_attempts(history, ledger.attempts)
        assert {each["$id"]: each async for each in posts.find(limit=1000)} == history.documents()
        assert (await posts.actor.health.remote())["reasons"] == []
    refusals = Counter(attempt.error for attempt in ledger.attempts if attempt.error)
    late = [answer for answer in watched.answers if answer["lag"]["commit_pending_s"] > 0.5]
    assert len(late) > 20
    assert all(answer["status"] == "degraded" for answer in late)
    assert all(any("a commit has been pending" in reason for reason in answer["reasons"]) for answer in late)
    assert max(answer["lag"]["queued_ops"] for answer in watched.answers) <= QUEUE_OPS
    growth = max(watched.bytes) - watched.bytes[0]
    assert growth < MEMORY_GROWTH_MAX
    assert own_growth < MEMORY_GROWTH_MAX
    assert refusals["BackpressureError"] > 0.5 * OFFERED_PER_S * (BLACK_HOLE_S - 3 * QUEUE_AGE_S)
    assert after > 0.5 * before
    assert watched.ratio < HEALTH_RATIO_MAX
    figures(
        acknowledged=verdict.acknowledged,
        refused=verdict.refused,
        unknown=verdict.unknown,
        owner_growth_mib=growth >> 20,
        caller_growth_mib=own_growth >> 20,
        per_s_before=before,
        per_s_after=after,
        health_to_noop=watched.ratio,
        health_p99_ms=1000 * sorted(watched.health_s)[int(0.99 * len(watched.health_s))],
    )


async def test_a_flood_of_queries_is_refused_beyond_its_bounds_and_writes_go_on(
    ray_cluster: str, tmp_path: Path, figures: Callable[..., None]
) -> None:
    flood = 3000
    place = on_disk(tmp_path, engine={"queries_max": 4, "queries_waiting_max": 200})
    async with database(place) as db:
        posts = db[NAMESPACE]
        await posts.create_many([{"n": number, "text": "x" * 500} for number in range(2000)])
        pid = (await posts.stats())["pid"]
        before = resident_bytes(pid)

        async def ask() -> str:
            try:
                page = await reply_to(posts.actor.find.remote({"n": {"$gte": 0}}, limit=500), NAMESPACE)
            except ParqueDBError as error:
                return type(error).__name__
            return "answered" if len(page["items"]) == 500 else "wrong"

        asked = asyncio.gather(*(ask() for _ in range(flood)))
        created = [await posts.create({"n": -1}) for _ in range(5)]
        answers = Counter(await asked)
        growth = resident_bytes(pid) - before
    assert len(created) == 5
    assert set(answers) == {"answered", "BackpressureError"}
    assert answers["answered"] >= 200
    figures(**answers, growth_mib=growth >> 20)


async def test_a_process_can_leave_only_so_many_calls_with_a_bare_handle(ray_cluster: str, tmp_path: Path) -> None:
    place = on_disk(tmp_path, client={"pending_calls_max": 50})
    async with database(place) as db:
        posts = db[NAMESPACE]
        await posts.create({})
        for handle in (posts.actor, find(db.settings, NAMESPACE)):
            assert handle is not None
            replies = []
            with pytest.raises(BackpressureError):
                for number in range(1000):
                    try:
                        replies.append(handle.create.remote({"n": number}))
                    except Exception as error:
                        raise translate(error, NAMESPACE) from error
            assert len(replies) >= 50
            assert (await posts.stats())["state"] == "open", "the client comes back when there is room"
            stored = await asyncio.gather(*replies)
            assert len({document["$id"] for document in stored}) == len(replies)
        assert (await posts.create({}))["version"] == 1

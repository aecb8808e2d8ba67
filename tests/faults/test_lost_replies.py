"""A log PUT that was applied although its answer says nothing, or something else: one acknowledgement, one event.

A proxy in front of a real S3 server commits the PUT and then misbehaves. Sent again, the same bytes meet themselves
(412, and a GET that shows whose they are), so each lost reply costs one more PUT and at most one GET.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ray

import parquedb
from parquedb.cluster.runtime.placement import find
from tests.support.chain import Bystander, check_attempts
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.places import NAMESPACE, EngineCollection, engine_on, on_s3, settings_of
from tests.support.s3_servers import S3Server
from tests.support.workloads import Ledger, Load, gathered

SEED = 3
LOG = r"/log/\d+"
LOST: dict[str, dict[str, Any]] = {
    "drop_after": {"probability": 0.16},
    "status_after": {"probability": 0.14, "status": 500, "code": "InternalError"},
    "zombie": {"probability": 0.11, "delay_s": 0.05},
    # The slow one: the caller must wait for its own time limit.
    "hang_after": {"probability": 0.04},
}
"""What happens to log PUTs, and to which share of them."""

PATIENT = {"timeout_s": 1.5, "breaker_failures": 100, "breaker_calls_min": 10_000, "breaker_open_s": 0.2}
"""Storage settings: a reply is lost after 1.5 s, and the circuit stays out of it."""

STEADY = {"read_lease_s": 0.1, "flush_rows": 400, "checkpoint_entries_max": 64}


@contextmanager
def losing(proxy: FaultProxy) -> Iterator[list[Fault]]:
    """Lose replies to log PUTs in all four ways; what hangs is let go at the end."""
    try:
        yield [proxy.add(action, method="PUT", path=LOG, **settings) for action, settings in LOST.items()]
    finally:
        proxy.clear()


def check_requests(proxy: FaultProxy, first: int) -> tuple[int, int]:
    """Check that each lost reply cost at most one more PUT and one GET; return replies lost and PUTs beyond the first.

    Args:
        proxy: What it saw is looked at.
        first: Requests it had seen before the faults began.
    """
    puts: Counter[str] = Counter()
    gets: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for seen in proxy.seen[first:]:
        key = seen.path.partition("?")[0]
        if not re.search(LOG, key):
            continue
        if seen.method == "PUT":
            assert seen.condition == "create", f"an unconditional PUT of {key}"
            puts[key] += 1
            lost[key] += seen.action in LOST
        elif seen.method == "GET":
            gets[key] += 1
    for key, count in puts.items():
        # Whoever lost nothing sends no second request; a GET after a loss asks whose entry it is.
        assert count <= 1 + lost[key], f"{count} PUTs of {key} after {lost[key]} lost replies"
        assert gets[key] <= min(1, lost[key]), f"{gets[key]} GETs of {key} after {lost[key]} lost replies"
    return sum(lost.values()), sum(puts.values()) - len(puts)


async def lose_replies_of_an_engine(
    proxy: FaultProxy, place: dict[str, Any], figures: Callable[..., None], *, losses: int
) -> None:
    settings, ledger, rng = settings_of(place), Ledger(), random.Random(SEED)
    async with engine_on(settings, str(SEED)) as engine:
        await engine.open()
        posts = EngineCollection(engine)
        await ledger.write("first", ["n"], posts.create({"token": "first", "n": 0}, id="n"))
        first = len(proxy.seen)
        with losing(proxy) as rules:
            number = 0
            while sum(rule.fired for rule in rules) < losses:
                # A few at once, so that groups form; the next ones when these are answered.
                calls = [write_one(posts, ledger, f"d{number}-{i}") for i in range(rng.randrange(1, 4))]
                await gathered(calls)
                number += 1
            fired = {rule.action: rule.fired for rule in rules}
        replies, more_puts = check_requests(proxy, first)
        document = await posts.get("n")
        await engine.close()
    bystander = Bystander(settings, NAMESPACE)
    history = await bystander.history()
    await bystander.close()
    verdict = check_attempts(history, ledger.attempts)
    assert (verdict.refused, verdict.unknown) == (0, 0), verdict.by_error
    assert document["n"] == ledger.sums["n"]
    assert replies >= losses
    assert losses < 100 or all(fired.values())
    figures(
        lost_replies=replies,
        extra_puts=more_puts,
        **fired,
        acknowledged=verdict.acknowledged,
        refused=0,
        unknown=0,
        duplicates=0,
        false_conflicts=0,
    )


def write_one(posts: EngineCollection, ledger: Ledger, id_: str) -> Callable[[], Any]:
    """Return a write: every other one adds to the shared document `n`."""
    token = ledger.token()
    if int(id_[-1]) % 2:
        return lambda: ledger.write(token, [id_], posts.create({"token": token}, id=id_, timeout_s=30))
    ops = {"$inc": {"n": 1}, "$set": {"token": token}}
    return lambda: ledger.write(token, ["n"], posts.update("n", ops, timeout_s=30), adds=1)


async def test_ten_lost_replies_of_log_puts_are_each_settled_with_one_more_request(
    weed: S3Server, weed_proxy: FaultProxy, unique_prefix: str, figures: Callable[..., None]
) -> None:
    place = on_s3(weed, unique_prefix, endpoint_url=weed_proxy.url, engine=STEADY, storage=PATIENT)
    await lose_replies_of_an_engine(weed_proxy, place, figures, losses=10)


@pytest.mark.faults
async def test_two_hundred_lost_replies_of_log_puts_are_each_settled_with_one_more_request(
    weed: S3Server, weed_proxy: FaultProxy, unique_prefix: str, figures: Callable[..., None]
) -> None:
    place = on_s3(weed, unique_prefix, endpoint_url=weed_proxy.url, engine=STEADY, storage=PATIENT)
    await lose_replies_of_an_engine(weed_proxy, place, figures, losses=200)


@pytest.mark.faults
async def test_lost_replies_behind_a_real_owner_are_invisible_to_its_clients(
    ray_cluster: str, weed: S3Server, weed_proxy: FaultProxy, unique_prefix: str, figures: Callable[..., None]
) -> None:
    place = on_s3(weed, unique_prefix, endpoint_url=weed_proxy.url, engine=STEADY, storage=PATIENT)
    ledger = Ledger()
    bystander = Bystander(settings_of(place), NAMESPACE)
    async with await parquedb.connect_async(**place) as db:
        try:
            posts = db[NAMESPACE]
            load = Load(posts, ledger, writers=16, seed=SEED)
            await load.start()
            first = len(weed_proxy.seen)
            with losing(weed_proxy) as rules:
                while sum(rule.fired for rule in rules) < 60 or not all(rule.fired for rule in rules):
                    await ledger.more(10)
                await load.stop()
            lost = sum(seen.action in LOST for seen in weed_proxy.seen[first:])
            assert all(rule.fired for rule in rules)
            stored = {document["$id"]: document async for document in posts.find(limit=1000)}
            history = await bystander.history()
            verdict = check_attempts(history, ledger.attempts)
            assert stored == history.documents()
            assert verdict.unknown == 0
            assert set(verdict.by_error) <= {"VersionConflictError"}
            assert len(history.epochs) == 1, "no lost reply makes an owner give up"
            figures(
                lost_replies=lost,
                acknowledged=verdict.acknowledged,
                refused=verdict.refused,
                unknown=0,
                duplicates=0,
            )
        finally:
            await bystander.close()
            await asyncio.to_thread(ray.kill, find(db.settings, NAMESPACE))

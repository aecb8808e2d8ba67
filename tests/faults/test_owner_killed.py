"""kill -9 of the owner under load: what was acknowledged is there once, and nothing else is."""

import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

import parquedb
from parquedb.cluster.runtime.placement import find
from parquedb.storage.log.entry import Kind
from tests.support.chain import Bystander, check_attempts
from tests.support.places import BUSY, NAMESPACE, on_disk, on_s3
from tests.support.s3_servers import S3Server
from tests.support.workloads import Ledger, Load

SEED = 20_260_726


async def kill_owners(posts: Any, ledger: Ledger, load: Load, *, kills: int, rng: random.Random) -> list[float]:
    """Kill so many more owners under load; return the seconds to the first acknowledgement after each.

    Every fourth dies again as soon as its process is there: while it opens.
    """
    killed: set[int] = set()
    pauses_s = []
    while len(killed) < kills:
        await ledger.more(rng.randrange(100, 1500))
        for _ in range(2 if len(killed) % 4 == 3 else 1):
            pid = (await posts.stats(timeout_s=60))["pid"]
            assert pid not in killed
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        started_s = time.monotonic()
        await load.create(f"after-{ledger.token()}")
        pauses_s.append(time.monotonic() - started_s)
    return pauses_s


async def kill_test(
    place: dict[str, Any], figures: Callable[..., None], *, writers: int, kills: int, collecting: bool = True
) -> None:
    ledger, rng = Ledger(), random.Random(SEED)
    async with await parquedb.connect_async(**place, client={"timeout_s": 60.0}) as db:
        posts = db[NAMESPACE]
        bystander = Bystander(db.settings, NAMESPACE)
        try:
            async with bystander.watching(), Load(posts, ledger, writers=writers, seed=SEED, timeout_s=60) as load:
                pauses_s = await kill_owners(posts, ledger, load, kills=kills // 2, rng=rng)
                if collecting:
                    # The later owners open where the older entries are gone.
                    await bystander.until_collected(2)
                pauses_s += await kill_owners(posts, ledger, load, kills=kills - kills // 2, rng=rng)
                await ledger.more(500)
            stats = await posts.stats()
            history = await bystander.history()
            verdict = check_attempts(history, ledger.attempts)
            stored = {document["$id"]: document async for document in posts.find(limit=2000)}
            assert stored == history.documents()
            for id_, total in ledger.sums.items():
                applied = [a for a in ledger.attempts if a.ids == (id_,) and a.error == "OutcomeUnknownError"]
                assert total <= stored[f"{NAMESPACE}/{id_}"]["n"] <= total + len(applied)
            assert sum(document["n"] for id_, document in stored.items() if id_.startswith(f"{NAMESPACE}/a")) == 0
            assert set(verdict.by_error) <= {"VersionConflictError", "OutcomeUnknownError"}
            assert verdict.unknown == 0, "every caller waited long enough to be told"
            assert len(history.epochs) > kills * 3 // 4
            assert history.count(Kind.CHECKPOINT) > 0
            if collecting:
                assert stats["files"] > 0
                assert history.collected > 0
            figures(
                kills=kills,
                writers=writers,
                acknowledged=verdict.acknowledged,
                refused=verdict.refused,
                unknown=verdict.unknown,
                duplicates=0,
                lost=0,
                median_s_to_first_ack=statistics.median(pauses_s),
                max_s_to_first_ack=max(pauses_s),
                reads=ledger.reads,
                entries=len(history.entries),
                checkpoints=history.count(Kind.CHECKPOINT),
                collected=history.collected,
                files=stats["files"],
            )
        finally:
            await bystander.close()
            ray.kill(find(db.settings, NAMESPACE))


async def test_acknowledged_writes_survive_three_kills_of_the_owner(
    ray_cluster: str, tmp_path: Path, figures: Callable[..., None]
) -> None:
    await kill_test(on_disk(tmp_path, engine=BUSY), figures, writers=16, kills=3, collecting=False)


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_acknowledged_writes_survive_twenty_kills_of_the_owner_on_disk(
    ray_cluster: str, tmp_path: Path, figures: Callable[..., None]
) -> None:
    await kill_test(on_disk(tmp_path, engine=BUSY), figures, writers=64, kills=20)


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_acknowledged_writes_survive_twenty_kills_of_the_owner_on_s3(
    ray_cluster: str, weed: S3Server, unique_prefix: str, figures: Callable[..., None]
) -> None:
    await kill_test(on_s3(weed, unique_prefix, engine=BUSY), figures, writers=64, kills=20)

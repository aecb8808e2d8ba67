"""What is restored is what was: documents, versions, history, feed and answered requests, after any life."""

import asyncio
import random
from typing import Any

import pytest

from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.verification.rules import Severity
from parquedb.storage.verification.verifier import Verifier
from tests.support.backups import Slow, put_back, take, told
from tests.support.engines import NAMESPACE, inline, settings
from tests.support.pasts import MANY, Life, random_steps
from tests.support.virtual_loop import Process, SimClock, run_virtually

KINDS: list[dict[str, Any]] = [
    {},
    {"history_window_s": 50},
    {"checkpoint_entries_max": 2, "snapshot_grace_s": 20},
    {"flush_rows": 3},
]


async def same_as_then(life: Life, target: MemoryBackend, seq: int, **kind: Any) -> None:
    """Hold what a restored namespace tells against the record of the original up to a seq."""
    found = await told(target, MANY, clock=life.clock, **kind)
    assert found["documents"] == life.states[seq]
    first = found["feed"][0][0] if found["feed"] else seq + 1
    assert [one[0] for one in found["feed"]] == list(range(first, seq + 1))
    assert [(one[3], one[4]) for one in found["feed"]] == life.events[first - 1 : seq]
    for id_, changes in found["histories"].items():
        expected = [(at, one[1]) for at, one in enumerate(life.events[:seq], 1) if one[0] == id_ and at >= first]
        assert [(one[0], one[4]) for one in changes if one[0] >= first] == expected
    made = Verifier(target, NAMESPACE, settings(**kind), clock=life.clock, run=inline)
    report = await made.verify()
    assert [one for one in report.findings if one.severity is not Severity.INFORMATION] == []


@pytest.mark.parametrize("seed", range(24))
def test_a_restored_point_tells_what_the_original_told_then(seed: int) -> None:
    rng, kind = random.Random(seed), KINDS[seed % len(KINDS)]

    async def live() -> None:
        life = await Life.begin(SimClock(Process("owner")), **kind)
        archive, points = MemoryBackend(clock=life.clock), []
        for _ in range(3):
            await life.live(random_steps(rng, 40))
            catalogue, _ = await take(life.store, archive, clock=life.clock, **life.settings)
            [point] = catalogue.namespaces
            assert point.seq == len(life.states) - 1, "everything acknowledged is in it"
            points.append((catalogue.point, point.seq))
        await life.live(random_steps(rng, 20))
        for name, seq in points:
            target = MemoryBackend(clock=life.clock)
            [point] = await put_back(archive, target, point=name, clock=life.clock)
            assert point.seq == seq
            await same_as_then(life, target, seq, **life.settings)
        life.owner.abandon()

    run_virtually(live)


def test_a_backup_beside_an_owner_that_collects_is_of_one_moment() -> None:
    vanished = [_beside_a_busy_owner(seed) for seed in range(6)]
    assert sum(vanished) > 10, "hardly anything was collected below its hands: this proves nothing"


def _beside_a_busy_owner(seed: int) -> int:
    """Take backup after backup while an owner works, restore some; return how many objects vanished on the way."""
    rng = random.Random(seed)
    slows: list[Slow] = []
    kind = {"checkpoint_entries_max": 2, "snapshot_grace_s": 20, "log_grace_s": 20, "history_window_s": 40}

    async def live() -> None:
        clock = SimClock(Process("owner"))
        life = await Life.begin(clock, **kind)
        await life.live(random_steps(rng, 30))
        steps = [step for one in random_steps(rng, 200) if one[0] != "wait" for step in (one, ("collect",))]
        work = asyncio.create_task(life.live(steps))
        archive, seqs = MemoryBackend(clock=clock), []
        slow = Slow(life.store, clock, rng)
        slows.append(slow)
        while not work.done():
            catalogue, _ = await take(slow, archive, clock=clock, **life.settings)
            seqs.append((catalogue.point, catalogue.namespaces[0].seq))
        await work
        for name, seq in seqs[:: max(1, len(seqs) // 4)]:
            target = MemoryBackend(clock=clock)
            await put_back(archive, target, point=name, clock=clock)
            await same_as_then(life, target, seq, **life.settings)
        life.owner.abandon()

    run_virtually(live)
    return len(slows[0].vanished)

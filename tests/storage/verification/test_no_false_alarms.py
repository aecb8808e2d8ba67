"""Nothing is reported of a namespace that is as it should be: after any life, and while owners are at work beside."""

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parquedb.actors.requests import schema_arguments
from parquedb.clock import SystemClock
from parquedb.errors import CollectionNotFoundError, InternalError, ObjectNotFoundError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.open import open_backend
from parquedb.storage.verification.report import Level
from parquedb.storage.verification.rules import Severity
from parquedb.storage.verification.source import ReadOnlyBackend
from parquedb.storage.verification.verifier import Progress, Verifier
from tests.support.engines import NAMESPACE, engine, inline, opened, run, settings
from tests.support.pasts import Life, random_steps
from tests.support.places import on_disk, on_s3, settings_of
from tests.support.s3_servers import S3Server
from tests.support.sim_plans import PLANS
from tests.support.sim_store import CLEAR
from tests.support.sim_world import World
from tests.support.vault import load, verified
from tests.support.virtual_loop import Process, SimClock, run_virtually

KINDS: list[dict[str, Any]] = [
    {},
    {"history_window_s": 50},
    {"history_window_s": 0},
    {"checkpoint_entries_max": 2, "snapshot_grace_s": 20},
    {"flush_rows": 3},
]

HASTY = {
    "checkpoint_entries_max": 3,
    "flush_rows": 12,
    "log_grace_s": 1.0,
    "snapshot_grace_s": 1.0,
    "collect_interval_s": 0.05,
    "compaction_interval_s": 0.05,
    "compaction_files": 2,
    "history_window_s": 2.0,
}
"""Everything that can vanish vanishes after a second."""


def alarms(report: Any) -> list[Any]:
    return [finding for finding in report.findings if finding.severity is not Severity.INFORMATION]


@pytest.mark.parametrize("seed", range(12))
def test_after_a_random_life_there_is_nothing_to_report(seed: int) -> None:
    rng = random.Random(seed)

    async def live() -> None:
        clock = SimClock(Process("owner"))
        life = await Life.begin(clock, **KINDS[seed % len(KINDS)])
        for _ in range(3):
            await life.live(random_steps(rng, 30))
            for level in Level:
                made = Verifier(life.store, NAMESPACE, settings(**life.settings), clock=clock, level=level, run=inline)
                report = await made.verify()
                assert alarms(report) == []
                assert report.seq == len(life.states) - 1
            assert report.counts.documents == len(life.states[-1])

    run_virtually(live)


async def test_a_namespace_that_was_only_opened_is_fine() -> None:
    store = MemoryBackend()
    async with opened(store):
        pass
    report = await verified(store)
    assert (report.findings, report.counts.documents, report.seq) == ((), 0, 0)


async def test_a_namespace_that_does_not_exist_is_a_typed_error() -> None:
    with pytest.raises(CollectionNotFoundError, match="posts"):
        await verified(MemoryBackend())


async def test_a_namespace_with_schemas_is_fine() -> None:
    store = MemoryBackend()
    async with opened(store) as owner:
        await run(owner, "create", "a", {"n": 1})
        await owner.flush()
        [registered] = await owner.execute([schema_arguments.register(NAMESPACE, {"n": "float!", "new": "decimal?"})])
        registered.result()
        await run(owner, "create", "b", {"n": 2.5})
        await owner.flush()
        await run(owner, "create", "c", {"n": 3.5})
    report = await verified(store)
    assert (alarms(report), report.counts.documents, report.seq) == ([], 3, 4)


class Distant(DelegatingBackend):
    """A store whose answers take long, so that a verification sees the namespace change below its hands.

    Attributes:
        vanished: Reads of data files and segments that were collected on the way.
    """

    def __init__(self, inner: StorageBackend, clock: SimClock, rng: random.Random, vanished: list[str]) -> None:
        super().__init__(inner)
        self._clock = clock
        self._rng = rng
        self.vanished = vanished

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        await self._clock.sleep(self._rng.uniform(0.1, 0.5) if "/log/" in key else self._rng.uniform(2, 8))
        try:
            return await super().read(key, timeout_s=timeout_s)
        except ObjectNotFoundError:
            if "/log/" not in key:
                self.vanished.append(key)
            raise

    async def list(self, prefix: str, **more: Any) -> Any:
        await self._clock.sleep(self._rng.uniform(0.1, 0.5))
        page = await super().list(prefix, **more)
        await self._clock.sleep(self._rng.uniform(0.1, 0.5))
        return page


def test_what_owners_collect_below_its_hands_is_no_damage() -> None:
    vanished: list[str] = []

    async def live(seed: int) -> None:
        rng, clock = random.Random(seed), SimClock(Process("owner"))
        kind = {"snapshot_grace_s": 20, "log_grace_s": 20, "checkpoint_entries_max": 2, "history_window_s": 40}
        life = await Life.begin(clock, **kind)
        await life.live(random_steps(rng, 30))
        steps = [step for one in random_steps(rng, 300) if one[0] != "wait" for step in (one, ("collect",))]
        work = asyncio.create_task(life.live(steps))
        store = Distant(life.store, clock, rng, vanished)
        while not work.done():
            made = Verifier(store, NAMESPACE, settings(**life.settings), clock=clock, run=inline)
            report = await made.verify()
            assert alarms(report) == []
        await work

    for seed in range(4):
        run_virtually(partial(live, seed))
    assert len(vanished) > 4, "nothing vanished: this proves nothing"


async def busy(store: StorageBackend, rng: random.Random, stop: asyncio.Event) -> int:
    """Write, load, flush, compact, collect and change owners until told to stop; return how many owners there were."""
    owners = 0
    while not stop.is_set():
        owners += 1
        owner = engine(store, seed=owners, **HASTY)
        await owner.open()
        for turn in range(40):
            if stop.is_set():
                break
            ids = [f"w{owners}-{turn}-{n}" for n in range(4)]
            await run(owner, "create_many", body=[{"$id": id_, "n": turn} for id_ in ids])
            await run(owner, "update", rng.choice(ids), {"$inc": {"n": 1}})
            await run(owner, "delete", rng.choice(ids), hard=rng.random() < 0.5)
            if turn % 10 == 3:
                await load(owner, store, [f"l{owners}-{turn}-{n}" for n in range(3)], number=owners * 100 + turn)
            if turn % 10 == 7:
                await owner.compact()
            await owner.collect()
        if rng.random() < 0.5:
            await owner.close()
        owner.abandon()
    return owners


async def beside_busy_owners(store: StorageBackend, looks: int) -> None:
    stop = asyncio.Event()
    work = asyncio.create_task(busy(store, random.Random(1), stop))
    try:
        while not (await store.list("posts/manifest/", limit=1)).objects and not work.done():
            await asyncio.sleep(0.01)
        seqs = []
        for number in range(looks):
            report = await verified(store, [Level.FULL, Level.FULL, Level.QUICK][number % 3], **HASTY)
            assert alarms(report) == []
            seqs.append(report.seq)
    finally:
        stop.set()
        owners = await work
    assert owners >= 1
    assert seqs == sorted(seqs)
    assert seqs[-1] > seqs[0]
    assert alarms(await verified(store, **HASTY)) == []


@pytest.fixture(params=["memory", "disk", "s3"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, unique_prefix: str
) -> AsyncIterator[tuple[StorageBackend, int]]:
    if request.param == "memory":
        made, looks = MemoryBackend(), 30
    elif request.param == "disk":
        made, looks = open_backend(settings_of(on_disk(tmp_path))), 20
    else:
        server: S3Server = request.getfixturevalue("weed")
        made, looks = open_backend(settings_of(on_s3(server, unique_prefix))), 6
    yield made, looks
    await made.close()


async def test_owners_at_work_beside_cause_no_alarm(store: tuple[StorageBackend, int]) -> None:
    await beside_busy_owners(*store)


async def test_a_verification_cannot_write() -> None:
    store = ReadOnlyBackend(MemoryBackend())
    for call in (store.create("a", b""), store.write("a", b""), store.delete("a"), store.abort_uploads("a/", 0.0)):
        with pytest.raises(InternalError, match="verification"):
            await call


async def test_progress_ends_where_it_said_it_would() -> None:
    store, told = MemoryBackend(), list[Progress]()
    async with opened(store) as owner:
        for n in range(3):
            await run(owner, "create", f"d{n}", {"n": n})
            await owner.flush()
    made = Verifier(store, NAMESPACE, settings(), clock=SystemClock(), run=inline, progress=told.append)
    await made.verify()
    assert len(told) >= 3
    assert [one.bytes_done for one in told] == sorted(one.bytes_done for one in told)
    assert told[-1].bytes_done > 0.5 * told[-1].bytes_total > 0


@pytest.mark.parametrize("seed", range(len(PLANS)))
def test_rivals_crashes_and_late_packets_leave_nothing_to_report(seed: int) -> None:
    async def live() -> None:
        world = World(seed, PLANS[seed])
        await world.run()
        world.weather = CLEAR
        await look(world, "before the last owner")
        await world.final_owner()
        await look(world, "after it")

    async def look(world: World, when: str) -> None:
        process = Process(f"bystander {when}")
        clock = SimClock(process)
        store = world.connect(process, clock, when)
        made = Verifier(store, NAMESPACE, world.settings, clock=clock, run=inline)
        report = await made.verify()
        assert alarms(report) == [], when
        assert report.seq > 0

    run_virtually(live)

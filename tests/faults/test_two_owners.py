"""Two live owners of one namespace: storage lets only the younger go on, and the history stays one line."""

import asyncio
import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parquedb.errors import FencedError, ParqueDBError
from parquedb.observability.contexts import StorageContext, StorageResult
from parquedb.settings import Settings
from parquedb.storage.log.entry import position_of
from tests.support.chain import Bystander, check_attempts
from tests.support.clusters import Cluster, Told, running_cluster
from tests.support.places import NAMESPACE, EngineCollection, engine_on, on_disk, on_s3, settings_of
from tests.support.s3_servers import S3Server
from tests.support.workloads import Attempt, Ledger, State

SEED = 7
QUICK = {
    "read_lease_s": 0.03,
    "flush_rows": 200,
    "checkpoint_entries_max": 64,
    "log_grace_s": 3.0,
    "snapshot_grace_s": 3.0,
    "collect_interval_s": 1.0,
}
WRITERS = 6
PAUSE_S = 0.02
"""Writers and the reader rest up to this long between two calls, so that a fenced one does not spin."""


class Landings:
    """A hook that notes when each log entry was seen to have landed, by its position, in monotonic seconds."""

    inline = True

    def __init__(self) -> None:
        self.at_s: dict[int, float] = {}

    def on_storage_end(self, context: StorageContext, result: StorageResult) -> None:
        if context.operation == "create" and "/log/" in context.key:
            self.at_s[position_of(context.key)] = time.monotonic()


@dataclass(slots=True)
class Read:
    """One read through a handle: when, and what it came to."""

    started_s: float
    version: int | None
    error: ParqueDBError | None


class Owner:
    """An engine with writers and a reader that never stop asking it, fenced or not.

    Attributes:
        landed_s: When its `open` had landed; from then on its predecessor may acknowledge nothing that is new.
        opened_s: When it was ready to answer; from then on its predecessor may not even answer reads.
    """

    def __init__(self, name: str, posts: EngineCollection, ledger: Ledger) -> None:
        self.name = name
        self.posts = posts
        self.epoch = 0
        self.landed_s = self.opened_s = 0.0
        self.reads: list[Read] = []
        self._ledger = ledger
        self._stop = False
        self._waiting: dict[str, tuple[float, Any]] = {"write": (0.0, None), "read": (0.0, None)}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write(writer)) for writer in range(WRITERS)]
        self._tasks.append(asyncio.create_task(self._read()))

    async def stop(self) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def refused(self) -> None:
        """Return once a write and a read that began after this call were refused as fenced."""
        for kind in self._waiting:
            self._waiting[kind] = (time.monotonic(), asyncio.get_running_loop().create_future())
        await asyncio.gather(*(future for _, future in self._waiting.values()))

    def _note_refusal(self, kind: str, started_s: float) -> None:
        since_s, future = self._waiting[kind]
        if future is not None and started_s > since_s and not future.done():
            future.set_result(None)

    async def _write(self, writer: int) -> None:
        rng = random.Random(f"{self.name}-{writer}")
        for number in itertools.count():
            if self._stop:
                return
            token, started_s = f"{self.name}:{self._ledger.token()}", time.monotonic()
            if number % 2:
                call = self.posts.create({"token": token}, id=f"{self.name}-{writer}-{number}")
                answer = await self._ledger.write(token, [f"{self.name}-{writer}-{number}"], call)
            else:
                call = self.posts.update("shared", {"$inc": {"n": 1}, "$set": {"token": token}})
                answer = await self._ledger.write(token, ["shared"], call, adds=1)
            if isinstance(answer, FencedError):
                self._note_refusal("write", started_s)
            await asyncio.sleep(rng.random() * PAUSE_S)

    async def _read(self) -> None:
        rng = random.Random(self.name)
        while not self._stop:
            started_s = time.monotonic()
            try:
                document = await self.posts.get("shared")
            except ParqueDBError as error:
                self.reads.append(Read(started_s, None, error))
                self._note_refusal("read", started_s)
            else:
                self.reads.append(Read(started_s, document["version"], None))
            await asyncio.sleep(rng.random() * PAUSE_S)


async def hand_over_often(
    place: dict[str, Any], figures: Callable[..., None], *, hand_overs: int, period: tuple[int, int] = (10, 60)
) -> None:
    """Hand over so often; between two hand-overs lies a random number of acknowledgements within `period`."""
    settings = settings_of(place)
    ledger, rng = Ledger(), random.Random(SEED)
    bystander = Bystander(settings, NAMESPACE)
    owners: list[Owner] = []
    try:
        async with AsyncExitStack() as last, bystander.watching():
            for turn in range(hand_overs + 1):
                engines = AsyncExitStack()
                owners.append(await take_over(engines, settings, f"o{turn}", ledger))
                if turn:
                    older = owners[-2]
                    await older.refused()
                    await older.stop()
                    assert older.posts.engine.state == "fenced"
                    await last.aclose()
                last.push_async_exit(engines)
                await ledger.more(rng.randrange(*period))
            await owners[-1].stop()
            document = await owners[-1].posts.get("shared")
            await owners[-1].posts.engine.close()
        history = await bystander.history()
    finally:
        await bystander.close()
    verdict = check_attempts(history, ledger.attempts)
    in_doubt = doubtful(ledger, "shared")
    assert document["n"] == ledger.sums["shared"] + sum(
        event.document is not None and event.document["token"] in in_doubt for _, event in history.events
    )
    assert history.epochs == [owner.epoch for owner in owners]
    asked_late = check_silence(owners, ledger)
    assert set(verdict.by_error) <= {"FencedError", "OutcomeUnknownError"}
    figures(
        hand_overs=hand_overs,
        acknowledged=verdict.acknowledged,
        refused=verdict.refused,
        unknown=verdict.unknown,
        duplicates=0,
        lost=0,
        asked_of_the_older_after_the_open_landed=asked_late,
        of_these_acknowledged=0,
        reads=sum(len(owner.reads) for owner in owners),
        collected=history.collected,
    )


async def take_over(engines: AsyncExitStack, settings: Settings, name: str, ledger: Ledger) -> Owner:
    """Open one more engine, while the older one is in the middle of its writes, and let its writers go."""
    landings = Landings()
    engine = await engines.enter_async_context(engine_on(settings, f"{SEED}-{name}", landings))
    owner = Owner(name, EngineCollection(engine), ledger)
    await engine.open()
    owner.epoch, owner.landed_s, owner.opened_s = engine.epoch, landings.at_s[engine.epoch], time.monotonic()
    if not ledger.attempts:
        token = ledger.token()
        await ledger.write(token, ["shared"], owner.posts.create({"token": token, "n": 0}, id="shared"))
    owner.start()
    return owner


def doubtful(ledger: Ledger, id_: str) -> set[str]:
    """Return the tokens of the writes to a document whose outcome nobody knows."""
    return {a.token for a in ledger.attempts if a.state is State.UNKNOWN and id_ in a.ids}


def check_silence(owners: list[Owner], ledger: Ledger) -> int:
    """Nothing that began after the next owner's `open` had landed was acknowledged, or read after it had opened.

    Returns:
        How many writes were asked of an owner whose successor's `open` had landed.
    """
    by_owner: dict[str, list[Attempt]] = {}
    for attempt in ledger.attempts:
        by_owner.setdefault(attempt.token.partition(":")[0], []).append(attempt)
    asked_late = 0
    for older, younger in itertools.pairwise(owners):
        late = [attempt for attempt in by_owner[older.name] if attempt.started_s > younger.landed_s]
        assert late
        assert all(attempt.error == "FencedError" for attempt in late), [a for a in late if a.error != "FencedError"][
            :3
        ]
        reads = [read for read in older.reads if read.started_s > younger.opened_s]
        assert reads
        assert all(isinstance(read.error, FencedError) for read in reads)
        assert any(read.version is not None for read in older.reads)
        asked_late += len(late)
    return asked_late


async def test_an_older_owner_falls_silent_at_each_of_fifteen_hand_overs(
    tmp_path: Path, figures: Callable[..., None]
) -> None:
    await hand_over_often(on_disk(tmp_path, engine=QUICK), figures, hand_overs=15)


@pytest.mark.faults
async def test_an_older_owner_falls_silent_at_each_of_fifty_hand_overs_on_disk(
    tmp_path: Path, figures: Callable[..., None]
) -> None:
    await hand_over_often(on_disk(tmp_path, engine=QUICK), figures, hand_overs=50)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_an_older_owner_falls_silent_at_each_of_a_thousand_hand_overs_on_disk(
    tmp_path: Path, figures: Callable[..., None]
) -> None:
    sums: Counter[str] = Counter()
    places = [on_disk(tmp_path / name, engine=QUICK) for name in ("a", "b", "c", "d", "e")]
    # Five databases at once: a hand-over is mostly waiting, for the older owner's lease and for what it is at.
    works = [
        hand_over_often(place, lambda **counts: sums.update(counts), hand_overs=200, period=(5, 25)) for place in places
    ]
    await asyncio.gather(*works)
    figures(**sums)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_an_older_owner_falls_silent_at_each_of_sixty_hand_overs_on_s3(
    weed: S3Server, unique_prefix: str, figures: Callable[..., None]
) -> None:
    await hand_over_often(on_s3(weed, unique_prefix, engine=QUICK), figures, hand_overs=60)


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_an_older_owner_falls_silent_at_each_of_twenty_hand_overs_on_s3(
    weed: S3Server, unique_prefix: str, figures: Callable[..., None]
) -> None:
    await hand_over_often(on_s3(weed, unique_prefix, engine=QUICK), figures, hand_overs=20)


async def test_a_younger_owner_gets_through_against_one_that_never_rests(tmp_path: Path) -> None:
    settings = settings_of(on_disk(tmp_path, engine=QUICK))
    ledger = Ledger()
    async with engine_on(settings, "older") as older, engine_on(settings, "younger") as younger:
        await older.open()
        posts = EngineCollection(older)

        async def write(writer: int) -> None:
            for number in itertools.count():
                token = ledger.token()
                call = posts.create({"token": token}, id=f"{writer}-{number}")
                if isinstance(await ledger.write(token, [f"{writer}-{number}"], call), FencedError):
                    return

        writers = [asyncio.create_task(write(writer)) for writer in range(8)]
        await ledger.more(100)
        async with asyncio.timeout(30):
            await younger.open()
            await asyncio.gather(*writers)
        assert younger.epoch > older.epoch
    bystander = Bystander(settings, NAMESPACE)
    assert check_attempts(await bystander.history(), ledger.attempts).acknowledged >= 100
    await bystander.close()


def attempt_of(told: Told) -> Attempt:
    """Return what a write through a handle of another process came to."""
    state = State.ACKNOWLEDGED if not told.error else State.REFUSED
    state = State.UNKNOWN if told.error == "OutcomeUnknownError" else state
    changed = [(told.id, told.version)] if told.version is not None else []
    return Attempt(told.token, (told.id,), told.started_s, told.done_s, state, changed, told.error)


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_of_two_owners_in_two_ray_clusters_the_older_falls_silent_at_each_hand_over(
    weed: S3Server, unique_prefix: str, figures: Callable[..., None]
) -> None:
    hand_overs = 10
    place = on_s3(weed, unique_prefix, engine=QUICK | {"log_grace_s": 10.0, "snapshot_grace_s": 10.0})
    settings, rng = settings_of(place), random.Random(SEED)
    bystander = Bystander(settings, NAMESPACE)
    periods: list[tuple[Cluster, dict[str, Any]]] = []
    first = Ledger()
    try:
        async with engine_on(settings, "first") as engine:
            await engine.open()
            body = {"token": "first", "n": 0}
            await first.write("first", ["shared"], EngineCollection(engine).create(body, id="shared"))
            await engine.close()
        async with bystander.watching(), running_cluster(place, "a") as one, running_cluster(place, "b") as two:
            for turn in range(hand_overs + 1):
                younger, older = (one, two) if turn % 2 == 0 else (two, one)
                activation = await younger.activate()
                periods.append((younger, activation))
                since_s = activation["done_s"]
                await younger.until(rng.randrange(10, 60), kind="write", since_s=since_s)
                await younger.until(1, kind="read", since_s=since_s)
                if turn:
                    await older.until(3, kind="write", since_s=since_s, error="FencedError")
                    await older.until(1, kind="read", since_s=since_s, error="FencedError")
        history = await bystander.history()
    finally:
        await bystander.close()
    told = [*one.told, *two.told]
    verdict = check_attempts(history, [*first.attempts, *(attempt_of(each) for each in told if each.kind != "get")])
    assert set(verdict.by_error) <= {"FencedError", "OutcomeUnknownError"}
    # One of the activations may have met a rival's checkpoint and opened twice; nobody else opens.
    assert {activation["epoch"] for _, activation in periods} <= set(history.epochs)
    assert len({activation["pid"] for _, activation in periods}) == 2, "the same two processes all the time"
    ends_s = [activation["started_s"] for _, activation in periods[2:]] + [float("inf")]
    for ((older, _), (_, begun)), end_s in zip(itertools.pairwise(periods), ends_s, strict=True):
        # Between the younger one's opening and the older one's next, everything the older is asked is refused.
        asked = [each for each in older.told if begun["done_s"] < each.started_s and each.done_s < end_s]
        assert {each.kind for each in asked} >= {"get"}
        assert {each.error for each in asked} == {"FencedError"}
    figures(
        ray_clusters=2,
        hand_overs=hand_overs,
        acknowledged=verdict.acknowledged,
        refused=verdict.refused,
        unknown=verdict.unknown,
        duplicates=0,
        lost=0,
        reads=sum(each.kind == "get" and not each.error for each in told),
        reads_refused=sum(each.kind == "get" and bool(each.error) for each in told),
        median_s_to_open=statistics.median(a["done_s"] - a["started_s"] for _, a in periods),
    )

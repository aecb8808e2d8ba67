"""What happened: the feed of changes and the history of documents, against a plain record kept while it was lived."""

import asyncio
import random
from typing import Any

import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.errors import EventNotFoundError, FencedError, ValidationError
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import engine, opened, outcome, run
from tests.support.pasts import MANY, Life, random_steps
from tests.support.virtual_loop import Process, SimClock, run_virtually


def living(main: Any, **options: Any) -> None:
    async def live() -> None:
        life = await Life.begin(SimClock(Process("one")), **options)
        try:
            await main(life)
        finally:
            life.owner.abandon()

    run_virtually(live)


@pytest.mark.parametrize("seed", range(40))
def test_whoever_resumes_gets_each_change_once_across_owners(seed: int) -> None:
    rng = random.Random(seed)
    got: list[list[Any]] = []

    async def read_some(life: Life, limit: int) -> int:
        answer = await run(life.owner, "changes", after=got[-1][0] if got else 0, limit=limit)
        got.extend(answer["changes"])
        return len(answer["changes"])

    async def main(life: Life) -> None:
        for _ in range(8):
            await life.live(random_steps(rng, 10))
            await read_some(life, rng.randrange(1, 7))
        while await read_some(life, rng.randrange(1, 50)):
            pass
        assert [change[0] for change in got] == list(range(1, len(life.states)))
        assert [(id_, document) for _, _, _, id_, document in got] == life.events
        assert sorted(got, key=lambda change: change[1]) == got

    living(main)


@pytest.mark.parametrize("seed", range(40))
def test_a_documents_history_is_all_that_befell_it_and_says_where_it_was_cut(seed: int) -> None:
    rng = random.Random(seed)

    async def main(life: Life) -> None:
        await life.live(random_steps(rng, 80))
        for id_ in MANY:
            true = [(seq, document) for seq, (of, document) in enumerate(life.events, 1) if of == id_]
            told: list[list[Any]] = []
            pages: list[dict[str, Any]] = []
            while not pages or pages[-1]["more"]:
                after = told[-1][0] if told else 0
                pages.append(await run(life.owner, "history", id_, after=after, limit=rng.randrange(1, 5)))
                told += pages[-1]["changes"]
            oldest = pages[0]["oldest"]
            assert [(change[0], change[4]) for change in told] == [one for one in true if one[0] >= oldest]
            if not pages[0]["cut"] and len(told) < len(true):
                assert told[0][2] == "create", "an earlier life, ended by a hard delete"

    living(main, history_window_s=rng.choice([10, 100, 100_000]))


async def test_every_kind_of_change_has_its_name(owner: NamespaceEngine) -> None:
    await run(owner, "create", "a", {"n": 1})
    await run(owner, "update", "a", {"$set": {"n": 2}})
    await run(owner, "replace", "a", {"n": 3})
    await run(owner, "delete", "a")
    await run(owner, "restore", "a")
    await run(owner, "delete", "a", hard=True)
    changes = (await run(owner, "history", "a"))["changes"]
    assert [change[2] for change in changes] == ["create", "update", "replace", "delete", "restore", "remove"]
    assert [change[4] and change[4]["version"] for change in changes] == [1, 2, 3, 4, 5, None]
    assert await run(owner, "history", "b") == {"changes": [], "more": False, "oldest": 1, "cut": False}


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
async def owner(store: MemoryBackend) -> Any:
    async with opened(store) as made:
        yield made


async def test_who_waits_at_the_end_gets_the_next_change_when_it_has_landed(owner: NamespaceEngine) -> None:
    waiting = asyncio.create_task(run(owner, "changes", after=0, wait_s=20))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    made = await run(owner, "create", "a", {"n": 1})
    assert [change[4] for change in (await waiting)["changes"]] == [made]


async def test_who_waits_in_vain_gets_nothing_and_so_does_who_waits_when_the_owner_leaves(
    owner: NamespaceEngine,
) -> None:
    assert await run(owner, "changes", after=0, wait_s=0.01) == {"changes": []}
    waiting = asyncio.create_task(run(owner, "changes", after=0, wait_s=20))
    await asyncio.sleep(0.01)
    await owner.close()
    assert await waiting == {"changes": []}


async def test_a_fenced_owner_tells_nothing(store: MemoryBackend, owner: NamespaceEngine) -> None:
    await run(owner, "create", "a", {})
    async with opened(store):
        for kind, id_ in (("changes", None), ("history", "a"), ("snapshot", None)):
            answer = await outcome(owner, kind, id_)
            assert isinstance(answer.error, FencedError)


async def test_arguments_that_make_no_sense_are_named(owner: NamespaceEngine) -> None:
    await run(owner, "create", "a", {})
    with pytest.raises(ValidationError, match="after: expected at most 1, the seq of the last change, got 2"):
        await run(owner, "changes", after=2)
    with pytest.raises(ValidationError, match="limit: expected an int from 1 to 1000, got 0"):
        await run(owner, "history", "a", limit=0)
    with pytest.raises(ValidationError, match="wait_s: expected seconds from 0 to 20, got 21"):
        await run(owner, "changes", wait_s=21)


async def test_an_answer_is_bounded_by_bytes(owner: NamespaceEngine) -> None:
    for number in range(5):
        await run(owner, "create", f"{number}", {"text": "x" * 400_000})
    answer = await run(owner, "changes", after=0)
    assert len(answer["changes"]) == 3
    assert (await run(owner, "history", "0", limit=1))["more"] is False


def test_changes_that_are_gone_are_refused_with_the_oldest_that_is_there() -> None:
    async def main(life: Life) -> None:
        await life.live([("create", "a", 1), ("create", "b", 1), ("flush",), ("wait",), ("update", "a", 2), ("flush",)])
        with pytest.raises(
            EventNotFoundError, match=r"after seq 1 are not kept any more; the oldest .* has seq 3"
        ) as got:
            await run(life.owner, "changes", after=1)
        assert (got.value.after, got.value.oldest) == (1, 3)
        assert [change[0] for change in (await run(life.owner, "changes", after=2))["changes"]] == [3]
        assert (await run(life.owner, "history", "a"))["cut"] is True
        assert (await run(life.owner, "history", "a", after=2))["cut"] is False

    living(main, history_window_s=50)


def test_opening_reads_no_history_and_takes_three_round_trips() -> None:
    class Reads(MemoryBackend):
        keys: list[str] = []  # noqa: RUF012 - one test, one list

        async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
            self.keys.append(key)
            return await super().read(key, timeout_s=timeout_s)

    async def main() -> None:
        clock = SimClock(Process("one"))
        store = Reads(clock=clock)
        owner = engine(store, clock=clock)
        await owner.open()
        for number in range(30):
            await run(owner, "create", f"{number}", {})
            await owner.flush()
        await owner.close()
        Reads.keys.clear()
        again = engine(store, clock=clock)
        await again.open()
        folders = {key.split("/")[1] for key in Reads.keys}
        assert folders <= {"log", "manifest"}
        assert len((await run(again, "changes", after=0))["changes"]) == 30
        again.abandon()

    run_virtually(main)


def test_segments_are_merged_so_that_a_manifest_names_few() -> None:
    async def main(life: Life) -> None:
        for _ in range(200):
            await life.live([("upsert", "a", 1), ("flush",)])
        segments = life.owner._data.history.segments
        assert len(segments) < 20
        assert sum(segment.count for segment in segments) == 200
        assert all(segment.begins for segment in segments)

    living(main)

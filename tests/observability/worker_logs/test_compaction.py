"""Merging and expiring: whatever is begun, finished, killed or doubled, readers see each row exactly once."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb.documents.filters import compile_filter
from parquedb.errors import CorruptionError, InvalidInputError
from parquedb.observability.worker_logs.catalog import LogCatalog
from parquedb.observability.worker_logs.feed import FeedOptions, LogFeed, Position
from parquedb.observability.worker_logs.files import parse_key
from parquedb.observability.worker_logs.rows import micros_of
from tests.observability.worker_logs.logs_in_memory import NOON, Killed, LogsInMemory

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def spread(count: int) -> list[datetime]:
    """Moments in the same hour."""
    return [NOON + MINUTE * index for index in range(count)]


async def flushed(logs: LogsInMemory, files: int, rows: int = 3) -> None:
    for _ in range(files):
        await logs.flush(spread(rows))


async def test_the_files_of_an_hour_become_one_with_all_rows_and_their_sources_go() -> None:
    logs = LogsInMemory()
    await flushed(logs, 6)
    result = await logs.compactor().compact()
    assert (result.merged, result.made, result.deleted) == (6, 1, 6)
    [key] = await logs.keys()
    assert "/0001-" in key
    assert sorted(await logs.found()) == sorted(logs.rows)


async def test_few_files_stay_as_they_are_until_there_are_enough() -> None:
    logs = LogsInMemory()
    await flushed(logs, 3)
    assert (await logs.compactor().compact()).merged == 0
    await logs.flush([NOON + 2 * HOUR])
    assert (await logs.compactor().compact()).merged == 0
    assert (await logs.compactor().compact(2)).merged == 3


async def test_a_merged_file_is_merged_again_with_later_ones() -> None:
    logs = LogsInMemory()
    for _ in range(3):
        await flushed(logs, 4)
        await logs.compactor().compact(2)
    [key] = await logs.keys()
    assert "/0003-" in key
    assert sorted(await logs.found()) == sorted(logs.rows)


@pytest.mark.parametrize("applied", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("step", range(6))
async def test_a_compaction_killed_at_any_write_hides_and_doubles_nothing(step: int, applied: bool) -> None:
    logs = LogsInMemory()
    await flushed(logs, 5)
    logs.storage.writes_left, logs.storage.applies_last = step, applied
    with pytest.raises(Killed):
        await logs.compactor().compact()
    assert sorted(await logs.found()) == sorted(logs.rows)
    logs.storage.writes_left = None
    await logs.compactor().compact(2)
    assert sorted(await logs.found()) == sorted(logs.rows)
    assert len(await logs.keys()) == 1


@pytest.mark.parametrize("step", range(8))
async def test_a_retention_killed_at_any_write_doubles_nothing_and_keeps_what_is_young(step: int) -> None:
    logs = LogsInMemory()
    await logs.flush([*spread(20), NOON + HOUR, NOON + 2 * HOUR])
    await flushed(logs, 2, rows=30)
    await logs.compactor().compact(2)
    await flushed(logs, 2, rows=20)
    cutoff = NOON + HOUR + MINUTE
    young = sorted(row for row, moment in logs.rows.items() if moment >= cutoff)
    logs.storage.writes_left = step
    done = logs.compactor().delete_before(micros_of(cutoff) or 0)
    try:
        await done
    except Killed:
        counted = Counter(await logs.found())
        assert max(counted.values()) == 1
        assert set(young) <= set(counted) <= set(logs.rows)
        logs.storage.writes_left = None
        await logs.compactor().delete_before(micros_of(cutoff) or 0)
    assert await logs.found() == young


async def test_retention_rewrites_the_hour_in_which_it_falls_and_deletes_those_before() -> None:
    logs = LogsInMemory()
    await logs.flush([NOON - HOUR, *spread(10), NOON + HOUR])
    await logs.flush(spread(4))
    cutoff = NOON + 5 * MINUTE
    result = await logs.compactor().delete_before(micros_of(cutoff) or 0)
    # A file of the hour before; two of the hour itself, of which one keeps nothing.
    assert (result.merged, result.made, result.deleted) == (2, 2, 3)
    assert await logs.found() == [row for row, moment in logs.rows.items() if moment >= cutoff]
    assert (await logs.compactor().delete_before(micros_of(cutoff) or 0)).merged == 0


async def test_two_compactions_at_once_and_writers_beside_them_lose_and_double_nothing() -> None:
    for seed in range(8):
        logs, rng = LogsInMemory(seed), random.Random(seed)

        async def pause(rng: random.Random = rng) -> None:
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)

        await flushed(logs, 6)
        logs.storage.pause = pause

        async def write(logs: LogsInMemory = logs) -> None:
            for _ in range(5):
                await pause()
                await logs.flush(spread(2))

        async def look(logs: LogsInMemory = logs) -> None:
            for _ in range(5):
                before = set(logs.rows)
                counted = Counter(await logs.found())
                assert max(counted.values()) == 1
                assert before <= set(counted)

        merging = [logs.compactor().compact(2) for _ in range(3)]
        await asyncio.gather(*merging, write(), look(), look())
        logs.storage.pause = None
        assert sorted(await logs.found()) == sorted(logs.rows)
        await logs.compactor().compact(2)
        assert sorted(await logs.found()) == sorted(logs.rows)


class Direct:
    """Runs a feed's coroutines on the test's own loop."""

    async def run_async(self, work):  # type: ignore[no-untyped-def]
        return await work

    def run(self, work):  # type: ignore[no-untyped-def]
        raise AssertionError("the feed of a test begins at a position")

    def call(self, callback):  # type: ignore[no-untyped-def]
        callback()


def feed_on(logs: LogsInMemory, position: str) -> LogFeed:
    async def catalog() -> LogCatalog:
        return LogCatalog(logs.storage, "logs/")

    options = FeedOptions(compile_filter(None), poll_s=0.001, idle_s=0.0)
    return LogFeed(Direct(), catalog, options, Position.from_text(position))


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("flush"), st.lists(st.integers(-130, 130), min_size=1, max_size=6)),
        st.tuples(st.just("compact"), st.integers(0, 12), st.booleans()),
        st.tuples(st.just("expire"), st.integers(-200, 100), st.integers(0, 12), st.booleans()),
        st.tuples(st.just("follow"), st.integers(0, 10)),
        st.tuples(st.just("wait"), st.integers(1, 2000)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_any_order_of_flushes_merges_expiries_and_kills_shows_each_row_once(actions: list[Any]) -> None:
    asyncio.run(Story().run(actions))


class Story:
    """Lets things happen and compares what readers see with what was written."""

    def __init__(self) -> None:
        self.logs = LogsInMemory()
        self.kept_from = NOON - 1000 * HOUR
        self.position = ""
        self.followed: Counter[str] = Counter()

    async def run(self, actions: list[Any]) -> None:
        for name, *arguments in actions:
            await getattr(self, name)(*arguments)
            counted = Counter(await self.logs.found())
            assert max(counted.values(), default=1) == 1
            assert self.young() <= set(counted) <= set(self.logs.rows)
        await self.follow(1000)
        assert self.young() <= set(self.followed)

    def young(self) -> set[str]:
        return {row for row, moment in self.logs.rows.items() if moment >= self.kept_from}

    async def flush(self, minutes: list[int]) -> None:
        await self.logs.flush([NOON + MINUTE * each for each in minutes])

    async def wait(self, seconds: int) -> None:
        self.logs.clock.advance(seconds)

    async def follow(self, rows: int) -> None:
        feed = feed_on(self.logs, self.position)
        for _ in range(rows):
            row = await anext(feed, None)
            if row is None:
                break
            self.followed[row["id"]] += 1
        self.position = feed.position
        assert max(self.followed.values(), default=1) == 1

    async def compact(self, writes: int, applied: bool) -> None:
        await self.until_killed(self.logs.compactor().compact(2), writes, applied)

    async def expire(self, minutes: int, writes: int, applied: bool) -> None:
        cutoff = NOON + MINUTE * minutes
        self.kept_from = max(self.kept_from, cutoff)
        old = {row for row, moment in self.logs.rows.items() if moment < cutoff}
        if await self.until_killed(self.logs.compactor().delete_before(micros_of(cutoff) or 0), writes, applied):
            assert not old & set(await self.logs.found())

    async def until_killed(self, work: Coroutine[Any, Any, object], writes: int, applied: bool) -> bool:
        storage = self.logs.storage
        storage.writes_left, storage.applies_last = writes, applied
        try:
            await work
        except Killed:
            return False
        finally:
            storage.writes_left = None
        return True


async def test_a_merged_file_whose_footer_lies_is_corruption_and_names_the_file() -> None:
    logs = LogsInMemory()
    await flushed(logs, 4)
    await logs.compactor().compact()
    [key] = await logs.keys()
    data = await logs.storage.inner.read(key)
    await logs.storage.inner.delete(key)
    await logs.storage.inner.create(key, data.replace(b"parquedb.leaves", b"parquedb.loaves"))
    with pytest.raises(CorruptionError, match="does not list its leaves") as caught:
        await logs.found()
    assert caught.value.key == key
    await logs.storage.inner.write(key, data[: len(data) // 2])
    with pytest.raises(CorruptionError, match="Parquet"):
        await logs.found()


async def test_foreign_objects_in_the_folder_are_left_alone() -> None:
    logs = LogsInMemory()
    await flushed(logs, 4)
    foreign = ["logs/readme.txt", "logs/year=2026/month=03/day=01/hour=12/x.parquet", "logs/year=2026/month=99/x"]
    for key in foreign:
        await logs.storage.inner.create(key, b"mine")
    await logs.compactor().compact()
    await logs.compactor().delete_before(micros_of(NOON + 9 * HOUR) or 0)
    assert await logs.keys() == sorted(foreign)
    assert parse_key("logs/year=2026/month=99/day=01/hour=12/0000-" + "0" * 26 + ".parquet", 1, 0.0) is None


async def test_a_compaction_of_less_than_two_files_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least 2, got 1"):
        await LogsInMemory().compactor().compact(1)


async def test_merges_and_expiries_at_once_keep_what_is_young_and_let_go_of_what_is_old() -> None:
    cutoff = NOON + 2 * MINUTE
    for seed in range(8):
        logs, rng = LogsInMemory(seed), random.Random(seed)

        async def pause(rng: random.Random = rng) -> None:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)

        def young(logs: LogsInMemory = logs) -> set[str]:
            return {row for row, moment in logs.rows.items() if moment >= cutoff}

        async def look(logs: LogsInMemory = logs, young: Callable[[], set[str]] = young) -> None:
            for _ in range(6):
                before = young()
                counted = Counter(await logs.found())
                assert max(counted.values()) == 1
                assert before <= set(counted)

        async def write(logs: LogsInMemory = logs, pause: Callable[[], Awaitable[None]] = pause) -> None:
            for _ in range(4):
                await pause()
                await logs.flush([NOON - HOUR, *spread(4)])

        await flushed(logs, 5)
        logs.storage.pause = pause
        work = [logs.compactor().compact(2), logs.compactor().compact(2), write(), look(), look()]
        expiries = [logs.compactor().delete_before(micros_of(cutoff) or 0) for _ in range(2)]
        await asyncio.gather(*work, *expiries)
        logs.storage.pause = None
        assert young() <= set(await logs.found())
        await logs.compactor().delete_before(micros_of(cutoff) or 0)
        assert Counter(await logs.found()) == Counter(young())

"""Looking after a data set: of many processes one does it, again after each interval, whatever fails or is killed."""

import asyncio
import random
from datetime import timedelta

import pytest

from parquedb.errors import CorruptionError, InvalidInputError, StorageReadError
from parquedb.observability.worker_logs.buffer import LogBuffer
from parquedb.observability.worker_logs.catalog import LogCatalog
from parquedb.observability.worker_logs.upkeep import LogUpkeep, UpkeepOptions
from parquedb.observability.worker_logs.view import WorkerLogsView, create_worker_logs_view
from parquedb.storage.backends.memory import MemoryBackend
from tests.observability.worker_logs.logs_in_memory import NOON, Killed, LogsInMemory

INTERVAL_S = 600.0
DAY_S = 86_400.0


class Process:
    """One process that looks after a data set, with counts of its own."""

    def __init__(self, logs: LogsInMemory, name: str = "a", keep_s: float | None = None) -> None:
        self.counts = LogBuffer(1, 1)
        self.upkeep = LogUpkeep(
            self.catalog,
            logs.ids,
            UpkeepOptions(INTERVAL_S, keep_s),
            clock=logs.clock,
            rng=random.Random(name),
            worker=name,
            counts=self.counts,
        )
        self._catalog = LogCatalog(logs.storage, "logs/")

    async def catalog(self) -> LogCatalog:
        return self._catalog


async def files(logs: LogsInMemory) -> list[str]:
    return [key for key in await logs.keys() if key.endswith(".parquet")]


async def turns(logs: LogsInMemory) -> list[str]:
    return [key for key in await logs.keys() if not key.endswith(".parquet")]


async def flushed(logs: LogsInMemory, count: int = 5) -> None:
    for _ in range(count):
        await logs.flush([NOON])


async def test_of_many_processes_that_look_at_once_one_does_the_work_and_the_others_wait_for_the_next_turn() -> None:
    logs = LogsInMemory()
    await flushed(logs)
    processes = [Process(logs, f"p{number}") for number in range(8)]
    logs.storage.pause = lambda: asyncio.sleep(0)  # All list before anybody creates.
    await asyncio.gather(*(process.upkeep.look() for process in processes))
    assert [process.counts.upkeeps for process in processes].count(1) == 1
    assert sum(process.counts.files_merged for process in processes) == 5
    assert len(await files(logs)) == 1
    pauses = [await process.upkeep.look() for process in processes]
    assert all(INTERVAL_S <= pause <= 1.1 * INTERVAL_S for pause in pauses)
    assert len(set(pauses)) == 8, "those who wait for one turn do not all ask for it in the same moment"
    assert sum(process.counts.upkeeps for process in processes) == 1


async def test_after_the_interval_somebody_takes_the_next_turn_and_only_the_last_one_is_kept() -> None:
    logs = LogsInMemory()
    first, second = Process(logs, "first"), Process(logs, "second")
    for process in (first, second, first):
        await flushed(logs)
        await process.upkeep.look()
        assert len(await files(logs)) <= 2
        logs.clock.advance(INTERVAL_S)
    assert (first.counts.upkeeps, second.counts.upkeeps) == (2, 1)
    assert await turns(logs) == ["logs/upkeep/000000000003"]
    assert await logs.storage.read("logs/upkeep/000000000003") == b"first"
    assert sorted(await logs.found()) == sorted(logs.rows)


@pytest.mark.parametrize("applied", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("step", range(8))
async def test_a_turn_killed_at_any_write_is_made_up_for_by_the_next_one(step: int, applied: bool) -> None:
    logs = LogsInMemory()
    await logs.flush([NOON - timedelta(days=3)])
    await flushed(logs)
    young = sorted(row for row, moment in logs.rows.items() if moment == NOON)
    logs.storage.writes_left, logs.storage.applies_last = step, applied
    with pytest.raises(Killed):
        await Process(logs, keep_s=DAY_S).upkeep.look()
    assert set(young) <= set(await logs.found())
    logs.storage.writes_left = None
    logs.clock.advance(INTERVAL_S)
    await Process(logs, "another", keep_s=DAY_S).upkeep.look()
    assert sorted(await logs.found()) == young
    assert len(await files(logs)) == 1


async def test_rows_go_in_whole_hours_when_they_are_too_old_and_no_hour_is_written_anew() -> None:
    logs = LogsInMemory()
    logs.clock.advance(30 * 60)
    moments = [NOON - timedelta(hours=hours, minutes=minutes) for hours in range(23, 27) for minutes in (0, 20)]
    await logs.flush(moments)
    process = Process(logs, keep_s=DAY_S)
    await process.upkeep.look()
    kept = sorted(row for row, moment in logs.rows.items() if moment >= NOON - timedelta(hours=24))
    assert sorted(await logs.found()) == kept
    assert all("/0000-" in key for key in await files(logs))
    assert process.counts.files_deleted == 3


async def test_the_age_of_rows_is_told_by_the_stores_clock() -> None:
    logs = LogsInMemory()
    await flushed(logs, 1)
    hasty = Process(logs, keep_s=DAY_S)
    hasty.upkeep._clock = type(logs.clock)(NOON + timedelta(days=365))
    await hasty.upkeep.look()
    assert await logs.found() == list(logs.rows)


async def test_without_an_age_nothing_is_deleted() -> None:
    logs = LogsInMemory()
    await logs.flush([NOON - timedelta(days=4000)])
    await Process(logs).upkeep.look()
    assert await logs.found() == list(logs.rows)


async def test_a_broken_file_costs_its_own_hour_alone_and_turns_do_not_pile_up() -> None:
    logs = LogsInMemory()
    await flushed(logs)
    broken = (await files(logs))[0]
    await logs.storage.write(broken, b"no Parquet")
    for _ in range(5):
        await logs.flush([NOON + timedelta(hours=1)])
    process = Process(logs)
    for _ in range(3):
        with pytest.raises(CorruptionError, match=broken):
            await process.upkeep.look()
        logs.clock.advance(INTERVAL_S)
    assert len([key for key in await files(logs) if "/hour=13/" in key]) == 1
    assert len([key for key in await files(logs) if "/hour=12/" in key]) == 5
    assert len(await turns(logs)) == 1


async def test_errors_are_logged_and_counted_and_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    logs = LogsInMemory()
    await flushed(logs)
    process, failures = Process(logs), 3

    async def fail() -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise StorageReadError("the store is away")
        await asyncio.sleep(0)

    logs.storage.pause = fail
    running = asyncio.create_task(process.upkeep.run())
    async with asyncio.timeout(30):
        while not process.counts.upkeeps:
            await asyncio.sleep(0)
    running.cancel()
    assert process.counts.upkeep_failures == 3
    told = [record for record in caplog.records if getattr(record, "event", "") == "worker_logs.upkeep_failed"]
    assert len(told) == 3
    assert "the store is away" in told[0].getMessage()
    assert len(await files(logs)) == 1


def test_a_view_looks_after_its_files_when_it_is_told_to_and_counts_it() -> None:
    storage = MemoryBackend()
    with create_worker_logs_view(storage, "logs") as writer:
        for _ in range(5):
            writer.ingest({"message": "x", "event_time": NOON})
            writer.flush()
        assert writer.stats().upkeeps == 0
    with create_worker_logs_view(storage, "logs", upkeep=UpkeepOptions(0.001)) as view:
        feed = view.follow()  # Anything that wakes the view.
        _until_looked_after(view)
        feed.close()
        assert view.stats().files_merged == 5
        assert view.statistics().rows == 5
    assert len([key for key in storage._store.keys if key.endswith(".parquet")]) == 1


def _until_looked_after(view: WorkerLogsView) -> None:
    async def looked_after() -> None:
        async with asyncio.timeout(30):
            while not view.stats().files_merged:
                await asyncio.sleep(0.001)

    view.started().loop.run(looked_after())


@pytest.mark.parametrize(("interval_s", "keep_s"), [(0.0, None), (-1.0, None), (1.0, 0.0), (float("nan"), None)])
def test_times_that_are_none_are_refused(interval_s: float, keep_s: float | None) -> None:
    with pytest.raises(InvalidInputError):
        UpkeepOptions(interval_s, keep_s)

"""Trouble that callers make: too much at once, stale versions, large reports, scans."""

import asyncio
import itertools
from contextlib import suppress
from typing import Final

from parquedb.errors import ParqueDBError
from tests.drills.stage import Stage

FLOOD, STALE, REPORTS, READERS = 64, 4, 12, 4
"""Works of each job."""

FAR_S: Final = 0.05
"""One way to the store, for a queue to build up with few callers."""

STALE_PAUSE_S: Final = 0.02
BURDEN: Final = 4000
"""Documents of a report."""


async def hot_namespace(stage: Stage) -> None:
    """Let many more write to one namespace than its queue has room for."""
    assert stage.place.proxy is not None
    stage.place.proxy.add("latency", method="PUT", path="/log/", delay_s=FAR_S)
    callers, numbers = stage.callers, itertools.count()

    async def create() -> None:
        await callers.create(f"flood{next(numbers)}")

    callers.begin_job("importer", [create] * FLOOD)
    stage.site.commands["stop_job"] = callers.end_job


async def version_conflict_storm(stage: Stage) -> None:
    """Let a job repeat updates of one stale version, and never read again."""
    callers = stage.callers

    async def stale() -> None:
        await callers.update("n0", expected_version=1)
        await asyncio.sleep(STALE_PAUSE_S)

    await callers.update("n0")
    callers.begin_job("importer", [stale] * STALE)
    stage.site.commands["stop_job"] = callers.end_job


async def high_latency(stage: Stage) -> None:
    """Let a report read and sort everything, again and again, without a limit."""
    posts = stage.posts
    await stage.callers.create_all(f"old{number}" for number in range(BURDEN))

    async def report() -> None:
        with suppress(ParqueDBError):
            await posts.find({"token": {"$regex": "9$"}}, sort=[("n", -1), ("token", 1)], limit=BURDEN)

    stage.callers.begin_job("report", [report] * REPORTS)
    stage.site.commands["stop_job"] = stage.callers.end_job


async def cold_cache(stage: Stage) -> None:
    """Let a job read documents that no cache has room for."""
    posts = stage.posts
    ids = [f"old{number}" for number in range(200)]
    await stage.callers.create_all(ids)
    await posts.flush()
    turn = itertools.cycle(ids)

    async def read() -> None:
        with suppress(ParqueDBError):
            await posts.get(next(turn))
        await asyncio.sleep(STALE_PAUSE_S)

    stage.callers.begin_job("export", [read] * READERS)
    stage.site.commands["stop_job"] = stage.callers.end_job

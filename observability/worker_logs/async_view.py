"""The worker logs for coroutines: the methods of a view that wait, to be awaited."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from parquedb.observability.worker_logs.compaction import FILES_MIN, CompactionResult
from parquedb.observability.worker_logs.feed import LogFeed
from parquedb.observability.worker_logs.queries import LogStatistics
from parquedb.observability.worker_logs.work import CLOSE_S

if TYPE_CHECKING:
    from parquedb.observability.worker_logs.view import WorkerLogsView


class AsyncWorkerLogs:
    """The methods of a view that wait, to be awaited.

    Args:
        view: The view.
    """

    def __init__(self, view: WorkerLogsView) -> None:
        self._view = view

    async def flush(self, timeout_s: float | None = None) -> None:
        """See `WorkerLogsView.flush`."""
        work = self._view.started()
        await work.loop.run_async(work.flush(timeout_s))

    async def find(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - as above
        *,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[dict[str, Any]]:
        """See `WorkerLogsView.find`."""
        work = self._view.started()
        return await work.loop.run_async(work.find(filter, limit, newest_first))

    async def tail(self, rows: int = 100, filter: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:  # noqa: A002
        """See `WorkerLogsView.tail`."""
        return (await self.find(filter, limit=rows))[::-1]

    async def follow(self, filter: Mapping[str, Any] | None = None, **options: Any) -> LogFeed:  # noqa: A002
        """See `WorkerLogsView.follow`; what is returned is for `async for`."""
        return await asyncio.to_thread(functools.partial(self._view.follow, filter, **options))

    async def statistics(self, start: datetime | None = None, end: datetime | None = None) -> LogStatistics:
        """See `WorkerLogsView.statistics`."""
        work = self._view.started()
        return await work.loop.run_async(work.statistics(start, end))

    async def compact(self, *, files_min: int = FILES_MIN) -> CompactionResult:
        """See `WorkerLogsView.compact`."""
        work = self._view.started()
        return await work.loop.run_async(work.compact(files_min))

    async def delete_older_than(self, age: timedelta | datetime) -> CompactionResult:
        """See `WorkerLogsView.delete_older_than`."""
        work = self._view.started()
        return await work.loop.run_async(work.delete_before(self._view.cutoff(age)))

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """See `WorkerLogsView.close`."""
        await asyncio.to_thread(self._view.close, timeout_s)

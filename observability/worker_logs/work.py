"""What of the worker logs lives on an event loop of its own: the storage, the flusher, and the answers to questions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from parquedb.clock import Clock
from parquedb.errors import TimeoutError as NotInTimeError
from parquedb.ids import UlidSource
from parquedb.observability.logs import get_logger
from parquedb.observability.worker_logs.background import BackgroundLoop
from parquedb.observability.worker_logs.buffer import LogBuffer
from parquedb.observability.worker_logs.catalog import LogCatalog
from parquedb.observability.worker_logs.compaction import CompactionResult, LogCompactor
from parquedb.observability.worker_logs.flusher import FlushOptions, LogFlusher
from parquedb.observability.worker_logs.queries import LogQueries, LogStatistics
from parquedb.observability.worker_logs.rows import Row, micros_of
from parquedb.observability.worker_logs.storage import LogStorage
from parquedb.observability.worker_logs.upkeep import LogUpkeep, UpkeepOptions

CLOSE_S: Final = 5.0
"""Seconds that closing a view may take when storage does not answer."""

_logger = get_logger(__name__)


class LogWork:
    """The working half of a view. Its coroutines run on `loop` only.

    Args:
        storage: The storage, or what opens it; in the latter case it is closed at the end.
        folder: Of the data set, empty or ending in `/`.
        buffer: The rows that wait.
        options: When to flush.
        ids: Makes ids of rows and files.
        gap_row: Makes the row that tells of so many dropped ones.
        clock: Tells the present.
        on_stored: Called after each flush that stored something.
        upkeep: How to look after the files; None: not at all.
        worker: What this process is called.

    Attributes:
        loop: The loop.
        flusher: Stores the rows.
    """

    def __init__(  # noqa: PLR0913 - everything a view hands over, once
        self,
        storage: LogStorage | Callable[[], LogStorage],
        folder: str,
        buffer: LogBuffer,
        options: FlushOptions,
        *,
        ids: UlidSource,
        gap_row: Callable[[int], Row],
        clock: Clock,
        on_stored: Callable[[], None],
        upkeep: UpkeepOptions | None = None,
        worker: str = "",
    ) -> None:
        self._given = storage
        self._folder = folder
        self._buffer = buffer
        self._ids = ids
        self._clock = clock
        self._storage: LogStorage | None = None
        self._catalog: LogCatalog | None = None
        self.flusher = LogFlusher(
            buffer, self.storage, folder, options, ids=ids, gap_row=gap_row, clock=clock, on_stored=on_stored
        )
        self.loop = BackgroundLoop("parquedb-worker-logs")
        self._flushing: concurrent.futures.Future[None] = self.loop.start(self.flusher.run())
        self._upkeep: asyncio.Task[None] | None = None
        if upkeep is not None:
            self.loop.start(self._keep_up(upkeep, worker))

    def storage(self) -> LogStorage:
        """Return the storage, opened; on the loop."""
        if self._storage is None:
            self._storage = self._given() if callable(self._given) else self._given
        return self._storage

    async def catalog(self) -> LogCatalog:
        """Return the files, as this process knows them."""
        if self._catalog is None:
            self._catalog = LogCatalog(self.storage(), self._folder)
        return self._catalog

    async def _keep_up(self, options: UpkeepOptions, worker: str) -> None:
        rng = random.Random()  # noqa: S311 - jitter
        upkeep = LogUpkeep(
            self.catalog, self._ids, options, clock=self._clock, rng=rng, worker=worker, counts=self._buffer
        )
        self._upkeep = asyncio.create_task(upkeep.run())

    async def flush(self, timeout_s: float | None) -> None:
        """See `WorkerLogsView.flush`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.flusher.drained(self._buffer.accepted)
        except TimeoutError:
            waiting = f"{self._buffer.counts().buffered} rows of worker logs are not stored yet"
            raise NotInTimeError(waiting, timeout_s=timeout_s) from None

    async def find(
        self,
        filter: Mapping[str, Any] | None,  # noqa: A002 - MongoDB's name for it
        limit: int,
        newest_first: bool,
    ) -> list[dict[str, Any]]:
        """See `WorkerLogsView.find`."""
        queries = LogQueries(await self.catalog())
        now_micros = micros_of(self._clock.now()) or 0
        return await queries.find(filter, limit=limit, newest_first=newest_first, now_micros=now_micros)

    async def statistics(self, start: datetime | None, end: datetime | None) -> LogStatistics:
        """See `WorkerLogsView.statistics`."""
        return await LogQueries(await self.catalog()).statistics(start, end)

    async def compact(self, files_min: int) -> CompactionResult:
        """See `WorkerLogsView.compact`."""
        return await LogCompactor(await self.catalog(), self._ids).compact(files_min)

    async def delete_before(self, cutoff: int) -> CompactionResult:
        """See `WorkerLogsView.delete_older_than`."""
        return await LogCompactor(await self.catalog(), self._ids).delete_before(cutoff)

    async def end(self, timeout_s: float) -> None:
        """Store what waits, in at most `timeout_s` seconds; drop the rest, and close the storage if it was opened."""
        if self._upkeep is not None:
            # Ended before anything else: it uses the storage that is needed now and closed below.
            self._upkeep.cancel()
            await asyncio.wait({self._upkeep}, timeout=timeout_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.flusher.drained(self._buffer.accepted)
        self._flushing.cancel()
        # Its cancellation reaches the task in the next round of the loop.
        await asyncio.sleep(0)
        self._buffer.abandon()
        if dropped := self._buffer.counts().dropped:
            _logger.warning("%d rows of worker logs were dropped in all", dropped)
        storage, self._storage = self._storage, None
        if callable(self._given) and storage is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await storage.close()

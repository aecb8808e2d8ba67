"""A data set of worker logs on one event loop, without threads: flushes, merges, readers, and a store that may die."""

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from parquedb.clock import ManualClock
from parquedb.ids import UlidSource
from parquedb.observability.worker_logs.catalog import LogCatalog
from parquedb.observability.worker_logs.compaction import LogCompactor
from parquedb.observability.worker_logs.files import encode_rows, file_name, hour_folder, hour_of
from parquedb.observability.worker_logs.queries import LogQueries
from parquedb.observability.worker_logs.rows import RowMaker, micros_of
from parquedb.storage.backends.delegating import WRITE_OPERATIONS, Call, FunnelBackend
from parquedb.storage.backends.memory import MemoryBackend

T = TypeVar("T")

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Killed(BaseException):
    """The process that made the call is no more."""


class MortalBackend(FunnelBackend):
    """Kills its caller at a write: before it is applied, or right after."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.writes_left: int | None = None
        self.applies_last = False
        self.writes = 0
        self.pause: Callable[[], Awaitable[None]] | None = None

    async def _pass(self, call: Call[T]) -> T:
        if self.pause is not None:
            await self.pause()
        if call.operation in WRITE_OPERATIONS:
            self.writes += 1
            if self.writes_left is not None:
                self.writes_left -= 1
                if self.writes_left < 0:
                    if self.applies_last:
                        await call.send(self.inner, call.timeout_s)
                    raise Killed
        return await call.send(self.inner, call.timeout_s)


class LogsInMemory:
    """The data set, and what is known of it.

    Attributes:
        rows: Every row that was flushed, by id, with its event time.
    """

    def __init__(self, seed: int = 0) -> None:
        self.clock = ManualClock(NOON)
        self.rng = random.Random(seed)
        self.storage = MortalBackend(MemoryBackend(clock=self.clock))
        self.ids = UlidSource(self.clock, self.rng)
        self.catalog = LogCatalog(self.storage, "logs/")
        self.rows: dict[str, datetime] = {}
        self.maker = RowMaker("test", "here")

    async def flush(self, moments: list[datetime], **fields: Any) -> None:
        """Store one record for each moment, in a file for each hour, as the flusher does."""
        now = micros_of(self.clock.now())
        assert now is not None
        hours: dict[int, list[Any]] = {}
        for moment in moments:
            [(row, _)] = self.maker.rows({"message": moment.isoformat(), "event_time": moment, **fields}, now)
            hours.setdefault(hour_of(row[0]), []).append((row, moment))
        for hour, mine in hours.items():
            ids = self.ids.take(len(mine))
            data = encode_rows([row for row, _ in mine], ids)
            key = f"logs/{hour_folder(hour)}/{file_name(0, self.ids.next())}.parquet"
            await self.storage.inner.create(key, data)
            self.rows |= dict(zip(ids, (moment for _, moment in mine), strict=True))

    def compactor(self) -> LogCompactor:
        """A process that merges and expires; its memory of footers is its own."""
        return LogCompactor(LogCatalog(self.storage, "logs/"), self.ids)

    async def found(self, wanted: dict[str, Any] | None = None) -> list[str]:
        """The ids that a reader finds, in its order: oldest first."""
        queries = LogQueries(LogCatalog(self.storage, "logs/"))
        now = micros_of(self.clock.now()) or 0
        rows = await queries.find(wanted, limit=100_000, newest_first=False, now_micros=now)
        return [row["id"] for row in rows]

    async def keys(self) -> list[str]:
        """All objects."""
        return [info.key for info in (await self.storage.inner.list("")).objects]

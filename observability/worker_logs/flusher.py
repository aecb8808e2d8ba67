"""Storing rows that wait: which, when, under which name, and again until it is certain.

    waiting --threshold, age or flush()--> taken --encoded, by hour--> being stored --landed--> settled
                                                                        |  ^
                                                                        +--+ no, or unknown: again, same name

A file is created, never written over, under a name that nobody else has. An attempt without a clear answer is repeated
with the same name and bytes: "already exists" then means that it had landed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from parquedb.clock import Clock
from parquedb.errors import AlreadyExistsError, OutcomeUnknownError, ParqueDBError
from parquedb.ids import UlidSource
from parquedb.observability.logs import get_logger
from parquedb.observability.worker_logs.buffer import LogBuffer
from parquedb.observability.worker_logs.files import encode_rows, file_name, hour_folder, hour_of
from parquedb.observability.worker_logs.rows import EVENT_TIME, Row
from parquedb.observability.worker_logs.storage import LogStorage

TAKEN_ROWS_MAX: Final = 16_384
"""Rows of one flush; more wait for the next one, which follows at once."""

PUTS_AT_ONCE: Final = 8
ATTEMPT_S: Final = 30.0
"""Seconds for one attempt to store a file."""

BACKOFF_BASE_S: Final = 0.1
BACKOFF_MAX_S: Final = 10.0

_GRACE_S: Final = 5.0
_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FlushOptions:
    """When rows are stored.

    Attributes:
        threshold: Rows that wait and start a flush, from 1.
        interval_s: Seconds that a row waits at most, where storage takes it.
    """

    threshold: int
    interval_s: float


class LogFlusher:
    """Takes rows from a buffer and stores them. Lives on one event loop; `wake` may be called from any thread.

    Args:
        buffer: The rows.
        storage: Opens the storage, on the loop.
        folder: Of the data set, empty or ending in `/`.
        options: When to flush.
        ids: Makes ids of rows and files.
        gap_row: Makes the row that tells of so many dropped ones.
        clock: Waits between attempts.
        on_stored: Called after each flush that stored something.
    """

    def __init__(  # noqa: PLR0913 - everything a flush needs, from the one place that has it
        self,
        buffer: LogBuffer,
        storage: Callable[[], LogStorage],
        folder: str,
        options: FlushOptions,
        *,
        ids: UlidSource,
        gap_row: Callable[[int], Row],
        clock: Clock,
        on_stored: Callable[[], None],
    ) -> None:
        self._buffer = buffer
        self._storage = storage
        self._folder = folder
        self._options = options
        self._ids = ids
        self._gap_row = gap_row
        self._clock = clock
        self._on_stored = on_stored
        self._woken = asyncio.Event()
        self._settled = asyncio.Condition()
        self._forced_to = 0
        self._failing = False
        self._rng = random.Random()  # noqa: S311 - jitter

    def wake(self) -> None:
        """Look whether something is due; on the loop only."""
        self._woken.set()

    async def run(self) -> None:
        """Store what is due, for ever."""
        while True:
            if not self._buffer.waiting:
                await self._woken.wait()
            elif not self._is_due():
                # The first row waits the whole interval, those that come meanwhile less.
                try:
                    async with asyncio.timeout(self._options.interval_s):
                        while not self._is_due():
                            self._woken.clear()
                            await self._woken.wait()
                except TimeoutError:
                    self._forced_to = self._buffer.accepted
            self._woken.clear()
            while self._is_due():
                try:
                    await self._flush_once()
                except Exception:
                    # Never met; but it must not be the end of all storing.
                    _logger.exception("a flush of worker logs failed, and its rows are lost")

    async def drained(self, target: int) -> None:
        """Store everything that was accepted up to the number `target`, and return when that is done."""
        self._forced_to = max(self._forced_to, target)
        self._woken.set()
        async with self._settled:
            await self._settled.wait_for(lambda: self._buffer.settled >= target)

    def _is_due(self) -> bool:
        waiting = self._buffer.waiting
        if not waiting:
            return False
        return waiting >= self._options.threshold or self._buffer.accepted - waiting < self._forced_to

    async def _flush_once(self) -> None:
        rows, size = self._buffer.take(TAKEN_ROWS_MAX)
        if not rows:
            return
        dropped = self._buffer.unreported()
        hours: dict[int, list[Row]] = {}
        for row in [*rows, self._gap_row(dropped)] if dropped else rows:
            hours.setdefault(hour_of(row[EVENT_TIME]), []).append(row)
        free = asyncio.Semaphore(PUTS_AT_ONCE)

        async def store(hour: int, mine: list[Row]) -> None:
            async with free:
                try:
                    data = await asyncio.to_thread(encode_rows, mine, self._ids.take(len(mine)))
                except Exception:
                    # Rows have been checked; should one slip through, it must not stop all that come after it.
                    self._buffer.rejected += len(mine)
                    _logger.exception("%d rows of worker logs could not be encoded and are lost", len(mine))
                else:
                    await self._store(hour, data)

        stored = False
        try:
            async with asyncio.TaskGroup() as group:
                for hour, mine in hours.items():
                    group.create_task(store(hour, mine))
            stored = True
        finally:
            self._buffer.settle(len(rows), size, stored=stored)
            async with self._settled:
                self._settled.notify_all()
        self._on_stored()

    async def _store(self, hour: int, data: bytes) -> None:
        key, unclear, failures = self._new_key(hour), False, 0
        cause: Exception
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_S + _GRACE_S):
                    await self._storage().create(key, data, timeout_s=ATTEMPT_S)
            except AlreadyExistsError as error:
                if unclear:
                    break  # An attempt whose answer was lost.
                key, cause = self._new_key(hour), error
            except (OutcomeUnknownError, TimeoutError) as error:
                unclear, cause = True, error
            except Exception as error:  # noqa: BLE001 - whatever a store raises, the rows are kept and tried again
                cause = error
            else:
                break
            failures += 1
            self._buffer.failures += 1
            self._tell(cause)
            asked_s = (cause.retry_after or 0.0) if isinstance(cause, ParqueDBError) else 0.0
            backoff_s = self._rng.uniform(0, BACKOFF_BASE_S * 2 ** min(failures - 1, 20))
            await self._clock.sleep(min(BACKOFF_MAX_S, max(backoff_s, asked_s)))
        self._failing = False
        self._buffer.files += 1

    def _new_key(self, hour: int) -> str:
        return f"{self._folder}{hour_folder(hour)}/{file_name(0, self._ids.next())}.parquet"

    def _tell(self, cause: Exception) -> None:
        if not self._failing:
            self._failing = True
            _logger.warning("worker logs cannot be stored now and wait in memory: %s", cause)

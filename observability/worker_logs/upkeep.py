"""Merging and expiring that goes on by itself: one of the processes that feed a data set does it, every now and then.

    waiting --a turn is due--> asking --created it--> at work: expire, merge --> waiting
                                  +----somebody else did, or nobody knows----> waiting

A *turn* is an object `<dataset>/upkeep/<number>` that tells who took it. It is created exclusively, so of many
processes that ask for the next number one gets it; when the last one was taken the store's clock tells.

Turns save work and guard nothing. Rules L1 and L2 of `observability.worker_logs.files` hold whoever merges: a turn
whose taker was killed, or is still at it when the next one is due, does no harm.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from parquedb.clock import Clock
from parquedb.errors import AlreadyExistsError, InvalidInputError, OutcomeUnknownError
from parquedb.ids import UlidSource
from parquedb.observability.logs import get_logger
from parquedb.observability.worker_logs.buffer import LogBuffer
from parquedb.observability.worker_logs.catalog import LogCatalog
from parquedb.observability.worker_logs.compaction import LogCompactor
from parquedb.observability.worker_logs.files import HOUR_MICROS

TURNS_FOLDER: Final = "upkeep/"
_SPREAD: Final = 0.1
"""Part of the interval over which those who wait for the same turn ask for it."""

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UpkeepOptions:
    """How often a data set is looked after, and how long rows are kept.

    Attributes:
        interval_s: Seconds between turns, of all processes together.
        keep_s: Seconds after which rows go, in whole hours; None: never.
    """

    interval_s: float
    keep_s: float | None = None

    def __post_init__(self) -> None:
        if not self.interval_s > 0 or (self.keep_s is not None and not self.keep_s > 0):
            raise InvalidInputError(f"expected seconds above 0, got interval_s={self.interval_s}, keep_s={self.keep_s}")


class LogUpkeep:
    """Looks after a data set together with the other processes that do. Lives on one event loop.

    Args:
        catalog: Gives the files.
        ids: Makes the names of merged ones.
        options: How often, and how long rows are kept.
        clock: Waits between turns.
        rng: Spreads the processes.
        worker: What this process is called in its turns.
        counts: Where what was done is counted.
    """

    def __init__(  # noqa: PLR0913 - everything that a turn needs, from the one place that has it
        self,
        catalog: Callable[[], Awaitable[LogCatalog]],
        ids: UlidSource,
        options: UpkeepOptions,
        *,
        clock: Clock,
        rng: random.Random,
        worker: str,
        counts: LogBuffer,
    ) -> None:
        self._catalog = catalog
        self._ids = ids
        self._options = options
        self._clock = clock
        self._rng = rng
        self._worker = worker
        self._counts = counts

    async def run(self) -> None:
        """Look after the data set, for ever; an error is logged and counted, and the next turn tries again."""
        interval_s = self._options.interval_s
        # From 0 on, so that where every process lives shorter than the interval one of them still comes to it.
        pause_s = self._rng.uniform(0, interval_s)
        while True:
            await self._clock.sleep(pause_s)
            try:
                pause_s = await self.look()
            except Exception as error:  # noqa: BLE001 - whatever it meets, feeding must not suffer from it
                self._counts.upkeep_failures += 1
                pause_s = interval_s
                _logger.warning(
                    "the upkeep of worker logs failed, trying again in %.3g s: %s",
                    pause_s,
                    error,
                    extra={"event": "worker_logs.upkeep_failed", "error": error},
                )

    async def look(self) -> float:
        """Do the work of a turn if one is due and is ours; return in how many seconds to look again.

        Raises:
            StorageError, OutcomeUnknownError: storage failed; whoever takes the next turn goes on from there.
            CorruptionError: a file cannot be read; all hours but its own have been merged.
        """
        catalog = await self._catalog()
        storage, folder, interval_s = catalog.storage, catalog.folder + TURNS_FOLDER, self._options.interval_s
        page = await storage.list(folder)
        taken = [turn for turn in page.objects if turn.key.removeprefix(folder).isdecimal()]
        number = 1
        if taken:
            last = taken[-1]
            number += int(last.key.removeprefix(folder))
            left_s = interval_s - (page.server_s - (last.modified_s or 0.0))
            if left_s > 0:
                return min(left_s, interval_s) + self._rng.uniform(0, _SPREAD * interval_s)
        try:
            await storage.create(f"{folder}{number:012}", self._worker.encode())
        except (AlreadyExistsError, OutcomeUnknownError):
            return interval_s
        # Before the work, for they must not pile up where that fails each time.
        for turn in taken:
            await storage.delete(turn.key)
        await self._work(catalog, page.server_s)
        return interval_s

    async def _work(self, catalog: LogCatalog, server_s: float) -> None:
        compactor = LogCompactor(catalog, self._ids)
        began_s = self._clock.boot_s()
        merged = deleted = 0
        if self._options.keep_s is not None:
            # By the store's clock: one process with a wrong one must not delete what is young. In whole hours, for
            # the hour that the moment falls in would be written anew in every turn.
            cutoff = int((server_s - self._options.keep_s) * 1_000_000) // HOUR_MICROS * HOUR_MICROS
            deleted += (await compactor.delete_before(cutoff)).deleted
        try:
            done = await compactor.compact()
            merged, deleted = done.merged, deleted + done.deleted
        finally:
            self._counts.upkeeps += 1
            self._counts.files_merged += merged
            self._counts.files_deleted += deleted
        if merged or deleted:
            _logger.info(
                "worker logs: %d files were merged, and %d deleted",
                merged,
                deleted,
                extra={
                    "event": "worker_logs.upkeep_done",
                    "merged": merged,
                    "deleted": deleted,
                    "duration": self._clock.boot_s() - began_s,
                },
            )

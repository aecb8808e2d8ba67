"""Questions about what is stored: rows by a filter, the newest ones, and how many there are of what."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents.filters import Predicate, compile_filter
from parquedb.errors import InvalidInputError, ObjectNotFoundError
from parquedb.observability.worker_logs.catalog import LogCatalog
from parquedb.observability.worker_logs.conditions import ColumnTest, comparisons_of, hours_of
from parquedb.observability.worker_logs.files import HOUR_MIN, LogFile, hour_of
from parquedb.observability.worker_logs.reader import LogReader, Piece, documents_of, moment_of

LIMIT_MAX: Final = 100_000
"""Rows that one call returns at most."""

_WINDOWS_H: Final = (1, 24)
_BATCH_ROWS: Final = 1_000
_COUNTED: Final = ("level", "outcome", "script", "exception")
_EVENT_TIME: Final = "event_time"
_ORDER: Final = (_EVENT_TIME, "log_time", "id")


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """How many rows are stored, of what.

    Attributes:
        rows: All of them.
        by_level, by_outcome, by_script: Rows by these columns.
        by_exception: Rows with an exception, by its name.
        first: Time of the earliest event; None without rows.
        last: Time of the latest one.
    """

    rows: int
    by_level: dict[str, int]
    by_outcome: dict[str, int]
    by_script: dict[str, int]
    by_exception: dict[str, int]
    first: datetime | None
    last: datetime | None


class LogQueries:
    """Answers questions. Lives on one event loop.

    Args:
        catalog: The files.
    """

    def __init__(self, catalog: LogCatalog) -> None:
        self.catalog = catalog
        self.reader = LogReader(catalog)

    async def find(
        self,
        filter: Mapping[str, Any] | None,  # noqa: A002 - MongoDB's name for it
        *,
        limit: int,
        newest_first: bool,
        now_micros: int,
    ) -> list[dict[str, Any]]:
        """Return rows that pass a filter, by event time, then log time, then id; see `WorkerLogsView.find`."""
        if not 1 <= limit <= LIMIT_MAX:
            raise InvalidInputError(f"expected a limit of 1 to {LIMIT_MAX} rows, got {limit}")
        predicate = compile_filter(filter)
        tests = comparisons_of(predicate.filter)
        first, last = hours_of(tests)
        if not newest_first or first is not None:
            return await self._find(predicate, tests, (first, last), limit, newest_first)
        # What is asked for is usually recent: a long past is only listed when the last hours do not hold enough.
        found: list[dict[str, Any]] = []
        until = hour_of(now_micros) if last is None else last
        windows = (None,) if await self.catalog.is_short() else (*_WINDOWS_H, None)
        for window in windows:
            first = None if window is None else max(HOUR_MIN, until - window)
            found += await self._find(predicate, tests, (first, last), limit - len(found), newest_first)
            if len(found) >= limit or first is None:
                return found
            last = first - 1
        return found

    async def _find(
        self,
        predicate: Predicate,
        tests: Sequence[ColumnTest],
        hours: tuple[int | None, int | None],
        limit: int,
        newest_first: bool,
    ) -> list[dict[str, Any]]:
        by_hour = (await self.catalog.listing(*hours)).by_hour()
        found: list[dict[str, Any]] = []
        for hour in sorted(by_hour, reverse=newest_first):
            best: list[dict[str, Any]] = []
            async for piece in self.pieces(by_hour[hour], tests):
                rows = await asyncio.to_thread(_first_matching, predicate, piece, limit - len(found), newest_first)
                pick = heapq.nlargest if newest_first else heapq.nsmallest
                best = pick(limit - len(found), [*best, *rows], key=_order)
            found += best
            if len(found) >= limit:
                break
        return found

    async def pieces(
        self, files: Sequence[LogFile], tests: Sequence[ColumnTest], columns: Sequence[str] | None = None
    ) -> AsyncIterator[Piece]:
        """Yield the rows of one hour, each once, whatever is merged meanwhile.

        Args:
            files: Of the hour, as listed.
            tests: Rows that fail one may be left out.
            columns: See `LogReader.pieces`.

        Raises:
            ObjectNotFoundError: files went away faster than they could be listed.
            CorruptionError: a file cannot be read.
        """
        done: set[str] = set()
        async for hour in self.catalog.attempts(files):
            try:
                for live in hour.live:
                    parts = tuple(part for part in live.parts if part.leaf.name not in done)
                    if parts:
                        async for pieces in self.reader.pieces(replace(live, parts=parts), tests, columns):
                            for piece in pieces:
                                yield piece
                        done.update(part.leaf.name for part in parts)
            except ObjectNotFoundError:
                continue  # Merged meanwhile; its rows are in another file.
            return

    async def statistics(self, start: datetime | None, end: datetime | None) -> LogStatistics:
        """Count the rows of events from `start` (inclusive) to `end` (exclusive)."""
        bounds = {"$gte": start, "$lt": end}
        given = {op: moment for op, moment in bounds.items() if moment is not None}
        tests = comparisons_of(compile_filter({_EVENT_TIME: given} if given else None).filter)
        counters: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
        rows = 0
        ends: list[int] = []
        for files in (await self.catalog.listing(*hours_of(tests))).by_hour().values():
            async for piece in self.pieces(files, tests, [_EVENT_TIME, *_COUNTED]):
                rows += piece.table.num_rows
                ends += pc.min_max(piece.table.column(_EVENT_TIME).cast(pa.int64())).as_py().values()
                ends = [min(ends), max(ends)]
                for name, counter in counters.items():
                    for each in pc.value_counts(piece.table.column(name).drop_null()).to_pylist():
                        counter[each["values"]] += each["counts"]
        level, outcome, script, exception = (dict(counter.most_common()) for counter in counters.values())
        return LogStatistics(rows, level, outcome, script, exception, *(map(moment_of, ends) if ends else (None, None)))


def _first_matching(predicate: Predicate, piece: Piece, limit: int, newest_first: bool) -> list[dict[str, Any]]:
    """Return the first rows that pass, in the wanted order; only as many as needed become documents."""
    direction = "descending" if newest_first else "ascending"
    order = pc.sort_indices(piece.table, [(name, direction) for name in _ORDER])
    found: list[dict[str, Any]] = []
    for start in range(0, len(order), _BATCH_ROWS):
        batch = piece.table.take(order.slice(start, _BATCH_ROWS))
        found += filter(predicate.matches, documents_of(batch))
        if len(found) >= limit:
            break
    return found[:limit]


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _ORDER)

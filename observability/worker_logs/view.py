"""The worker logs: a view of what every process logs, as Parquet files that many writers and readers share.

    handler, ingest() --> buffer --flusher--> year=/month=/day=/hour=/*.parquet --> find, tail, follow, statistics
                                                   ^ compact, delete_older_than

Each process has a view of its own on the same data set; none of them knows of the others.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import random
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from parquedb.clock import SystemClock
from parquedb.documents.filters import compile_filter
from parquedb.errors import InvalidInputError, ParqueDBError
from parquedb.ids import UlidSource
from parquedb.observability.worker_logs.async_view import AsyncWorkerLogs
from parquedb.observability.worker_logs.buffer import LogBuffer, LogCounts
from parquedb.observability.worker_logs.compaction import FILES_MIN, CompactionResult
from parquedb.observability.worker_logs.feed import START, FeedOptions, LogFeed, Position
from parquedb.observability.worker_logs.flusher import FlushOptions
from parquedb.observability.worker_logs.handler import WorkerLogsHandler
from parquedb.observability.worker_logs.options import WorkerLogsOptions
from parquedb.observability.worker_logs.queries import LogStatistics
from parquedb.observability.worker_logs.rows import Row, RowMaker, micros_of
from parquedb.observability.worker_logs.storage import LogStorage
from parquedb.observability.worker_logs.tail_events import record_of_tail_event
from parquedb.observability.worker_logs.work import CLOSE_S, LogWork

__all__ = ["START", "LogCounts", "LogStatistics", "WorkerLogsView", "create_worker_logs_view", "record_of_tail_event"]

EXIT_S: Final = 3.0
"""Seconds that all views of a process may take when it ends without having closed them."""

_INGEST_ROWS: Final = 1_000


class WorkerLogsView:
    """Takes log records in from any thread, stores them, and answers questions about all that are stored.

    Its methods wait for their answers; `aio` has the same ones to be awaited. `ingest` and the handler never wait for
    storage. Nothing runs until the first record or question. Survives a fork: the child begins with an empty buffer.

    Args:
        storage: Where the files lie; or a function that opens it, which is what a process that forks needs: it is
            called on the view's own event loop, and what it returns is closed with the view.
        dataset_path: Folder of the data set within the storage; empty for all of it.
        options: How to buffer and store.
    """

    def __init__(
        self,
        storage: LogStorage | Callable[[], LogStorage],
        dataset_path: str = "",
        options: WorkerLogsOptions | None = None,
    ) -> None:
        self._given_storage = storage
        self._folder = "".join(f"{part}/" for part in dataset_path.split("/") if part)
        self._options = options or WorkerLogsOptions()
        self._clock = self._options.clock or SystemClock()
        self.aio = AsyncWorkerLogs(self)
        self._begin()
        _views.add(self)
        _flush_at_exit()

    def _begin(self) -> None:
        """Start from nothing, in a new process."""
        options = self._options
        script = options.script or Path(sys.argv[0] if sys.argv else "").name or "python"
        self._worker = options.worker or f"{socket.gethostname()}:{os.getpid()}"
        self._maker = RowMaker(script, self._worker, options.redact)
        self._gap_maker = RowMaker(script, self._worker)
        self._buffer = LogBuffer(options.buffer_rows_max, options.buffer_bytes_max)
        self._ids = UlidSource(self._clock, random.SystemRandom())
        self._lock = threading.RLock()
        self._work: LogWork | None = None
        self._feeds: weakref.WeakSet[LogFeed] = weakref.WeakSet()
        self._closed = False

    def ingest(self, records: Mapping[str, Any] | Iterable[Mapping[str, Any]], *, wait_s: float = 0.0) -> int:
        """Take records in; see `parquedb.observability.worker_logs.rows` for what a record may hold.

        Args:
            records: One or many. What cannot become a row is counted as rejected.
            wait_s: Seconds to wait for room when the buffer is full, for bulk loads; then rows are dropped and counted.

        Returns:
            The number of rows that the records became, dropped ones among them.

        Raises:
            InvalidInputError: the view has been closed.
        """
        if self._closed:
            raise InvalidInputError("this view has been closed")
        now = self._now_micros()
        total, rows = 0, []
        for record in (records,) if isinstance(records, Mapping) else records:
            try:
                rows += self._maker.rows(record, now)
            except Exception:  # noqa: BLE001 - one bad record, or one that must not be kept, costs the others nothing
                self._buffer.reject()
            if len(rows) >= _INGEST_ROWS:
                total += self._add(rows, wait_s)
                rows = []
        return total + self._add(rows, wait_s) if rows else total

    def handler(self, level: int | str = logging.NOTSET) -> logging.Handler:
        """Return a handler for `logging`, to be added to any logger; several may be in use."""
        return WorkerLogsHandler(self._take_record, self._reject, self._thread_id, level)

    def stats(self) -> LogCounts:
        """Return what this view has taken in, stored and dropped so far."""
        return self._buffer.counts()

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when everything that was taken in before is stored.

        Raises:
            TimeoutError: it was not within `timeout_s`; the rows are kept and storing them goes on.
        """
        work = self.started()
        work.loop.run(work.flush(timeout_s))

    def find(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - MongoDB's name for it
        *,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[dict[str, Any]]:
        """Return stored rows that pass a filter, in the order of event time, then log time, then id.

        Args:
            filter: In the filter language of the database. Bounds of `event_time` select the hours that are read.
            limit: Rows at most, 1 to 100 000.
            newest_first: The latest ones, descending; otherwise the earliest ones, ascending.

        Raises:
            InvalidFilterError: the filter is not understood.
            CorruptionError: a file cannot be read.
        """
        work = self.started()
        return work.loop.run(work.find(filter, limit, newest_first))

    def tail(self, rows: int = 100, filter: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:  # noqa: A002
        """Return the last rows that are stored and pass a filter, the newest one last."""
        return self.find(filter, limit=rows)[::-1]

    def follow(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - as above
        *,
        after: str | None = None,
        poll_s: float = 1.0,
        idle_s: float | None = None,
    ) -> LogFeed:
        """Return an iterator, for `for` and `async for`, over rows as they are stored; each comes once.

        Args:
            filter: Rows that pass are delivered. A lower bound of `event_time` saves looking at all hours each time.
            after: Where to go on, as `LogFeed.position` told; `START`: from the beginning; None: from now on.
            poll_s: Seconds between looks at the store.
            idle_s: Ends the feed when nothing came for so long; None: it waits for ever.

        Raises:
            InvalidFilterError, InvalidInputError: the filter, or the position, is not understood.
        """
        work = self.started()
        position = None if after is None else Position.from_text(after)
        feed = LogFeed(work.loop, work.catalog, FeedOptions(compile_filter(filter), poll_s, idle_s), position)
        self._feeds.add(feed)
        return feed

    def statistics(self, start: datetime | None = None, end: datetime | None = None) -> LogStatistics:
        """Count what is stored of events from `start` (inclusive) to `end` (exclusive)."""
        work = self.started()
        return work.loop.run(work.statistics(start, end))

    def compact(self, *, files_min: int = FILES_MIN) -> CompactionResult:
        """Merge the files of each hour that has at least `files_min` small ones; safe beside anything else."""
        work = self.started()
        return work.loop.run(work.compact(files_min))

    def delete_older_than(self, age: timedelta | datetime) -> CompactionResult:
        """Delete the rows of events older than an age, or before a moment."""
        work = self.started()
        return work.loop.run(work.delete_before(self.cutoff(age)))

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Store what waits, in at most `timeout_s` seconds, and end; what is left is dropped and counted."""
        with self._lock:
            self._closed = True
            work, self._work = self._work, None
            if work is None and self._buffer.waiting:
                work = self._start()
        for feed in list(self._feeds):
            feed.close()
        if work is not None:
            with contextlib.suppress(ParqueDBError):
                work.loop.run(work.end(timeout_s))
            work.loop.stop(timeout_s)
        _views.discard(self)

    def __enter__(self) -> WorkerLogsView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_record(self, record: dict[str, Any]) -> None:
        if self._closed:
            self._buffer.reject()
        else:
            self._add(self._maker.rows(record, self._now_micros()), 0.0)

    def _add(self, rows: list[tuple[Row, int]], wait_s: float) -> int:
        if wait_s > 0:
            self._buffer.wait_for_room(len(rows), sum(size for _, size in rows), wait_s)
        before, after = self._buffer.add(rows)
        # The flusher sleeps while nothing waits, and until the threshold; in between there is nothing to tell it.
        if before == 0 or after >= self._options.flush_threshold > before:
            work = self.started()
            work.loop.call(work.flusher.wake)
        return len(rows)

    def _reject(self) -> None:
        self._buffer.reject()

    def _thread_id(self) -> int | None:
        work = self._work
        return None if work is None else work.loop.thread_id

    def _now_micros(self) -> int:
        return micros_of(self._clock.now()) or 0

    def cutoff(self, age: timedelta | datetime) -> int:
        """Return a moment, or an age before now, as microseconds since 1970.

        Raises:
            InvalidInputError: it is neither.
        """
        moment = micros_of(age) if isinstance(age, datetime) else None
        if moment is None:
            if not isinstance(age, timedelta):
                raise InvalidInputError(f"expected an age as timedelta, or a datetime, got {type(age).__name__}")
            moment = self._now_micros() - age // timedelta(microseconds=1)
        return moment

    def _gap_row(self, dropped: int) -> Row:
        record = {
            "kind": "gap",
            "level": "WARNING",
            "logger": __name__,
            "message": f"{dropped} rows were dropped before this one: the buffer was full",
            "dropped": dropped,
        }
        return self._gap_maker.rows(record, self._now_micros())[0][0]

    def started(self) -> LogWork:
        """Return the working half, which begins to work now if it did not before.

        Raises:
            InvalidInputError: the view has been closed.
        """
        work = self._work
        if work is not None:
            return work
        with self._lock:
            if self._closed:
                raise InvalidInputError("this view has been closed")
            if self._work is None:
                self._work = self._start()
            return self._work

    def _start(self) -> LogWork:
        return LogWork(
            self._given_storage,
            self._folder,
            self._buffer,
            FlushOptions(self._options.flush_threshold, self._options.flush_interval_s),
            ids=self._ids,
            gap_row=self._gap_row,
            clock=self._clock,
            on_stored=self._wake_feeds,
            upkeep=self._options.upkeep,
            worker=self._worker,
        )

    def _wake_feeds(self) -> None:
        for feed in list(self._feeds):
            feed.wake()


def create_worker_logs_view(
    storage: LogStorage | Callable[[], LogStorage],
    dataset_path: str = "",
    flush_threshold: int = 1_000,
    flush_interval: float = 30.0,
    **options: Any,
) -> WorkerLogsView:
    """Return a view on the worker logs of a data set.

    Args:
        storage: Where the files lie, or a function that opens it; see `WorkerLogsView`.
        dataset_path: Folder of the data set within the storage.
        flush_threshold: Rows that wait and start a flush.
        flush_interval: Seconds that a row waits at most.
        **options: Other fields of `WorkerLogsOptions`.

    Raises:
        InvalidInputError: an option that is unknown or out of range.
    """
    known = {field.name for field in fields(WorkerLogsOptions)} - {"flush_threshold", "flush_interval_s"}
    if unknown := set(options) - known:
        raise InvalidInputError(f"expected options among {', '.join(sorted(known))}; got {', '.join(sorted(unknown))}")
    return WorkerLogsView(storage, dataset_path, WorkerLogsOptions(flush_threshold, flush_interval, **options))


_views: weakref.WeakSet[WorkerLogsView] = weakref.WeakSet()


def _close_all() -> None:
    """Store what the views of a process that ends still hold."""
    deadline_s = time.monotonic() + EXIT_S
    for view in list(_views):
        view.close(max(0.1, deadline_s - time.monotonic()))


def _begin_anew() -> None:
    """In a forked child: the parent's rows are the parent's to store, and its thread is not here."""
    for view in list(_views):
        view._begin()


@functools.cache
def _flush_at_exit() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_begin_anew)
    # `atexit` would come too late: by then the interpreter starts no work in thread pools any more, and a local
    # directory is written by one. What is registered here runs before the pools are told.
    register = getattr(threading, "_register_atexit", atexit.register)
    register(_close_all)

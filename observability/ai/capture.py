"""Requests of instrumented SDKs, recorded without a line of code about them: a span processor with a bounded queue.

    span ends --> request --> queue (full: dropped and counted) --> a thread --> the view

The application never waits: what it does is append to a list. A batch whose fate is unknown is sent again, since a
request has the id of its span and is stored once.
"""

import os
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from parquedb.errors import OutcomeUnknownError, ParqueDBError
from parquedb.observability.ai.request import AIRequest
from parquedb.observability.ai.requests import AIRequestsView
from parquedb.observability.ai.spans import request_of
from parquedb.observability.logs import get_logger
from parquedb.observability.views.database import Database

QUEUE_MAX: Final = 10_000
BATCH_MAX: Final = 500
INTERVAL_S: Final = 1.0
SHUTDOWN_S: Final = 5.0

_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_MAX_S: Final = 10.0

_logger = get_logger(__name__)


@dataclass(slots=True)
class CaptureStats:
    """What has become of spans so far.

    Attributes:
        captured: Spans that told of a request.
        stored: Requests that were stored.
        duplicates: Those that were there already.
        sampled_out: Those that the view leaves out.
        dropped: Those that found the queue full, or came after the end.
        failed: Those that the database refused.
        unreadable: Spans of requests that make no sense.
    """

    captured: int = 0
    stored: int = 0
    duplicates: int = 0
    sampled_out: int = 0
    dropped: int = 0
    failed: int = 0
    unreadable: int = 0


class AISpanProcessor(SpanProcessor):
    """Records every request to a model that a span tells of."""

    def __init__(
        self,
        view: AIRequestsView,
        *,
        queue_max: int = QUEUE_MAX,
        batch_max: int = BATCH_MAX,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Record into a view.

        Args:
            view: Where to.
            queue_max: Requests that may wait; more are dropped.
            batch_max: Requests in one call.
            interval_s: Seconds that a request waits for others at most.
        """
        self.stats = CaptureStats()
        self._view = view
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._interval_s = interval_s
        self._closed = False
        self._begin()
        _processors.add(self)

    def _begin(self) -> None:
        """Start without anything: a forked child has no thread, and what waited is its parent's to record."""
        self._waiting: deque[AIRequest] = deque()
        self._changed = threading.Condition()
        self._in_hand = 0
        self._hurry = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: only what is over is recorded."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the request that a span tells of. Never raises and never waits for the database."""
        try:
            request = request_of(span)
        except Exception:  # noqa: BLE001 - whatever an SDK puts into a span must not reach the application
            with self._changed:
                self.stats.unreadable += 1
            return
        if request is None:
            return
        with self._changed:
            self.stats.captured += 1
            if self._closed or len(self._waiting) >= self._queue_max:
                self.stats.dropped += 1
                return
            self._waiting.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="parquedb-ai-requests", daemon=True)
                self._thread.start()
            elif len(self._waiting) >= self._batch_max:
                self._changed.notify_all()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Record what waits now; return whether all of it was dealt with in time."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._in_hand, timeout_millis / 1000)

    def shutdown(self) -> None:
        """Record what waits, in a few seconds at most, and take no more; what is left then is dropped."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
        self.force_flush(int(SHUTDOWN_S * 1000))
        with self._changed:
            self.stats.dropped += len(self._waiting)
            self._waiting.clear()
            self._stopped.set()
            self._changed.notify_all()

    def _run(self) -> None:
        batch: list[AIRequest] = []
        delay_s = _BACKOFF_FIRST_S
        while batch or (batch := self._next()):
            batch = self._record(batch)
            with self._changed:
                self._in_hand = len(batch)
                self._changed.notify_all()
            if not batch:
                delay_s = _BACKOFF_FIRST_S
            elif self._stopped.wait(delay_s):
                with self._changed:
                    self.stats.dropped += len(batch)
                return
            else:
                delay_s = min(2 * delay_s, _BACKOFF_MAX_S)

    def _next(self) -> list[AIRequest]:
        """Wait for a batch; an empty one is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped.is_set())
            end_s = time.monotonic() + self._interval_s
            self._changed.wait_for(
                lambda: len(self._waiting) >= self._batch_max or self._hurry or self._stopped.is_set(),
                max(0.0, end_s - time.monotonic()),
            )
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_max))]
            self._in_hand = len(batch)
            self._hurry = self._hurry and bool(self._waiting)
            return batch

    def _record(self, batch: list[AIRequest]) -> list[AIRequest]:
        """Store requests; return those to be tried again."""
        try:
            done = self._view.record_many(batch)
        except ParqueDBError as error:
            if _worth_repeating(error):
                return batch
            _logger.warning("%d requests to models could not be recorded: %s", len(batch), error)
            self.stats.failed += len(batch)
            return []
        except Exception:
            _logger.exception("%d requests to models could not be recorded", len(batch))
            self.stats.failed += len(batch)
            return []
        self.stats.stored += done.stored
        self.stats.duplicates += done.duplicates
        self.stats.sampled_out += done.sampled_out
        again = [batch[place] for place, error in done.failures.items() if _worth_repeating(error)]
        self.stats.failed += len(done.failures) - len(again)
        return again


def capture_ai_requests(
    db: Database | AIRequestsView, *, tracer_provider: TracerProvider | None = None
) -> AISpanProcessor:
    """Record every request that an instrumented SDK makes in this process from now on.

    Args:
        db: Where to; a view brings settings of its own.
        tracer_provider: Whose spans; the global one by default, which is set if there is none.

    Returns:
        The processor: `stats` counts, `shutdown` ends it.
    """
    processor = AISpanProcessor(db if isinstance(db, AIRequestsView) else AIRequestsView(db))
    if tracer_provider is None:
        current = trace.get_tracer_provider()
        if isinstance(current, TracerProvider):
            tracer_provider = current
        else:
            tracer_provider = TracerProvider()
            trace.set_tracer_provider(tracer_provider)
    tracer_provider.add_span_processor(processor)
    return processor


_processors: "weakref.WeakSet[AISpanProcessor]" = weakref.WeakSet()


def _after_fork() -> None:
    # Here and not when a child's first span ends: it may just flush, or end, and would wait for a thread that it lacks.
    for processor in list(_processors):
        processor._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _worth_repeating(error: ParqueDBError) -> bool:
    # Repeating is safe for all: a request is stored once under its id.
    return error.retryable or isinstance(error, OutcomeUnknownError)

"""Between the operations that make spans and the collector that may be slow, or gone: a bounded queue and one thread.

    put -> queue (bounded; what finds no room is dropped and counted) -> thread -> sinks

Nobody who makes a span ever waits. A collector that fails is left alone for a while, longer each time.
"""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from parquedb.observability.logs import get_logger
from parquedb.observability.losses import SPANS
from parquedb.observability.otel.brief_spans import BriefSpan
from parquedb.observability.otel.lean_span import LeanSpan
from parquedb.observability.otel.propagation import PACKED_BYTES

PAUSE_MAX_S: Final = 30.0
"""Longest pause after a collector has failed, seconds; the first is a second, and each doubles."""

LINKS_MAX: Final = 20_000
"""Links of one export, besides those of its last span: some 700 kB, so that no request is too large for a collector."""

_logger = get_logger(__name__)


class Sink(Protocol):
    """Where spans go."""

    def send(self, spans: Sequence[LeanSpan | BriefSpan]) -> bool:
        """Send spans that have ended; False when they are lost. May take long."""

    def close(self) -> None:
        """Give up whatever is being sent."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of a span queue, and when it is emptied.

    The first two are four times OpenTelemetry's own defaults: our spans are small, and each export costs half a
    millisecond, whatever it carries.

    Attributes:
        spans_max: Spans that wait.
        batch_max: Spans of one export.
        delay_s: Seconds after which what waits is sent, however little it is.
    """

    spans_max: int = 8192
    batch_max: int = 2048
    delay_s: float = 5.0


class SpanQueue:
    """Takes spans from any thread and sends them from one of its own.

    Attributes:
        dropped: Spans that found no room, or were still waiting at the end.
        lost: Spans that a sink could not send.
    """

    def __init__(self, sinks: Sequence[Sink], limits: QueueLimits) -> None:
        self.dropped = 0
        self.lost = 0
        self._counted = SPANS.count(lambda: self.dropped + self.lost)
        self._sinks = sinks
        self._limits = limits
        self._spans_max, self._batch_max = limits.spans_max, limits.batch_max
        self._spans: deque[LeanSpan | BriefSpan] = deque()
        self._closing = threading.Event()
        self._full = threading.Event()
        # What `put` looks at is plain: asking an event is a call.
        self._is_closing = self._is_woken = False
        self._abandoned = False
        self._thread = self._started()
        weak = weakref.WeakMethod(self._forked)

        def forked() -> None:
            if start := weak():
                start()

        os.register_at_fork(after_in_child=forked)

    def put(self, span: LeanSpan | BriefSpan) -> None:
        """Queue a span; never waits."""
        spans = self._spans
        waiting = len(spans)
        if waiting >= self._spans_max or self._is_closing:
            self.dropped += 1
            if self.dropped == 1:
                _logger.warning("spans are dropped: %d wait for the collector already", waiting)
            return
        spans.append(span)
        # Waking the thread for each of those that follow would cost more than making them.
        if waiting + 1 >= self._batch_max and not self._is_woken:
            self._is_woken = True
            self._full.set()

    def close(self, timeout_s: float) -> None:
        """Send what is waiting and end, in at most `timeout_s` seconds; what was not sent by then is dropped."""
        if self._closing.is_set():
            return
        deadline_s = time.monotonic() + timeout_s
        self._is_closing = True
        self._closing.set()
        self._full.set()
        # A quarter of the time is for a sink that is in the middle of something to notice that it is over.
        self._thread.join(timeout_s * 0.75)
        late = self._thread.is_alive()
        self._abandoned = late
        for sink in self._sinks:
            sink.close()
        if late:
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
        self.dropped += len(self._spans)
        if not late:
            self._spans.clear()
        self._counted()

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="parquedb-spans", daemon=True)
        thread.start()
        return thread

    def _forked(self) -> None:
        """Begin anew in the child of a fork, which has none of the threads; the parent sends what waits here."""
        self._spans.clear()
        if not self._closing.is_set():
            # Locks inside may have been held by a thread that the child does not have.
            self._full, self._closing = threading.Event(), threading.Event()
            self._is_woken = False
            self._thread = self._started()

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            self._full.wait(self._limits.delay_s)
            self._full.clear()
            self._is_woken = False
            while self._spans and not self._closing.is_set():
                failures = 0 if self._send_batch() else failures + 1
                if failures:
                    self._closing.wait(min(PAUSE_MAX_S, 2.0 ** (failures - 1)))
                if len(self._spans) < self._limits.batch_max:
                    break
        while self._spans and not self._abandoned and self._send_batch():
            pass

    def _send_batch(self) -> bool:
        batch = self._next_batch()
        sent = True
        for sink in self._sinks:
            try:
                sent = sink.send(batch) and sent
            except Exception as error:  # noqa: BLE001 - the thread must live, whatever an exporter raises
                _logger.warning("spans could not be sent: %s: %s", type(error).__name__, error)
                sent = False
        if not sent:
            self.lost += len(batch)
        return sent

    def _next_batch(self) -> list[LeanSpan | BriefSpan]:
        spans = self._spans
        pop = spans.popleft
        batch = [pop() for _ in range(min(len(spans), self._batch_max))]
        # Most have none, and are not looked at one by one.
        linked = 0
        for place, span in enumerate(batch if set(map(type, batch)) != {bytes} else ()):
            if linked >= LINKS_MAX:
                spans.extendleft(reversed(batch[place:]))
                return batch[:place]
            linked += _links_in(span)
        return batch


def _links_in(span: LeanSpan | BriefSpan) -> int:
    if isinstance(span, tuple):
        return len(span[1]) // PACKED_BYTES
    return 0 if isinstance(span, bytes) else len(span.links)

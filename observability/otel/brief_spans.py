"""Spans of operations on single documents, in brief: ids when one begins, one tuple when it ends, nothing in between.

A thousand coroutines that each create a document make a thousand spans for one call to the owner. Those that end well,
at the first attempt, differ in ids, times and a few numbers only, so that is all that is kept of them until they are
encoded, many at a time (`brief_encoding`). One that fails, or has to be sent again, becomes a span like any other.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace import SpanContext

from parquedb.observability.otel.lean_span import LeanSpan, SpanTemplate
from parquedb.observability.otel.lean_tracer import LeanSpans
from parquedb.observability.otel.propagation import PACKED_BYTES

_IDS_BITS: Final = 192

BriefSpan = tuple["BriefSpans", bytes, SpanContext | None, float, float, Sequence[int]]
"""What is kept of a span: its like, itself in packed form, its parent, began and ended (monotonic s), numbers."""


class WholeSpans(Protocol):
    """Spans that are under way, each for its subject."""

    def adopt(self, subject: object, span: LeanSpan) -> None:
        """Make a span the active one until it ends."""

    def finish(self, subject: object, result: object) -> None:
        """End it with what its operation came to."""

    def fail(self, subject: object, error: BaseException) -> None:
        """End it with why its operation failed."""


class BriefSpans:
    """The spans of one operation of one namespace.

    Attributes:
        template: Name, kind and attributes that are always the same.
        names: The attributes that differ, all of them integers.
        rows: Room for whoever encodes them.
        told: Callbacks that the spans stand for (count).
    """

    __slots__ = ("_decide", "_ended", "_source", "_wholes", "names", "rows", "template", "told")

    def __init__(self, template: SpanTemplate, names: Sequence[str], source: LeanSpans, wholes: WholeSpans) -> None:
        """Make spans of a source.

        Args:
            template: See above.
            names: See above.
            source: Draws ids, decides about sampling, and takes each `BriefSpan` that is to be sent.
            wholes: Takes those that have to be whole.
        """
        self.template = template
        self.names = names
        self.rows: dict[Any, Any] = {}
        self.told = 0
        # It draws from another stream after a fork, so its `bits` is asked for each time.
        self._source = source
        self._decide = source.decide
        self._ended: Callable[[Any], None] = source.finished
        self._wholes = wholes

    def begin(self) -> tuple[bytes, SpanContext | None]:
        """Begin one under the active span; return it, packed (`propagation`), and its parent if it has one."""
        context = get_current()
        if context:
            above: SpanContext | None = trace.get_current_span(context).get_span_context()
            if above is not None and above.is_valid:
                sampled = self._decide(context, above, above.trace_id, self.template)
                ids = above.trace_id << 64 | (self._source.bits(64) or 1)
                return (ids << 8 | sampled).to_bytes(PACKED_BYTES, "big"), above
        ids = self._source.bits(_IDS_BITS)
        sampled = self._decide(context, None, ids >> 64, self.template)
        return (ids << 8 | sampled).to_bytes(PACKED_BYTES, "big"), None

    def end(
        self, span: bytes, parent: SpanContext | None, began_s: float, ended_s: float, numbers: Sequence[int]
    ) -> None:
        """End one that went well.

        Args:
            span: What `begin` returned.
            parent: The same.
            began_s: Monotonic seconds.
            ended_s: The same.
            numbers: One for each of `names`; from 0 up, and below 2**63.
        """
        self.told += 2
        if span[24]:
            self._ended((self, span, parent, began_s, ended_s, numbers))

    def open(self, subject: object, span: bytes, parent: SpanContext | None, began_s: float) -> None:
        """Make one whole and active; see `parquedb.observability.brief`."""
        start_ns = int(began_s * 1e9) + clock_offset_ns()
        # One that is not sampled is not sent, whatever becomes of it.
        ended = self._ended if span[24] else _nowhere
        self._wholes.adopt(subject, opened(self.template, span, parent, start_ns, ended))

    def finish(self, subject: object, result: object) -> None:
        """End one that is whole."""
        self.told += 2
        self._wholes.finish(subject, result)

    def fail(self, subject: object, error: BaseException) -> None:
        """End one that is whole, badly."""
        self.told += 2
        self._wholes.fail(subject, error)


def clock_offset_ns() -> int:
    """Return what turns monotonic nanoseconds into nanoseconds since 1970."""
    return time.time_ns() - time.monotonic_ns()


def whole(brief: BriefSpan, offset_ns: int) -> LeanSpan:
    """Return a brief span as a whole one that has ended; for `offset_ns` see `clock_offset_ns`."""
    series, span, parent, began_s, ended_s, numbers = brief
    made = opened(series.template, span, parent, int(began_s * 1e9) + offset_ns, _nowhere)
    made.set_attributes(dict(zip(series.names, numbers, strict=True)))
    made.end(int(ended_s * 1e9) + offset_ns)
    return made


def opened(
    template: SpanTemplate, span: bytes, parent: SpanContext | None, start_ns: int, ended: Callable[[LeanSpan], None]
) -> LeanSpan:
    """Return a brief span as a whole one that has not ended."""
    trace_id, span_id = int.from_bytes(span[:16], "big"), int.from_bytes(span[16:24], "big")
    return LeanSpan(template, trace_id, span_id, parent, (), sampled=bool(span[24]), start_ns=start_ns, ended=ended)


def _nowhere(_: LeanSpan) -> None:
    """It has been queued already."""

"""Spans of our own for the provider of our own: an SDK span costs ten times as much, and a call makes four.

A `LeanSpan` is a `Span` to whoever finds it active, and data to the queue that sends it. What the spans of an operation
have in common is in one `SpanTemplate`, so that it is put together and encoded once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes

ATTRIBUTES_MAX: Final = 128
EVENTS_MAX: Final = 128
"""Attributes and events of one span; more are counted and dropped. The SDK's own default limits."""

_UNSET: Final = (StatusCode.UNSET, None)
_FLAGS: Final = {True: TraceFlags(TraceFlags.SAMPLED), False: TraceFlags(TraceFlags.DEFAULT)}


class SpanTemplate:
    """What the spans of one operation have in common.

    Attributes:
        name: Of the span; few different ones.
        kind: Who calls whom.
        attributes: Those that are always the same; never changed.
        encoded: Room for whoever encodes spans.
    """

    __slots__ = ("attributes", "encoded", "kind", "name")

    def __init__(self, name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> None:
        self.name = name
        self.kind = kind
        self.attributes = attributes
        self.encoded: bytes | None = None


class LeanSpan(trace.Span):
    """One span; not safe for changes by several threads at once, as operations are not.

    Attributes:
        template: Name, kind and common attributes.
        trace_id: 128 bits.
        span_id: 64 bits.
        parent: The span it hangs under, if any.
        sampled: Whether it was chosen when it started; what it hands on to others says so.
        links: Other spans that it has to do with, packed (`propagation`).
        start_ns: Nanoseconds since 1970.
        end_ns: The same; 0 until it has ended.
        attributes: Besides those of the template.
        events: (nanoseconds, name, attributes) of each.
        dropped_attributes: Those that found no room (count).
        dropped_events: The same.
        status: `UNSET` unless it failed.
    """

    __slots__ = (
        "_context",
        "_ended",
        "attributes",
        "dropped_attributes",
        "dropped_events",
        "end_ns",
        "events",
        "links",
        "parent",
        "sampled",
        "span_id",
        "start_ns",
        "status",
        "template",
        "trace_id",
    )

    def __init__(  # noqa: PLR0913 - one span
        self,
        template: SpanTemplate,
        trace_id: int,
        span_id: int,
        parent: SpanContext | None,
        links: Sequence[bytes],
        *,
        sampled: bool,
        start_ns: int | None,
        ended: "Callable[[LeanSpan], None]",
    ) -> None:
        """Start; `ended` is called once, at the end."""
        self.template = template
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent = parent
        self.links = links
        self.sampled = sampled
        self.start_ns = start_ns or time.time_ns()
        self.end_ns = 0
        self.attributes: dict[str, Any] = {}
        # A tuple, for most spans have none: each list would be one more thing for the garbage collector to look at.
        self.events: tuple[tuple[int, str, Mapping[str, Any]], ...] = ()
        self.status: tuple[StatusCode, str | None] = _UNSET
        self.dropped_attributes = self.dropped_events = 0
        self._ended = ended
        self._context: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Return its ids, as others are to hang under it."""
        context = self._context
        if context is None:
            context = self._context = SpanContext(self.trace_id, self.span_id, False, _FLAGS[self.sampled])
        return context

    def is_recording(self) -> bool:
        """Whether it has not ended; also one that is not sampled may yet be kept."""
        return not self.end_ns

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self.end_ns:
            return
        self.attributes.update(attributes)
        while len(self.attributes) > ATTRIBUTES_MAX:
            self.attributes.popitem()
            self.dropped_attributes += 1

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        self.set_attributes({key: value})

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Note that something happened meanwhile."""
        if self.end_ns:
            return
        if len(self.events) >= EVENTS_MAX:
            self.dropped_events += 1
        else:
            self.events += ((timestamp or time.time_ns(), name, dict(attributes or {})),)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Ignore it: all links are known at the start."""

    def update_name(self, name: str) -> None:
        """Ignore it: names are what spans are counted by."""

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went; the last word counts."""
        if self.end_ns:
            return
        self.status = (status.status_code, status.description) if isinstance(status, Status) else (status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002 - the signature is OpenTelemetry's
    ) -> None:
        """Note an exception with its words; only whoever asks for that gets here."""
        kind = type(exception)
        facts = {"exception.type": f"{kind.__module__}.{kind.__qualname__}", "exception.message": str(exception)}
        self.add_event("exception", {**facts, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End it; what comes later is ignored."""
        if not self.end_ns:
            self.end_ns = end_time or time.time_ns()
            self._ended(self)

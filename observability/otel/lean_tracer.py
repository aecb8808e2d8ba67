"""Where spans come from: our own provider's lean ones, or those of a provider that the application has chosen."""

import itertools
import os
import random
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, TraceFlags

from parquedb.observability.otel.lean_span import LeanSpan, SpanTemplate
from parquedb.observability.otel.propagation import PACKED_BYTES, take_apart, unpacked
from parquedb.observability.otel.tail import KEPT, Tail

SCOPE = "parquedb"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that names are taken from."""

Decide = Callable[[Context | None, SpanContext | None, int, SpanTemplate], bool]
"""Whether a span is sampled: given the context, the parent in it, the trace id and the template."""

_LOWER_HALF: Final = (1 << 64) - 1
_NOTHING_ACTIVE: Final = Context()
_DRAWN_AT_ONCE: Final = 256
"""Ids drawn together, at a tenth of what each alone would cost."""


def as_the_parent(_: Context | None, above: SpanContext | None, _trace_id: int, _template: SpanTemplate) -> bool:
    """Sample what hangs under a sampled span, and what hangs under none."""
    return above is None or bool(above.trace_flags & TraceFlags.SAMPLED)


def always(_: Context | None, _above: SpanContext | None, _trace_id: int, _template: SpanTemplate) -> bool:
    """Sample everything."""
    return True


class Share:
    """Samples a share of all traces, as the SDK's `TraceIdRatioBased` does.

    Attributes:
        bound: Trace ids whose lower half is less than this are sampled.
        parental: Whether what hangs under another span is sampled if that is.
    """

    def __init__(self, bound: int, *, parental: bool) -> None:
        self.bound = bound
        self.parental = parental

    def __call__(self, _: Context | None, above: SpanContext | None, trace_id: int, _template: SpanTemplate) -> bool:
        """Decide; see `Decide`."""
        if self.parental and above is not None:
            return bool(above.trace_flags & TraceFlags.SAMPLED)
        return trace_id & _LOWER_HALF < self.bound


class SpanSource(Protocol):
    """Starts spans."""

    def begin(
        self, template: SpanTemplate, parent: Context, links: Sequence[bytes] = (), start_ns: int | None = None
    ) -> Span:
        """Start a span.

        Args:
            template: Its name, kind and first attributes.
            parent: Its active span is the one to hang under.
            links: Packed spans (`propagation`).
            start_ns: Nanoseconds since 1970; now by default.
        """


class TracerSpans:
    """Spans of any OpenTelemetry tracer."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        """Use a provider; the global one by default, looked up for each span until one is set."""
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=provider, schema_url=SCHEMA_URL)

    def begin(
        self, template: SpanTemplate, parent: Context, links: Sequence[bytes] = (), start_ns: int | None = None
    ) -> Span:
        """Start a span; see `SpanSource.begin`."""
        return self._tracer.start_span(
            template.name,
            parent,
            template.kind,
            attributes=template.attributes,
            links=[Link(unpacked(link)) for link in links],
            start_time=start_ns,
        )


class LeanSpans:
    """Spans that cost a few microseconds, for a provider whose processors we know.

    Attributes:
        bits: Draws so many random bits.
        decide: The sampler.
        finished: Takes every span that is to be sent, whole or in brief.
        tail: Says which of the others are kept nevertheless; None keeps none.
        series: What has been numbered, by number.
        ended: Takes every whole span that has ended, and judges it.
    """

    def __init__(
        self,
        finished: Callable[[Any], None],
        decide: Decide,
        tail: Tail | None = None,
        series: dict[int, Any] | None = None,
    ) -> None:
        """Make a source; see the attributes."""
        self.finished = finished
        self.decide = decide
        self.tail = tail
        self.series: dict[int, Any] = {} if series is None else series
        self._numbers = itertools.count()
        self.ended: Callable[[LeanSpan], None] = finished if tail is None else self._judge
        # Samplers that we know are asked only what they look at.
        self._share = decide if isinstance(decide, Share) else None
        self._always, self._all_roots = decide is always, decide in {always, as_the_parent}
        self._as_parent = self._all_roots or (self._share is not None and self._share.parental)
        self._seed()
        weak = weakref.WeakMethod(self._seed)

        def seed_again() -> None:
            if seed := weak():
                seed()

        os.register_at_fork(after_in_child=seed_again)

    def begin(
        self, template: SpanTemplate, parent: Context, links: Sequence[bytes] = (), start_ns: int | None = None
    ) -> Span:
        """Start a span; see `SpanSource.begin`."""
        above: SpanContext | None = trace.get_current_span(parent).get_span_context()
        if above is None or not above.is_valid:
            above, trace_id = None, self.bits(128) or 1
        else:
            trace_id = above.trace_id
        sampled = self.decide(parent, above, trace_id, template)
        span_id = self.bits(64) or 1
        if not sampled and self.tail is None:
            return NonRecordingSpan(SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.DEFAULT)))
        return LeanSpan(template, trace_id, span_id, above, links, sampled=sampled, start_ns=start_ns, ended=self.ended)

    def numbered(self, one: Any) -> int:
        """Give something that spans have in common a number, and return that."""
        number = next(self._numbers)  # In one step: several threads may be at it.
        self.series[number] = one
        return number

    def packed_root(self, template: SpanTemplate) -> bytes:
        """Return a new span without a parent, packed (`propagation`)."""
        try:
            span = self._drawn.pop()
        except IndexError:
            span = self._another()
        if self._all_roots:
            return span
        sampled = self.decide(_NOTHING_ACTIVE, None, int.from_bytes(span[:16], "big"), template)
        return span if sampled else span[:24] + b"\x00"

    def packed_child(self, above: bytes, template: SpanTemplate) -> bytes:
        """Return a new span under another one, both packed."""
        own_id = self._another()[16:24]
        if self._as_parent:
            sampled = self._always or bool(above[24] & TraceFlags.SAMPLED)
        elif self._share is not None:
            sampled = int.from_bytes(above[8:16], "big") < self._share.bound
        else:
            parent = unpacked(above)
            context = trace.set_span_in_context(NonRecordingSpan(parent), get_current())
            sampled = self.decide(context, parent, parent.trace_id, template)
        return above[:16] + own_id + (b"\x01" if sampled else b"\x00")

    def _judge(self, span: LeanSpan) -> None:
        tail = self.tail
        if tail is None:
            return
        why = tail.why_kept(span)
        if span.sampled:
            self.finished(span)
        elif why is not None:
            span.attributes[KEPT] = why
            self.finished(span)

    def _another(self) -> bytes:
        """Return a packed span with ids that nobody has; it is sampled."""
        while True:
            try:
                return self._drawn.pop()
            except IndexError:  # Asking first would not do: another thread may take the last one.
                self._draw()

    def _draw(self) -> None:
        drawn = np.ones((_DRAWN_AT_ONCE, PACKED_BYTES), np.uint8)
        ids = PACKED_BYTES - 1
        drawn[:, :ids] = np.frombuffer(self._random_bytes(_DRAWN_AT_ONCE * ids), np.uint8).reshape(-1, ids)
        self._drawn += take_apart(drawn.tobytes())

    def _seed(self) -> None:
        # A stream of our own: a program that seeds `random` would repeat ids in every process; the system's is slow.
        source = random.Random(os.urandom(32))  # noqa: S311 - ids need not be secret
        self.bits, self._random_bytes = source.getrandbits, source.randbytes
        self._drawn: list[bytes] = []

"""Where spans come from: our own provider's lean ones, or those of a provider that the application has chosen."""

import os
import random
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, TraceFlags

from parquedb.observability.otel.lean_span import LeanSpan, SpanTemplate
from parquedb.observability.otel.propagation import unpacked
from parquedb.observability.otel.tail import Tail

SCOPE = "parquedb"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that names are taken from."""

Decide = Callable[[Context | None, SpanContext | None, int, SpanTemplate], bool]
"""Whether a span is sampled: given the context, the parent in it, the trace id and the template."""


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
        finished: Takes every span that is to be sent.
    """

    def __init__(self, finished: Callable[[LeanSpan], None], decide: Decide, tail: Tail | None = None) -> None:
        """Make a source.

        Args:
            finished: Takes every span that is to be sent.
            decide: The sampler.
            tail: Says which of the others are kept nevertheless; None keeps none.
        """
        self.finished = finished
        self.decide = decide
        self._tail = tail
        self._ended = finished if tail is None else self._judge
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
        if not sampled and self._tail is None:
            return NonRecordingSpan(SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.DEFAULT)))
        return LeanSpan(
            template, trace_id, span_id, above, links, sampled=sampled, start_ns=start_ns, ended=self._ended
        )

    @property
    def judges(self) -> bool:
        """Whether spans that were left out have to be looked at when they end."""
        return self._tail is not None

    def _judge(self, span: LeanSpan) -> None:
        tail = self._tail
        if tail is None:
            return
        why = tail.why_kept(span)
        if span.sampled:
            self.finished(span)
        elif why is not None:
            span.attributes["parquedb.sampling.kept"] = why
            self.finished(span)

    def _seed(self) -> None:
        # A stream of our own: a program that seeds `random` would repeat ids in every process; the system's is slow.
        self.bits = random.Random(os.urandom(32)).getrandbits  # noqa: S311 - ids need not be secret

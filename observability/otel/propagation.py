"""Carrying a trace from one process to the next as one short string.

Source:
    W3C Trace Context, section 3.2 (`traceparent`). Vendor state (`tracestate`) does not travel.
"""

import re

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def current_traceparent() -> str | None:
    """Return the active span as a `traceparent`, or None when there is none. Cheap enough to call per operation."""
    if not get_current():
        return None
    span_context = trace.get_current_span().get_span_context()
    return traceparent_of(span_context) if span_context.is_valid else None


def traceparent_of(span_context: SpanContext) -> str:
    """Return a span as a `traceparent`, its sampling decision included."""
    return f"00-{span_context.trace_id:032x}-{span_context.span_id:016x}-{span_context.trace_flags:02x}"


def span_context_of(traceparent: str | None) -> SpanContext | None:
    """Parse a `traceparent`; None for anything that is not a valid one, for telemetry must not fail a call."""
    match = _FORM.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    # Later versions may add parts; `ff` is no version, and version 00 has exactly four.
    if version == "ff" or (rest and version == "00"):
        return None
    span_context = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return span_context if span_context.is_valid else None


def context_from(traceparent: str | None, base: Context | None = None) -> Context:
    """Return an OpenTelemetry context whose active span is the remote one.

    Args:
        traceparent: The remote span; None or an invalid one leaves `base` as it is.
        base: What else the context holds, such as baggage; empty by default.
    """
    base = Context() if base is None else base
    span_context = span_context_of(traceparent)
    return base if span_context is None else trace.set_span_in_context(NonRecordingSpan(span_context), base)

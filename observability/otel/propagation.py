"""Carrying a trace from one process to the next: as one short string, or packed where many travel together.

Packed, a span is 25 bytes: trace id (16), span id (8), flags (1). All zero stands for "no span".

Source:
    W3C Trace Context, section 3.2 (`traceparent`). Vendor state (`tracestate`) does not travel.
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, overload

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

PACKED_BYTES: Final = 25
"""Bytes of a packed span."""

NO_SPAN: Final = bytes(PACKED_BYTES)
"""Keeps the place of an operation without a span among others that have one."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def current_traceparent() -> str | None:
    """Return the active span as a `traceparent`, or None when there is none. Cheap enough to call per operation."""
    if not get_current():
        return None
    span_context = trace.get_current_span().get_span_context()
    return traceparent_of(span_context) if span_context.is_valid else None


def current_packed() -> bytes | None:
    """Return the active span in packed form, or None when there is none. Cheap enough to call per operation."""
    if not (context := get_current()):
        return None
    span = trace.get_current_span(context)
    known = getattr(span, "packed", None)  # Spans of ours that are told in brief have it.
    if type(known) is bytes:
        return known
    span_context = span.get_span_context()
    return packed(span_context) if span_context.is_valid else None


def packed(span_context: SpanContext) -> bytes:
    """Return a span in packed form, its sampling decision included."""
    ids = (span_context.trace_id << 64 | span_context.span_id).to_bytes(24, "big")
    return ids + bytes((span_context.trace_flags,))


def unpacked(span: bytes) -> SpanContext:
    """Return the remote span that 25 bytes stand for."""
    return SpanContext(int.from_bytes(span[:16], "big"), int.from_bytes(span[16:24], "big"), True, TraceFlags(span[24]))


class Traceparents(Sequence[str]):
    """The spans of many operations: to whoever looks a sequence of `traceparent` strings, inside packed.

    A call of a thousand traced writes carries a thousand spans, and most hooks look at none of them.

    Attributes:
        packed: The spans one behind the other, without the places of those that have none.
    """

    __slots__ = ("packed",)

    def __init__(self, packed_spans: bytes = b"") -> None:
        """Take packed spans; what is no whole number of them counts as none, for telemetry must not fail a call."""
        if len(packed_spans) % PACKED_BYTES:
            packed_spans = b""
        if NO_SPAN in packed_spans:
            packed_spans = b"".join(one for one in take_apart(packed_spans) if one != NO_SPAN)
        self.packed = packed_spans

    @classmethod
    def of(cls, traceparents: Sequence[str]) -> "Traceparents":
        """Pack strings; those that are not valid are left out."""
        if isinstance(traceparents, cls):
            return traceparents
        return cls(b"".join(packed(each) for one in traceparents if (each := span_context_of(one)) is not None))

    def leading(self) -> str | None:
        """Return `leading` of the spans, as text."""
        return text_of(leading(self.packed))

    def sampled(self, besides: str | None = None) -> list[bytes]:
        """Return the sampled spans but one, each once, packed, first ones first."""
        left_out = span_context_of(besides)
        each = dict.fromkeys(take_apart(self.packed))
        if left_out is not None:
            each.pop(packed(left_out), None)
        return [one for one in each if one[-1] & TraceFlags.SAMPLED]

    def __len__(self) -> int:
        return len(self.packed) // PACKED_BYTES

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        at = range(len(self))[index] * PACKED_BYTES
        return _text(self.packed[at : at + PACKED_BYTES])

    def __iter__(self) -> Iterator[str]:
        return map(_text, take_apart(self.packed))

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Traceparents | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def leading(spans: bytes) -> bytes | None:
    """Return of packed spans the first sampled one, or else the first; None when there are none.

    Work that several share belongs to one trace. Under an unsampled span it would vanish from all of them.
    """
    if not spans:
        return None
    first = spans[:PACKED_BYTES]
    if first[-1] & TraceFlags.SAMPLED:
        return first
    return next((one for one in take_apart(spans) if one[-1] & TraceFlags.SAMPLED), first)


def take_apart(spans: bytes) -> tuple[bytes, ...]:
    """Return packed spans, each for itself."""
    return _splitter(len(spans) // PACKED_BYTES)(spans)


@lru_cache(maxsize=256)
def _splitter(count: int) -> Callable[[bytes], tuple[Any, ...]]:
    """Return what takes so many packed spans apart: in one go, for a call may carry a thousand."""
    return struct.Struct(f"{PACKED_BYTES}s" * count).unpack


def text_of(span: bytes | None) -> str | None:
    """Return a packed span as a `traceparent`; None for none."""
    return None if span is None else _text(span)


def _text(span: bytes) -> str:
    digits = span.hex()
    return f"00-{digits[:32]}-{digits[32:48]}-{digits[48:]}"


def traceparent_of(span_context: SpanContext) -> str:
    """Return a span as a `traceparent`, its sampling decision included."""
    return f"00-{span_context.trace_id:032x}-{span_context.span_id:016x}-{span_context.trace_flags:02x}"


def is_sampled(traceparent: str | None) -> bool:
    """Whether this is a valid span, and a sampled one."""
    span_context = span_context_of(traceparent)
    return span_context is not None and span_context.trace_flags.sampled


@lru_cache(maxsize=256)  # The span of a call is asked for several times in a row.
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

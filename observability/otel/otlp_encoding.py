"""Lean spans as OTLP, straight to bytes: building the protobuf objects first takes ten times as long.

Source:
    opentelemetry-proto 1.x, `opentelemetry/proto/trace/v1/trace.proto` and `common/v1/common.proto`; a test reads what
    is made here with the published classes.
"""

import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from opentelemetry.trace import SpanKind, StatusCode

from parquedb.observability.otel.lean_span import LeanSpan, SpanTemplate

CHUNK_SPANS: Final = 32
"""Spans encoded before other threads get the interpreter: some hundred microseconds."""

KEPT_BYTES_MAX: Final = 2 << 20
"""Memory that is kept for the next request, bytes; a larger request gets its own."""

# A tag is the field's number times eight plus the wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
_KINDS: Final = {
    kind: bytes((6 << 3, code))
    for kind, code in (
        (SpanKind.INTERNAL, 1),
        (SpanKind.SERVER, 2),
        (SpanKind.CLIENT, 3),
        (SpanKind.PRODUCER, 4),
        (SpanKind.CONSUMER, 5),
    )
}
_IDS: Final = struct.Struct(">2sQQ2sQ").pack
_PARENT: Final = struct.Struct(">2sQ").pack
_TIMES: Final = struct.Struct("<BQBQ").pack
_EVENT_TIME: Final = struct.Struct("<BQ").pack
_DOUBLE: Final = struct.Struct("<Bd").pack
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
_FLAGS: Final = {
    remote: b"\x85\x01" + struct.pack("<I", _HAS_IS_REMOTE | (_IS_REMOTE if remote else 0)) for remote in (True, False)
}
_LINK_TRACE, _LINK_SPAN = 4, 22
"""Where the ids of a link begin."""

_LINK: Final = b"\x6a\x21\x0a\x10%b\x12\x08%b" % (bytes(16), bytes(8)) + struct.pack(
    "<BI", 0x35, _HAS_IS_REMOTE | _IS_REMOTE
)
LINK_BYTES: Final = len(_LINK)
"""Bytes of a link, as a field of a `Span`."""

_PACKED: Final = np.dtype([("trace", "V16"), ("span", "V8"), ("flags", "u1")])
_MORE: Final = 0x80
"""Set in each byte of a varint but the last."""

_UINT64: Final = (1 << 64) - 1
_keys: dict[str, bytes] = {}
_KEYS_MAX: Final = 1000
_often: dict[tuple[str, int], bytes] = {}
_OFTEN_BELOW: Final = 100
_OFTEN_MAX: Final = 5000


def envelope(resource: Mapping[str, Any], scope: str, version: str, schema_url: str) -> tuple[bytes, bytes]:
    """Return what stands in front of the spans: the encoded resource, and the scope with its schema.

    Args:
        resource: Attributes of this process.
        scope: Who makes the spans.
        version: Of the scope.
        schema_url: Names the version of the conventions.
    """
    described = sized(0x0A, b"".join(_attribute(0x0A, key, value) for key, value in resource.items()))
    named = sized(0x0A, sized(0x0A, scope.encode()) + sized(0x12, version.encode()))
    return described, named + sized(0x1A, schema_url.encode())


class Part(Protocol):
    """Some fields of `ScopeSpans` that are not written yet."""

    def __len__(self) -> int: ...

    def write(self, buffer: bytearray, begin: int) -> None:
        """Write them into a buffer that has room for them."""


class RequestEncoder:
    """Encodes one `ExportTraceServiceRequest` after another, all of one resource and scope, into the same memory.

    A large export is a megabyte. Fetched anew each time, its pages would cost several times what is written there.

    Args:
        around: See `envelope`.
    """

    def __init__(self, around: tuple[bytes, bytes]) -> None:
        self._resource, self._scope = around
        self._buffer = bytearray()

    def encode(self, spans: Sequence[LeanSpan], encoded: Iterable[bytes | Part] = ()) -> memoryview:
        """Return a request; it is good until the next one.

        Args:
            spans: Those that have ended.
            encoded: More spans, as fields of `ScopeSpans`.
        """
        parts: list[bytes | Part] = [self._scope, *encoded]
        for number, span in enumerate(spans, 1):
            parts.append(sized(0x12, encode_span(span)))
            if number % CHUNK_SPANS == 0:
                time.sleep(0)  # Whoever waits for the interpreter would get it only after 5 ms.
        size = sum(map(len, parts))
        scoped = b"\x12" + _varint(size)
        around = len(self._resource) + len(scoped) + size
        parts[:0] = [b"\x0a" + _varint(around), self._resource, scoped]
        size = around + len(parts[0])
        if size > KEPT_BYTES_MAX or size > len(self._buffer):
            buffer = bytearray(size)
            self._buffer = buffer if size <= KEPT_BYTES_MAX else self._buffer
        else:
            buffer = self._buffer
        begin = 0
        for part in parts:
            if isinstance(part, bytes):
                buffer[begin : begin + len(part)] = part
            else:
                part.write(buffer, begin)
            begin += len(part)
        return memoryview(buffer)[:size]


def encode_span(span: LeanSpan) -> bytes:
    """Return one span as a `Span` message."""
    template, trace_id, parent = span.template, span.trace_id, span.parent
    parts = [
        _IDS(b"\x0a\x10", trace_id >> 64, trace_id & _UINT64, b"\x12\x08", span.span_id),
        template.encoded or encoded_template(template),
        _TIMES(0x39, span.start_ns, 0x41, span.end_ns),
        _FLAGS[parent is not None and parent.is_remote],
    ]
    if parent is not None:
        parts.append(_PARENT(b"\x22\x08", parent.span_id))
    parts += _span_attributes(span.attributes)
    if span.links:
        parts.append(encode_links(span.links))
    parts += [_event(*event) for event in span.events]
    code, words = span.status
    if code is StatusCode.UNSET:
        parts.append(b"\x7a\x00")
    else:
        message = sized(0x12, words.encode("utf-8", "replace")) if words else b""
        parts.append(sized(0x7A, message + bytes((0x18, code.value))))
    for tag, count in ((0x50, span.dropped_attributes), (0x60, span.dropped_events)):
        if count:
            parts.append(bytes((tag,)) + _varint(count))
    return b"".join(parts)


def encode_links(links: Sequence[bytes]) -> bytes:
    """Return packed spans as links, all of them at once: there may be thousands."""
    if not links:
        return b""
    spans = np.frombuffer(b"".join(links), _PACKED)
    rows = bytearray(_LINK) * len(spans)
    for begin, ids in ((_LINK_TRACE, spans["trace"]), (_LINK_SPAN, spans["span"])):
        np.ndarray((len(spans),), ids.dtype, rows, begin, (LINK_BYTES,))[...] = ids
    return bytes(rows)


def encoded_template(template: SpanTemplate) -> bytes:
    """Return name, kind and common attributes as fields of a `Span`."""
    if template.encoded is not None:
        return template.encoded
    attributes = b"".join(_attribute(0x4A, key, value) for key, value in template.attributes.items())
    template.encoded = sized(0x2A, template.name.encode("utf-8", "replace")) + _KINDS[template.kind] + attributes
    return template.encoded


def _event(at_ns: int, name: str, attributes: Mapping[str, Any]) -> bytes:
    facts = b"".join(_attribute(0x1A, key, value) for key, value in attributes.items())
    return sized(0x5A, _EVENT_TIME(0x09, at_ns) + sized(0x12, name.encode("utf-8", "replace")) + facts)


def _span_attributes(attributes: Mapping[str, Any]) -> list[bytes]:
    parts = []
    for key, value in attributes.items():
        if type(value) is int and 0 <= value < _OFTEN_BELOW:
            # Counts are mostly the same few numbers.
            often = (key, value)
            encoded = _often.get(often)
            if encoded is None:
                encoded = _attribute(0x4A, key, value)
                if len(_often) < _OFTEN_MAX:
                    _often[often] = encoded
            parts.append(encoded)
        else:
            parts.append(_attribute(0x4A, key, value))
    return parts


def _attribute(tag: int, key: str, value: Any) -> bytes:
    encoded = _keys.get(key)
    if encoded is None:
        encoded = sized(0x0A, key.encode("utf-8", "replace"))
        if len(_keys) < _KEYS_MAX:
            _keys[key] = encoded
    return sized(tag, encoded + sized(0x12, _value(value)))


def _value(value: Any) -> bytes:
    kind = type(value)
    if kind is str:
        return sized(0x0A, value.encode("utf-8", "replace"))
    if kind is int:
        # What does not fit OTLP's 64 bits is told as text.
        fits = -(1 << 63) <= value < 1 << 63
        return b"\x18" + _varint(value & _UINT64) if fits else sized(0x0A, str(value).encode())
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is float:
        return _DOUBLE(0x21, value)
    if kind is list or kind is tuple:
        return sized(0x2A, b"".join(sized(0x0A, _value(each)) for each in value))
    return sized(0x0A, str(value).encode("utf-8", "replace"))


def integer_attribute(key: str, digits: bytes, *, boolean: bool = False) -> bytes:
    """Return an attribute of a `Span`; its value is a varint of these bytes, which stand at the end."""
    tag = b"\x10" if boolean else b"\x18"
    return sized(0x4A, sized(0x0A, key.encode("utf-8", "replace")) + sized(0x12, tag + digits))


def text_attribute(key: str, text: str) -> bytes:
    """Return an attribute of a `Span`."""
    return _attribute(0x4A, key, text)


def parent_flags(*, remote: bool) -> bytes:
    """Return the field of a `Span` that says whether its parent is in another process."""
    return _FLAGS[remote]


def sized(tag: int, content: bytes) -> bytes:
    """Return a field of bytes: tag, length, content."""
    size = len(content)
    return b"%c%c%b" % (tag, size, content) if size < _MORE else b"%c%b%b" % (tag, _varint(size), content)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number >= _MORE:
        digits.append(number & (_MORE - 1) | _MORE)
        number >>= 7
    digits.append(number)
    return bytes(digits)

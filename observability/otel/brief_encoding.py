"""Brief spans as OTLP, many at a time: spans of one kind are rows of equal length that differ in a few columns.

Source:
    As `otlp_encoding`. Rows are equally long because integers of one column take as many bytes as its largest: a varint
    may be longer than it need be ("Protocol Buffers, Encoding": parsers take up to ten bytes).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parquedb.observability.otel.brief_spans import BriefSpan, BriefSpans
from parquedb.observability.otel.otlp_encoding import (
    encoded_template,
    integer_attribute,
    parent_flags,
    sized,
)

_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_TIME_BYTES: Final = 8
_DIGIT_BITS: Final = 7
_MORE: Final = 0x80

_Bytes = NDArray[np.uint8]


class _Row(NamedTuple):
    """A span with holes.

    Attributes:
        row: It, zeros where something has to be filled in.
        trace: Where the trace id begins.
        span: Where the span id begins.
        parent: Where the parent's begins; 0 where there is none.
        start: Where the time begins.
        end: The same.
        numbers: Where the digits of each begin.
    """

    row: _Bytes
    trace: int
    span: int
    parent: int
    start: int
    end: int
    numbers: tuple[int, ...]


def encode_briefs(briefs: Sequence[BriefSpan], offset_ns: int) -> Iterator[bytes]:
    """Yield the spans as fields of `ScopeSpans`, in no particular order.

    Args:
        briefs: Those that have ended.
        offset_ns: See `brief_spans.clock_offset_ns`.
    """
    groups: dict[tuple[BriefSpans, bool | None], list[BriefSpan]] = {}
    for brief in briefs:
        parent = brief[2]
        groups.setdefault((brief[0], None if parent is None else parent.is_remote), []).append(brief)
    for (series, remote), alike in groups.items():
        yield _encode(series, remote, alike, offset_ns)


def _encode(series: BriefSpans, remote: bool | None, briefs: Sequence[BriefSpan], offset_ns: int) -> bytes:
    """Encode spans of one operation.

    Args:
        series: Theirs.
        remote: Whether their parents are in other processes; None where they have none.
        briefs: At least one.
        offset_ns: As above.
    """
    _, spans, parents, began_s, ended_s, numbers = zip(*briefs, strict=True)
    columns = [np.array(column, np.int64) for column in zip(*numbers, strict=True)]
    widths = tuple(_width(int(column.max())) for column in columns)
    at = _row(series, remote, widths)
    rows = np.repeat(at.row[None], len(briefs), 0)
    ids = np.frombuffer(b"".join(spans), np.uint8).reshape(len(briefs), -1)
    rows[:, at.trace : at.trace + _TRACE_BYTES] = ids[:, :_TRACE_BYTES]
    rows[:, at.span : at.span + _SPAN_BYTES] = ids[:, _TRACE_BYTES : _TRACE_BYTES + _SPAN_BYTES]
    if at.parent:
        above = np.array([parent.span_id for parent in parents], ">u8")
        rows[:, at.parent : at.parent + _SPAN_BYTES] = _as_bytes(above)
    for place, seconds in ((at.start, began_s), (at.end, ended_s)):
        times_ns = (np.array(seconds) * 1e9).astype("<i8") + offset_ns
        rows[:, place : place + _TIME_BYTES] = _as_bytes(times_ns)
    for place, width, column in zip(at.numbers, widths, columns, strict=True):
        _write_varints(rows[:, place : place + width], column)
    return rows.tobytes()


def _as_bytes(column: NDArray[Any]) -> _Bytes:
    return column.view(np.uint8).reshape(len(column), -1)


def _width(number: int) -> int:
    """Return how many bytes a varint takes."""
    return max(1, -(-number.bit_length() // _DIGIT_BITS))


def _write_varints(digits: _Bytes, numbers: NDArray[np.int64]) -> None:
    """Write numbers as varints that are as long as `digits` (rows x bytes) is wide."""
    last = digits.shape[1] - 1
    for place in range(last + 1):
        digits[:, place] = numbers >> (_DIGIT_BITS * place) & (_MORE - 1)
    digits[:, :last] |= _MORE


def _row(series: BriefSpans, remote: bool | None, widths: tuple[int, ...]) -> _Row:
    key = (remote, widths)
    row: _Row | None = series.rows.get(key)
    if row is None:
        row = series.rows[key] = _make_row(series, remote, widths)
    return row


def _make_row(series: BriefSpans, remote: bool | None, widths: tuple[int, ...]) -> _Row:
    message = bytearray(b"\x0a\x10")
    trace = _hole(message, _TRACE_BYTES)
    message += b"\x12\x08"
    span = _hole(message, _SPAN_BYTES)
    parent = 0
    if remote is not None:
        message += b"\x22\x08"
        parent = _hole(message, _SPAN_BYTES)
    message += encoded_template(series.template) + parent_flags(remote=bool(remote)) + b"\x7a\x00\x39"
    start = _hole(message, _TIME_BYTES)
    message += b"\x41"
    end = _hole(message, _TIME_BYTES)
    numbers = []
    for name, width in zip(series.names, widths, strict=True):
        message += integer_attribute(name, bytes(width))
        numbers.append(len(message) - width)
    field = sized(0x12, bytes(message))
    moved = len(field) - len(message)
    row = np.frombuffer(field, np.uint8)
    places = tuple(moved + each for each in numbers)
    return _Row(row, trace + moved, span + moved, parent and parent + moved, start + moved, end + moved, places)


def _hole(message: bytearray, size: int) -> int:
    place = len(message)
    message += bytes(size)
    return place

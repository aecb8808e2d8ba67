"""Brief spans as OTLP, many at a time: spans of one kind are rows of equal length that differ in a few columns.

What is of different length, links and texts, is put behind the row of its span.

Source:
    As `otlp_encoding`. Rows are equally long because integers of one column take as many bytes as its largest: a varint
    may be longer than it need be ("Protocol Buffers, Encoding": parsers take up to ten bytes).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parquedb.observability.brief import UNKNOWN
from parquedb.observability.otel.brief_spans import REMOTE, BriefSpan, BriefSpans, links_of
from parquedb.observability.otel.otlp_encoding import (
    encode_links,
    encoded_template,
    integer_attribute,
    parent_flags,
    sized,
    text_attribute,
)
from parquedb.observability.otel.vocabulary import BOOLEANS

_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_TIME_BYTES: Final = 8
_DIGIT_BITS: Final = 7
_MORE: Final = 0x80
_SPAN: Final = 0x12
"""The tag of a span in `ScopeSpans`."""

_LEFT_OUT: Final = 0
"""The width of a number that is not known."""

_Bytes = NDArray[np.uint8]


class _Row(NamedTuple):
    """A span with holes.

    Attributes:
        row: It, zeros where something has to be filled in.
        head: Bytes of its tag and length, in front of the span itself.
        trace: Where the trace id begins.
        span: Where the span id begins.
        parent: Where the parent's begins; 0 where there is none.
        start: Where the time begins.
        end: The same.
        numbers: Where the digits of each begin.
    """

    row: _Bytes
    head: int
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
    groups: dict[BriefSpans, list[BriefSpan]] = {}
    for brief in briefs:
        groups.setdefault(brief[0], []).append(brief)
    for series, mine in groups.items():
        records = np.frombuffer(b"".join([record for _, record, _, _ in mine]), series.layout)
        for places, alike in _alike(records):
            rows, at = _encode(series, alike, offset_ns)
            if series.words or series.may_have_links:
                yield from _with_more(rows, at, [mine[place] for place in places.tolist()])
            else:
                yield rows.tobytes()


def _alike(records: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield the records whose rows are alike, with their places: same kind of parent, same numbers known."""
    what = records["parent"][:, -1].astype(np.int64)
    for column in (records["numbers"] == UNKNOWN).T:
        what = what << 1 | column
    first = what[0]
    if (what == first).all():
        yield np.arange(len(records)), records
        return
    for each in np.unique(what):
        [places] = np.nonzero(what == each)
        yield places, records[places]


def _encode(series: BriefSpans, records: NDArray[Any], offset_ns: int) -> tuple[_Bytes, _Row]:
    """Encode spans that are alike, without what is of different length.

    Args:
        series: Theirs.
        records: At least one.
        offset_ns: As above.
    """
    parent = int(records["parent"][0, -1])
    columns = records["numbers"].T
    widths = tuple(_LEFT_OUT if column[0] == UNKNOWN else _width(int(column.max())) for column in columns)
    at = _row(series, parent, widths)
    rows = np.repeat(at.row[None], len(records), 0)
    ids = records["span"]
    rows[:, at.trace : at.trace + _TRACE_BYTES] = ids[:, :_TRACE_BYTES]
    rows[:, at.span : at.span + _SPAN_BYTES] = ids[:, _TRACE_BYTES : _TRACE_BYTES + _SPAN_BYTES]
    if at.parent:
        rows[:, at.parent : at.parent + _SPAN_BYTES] = records["parent"][:, :_SPAN_BYTES]
    for place, name in ((at.start, "began_s"), (at.end, "ended_s")):
        times_ns = (records[name] * 1e9).astype("<i8") + offset_ns
        rows[:, place : place + _TIME_BYTES] = _as_bytes(times_ns)
    for place, width, column in zip(at.numbers, widths, columns, strict=True):
        if width:
            _write_varints(rows[:, place : place + width], column)
    return rows, at


def _with_more(rows: _Bytes, at: _Row, briefs: Sequence[BriefSpan]) -> Iterator[bytes]:
    """Yield rows with the links and the texts of their spans."""
    spans = rows[:, at.head :].tobytes()
    size = rows.shape[1] - at.head
    for number, (series, record, callers, words) in enumerate(briefs):
        more = [spans[number * size : (number + 1) * size]]
        links = links_of(callers, record[:25], record[25:34])
        if links:
            more.append(encode_links(links))
        more += [text_attribute(name, word) for name, word in zip(series.words, words, strict=True) if word is not None]
        yield sized(_SPAN, b"".join(more))


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


def _row(series: BriefSpans, parent: int, widths: tuple[int, ...]) -> _Row:
    key = (parent, widths)
    row: _Row | None = series.rows.get(key)
    if row is None:
        row = series.rows[key] = _make_row(series, parent, widths)
    return row


def _make_row(series: BriefSpans, parent_kind: int, widths: tuple[int, ...]) -> _Row:
    message = bytearray(b"\x0a\x10")
    trace = _hole(message, _TRACE_BYTES)
    message += b"\x12\x08"
    span = _hole(message, _SPAN_BYTES)
    parent = 0
    if parent_kind:
        message += b"\x22\x08"
        parent = _hole(message, _SPAN_BYTES)
    message += encoded_template(series.template) + parent_flags(remote=parent_kind == REMOTE[0]) + b"\x7a\x00\x39"
    start = _hole(message, _TIME_BYTES)
    message += b"\x41"
    end = _hole(message, _TIME_BYTES)
    numbers = []
    for name, width in zip(series.names, widths, strict=True):
        if width:
            message += integer_attribute(name, bytes(width), boolean=name in BOOLEANS)
        numbers.append(len(message) - width)
    field = sized(_SPAN, bytes(message))
    head = len(field) - len(message)
    row = np.frombuffer(field, np.uint8)
    places = tuple(head + each for each in numbers)
    return _Row(row, head, trace + head, span + head, parent and parent + head, start + head, end + head, places)


def _hole(message: bytearray, size: int) -> int:
    place = len(message)
    message += bytes(size)
    return place

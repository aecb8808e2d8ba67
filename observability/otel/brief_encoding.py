"""Brief spans as OTLP, many at a time: spans of one kind are rows of equal length that differ in a few columns.

What is of different length, links and texts, is put behind the row of its span.

Source:
    As `otlp_encoding`. Rows are equally long because integers of one column take as many bytes as its largest: a varint
    may be longer than it need be ("Protocol Buffers, Encoding": parsers take up to ten bytes).
"""

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parquedb.observability.brief import UNKNOWN
from parquedb.observability.otel.brief_spans import RECORD, REMOTE, BriefSpan, BriefSpans, Known, Series, links_of
from parquedb.observability.otel.lean_span import LeanSpan
from parquedb.observability.otel.otlp_encoding import (
    LINK_BYTES,
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

_CHUNK_SPANS: Final = 128
"""Spans with links that are put together before other threads get the interpreter: some hundred microseconds."""

_LEFT_OUT: Final = 0
"""The width of a number that is not known."""

_SPAN_FIELD = slice(2, 27)
_PARENT_FIELD = slice(27, 36)
"""Where span and parent stand in a record."""

_Records = NDArray[Any]
_Linked = tuple[bytes, bytes, Sequence[str | None]]


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
        widths: How many bytes each takes.
    """

    row: bytes
    head: int
    trace: int
    span: int
    parent: int
    start: int
    end: int
    numbers: tuple[int, ...]
    widths: tuple[int, ...]


class Rows:
    """Spans that are alike, as fields of `ScopeSpans`, ready to be written where they are to stand.

    Args:
        at: What they have in common.
        records: What they differ in; at least one.
        offset_ns: See `encode_briefs`.
    """

    def __init__(self, at: _Row, records: _Records, offset_ns: int) -> None:
        self._at = at
        self._records = records
        self._offset_ns = offset_ns

    @property
    def head(self) -> int:
        """Bytes in front of the span itself in each of them."""
        return self._at.head

    def __len__(self) -> int:
        return len(self._at.row) * len(self._records)

    def write(self, buffer: bytearray, begin: int) -> None:
        """Write them into a buffer that has room for them."""
        at, records, size = self._at, self._records, len(self._at.row)
        first = bytearray(at.row)
        columns: list[tuple[int, str, Any]] = [
            (at.trace, f"V{_TRACE_BYTES}", records["trace"]),
            (at.span, f"V{_SPAN_BYTES}", records["span"]),
            (at.start, "<i8", (records["began_s"] * 1e9).astype("<i8") + self._offset_ns),
            (at.end, "<i8", (records["ended_s"] * 1e9).astype("<i8") + self._offset_ns),
        ]
        if at.parent:
            columns.append((at.parent, f"V{_SPAN_BYTES}", records["parent"]))
        for place, width, numbers in zip(at.numbers, at.widths, records["numbers"].T, strict=False):
            # Most numbers are the same for all.
            if width and (numbers == numbers[0]).all():
                first[place : place + width] = _varint(int(numbers[0]), width)
            elif width:
                columns += [(place + digit, "u1", _digits(numbers, digit, width)) for digit in range(width)]
        rows = np.ndarray((len(records), size), np.uint8, buffer, begin)
        rows[...] = np.frombuffer(first, np.uint8)
        for place, kind, values in columns:
            np.ndarray((len(records),), kind, buffer, begin + place, (size,))[...] = values


def encode_briefs(spans: Sequence[LeanSpan | BriefSpan], series: Series, offset_ns: int) -> Iterator[bytes | Rows]:
    """Yield the brief ones among spans as fields of `ScopeSpans`, in no particular order.

    Args:
        spans: All have ended.
        series: What their records are of.
        offset_ns: See `brief_spans.clock_offset_ns`.
    """
    records = [span for span in spans if type(span) is bytes]
    for kind, _, alike in _alike(records, series):
        yield _rows(kind, alike, offset_ns)
    if len(records) == len(spans):
        return
    more, known = [span for span in spans if type(span) is tuple], Known()
    for kind, places, alike in _alike([record for record, _, _ in more], series):
        yield from _with_more(kind, _rows(kind, alike, offset_ns), [more[place] for place in places.tolist()], known)


def _alike(records: Sequence[bytes], series: Series) -> Iterator[tuple[BriefSpans, NDArray[Any], _Records]]:
    """Yield records whose rows are alike, with what they are of and their places among all.

    They are of one series, with the same kind of parent, and the same numbers are known.
    """
    if not records:
        return
    table = np.frombuffer(b"".join(records), RECORD)
    [unknown] = np.packbits(table["numbers"] == UNKNOWN, axis=1).T
    what = (table["series"].astype(np.uint32) << 8 | table["place"]) << 8 | unknown
    if (what == what[0]).all():
        yield series[int(table["series"][0])], np.arange(len(table)), table
        return
    for each in np.unique(what):
        [places] = np.nonzero(what == each)
        yield series[int(each) >> 16], places, table[places]


def _rows(series: BriefSpans, records: _Records, offset_ns: int) -> Rows:
    columns = records["numbers"].T[: len(series.names)]
    widths = tuple(_LEFT_OUT if column[0] == UNKNOWN else _width(int(column.max())) for column in columns)
    key = (int(records["place"][0]), widths)
    at: _Row | None = series.rows.get(key)
    if at is None:
        at = series.rows[key] = _make_row(series, *key)
    return Rows(at, records, offset_ns)


def _with_more(series: BriefSpans, rows: Rows, briefs: Sequence[_Linked], known: Known) -> Iterator[bytes]:
    """Yield rows with the links and the texts of their spans."""
    written = bytearray(len(rows))
    rows.write(written, 0)
    size, head = len(written) // len(briefs), rows.head
    links = [links_of(callers, record[_SPAN_FIELD], record[_PARENT_FIELD], known) for record, callers, _ in briefs]
    encoded, done = encode_links(list(chain.from_iterable(links))), 0
    for number, (_, _, words) in enumerate(briefs):
        if number % _CHUNK_SPANS == _CHUNK_SPANS - 1:
            time.sleep(0)  # As in `RequestEncoder.encode`.
        more: list[bytes | bytearray] = [written[number * size + head : (number + 1) * size]]
        if links[number]:
            before, done = done, done + len(links[number]) * LINK_BYTES
            more.append(encoded[before:done])
        more += [text_attribute(name, word) for name, word in zip(series.words, words, strict=True) if word is not None]
        yield sized(_SPAN, b"".join(more))


def _width(number: int) -> int:
    """Return how many bytes a varint takes."""
    return max(1, -(-number.bit_length() // _DIGIT_BITS))


def _digits(numbers: Any, digit: int, width: int) -> Any:
    """Return one byte of numbers as varints that are so long; `numbers` is an integer or an array of them."""
    more = _MORE if digit < width - 1 else 0
    return numbers >> (_DIGIT_BITS * digit) & (_MORE - 1) | more


def _varint(number: int, width: int) -> bytes:
    return bytes(_digits(number, digit, width) for digit in range(width))


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
    places = tuple(head + each for each in numbers)
    return _Row(
        field, head, trace + head, span + head, parent and parent + head, start + head, end + head, places, widths
    )


def _hole(message: bytearray, size: int) -> int:
    place = len(message)
    message += bytes(size)
    return place

"""Spans in brief: ids when one begins, one record when it ends, nothing in between.

A thousand coroutines that each create a document make a thousand spans for one call to the owner, which makes three.
Those that end well differ in ids, times and a few numbers only, so that is all that is kept of them until they are
encoded, many at a time (`brief_encoding`). One that fails, or has to be sent again, becomes a span like any other.

A record is plain bytes, which the garbage collector need not look at, and all records are equally long, so that those
of an export become one array whatever they are of. What a record is of, it says by a number.
"""

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace import SpanContext, TraceFlags

from parquedb.observability.brief import UNKNOWN, Kind
from parquedb.observability.otel.lean_span import LeanSpan
from parquedb.observability.otel.lean_tracer import LeanSpans
from parquedb.observability.otel.propagation import PACKED_BYTES, packed, take_apart
from parquedb.observability.otel.tail import KEPT
from parquedb.observability.otel.vocabulary import BOOLEANS, LINKS_MAX, attribute_of, template_of
from parquedb.observability.otel.work_span import WorkSpan

NO_PARENT: Final = bytes(9)
"""In the place of a parent: its span id, and one of these."""

LOCAL: Final = b"\x01"
REMOTE: Final = b"\x02"
"""Whether the parent is a span of this process."""

_PLACES: Final = {False: LOCAL, True: REMOTE}
_NO_WORDS: Final[tuple[str | None, ...]] = ()

NUMBERS_MAX: Final = 8
"""Numbers that a record has room for."""

RECORD: Final = np.dtype([
    ("series", "<u2"), ("trace", "V16"), ("span", "V8"), ("sampled", "u1"), ("parent", "V8"), ("place", "u1"),
    ("began_s", "<f8"), ("ended_s", "<f8"), ("numbers", "<i8", (NUMBERS_MAX,)),
])  # fmt: skip
"""A record: the number of its series, its ids, its parent, monotonic seconds, and what there is to tell."""

BriefSpan = bytes | tuple[bytes, bytes, Sequence[str | None]]
"""What is kept of a span: its record; with it, where there may be some, the spans it is linked to and its words."""


class WholeSpans(Protocol):
    """Spans that are under way, each for its subject."""

    def adopt(self, subject: object, span: LeanSpan) -> None:
        """Make a span the active one until it ends."""

    def finish(self, subject: object, result: object) -> None:
        """End it with what its operation came to."""

    def fail(self, subject: object, error: BaseException) -> None:
        """End it with why its operation failed."""


class BriefSpans:
    """The spans of one kind of operation.

    Attributes:
        kind: Theirs.
        template: Name, span kind and attributes that are always the same.
        names: The attributes that differ, all of them integers or booleans.
        words: The attributes that differ and are texts.
        rows: Room for whoever encodes them.
        told: Callbacks that the spans stand for (count).
    """

    __slots__ = (
        "_finished",
        "_has_more",
        "_is_plain",
        "_number",
        "_pack",
        "_source",
        "_tail",
        "_unpack",
        "_wholes",
        "kind",
        "names",
        "rows",
        "template",
        "told",
        "words",
    )  # fmt: skip

    def __init__(self, kind: Kind, source: LeanSpans, wholes: WholeSpans) -> None:
        """Make spans of a source.

        Args:
            kind: See above.
            source: Draws ids, decides about sampling, and takes each `BriefSpan` that is to be sent.
            wholes: Takes those that have to be whole.
        """
        self.kind = kind
        self.template = template_of(kind)
        self.names = tuple(attribute_of(kind.group, name) for name in kind.names)
        self.words = tuple(attribute_of(kind.group, name) for name in kind.words)
        self.rows: dict[Any, Any] = {}
        self.told = 0
        count = len(kind.names)
        record = struct.Struct(f"<H{PACKED_BYTES}s{len(NO_PARENT)}sdd{count}q{(NUMBERS_MAX - count) * 8}x")
        self._pack, self._unpack = record.pack, record.unpack
        # For several callers, or with a key.
        self._has_more = kind.side == "actor" or bool(kind.words)
        self._number = source.numbered(self)
        self._source = source
        self._tail = source.tail
        self._is_plain = self._tail is None and not self._has_more
        self._finished: Callable[[Any], None] = source.finished
        self._wholes = wholes

    def begin(self) -> tuple[bytes, bytes]:
        """Begin one under the active span; return it, packed (`propagation`), and its parent."""
        context = get_current()
        if context:
            active = trace.get_current_span(context)
            if type(active) is WorkSpan:
                above = active.packed
                return self._source.packed_child(above, self.template), above[16:24] + LOCAL
            found = active.get_span_context()
            if found.is_valid:
                above = packed(found)
                return self._source.packed_child(above, self.template), above[16:24] + _PLACES[found.is_remote]
        return self._source.packed_root(self.template), NO_PARENT

    def end(self, span: bytes, parent: bytes, began_s: float, ended_s: float, numbers: Sequence[int]) -> None:
        """End one that went well.

        Args:
            span: What `begin` returned.
            parent: The same.
            began_s: Monotonic seconds.
            ended_s: The same.
            numbers: One for each of `names`; from 0 up and below 2**63, or `UNKNOWN`.
        """
        if self._is_plain and span[24]:
            # As `finished` would, at half the cost: of these there may be thousands in one turn of an event loop.
            self.told += 2
            self._finished(self._pack(self._number, span, parent, began_s, ended_s, *numbers))
        else:
            self.finished(span, parent, began_s, b"", ended_s, numbers, _NO_WORDS)

    def open(self, subject: object, span: bytes, parent: bytes, began_s: float) -> None:
        """Make one whole and active; see `parquedb.observability.brief`."""
        self._wholes.adopt(subject, self.opened(span, parent, began_s))

    def finish(self, subject: object, result: object) -> None:
        """End one that is whole."""
        self.told += 2
        self._wholes.finish(subject, result)

    def fail(self, subject: object, error: BaseException) -> None:
        """End one that is whole, badly."""
        self.told += 2
        self._wholes.fail(subject, error)

    def start(self, began_s: float, above: bytes | None, callers: bytes) -> WorkSpan:
        """Start one that is active until it ends; see `parquedb.observability.brief.Works`."""
        if above is not None:
            span, parent = self._source.packed_child(above, self.template), above[16:24] + REMOTE
        elif self.kind.group == "commit":
            # The task that commits was started by some earlier, unrelated call: what is active there means nothing.
            span, parent = self._source.packed_root(self.template), NO_PARENT
        else:
            span, parent = self.begin()
        return WorkSpan(self, span, parent, began_s, callers)

    def finished(  # noqa: PLR0913, PLR0917 - one span
        self,
        span: bytes,
        parent: bytes,
        began_s: float,
        callers: bytes,
        ended_s: float,
        numbers: Sequence[int],
        words: Sequence[str | None],
    ) -> None:
        """Take one that has ended well and in brief, whatever is known of it."""
        self.told += 2
        why = None if self._tail is None else self._judged(span, ended_s - began_s)
        # Nothing is put together for one that is not sent.
        if why is None and not span[24]:
            return
        record = self._pack(self._number, span, parent, began_s, ended_s, *numbers)
        brief: BriefSpan = (record, callers, words) if self._has_more else record
        if why is None:
            self._finished(brief)
        else:
            kept = self.whole(brief, clock_offset_ns())
            kept.attributes[KEPT] = why
            self._finished(kept)

    def opened(self, span: bytes, parent: bytes, began_s: float, callers: bytes = b"") -> LeanSpan:
        """Return one as a whole span that has not ended."""
        ended = self._source.ended if span[24] or self._tail is not None else _nowhere
        return self._whole(span, parent, int(began_s * 1e9) + clock_offset_ns(), callers, ended)

    def whole(self, brief: BriefSpan, offset_ns: int) -> LeanSpan:
        """Return one that has ended as a whole span; for `offset_ns` see `clock_offset_ns`."""
        record, callers, words = (brief, b"", _NO_WORDS) if isinstance(brief, bytes) else brief
        _, span, parent, began_s, ended_s, *numbers = self._unpack(record)
        made = self._whole(span, parent, int(began_s * 1e9) + offset_ns, callers, _nowhere)
        made.set_attributes(self.attributes(numbers, words))
        made.end(int(ended_s * 1e9) + offset_ns)
        return made

    def attributes(self, numbers: Sequence[int], words: Sequence[str | None]) -> dict[str, Any]:
        """Return what is known of one as attributes; the last ones may be missing."""
        told: dict[str, Any] = {
            name: bool(number) if name in BOOLEANS else number
            for name, number in zip(self.names, numbers, strict=False)
            if number != UNKNOWN
        }
        told.update((name, word) for name, word in zip(self.words, words, strict=False) if word is not None)
        return told

    def _whole(
        self, span: bytes, parent: bytes, start_ns: int, callers: bytes, ended: Callable[[LeanSpan], None]
    ) -> LeanSpan:
        trace_id, span_id = int.from_bytes(span[:16], "big"), int.from_bytes(span[16:24], "big")
        above = None
        if parent != NO_PARENT:
            # Whether it was sampled is not kept, and nobody asks.
            parent_id, flags = int.from_bytes(parent[:8], "big"), TraceFlags(span[24])
            above = SpanContext(trace_id, parent_id, parent[8:] == REMOTE, flags)
        links = links_of(callers, span, parent)
        sampled = bool(span[24])
        return LeanSpan(self.template, trace_id, span_id, above, links, sampled=sampled, start_ns=start_ns, ended=ended)

    def _judged(self, span: bytes, took_s: float) -> str | None:
        """Return why one is kept although it was sampled out; None for all others."""
        tail = self._tail
        return None if tail is None else tail.judged(self.template.name, took_s, sampled=bool(span[24]))


Series = Mapping[int, BriefSpans]
"""What records are of, by number."""


Known = dict[bytes, tuple[bytes, ...]]
"""The sampled ones of packed spans, each once; a call and its commit are for the same callers."""


def links_of(callers: bytes, span: bytes, parent: bytes, known: Known | None = None) -> Sequence[bytes]:
    """Return of packed spans those that a span is linked to: the sampled ones but its parent, each once."""
    if not callers:
        return ()
    known = {} if known is None else known
    each = known.get(callers)
    if each is None:
        each = known[callers] = tuple(dict.fromkeys(take_apart(callers)))
        # As nearly always; looking at each for itself would take four times as long.
        if callers[PACKED_BYTES - 1 :: PACKED_BYTES].count(TraceFlags.SAMPLED) * PACKED_BYTES != len(callers):
            each = known[callers] = tuple(one for one in each if one[24] & TraceFlags.SAMPLED)
    above = span[:16] + parent[:8]
    if above in callers:
        place = next((place for place, one in enumerate(each) if one.startswith(above)), len(each))
        each = each[:place] + each[place + 1 :]
    return each[:LINKS_MAX]


def clock_offset_ns() -> int:
    """Return what turns monotonic nanoseconds into nanoseconds since 1970."""
    return time.time_ns() - time.monotonic_ns()


def whole(brief: BriefSpan, series: Series, offset_ns: int) -> LeanSpan:
    """Return a brief span as a whole one that has ended.

    Args:
        brief: It.
        series: By number, those of its source.
        offset_ns: See `clock_offset_ns`.
    """
    record = brief if isinstance(brief, bytes) else brief[0]
    return series[int.from_bytes(record[:2], "little")].whole(brief, offset_ns)


def _nowhere(_: LeanSpan) -> None:
    """It has been queued already, or is not sampled."""

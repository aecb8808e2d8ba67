"""What a write entry's body says: which documents changed to what, and which requests that settled.

An event holds the whole document after the change, so that replay needs nothing but the log.
Wire form of a body: `[[event...], [request record...]]` in `parquedb.documents.codec` msgpack, where an event is
`[action, id, document | nil]` and a request record is `[request, kind, first event, events, value]`. In the place of an
event may stand `["n", prefix, [id...], created at, [size...], bytes, request]`, which is as many events, and as many
request records, as it has ids: creates whose documents are as their callers encoded them (see `Created`). Nor is
`["w", [id...], [document...], [number...] | nil, request]` one event, but updates of one session (see `Updated`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import accumulate
from operator import attrgetter
from typing import Any, ClassVar, Final

import msgspec

from parquedb.documents.budget import size_of
from parquedb.documents.codec import decode, encode, encode_plain, is_plain
from parquedb.errors import CorruptionError, NewerFormatError

_CREATED, _UPDATED = "n", "w"
_ARRAY_32: Final = b"\xdd"

UNANSWERED: Final = "none"
"""Kind of a request whose answer was None although it changed something: an upsert asked for what was before."""


class Action(StrEnum):
    """What happened to a document."""

    CREATE = "c"
    UPDATE = "u"
    REPLACE = "r"
    DELETE = "d"
    RESTORE = "s"
    REMOVE = "x"
    """A hard delete: the only action whose event carries no document."""
    SCHEMA = "m"
    """A schema was registered: in the place of the document stands its version, in that of the id nothing."""


_ACTIONS: Final = frozenset(action.value for action in Action)


@dataclass(slots=True)
class Event:
    """One change of one document; its seq is the entry's first seq plus its place in the body.

    Attributes:
        action: What happened.
        id: The bare document id.
        document: The whole document afterwards; None after REMOVE.
        encoded: The document as `documents.codec` writes it, where whoever decided the change has written it already.
    """

    action: str
    id: str
    document: dict[str, Any] | None
    encoded: bytes | None = field(default=None, repr=False, compare=False)


@dataclass(slots=True)
class Created:
    """Creates in one go of documents that stay encoded until somebody wants to see them.

    Attributes:
        prefix: `<namespace>/`, in front of each id.
        ids: The bare document ids.
        at: `createdAt` of all of them.
        sizes: Bytes of each document.
        encoded: The documents as given, without what the database sets, one behind the other.
        request: `[session, seq, low, born]` of the first; the others' numbers follow it.
    """

    kind: ClassVar[str] = "create"

    prefix: str
    ids: list[str]
    at: datetime
    sizes: list[int]
    encoded: bytes
    request: list[Any]
    _ends: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._ends = list(accumulate(self.sizes))
        if len(self.ids) != len(self.sizes) or (self._ends[-1] if self._ends else 0) != len(self.encoded):
            raise ValueError("ids, sizes and bytes of created documents do not fit together")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def numbers(self) -> Sequence[int]:
        """Numbers of their requests, counted from the first one's: none was refused."""
        return range(len(self.ids))

    @property
    def bytes(self) -> int:
        """Bytes of the documents."""
        return len(self.encoded)

    def document(self, at: int) -> dict[str, Any]:
        """Return one of the documents whole, by its place."""
        end = self._ends[at]
        body = decode(memoryview(self.encoded)[end - self.sizes[at] : end])
        return {
            "$id": self.prefix + self.ids[at],
            **body,
            "version": 1,
            "createdAt": self.at,
            "updatedAt": self.at,
        }

    def documents(self) -> list[dict[str, Any]]:
        """Return all the documents whole, at a third of what it costs to ask for each."""
        # Values that follow each other are an array once its head stands in front of them.
        bodies = decode(_ARRAY_32 + len(self.ids).to_bytes(4, "big") + self.encoded)
        prefix, at = self.prefix, self.at
        return [
            {"$id": prefix + id_, **body, "version": 1, "createdAt": at, "updatedAt": at}
            for id_, body in zip(self.ids, bodies, strict=True)
        ]

    def events(self) -> Iterator["Event"]:
        """Yield what happened, one document after the other."""
        documents = self.documents()
        return (Event(Action.CREATE.value, id_, document) for id_, document in zip(self.ids, documents, strict=True))

    def records(self, first_event: int) -> Iterator["RequestRecord"]:
        """Yield one record for each request; `first_event` is the index of the first one's event."""
        session, seq, low, born = self.request
        return (RequestRecord([session, seq + at, low, born], "create", first_event + at, 1) for at in range(len(self)))


@dataclass(slots=True)
class Updated:
    """Updates of one session, decided in one go; a document may be in it several times.

    Attributes:
        ids: The bare document ids.
        documents: The whole documents afterwards.
        numbers: Of their requests, ascending, counted from that of `request`.
        request: `[session, seq, low, born]` of the first update that was asked for, whether or not it is among these.
        encoded: The documents as `documents.codec` writes them, where they have just been written.
    """

    kind: ClassVar[str] = "update"

    ids: list[str]
    documents: list[dict[str, Any]]
    numbers: Sequence[int]
    request: list[Any]
    encoded: list[bytes] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bytes(self) -> int:
        """Bytes of the documents, estimated where they are not encoded."""
        return sum(map(len, self.encoded)) if self.encoded is not None else sum(map(size_of, self.documents))

    def document(self, at: int) -> dict[str, Any]:
        """Return one of the documents, by its place."""
        return self.documents[at]

    def to_wire(self) -> tuple[Any, ...]:
        """Return what stands in the body; the documents are encoded already."""
        encoded = list(map(msgspec.Raw, self.encoded or ()))
        # Usually none was refused.
        numbers = None if self.numbers[-1] + 1 == len(self.numbers) else list(self.numbers)
        return (_UPDATED, self.ids, encoded, numbers, self.request)

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> "Updated":
        """Rebuild it; raises `ValueError` or `TypeError` for what is none."""
        _, ids, documents, numbers, request = wire
        numbers = range(len(ids)) if numbers is None else numbers
        if not len(ids) == len(documents) == len(numbers):
            raise ValueError("ids, documents and requests of updates do not fit together")
        return cls(ids, documents, numbers, request)

    def events(self) -> Iterator["Event"]:
        """Yield what happened, one document after the other."""
        return (
            Event(Action.UPDATE.value, id_, document) for id_, document in zip(self.ids, self.documents, strict=True)
        )

    def records(self, first_event: int) -> Iterator["RequestRecord"]:
        """Yield one record for each request; `first_event` is the index of the first one's event."""
        session, seq, low, born = self.request
        return (
            RequestRecord([session, seq + number, low, born], "update", first_event + at, 1)
            for at, number in enumerate(self.numbers)
        )


Joined = Created | Updated
"""What stands for as many events as it is long, with their requests."""


@dataclass(slots=True)
class RequestRecord:
    """What one request came to, kept so that a retry gets the same answer.

    Attributes:
        request: `[session, seq, low, born]`, a caller's own id, or None when nobody can ask again.
        kind: The operation's kind.
        first_event: Index of its first event in the body.
        events: How many events it has.
        value: The answer, where the events don't say it; None otherwise.
    """

    request: list[Any] | str | None
    kind: str
    first_event: int
    events: int
    value: Any = None


def encode_body(events: Sequence[Event | Joined], records: Sequence[RequestRecord]) -> bytes:
    """Encode the body of a write entry."""
    whole = [event for event in events if isinstance(event, Event) and event.encoded is None]
    body = [
        [_wire(event) for event in events],
        [(r.request, r.kind, r.first_event, r.events, r.value) for r in records if r.request is not None],
    ]
    # Only these parts can hold what needs wrapping; asking about the whole body costs three times as much.
    plain = all(is_plain(event.document) for event in whole) and all(
        is_plain(record.value) for record in records if record.value is not None
    )
    return encode_plain(body) if plain else encode(body)


def _wire(event: Event | Joined) -> tuple[Any, ...]:
    if isinstance(event, Created):
        return (_CREATED, event.prefix, event.ids, event.at, event.sizes, event.encoded, event.request)
    if isinstance(event, Updated):
        return event.to_wire()
    return (event.action, event.id, event.document if event.encoded is None else msgspec.Raw(event.encoded))


def _from_wire(wire: Sequence[Any]) -> Event | Joined:
    if wire[0] == _CREATED:
        return Created(*wire[1:])
    if wire[0] == _UPDATED:
        return Updated.from_wire(wire)
    if wire[0] not in _ACTIONS:
        # To take it for a change of another kind would be to lose what it says.
        raise NewerFormatError(reason=f"an event with the action {wire[0]!r}")
    return Event(*wire)


def decode_packed(key: str, body: bytes) -> tuple[list[Event | Joined], list[RequestRecord]]:
    """Decode the body of a write entry as it was encoded: runs stay runs, with their requests in them.

    Raises:
        CorruptionError: the body is not of this form; names `key`.
        NewerFormatError: a later version wrote it, and it says what this one does not know.
    """
    try:
        events, records = decode(body)
        return list(map(_from_wire, events)), [RequestRecord(*record) for record in records]
    except NewerFormatError as error:
        raise NewerFormatError(key=key, reason=error.reason) from error
    except (CorruptionError, ValueError, TypeError, IndexError) as error:
        raise CorruptionError(key=key, reason=f"body unreadable: {error}", cause=error) from error


def decode_body(key: str, body: bytes) -> tuple[list[Event], list[RequestRecord]]:
    """Decode the body of a write entry into one event for each document and one record for each request, in order.

    Raises:
        CorruptionError: the body is not of this form; names `key`.
    """
    packed, records = decode_packed(key, body)
    events: list[Event] = []
    try:
        for event in packed:
            if isinstance(event, Event):
                events.append(event)
            else:
                records.extend(event.records(len(events)))
                events.extend(event.events())
        records.sort(key=attrgetter("first_event"))
    except (CorruptionError, TypeError, ValueError) as error:
        raise CorruptionError(key=key, reason=f"a document is unreadable: {error}", cause=error) from error
    return events, records


def single_events(events: Sequence[Event | Joined]) -> dict[int, Event]:
    """Return the events of a body that are not joined with others, by their index among all of them."""
    single, at = {}, 0
    for event in events:
        if isinstance(event, Event):
            single[at] = event
        at += 1 if isinstance(event, Event) else len(event)
    return single


def answer(kind: str, events: list[Event], value: Any) -> Any:
    """Return what the operation answered, from its events where they say it (see `RequestRecord.value`)."""
    if value is not None or not events or kind == UNANSWERED:
        return value
    if kind == "delete":
        return len(events)
    return events[-1].document

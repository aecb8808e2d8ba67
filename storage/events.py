"""What a write entry's body says: which documents changed to what, and which requests that settled.

An event holds the whole document after the change, so that replay needs nothing but the log.
Wire form of a body: `[[event...], [request record...], [run...]]` in `parquedb.documents.codec` msgpack, where an event
is `[action, id, document | nil]`, a request record is `[request, kind, first event, events, value]`, and a run stands
for `count` records of creates that follow each other: `[session, first seq, low, born, first event, count]`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from parquedb.documents.codec import decode, encode, encode_plain, is_plain
from parquedb.errors import CorruptionError

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


@dataclass(slots=True)
class Event:
    """One change of one document; its seq is the entry's first seq plus its place in the body.

    Attributes:
        action: What happened.
        id: The bare document id.
        document: The whole document afterwards; None after REMOVE.
    """

    action: str
    id: str
    document: dict[str, Any] | None


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


class Run(NamedTuple):
    """Requests of one session with consecutive numbers, each of which created one document, in consecutive events.

    Attributes:
        session: Of all of them.
        seq: Number of the first.
        low: The highest `low` among them.
        born: Of the session.
        first_event: Index of the first's event in the body.
        count: How many they are.
    """

    session: bytes
    seq: int
    low: int
    born: int
    first_event: int
    count: int  # type: ignore[assignment] # The tuple method of that name is of no use here.


def encode_body(events: list[Event], records: list[RequestRecord], runs: list[Run] | None = None) -> bytes:
    """Encode the body of a write entry."""
    body = [
        [(event.action, event.id, event.document) for event in events],
        [(r.request, r.kind, r.first_event, r.events, r.value) for r in records if r.request is not None],
        runs or [],
    ]
    # Only these parts can hold what needs wrapping; asking about the whole body costs three times as much.
    plain = all(is_plain(event.document) for event in events) and all(
        is_plain(record.value) for record in records if record.value is not None
    )
    return encode_plain(body) if plain else encode(body)


def decode_body(key: str, body: bytes) -> tuple[list[Event], list[RequestRecord]]:
    """Decode the body of a write entry.

    Raises:
        CorruptionError: the body is not of this form; names `key`.
    """
    try:
        events, records, runs = decode(body)
        expanded = [
            RequestRecord([run.session, run.seq + at, run.low, run.born], "create", run.first_event + at, 1)
            for run in (Run(*wire) for wire in runs)
            for at in range(run.count)
        ]
        return [Event(*event) for event in events], [RequestRecord(*record) for record in records] + expanded
    except (CorruptionError, ValueError, TypeError) as error:
        raise CorruptionError(key=key, reason=f"body unreadable: {error}", cause=error) from error


def answer(kind: str, events: list[Event], value: Any) -> Any:
    """Return what the operation answered, from its events where they say it (see `RequestRecord.value`)."""
    if value is not None or not events or kind == UNANSWERED:
        return value
    if kind == "delete":
        return len(events)
    return events[-1].document

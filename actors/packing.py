"""What crosses a process boundary: operations in, outcomes out, both as one msgpack value per call.

A call carries a list of operations and answers with as many outcomes, in the same order. The payload is bytes made by
`parquedb.documents.codec`, so document values keep their exact types and Ray moves one opaque buffer. Plain creates and
plain gets, of which there are thousands a second, travel joined, and their documents encoded.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from parquedb.actors.operations import CREATES, GETS, MANAGED, Operation, Outcome, Request, SessionRequest
from parquedb.documents.codec import decode, encode, encode_plain, is_plain
from parquedb.documents.values import MANAGED_FIELDS
from parquedb.errors import InvalidInputError, ParqueDBError


class NewDocument(msgspec.Struct, frozen=True):
    """A create on its way for the first time that names no id and has no options, ready to leave with others.

    Attributes:
        request: Its request id.
        encoded: The document, normalized, with no field that only the database writes.
        size: As `Operation.size`.
        timeout_s: Seconds the caller still waits.
    """

    request: SessionRequest
    encoded: bytes
    size: int
    timeout_s: float

    def __len__(self) -> int:
        return len(self.encoded)


class WantedDocument(msgspec.Struct, frozen=True):
    """A get of a whole document on its way, ready to leave with others.

    Attributes:
        id: The bare id.
        timeout_s: Seconds the caller still waits.
    """

    id: str
    timeout_s: float

    def __len__(self) -> int:
        return len(self.id)


Part = bytes | NewDocument | WantedDocument
"""One operation ready to leave: encoded, or one that may become one of many."""


def wanted_document(operation: Operation, timeout_s: float) -> WantedDocument | None:
    """Return a get as what can leave together with others; None for other operations."""
    if operation.kind != "get" or operation.options or operation.id is None:
        return None
    return WantedDocument(operation.id, timeout_s)


def new_document(operation: Operation, request: Request | None, timeout_s: float) -> NewDocument | None:
    """Return a create as what can leave together with others; None for other operations.

    Args:
        operation: Never sent before.
        request: Its request id.
        timeout_s: Seconds the caller still waits.
    """
    if (
        operation.kind != "create"
        or not operation.size
        or operation.id is not None
        or operation.options
        or type(request) is not SessionRequest
        or "$id" in operation.body
        or not MANAGED.isdisjoint(operation.body)
    ):
        return None
    return NewDocument(request, encode(operation.body), operation.size, timeout_s)


def pack(parts: Sequence[Part]) -> bytes:
    """Return the payload of one call.

    Creates whose request numbers follow each other become one operation, and so do gets that follow each other.
    """
    wires: list[Any] = []
    at = 0
    while at < len(parts):
        part = parts[at]
        if isinstance(part, NewDocument):
            run = _run_from(parts, at, part)
            wires.append(_run_wire(run))
            at += len(run)
        elif isinstance(part, WantedDocument):
            wanted = _wanted_from(parts, at)
            timeout_s = max(each.timeout_s for each in wanted)
            wires.append([GETS, None, [each.id for each in wanted], None, None, None, timeout_s, 0.0, 0])
            at += len(wanted)
        else:
            wires.append(msgspec.Raw(part))
            at += 1
    return encode_plain(wires)


def _wanted_from(parts: Sequence[Part], start: int) -> list[WantedDocument]:
    """Return the gets from `start` on that follow each other."""
    wanted = []
    for part in islice(parts, start, None):
        if not isinstance(part, WantedDocument):
            break
        wanted.append(part)
    return wanted


def _run_from(parts: Sequence[Part], start: int, first: NewDocument) -> list[NewDocument]:
    """Return the creates from `start` on whose request numbers follow each other."""
    run = [first]
    session, seq, _, born = first.request
    for part in islice(parts, start + 1, None):
        if not isinstance(part, NewDocument) or part.request.seq != seq + len(run):
            break
        if part.request.session != session or part.request.born != born:
            break
        run.append(part)
    return run


def _run_wire(run: Sequence[NewDocument]) -> list[Any]:
    session, seq, _, born = run[0].request
    encoded = [document.encoded for document in run]
    return [
        CREATES,
        None,
        [list(map(len, encoded)), b"".join(encoded)],
        None,
        # The client waits for nothing below the newest `low` it has told.
        [session, seq, run[-1].request.low, born],
        None,
        # Who waits for less time notices it himself.
        max(document.timeout_s for document in run),
        0.0,
        sum(document.size for document in run),
    ]


def part_of(operation: Operation, request: Request | None, timeout_s: float) -> NewDocument | WantedDocument | None:
    """Return an operation as what can leave together with others; None when it travels as it is.

    Args:
        operation: What the caller wants.
        request: Its request id, if it has one.
        timeout_s: Seconds the caller still waits.
    """
    if operation.age_s or operation.traceparent is not None:
        return None
    if operation.kind == "get":
        return wanted_document(operation, timeout_s)
    return new_document(operation, request, timeout_s)


def encode_operations(operations: Sequence[Operation]) -> bytes:
    """Encode the operations of one call, as a client does."""
    return pack(
        [
            part_of(operation, operation.request, operation.timeout_s or 0.0) or encode(operation.to_wire())
            for operation in operations
        ]
    )


def decode_operations(payload: bytes) -> list[Operation]:
    """Decode the operations of one call.

    Raises:
        InvalidInputError: the payload is not a list of operations.
    """
    wires = decode(payload)
    if not isinstance(wires, list):
        raise InvalidInputError("a call carries a list of operations")
    return [Operation.from_wire(wire) for wire in wires]


def encode_outcomes(
    operations: Sequence[Operation], outcomes: Sequence[Outcome], put_s: float, *, echoes: bool = True
) -> bytes:
    """Encode the outcomes of one call.

    Of a document that the caller has just sent itself, only the fields that the database set go back, if `echoes`: a
    schema may have filled in others. `put_s`, seconds that the owner's last commit took in storage, tells the caller
    how to share out its operations.
    """
    rows: list[Any] = []
    plain = True
    for operation, outcome in zip(operations, outcomes, strict=True):
        value, error = outcome.value, outcome.error
        if operation.kind in _JOINED:
            if error is not None:
                rows.extend([(None, error.to_json(), outcome.seq, False)] * operation.count)
            elif operation.kind == GETS:
                rows.append((value, None, outcome.seq, None))
            elif type(value) is list:
                plain = plain and all(is_plain(own.value) for own in value if own.value is not None)
                rows.extend((own.value, own.error and own.error.to_json(), own.seq, False) for own in value)
            else:
                rows.append((value.ids, None, outcome.seq, [value.prefix, value.at]))
            continue
        # A repeated request may bring another document than the one that was applied: that answer goes back whole.
        if outcome.encoded is not None:
            value = msgspec.Raw(outcome.encoded)
        elif echoes and operation.kind in _ECHOES and not outcome.duplicate:
            value = _managed(value)
        elif plain and value is not None:
            plain = is_plain(value)
        rows.append((value, None if error is None else error.to_json(), outcome.seq, outcome.duplicate))
    reply = [put_s, rows]
    return encode_plain(reply) if plain else encode(reply)


def decode_outcomes(payload: bytes) -> tuple[list[Outcome], float]:
    """Decode the outcomes of one call, which `whole` completes, and `put_s` (see `encode_outcomes`)."""
    put_s, rows = decode(payload)
    outcomes = []
    for value, error, seq, duplicate in rows:
        if type(duplicate) is list:
            prefix, at = duplicate
            outcomes += [
                Outcome({"$id": prefix + id_, "version": 1, "createdAt": at, "updatedAt": at}, None, own_seq)
                for own_seq, id_ in enumerate(value, seq)
            ]
        elif duplicate is None:
            outcomes += [Outcome(document, None, seq) for document in value]
        else:
            refusal = ParqueDBError.from_json(error) if error is not None else None
            outcomes.append(Outcome(value, refusal, seq, duplicate))
    return outcomes, put_s


def whole(operation: Operation, outcome: Outcome) -> Outcome:
    """Return the outcome of an operation as the owner had it: the document sent, with what the database set."""
    managed = outcome.value
    if managed is None or operation.kind not in _ECHOES or ("createdAt" in managed and outcome.duplicate):
        return outcome
    # The body names none of these fields but perhaps `$id`, and then that same one.
    document = {"$id": managed["$id"], **operation.body, **managed}
    return Outcome(document, seq=outcome.seq, duplicate=outcome.duplicate)


_JOINED: Final = frozenset({CREATES, GETS})
_ECHOES: Final = frozenset({"create", "replace"})
_SET_BY_DATABASE: Final = ("$id", *MANAGED_FIELDS)


def _managed(document: dict[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    return {name: document[name] for name in _SET_BY_DATABASE if name in document}

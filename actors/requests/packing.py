"""What crosses a process boundary: operations in, outcomes out, both as one msgpack value per call.

A call carries a list of operations and answers with as many outcomes, in the same order. The payload is bytes made by
`parquedb.documents.codec`, so document values keep their exact types and Ray moves one opaque buffer. Plain creates and
plain gets, of which there are thousands a second, travel joined, and their documents encoded.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from parquedb.actors.requests.operations import (
    CREATES,
    GETS,
    JOINED,
    MANAGED,
    UPDATES,
    Operation,
    Outcome,
    Request,
    SessionRequest,
)
from parquedb.documents.codec import decode, encode, encode_plain, is_plain
from parquedb.documents.update_shapes import Shape
from parquedb.documents.values import MANAGED_FIELDS
from parquedb.errors import InvalidInputError, ParqueDBError
from parquedb.observability.otel.propagation import NO_SPAN
from parquedb.storage.query.scan_counts import ScanCost


class NewDocument(msgspec.Struct, frozen=True):
    """A create on its way for the first time that names no id and has no options, ready to leave with others.

    Attributes:
        request: Its request id.
        encoded: The document, normalized, with no field that only the database writes.
        size: As `Operation.size`.
        timeout_s: Seconds the caller still waits.
        span: Its span, packed, if it has one.
    """

    request: SessionRequest
    encoded: bytes
    size: int
    timeout_s: float
    span: bytes | None = None

    def __len__(self) -> int:
        return len(self.encoded)


class WantedDocument(msgspec.Struct, frozen=True):
    """A get of a whole document on its way, ready to leave with others.

    Attributes:
        id: The bare id.
        timeout_s: Seconds the caller still waits.
        span: Its span, packed, if it has one.
    """

    id: str
    timeout_s: float
    span: bytes | None = None

    def __len__(self) -> int:
        return len(self.id)


class ChangedDocument(msgspec.Struct, frozen=True):
    """An update on its way for the first time that has a shape and no options, ready to leave with others.

    Attributes:
        request: Its request id.
        id: The bare id.
        expected: The version it expects, if it does.
        shape: What is done.
        encoded: With these operands.
        timeout_s: Seconds the caller still waits.
        span: Its span, packed, if it has one.
    """

    request: SessionRequest
    id: str
    expected: int | None
    shape: Shape
    encoded: bytes
    timeout_s: float
    span: bytes | None = None

    def __len__(self) -> int:
        return len(self.id) + len(self.encoded)


Part = bytes | NewDocument | ChangedDocument | WantedDocument
"""One operation ready to leave: encoded, or one that may become one of many."""

_Numbered = TypeVar("_Numbered", NewDocument, ChangedDocument)


def wanted_document(operation: Operation, timeout_s: float, span: bytes | None = None) -> WantedDocument | None:
    """Return a get as what can leave together with others; None for other operations."""
    if operation.kind != "get" or operation.options or operation.id is None:
        return None
    return WantedDocument(operation.id, timeout_s, span)


def new_document(
    operation: Operation, request: Request | None, timeout_s: float, span: bytes | None = None
) -> NewDocument | None:
    """Return a create as what can leave together with others; None for other operations.

    Args:
        operation: Never sent before.
        request: Its request id.
        timeout_s: Seconds the caller still waits.
        span: Its span, packed, if it has one.
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
    return NewDocument(request, encode(operation.body), operation.size, timeout_s, span)


def changed_document(
    operation: Operation, request: Request | None, timeout_s: float, span: bytes | None = None
) -> ChangedDocument | None:
    """Return an update as what can leave together with others; None for other operations."""
    shaped, options = operation.shaped, operation.options
    if shaped is None or operation.id is None or type(request) is not SessionRequest:
        return None
    expected = options.get("expected_version")
    if len(options) > (expected is not None):
        return None
    return ChangedDocument(request, operation.id, expected, shaped.shape, encode(shaped.operands), timeout_s, span)


def pack(parts: Sequence[Part]) -> bytes:
    """Return the payload of one call.

    Creates whose request numbers follow each other become one operation, and so do such updates, and gets that follow
    each other.
    """
    wires: list[Any] = []
    at = 0
    while at < len(parts):
        part = parts[at]
        if isinstance(part, NewDocument):
            created = _run_from(parts, at, part)
            wires.append(_creates_wire(created))
            at += len(created)
        elif isinstance(part, ChangedDocument):
            changed = _run_from(parts, at, part)
            wires.append(_updates_wire(changed))
            at += len(changed)
        elif isinstance(part, WantedDocument):
            wanted = _wanted_from(parts, at)
            timeout_s = max(each.timeout_s for each in wanted)
            wires.append([GETS, None, [each.id for each in wanted], None, None, _spans(wanted), timeout_s, 0.0, 0])
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


def _run_from(parts: Sequence[Part], start: int, first: _Numbered) -> list[_Numbered]:
    """Return the parts of one kind from `start` on whose request numbers follow each other."""
    run, kind = [first], type(first)
    session, seq, _, born = first.request
    for part in islice(parts, start + 1, None):
        if type(part) is not kind or part.request.seq != seq + len(run):
            break
        if part.request.session != session or part.request.born != born:
            break
        run.append(part)
    return run


def _creates_wire(run: Sequence[NewDocument]) -> list[Any]:
    encoded = [document.encoded for document in run]
    body = [list(map(len, encoded)), b"".join(encoded)]
    return _run_wire(CREATES, run, body, sum(document.size for document in run))


def _updates_wire(run: Sequence[ChangedDocument]) -> list[Any]:
    shapes: dict[Shape, int] = {}
    which = [shapes.setdefault(each.shape, len(shapes)) for each in run]
    expected = [each.expected for each in run]
    body = [
        [each.id for each in run],
        expected if any(expected) else None,
        [shape.key for shape in shapes],
        which if len(shapes) > 1 else None,
        [msgspec.Raw(each.encoded) for each in run],
    ]
    return _run_wire(UPDATES, run, body, sum(len(each.encoded) for each in run))


def _run_wire(kind: str, run: Sequence[_Numbered], body: list[Any], size: int) -> list[Any]:
    session, seq, _, born = run[0].request
    # The client waits for nothing below the newest `low` it has told.
    request = [session, seq, run[-1].request.low, born]
    # Who waits for less time notices it himself.
    timeout_s = max(each.timeout_s for each in run)
    return [kind, None, body, None, request, _spans(run), timeout_s, 0.0, size]


def _spans(parts: Sequence[NewDocument | ChangedDocument | WantedDocument]) -> bytes | None:
    """Return the packed span of each; None when none has one."""
    spans = [each.span for each in parts]
    return b"".join([span or NO_SPAN for span in spans]) if any(spans) else None


def part_of(
    operation: Operation, request: Request | None, timeout_s: float, span: bytes | None = None
) -> NewDocument | ChangedDocument | WantedDocument | None:
    """Return an operation as what can leave together with others; None when it travels as it is.

    Args:
        operation: What the caller wants.
        request: Its request id, if it has one.
        timeout_s: Seconds the caller still waits.
        span: Its span, packed, if it has one.
    """
    if operation.age_s:
        return None
    if operation.kind == "get":
        return wanted_document(operation, timeout_s, span)
    if operation.kind == "update":
        return changed_document(operation, request, timeout_s, span)
    return new_document(operation, request, timeout_s, span)


def encode_operations(operations: Sequence[Operation]) -> bytes:
    """Encode the operations of one call, as a client does."""
    return pack(
        [
            part_of(operation, operation.request, operation.timeout_s or 0.0, operation.spans)
            or encode(operation.to_wire())
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
        if operation.kind in JOINED:
            added = _joined_rows(operation, outcome)
        else:
            added = [_row(outcome, managed=echoes and operation.kind in ECHOES)]
        # Anything may be in an answer that has not been encoded yet.
        plain = plain and all(row[0] is None or is_plain(row[0]) for row in added)
        rows += added
    reply = [put_s, rows]
    return encode_plain(reply) if plain else encode(reply)


def _row(outcome: Outcome, *, managed: bool) -> tuple[Any, ...]:
    """Return one outcome; with `managed`, of the document only what the database set."""
    value, error = outcome.value, outcome.error
    if outcome.encoded is not None:
        value = msgspec.Raw(outcome.encoded)
    elif managed and not outcome.duplicate:
        # A repeated request may bring another document than the one that was applied: that answer goes back whole.
        value = _managed(value)
    row = (value, None if error is None else error.to_json(), outcome.seq, outcome.duplicate)
    return row if outcome.cost is None else (*row, list(outcome.cost))


def _joined_rows(operation: Operation, outcome: Outcome) -> list[tuple[Any, ...]]:
    """Return the outcomes of a run, or of gets that came together; the last item tells how they are joined."""
    value, error, seq = outcome.value, outcome.error, outcome.seq
    if error is not None:
        return [(None, error.to_json(), seq, False)] * operation.count
    if operation.kind == GETS:
        return [(value, None, seq, None)]
    if type(value) is list:
        return [_row(own, managed=False) for own in value]
    if operation.kind == CREATES:
        return [(value.ids, None, seq, [value.prefix, value.at])]
    made = () if value.updated is None else map(msgspec.Raw, value.updated.encoded)
    refused = [[at, error.to_json()] for at, error in value.refused.items()]
    return [(list(made), refused, seq, operation.count)]


def decode_outcomes(payload: bytes) -> tuple[list[Outcome], float]:
    """Decode the outcomes of one call, which `whole` completes, and `put_s` (see `encode_outcomes`)."""
    put_s, rows = decode(payload)
    outcomes = []
    for value, error, seq, duplicate, *cost in rows:
        if type(duplicate) is list:
            prefix, at = duplicate
            outcomes += [
                Outcome({"$id": prefix + id_, "version": 1, "createdAt": at, "updatedAt": at}, None, own_seq)
                for own_seq, id_ in enumerate(value, seq)
            ]
        elif type(duplicate) is int:
            outcomes += _updated(value, error, seq, duplicate)
        elif duplicate is None:
            outcomes += [Outcome(document, None, seq) for document in value]
        else:
            refusal = ParqueDBError.from_json(error) if error is not None else None
            # An owner of a later version may count more.
            scanned = ScanCost(*cost[0][: len(ScanCost._fields)]) if cost else None
            outcomes.append(Outcome(value, refusal, seq, duplicate, None, scanned))
    return outcomes, put_s


def _updated(documents: list[Any], refused: list[Any], first_seq: int, count: int) -> list[Outcome]:
    """Return the outcomes of a run of updates."""
    made = (Outcome(document, None, seq) for seq, document in enumerate(documents, first_seq))
    if not refused:
        return list(made)
    refusals = dict(refused)
    return [
        Outcome(error=ParqueDBError.from_json(refusals[at])) if at in refusals else next(made) for at in range(count)
    ]


def whole(operation: Operation, outcome: Outcome) -> Outcome:
    """Return the outcome of an operation as the owner had it: the document sent, with what the database set."""
    managed = outcome.value
    if managed is None or operation.kind not in ECHOES or ("createdAt" in managed and outcome.duplicate):
        return outcome
    # The body names none of these fields but perhaps `$id`, and then that same one.
    document = {"$id": managed["$id"], **operation.body, **managed}
    return Outcome(document, seq=outcome.seq, duplicate=outcome.duplicate, attempts=outcome.attempts)


ECHOES: Final = frozenset({"create", "replace"})
"""Kinds whose callers have the document that is answered, but for what the database set."""

_SET_BY_DATABASE: Final = ("$id", *MANAGED_FIELDS)


def _managed(document: dict[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    return {name: document[name] for name in _SET_BY_DATABASE if name in document}

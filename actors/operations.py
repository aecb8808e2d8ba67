"""What crosses a process boundary: operations in, outcomes out, both as one msgpack value per call.

A call carries a list of operations and answers with as many outcomes, in the same order. The payload is bytes made by
`parquedb.documents.codec`, so document values keep their exact types and Ray moves one opaque buffer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from parquedb.documents.codec import decode, encode, encode_plain, is_plain
from parquedb.documents.values import MANAGED_FIELDS
from parquedb.errors import InvalidInputError, ParqueDBError

WRITES = frozenset({"create", "create_many", "update", "replace", "delete", "restore", "batch"})
READS = frozenset({"get", "find", "count"})
KINDS = WRITES | READS


class SessionRequest(NamedTuple):
    """A request id of a client session (rule 24 of the commit protocol).

    Attributes:
        session: 16 random bytes, one client's stream of requests to one namespace.
        seq: 1, 2, 3, ... in the order the client made them.
        low: The lowest seq whose outcome the client still waits for.
        born: The log position the client learned when it started the session.
    """

    session: bytes
    seq: int
    low: int
    born: int


Request = SessionRequest | str
"""A session request, or a caller's own request id."""


class Operation(msgspec.Struct, frozen=True):  # A fifth of a dataclass's cost; every call makes hundreds.
    """One operation on one namespace.

    Attributes:
        kind: `create create_many update replace delete restore batch` (writes), `get find count` (reads).
        id: The bare document id; None where the operation has none, or for the owner to choose one (create).
        body: create, replace: the document; update: the operators; create_many: the list of documents (each may hold
            `$id`); batch: the list of wire forms of its operations (see `to_wire`).
        options: Keyword arguments of the public method that differ from their defaults: `expected_version`, `upsert`,
            `hard`, `actor`, `return_document`, `ordered`, `filter`, `limit`, `cursor`, `fields`, `include_deleted`.
        request: Makes a write idempotent; None for reads and for raw calls that gave none.
        traceparent: W3C trace context of the caller, if it has one.
        timeout_s: Seconds the caller still waits when it sends this; None leaves it to the owner's default.
        age_s: Seconds since the caller first sent this request id; retries only.
        size: Estimated bytes of a document body that `documents.values` has checked and normalized; 0 says that nobody
            has, so the owner does. Callers do it because there are many of them and one owner.
    """

    kind: str
    id: str | None = None
    body: Any = None
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    request: Request | None = None
    traceparent: str | None = None
    timeout_s: float | None = None
    age_s: float = 0.0
    size: int = 0

    @property
    def is_write(self) -> bool:
        """Whether it may change the namespace."""
        return self.kind in WRITES

    def to_wire(self) -> list[Any]:
        """Return plain data for `from_wire`."""
        request = list(self.request) if isinstance(self.request, tuple) else self.request
        return [
            self.kind,
            self.id,
            self.body,
            self.options or None,
            request,
            self.traceparent,
            self.timeout_s,
            self.age_s,
            self.size,
        ]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> "Operation":
        """Rebuild an operation.

        Raises:
            InvalidInputError: this is not the wire form of an operation.
        """
        try:
            kind, id_, body, options, request, traceparent, timeout_s, age_s, size = wire
        except (TypeError, ValueError):
            raise InvalidInputError(f"not an operation: {type(wire).__name__} of another shape") from None
        if kind not in KINDS:
            raise InvalidInputError(f"unknown operation {kind!r}; expected one of {', '.join(sorted(KINDS))}")
        if isinstance(request, list):
            request = SessionRequest(*request)
        return cls(kind, id_, body, options or {}, request, traceparent, timeout_s, age_s, size)


class Outcome(msgspec.Struct, frozen=True):
    """What one operation came to: a value or an error, never both.

    Attributes:
        value: get: the document or None; create, update, replace, restore: the document; delete: the number deleted;
            count: the number; find: `{"items": [...], "next_cursor": str | None}`;
            create_many: `{"ids": [...], "errors": [[index, error as JSON], ...]}`; batch: the list of its values.
        error: Why it was refused, or why its fate is unknown.
        seq: The last log sequence number a write took; for reads the state they saw.
        duplicate: Whether this answers a request id that had been applied before.
    """

    value: Any = None
    error: ParqueDBError | None = None
    seq: int = 0
    duplicate: bool = False

    def result(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


def encode_operations(operations: Sequence[Operation]) -> bytes:
    """Encode the operations of one call."""
    return encode([operation.to_wire() for operation in operations])


def decode_operations(payload: bytes) -> list[Operation]:
    """Decode the operations of one call.

    Raises:
        InvalidInputError: the payload is not a list of operations.
    """
    wires = decode(payload)
    if not isinstance(wires, list):
        raise InvalidInputError("a call carries a list of operations")
    return [Operation.from_wire(wire) for wire in wires]


def encode_outcomes(operations: Sequence[Operation], outcomes: Sequence[Outcome], put_s: float) -> bytes:
    """Encode the outcomes of one call.

    Of a document that the caller has just sent itself, only the fields that the database set go back. `put_s`, seconds
    that the owner's last commit took in storage, tells the caller how to share out its operations.
    """
    rows = []
    plain = True
    for operation, outcome in zip(operations, outcomes, strict=True):
        value, error = outcome.value, outcome.error
        # A repeated request may bring another document than the one that was applied: that answer goes back whole.
        if operation.kind in _ECHOES and not outcome.duplicate:
            value = _managed(value)
        elif plain and value is not None:
            plain = is_plain(value)
        rows.append((value, None if error is None else error.to_json(), outcome.seq, outcome.duplicate))
    reply = [put_s, rows]
    return encode_plain(reply) if plain else encode(reply)


def decode_outcomes(payload: bytes) -> tuple[list[Outcome], float]:
    """Decode the outcomes of one call, which `whole` completes, and `put_s` (see `encode_outcomes`)."""
    put_s, rows = decode(payload)
    outcomes = [
        Outcome(value, ParqueDBError.from_json(error) if error is not None else None, seq, duplicate)
        for value, error, seq, duplicate in rows
    ]
    return outcomes, put_s


def whole(operation: Operation, outcome: Outcome) -> Outcome:
    """Return the outcome of an operation as the owner had it: the document sent, with what the database set."""
    managed = outcome.value
    if managed is None or operation.kind not in _ECHOES or ("createdAt" in managed and outcome.duplicate):
        return outcome
    # The body names none of these fields but perhaps `$id`, and then that same one.
    document = {"$id": managed["$id"], **operation.body, **managed}
    return Outcome(document, seq=outcome.seq, duplicate=outcome.duplicate)


_ECHOES: Final = frozenset({"create", "replace"})
_SET_BY_DATABASE: Final = ("$id", *MANAGED_FIELDS)


def _managed(document: dict[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    return {name: document[name] for name in _SET_BY_DATABASE if name in document}

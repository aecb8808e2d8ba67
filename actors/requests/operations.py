"""What callers ask of a namespace and what it answers: operations and outcomes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from parquedb.documents.update_shapes import Shaped
from parquedb.documents.values import MANAGED_FIELDS
from parquedb.errors import InvalidInputError, ParqueDBError
from parquedb.storage.query.scan_counts import ScanCost

CREATES = "creates"
"""Kind of a run of creates, which only `pack` makes: `body` is `[sizes, documents]`, `request` that of the first."""

UPDATES = "updates"
"""Kind of a run of updates, which only `pack` makes (see `actors.update_run` for `body`); `request` is the first's."""

GETS = "gets"
"""Kind of plain gets that leave together, which only `pack` makes: `body` is the list of bare ids."""

MANY = frozenset({"update_many", "delete_many", "upsert"})
"""Writes to all documents that a filter matches."""

INSERT_ARROW = "insert_arrow"
"""Kind of a bulk load: `body` is `{"ipc": Arrow stream}`, or the wire form of a `Load` of files stored already."""

BULK_TERMS = "bulk_terms"
"""Kind of the question under which terms files may be made: `body` is the list of requests that it would be."""

PREPARED_APART = MANY | {INSERT_ARROW}
"""Writes that have to look at storage before they can be queued."""

ANSWERED_APART = PREPARED_APART | {BULK_TERMS}
"""What comes with reads, and is answered by others than the reader."""

JOINED = {CREATES: "create", UPDATES: "update", GETS: "get"}
"""Kinds that stand for as many operations as their bodies say, all answered in one outcome; and what these were."""

_QUEUED = frozenset(
    {"create", CREATES, "create_many", "update", UPDATES, "replace", "delete", "restore", "batch", "register"}
)
WRITES = PREPARED_APART | _QUEUED
CHANGES = "changes"
"""Kind of the question what has changed after a seq; with `wait_s` it waits for something to."""

PAST = frozenset({"history", CHANGES, "snapshot", "pin", "unpin"})
_QUERIES = frozenset({"find", "find_one", "count", "distinct", "aggregate", "explain"})
READS = PAST | _QUERIES | {"get", GETS, "exists", "schema", BULK_TERMS}
KINDS = WRITES | READS

OPTIONS: Final = frozenset(
    {
        "actor",
        "after",
        "array_filters",
        "as_of",
        "cursor",
        "expected_version",
        "field",
        "fields",
        "filter",
        "hard",
        "id_column",
        "include_deleted",
        "limit",
        "method",
        "operation",
        "ordered",
        "pipeline",
        "return_document",
        "skip",
        "sort",
        "total",
        "upsert",
        "validate_existing",
        "verbosity",
        "wait_s",
    }
)
"""Options that some operation has. What a caller of a later version asks for besides must not be passed over."""

MANAGED: Final = frozenset(MANAGED_FIELDS)
"""Top-level fields that only the database writes."""


_UPGRADE: Final = "Nothing was applied; if the caller runs a later version of ParqueDB, the owner has to follow first"


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
        kind: `create create_many update replace delete restore batch` (writes), `get exists find
            find_one count distinct aggregate explain` (reads).
        id: The bare document id; None where the operation has none, or for the owner to choose one (create).
        body: create, replace: the document; update: the operators; create_many: the list of documents (each may hold
            `$id`); batch: the list of wire forms of its operations (see `to_wire`).
        options: Keyword arguments of the public method that differ from their defaults: `expected_version`, `upsert`,
            `hard`, `actor`, `return_document`, `array_filters`, `ordered`, `filter`, `limit`, `cursor`, `fields`,
            `include_deleted`, `sort`, `skip`, `total`, `field`, `pipeline`.
        request: Makes a write idempotent; None for reads and for raw calls that gave none.
        spans: The span of each operation it stands for, packed (`otel.propagation`); None when no caller has one.
        timeout_s: Seconds the caller still waits when it sends this; None leaves it to the owner's default.
        age_s: Seconds since the caller first sent this request id; retries only.
        size: Estimated bytes of a document body that `documents.values` has checked and normalized; 0 says that nobody
            has, so the owner does. Callers do it because there are many of them and one owner.
        shaped: An update as its shape and operands, where it has a shape; known in the caller's process only.
        attempt: 1 where it is sent for the first time, 2 for its first repeat, ...
    """

    kind: str
    id: str | None = None
    body: Any = None
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    request: Request | None = None
    spans: bytes | None = None
    timeout_s: float | None = None
    age_s: float = 0.0
    size: int = 0
    shaped: Shaped | None = None
    attempt: int = 1

    @property
    def is_write(self) -> bool:
        """Whether it may change the namespace."""
        return self.kind in WRITES

    @property
    def count(self) -> int:
        """Operations of callers that it stands for."""
        if self.kind not in JOINED:
            return 1
        return len(self.body if self.kind == GETS else self.body[0])

    def to_wire(self) -> list[Any]:
        """Return plain data for `from_wire`."""
        request = list(self.request) if isinstance(self.request, tuple) else self.request
        wire = [
            self.kind,
            self.id,
            self.body,
            self.options or None,
            request,
            self.spans,
            self.timeout_s,
            self.age_s,
            self.size,
        ]
        return wire if self.attempt == 1 else [*wire, self.attempt]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> "Operation":
        """Rebuild an operation.

        Raises:
            InvalidInputError: this is not the wire form of an operation.
        """
        try:
            kind, id_, body, options, request, spans, timeout_s, age_s, size, *attempt = wire
        except (TypeError, ValueError):
            raise InvalidInputError(f"not an operation: {type(wire).__name__} of another shape") from None
        if kind not in KINDS:
            raise InvalidInputError(
                f"unknown operation {kind!r}; expected one of {', '.join(sorted(KINDS))}. {_UPGRADE}"
            )
        if type(options) is dict and not options.keys() <= OPTIONS:
            unknown = ", ".join(sorted(map(str, options.keys() - OPTIONS)))
            raise InvalidInputError(f"unknown options of {kind}: {unknown}. {_UPGRADE}")
        if isinstance(request, list):
            request = SessionRequest(*request)
        return cls(kind, id_, body, options or {}, request, spans, timeout_s, age_s, size, None, *attempt[:1])


class Outcome(msgspec.Struct, frozen=True):
    """What one operation came to: a value or an error, never both.

    Attributes:
        value: get: the document or None; create, update, replace, restore: the document; delete: the number deleted;
            exists: True or False; count: the number; find: `{"items": [...], "next_cursor": str | None}`, with `total`
            if asked for; find_one: the document or None; distinct, aggregate: a list; explain: see
            `parquedb.actors.reads.explain`;
            create_many: `{"ids": [...], "errors": [[index, error as JSON], ...]}`; batch: the list of its values.
        error: Why it was refused, or why its fate is unknown.
        seq: The last log sequence number a write took; for reads the state they saw.
        duplicate: Whether this answers a request id that had been applied before.
        encoded: `value` as it travels, where it has been encoded for the log already.
        cost: What a query looked at.
        attempts: Times the operation was sent; known to its caller only.
    """

    value: Any = None
    error: ParqueDBError | None = None
    seq: int = 0
    duplicate: bool = False
    encoded: bytes | None = None
    cost: ScanCost | None = None
    attempts: int = 1

    def result(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


def patience_s(operations: Iterable[Operation]) -> float:
    """Return for how many seconds a call may wait because it was asked to: who follows changes waits for the next one.

    Nobody is slow who takes as long; so it is not part of any judgement of how long calls take.
    """
    asked = (each.options.get("wait_s", 0.0) for each in operations if each.kind == CHANGES)
    return max((one for one in asked if isinstance(one, int | float)), default=0.0)

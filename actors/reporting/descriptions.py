"""Operations in the words of hooks: a context for those that are about to run, a result for those that did.

What is malformed is described as far as it goes: whoever carries it out refuses it, as where no hook listens.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, Final

import msgspec

from parquedb.actors.requests.operations import CREATES, GETS, INSERT_ARROW, JOINED, PAST, UPDATES, Operation, Outcome
from parquedb.actors.writes.update_run import Answers, refusals
from parquedb.documents.budget import size_of
from parquedb.errors import ParqueDBError
from parquedb.observability.brief import UNKNOWN
from parquedb.observability.contexts import MutationContext, MutationResult, QueryContext, QueryResult, Side
from parquedb.observability.hooks import Group
from parquedb.storage.log.events import Created
from parquedb.storage.query.scan_counts import ScanCost, ScanCounts

_ONE_DOCUMENT: Final = frozenset({"create", CREATES, "update", UPDATES, "replace", "restore"})
_UNCOUNTED: Final = PAST | {"schema"}
"""Reads whose calls to the store nobody counts."""

_WIRE_ID, _WIRE_BODY, _WIRE_SIZE = 1, 2, 8
"""Places in the wire form of an operation, as it stands in a `batch`."""

_size_in: Final = itemgetter(_WIRE_SIZE)
_MALFORMED: Final = (TypeError, ValueError, LookupError, AttributeError, msgspec.MsgspecError)
"""What looking into an operation may raise that is not well formed."""


def context_of(  # noqa: PLR0913 - a context has as many facts
    group: Group,
    operations: Sequence[Operation],
    namespace: str,
    *,
    side: Side,
    actor: str | None,
    traceparent: str | None = None,
    traceparents: Sequence[str] = (),
    details: bool = True,
) -> QueryContext | MutationContext:
    """Describe operations that are about to run, all of them reads or all of them writes.

    Args:
        group: `query` or `mutation`.
        operations: At least one.
        namespace: Whose.
        side: Where they are announced.
        actor: Name of the actor.
        traceparent: The span that they belong to, if there is one.
        traceparents: Spans of their callers, where those are in another process.
        details: Whether ids, filter and options are wanted; finding them takes time for each operation.
    """
    name = name_of(operations)
    ids, filter_, options = _details(operations, namespace) if details else ((), None, None)
    kind = MutationContext if group == "mutation" else QueryContext
    return kind(
        name,
        namespace,
        ids=ids,
        filter=filter_,
        options=options,
        batch_size=sum(map(batch_size, operations)),
        side=side,
        attempt=max(operation.attempt for operation in operations),
        actor=actor,
        traceparent=traceparent,
        traceparents=traceparents,
    )


def name_of(operations: Sequence[Operation]) -> str:
    """Return what at least one operation, or several that arrived together, are announced as."""
    first = operations[0]
    name = JOINED.get(first.kind, first.kind)
    if len(operations) == 1:
        with suppress(*_MALFORMED):
            # A load may be what another method came to.
            return first.options.get("method", name) if first.options else name
    return name if all(JOINED.get(other.kind, other.kind) == name for other in operations) else "execute"


def _details(
    operations: Sequence[Operation], namespace: str
) -> tuple[tuple[str, ...], Mapping[str, Any] | None, dict[str, Any] | None]:
    """Return ids, filter and options."""
    ids: tuple[str, ...] = ()
    options: dict[str, Any] | None = None
    filter_ = None
    [first, *others] = operations
    with suppress(*_MALFORMED):
        ids = tuple(id_ for operation in operations for id_ in _ids(operation, namespace))
        if not others:
            options = dict(first.options)
            if first.kind == UPDATES and (expected := first.body[1]) is not None and len(expected) == 1:
                options = {"expected_version": expected[0]}
            filter_ = options.pop("filter", None)
            options.pop("method", None)
    return ids, filter_, options


def mutation_result(
    operations: Sequence[Operation], outcomes: Sequence[Outcome], duration_s: float, attempts: int | None = None
) -> MutationResult:
    """Say how writes ended; `attempts` is how often they were sent, where that is known."""
    rows, size, version, seq, errors = (
        None if each == UNKNOWN else each for each in mutation_numbers(operations, outcomes)
    )
    return MutationResult(duration_s, rows, size, version, seq, errors, attempts)


def mutation_numbers(operations: Sequence[Operation], outcomes: Sequence[Outcome]) -> tuple[int, int, int, int, int]:
    """Return rows, bytes, version, seq and errors of writes, as in a result; `UNKNOWN` in the place of None."""
    if len(operations) == 1 and outcomes[0].error is None:
        operation, outcome = operations[0], outcomes[0]
        version = _version(operation, outcome)
        return (
            _written(operation, outcome.value),
            _sum_of_bytes(operations),
            UNKNOWN if version is None else version,
            _last_seq(operation, outcome) or UNKNOWN,
            _refused(operation, outcome),
        )
    rows = errors = seq = 0
    for operation, outcome in zip(operations, outcomes, strict=True):
        if outcome.error is not None:
            errors += count_of(operation)
            continue
        rows += _written(operation, outcome.value)
        errors += _refused(operation, outcome)
        seq = max(seq, _last_seq(operation, outcome))
    return rows, _sum_of_bytes(operations), UNKNOWN, seq or UNKNOWN, errors


def query_result(
    operations: Sequence[Operation],
    outcomes: Sequence[Outcome],
    duration_s: float,
    counts: ScanCounts | None = None,
    attempts: int | None = None,
) -> QueryResult:
    """Say how reads ended.

    Args:
        operations: The reads.
        outcomes: Theirs.
        duration_s: Seconds they took.
        counts: Reads of the store that scans have not counted; None where the store is out of sight.
        attempts: Times they were sent, where that is known.
    """
    rows, size, cached, scanned, skipped, seq = (
        None if each == UNKNOWN else each for each in query_numbers(operations, outcomes, counts)
    )
    return QueryResult(
        duration_s, rows, size, None if cached is None else bool(cached), scanned, skipped, seq, attempts
    )


def query_numbers(
    operations: Sequence[Operation], outcomes: Sequence[Outcome], counts: ScanCounts | None
) -> tuple[int, int, int, int, int, int]:
    """Return rows, bytes, cached, row groups scanned and skipped, and seq of reads, as in a result.

    `UNKNOWN` stands in the place of None. For the arguments see `query_result`.
    """
    rows = seq = 0
    known, counted = False, counts is not None
    costs = []
    for operation, outcome in zip(operations, outcomes, strict=True):
        number = _read(operation, outcome.value)
        if number is not None:
            rows, known = rows + number, True
        if outcome.cost is not None:
            costs.append(outcome.cost)
        seq = max(seq, outcome.seq)
        counted = counted and not _is_uncounted(operation)
    reads, size = (counts.storage_reads, counts.storage_bytes) if counts is not None and counted else (UNKNOWN, UNKNOWN)
    scanned = skipped = UNKNOWN
    if costs:
        cost = ScanCost.sum(costs)
        scanned, skipped = cost.row_groups_scanned, cost.row_groups_skipped
        if counted or len(costs) == len(operations):
            reads, size = max(reads, 0) + cost.storage_reads, max(size, 0) + cost.storage_bytes
    cached = UNKNOWN if reads == UNKNOWN else int(not reads)
    return rows if known else UNKNOWN, size, cached, scanned, skipped, seq or UNKNOWN


def _ids(operation: Operation, namespace: str) -> Iterator[str]:
    body = operation.body
    if operation.id is not None:
        yield operation.id
    elif operation.kind == GETS:
        yield from body
    elif operation.kind == UPDATES:
        yield from body[0]
    elif operation.kind == "create_many":
        own = (document.get("$id") if isinstance(document, Mapping) else _id_in(document) for document in body)
        yield from (id_.removeprefix(f"{namespace}/") for id_ in own if isinstance(id_, str))
    elif operation.kind == "batch":
        yield from [wire[_WIRE_ID] for wire in body if wire[_WIRE_ID] is not None]


class _Named(msgspec.Struct):
    """What is wanted of a document that is encoded."""

    id: Any = msgspec.field(name="$id", default=None)


def _id_in(encoded: msgspec.Raw) -> Any:
    return msgspec.msgpack.decode(encoded, type=_Named).id


def batch_size(operation: Operation) -> int:
    """Return how many operations one stands for, or carries; at least 1."""
    several = operation.kind in {"create_many", "batch"} and isinstance(operation.body, list)
    return max(1, len(operation.body) if several else count_of(operation))


def count_of(operation: Operation) -> int:
    """Return `operation.count`; 1 for what is malformed."""
    try:
        return operation.count
    except _MALFORMED:
        return 1


def _sum_of_bytes(operations: Sequence[Operation]) -> int:
    try:
        return sum(map(bytes_of, operations))
    except _MALFORMED:
        return UNKNOWN


def bytes_of(operation: Operation) -> int:
    """Return the estimated size of what a write brings."""
    body = operation.body
    if operation.size or body is None:
        return operation.size
    if operation.kind == "batch":
        # The wire form of an operation has its body and its size in these places; adding up bodies would cost much.
        sizes = list(map(_size_in, body))
        return sum(sizes) if all(sizes) else sum(wire[_WIRE_SIZE] or size_of(wire[_WIRE_BODY]) for wire in body)
    if operation.kind == "create_many":
        return sum(memoryview(one).nbytes if isinstance(one, msgspec.Raw) else size_of(one) for one in body)
    if operation.kind == INSERT_ARROW:
        return len(body["ipc"]) if "ipc" in body else sum(file["bytes"] for file in body.get("files", ()))
    return size_of(body)


def _written(operation: Operation, value: Any) -> int:
    """Return how many documents an applied operation changed."""
    kind = operation.kind
    if kind in {CREATES, UPDATES}:
        return operation.count - refusals(operation, Outcome(value))
    if kind == "create_many":
        return len(value["ids"]) - len(value["errors"])
    if kind == "batch":
        # In it are writes of single documents only, and a delete says how many it deleted.
        deletes = int in set(map(type, value))
        return sum(own if type(own) is int else 1 for own in value) if deletes else len(value)
    return _changed(kind, value)


def _changed(kind: str, value: Any) -> int:
    if kind == INSERT_ARROW:
        return int(value["rows"])
    if kind in {"update_many", "upsert"}:
        return int(value["modified"]) + (value["upserted_id"] is not None)
    if kind == "register":
        return 0
    return value if type(value) is int else 1


def _refused(operation: Operation, outcome: Outcome) -> int:
    if operation.kind == "create_many":
        return len(outcome.value["errors"])
    return refusals(operation, outcome)


def errors_of(operation: Operation, outcome: Outcome) -> list[ParqueDBError]:
    """Return why operations were refused; of a run, each of them may have been."""
    if outcome.error is not None:
        return [outcome.error] * count_of(operation)
    value = outcome.value
    if isinstance(value, Answers):
        return list(value.refused.values())
    if operation.kind in {CREATES, UPDATES} and isinstance(value, list):
        return [own.error for own in value if own.error is not None]
    return []


def _last_seq(operation: Operation, outcome: Outcome) -> int:
    """Return the seq of the last event: of a run the outcome has the first one's."""
    value = outcome.value
    if isinstance(value, Created):
        return outcome.seq + len(value) - 1
    if isinstance(value, Answers):
        return outcome.seq + (0 if value.updated is None else len(value.updated)) - 1
    if operation.kind in {CREATES, UPDATES} and isinstance(value, list):
        return max((own.seq for own in value), default=0)
    return outcome.seq


def _version(operation: Operation, outcome: Outcome) -> int | None:
    """Return the new version of the document, where there is one."""
    value = outcome.value
    if outcome.error is not None or operation.kind not in _ONE_DOCUMENT or operation.count != 1:
        return None
    if isinstance(value, Created):
        return 1
    if isinstance(value, Answers):
        return None if value.updated is None else _int(value.updated.documents[0]["version"])
    if isinstance(value, list):
        return _version(Operation(JOINED[operation.kind]), value[0])
    before = operation.options.get("return_document") == "before"
    # Before an insert there was nothing.
    return _int((value or {"version": 0})["version"]) + before


def _int(value: Any) -> int:
    return int(value)


def _read(operation: Operation, value: Any) -> int | None:
    """Return how many documents, changes or values were read, or were counted."""
    kind = operation.kind
    if kind in {"find", "history", "changes"}:
        rows = None if value is None else value["items" if kind == "find" else "changes"]
        return None if rows is None else len(rows)
    if kind == "explain":
        return None if value is None else value.get("returned")
    if kind in {"snapshot", "stats"}:
        return None
    if isinstance(value, list):
        return len(value) - value.count(None) if kind == GETS else len(value)
    return value if type(value) is int else int(value is not None and value is not False)


def _is_uncounted(operation: Operation) -> bool:
    return operation.kind in _UNCOUNTED or operation.options.get("as_of") is not None

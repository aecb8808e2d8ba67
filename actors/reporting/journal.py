"""Everything an owner tells the log: each event with its name, its level and its fields, in one place.

Nothing here is on the way of a single operation; what may come in crowds is held back by the handlers
(`parquedb.observability.logs.repeats`). Messages name the namespace, for handlers that show nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parquedb.actors.requests.operations import JOINED, Operation, SessionRequest, patience_s
from parquedb.actors.state.sessions import request_id
from parquedb.errors import ParqueDBError
from parquedb.observability.logs import get_logger
from parquedb.observability.otel.propagation import Traceparents
from parquedb.storage.log.commit import Settlement

_KINDS_SHOWN: Final = 5
# What leaves a client joined is told by the name that its callers know.

_owner = get_logger("actors.owner")
_access = get_logger("actors.access")
_commit = get_logger("actors.commit")
_queue = get_logger("actors.queue")
_checkpoint = get_logger("actors.checkpoint")
_compaction = get_logger("actors.compaction")
_collection = get_logger("actors.collection")


def opened(namespace: str, epoch: int, tail: int, took_s: float) -> None:
    """The owner serves its namespace: its cold start is over."""
    facts = {"epoch": epoch, "tail": tail, "duration": took_s}
    _owner.info(
        "namespace %s: opened in epoch %d at log position %d",
        namespace,
        epoch,
        tail,
        extra=_of("owner.opened", namespace, facts),
    )


def open_failed(namespace: str, error: BaseException, took_s: float) -> None:
    """The owner could not take its namespace; who asked for it is told the same."""
    _owner.warning(
        "namespace %s: could not be opened: %s",
        namespace,
        error,
        extra=_of("owner.open_failed", namespace, {"error": error, "duration": took_s}),
    )


def closed(namespace: str, epoch: int, why: str) -> None:
    """The owner has given its namespace up in order."""
    _owner.info("namespace %s: closed (%s)", namespace, why, extra=_of("owner.closed", namespace, {"epoch": epoch}))


def turned_away(namespace: str, error: ParqueDBError) -> None:
    """A call came without a valid grant; nothing of it was looked at."""
    _access.warning(
        "namespace %s: a call was turned away: %s",
        namespace,
        error,
        extra=_of("access.turned_away", namespace, {"error": error}),
    )


def denied(namespace: str, errors: Sequence[ParqueDBError]) -> None:
    """Operations were denied to the bearer of a grant."""
    first = errors[0]
    _access.warning(
        "namespace %s: %s",
        namespace,
        first,
        extra=_of("access.denied", namespace, {"error": first, "count": len(errors)}),
    )


def goodbye_unsaid(namespace: str, error: ParqueDBError) -> None:
    """The close entry did not land, so the next owner waits out a lease."""
    _owner.warning(
        "namespace %s: the close entry did not land: %s",
        namespace,
        error,
        extra=_of("owner.goodbye_unsaid", namespace, {"error": error}),
    )


def fenced(namespace: str, epoch: int) -> None:
    """Another owner holds the namespace; this one acknowledges nothing more."""
    _owner.warning(
        "namespace %s: another owner took over epoch %d",
        namespace,
        epoch,
        extra=_of("owner.fenced", namespace, {"epoch": epoch}),
    )


def removed(namespace: str, error: BaseException) -> None:
    """What this owner stood on is gone from storage, and no successor is there; it ends."""
    _owner.error(
        "namespace %s: %s; this owner ends, and the next call opens what is stored now",
        namespace,
        error,
        extra=_of("owner.removed", namespace, {"error": error}),
    )


def failed(namespace: str, error: BaseException | None) -> None:
    """A background task died of something unforeseen, and the owner with it."""
    _owner.error(
        "namespace %s: a background task died", namespace, exc_info=error, extra=_of("owner.failed", namespace, {})
    )


def commit_in_doubt(namespace: str, position: int, error: ParqueDBError) -> None:
    """The store has not said whether a log entry landed; the same bytes are sent until it does."""
    _commit.warning(
        "namespace %s: nobody knows yet whether log entry %d has landed, it is sent again: %s",
        namespace,
        position,
        error,
        extra=_of("commit.in_doubt", namespace, {"operation": "commit", "position": position, "error": error}),
    )


def commit_settled(namespace: str, settlement: Settlement, took_s: float) -> None:
    """The fate of a log entry that took more than one attempt is known."""
    if settlement.attempts > 1:
        facts = {"operation": "commit", "attempts": settlement.attempts, "duration": took_s}
        _commit.warning(
            "namespace %s: the log entry in doubt is settled after %d attempts: %s",
            namespace,
            settlement.attempts,
            settlement.how.value,
            extra=_of("commit.settled", namespace, facts),
        )


def backpressure_began(namespace: str, what: str, error: ParqueDBError) -> None:
    """The first one of what waits in a queue (`writes`, `queries`, `calls`) is refused because too many wait."""
    _queue.warning(
        "namespace %s: %s are refused: %s",
        namespace,
        what,
        error,
        extra=_of("backpressure.began", namespace, {"queue": what, "error": error}),
    )


def backpressure_ended(namespace: str, what: str, refused: int, took_s: float) -> None:
    """There is room again."""
    _queue.info(
        "namespace %s: %s are taken again; %d were refused",
        namespace,
        what,
        refused,
        extra=_of("backpressure.ended", namespace, {"queue": what, "refused": refused, "duration": took_s}),
    )


def slow_call(namespace: str, operations: Sequence[Operation], took_s: float, slow_s: float) -> None:
    """A call took longer than `slow_s`, of whatever it consists; nothing is told of one that was asked to wait."""
    if took_s - patience_s(operations) < slow_s:
        return
    kinds = sorted({JOINED.get(operation.kind, operation.kind) for operation in operations})
    count = sum(operation.count for operation in operations)
    first = operations[0] if operations else None
    request = None if first is None else first.request
    facts = {
        "operation": "execute",
        "operations": count,
        "kinds": kinds[:_KINDS_SHOWN],
        "duration": took_s,
        "request_id": request_id(request) if isinstance(request, SessionRequest) else request,
        "traceparent": Traceparents(b"".join(one.spans for one in operations if one.spans is not None)).leading(),
    }
    _owner.warning(
        "namespace %s: a call of %d operations (%s) took %.3f s",
        namespace,
        count,
        ", ".join(kinds[:_KINDS_SHOWN]),
        took_s,
        extra=_of("operation.slow", namespace, facts),
    )


def flushed(namespace: str, reason: str, rows: int, size: int, took_s: float) -> None:
    """Documents in memory became a data file."""
    facts = {"operation": "flush", "reason": reason, "rows": rows, "bytes": size, "duration": took_s}
    _checkpoint.info(
        "namespace %s: flushed %d documents (%s)", namespace, rows, reason, extra=_of("flush.done", namespace, facts)
    )


def checkpoint_failed(namespace: str, error: ParqueDBError) -> None:
    """A checkpoint or flush failed; nothing is lost, it is tried again."""
    _checkpoint.warning(
        "checkpoint of %s failed, trying again: %s",
        namespace,
        error,
        extra=_of("checkpoint.failed", namespace, {"operation": "checkpoint", "error": error}),
    )


def compacted(namespace: str, counts: Mapping[str, int], took_s: float) -> None:
    """Several data files became fewer."""
    _compaction.info(
        "namespace %s: merged %d data files into %d",
        namespace,
        counts["files_in"],
        counts["files_out"],
        extra=_of("compaction.done", namespace, {"operation": "compact", **counts, "duration": took_s}),
    )


def compaction_failed(namespace: str, error: ParqueDBError, pause_s: float) -> None:
    """A merge failed; the files stay as they are, and it is tried again later."""
    _compaction.warning(
        "namespace %s: %s; trying again in %.3g s",
        namespace,
        error,
        pause_s,
        exc_info=error.cause,
        extra=_of("compaction.failed", namespace, {"operation": "compact", "error": error}),
    )


def decision_failed(namespace: str, kind: str, error: Exception) -> None:
    """A bug of ours kept a write from being decided; it changed nothing, and its caller is told."""
    _commit.error(
        "namespace %s: a bug: %s could not be decided",
        namespace,
        kind,
        exc_info=error,
        extra=_of("commit.decision_failed", namespace, {"operation": kind, "error": error}),
    )


def collected(namespace: str, deleted: int) -> None:
    """Objects that nothing needs any more are gone."""
    if deleted:
        facts = {"operation": "collect", "deleted": deleted}
        _collection.info(
            "namespace %s: deleted %d superseded objects",
            namespace,
            deleted,
            extra=_of("collection.done", namespace, facts),
        )


def collection_failed(namespace: str, error: ParqueDBError) -> None:
    """Superseded objects stay for now."""
    _collection.warning(
        "namespace %s: collection failed, trying again later: %s",
        namespace,
        error,
        extra=_of("collection.failed", namespace, {"operation": "collect", "error": error}),
    )


def _of(event: str, namespace: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"event": event, "namespace": namespace, **facts}

"""Everything the calling side tells the log: each event with its name, its level and its fields, in one place."""

from collections.abc import Mapping
from typing import Any, Final

from parquedb.actors.requests.operations import KINDS
from parquedb.cluster.transport.delivery import Delivery
from parquedb.cluster.transport.sessions import request_id_text
from parquedb.errors import OutcomeUnknownError, ParqueDBError
from parquedb.observability.logs import get_logger
from parquedb.observability.otel.propagation import traceparent_of, unpacked
from parquedb.storage.verification.report import VerificationReport
from parquedb.storage.verification.rules import Severity

_CODES_SHOWN: Final = 10

_calls = get_logger("cluster.calls")
_ray = get_logger("cluster.ray")
_verification = get_logger("cluster.verification")
_backup = get_logger("cluster.backup")


def ray_joined(address: str | None, *, started: bool) -> None:
    """This process uses a Ray now."""
    event, what = ("ray.started", "a Ray was started") if started else ("ray.joined", "a Ray was joined")
    _ray.info("%s", what, extra={"event": event, "address": address})


def owner_found(namespace: str, epoch: int, pid: int, node: str) -> None:
    """The name of a namespace leads to an owner, which has answered."""
    _calls.info(
        "namespace %s: its owner is process %d, epoch %d",
        namespace,
        pid,
        epoch,
        extra={"event": "owner.found", "namespace": namespace, "epoch": epoch, "owner_pid": pid, "node": node},
    )


def slow_operation(namespace: str, delivery: Delivery, took_s: float, error: BaseException | None) -> None:
    """An operation took longer than `log_slow_s` until its caller had an answer."""
    # What one asks an owner to do as a whole (compact, flush) takes its time.
    if delivery.operation.kind in KINDS:
        _calls.warning(
            "namespace %s: %s took %.3f s",
            namespace,
            delivery.operation.kind,
            took_s,
            extra=_of("operation.slow", namespace, delivery, took_s) | {"error": error},
        )


def outcome_unknown(namespace: str, delivery: Delivery, took_s: float, error: OutcomeUnknownError) -> None:
    """The caller is told that nobody knows whether its write was applied."""
    _calls.warning(
        "namespace %s: the outcome of %s is unknown; ask again with its request id",
        namespace,
        delivery.operation.kind,
        extra=_of("operation.unknown", namespace, delivery, took_s) | {"error": error},
    )


def backpressure_began(namespace: str, error: ParqueDBError) -> None:
    """The first operation finds no room in the queue of this process."""
    _calls.warning(
        "namespace %s: operations are refused in this process, before they are sent: %s",
        namespace,
        error,
        extra={"event": "backpressure.began", "namespace": namespace, "queue": "client", "error": error},
    )


def backpressure_ended(namespace: str, refused: int, took_s: float) -> None:
    """There is room again."""
    facts = {"queue": "client", "refused": refused, "duration": took_s}
    _calls.info(
        "namespace %s: operations are taken again in this process; %d were refused",
        namespace,
        refused,
        extra={"event": "backpressure.ended", "namespace": namespace, **facts},
    )


def _of(event: str, namespace: str, delivery: Delivery, took_s: float) -> dict[str, Any]:
    return {
        "event": event,
        "namespace": namespace,
        "operation": delivery.operation.kind,
        "request_id": None if delivery.request is None else request_id_text(delivery.request),
        "traceparent": None if delivery.span is None else traceparent_of(unpacked(delivery.span)),
        "duration": took_s,
    }


def verified(report: VerificationReport) -> None:
    """A verification has ended."""
    broken = sorted({finding.code for finding in report.of(Severity.ERROR)})
    extra = {
        "event": "verify.done",
        "namespace": report.namespace,
        "operation": "verify",
        "duration": report.duration_s,
        "findings": len(report.findings),
        "broken": broken[:_CODES_SHOWN],
    }
    if report.ok:
        _verification.info("namespace %s: nothing that is stored is broken", report.namespace, extra=extra)
    else:
        _verification.error(
            "namespace %s: what is stored is broken: %s", report.namespace, ", ".join(broken), extra=extra
        )


def backed_up(point: str, target: str, seqs: Mapping[str, int], took_s: float) -> None:
    """A backup has been taken."""
    extra = {"event": "backup.done", "operation": "backup", "point": point, "duration": took_s}
    _backup.info("point %s: %d namespaces are backed up in %s", point, len(seqs), target, extra=extra)


def restored(point: str, url: str, seqs: Mapping[str, int], took_s: float) -> None:
    """A restore has ended."""
    extra = {"event": "restore.done", "operation": "restore", "point": point, "duration": took_s}
    _backup.info("point %s: %d namespaces are restored in %s", point, len(seqs), url, extra=extra)

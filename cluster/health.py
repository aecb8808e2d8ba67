"""How a whole database is: every owner in this cluster is asked at once, and none is waited for beyond the deadline."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import ray
from ray.exceptions import PendingCallsLimitExceeded, RayError

from parquedb.cluster.calls import wait_for
from parquedb.cluster.coalescer import NoReplyYet
from parquedb.cluster.placement import find, served_namespaces
from parquedb.settings import Settings
from parquedb.storage.breaker.monitor import CircuitHealth, CircuitHealthStatus

Status = Literal["healthy", "degraded", "unhealthy"]

HEALTH_TIMEOUT_S: Final = 5.0
"""Seconds for the whole question, unless the caller says otherwise."""

_FETCH_S: Final = 1.0
"""Seconds that a reply which has arrived may take to be unpacked."""

_BADNESS: Final[Mapping[Status, int]] = {"healthy": 0, "degraded": 1, "unhealthy": 2}


@dataclass(frozen=True, slots=True)
class OwnerHealth:
    """How the owner of one namespace is.

    Attributes:
        namespace: Which.
        status: `healthy`; `degraded` for the `reasons` in its report; `unhealthy` when it cannot serve, or did not
            answer.
        state: Of its engine, such as `open` or `idle`; `unreachable` when it did not answer.
        circuits: Its circuits by name, such as `posts.read`.
        report: All that it said; empty when it did not answer.
        error: Why there is no answer; None when there is one.
    """

    namespace: str
    status: Status
    state: str
    circuits: Mapping[str, CircuitHealth] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """How a database is, as one process sees it.

    Attributes:
        status: The worst of what follows.
        owners: The owners that run in this cluster, by namespace; a namespace that nobody uses has none.
        circuits: Of this process's own storage: bulk loads and snapshots that pass by the owners.
        error: Why the owners could not be listed; None when they were.
    """

    status: Status
    owners: Mapping[str, OwnerHealth]
    circuits: Mapping[str, CircuitHealth]
    error: str | None = None


def database_health(settings: Settings, own: CircuitHealthStatus, timeout_s: float) -> DatabaseHealth:
    """Ask every owner of a database in this cluster; starts none and returns within about `timeout_s` seconds."""
    deadline_s = time.monotonic() + timeout_s
    answer: Future[dict[str, OwnerHealth]] = Future()

    def ask() -> None:
        try:
            answer.set_result(_ask_owners(settings, deadline_s, timeout_s))
        except Exception as error:  # noqa: BLE001 - told to the thread that waits
            answer.set_exception(error)

    # Ray's questions about names know no time limit, and a cluster without its head answers none of them.
    threading.Thread(target=ask, name="parquedb-health", daemon=True).start()
    owners: dict[str, OwnerHealth] = {}
    failure = None
    try:
        owners = answer.result(timeout_s + _FETCH_S)
    except FutureTimeoutError:
        failure = f"the cluster did not say within {timeout_s:g} s which owners it has"
    except (RayError, RuntimeError, ValueError) as error:
        failure = f"the owners could not be listed: {type(error).__name__}: {error}"
    statuses: list[Status] = [owner.status for owner in owners.values()]
    statuses += ["unhealthy"] if failure is not None else []
    statuses += [] if own.healthy else ["degraded"]
    worst: Status = max(statuses, key=_BADNESS.__getitem__, default="healthy")
    return DatabaseHealth(worst, owners, own.circuits, failure)


def _ask_owners(settings: Settings, deadline_s: float, timeout_s: float) -> dict[str, OwnerHealth]:
    late = f"no answer within {timeout_s:g} s"
    replies: dict[str, list[Any]] = {}
    unasked: dict[str, str] = {}
    for namespace in served_namespaces(settings):
        handle = find(settings, namespace) if time.monotonic() < deadline_s else None
        try:
            if handle is not None:
                replies[namespace] = [handle.health.remote(), handle.circuit_health.remote()]
            elif time.monotonic() >= deadline_s:
                unasked[namespace] = late
        except PendingCallsLimitExceeded:
            unasked[namespace] = "too many calls of this process wait for it already"
    waited = [reply for pair in replies.values() for reply in pair]
    if waited:
        left_s = max(0.0, deadline_s - time.monotonic())
        ray.wait(waited, num_returns=len(waited), timeout=left_s)
    owners = {namespace: _owner(namespace, pair, late) for namespace, pair in replies.items()}
    owners |= {namespace: _unreachable(namespace, why) for namespace, why in unasked.items()}
    return dict(sorted(owners.items()))


def _owner(namespace: str, replies: list[Any], late: str) -> OwnerHealth:
    ready, _ = ray.wait(replies, num_returns=len(replies), timeout=0)
    if len(ready) < len(replies):
        return _unreachable(namespace, late)
    try:
        report, circuits = (wait_for(reply, namespace, _FETCH_S) for reply in replies)
    except NoReplyYet:
        return _unreachable(namespace, late)
    except Exception as error:  # noqa: BLE001 - an owner that died or failed is an answer as well
        return _unreachable(namespace, f"{type(error).__name__}: {error}")
    status: Status = report["status"]
    return OwnerHealth(namespace, status, report["state"], circuits.circuits, report)


def _unreachable(namespace: str, why: str) -> OwnerHealth:
    return OwnerHealth(namespace, "unhealthy", "unreachable", error=why)

"""How a whole database is: every owner in this cluster is asked at once, and none is waited for beyond the deadline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from parquedb.cluster.overview.roll_call import ask_owners
from parquedb.settings import Settings
from parquedb.storage.breaker.monitor import CircuitHealth, CircuitHealthStatus

Status = Literal["healthy", "degraded", "unhealthy"]

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
    called = ask_owners(settings, ["health", "circuit_health"], timeout_s)
    found = {namespace: _owner(namespace, *answers) for namespace, answers in called.answers.items()}
    found |= {namespace: _unreachable(namespace, why) for namespace, why in called.silent.items()}
    owners = dict(sorted(found.items()))
    statuses: list[Status] = [owner.status for owner in owners.values()]
    statuses += ["unhealthy"] if called.error is not None else []
    statuses += [] if own.healthy else ["degraded"]
    worst: Status = max(statuses, key=_BADNESS.__getitem__, default="healthy")
    return DatabaseHealth(worst, owners, own.circuits, called.error)


def _owner(namespace: str, report: Mapping[str, Any], circuits: CircuitHealthStatus) -> OwnerHealth:
    return OwnerHealth(namespace, report["status"], report["state"], circuits.circuits, report)


def _unreachable(namespace: str, why: str) -> OwnerHealth:
    return OwnerHealth(namespace, "unhealthy", "unreachable", error=why)

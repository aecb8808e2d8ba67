"""Asking every owner in this cluster how it is, all at once; none is waited for beyond the deadline."""

from collections.abc import Mapping
from typing import Any

from parquedb.cluster.overview.health import BADNESS, DatabaseHealth, OwnerHealth, Status
from parquedb.cluster.overview.roll_call import ask_owners
from parquedb.settings import Settings
from parquedb.storage.breaker.monitor import CircuitHealthStatus


def database_health(settings: Settings, own: CircuitHealthStatus, timeout_s: float) -> DatabaseHealth:
    """Ask every owner of a database in this cluster; starts none and returns within about `timeout_s` seconds."""
    called = ask_owners(settings, ["health", "circuit_health"], timeout_s)
    found = {namespace: _owner(namespace, *answers) for namespace, answers in called.answers.items()}
    found |= {namespace: _unreachable(namespace, why) for namespace, why in called.silent.items()}
    owners = dict(sorted(found.items()))
    statuses: list[Status] = [owner.status for owner in owners.values()]
    if called.error is not None:
        # Without a head no owner can be found or started, but those that are known serve on.
        statuses += ["degraded"] if called.answers else ["unhealthy"]
    statuses += [] if own.healthy else ["degraded"]
    worst: Status = max(statuses, key=BADNESS.__getitem__, default="healthy")
    return DatabaseHealth(worst, owners, own.circuits, called.error)


def _owner(namespace: str, report: Mapping[str, Any], circuits: CircuitHealthStatus) -> OwnerHealth:
    return OwnerHealth(namespace, report["status"], report["state"], circuits.circuits, report)


def _unreachable(namespace: str, why: str) -> OwnerHealth:
    return OwnerHealth(namespace, "unhealthy", "unreachable", error=why)

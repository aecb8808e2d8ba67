"""What the console shows to a caller: of one look at the database, what he may see, and no more of it than fits.

namespaces, their numbers                 to whoever may read something there
what was slow, what failed in them, and   the same, and of all namespaces to whoever has `health` or `metrics`; the
circuits of their owners                  words of an error only with `find`, for they may quote documents
this gateway's own circuits and errors    to whoever has `health` or `metrics`
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from parquedb.access.permissions import READ, Permissions
from parquedb.access.reserved import is_reserved
from parquedb.actors.reporting.survey import OwnerSurvey, Work
from parquedb.cluster.gateway.console.gathering import Moment
from parquedb.cluster.gateway.console.rates import Flow
from parquedb.cluster.overview.survey import DatabaseSurvey
from parquedb.observability.logs.redaction import redactor
from parquedb.observability.metrics.highlights import RecentError, SlowOperation
from parquedb.storage.breaker.monitor import CircuitChange, CircuitHealth

NAMESPACES_MAX: Final = 100
SLOWEST_MAX: Final = 10
ERRORS_MAX: Final = 50
CIRCUITS_MAX: Final = 50
CHANGES_MAX: Final = 10
REASONS_MAX: Final = 3

_ASLEEP: Final = "asleep"
_STATUSES: Final = ("healthy", "degraded", "unhealthy")


class Sight:
    """What a caller may see.

    Args:
        permissions: His.
    """

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions
        self.operator = permissions.allows("health") or permissions.allows("metrics")
        self._read: dict[str, bool] = {}

    def reads(self, namespace: str) -> bool:
        """Whether he may read anything in a namespace."""
        found = self._read.get(namespace)
        if found is None:
            allows = self._permissions.allows
            found = not is_reserved(namespace) and any(allows(kind, namespace) for kind in READ)
            self._read[namespace] = found
        return found

    def watches(self, namespace: str) -> bool:
        """Whether he may know how its owner is."""
        return self.operator or self.reads(namespace)

    def finds(self, namespace: str) -> bool:
        """Whether he may see what stands in its documents."""
        return self.reads(namespace) and self._permissions.allows("find", namespace)


def answer(moment: Moment, permissions: Permissions) -> dict[str, Any]:
    """Return what a caller is told, as data for JSON.

    Args:
        moment: One look.
        permissions: What he may do.
    """
    sight, survey = Sight(permissions), moment.survey
    owners = {name: one for name, one in survey.owners.items() if sight.reads(name)}
    silent = {name: why for name, why in survey.silent.items() if sight.reads(name)}
    known = moment.names if moment.names is not None else (*owners, *silent)
    names = [name for name in known if sight.reads(name)]
    rows = [_row(name, owners.get(name), silent.get(name), moment) for name in names]
    rows.sort(key=_importance)
    watched = {name: one for name, one in survey.owners.items() if sight.watches(name)}
    flows = [flow for name, flow in moment.flows.owners.items() if name in owners]
    return {
        "time_s": moment.time_s,
        "interval_s": moment.flows.interval_s,
        "status": _status(survey, rows, sight),
        "problem": None if survey.error is None else redactor.text(survey.error),
        "listed": moment.names is not None,
        "namespaces": rows[:NAMESPACES_MAX],
        "namespaces_total": len(rows),
        "awake": sum(row["state"] not in {_ASLEEP, "idle"} for row in rows),
        "totals": {**({} if moment.flows.interval_s is None else _numbers(flows)), **_lags(rows)},
        "circuits": _circuits(watched, survey.circuits if sight.operator else {}),
        "slowest": _slowest(watched.values()),
        "errors": _errors(moment, watched.values(), sight),
    }


def _row(name: str, owner: OwnerSurvey | None, silence: str | None, moment: Moment) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "state": _ASLEEP, "status": "healthy", "reasons": []}
    if silence is not None:
        return row | {"state": "unreachable", "status": "unhealthy", "reasons": [redactor.text(silence)]}
    if owner is None:
        return row
    health, sizes = owner.health, owner.sizes
    flow = moment.flows.owners.get(name)
    row |= {
        "state": health["state"],
        "status": health["status"],
        "reasons": [redactor.text(str(one)) for one in health["reasons"][:REASONS_MAX]],
        "host": owner.host,
        "node": owner.node,
        "pid": owner.pid,
        "age_s": owner.age_s,
        **({} if flow is None else _numbers([flow])),
    }
    if sizes is not None:
        row |= {"documents": sizes.documents, "bytes": sizes.bytes, "files": sizes.files, "seq": sizes.seq}
    lag = health["lag"]
    if lag:
        row |= {
            "flush_lag_s": lag["unflushed_s"],
            "commit_lag_s": max(lag["queue_age_s"], lag["commit_pending_s"]),
            "queued": lag["queued_ops"],
        }
    return row


def _importance(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Order rows: those in trouble, those at work, the large ones, and then by name.

    Work counts by its number of digits: were it told apart any finer, two busy ones would change places at each look.
    """
    rate = (row.get("reads_per_s") or 0.0) + (row.get("writes_per_s") or 0.0)
    digits = len(str(math.ceil(rate))) if rate else 0
    asleep, documents = row["state"] == _ASLEEP, row.get("documents") or 0
    return (-_STATUSES.index(row["status"]), -digits, asleep, -documents, row["name"])


def _numbers(flows: Sequence[Flow]) -> dict[str, Any]:
    """Return rates and durations of some flows together."""
    both = Work.sum(work for flow in flows for work in (flow.reads, flow.writes))
    return {
        "reads_per_s": sum(flow.reads.count / flow.interval_s for flow in flows),
        "writes_per_s": sum(flow.writes.count / flow.interval_s for flow in flows),
        "error_rate": both.errors / both.count if both.count else 0.0,
        "p50_s": both.sketch.quantile(0.5),
        "p99_s": both.sketch.quantile(0.99),
    }


def _lags(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    rows = list(rows)
    return {name: max((row.get(name, 0.0) for row in rows), default=0.0) for name in ("flush_lag_s", "commit_lag_s")}


def _status(survey: DatabaseSurvey, rows: Iterable[Mapping[str, Any]], sight: Sight) -> str:
    """Return the status of what is shown, as `/ready` judges it; an owner in trouble concerns its namespace alone."""
    if survey.error is not None:
        # Without a head the owners that are known serve on.
        return "degraded" if survey.owners else "unhealthy"
    own = survey.circuits.values() if sight.operator else ()
    troubled = any(row["status"] != "healthy" for row in rows) or any(one.state.value != "closed" for one in own)
    return "degraded" if troubled else "healthy"


def _circuits(owners: Mapping[str, OwnerSurvey], own: Mapping[str, CircuitHealth]) -> dict[str, Any]:
    """Return how many circuits there are in each state, those that are not closed, and the latest changes."""
    found = [(name, circuit) for name, one in owners.items() for circuit in one.circuits.circuits.values()]
    found += [("", circuit) for circuit in own.values()]
    states = [circuit.state.value for _, circuit in found]
    changes = [(name, each) for name, one in owners.items() for each in one.circuits.recent_events]
    changes += [("", each) for circuit in own.values() for each in circuit.recent_events]
    changes.sort(key=lambda pair: pair[1].at, reverse=True)
    return {
        "counts": {state: states.count(state) for state in ("closed", "half_open", "open")},
        "troubled": [_circuit(*pair) for pair in found if pair[1].state.value != "closed"][:CIRCUITS_MAX],
        "changes": [_change(*pair) for pair in changes[:CHANGES_MAX]],
    }


def _circuit(namespace: str, circuit: CircuitHealth) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "circuit": circuit.name,
        "state": circuit.state.value,
        "failures": circuit.failure_count,
        "success_rate": circuit.success_rate,
        "rejected": circuit.rejected,
        "retry_after_s": circuit.retry_after_s,
    }


def _change(namespace: str, change: CircuitChange) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "circuit": change.circuit,
        "before": change.before.value,
        "after": change.after.value,
        "reason": redactor.text(change.reason),
        "time_s": change.at.timestamp(),
    }


def _slowest(owners: Iterable[OwnerSurvey]) -> list[dict[str, Any]]:
    found = sorted((one for owner in owners for one in owner.slowest), key=lambda one: -one.duration_s)
    return [_slow(one) for one in found[:SLOWEST_MAX]]


def _slow(one: SlowOperation) -> dict[str, Any]:
    return {name: getattr(one, name) for name in SlowOperation.__slots__}


def _errors(moment: Moment, owners: Iterable[OwnerSurvey], sight: Sight) -> list[dict[str, Any]]:
    found = [("owner", one) for owner in owners for one in owner.errors]
    found += [("gateway", one) for one in moment.errors if sight.watches(one.namespace)]
    found.sort(key=lambda pair: -pair[1].time_s)
    return [_error(seen_by, one, sight) for seen_by, one in found[:ERRORS_MAX]]


def _error(seen_by: str, one: RecentError, sight: Sight) -> dict[str, Any]:
    told = {name: getattr(one, name) for name in RecentError.__slots__} | {"seen_by": seen_by}
    if not sight.finds(one.namespace) and not (sight.operator and not one.namespace):
        told["message"] = None
    return told

"""What a gateway says of a whole database, as the results that `Database` gives."""

from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from parquedb.cluster.http.answers import Answer, data_of, unreadable
from parquedb.cluster.overview.health import BADNESS, DatabaseHealth, OwnerHealth, Status
from parquedb.observability.metrics.snapshot import MetricsSnapshot

_UNHEALTHY: Final[Status] = "unhealthy"


def namespaces_of(answer: Answer) -> list[str]:
    """Return the names that `GET /v1` lists.

    Raises:
        NoAnswer: it lists none.
    """
    names = data_of(answer).get("namespaces")
    if type(names) is not list or not all(type(name) is str for name in names):
        raise unreadable(answer, "expected a list of namespaces")
    return sorted(names)


def health_of(answer: Answer) -> DatabaseHealth:
    """Return the health that `GET /ready` tells.

    Raises:
        NoAnswer: it tells none.
    """
    told = data_of(answer)
    owners = told.get("owners")
    found = owners if type(owners) is dict else {}
    status = _status(answer, told.get("status"))
    error = "; ".join(_reasons(told.get("checks"))) if status == _UNHEALTHY else None
    return DatabaseHealth(
        status, {name: _owner(answer, name, one) for name, one in sorted(found.items())}, {}, error or None
    )


def metrics_of(answer: Answer) -> MetricsSnapshot:
    """Return the metrics that `GET /metrics` tells as JSON.

    Raises:
        NoAnswer: it tells none.
    """
    told = data_of(answer)
    try:
        return MetricsSnapshot.from_json(told)
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        raise unreadable(answer, error) from error


def _reasons(checks: Any) -> Iterator[str]:
    for name, check in checks.items() if type(checks) is dict else ():
        reasons = check.get("reasons") if type(check) is dict else None
        yield from (f"{name}: {reason}" for reason in (reasons if type(reasons) is list else ()))


def _owner(answer: Answer, name: str, told: Any) -> OwnerHealth:
    if type(told) is not dict:
        raise unreadable(answer, "expected an object for each owner")
    status = _status(answer, told.get("status"))
    error = told.get("error")
    return OwnerHealth(
        name, status, str(told.get("state", "")), report=told, error=None if error is None else str(error)
    )


def _status(answer: Answer, told: Any) -> Status:
    if told not in BADNESS:
        raise unreadable(answer, f"expected one of {', '.join(BADNESS)}")
    return cast(Status, told)

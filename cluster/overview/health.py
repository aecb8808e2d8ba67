"""How a whole database is: what `db.health()` tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from parquedb.storage.breaker.monitor import CircuitHealth

Status = Literal["healthy", "degraded", "unhealthy"]

BADNESS: Final[Mapping[Status, int]] = {"healthy": 0, "degraded": 1, "unhealthy": 2}


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
        error: Why the owners could not be listed; None when they were. Then `owners` are those that this process knows.
    """

    status: Status
    owners: Mapping[str, OwnerHealth]
    circuits: Mapping[str, CircuitHealth]
    error: str | None = None

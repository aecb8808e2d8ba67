"""A look at a whole database for whoever watches it: every owner's survey, and the circuits of this process.

It costs each owner one call, answered beside its work and without I/O, and wakes none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from parquedb.actors.reporting.survey import OwnerSurvey
from parquedb.storage.breaker.monitor import CircuitHealth


@dataclass(frozen=True, slots=True)
class DatabaseSurvey:
    """How a database is, as one process sees it.

    Attributes:
        owners: What the owners in this cluster said, by namespace; a namespace that nobody uses has none.
        silent: Namespaces whose owner did not answer, and why.
        circuits: Of this process's own storage, by name.
        error: Why the owners could not be listed; None when they were.
    """

    owners: Mapping[str, OwnerSurvey] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    circuits: Mapping[str, CircuitHealth] = field(default_factory=dict)
    error: str | None = None

"""The metrics of a whole database: what every owner in this cluster has counted, and this process as their client."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from parquedb.cluster.overview.roll_call import ask_owners
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.settings import Settings


def metrics_by_process(
    settings: Settings, own: MetricsSnapshot, timeout_s: float, *, grant: str | None = None
) -> dict[str, MetricsSnapshot]:
    """Ask every owner of a database in this cluster; starts none and returns within about `timeout_s` seconds.

    Args:
        settings: Of the database.
        own: What this process has counted.
        timeout_s: For the whole question.
        grant: What is shown to the owners.

    Returns:
        What each has counted, by its namespace, and under the empty name this process, which lists as `unreachable`
        the owners that did not answer; the empty name there means that not even their names are known.
    """
    called = ask_owners(settings, ["metrics"], timeout_s, grant=grant)
    silent = called.silent if called.error is None else {"": called.error}
    owners = {namespace: answer for namespace, [answer] in called.answers.items()}
    return {"": replace(own, unreachable=dict(sorted(silent.items())), nodes=called.nodes), **owners}


def sum_of(found: Mapping[str, MetricsSnapshot], *, namespaces_max: int, keep: Collection[str]) -> MetricsSnapshot:
    """Return the sum of what `metrics_by_process` found.

    Args:
        found: That.
        namespaces_max: Namespaces that keep numbers of their own; see `MetricsSnapshot.limited`.
        keep: Those that had them last time.
    """
    return MetricsSnapshot.merge(*found.values()).limited(namespaces_max, keep)

"""The metrics of a whole database: what every owner in this cluster has counted, and this process as their client."""

from collections.abc import Collection
from dataclasses import replace

from parquedb.cluster.roll_call import ask_owners
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.settings import Settings


def database_metrics(
    settings: Settings, own: MetricsSnapshot, timeout_s: float, *, namespaces_max: int, keep: Collection[str]
) -> MetricsSnapshot:
    """Ask every owner of a database in this cluster; starts none and returns within about `timeout_s` seconds.

    Args:
        settings: Of the database.
        own: What this process has counted.
        timeout_s: For the whole question.
        namespaces_max: Namespaces that keep numbers of their own; see `MetricsSnapshot.limited`.
        keep: Those that had them last time.
    """
    called = ask_owners(settings, ["metrics"], timeout_s)
    owners = [answer for [answer] in called.answers.values()]
    silent = called.silent if called.error is None else {"": called.error}
    merged = replace(MetricsSnapshot.merge(own, *owners), unreachable=dict(sorted(silent.items())))
    return merged.limited(namespaces_max, keep)

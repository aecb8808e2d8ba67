"""Metrics in the words of Prometheus: a snapshot as families of samples, and as the text that is scraped.

Names and labels are kept for ever: dashboards and alerts are written against them. Counters, and the counts of
histograms, never fall while the process that serves them lives, if the snapshots come from `RunningTotals`.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from parquedb.observability.metrics.snapshot import (
    BUCKETS_S,
    CIRCUIT_STATES,
    MetricsSnapshot,
    OperationKey,
)

_BOUNDS: Final = (*map(str, BUCKETS_S), "+Inf")
_OPERATION: Final = OperationKey._fields

FAULTS: Final = {"internal": "InternalError", "corruption": "CorruptionError", "fenced": "FencedError"}
"""Errors of which a single one is worth a look, by what they tell of."""

_FULL: Final = ("storage_full", "QuotaExceededError")
"""That of a store. From elsewhere it is a bound of ours, which a caller has met."""


class SnapshotCollector(Collector):
    """One snapshot as what `prometheus_client` collects from."""

    def __init__(self, snapshot: MetricsSnapshot, others: Sequence[Collector] = ()) -> None:
        self._snapshot = snapshot
        self._others = others

    def collect(self) -> Iterator[Metric]:
        """Yield every family, also those without samples, so that their help is there from the start."""
        snapshot = self._snapshot
        yield InfoMetricFamily("parquedb_exporter", "What serves these metrics.", {"version": _version()})
        yield from _operations(snapshot)
        yield from _openings(snapshot)
        yield from _owners(snapshot)
        yield _faults(snapshot)
        yield from _circuits(snapshot)
        yield from _watchers(snapshot)
        for other in self._others:
            yield from other.collect()


def render(snapshot: MetricsSnapshot, accept: str = "", others: Sequence[Collector] = ()) -> bytes:
    """Return a snapshot as text for Prometheus.

    Args:
        snapshot: What to show; of a database `RunningTotals.update`, of one process `get_metrics()`.
        accept: The `Accept` header of the request: OpenMetrics where it asks for that, else the plain text format.
        others: What else is shown.
    """
    encode, _ = choose_encoder(accept)
    return encode(SnapshotCollector(snapshot, others))


def content_type(accept: str = "") -> str:
    """Return the `Content-Type` of what `render` answers to the same `Accept`."""
    return choose_encoder(accept)[1]


def _operations(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    count = CounterMetricFamily("parquedb_operations", "Operations that ended, well or badly.", labels=_OPERATION)
    errors = CounterMetricFamily(
        "parquedb_operation_errors", "Operations that failed.", labels=(*_OPERATION, "error_type")
    )
    duration = HistogramMetricFamily(
        "parquedb_operation_duration_seconds", "From start to end of operations.", labels=_OPERATION, unit="seconds"
    )
    rows = CounterMetricFamily("parquedb_operation_rows", "Documents read or written.", labels=_OPERATION)
    size = CounterMetricFamily("parquedb_operation_bytes", "Bytes read or written.", labels=_OPERATION, unit="bytes")
    for key, metrics in snapshot.operations.items():
        count.add_metric(key, metrics.count)
        duration.add_metric(key, _buckets(metrics.buckets), metrics.sum_s)
        rows.add_metric(key, metrics.rows)
        size.add_metric(key, metrics.bytes)
        for error_type, failed in metrics.errors.items():
            errors.add_metric((*key, error_type), failed)
    yield from (count, errors, duration, rows, size)


def _openings(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    labels = ("namespace",)
    count = CounterMetricFamily("parquedb_cold_starts", "Openings of a namespace by an owner.", labels=labels)
    duration = HistogramMetricFamily(
        "parquedb_cold_start_duration_seconds", "Until an opened namespace could answer.", labels=labels, unit="seconds"
    )
    for namespace, openings in snapshot.cold_starts.items():
        count.add_metric([namespace], openings.count)
        duration.add_metric([namespace], _buckets(openings.buckets), openings.sum_s)
    yield from (count, duration)


def _owners(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    labels = ("namespace",)
    depth = GaugeMetricFamily("parquedb_queue_depth", "Writes that wait to be committed.", labels=labels)
    size = GaugeMetricFamily("parquedb_queue_bytes", "Size of those writes.", labels=labels, unit="bytes")
    lag = GaugeMetricFamily(
        "parquedb_commit_lag_seconds", "Age of the oldest write that is not durable.", labels=labels, unit="seconds"
    )
    refused = CounterMetricFamily("parquedb_backpressure", "Calls refused for want of room.", labels=labels)
    flushes = CounterMetricFamily("parquedb_flushes", "Flushes to Parquet.", labels=("namespace", "reason"))
    compactions = CounterMetricFamily("parquedb_compactions", "Merges of data files.", labels=labels)
    for namespace, owner in snapshot.owners.items():
        depth.add_metric([namespace], owner.queue_depth)
        size.add_metric([namespace], owner.queue_bytes)
        lag.add_metric([namespace], owner.commit_lag_s)
        refused.add_metric([namespace], owner.backpressure)
        compactions.add_metric([namespace], owner.compactions)
        for reason, flushed in owner.flushes.items():
            flushes.add_metric([namespace, reason], flushed)
    cache = CounterMetricFamily(
        "parquedb_cache_requests",
        "Reads that found what they needed in memory, or not.",
        labels=("namespace", "result"),
    )
    for namespace, found in snapshot.cache.items():
        cache.add_metric([namespace, "hit"], found.hits)
        cache.add_metric([namespace, "miss"], found.misses)
    yield from (depth, size, lag, refused, flushes, compactions, cache)


def _faults(snapshot: MetricsSnapshot) -> Metric:
    """Return counts that are there from a namespace's first operation on, at 0.

    A series of errors begins with its first error, and Prometheus sees no increase in a series that begins.
    """
    met: dict[tuple[str, str], int] = {}
    for key, metrics in snapshot.operations.items():
        told = {fault: metrics.errors.get(error_type, 0) for fault, error_type in FAULTS.items()}
        full, error_type = _FULL
        told[full] = metrics.errors.get(error_type, 0) if key.category == "storage" else 0
        for fault, count in told.items():
            met[key.namespace, fault] = met.get((key.namespace, fault), 0) + count
    family = CounterMetricFamily(
        "parquedb_faults", "How often a fault was met, by owners and by clients.", labels=("namespace", "fault")
    )
    for labels, count in met.items():
        family.add_metric(labels, count)
    return family


def _circuits(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "parquedb_circuit_state",
        "1 for the state that a circuit is in; the namespace is empty for one of a client's own storage.",
        labels=("namespace", "circuit", "state"),
    )
    transitions = CounterMetricFamily(
        "parquedb_circuit_transitions", "Changes of a circuit to a state.", labels=("namespace", "circuit", "to")
    )
    for key, circuit in snapshot.circuits.items():
        for name in CIRCUIT_STATES:
            state.add_metric([*key, name], float(circuit.state == name))
            transitions.add_metric([*key, name], circuit.transitions.get(name, 0))
    yield from (state, transitions)


def _watchers(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    errors = CounterMetricFamily("parquedb_hook_errors", "Callbacks of a hook that raised.", labels=("hook",))
    dropped = CounterMetricFamily("parquedb_hook_dropped", "Callbacks of a hook that were not run.", labels=("hook",))
    for hook, metrics in snapshot.hooks.items():
        errors.add_metric([hook], metrics.errors)
        dropped.add_metric([hook], metrics.dropped)
    yield from (errors, dropped)
    yield CounterMetricFamily("parquedb_logs_dropped", "Log records that were not kept.", value=snapshot.logs_dropped)
    yield CounterMetricFamily("parquedb_telemetry_dropped", "Spans that were not sent.", value=snapshot.spans_dropped)
    yield GaugeMetricFamily(
        "parquedb_metrics_namespaces_merged",
        "Namespaces without numbers of their own, summed as _other.",
        value=snapshot.merged_namespaces,
    )
    yield GaugeMetricFamily(
        "parquedb_owners_unreachable",
        "Owners that did not answer this time; their last numbers stand.",
        value=len(snapshot.unreachable),
    )
    nodes = GaugeMetricFamily("parquedb_nodes", "Nodes of the Ray cluster that are alive.", labels=())
    if snapshot.nodes:
        nodes.add_metric((), snapshot.nodes)
    yield nodes


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    return list(zip(_BOUNDS, counts, strict=True))


def _version() -> str:
    try:
        return version("parquedb")
    except PackageNotFoundError:  # A checkout that is not installed.
        return ""

"""Metrics in the words of OpenTelemetry: what a snapshot has counted, as instruments and data points.

Nothing is recorded a second time for it: an instrument of the SDK would cost more than the operation it measures. The
points are made of the counts, when they are sent. `docs/metrics.md` lists the instruments and their attributes.

Source:
    OpenTelemetry semantic conventions, "Database client metrics" (stable); `parquedb.*` is ours.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from parquedb.observability.metrics.measures import BUCKETS_S, Durations, OperationMetrics
from parquedb.observability.metrics.snapshot import CIRCUIT_STATES, MetricsSnapshot, OperationKey

DB_SYSTEM: Final = "parquedb"

CONVENTIONAL_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Bucket bounds that the conventions give for durations of database calls; some of `BUCKETS_S`."""

_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_PLACES: Final = [BUCKETS_S.index(bound) for bound in CONVENTIONAL_S]

Attributes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a metric is.

    Attributes:
        name: By the naming rules: dots, no unit in it.
        unit: In UCUM.
        kind: `histogram`, `counter` or `gauge`.
        description: One sentence.
    """

    name: str
    unit: str
    kind: str
    description: str


CLIENT_DURATION: Final = Instrument(
    "db.client.operation.duration", "s", "histogram", "Duration of database client operations."
)
DURATION: Final = Instrument(
    "parquedb.operation.duration",
    "s",
    "histogram",
    "Duration of operations in owners, of commits and of storage calls.",
)
ROWS: Final = Instrument("parquedb.operation.rows", "{row}", "counter", "Documents read or written.")
IO: Final = Instrument("parquedb.operation.io", "By", "counter", "Bytes read or written.")
CACHE: Final = Instrument(
    "parquedb.cache.requests", "{request}", "counter", "Reads, by whether memory held what they needed."
)
COLD_START: Final = Instrument(
    "parquedb.cold_start.duration", "s", "histogram", "Duration of the opening of a namespace by an owner."
)
FLUSHES: Final = Instrument("parquedb.flushes", "{flush}", "counter", "Flushes to Parquet files.")
COMPACTIONS: Final = Instrument("parquedb.compactions", "{compaction}", "counter", "Merges of data files.")
BACKPRESSURE: Final = Instrument(
    "parquedb.backpressure", "{operation}", "counter", "Operations refused because something was full."
)
COMMIT_LAG: Final = Instrument("parquedb.commit.lag", "s", "gauge", "Age of the oldest write that is not durable yet.")
QUEUE_DEPTH: Final = Instrument("parquedb.queue.depth", "{operation}", "gauge", "Writes that wait to be committed.")
QUEUE_SIZE: Final = Instrument("parquedb.queue.size", "By", "gauge", "Bytes of the writes that wait.")
CIRCUIT_STATE: Final = Instrument(
    "parquedb.circuit.state", "1", "gauge", "Whether a circuit breaker is in a state: 1 for the one it is in, else 0."
)
CIRCUIT_TRANSITIONS: Final = Instrument(
    "parquedb.circuit.transitions", "{transition}", "counter", "Changes of a circuit breaker to a state."
)
HOOK_ERRORS: Final = Instrument("parquedb.hook.errors", "{error}", "counter", "Callbacks of hooks that raised.")
HOOK_DROPPED: Final = Instrument(
    "parquedb.hook.dropped", "{callback}", "counter", "Callbacks of hooks that were not run."
)
LOGS_DROPPED: Final = Instrument("parquedb.logs.dropped", "{record}", "counter", "Log records that were not kept.")
SPANS_DROPPED: Final = Instrument("parquedb.telemetry.dropped", "{span}", "counter", "Spans that were not sent.")
NAMESPACES_MERGED: Final = Instrument(
    "parquedb.metrics.namespaces.merged", "{namespace}", "gauge", "Namespaces whose numbers are summed as one."
)

INSTRUMENTS: Final = (
    *(CLIENT_DURATION, DURATION, ROWS, IO, CACHE, COLD_START, FLUSHES, COMPACTIONS, BACKPRESSURE, COMMIT_LAG),
    *(QUEUE_DEPTH, QUEUE_SIZE, CIRCUIT_STATE, CIRCUIT_TRANSITIONS, HOOK_ERRORS, HOOK_DROPPED, LOGS_DROPPED),
    *(SPANS_DROPPED, NAMESPACES_MERGED),
)

_Numbers = Iterable[tuple[Attributes, float]]


def metrics_of(snapshot: MetricsSnapshot) -> list[Metric]:
    """Return the metrics of a snapshot, cumulative since its start; instruments without points are left out."""
    return _Points(round(snapshot.started_s * 1e9), round(snapshot.taken_s * 1e9)).of(snapshot)


class _Points:
    """Makes metrics whose points are all of one time.

    Args:
        start_ns: When counting began, Unix time.
        end_ns: When the numbers were taken.
    """

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self._start_ns = start_ns
        self._end_ns = end_ns

    def of(self, snapshot: MetricsSnapshot) -> list[Metric]:
        owners, hooks = snapshot.owners.items(), snapshot.hooks.items()
        operations = [(_operation(key), one) for key, one in snapshot.operations.items()]
        made = [
            self._histogram(CLIENT_DURATION, self._client_durations(snapshot)),
            self._histogram(DURATION, self._durations(snapshot)),
            self._numbers(ROWS, ((told, one.rows) for told, one in operations if one.rows)),
            self._numbers(IO, ((told, one.bytes) for told, one in operations if one.bytes)),
            self._numbers(CACHE, _cache(snapshot)),
            self._histogram(
                COLD_START,
                (self._point(_of(name), one, BUCKETS_S) for name, one in snapshot.cold_starts.items()),
            ),
            self._numbers(FLUSHES, _each(((_of(name), one.flushes) for name, one in owners), "parquedb.flush.reason")),
            self._numbers(COMPACTIONS, ((_of(name), one.compactions) for name, one in owners)),
            self._numbers(BACKPRESSURE, ((_of(name), one.backpressure) for name, one in owners)),
            self._numbers(COMMIT_LAG, ((_of(name), one.commit_lag_s) for name, one in owners)),
            self._numbers(QUEUE_DEPTH, ((_of(name), one.queue_depth) for name, one in owners)),
            self._numbers(QUEUE_SIZE, ((_of(name), one.queue_bytes) for name, one in owners)),
            self._numbers(CIRCUIT_STATE, _circuit_states(snapshot)),
            self._numbers(CIRCUIT_TRANSITIONS, _circuit_transitions(snapshot)),
            self._numbers(HOOK_ERRORS, (({"parquedb.hook": name}, one.errors) for name, one in hooks)),
            self._numbers(HOOK_DROPPED, (({"parquedb.hook": name}, one.dropped) for name, one in hooks)),
            self._numbers(LOGS_DROPPED, [({}, snapshot.logs_dropped)]),
            self._numbers(SPANS_DROPPED, [({}, snapshot.spans_dropped)]),
            self._numbers(NAMESPACES_MERGED, [({}, snapshot.merged_namespaces)]),
        ]
        return [metric for metric in made if metric.data.data_points]

    def _numbers(self, instrument: Instrument, numbers: _Numbers) -> Metric:
        gauge = instrument.kind == "gauge"
        points = [NumberDataPoint(told, 0 if gauge else self._start_ns, self._end_ns, value) for told, value in numbers]
        data = Gauge(points) if gauge else Sum(points, _CUMULATIVE, is_monotonic=True)
        return Metric(instrument.name, instrument.description, instrument.unit, data)

    def _histogram(self, instrument: Instrument, points: Iterable[HistogramDataPoint]) -> Metric:
        return Metric(instrument.name, instrument.description, instrument.unit, Histogram(list(points), _CUMULATIVE))

    def _client_durations(self, snapshot: MetricsSnapshot) -> Iterator[HistogramDataPoint]:
        for key, one in snapshot.operations.items():
            if _is_call(key):
                told = {
                    "db.system.name": DB_SYSTEM,
                    "db.namespace": key.namespace,
                    "db.collection.name": key.namespace,
                    "db.operation.name": key.operation,
                }
                yield from self._by_error(told, one, CONVENTIONAL_S)

    def _durations(self, snapshot: MetricsSnapshot) -> Iterator[HistogramDataPoint]:
        for key, one in snapshot.operations.items():
            if not _is_call(key):
                yield from self._by_error(_operation(key), one, BUCKETS_S)

    def _by_error(
        self, told: Attributes, one: OperationMetrics, bounds: tuple[float, ...]
    ) -> Iterator[HistogramDataPoint]:
        """Yield a point of the operations that went well, and one of those that failed in each way."""
        well = [*one.buckets]
        sum_s = one.sum_s
        for kind, failed in one.failures.items():
            well = [all_ - bad for all_, bad in zip(well, failed.buckets, strict=True)]
            sum_s -= failed.sum_s
            errors = Durations(failed.buckets[-1], failed.sum_s, buckets=failed.buckets)
            yield self._point({**told, "error.type": kind}, errors, bounds)
        if well[-1]:
            known = not one.failures
            least, most = (one.min_s, one.max_s) if known else (None, None)
            yield self._point(told, Durations(well[-1], max(0.0, sum_s), least, most, buckets=tuple(well)), bounds)

    def _point(self, told: Attributes, one: Durations, bounds: tuple[float, ...]) -> HistogramDataPoint:
        upto = one.buckets if bounds == BUCKETS_S else (*(one.buckets[place] for place in _PLACES), one.buckets[-1])
        return HistogramDataPoint(
            told,
            self._start_ns,
            self._end_ns,
            one.count,
            one.sum_s,
            [more - less for less, more in pairwise((0, *upto))],
            bounds,
            # The protocol lets a point go without them, and the encoder does; the class does not say so.
            one.min_s,  # type: ignore[arg-type]
            one.max_s,  # type: ignore[arg-type]
        )


def _is_call(key: OperationKey) -> bool:
    return key.side == "client" and key.category in {"query", "mutation"}


def _operation(key: OperationKey) -> Attributes:
    told = {
        "parquedb.operation.category": key.category,
        "parquedb.operation.name": key.operation,
        "parquedb.operation.side": key.side,
    }
    return {**told, **_of(key.namespace)}


def _of(namespace: str) -> Attributes:
    return {"db.namespace": namespace} if namespace else {}


def _each(owners: Iterable[tuple[Attributes, Mapping[str, int]]], attribute: str) -> _Numbers:
    return [({**told, attribute: name}, count) for told, counts in owners for name, count in counts.items()]


def _cache(snapshot: MetricsSnapshot) -> _Numbers:
    return _each(
        ((_of(name), {"hit": one.hits, "miss": one.misses}) for name, one in snapshot.cache.items()),
        "parquedb.cache.result",
    )


def _circuit_states(snapshot: MetricsSnapshot) -> _Numbers:
    for key, one in snapshot.circuits.items():
        told = {**_of(key.namespace), "parquedb.circuit": key.circuit}
        for state in CIRCUIT_STATES:
            yield {**told, "parquedb.circuit.state": state}, int(one.state == state)


def _circuit_transitions(snapshot: MetricsSnapshot) -> _Numbers:
    return _each(
        (
            ({**_of(key.namespace), "parquedb.circuit": key.circuit}, one.transitions)
            for key, one in snapshot.circuits.items()
        ),
        "parquedb.circuit.state",
    )

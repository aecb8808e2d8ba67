"""The OpenTelemetry SDK's part in sending metrics: exporters, and one thread of a process that tells them the counts.

    OTEL_METRIC_EXPORT_INTERVAL    milliseconds from one export to the next, 60 000
    OTEL_METRIC_EXPORT_TIMEOUT     milliseconds that one may take, 30 000

Counts are cumulative. So nothing is kept for a collector that does not answer: the next export tells the same counts,
grown. Apart from `metric_export`, because importing the SDK delays the start of every owner, and few send metrics.
"""

import importlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

# What the SDK's own exporters' threads set, so that an instrumented HTTP library makes no spans of exports.
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from parquedb.errors import ConfigurationError
from parquedb.observability.logs import get_logger
from parquedb.observability.metrics.http_requests import HttpRequests
from parquedb.observability.metrics.measures import OwnerGauges
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.otel.exporters import SHUTDOWN_S, otlp_protocol, shut_down
from parquedb.observability.otel.http_instruments import http_metrics
from parquedb.observability.otel.instruments import metrics_of
from parquedb.observability.otel.resource import process_resource

Source = Callable[[], MetricsSnapshot]

# Looked up on first use: gRPC costs 50 ms and 20 MB that HTTP users need not pay.
_HOMES: Final = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
}
_INTERVAL_MS: Final = 60_000.0
_TIMEOUT_MS: Final = 30_000.0
_SCOPE: Final = InstrumentationScope("parquedb")

_logger = get_logger(__name__)


class MetricSender:
    """Sends what the sources of a process have counted, again and again, and once more at the end.

    Args:
        exporters: Whereto; shut down with the sender.
        interval_s: Seconds from one export to the next.
        timeout_ms: Milliseconds that one may take.
        service_name: `service.name`, unless the environment has one.
    """

    def __init__(
        self, exporters: Sequence[MetricExporter], *, interval_s: float, timeout_ms: float, service_name: str
    ) -> None:
        self._exporters = exporters
        self._interval_s = interval_s
        self._timeout_ms = timeout_ms
        self._resource = process_resource(service_name)
        self._sources: dict[object, Source] = {}
        self._requests: dict[object, HttpRequests] = {}
        self._past = MetricsSnapshot()
        self._failing = False
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="parquedb-otel-metrics", daemon=True)
        self._thread.start()

    def add(self, source: Source) -> Callable[[], None]:
        """Send what a source has counted, too; return how to stop asking it.

        What it had counted by then stays in the sums, for they must not fall.
        """
        key = object()
        with self._lock:
            self._sources[key] = source

        def remove() -> None:
            with self._lock:
                if self._sources.pop(key, None) is not None:
                    self._past = MetricsSnapshot.merge(self._past, _without_gauges(source()))

        return remove

    def add_requests(self, requests: HttpRequests) -> Callable[[], None]:
        """Send the counts of HTTP requests, too; return how to stop that."""
        key = object()
        with self._lock:
            self._requests[key] = requests

        def remove() -> None:
            with self._lock:
                self._requests.pop(key, None)

        return remove

    def send(self) -> None:
        """Send once, now; what an exporter fails with is logged."""
        with self._lock:
            counted = MetricsSnapshot.merge(self._past, *(source() for source in self._sources.values()))
            served = list(self._requests.values())
        # Without sources nobody has said when counting began.
        counted = replace(counted, taken_s=counted.taken_s or time.time())
        metrics = metrics_of(counted)
        for requests in served:
            metrics += http_metrics(requests, time.time_ns())
        scope = ScopeMetrics(_SCOPE, metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        for exporter in self._exporters:
            try:
                exporter.export(data, timeout_millis=self._timeout_ms)
            except Exception as error:
                # The exporters say themselves that a collector does not answer; this is none of their usual failures.
                if not self._failing:
                    _logger.warning("metrics could not be exported; further failures are not told", exc_info=error)
                self._failing = True

    def shutdown(self, timeout_s: float = SHUTDOWN_S) -> None:
        """Send once more and close, in at most `timeout_s` seconds. Again does nothing."""
        if not self._stopped.is_set():
            self._stopped.set()
            shut_down(self._close, self._exporters, timeout_s)

    def _close(self) -> None:
        self._thread.join()
        for exporter in self._exporters:
            exporter.shutdown()

    def _run(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while not self._stopped.wait(self._interval_s):
            self.send()
        self.send()


def make_sender(names: Sequence[str], environ: Mapping[str, str], service_name: str) -> MetricSender:
    """Return a sender as the environment says, which the caller shuts down.

    Args:
        names: `otlp` or `console`, any of them.
        environ: The variables that select protocol and times.
        service_name: `service.name`, unless the environment has one.

    Raises:
        ConfigurationError: a variable cannot be followed.
    """
    return MetricSender(
        [_exporter(name, environ) for name in names],
        interval_s=_milliseconds("OTEL_METRIC_EXPORT_INTERVAL", _INTERVAL_MS, environ) / 1000,
        timeout_ms=_milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", _TIMEOUT_MS, environ),
        service_name=service_name,
    )


def _exporter(name: str, environ: Mapping[str, str]) -> MetricExporter:
    if name == "console":
        return ConsoleMetricExporter()
    module: Any = importlib.import_module(_HOMES[otlp_protocol("METRICS", environ)])
    exporter: MetricExporter = module.OTLPMetricExporter()
    return exporter


def _milliseconds(name: str, default: float, environ: Mapping[str, str]) -> float:
    asked = environ.get(name, "").strip()
    try:
        found = float(asked or default)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise ConfigurationError(f"{name}: expected a number of milliseconds above 0; got {asked!r}", setting=name)
    return found


def _without_gauges(snapshot: MetricsSnapshot) -> MetricsSnapshot:
    """Return only what adds up: of what has ended nothing waits, and no circuit has a state."""
    owners = {
        name: OwnerGauges(backpressure=one.backpressure, flushes=one.flushes, compactions=one.compactions)
        for name, one in snapshot.owners.items()
    }
    return replace(snapshot, owners=owners, circuits={})

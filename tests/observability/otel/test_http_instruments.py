"""HTTP requests as OpenTelemetry metrics, sent beside everything else."""

from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.semconv.metrics.http_metrics import HTTP_SERVER_REQUEST_DURATION

from parquedb.observability.metrics.http_requests import BOUNDS_S, HttpRequests, RequestKind
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.otel.http_instruments import http_metrics
from parquedb.observability.otel.metric_provider import MetricSender


class Kept(MetricExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[MetricsData] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        self.data.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing to close."""

    def names(self) -> set[str]:
        return {metric.name for metric in self.data[-1].resource_metrics[0].scope_metrics[0].metrics}


def some() -> HttpRequests:
    requests = HttpRequests()
    requests.answered(RequestKind("GET", "/v1/{namespace}", 200), 0.003)
    requests.answered(RequestKind("GET", "/v1/{namespace}", 200), 0.3)
    requests.answered(RequestKind("POST", "", 503), 0.001)
    requests.active = 3
    return requests


def test_durations_are_told_by_method_route_and_status() -> None:
    requests = some()
    duration, active = http_metrics(requests, requests.started_ns + 10**9)
    assert (duration.name, duration.unit) == (HTTP_SERVER_REQUEST_DURATION, "s")
    well, failed = duration.data.data_points
    assert well.attributes == {
        "http.request.method": "GET",
        "http.route": "/v1/{namespace}",
        "http.response.status_code": 200,
        "url.scheme": "http",
    }
    assert (well.count, sum(well.bucket_counts), well.bucket_counts[0]) == (2, 2, 1)
    assert (tuple(well.explicit_bounds), len(well.bucket_counts)) == (BOUNDS_S, len(BOUNDS_S) + 1)
    assert failed.attributes["error.type"] == "503"
    assert "http.route" not in failed.attributes
    assert [point.value for point in active.data.data_points] == [3]


def test_they_are_sent_until_their_process_says_otherwise() -> None:
    exporter = Kept()
    sender = MetricSender([exporter], interval_s=3600, timeout_ms=1000, service_name="gateway")
    sender.add(MetricsSnapshot)
    remove = sender.add_requests(some())
    sender.send()
    assert {"http.server.request.duration", "http.server.active_requests"} <= exporter.names()
    remove()
    sender.shutdown(10)
    assert "http.server.request.duration" not in exporter.names()

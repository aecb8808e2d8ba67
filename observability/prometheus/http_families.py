"""Requests that a process answers, in the words of Prometheus."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from parquedb.observability.metrics.http_requests import BOUNDS_S, HttpRequests

_BOUNDS: Final = (*map(str, BOUNDS_S), "+Inf")


class HttpRequestCollector(Collector):
    """`http.server.*` metrics as what `prometheus_client` collects from."""

    def __init__(self, requests: HttpRequests) -> None:
        self._requests = requests

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        duration = HistogramMetricFamily(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests that this process has answered.",
            labels=("http_request_method", "http_route", "http_response_status_code"),
            unit="seconds",
        )
        for kind, counts in self._requests:
            labels = [kind.method, kind.route, str(kind.status) if kind.status else ""]
            sums = map(float, accumulate(counts.buckets))
            duration.add_metric(labels, list(zip(_BOUNDS, sums, strict=True)), counts.sum_s)
        yield duration
        yield GaugeMetricFamily(
            "http_server_active_requests", "HTTP requests without an answer.", value=self._requests.active
        )
        # Not each answer 500 is a bug: what storage refuses is told by the same status.
        yield CounterMetricFamily(
            "parquedb_gateway_failures",
            "Requests that failed in a way nobody foresaw.",
            value=self._requests.unforeseen,
        )

"""Requests that a process answers, in the words of OpenTelemetry.

Source:
    OpenTelemetry semantic conventions, "HTTP server metrics": `http.server.request.duration` (stable) and
    `http.server.active_requests`.
"""

from typing import Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from parquedb.observability.metrics.http_requests import BOUNDS_S, HttpRequests, RequestCounts, RequestKind

DURATION: Final = "http.server.request.duration"
ACTIVE: Final = "http.server.active_requests"

_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_SERVER_ERROR: Final = 500


def http_metrics(requests: HttpRequests, end_ns: int) -> list[Metric]:
    """Return the metrics of requests, cumulative since they are counted.

    Args:
        requests: What was counted.
        end_ns: The time now, nanoseconds since 1970.
    """
    points = [_point(kind, counts, requests.started_ns, end_ns) for kind, counts in requests]
    active = NumberDataPoint({}, requests.started_ns, end_ns, requests.active)
    return [
        Metric(DURATION, "Duration of HTTP server requests.", "s", Histogram(points, _CUMULATIVE)),
        Metric(ACTIVE, "HTTP requests without an answer.", "{request}", Sum([active], _CUMULATIVE, is_monotonic=False)),
    ]


def _point(kind: RequestKind, counts: RequestCounts, start_ns: int, end_ns: int) -> HistogramDataPoint:
    told: dict[str, str | int] = {"http.request.method": kind.method, "url.scheme": "http"}
    if kind.route:
        told["http.route"] = kind.route
    if kind.status:
        told["http.response.status_code"] = kind.status
    if not kind.status or kind.status >= _SERVER_ERROR:
        told["error.type"] = str(kind.status or "no_response")
    buckets = list(counts.buckets)
    # The protocol lets a point go without least and greatest, and the encoder does; the class does not say so.
    return HistogramDataPoint(told, start_ns, end_ns, sum(buckets), counts.sum_s, buckets, BOUNDS_S, None, None)  # type: ignore[arg-type]

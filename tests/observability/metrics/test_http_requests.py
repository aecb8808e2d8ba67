"""Counts of HTTP requests."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from parquedb.observability.metrics.http_requests import BOUNDS_S, KINDS_MAX, OTHERS, HttpRequests, RequestKind
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.prometheus.exposition import render
from parquedb.observability.prometheus.http_families import HttpRequestCollector

GET = RequestKind("GET", "/v1/{namespace}", 200)


def test_durations_fall_into_the_bucket_whose_bound_they_reach() -> None:
    requests = HttpRequests()
    for took_s in (0.005, 0.0051, 99.0):
        requests.answered(GET, took_s)
    [(kind, counts)] = requests
    assert kind == GET
    assert counts.buckets == [1, 1, *[0] * (len(BOUNDS_S) - 2), 1]
    assert counts.sum_s == 0.005 + 0.0051 + 99.0


def test_kinds_beyond_the_bound_are_counted_as_one() -> None:
    requests = HttpRequests()
    for status in range(KINDS_MAX + 50):
        requests.answered(RequestKind("GET", "/", status), 0.1)
    counted = dict(requests)
    assert len(counted) == KINDS_MAX + 1
    assert sum(counted[OTHERS].buckets) == 50


def test_they_are_shown_beside_everything_else() -> None:
    requests = HttpRequests()
    requests.answered(GET, 0.3)
    requests.active = 2
    for accept, parse in (
        ("text/plain", plain),
        ("application/openmetrics-text; version=1.0.0", openmetrics),
    ):
        text = render(MetricsSnapshot(), accept, [HttpRequestCollector(requests)]).decode()
        families = {family.name: family for family in parse(text)}
        samples = families["http_server_request_duration_seconds"].samples
        buckets = {one.labels["le"]: one.value for one in samples if one.name.endswith("_bucket")}
        assert (buckets["0.25"], buckets["0.5"], buckets["+Inf"]) == (0.0, 1.0, 1.0)
        [count] = [one for one in samples if one.name.endswith("_count")]
        assert count.labels == {
            "http_request_method": "GET",
            "http_route": "/v1/{namespace}",
            "http_response_status_code": "200",
        }
        assert families["http_server_active_requests"].samples[0].value == 2
        assert "parquedb_hook_errors" in families

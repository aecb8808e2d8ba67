"""Server spans of HTTP requests."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from parquedb.observability.otel.http_spans import HttpSpans, remote_span
from parquedb.observability.otel.lean_tracer import TracerSpans
from parquedb.observability.otel.propagation import current_traceparent

CALLER = f"00-{'5' * 32}-{'6' * 16}-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> HttpSpans:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return HttpSpans(TracerSpans(provider))


def test_a_request_is_a_server_span_below_its_callers(spans: HttpSpans, exporter: InMemorySpanExporter) -> None:
    span = spans.begin("GET", "/v1/{namespace}", "/v1/posts", CALLER)
    assert span.traceparent == current_traceparent()
    span.end(200)
    assert current_traceparent() is None
    [made] = exporter.get_finished_spans()
    assert (made.name, made.kind, made.status.status_code) == ("GET /v1/{namespace}", SpanKind.SERVER, StatusCode.UNSET)
    assert made.parent is not None
    assert trace.format_span_id(made.parent.span_id) == "6" * 16
    assert dict(made.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/{namespace}",
        "http.response.status_code": 200,
        "url.path": "/v1/posts",
        "url.scheme": "http",
    }


@pytest.mark.parametrize(("status", "error"), [(404, None), (500, "500"), (0, "no_response")])
def test_only_what_the_server_did_wrong_is_an_error(
    spans: HttpSpans, exporter: InMemorySpanExporter, status: int, error: str | None
) -> None:
    spans.begin("_OTHER", "", "/nowhere", None).end(status)
    [made] = exporter.get_finished_spans()
    assert (made.name, (made.attributes or {}).get("error.type")) == ("HTTP", error)
    assert (made.status.status_code is StatusCode.ERROR) == (error is not None)


def test_what_is_done_under_a_remote_span_hangs_below_it() -> None:
    with remote_span(CALLER):
        assert current_traceparent() == CALLER
    assert current_traceparent() is None
    with remote_span("nonsense"):
        assert current_traceparent() is None

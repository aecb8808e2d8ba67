"""One write, two processes, one trace: through a real Ray and a real OpenTelemetry collector."""

from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

import parquedb
from tests.support.collector import rotel_binary, running_collector

SERVICE = "traced end to end"
INTERNAL, SERVER, CLIENT = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


@pytest.mark.skipif(rotel_binary() is None, reason="the rotel wheel is not installed")
def test_a_write_is_one_trace_from_the_callers_span_to_the_put(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_collector(tmp_path) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", SERVICE)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with parquedb.connect(str(tmp_path / "db")) as db:
            posts = db["posts"]
            posts.create({"first": True})
            tracer = TracerProvider().get_tracer("caller")
            with tracer.start_as_current_span("caller") as caller:
                posts.create({"n": 1}, id="a")
            trace_id = trace.format_trace_id(caller.get_span_context().trace_id)
            # One more at a time: how many spans there are besides these is not this test's business.
            spans = {}
            for wanted in range(1, 200):
                mine = [each for each in collector.wait_for(wanted, SERVICE) if each.trace_id.hex() == trace_id]
                spans = {(each.name, each.kind): each for each in mine}
                if len(spans) >= 4:
                    break
    client, owner = spans["create posts", CLIENT], spans["create posts", SERVER]
    commit, put = spans["commit posts", INTERNAL], spans["storage.create", INTERNAL]
    assert client.parent_span_id.hex() == trace.format_span_id(caller.get_span_context().span_id)
    assert owner.parent_span_id == client.span_id
    assert commit.parent_span_id == owner.span_id
    assert put.parent_span_id == commit.span_id

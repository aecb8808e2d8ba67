"""A Ray Serve app that was given a database: a request is one trace down to the PUT, and its logs are kept."""

import asyncio
import json
import logging
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import parquedb
from parquedb.observability.otel.export import otel_variables, take_process_telemetry
from tests.support.collector import Collector, attributes_of, free_port, rotel_binary, running_collector

serve = pytest.importorskip("ray.serve", reason="ray[serve] is not installed")

pytestmark = pytest.mark.skipif(rotel_binary() is None, reason="the rotel wheel is not installed")

SERVICE = "served"
TRACE_ID = "5" * 32


class Posts:
    """The app: POST creates a post, any other request ends the connection."""

    def __init__(self, db: parquedb.Database) -> None:
        self._db = db
        self._tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")

    async def __call__(self, request: Any) -> dict[str, Any]:
        """Answer one HTTP request."""
        if request.method != "POST":
            await asyncio.to_thread(self._db.close)
            return {"pid": os.getpid()}
        context = TraceContextTextMapPropagator().extract(dict(request.headers))
        with self._tracer.start_as_current_span("POST /posts", context):
            post = await asyncio.to_thread(self._db["posts"].create, await request.json())
            logging.getLogger("parquedb.app").warning("created %s", post["$id"])
        return {"id": post["$id"]}


@pytest.fixture
def port(ray_cluster: str) -> Iterator[int]:
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield port
    serve.shutdown()


def asked(port: int, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"traceparent": f"00-{TRACE_ID}-{'6' * 16}-01"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def spans_of_the_trace(collector: Collector) -> dict[tuple[str, int], Any]:
    wanted = {"create posts", "commit posts", "storage.create"}

    def mine(spans: list[Any]) -> list[Any]:
        return [span for span in spans if span.trace_id.hex() == TRACE_ID]

    def complete(spans: list[Any]) -> bool:
        found = {(span.name, span.kind) for span in mine(spans)}
        sides = {("create posts", Span.SPAN_KIND_CLIENT), ("create posts", Span.SPAN_KIND_SERVER)}
        return {name for name, _ in found} >= wanted and found >= sides

    collector.spans(SERVICE, complete, 30.0)
    found = [one for one in collector.all("traces", SERVICE) if one.body.trace_id.hex() == TRACE_ID]
    return {(one.body.name, one.body.kind): one for one in found}


@pytest.mark.faults
def test_a_request_to_a_serve_app_is_one_trace_down_to_the_put_and_its_logs_are_kept(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_process_telemetry()
    with running_collector(tmp_path) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", SERVICE)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with parquedb.connect(str(tmp_path / "db"), worker_logs=str(tmp_path / "logs")) as db:
            # A replica inherits nothing of this process's environment.
            options = {"num_cpus": 0, "runtime_env": {"env_vars": otel_variables()}}
            app = serve.deployment(Posts, ray_actor_options=options)
            serve.run(app.bind(db), route_prefix="/")
            made = asked(port, {"title": "Served"})
            assert db["posts"].get(made["id"])["title"] == "Served"
            spans = spans_of_the_trace(collector)
            pid = asked(port)["pid"]
        telemetry = take_process_telemetry()
        assert telemetry is not None
        telemetry.shutdown()
    client, owner = spans["create posts", Span.SPAN_KIND_CLIENT], spans["create posts", Span.SPAN_KIND_SERVER]
    assert client.resource["process.pid"] == pid != os.getpid()
    assert owner.body.parent_span_id == client.body.span_id
    assert spans["commit posts", Span.SPAN_KIND_INTERNAL].body.parent_span_id == owner.body.span_id
    assert attributes_of(client.body)["db.operation.name"] == "create"
    assert trace.format_trace_id(int(TRACE_ID, 16)) == client.body.trace_id.hex()
    with parquedb.open_worker_logs(str(tmp_path / "logs")) as logs:
        rows = list(logs.find({"message": f"created {made['id']}"}))
    assert [(row["trace_id"], row["worker"].endswith(f":{pid}")) for row in rows] == [(TRACE_ID, True)]

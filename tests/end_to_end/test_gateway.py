"""The gateway on a real Ray Serve, and its client: through the proxy, a replica, the owner, and back."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import ray
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import parquedb
from parquedb.errors import VersionConflictError
from parquedb.observability.otel.export import take_process_telemetry
from parquedb.settings.gateway import GatewaySettings
from tests.support.collector import Collector, attributes_of, free_port, rotel_binary, running_collector

serve = pytest.importorskip("ray.serve", reason="ray[serve] is not installed")

TRACE_ID = "7" * 32


@contextmanager
def served(folder: Path) -> Iterator[str]:
    from parquedb.cluster.gateway.deployment import serve_gateway  # noqa: PLC0415 - imports Serve

    database = asyncio.run(parquedb.connect_async(str(folder)))
    try:
        gateway = serve_gateway(database, GatewaySettings(port=free_port(), heartbeat_s=0.2))
        yield gateway.url
        gateway.close()
    finally:
        serve.shutdown()
        asyncio.run(database.close())


@pytest.fixture(scope="module")
def url(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("gateway") / "db") as address:
        yield address


def test_everything_passes_through_serve(url: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/health").json() == {"status": "healthy"}
        documents_pass(client)
        races_are_decided(url, client)
        streams_pass(client)
        large_bodies_pass(client)
        console_is_told(client)
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "healthy"), ready.text
        assert ready.json()["owners"]["posts"]["state"] == "open"
        metrics = client.get("/metrics").text
        assert "parquedb_operations_total{" in metrics
        assert "http_server_request_duration_seconds_count" in metrics


def documents_pass(client: httpx.Client) -> None:
    made = client.post("/v1/posts?id=a%2Fb", json={"title": "Served"}, headers={"X-Request-Id": "first"})
    assert (made.status_code, made.headers["x-request-id"]) == (201, "first")
    assert made.headers["location"] == "/v1/posts/documents/a%2Fb"
    found = client.get(made.headers["location"])
    assert (found.status_code, found.json(), found.headers["etag"]) == (200, made.json(), '"1"')
    assert client.get(made.headers["location"], headers={"If-None-Match": '"1"'}).status_code == 304
    head = client.head(made.headers["location"])
    assert (head.status_code, head.headers["content-length"]) == (200, found.headers["content-length"])
    missing = client.get("/v1/posts/documents/none")
    assert (missing.status_code, missing.json()["code"]) == (404, "ENTITY_NOT_FOUND")
    operations = [{"op": "get", "id": "a/b"}, {"op": "get", "id": "none"}]
    answer = client.post("/v1/posts/operations", json={"operations": operations})
    assert [one["value"] for one in answer.json()["results"]] == [made.json(), None]
    assert "posts" in client.get("/v1").json()["namespaces"]


def races_are_decided(url: str, client: httpx.Client) -> None:
    path = client.post("/v1/posts", json={"n": 0}).headers["location"]

    async def race() -> list[int]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as racer:
            body = {"$inc": {"n": 1}}
            tries = [racer.patch(path, json=body, headers={"If-Match": '"1"'}) for _ in range(10)]
            return sorted(one.status_code for one in await asyncio.gather(*tries))

    assert asyncio.run(race()) == [200] + [412] * 9
    assert client.get(path).json()["n"] == 1


def streams_pass(client: httpx.Client) -> None:
    with client.stream("GET", "/v1/posts/changes?after=0", headers={"Accept": "text/event-stream"}) as answer:
        heard: list[Any] = []
        for line in answer.iter_lines():
            if line.startswith("data: "):
                heard.append(json.loads(line.removeprefix("data: "))["seq"])
            elif line == ":":
                break
    assert heard == [1, 2, 3]


def large_bodies_pass(client: httpx.Client) -> None:
    lines = b"".join(b'{"$id":"r%d","text":"%s"}\n' % (n, b"x" * 1000) for n in range(20_000))

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(lines), 100_000):
            yield lines[start : start + 100_000]

    loaded = client.post("/v1/rows/import", content=pieces(), headers={"Content-Type": "application/x-ndjson"})
    assert (loaded.status_code, loaded.json()["rows"]) == (200, 20_000), loaded.text
    exported = client.get("/v1/rows/export?format=ndjson")
    assert (exported.status_code, len(exported.content.splitlines())) == (200, 20_000)
    refused = client.post("/v1/rows", content=b" " * (40 << 20), headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (413, "INVALID_INPUT")


def console_is_told(client: httpx.Client) -> None:
    page = client.get("/console")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/console/main.js").status_code == 200
    data = client.get("/console/data").json()
    rows = {row["name"]: row for row in data["namespaces"]}
    assert (data["status"], data["problem"]) == ("healthy", None)
    assert rows.keys() >= {"posts", "rows"}
    assert (rows["rows"]["documents"], rows["rows"]["state"]) == (20_000, "open")
    assert len(rows["posts"]["node"]) > 20
    counts = data["circuits"]["counts"]
    assert (counts["closed"] >= 4, counts["half_open"], counts["open"]) == (True, 0, 0)
    assert {"VERSION_CONFLICT"} <= {error["code"] for error in data["errors"]}
    assert all(one["request_id"] for one in data["slowest"] if one["operation"] == "create")


def test_a_client_does_its_work_through_serve_as_it_does_without(url: str, tmp_path: Path) -> None:
    with parquedb.connect(url) as db:
        posts = db["articles"]
        first = posts.create({"price": Decimal("1.10"), "raw": b"\x00\xff"}, id="a/b", actor="ada")
        assert (first["price"], first["raw"], first["createdBy"]) == (Decimal("1.10"), b"\x00\xff", "ada")
        assert posts.get("a/b") == first
        assert posts.update("a/b", {"$inc": {"n": 2}}, expected_version=1)["n"] == 2
        with pytest.raises(VersionConflictError) as caught:
            posts.update("a/b", {"$inc": {"n": 2}}, expected_version=1)
        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert posts.insert_arrow(pa.table({"$id": ["x", "y"], "n": [1, 2]}), request_id="load") == 2
        assert posts.insert_arrow(pa.table({"$id": ["x", "y"], "n": [1, 2]}), request_id="load") == 2
        ids = posts.create_many([{"n": n} for n in range(5000)])
        assert len(set(ids)) == 5000
        assert posts.count() == 5003
        assert posts.export_file(tmp_path / "posts.parquet").rows == 5003
        assert db["again"].import_file(tmp_path / "posts.parquet").rows == 5003
        posts.flush()
        assert posts.stats()["live_rows"] == 5003
        assert set(db.namespaces()) >= {"again", "articles"}
        assert db.health().status == "healthy"
        assert [one.action for one in posts.history("a/b")] == ["create", "update"]

        @ray.remote(num_cpus=0)
        def write(collection: parquedb.Collection) -> int:
            return int(collection.create({"from": "a task"})["version"])

        assert ray.get(write.remote(posts)) == 1


def test_many_coroutines_at_once_each_write_once(url: str) -> None:
    async def work() -> None:
        async with await parquedb.connect_async(url) as db:
            counts = db["counts"]
            await counts.create({"n": 0}, id="c")
            await asyncio.gather(*(counts.update("c", {"$inc": {"n": 1}}) for _ in range(300)))
            assert (await counts.get("c"))["n"] == 300

    asyncio.run(work())


@pytest.mark.skipif(rotel_binary() is None, reason="the rotel wheel is not installed")
@pytest.mark.faults
def test_a_request_is_one_trace_from_its_caller_to_the_put(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_process_telemetry()
    with running_collector(tmp_path) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "gateway")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with served(tmp_path / "db") as url:
            headers = {"traceparent": f"00-{TRACE_ID}-{'6' * 16}-01"}
            answer = httpx.post(f"{url}/v1/posts", json={"title": "Traced"}, headers=headers, timeout=60)
            assert answer.status_code == 201
            spans = spans_of_the_trace(collector)
        telemetry = take_process_telemetry()
        if telemetry is not None:
            telemetry.shutdown()
    server, client = spans["POST /v1/{namespace}", Span.SPAN_KIND_SERVER], spans["create posts", Span.SPAN_KIND_CLIENT]
    owner, commit = spans["create posts", Span.SPAN_KIND_SERVER], spans["commit posts", Span.SPAN_KIND_INTERNAL]
    assert server.body.parent_span_id.hex() == "6" * 16
    assert answer.headers["traceparent"] == f"00-{TRACE_ID}-{server.body.span_id.hex()}-01"
    assert client.body.parent_span_id == server.body.span_id
    assert owner.body.parent_span_id == client.body.span_id
    assert commit.body.parent_span_id == owner.body.span_id
    assert attributes_of(server.body)["http.response.status_code"] == 201


def spans_of_the_trace(collector: Collector) -> dict[tuple[str, int], Any]:
    wanted = {"POST /v1/{namespace}", "create posts", "commit posts", "storage.create"}

    def complete(spans: list[Any]) -> bool:
        mine = [span for span in spans if span.trace_id.hex() == TRACE_ID]
        return {span.name for span in mine} >= wanted and len(mine) >= 5

    collector.spans("gateway", complete, 30.0)
    found = [one for one in collector.all("traces", "gateway") if one.body.trace_id.hex() == TRACE_ID]
    return {(one.body.name, one.body.kind): one for one in found}

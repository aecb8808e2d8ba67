"""What every request gets: an id, a line in the log, a place among the counts, fields for browsers."""

import logging

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from parquedb.cluster.gateway.app import build_app
from parquedb.cluster.gateway.routes import route_of
from parquedb.errors import StorageWriteError
from parquedb.settings.gateway import GatewaySettings
from tests.support.engine_database import EngineDatabase


async def test_a_request_keeps_its_id_or_is_given_one(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health", headers={"X-Request-Id": "abc/1.2:3"})
    assert answer.headers["x-request-id"] == "abc/1.2:3"
    first, second = [(await client.get("/health")).headers["x-request-id"] for _ in range(2)]
    assert first != second
    assert len(first) == 20


@pytest.mark.parametrize("given", ["x" * 129, "a b", "a\u00e9", '"quoted"'])
async def test_an_id_that_would_spoil_a_log_is_not_kept(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/health", headers={"X-Request-Id": given.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.headers["x-request-id"] != given
    assert answer.headers["x-request-id"].isalnum()


async def test_the_access_log_tells_routes_and_neither_ids_nor_filters(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "parquedb.cluster.gateway.access_log"):
        await client.get("/v1/posts/documents/private-id", headers={"X-Request-Id": "r1"})
        await client.get("/v1/posts", params={"filter": '{"name":"private-name"}'})
    first, second = [record for record in caplog.records if getattr(record, "event", "") == "http.request"]
    assert first.getMessage() == "GET /v1/{namespace}/documents/{id} 404"
    told = vars(first)
    assert (told["request_id"], told["namespace"], told["operation"], told["http_status"]) == (
        "r1",
        "posts",
        "get",
        404,
    )
    assert told["duration"] > 0
    assert "private" not in f"{vars(first)}{vars(second)}"


async def test_failures_inside_are_logged_under_the_id_of_the_request(
    client: httpx.AsyncClient, database: EngineDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database.refuse.append(RuntimeError("boom"))
    await client.post("/v1/posts", json={}, headers={"X-Request-Id": "r2"})
    [record] = [record for record in caplog.records if getattr(record, "event", "") == "http.failed"]
    assert vars(record)["request_id"] == "r2"


async def test_requests_are_counted_by_route_and_status(client: httpx.AsyncClient) -> None:
    await client.post("/v1/posts", json={})
    await client.get("/v1/posts/documents/none")
    await client.get("/nowhere")
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    [duration] = [family for family in families if family.name == "http_server_request_duration_seconds"]
    counted = {tuple(one.labels.values()): one.value for one in duration.samples if one.name.endswith("_count")}
    assert {tuple(sorted(labels)): value for labels, value in counted.items()} == {
        tuple(sorted(("POST", "/v1/{namespace}", "201"))): 1.0,
        tuple(sorted(("GET", "/v1/{namespace}/documents/{id}", "404"))): 1.0,
        tuple(sorted(("GET", "", "404"))): 1.0,
    }


async def test_what_nobody_foresaw_is_counted_and_what_storage_refuses_is_not(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    async def counted() -> float:
        families = text_string_to_metric_families((await client.get("/metrics")).text)
        [family] = [family for family in families if family.name == "parquedb_gateway_failures"]
        return float(family.samples[0].value)

    assert await counted() == 0  # There from the start: Prometheus sees no rise in a series that begins.
    database.refuse.append(StorageWriteError("the store refused"))
    assert (await client.post("/v1/posts", json={})).status_code == 500
    assert await counted() == 0
    database.refuse.append(RuntimeError("boom"))
    await client.post("/v1/posts", json={})
    database.refuse.append(RuntimeError("boom"))
    await client.post("/v1/posts/operations", json={"operations": [{"op": "create", "data": {}}]})
    assert await counted() == 2


@pytest.mark.parametrize(
    ("waits", "given_s"), [("0.5", 0.4), ("60", 5.0), ("", 5.0), ("nonsense", 5.0), ("nan", 5.0), ("-1", 5.0)]
)
async def test_a_silent_owner_does_not_cost_prometheus_its_scrape(
    waits: str, given_s: float, client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": waits} if waits else {}
    assert (await client.get("/metrics", headers=headers)).status_code == 200
    assert database.patience == [pytest.approx(given_s)]


async def test_an_answer_is_worth_no_more_than_the_request_allows(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    await client.get("/metrics", headers={"Request-Timeout": "1"})
    [given_s] = database.patience
    assert given_s is not None
    assert 0 < given_s <= 1


def test_every_route_has_the_template_that_it_is_counted_by(database: EngineDatabase) -> None:
    app = build_app(database, GatewaySettings())
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    assert "/v1/{namespace}/documents/{id:path}" in paths
    for path in paths - {"/docs/oauth2-redirect"}:
        template = path.replace(":path", "")
        assert route_of(template.format(namespace="posts", id="a/b", method="find", file="main.js")) == template
    for path in ("", "/", "/v1/", "/v1//x", "/v1/posts/", "/v1/posts/documents/", "/v1/a/b/c", "/v2/posts", "v1/posts"):
        assert route_of(path) == ""


async def test_answers_are_careful_with_browsers(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/v1/posts", "/nowhere"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"


async def test_a_trace_goes_on_in_the_answer(client: httpx.AsyncClient) -> None:
    caller = f"00-{'5' * 32}-{'6' * 16}-01"
    answer = await client.get("/health", headers={"traceparent": caller})
    assert answer.headers["traceparent"].split("-")[1] == "5" * 32
    assert "traceparent" not in (await client.get("/health")).headers

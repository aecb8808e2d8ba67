"""Who asks decides what is done: permissions of every operation, and whose name documents bear."""

from typing import Any

import httpx
import pytest

from parquedb.cluster.gateway.app import build_app
from parquedb.errors import ConfigurationError
from parquedb.settings.gateway import GatewaySettings
from tests.cluster.gateway.conftest import Clients, Names
from tests.support.engine_database import EngineDatabase

ADA = {"Authorization": "Bearer ada"}
BOB = {"Authorization": "Bearer bob"}


@pytest.fixture
def known(clients: Clients) -> httpx.AsyncClient:
    """A gateway that knows Ada, who may do everything with hers, and Bob, who may read it."""
    return clients(Names(ada=["*:ada-*"], bob=["read:ada-*", "create:bob"], meter=["metrics:*"]))


async def test_nobody_unknown_gets_anywhere_but_to_the_probes(
    known: httpx.AsyncClient, database: EngineDatabase
) -> None:
    for path in ("/v1", "/v1/ada-posts", "/v1/ada-posts/documents/x", "/metrics", "/nowhere", "/openapi.json"):
        answer = await known.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "AUTHENTICATION_REQUIRED"), path
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert (await known.get("/health")).status_code == 200
    assert (await known.get("/ready")).status_code == 200
    assert database.asked == []


READING: list[tuple[str, str, Any]] = [
    ("GET", "/v1/ada-posts/documents/x", None),
    ("GET", "/v1/ada-posts", None),
    ("GET", "/v1/ada-posts/export", None),
    ("GET", "/v1/ada-posts/changes", None),
    ("GET", "/v1/ada-posts/history?id=x", None),
    ("GET", "/v1/ada-posts/schema", None),
    ("POST", "/v1/ada-posts/stats", {}),
    ("POST", "/v1/ada-posts/count", {}),
]
WRITING: list[tuple[str, str, Any]] = [
    ("POST", "/v1/ada-posts", {}),
    ("PUT", "/v1/ada-posts/documents/x", {}),
    ("PATCH", "/v1/ada-posts/documents/x", {"$set": {"a": 1}}),
    ("DELETE", "/v1/ada-posts/documents/x", None),
    ("POST", "/v1/ada-posts/import", None),
    ("POST", "/v1/ada-posts/delete_many", {"filter": {}}),
    ("POST", "/v1/ada-posts/batch", {"operations": []}),
    ("PUT", "/v1/ada-posts/schema", {"a": "int"}),
    ("POST", "/v1/ada-posts/flush", {}),
    ("POST", "/v1/ada-posts/compact", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), [*READING, *WRITING])
async def test_what_is_not_allowed_is_denied_and_not_sent(
    known: httpx.AsyncClient, database: EngineDatabase, method: str, path: str, body: Any
) -> None:
    headers = {} if body is not None else {"Content-Type": "application/x-ndjson"}
    denied = (method, path, body) in WRITING
    answer = await known.request(method, path, json=body, headers={**BOB, **headers})
    if denied:
        assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
        assert database.asked == []
    else:
        assert answer.status_code in {200, 404}
        assert "PERMISSION_DENIED" not in answer.text
    elsewhere = await known.request(method, path.replace("ada-posts", "eve"), json=body, headers={**BOB, **headers})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "PERMISSION_DENIED")


async def test_a_list_of_operations_hides_nothing(known: httpx.AsyncClient, database: EngineDatabase) -> None:
    operations = [{"op": "count"}, {"op": "create", "data": {}}, {"op": "register", "schema": {"a": "int"}}]
    answer = await known.post("/v1/ada-posts/operations", json={"operations": operations}, headers=BOB)
    assert [one["ok"] for one in answer.json()["results"]] == [True, False, False]
    assert [operation.kind for _, operation, _ in database.asked] == ["count"]


async def test_a_batch_hides_nothing(clients: Clients, database: EngineDatabase) -> None:
    client = clients(Names(eve=["batch:*", "create:*"]), headers={"Authorization": "Bearer eve"})
    batch = {"operations": [{"op": "create", "data": {}}, {"op": "delete", "id": "x"}]}
    for path, body in (("batch", batch), ("operations", {"operations": [{"op": "batch", **batch}]})):
        answer = await client.post(f"/v1/posts/{path}", json=body)
        assert "PERMISSION_DENIED" in answer.text
    assert database.asked == []
    assert (await client.post("/v1/posts/batch", json={"operations": batch["operations"][:1]})).status_code == 200


async def test_documents_bear_the_name_of_whoever_wrote_them(known: httpx.AsyncClient) -> None:
    made = await known.post("/v1/ada-posts", json={"n": 1}, headers=ADA)
    assert made.json()["createdBy"] == "ada"
    changed = await known.patch(made.headers["location"], json={"$inc": {"n": 1}}, headers=ADA)
    assert changed.json()["updatedBy"] == "ada"
    batch = {"operations": [{"op": "create", "data": {}, "id": "b"}]}
    await known.post("/v1/ada-posts/batch", json=batch, headers=ADA)
    assert (await known.get("/v1/ada-posts/documents/b", headers=ADA)).json()["createdBy"] == "ada"
    lines = {**ADA, "Content-Type": "application/x-ndjson"}
    await known.post("/v1/ada-posts/import", content=b'{"$id": "c"}\n', headers=lines)
    assert (await known.get("/v1/ada-posts/documents/c", headers=ADA)).json()["createdBy"] == "ada"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("create", {"data": {}, "actor": "bob"}),
        ("batch", {"operations": [{"op": "create", "data": {}, "actor": "bob"}]}),
        ("batch", {"operations": [], "actor": "bob"}),
        ("update_many", {"filter": {}, "ops": {"$set": {"a": 1}}, "actor": "bob"}),
    ],
)
async def test_nobody_writes_in_anothers_name(
    known: httpx.AsyncClient, database: EngineDatabase, path: str, body: Any
) -> None:
    answer = await known.post(f"/v1/ada-posts/{path}", json=body, headers=ADA)
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert database.asked == []


async def test_an_import_in_anothers_name_is_denied(known: httpx.AsyncClient, database: EngineDatabase) -> None:
    headers = {**ADA, "Content-Type": "application/x-ndjson"}
    answer = await known.post("/v1/ada-posts/import?actor=bob", content=b"{}\n", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert database.asked == []


async def test_where_nobody_is_asked_the_caller_names_the_actor(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/posts/create", json={"data": {}, "actor": "me"})
    assert answer.json()["value"]["createdBy"] == "me"
    assert "createdBy" not in (await client.post("/v1/posts", json={})).json()


async def test_one_callers_key_is_not_anothers(known: httpx.AsyncClient, clients: Clients) -> None:
    client = clients(Names(ada=["*:*"], eve=["*:*"]))
    key = {"Idempotency-Key": "k"}
    first = await client.post("/v1/posts", json={"n": 1}, headers={**ADA, **key})
    second = await client.post("/v1/posts", json={"n": 1}, headers={"Authorization": "Bearer eve", **key})
    assert first.json()["$id"] != second.json()["$id"]


async def test_only_namespaces_that_may_be_read_are_listed(known: httpx.AsyncClient, database: EngineDatabase) -> None:
    for name in ("ada-posts", "bob", "eve"):
        await database[name].create({})
    assert (await known.get("/v1", headers=BOB)).json() == {"namespaces": ["ada-posts"]}


async def test_metrics_are_for_those_who_may_see_them(known: httpx.AsyncClient) -> None:
    assert (await known.get("/metrics", headers=ADA)).status_code == 403
    assert (await known.get("/metrics", headers={"Authorization": "Bearer meter"})).status_code == 200


def test_production_refuses_to_believe_everybody(database: EngineDatabase) -> None:
    with pytest.raises(ConfigurationError, match="production"):
        build_app(database, GatewaySettings(environment="production"))

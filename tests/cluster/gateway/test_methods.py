"""Methods of a collection over HTTP, and queries by GET."""

from typing import Any

import httpx
import pytest

from parquedb.cluster.gateway.admission import METHODS
from tests.support.engine_database import EngineDatabase


async def called(client: httpx.AsyncClient, method: str, **arguments: Any) -> Any:
    answer = await client.post(f"/v1/posts/{method}", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]


@pytest.fixture
async def numbers(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Five documents: `n` from 0 to 4."""
    answers = await called(client, "create_many", docs=[{"$id": f"d{n}", "n": n, "odd": bool(n % 2)} for n in range(5)])
    assert answers["errors"] == []
    return client


async def test_every_method_answers_what_the_library_does(numbers: httpx.AsyncClient) -> None:
    assert (await called(numbers, "find", filter={"n": {"$gte": 3}}, sort="-n"))["items"][0]["n"] == 4
    assert (await called(numbers, "find_one", filter={"odd": True}, sort="-n"))["n"] == 3
    assert await called(numbers, "count", filter={"odd": True}) == 2
    assert await called(numbers, "distinct", field="odd") == [False, True]
    assert await called(
        numbers, "aggregate", pipeline=[{"$group": {"_id": "$odd", "n": {"$sum": "$n"}}}, {"$sort": {"_id": 1}}]
    ) == [
        {"_id": False, "n": 6},
        {"_id": True, "n": 4},
    ]
    assert (await called(numbers, "explain", filter={"n": 1}))["operation"] == "find"
    assert await called(numbers, "exists", id="d1") is True
    assert (await called(numbers, "get", id="d1"))["n"] == 1
    assert await called(numbers, "get", id="none") is None
    assert (await called(numbers, "create", data={"n": 9}, id="d9"))["$id"] == "posts/d9"
    assert (await called(numbers, "update", id="d9", ops={"$inc": {"n": 1}}))["n"] == 10
    assert (await called(numbers, "replace", id="d9", data={"m": 1})).get("n") is None
    assert await called(numbers, "delete", id="d9") == 1
    assert (await called(numbers, "restore", id="d9"))["m"] == 1
    batch = [{"op": "create", "data": {"n": 7}, "id": "b"}, {"op": "delete", "id": "d9"}]
    assert (await called(numbers, "batch", operations=batch))[1] == 1
    assert (await called(numbers, "update_many", filter={"odd": True}, ops={"$set": {"x": 1}}))["modified"] == 2
    assert (await called(numbers, "upsert", filter={"n": 77}, ops={"$set": {"x": 1}}))["matched"] == 0
    assert await called(numbers, "delete_many", filter={"x": 1}) == 3
    assert (await called(numbers, "history", id="d9"))["more"] is False
    assert (await called(numbers, "changes", limit=1))["changes"][0][0] == 1
    assert (await called(numbers, "register", schema={"n": "int"}))["version"] == 1
    assert (await called(numbers, "schema"))["schema"]["fields"][0]["name"] == "n"
    await called(numbers, "flush")
    assert (await called(numbers, "compact"))["compactions"] >= 0
    assert (await called(numbers, "stats"))["seq"] > 0


def test_no_method_is_forgotten_by_the_test_above() -> None:
    tried = set(test_every_method_answers_what_the_library_does.__code__.co_consts)
    assert METHODS - tried == {"create_many"}


async def test_an_answer_says_which_state_it_saw(client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/posts/create", json={"data": {}})).json()
    seen = (await client.post("/v1/posts/count", json={})).json()
    assert (made["seq"], seen["seq"]) == (1, 1)


@pytest.mark.parametrize(
    ("method", "body", "words"),
    [
        ("get", {}, "missing"),
        ("get", {"id": 5}, "id"),
        ("find", {"filtre": {}}, "filtre"),
        ("find", {"limit": 0}, "limit"),
        ("find", {"limit": True}, "limit"),
        ("create", {"data": {"$bad": 1, "a": 2}}, "$bad"),
        ("create", {"op": "delete", "data": {}}, "op"),
        ("create", {"data": {}, "request_id": ["aa", 1, 1, 1]}, "request_id"),
        ("update", {"id": "a", "ops": {"$frobnicate": 1}}, "$frobnicate"),
        ("flush", {"now": True}, "flush"),
        ("register", {"schema": {"name": None, "closed": False, "fields": [{"name": 5}]}}, "schema"),
        ("register", {"schema": {"name": None, "closed": False, "fields": 5}}, "schema"),
    ],
)
async def test_arguments_that_are_none_are_named_and_nothing_is_sent(
    client: httpx.AsyncClient, database: EngineDatabase, method: str, body: dict[str, Any], words: str
) -> None:
    answer = await client.post(f"/v1/posts/{method}", json=body)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["detail"]
    assert database.asked == []


async def test_a_query_fits_into_the_query_string(numbers: httpx.AsyncClient) -> None:
    params = {"filter": '{"n":{"$gte":1}}', "sort": "-n", "fields": '["n"]', "limit": "2", "total": "true"}
    first = (await numbers.get("/v1/posts", params=params)).json()
    assert [one["n"] for one in first["items"]] == [4, 3]
    assert first["total"] == 4
    rest = await numbers.get("/v1/posts", params={**params, "cursor": first["next_cursor"]})
    assert [one["n"] for one in rest.json()["items"]] == [2, 1]
    many = await numbers.get("/v1/posts", params={"sort": '["odd", "-n"]', "skip": "1"})
    assert [one["n"] for one in many.json()["items"]] == [2, 0, 3, 1]


@pytest.mark.parametrize(
    "given", ["filter={", "filter=[]", "limit=x", "limit=1.5", "total=maybe", "sort={}x", "skip=-1"]
)
async def test_a_query_string_that_is_no_query_is_refused(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get(f"/v1/posts?{given}")
    assert (answer.status_code, answer.json()["status"]) == (400, 400)


async def test_operators_are_read_as_people_and_as_programs_write_them(numbers: httpx.AsyncClient) -> None:
    assert await called(numbers, "count", filter={"n": {"$gte": 3}}) == 2
    assert await called(numbers, "count", filter={"n": {"$literal": {"$gte": 3}}}) == 2
    doubled = [{"$match": {"n": 4}}, {"$project": {"$id": 0, "x": {"$literal": 5}}}]
    assert (await called(numbers, "aggregate", pipeline=doubled))[0]["x"] == 5


async def test_a_schema_is_registered_and_answered_in_a_form_that_can_be_registered(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/posts/schema")).status_code == 404
    made = await client.put("/v1/posts/schema", json={"title": "string!"}, params={"mode": "strict"})
    assert (made.status_code, made.json()["mode"]) == (200, "strict")
    told = (await client.get("/v1/posts/schema")).json()
    again = await client.put("/v1/copies/schema", json=told["schema"])
    assert again.json()["schema"] == told["schema"]
    refused = await client.post("/v1/posts", json={"titel": "x"})
    assert (refused.status_code, refused.json()["error"]["name"]) == (400, "ValidationError")


async def test_namespaces_are_listed_without_the_databases_own(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    await database["posts"].create({})
    await database["$api-keys"].create({})
    assert (await client.get("/v1")).json() == {"namespaces": ["posts"]}


@pytest.mark.parametrize("path", ["/v1/$api-keys", "/v1/%24api-keys/documents/x", "/v1/$x/export", "/v1/$x/schema"])
async def test_the_databases_own_namespaces_are_out_of_reach(
    client: httpx.AsyncClient, database: EngineDatabase, path: str
) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert database.asked == []

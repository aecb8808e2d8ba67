"""Documents as HTTP resources."""

import httpx

from tests.support.engine_database import EngineDatabase


async def test_a_document_is_created_and_read_back_with_its_types(client: httpx.AsyncClient) -> None:
    made = await client.post(
        "/v1/posts",
        json={"title": "Hello", "price": {"$numberDecimal": "1.10"}, "at": {"$date": "2026-01-02T03:04:05Z"}},
    )
    assert made.status_code == 201, made.text
    assert made.headers["etag"] == '"1"'
    found = await client.get(made.headers["location"])
    assert found.status_code == 200
    assert found.json() == made.json()
    assert found.json()["price"] == {"$numberDecimal": "1.10"}
    assert found.json()["at"] == {"$date": "2026-01-02T03:04:05.000000Z"}
    assert found.headers["etag"] == '"1"'


async def test_a_missing_document_is_a_problem_that_names_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/posts/documents/none", headers={"X-Request-Id": "abc"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "abc"
    problem = answer.json()
    assert problem["type"] == "https://parquedb.dev/errors/ENTITY_NOT_FOUND"
    assert (problem["code"], problem["status"], problem["request_id"]) == ("ENTITY_NOT_FOUND", 404, "abc")
    assert problem["error"]["context"] == {"id": "none", "namespace": "posts"}


async def test_operations_are_each_for_themselves(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    answer = await client.post(
        "/v1/posts/operations",
        json={
            "operations": [
                {"op": "create", "data": {"n": 1}, "id": "a"},
                {"op": "create", "data": {"n": 2}, "id": "a"},
                {"op": "nonsense"},
                {"op": "count", "filter": {"n": {"$gte": 1}}},
            ]
        },
    )
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()["results"]
    assert first["ok"]
    assert first["value"]["$id"] == "posts/a"
    assert (second["ok"], second["error"]["code"]) == (False, "ALREADY_EXISTS")
    assert (third["ok"], third["error"]["code"]) == (False, "VALIDATION_FAILED")
    assert fourth["ok"]

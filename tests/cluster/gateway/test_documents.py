"""Documents as HTTP resources."""

import asyncio
from urllib.parse import quote

import httpx
import pytest

from parquedb.errors import BackpressureError, OutcomeUnknownError
from tests.support.engine_database import EngineDatabase


async def test_a_document_is_created_and_read_back_with_its_types(client: httpx.AsyncClient) -> None:
    sent = {"price": {"$numberDecimal": "1.10"}, "at": {"$date": "2026-01-02T03:04:05Z"}, "big": 2**53 + 1, "one": 1.0}
    made = await client.post("/v1/posts", json=sent)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    found = await client.get(made.headers["location"])
    assert (found.status_code, found.headers["etag"]) == (200, '"1"')
    assert found.content == made.content
    told = found.json()
    assert told["price"] == sent["price"]
    assert told["at"] == {"$date": "2026-01-02T03:04:05.000000Z"}
    assert (told["big"], repr(told["one"])) == (2**53 + 1, "1.0")


async def test_a_missing_document_is_a_problem_that_names_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/posts/documents/none", headers={"X-Request-Id": "abc"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    problem = answer.json()
    assert problem["type"] == "https://parquedb.dev/errors/ENTITY_NOT_FOUND"
    assert (problem["code"], problem["status"], problem["request_id"]) == ("ENTITY_NOT_FOUND", 404, "abc")
    assert problem["error"]["context"] == {"id": "none", "namespace": "posts"}
    assert "stack" not in problem["error"]


@pytest.mark.parametrize(
    "id_", ["a/b/c", "a%2Fb", "$set", "a/../b", "ü ñ", "a?b#c", "operations", "a//b", "x/", "%", "\ufffd"]
)
async def test_any_id_finds_its_document(client: httpx.AsyncClient, id_: str) -> None:
    made = await client.post("/v1/posts", json={"n": 1}, params={"id": id_})
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"/v1/posts/documents/{quote(id_, safe='')}"
    found = await client.get(made.headers["location"])
    assert found.json()["$id"] == made.json()["$id"]


async def test_an_id_that_paths_cannot_hold_is_reached_by_a_method(client: httpx.AsyncClient) -> None:
    await client.post("/v1/posts/create", json={"data": {"n": 1}, "id": ".."})
    found = await client.post("/v1/posts/get", json={"id": ".."})
    assert found.json()["value"]["$id"] == "posts/.."


async def test_two_spellings_of_no_text_are_not_one_document(client: httpx.AsyncClient) -> None:
    await client.post("/v1/posts", json={}, params={"id": "\ufffd"})
    answer = await client.get("/v1/posts/documents/%FF")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")


async def test_a_document_is_replaced_changed_and_deleted(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/posts", json={"a": 1, "b": 2}, params={"id": "x"})).headers["location"]
    replaced = await client.put(path, json={"a": 5})
    assert (replaced.status_code, replaced.headers["etag"], replaced.json().get("b")) == (200, '"2"', None)
    changed = await client.patch(path, json={"$inc": {"a": 1}})
    assert (changed.status_code, changed.headers["etag"], changed.json()["a"]) == (200, '"3"', 6)
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    assert (await client.get(path, params={"include_deleted": "true"})).json()["version"] == 4
    assert (await client.delete(path)).status_code == 404
    assert (await client.delete(path, params={"hard": "true"})).status_code == 204
    assert (await client.get(path, params={"include_deleted": "true"})).status_code == 404


async def test_an_update_of_nothing_inserts_only_when_asked(client: httpx.AsyncClient) -> None:
    path = "/v1/posts/documents/x"
    assert (await client.patch(path, json={"$set": {"a": 1}})).status_code == 404
    made = await client.patch(path, json={"$set": {"a": 1}}, params={"upsert": "true"})
    assert (made.status_code, made.headers["location"], made.json()["a"]) == (201, path, 1)
    again = await client.patch(path, json={"$set": {"a": 2}}, params={"upsert": "true"})
    assert (again.status_code, again.headers["etag"]) == (200, '"2"')


async def test_head_says_what_get_would_without_saying_it(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/posts", json={"a": 1})).headers["location"]
    got, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-type", "content-length"):
        assert head.headers[name] == got.headers[name]
    assert (await client.head("/v1/posts/documents/none")).status_code == 404


async def test_a_part_of_a_document_has_no_tag_of_the_whole(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/posts", json={"a": 1, "b": 2})).headers["location"]
    answer = await client.get(path, params={"fields": '["a"]'}, headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.headers.get("etag")) == (200, None)
    assert answer.json().keys() == {"$id", "version", "a"}


async def test_the_past_is_read_by_seq_and_by_time(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/posts", json={"a": 1})
    path, history = made.headers["location"], await client.get("/v1/posts/history", params={"id": made.json()["$id"]})
    then = history.json()["changes"][0]["time"]
    await client.patch(path, json={"$set": {"a": 2}})
    assert (await client.get(path, params={"as_of": "1"})).json()["a"] == 1
    assert (await client.get(path, params={"as_of": then})).json()["a"] == 1
    answer = await client.get(path, params={"as_of": "yesterday"})
    assert (answer.status_code, answer.json()["error"]["context"]["field"]) == (400, "as_of")


@pytest.mark.parametrize("given", ["fitler={}", "limit=1", "as_of=1&as_of=2"])
async def test_a_misspelt_or_doubled_parameter_is_refused(client: httpx.AsyncClient, given: str) -> None:
    path = (await client.post("/v1/posts", json={})).headers["location"]
    answer = await client.get(f"{path}?{given}")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b'"x"', b"null", b"{", b'{"a":NaN}', b"\xff", b'{"a":{"$date":"soon"}}']
)
async def test_what_is_no_document_is_refused_and_nothing_is_stored(
    client: httpx.AsyncClient, database: EngineDatabase, body: bytes
) -> None:
    answer = await client.post("/v1/posts", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")
    assert database.asked == []


async def test_a_repeat_under_one_key_is_applied_once_and_answered_alike(client: httpx.AsyncClient) -> None:
    answers = [await client.post("/v1/posts", json={"n": 1}, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert [one.headers.get("idempotent-replayed") for one in answers] == [None, "true"]
    assert (await client.post("/v1/posts/count", json={})).json()["value"] == 1


async def test_another_body_under_one_key_is_not_given_the_answer_of_the_first(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k1"}
    await client.post("/v1/posts", json={"n": 1}, headers=key)
    other = await client.post("/v1/posts", json={"n": 2}, headers=key)
    assert (other.status_code, other.json()["n"]) == (201, 2)
    changed = await client.patch(other.headers["location"], json={"$inc": {"n": 1}}, headers=key)
    assert changed.json()["n"] == 3


async def test_a_key_that_is_too_long_is_refused(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    answer = await client.post("/v1/posts", json={}, headers={"Idempotency-Key": "k" * 256})
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
    assert database.asked == []


async def test_an_unknown_outcome_names_the_key_to_repeat_with(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    database.refuse.append(OutcomeUnknownError("who knows", request_id="internal"))
    answer = await client.post("/v1/posts", json={}, headers={"Idempotency-Key": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (500, "OUTCOME_UNKNOWN")
    assert answer.json()["error"]["context"]["request_id"] == "mine"


async def test_backpressure_says_when_to_come_back(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    database.refuse.append(BackpressureError(retry_after=2.4))
    answer = await client.post("/v1/posts", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json()["error"]["context"]["retry_after"] == 2.4


async def test_an_error_that_nobody_foresaw_tells_nothing_of_itself(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    database.refuse.append(RuntimeError("secret inside"))
    answer = await client.post("/v1/posts", json={})
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/posts", 404),
        ("GET", "/v1/posts/documents", 405),
        ("DELETE", "/v1/posts", 405),
        ("POST", "/v1/posts/nonsense", 404),
        ("POST", "/v1/posts/snapshot", 404),
    ],
)
async def test_a_path_or_method_that_is_none_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path, json={})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status


async def test_what_a_path_takes_is_told_whole(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/posts/documents/x", json={})
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "PATCH", "DELETE"}


@pytest.mark.parametrize("name", ["a%2e%2e%5Cb", "a%5Cb", "a%00b", "n" * 129])
async def test_a_namespace_that_cannot_be_is_refused(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post(f"/v1/{name}", json={})
    assert (answer.status_code, answer.json()["code"] in {"INVALID_PATH", "PATH_TRAVERSAL"}) == (400, True), answer.text


async def test_of_many_writers_under_one_tag_exactly_one_wins(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/posts", json={"n": 0})).headers["location"]
    tries = [client.patch(path, json={"$set": {"n": n}}, headers={"If-Match": '"1"'}) for n in range(20)]
    statuses = [one.status_code for one in await asyncio.gather(*tries)]
    assert sorted(statuses) == [200] + [412] * 19
    assert (await client.get(path)).headers["etag"] == '"2"'

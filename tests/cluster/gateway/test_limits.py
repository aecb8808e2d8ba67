"""Every limit: what is refused, how, and that nothing was changed by it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.cluster.gateway.conftest import Clients
from tests.support.engine_database import EngineDatabase

JSON = {"Content-Type": "application/json"}


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1024):
        yield b" " * 1024


def refused(answer: httpx.Response, status: int, code: str, words: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["status"] == status
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_has_a_size(clients: Clients, database: EngineDatabase, chunked: bool) -> None:
    client = clients(body_bytes_max=4096)
    body: Any = pieces(8192) if chunked else b"x" * 8192
    answer = await client.post("/v1/posts", content=body, headers=JSON)
    refused(answer, 413, "INVALID_INPUT", "more than 4096 bytes")
    assert database.asked == []


async def test_a_body_of_just_that_size_is_read(clients: Clients) -> None:
    body = b'{"a": 1}'.ljust(4096)
    assert (await clients(body_bytes_max=4096).post("/v1/posts", content=body, headers=JSON)).status_code == 201


async def test_json_has_a_depth(clients: Clients, database: EngineDatabase) -> None:
    client = clients(depth_max=5)
    for depth in (6, 100_000):
        body = b'{"a":' * depth + b"1" + b"}" * depth
        answer = await client.post("/v1/posts", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")
        answer = await client.get("/v1/posts", params={"filter": "[" * min(depth, 1000)})
        assert answer.status_code == 400
    assert database.asked == []
    assert (await client.post("/v1/posts", content=b'{"a":' * 5 + b"1" + b"}" * 5, headers=JSON)).status_code == 201


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("find", {"filter": {"a": {"$in": list(range(20))}}}),
        ("aggregate", {"pipeline": [{"$match": {"a": {"$in": list(range(20))}}}]}),
        ("update", {"id": "a", "ops": {"$set": {str(n): n for n in range(20)}}}),
        ("delete_many", {"filter": {"$or": [{"a": n} for n in range(20)]}}),
    ],
)
async def test_a_filter_has_a_size(
    clients: Clients, database: EngineDatabase, method: str, body: dict[str, Any]
) -> None:
    client = clients(filter_values_max=15)
    refused(await client.post(f"/v1/posts/{method}", json=body), 400, "VALIDATION_FAILED", "at most 15 values")
    listed = await client.post("/v1/posts/operations", json={"operations": [{"op": method, **body}]})
    assert listed.json()["results"][0]["error"]["code"] == "VALIDATION_FAILED"
    assert database.asked == []


async def test_a_page_has_a_size(clients: Clients, database: EngineDatabase) -> None:
    client = clients(page_documents_max=50)
    refused(await client.get("/v1/posts?limit=51"), 400, "VALIDATION_FAILED", "up to 50")
    refused(await client.post("/v1/posts/find", json={"limit": 51}), 400, "VALIDATION_FAILED", "up to 50")
    assert database.asked == []
    assert (await client.get("/v1/posts?limit=50")).status_code == 200


async def test_operations_are_counted(clients: Clients, database: EngineDatabase) -> None:
    operations = [{"op": "create", "data": {}}] * 4
    answer = await clients(operations_max=3).post("/v1/posts/operations", json={"operations": operations})
    refused(answer, 400, "VALIDATION_FAILED", "at most 3 operations")
    assert database.asked == []


async def test_a_url_has_a_length(clients: Clients, database: EngineDatabase) -> None:
    client = clients(url_bytes_max=256)
    refused(await client.get("/v1/posts", params={"filter": "x" * 300}), 414, "INVALID_INPUT", "256 is the most")
    refused(await client.get("/v1/posts/documents/" + "x" * 300), 414, "INVALID_INPUT", "256 is the most")
    assert database.asked == []


async def test_a_header_has_a_size(clients: Clients, database: EngineDatabase) -> None:
    client = clients(headers_bytes_max=1024, headers_max=20)
    refused(await client.post("/v1/posts", json={}, headers={"X": "x" * 2000}), 431, "INVALID_INPUT", "1024 bytes")
    many = {f"X-{n}": "x" for n in range(30)}
    refused(await client.post("/v1/posts", json={}, headers=many), 431, "INVALID_INPUT", "20 lines")
    assert database.asked == []


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
async def test_a_deadline_that_is_none_is_refused(
    client: httpx.AsyncClient, database: EngineDatabase, text: str
) -> None:
    answer = await client.post("/v1/posts", json={}, headers={"Request-Timeout": text})
    refused(answer, 400, "INVALID_INPUT", "Request-Timeout")
    assert database.asked == []


@pytest.mark.parametrize(
    ("given", "most"), [({}, 7), ({"Request-Timeout": "2.5"}, 2.5), ({"Request-Timeout": "99"}, 9)]
)
async def test_a_deadline_travels_bounded(
    clients: Clients, database: EngineDatabase, given: dict[str, str], most: float
) -> None:
    await clients(timeout_s=7, timeout_s_max=9).post("/v1/posts", json={}, headers=given)
    [(_, _, timeout_s)] = database.asked
    assert timeout_s is not None
    assert most - 1 < timeout_s <= most


async def test_a_body_that_does_not_come_is_not_waited_for(clients: Clients, database: EngineDatabase) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await clients().post("/v1/posts", content=never(), headers={**JSON, "Request-Timeout": "0.05"})
    refused(answer, 408, "RPC_TIMEOUT", "nothing was applied")
    assert database.asked == []


async def test_requests_at_a_time_are_counted_and_probes_are_not(clients: Clients) -> None:
    client, held = clients(requests_max=2), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await held.wait()
        yield b"}"

    waiting = [asyncio.create_task(client.post("/v1/posts", content=slow(), headers=JSON)) for _ in range(2)]
    while client._transport.app.state.gateway.requests.taken < 2:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    answer = await client.get("/v1/posts")
    refused(answer, 503, "BACKPRESSURE", "2 requests")
    assert answer.headers["retry-after"] == "1"
    assert (await client.get("/health")).status_code == 200
    held.set()
    assert [one.status_code for one in await asyncio.gather(*waiting)] == [201, 201]
    assert (await client.get("/v1/posts")).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x"])
async def test_a_body_of_another_type_is_refused(
    client: httpx.AsyncClient, database: EngineDatabase, kind: str
) -> None:
    answer = await client.post("/v1/posts", content=b"{}", headers={"Content-Type": kind})
    refused(answer, 415, "INVALID_INPUT", "application/json")
    assert database.asked == []

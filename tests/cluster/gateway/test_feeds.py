"""Change feeds and histories; feeds over a socket, for they are about what comes when."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from parquedb.access.permissions import Permissions
from parquedb.access.principal import Principal
from parquedb.cluster.gateway.app import build_app
from parquedb.errors import EventNotFoundError, RpcUnavailableError
from parquedb.settings.gateway import GatewaySettings
from tests.cluster.gateway.conftest import Clients, listening
from tests.support.engine_database import EngineDatabase

SSE = {"Accept": "text/event-stream"}


async def events(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """Yield events; a heartbeat is an event without fields."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line.startswith(":"):
            yield {}
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}


async def taken(answer: httpx.Response, count: int) -> list[dict[str, Any]]:
    """Return the next changes."""
    found: list[dict[str, Any]] = []
    async for event in events(answer):
        if event.get("event") == "change":
            told = json.loads(event["data"])
            assert event["id"] == str(told["seq"])
            found.append(told)
        if len(found) == count:
            break
    return found


async def test_changes_come_as_they_happen_and_go_on_where_they_were(database: EngineDatabase) -> None:
    posts = database["posts"]
    await posts.create({"n": 1}, id="a")
    async with listening(database) as (_, url), httpx.AsyncClient(base_url=url, timeout=20) as client:
        async with client.stream("GET", "/v1/posts/changes", headers=SSE) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            coming = asyncio.create_task(taken(answer, 2))
            await posts.update("a", {"$inc": {"n": 1}})
            first, second = await coming
        assert (first["seq"], first["action"], first["id"], first["document"]["n"]) == (1, "create", "a", 1)
        assert (second["seq"], second["action"], second["document"]["version"]) == (2, "update", 2)
        await posts.delete("a", hard=True)
        async with client.stream("GET", "/v1/posts/changes", headers={**SSE, "Last-Event-ID": "2"}) as answer:
            [third] = await taken(answer, 1)
        assert (third["seq"], third["action"], third["document"]) == (3, "remove", None)
        async with client.stream("GET", "/v1/posts/changes?after=1", headers=SSE) as answer:
            assert [one["seq"] for one in await taken(answer, 2)] == [2, 3]


async def test_silence_is_told_by_heartbeats(database: EngineDatabase) -> None:
    async with (
        listening(database, heartbeat_s=0.05) as (_, url),
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/v1/posts/changes", headers=SSE) as answer,
    ):
        heard = [event async for event in _first(events(answer), 3)]
    assert heard == [{"retry": "1000"}, {}, {}]


async def _first(found: AsyncIterator[Any], count: int) -> AsyncIterator[Any]:
    async for one in found:
        yield one
        count -= 1
        if not count:
            return


async def test_a_feed_ends_by_itself_after_a_time_and_after_so_many_bytes(database: EngineDatabase) -> None:
    for n in range(50):
        await database["posts"].create({"text": "x" * 100, "n": n})
    async with listening(database, stream_bytes_max=2048) as (_, url), httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/v1/posts/changes", headers=SSE)
    assert 2048 <= len(answer.content) < 4096
    async with listening(database, stream_s_max=0.2) as (_, url), httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/v1/posts/changes?after=50", headers=SSE)
    assert answer.content == b"retry: 1000\n\n"


async def test_a_feed_ends_with_the_process(database: EngineDatabase) -> None:
    async with (
        listening(database) as (server, url),
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/v1/posts/changes", headers=SSE) as answer,
    ):
        heard = events(answer)
        assert await anext(heard) == {"retry": "1000"}
        server.stop()
        began_s = time.monotonic()
        assert [one async for one in heard] == []
    assert time.monotonic() - began_s < 5


async def test_a_reader_who_leaves_frees_its_place(database: EngineDatabase) -> None:
    async with listening(database, streams_max=1) as (server, url), httpx.AsyncClient(base_url=url) as client:
        feeds = server.app.state.gateway.feeds
        async with client.stream("GET", "/v1/posts/changes", headers=SSE) as answer:
            assert await anext(events(answer)) == {"retry": "1000"}
            refused = await client.get("/v1/posts/changes", headers=SSE)
            assert (refused.status_code, refused.json()["code"]) == (503, "BACKPRESSURE")
        async with asyncio.timeout(10):
            while feeds.taken:
                await asyncio.sleep(0)
        async with client.stream("GET", "/v1/posts/changes", headers=SSE) as answer:
            assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "settings"),
    [("changes", {}), ("export", {}), ("changes", {"stream_s_max": 0.1})],
    ids=["feed", "export", "end of a feed"],
)
async def test_a_reader_who_stands_still_is_left(
    database: EngineDatabase, path: str, settings: dict[str, float]
) -> None:
    for n in range(3):
        await database["posts"].create_many([{"n": n, "text": "x" * 400_000} for _ in range(20)])
    async with listening(database, stalled_s=0.2, **settings) as (server, _):
        gateway = server.app.state.gateway
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(f"GET /v1/posts/{path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode())
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        async with asyncio.timeout(20):
            while gateway.feeds.taken or gateway.exports.taken or gateway.requests.taken:
                await asyncio.sleep(0)
        writer.close()


async def test_trouble_that_passes_is_waited_out_and_lasting_trouble_is_told(database: EngineDatabase) -> None:
    async with (
        listening(database) as (_, url),
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/v1/posts/changes", headers=SSE) as answer,
    ):
        heard = events(answer)
        assert await anext(heard) == {"retry": "1000"}
        database.refuse += [EventNotFoundError(namespace="posts"), RpcUnavailableError("gone for a moment")]
        await _wake(database)
        last = [one async for one in heard if one][-1]
    assert last["event"] == "error"
    assert json.loads(last["data"])["code"] == "EVENT_NOT_FOUND"


async def _wake(database: EngineDatabase) -> None:
    """Let a feed that waits for a change ask again."""
    refusals, database.refuse = database.refuse, []
    await database["posts"].create({})
    database.refuse = refusals


async def test_a_feed_ends_when_the_proof_of_its_reader_does(database: EngineDatabase) -> None:
    class Passing:
        async def authenticate(self, authorization: str | None, api_key: str | None) -> Principal:
            return Principal("ada", Permissions(["*:*"]), "jwt", expires_s=time.time() + 0.2)

        async def close(self) -> None:
            """Nothing to let go of."""

    app = build_app(database, GatewaySettings(), Passing())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.get("/v1/posts/changes", headers=SSE)
    assert answer.content == b"retry: 1000\n\n"


@pytest.mark.parametrize("given", ["after=99", "after=x", "limit=0"])
async def test_what_cannot_be_followed_is_a_status(client: httpx.AsyncClient, given: str) -> None:
    await client.post("/v1/posts", json={})
    for headers in ({}, SSE):
        if headers and given == "limit=0":
            continue
        answer = await client.get(f"/v1/posts/changes?{given}", headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (400, 400)
    answer = await client.get("/v1/posts/changes", headers={**SSE, "Last-Event-ID": "one"})
    assert answer.status_code == 400


async def test_changes_come_in_pages_as_well(client: httpx.AsyncClient) -> None:
    for n in range(3):
        await client.post("/v1/posts", json={"n": n}, params={"id": f"d{n}"})
    first = (await client.get("/v1/posts/changes?limit=2")).json()
    assert ([one["id"] for one in first["changes"]], first["after"]) == (["d0", "d1"], 2)
    second = (await client.get(f"/v1/posts/changes?after={first['after']}")).json()
    assert ([one["id"] for one in second["changes"]], second["after"]) == (["d2"], 3)
    assert (await client.get("/v1/posts/changes?after=3&wait_s=0.01")).json() == {"changes": [], "after": 3}


async def test_the_history_of_a_document_is_told_in_order(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/posts", json={"n": 1}, params={"id": "a/b"})).headers["location"]
    await client.patch(path, json={"$inc": {"n": 1}})
    told = (await client.get("/v1/posts/history", params={"id": "a/b", "limit": "1"})).json()
    assert ([one["action"] for one in told["changes"]], told["has_more"], told["truncated"]) == (
        ["create"],
        True,
        False,
    )
    rest = (await client.get("/v1/posts/history", params={"id": "a/b", "after": told["changes"][-1]["seq"]})).json()
    assert ([one["document"]["n"] for one in rest["changes"]], rest["has_more"]) == ([2], False)
    assert (await client.get("/v1/posts/history")).status_code == 400


async def test_feeds_do_not_take_the_places_of_imports(clients: Clients) -> None:
    client = clients(streams_max=1)
    with client._transport.app.state.gateway.feeds.entered():  # type: ignore[attr-defined]
        assert (await client.get("/v1/posts/export")).status_code == 200


async def test_a_request_under_way_is_answered_before_the_process_ends(database: EngineDatabase) -> None:
    held = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"n":'
        await held.wait()
        yield b"1}"

    async with listening(database) as (server, url), httpx.AsyncClient(base_url=url, timeout=20) as client:
        headers = {"Content-Type": "application/json"}
        waiting = asyncio.create_task(client.post("/v1/posts", content=slow(), headers=headers))
        while not server.app.state.gateway.requests.taken:
            await asyncio.sleep(0)
        server.stop()
        held.set()
        assert (await waiting).status_code == 201

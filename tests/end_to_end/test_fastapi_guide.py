"""The service of docs/guides/fastapi.md, as it stands there: under uvicorn, in several processes, which are killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import parquedb
from parquedb.errors import ParqueDBError, VersionConflictError
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log.entry import Kind, decode_entry
from parquedb.storage.open import open_backend
from tests.support.collector import rotel_binary, running_collector
from tests.support.pages import listing
from tests.support.services import Callers, Service, running_service

REQUEST_ID = "req-7.a:b"
TRACE = "00-" + "5" * 32 + "-" + "6" * 16 + "-01"


def laid_out(folder: Path) -> Path:
    (folder / "app.py").write_text(listing("guides/fastapi.md", "app.py"))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return laid_out(tmp_path)


@pytest.fixture
async def service(folder: Path, ray_cluster: str) -> AsyncIterator[Service]:
    url = str(folder / "data")
    async with running_service(folder, PARQUEDB_URL=url, PARQUEDB_RAY_ADDRESS=ray_cluster) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_url(tmp_path_factory: pytest.TempPathFactory, ray_cluster: str) -> AsyncIterator[str]:
    """Where a service listens that no test ends."""
    folder = laid_out(tmp_path_factory.mktemp("guide"))
    place = {"PARQUEDB_URL": str(folder / "data"), "PARQUEDB_RAY_ADDRESS": ray_cluster}
    async with running_service(folder, **place) as running:
        yield running.url


@pytest.fixture
async def client(shared_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=shared_url, timeout=30) as client:
        yield client


async def stored(folder: Path) -> dict[str, int]:
    """How often each title is there."""
    found: dict[str, int] = {}
    async with await parquedb.connect_async(str(folder / "data")) as db:
        async for post in db["posts"].find(limit=1000):
            found[post["title"]] = found.get(post["title"], 0) + 1
    return found


async def owner_pid(folder: Path) -> int:
    async with await parquedb.connect_async(str(folder / "data")) as db:
        pid: int = (await db["posts"].stats())["pid"]
        return pid


async def newest_entry(folder: Path) -> str:
    storage = open_backend(parquedb.load_settings(str(folder / "data")))
    page = await storage.list(f"{namespace_prefix('posts')}log/", limit=1)
    key = page.objects[0].key
    return decode_entry(key, await storage.read(key)).header.kind


async def test_a_post_is_made_read_changed_and_listed(client: httpx.AsyncClient) -> None:
    made = await client.post("/posts", json={"title": "Hello", "tags": ["new"]})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    at = made.headers["location"]
    assert (await client.get(at)).json() == made.json()
    changed = await client.patch(at, json={"$set": {"title": "Hi"}}, headers={"If-Match": '"1"'})
    assert (changed.json()["title"], changed.headers["etag"]) == ("Hi", '"2"')
    found = (await client.get("/posts", params={"tag": "new"})).json()
    assert [post["title"] for post in found["items"]] == ["Hi"]
    assert (await client.get("/health")).json() == {"status": "alive"}
    ready = await client.get("/ready")
    assert (ready.status_code, ready.json()["owners"]) == (200, {"posts": "healthy"})


async def test_the_same_key_is_the_same_write_through_the_client_and_through_the_handle(
    client: httpx.AsyncClient,
) -> None:
    post = {"title": "Once"}
    first, second = [await client.post("/posts", json=post, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert first.json() == second.json()
    at = f"{first.headers['location']}/views"
    views = [(await client.post(at, headers={"Idempotency-Key": "v1"})).json() for _ in range(2)]
    assert views == [{"views": 1}, {"views": 1}]
    assert (await client.post(at)).json() == {"views": 2}


async def test_of_many_edits_of_one_version_one_wins_and_the_others_are_told_why(client: httpx.AsyncClient) -> None:
    at = (await client.post("/posts", json={"title": "Contended"})).headers["location"]
    edits = [client.patch(at, json={"$set": {"views": n}}, headers={"If-Match": '"1"'}) for n in range(16)]
    answers = await asyncio.gather(*edits)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 15
    lost = next(answer for answer in answers if answer.status_code == 409)
    assert lost.headers["content-type"] == "application/problem+json"
    error = ParqueDBError.from_json(lost.json()["error"])
    assert isinstance(error, VersionConflictError)
    assert (error.expected, error.actual) == (1, 2)


REFUSED = [
    ("GET", "/posts/none", None, 404, "ENTITY_NOT_FOUND"),
    ("POST", "/posts/none/views", None, 404, "ENTITY_NOT_FOUND"),  # Through the handle: Ray wraps it.
    ("PATCH", "/posts/none", {"$nonsense": 1}, 400, "INVALID_UPDATE"),
    ("GET", "/posts?limit=0", None, 400, "VALIDATION_FAILED"),
    ("GET", "/posts/a%00b", None, 400, "VALIDATION_FAILED"),
]


async def test_what_the_database_refuses_is_a_problem_with_the_id_of_the_request(client: httpx.AsyncClient) -> None:
    for method, path, body, status, code in REFUSED:
        answer = await client.request(method, path, json=body, headers={"X-Request-Id": REQUEST_ID})
        problem = answer.json()
        assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), path
        assert problem["request_id"] == answer.headers["x-request-id"] == REQUEST_ID
        assert "Traceback" not in answer.text


@pytest.mark.skipif(rotel_binary() is None, reason="the rotel wheel is not installed")
async def test_what_the_database_does_hangs_under_the_callers_trace(folder: Path, ray_cluster: str) -> None:
    def enough(spans: list[Any]) -> bool:
        return {span.kind for span in spans if span.name == "create posts"} >= {Span.SPAN_KIND_CLIENT}

    with running_collector(folder) as collector:
        telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint, "OTEL_SERVICE_NAME": "guide"}
        place = {"PARQUEDB_URL": str(folder / "data"), "PARQUEDB_RAY_ADDRESS": ray_cluster}
        async with running_service(folder, **telemetry, **place, OTEL_BSP_SCHEDULE_DELAY="50") as service:
            async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
                await client.post("/posts", json={"title": "Traced"}, headers={"traceparent": TRACE})
            spans = await asyncio.to_thread(collector.spans, "guide", enough, 30.0)
    [made] = [span for span in spans if span.name == "create posts" and span.kind == Span.SPAN_KIND_CLIENT]
    assert f"00-{made.trace_id.hex()}-{made.parent_span_id.hex()}-01" == TRACE


async def test_a_request_id_that_is_none_is_replaced(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health", headers={"X-Request-Id": "a b" + "x" * 100})
    assert len(answer.headers["x-request-id"]) == 32


async def test_owners_and_processes_die_under_load_and_every_post_is_there_once(
    folder: Path, service: Service, ray_cluster: str
) -> None:
    url = str(folder / "data")
    async with running_service(folder, PARQUEDB_URL=url, PARQUEDB_RAY_ADDRESS=ray_cluster) as other:
        callers = Callers([service.url, other.url])
        async with callers.running():
            await callers.more(200)
            killed = await owner_pid(folder)
            os.kill(killed, signal.SIGKILL)
            await callers.more(200)
            assert await owner_pid(folder) != killed
            assert callers.failures == [], "a client that repeats hides the death of an owner"
            other.process.kill()
            # Half the requests meet a closed door from now on, and knock at the other.
            await callers.until(lambda: len(callers.failures) > 3)
            await callers.more(200)
    assert await stored(folder) == dict.fromkeys(callers.made, 1)


@pytest.mark.faults
async def test_a_service_that_is_stopped_answers_what_it_has_begun_and_its_owner_says_goodbye(
    folder: Path, ray_cluster: str
) -> None:
    # It starts a Ray of its own, so all there is ends with it.
    async with running_service(folder, PARQUEDB_URL=str(folder / "data")) as service:
        callers = Callers([service.url])
        async with callers.running():
            await callers.more(100)
            stopping = asyncio.create_task(service.stopped())
            await callers.until(lambda: bool(callers.failures))
            # Nobody is there any more for those who come late.
            callers.give_up()
        # Having ended in order, uvicorn sends itself the signal once more.
        assert await stopping == -signal.SIGTERM
        assert [failure for failure in callers.failures if failure.startswith("5")] == []
        assert "Traceback" not in await service.output()
    assert await newest_entry(folder) == Kind.CLOSE
    assert await stored(folder) == dict.fromkeys(callers.made, 1), "an answer was cut off"

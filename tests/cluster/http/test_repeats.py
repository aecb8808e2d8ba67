"""What becomes of a call while the gateway, or the way to it, misbehaves."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import parquedb
from parquedb.errors import (
    BackpressureError,
    ErrorCode,
    InternalError,
    OutcomeUnknownError,
    ParqueDBError,
    PermissionDeniedError,
    RateLimitedError,
    RpcError,
    RpcUnavailableError,
    TimeoutError,  # noqa: A004 - the public name of the error
)
from tests.support.fault_proxy import FaultProxy
from tests.support.gateway_server import AppServer, GatewayServer

Answer = tuple[int, dict[str, str], bytes]


class Between:
    """An ASGI application in front of the gateway's: gives scripted answers, before or after the gateway did its work.

    Attributes:
        script: What becomes of the next requests; an answer, with whether the gateway gets the request first.
        bodies: Of all requests.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.script: list[tuple[bool, Answer]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Any:
            return unread.pop() if unread else await receive()

        async def nowhere(_: Any) -> None:
            pass

        if not self.script:
            await self._app(scope, replay, send)
            return
        applied, (status, headers, text) = self.script.pop(0)
        if applied:
            await self._app(scope, replay, nowhere)
        told = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": text})


HTML = {"content-type": "text/html"}
JSON = {"content-type": "application/json"}
GARBAGE: dict[str, Answer] = {
    "502 in HTML": (502, HTML, b"<html>Bad Gateway</html>"),
    "503 in HTML": (503, HTML, b"<html>Service Unavailable</html>"),
    "504 in HTML": (504, HTML, b"<html>Gateway Timeout</html>"),
    "500 in text": (500, {"content-type": "text/plain"}, b"Internal Server Error"),
    "408": (408, HTML, b""),
    "200 in HTML": (200, HTML, b"<html>Log in to the hotel</html>"),
    "200 cut short": (200, JSON, b'{"results":[{"ok":tr'),
    "200 with nothing": (200, JSON, b""),
    "200 of another request": (200, JSON, b'{"results":[]}'),
    "a problem without an error": (502, {"content-type": "application/problem+json"}, b'{"status":502}'),
}


@pytest.fixture
def gateway() -> Iterator[GatewayServer]:
    made = GatewayServer()
    yield made
    made.local.leave()


@pytest.fixture
def between(gateway: GatewayServer) -> Iterator[tuple[Between, str]]:
    front = Between(gateway.app)
    with AppServer(front) as listening:
        yield front, listening.url


@pytest.fixture
def front(between: tuple[Between, str]) -> Between:
    return between[0]


@pytest.fixture
def posts(between: tuple[Between, str]) -> Iterator[parquedb.Collection]:
    with parquedb.connect(between[1]) as db:
        yield db["posts"]


def created(gateway: GatewayServer) -> list[Any]:
    return [one.request for _, one in gateway.local.operations if one.kind == "create"]


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
@pytest.mark.parametrize("name", GARBAGE)
def test_a_write_whose_answer_is_somebody_elses_is_sent_again_and_applied_once(
    name: str, applied: bool, posts: parquedb.Collection, front: Between, gateway: GatewayServer
) -> None:
    front.script = [(applied, GARBAGE[name])] * 2
    document = posts.create({"n": 1})
    assert posts.count() == 1
    assert posts.find().items == [document]
    assert len(set(created(gateway))) == 1
    assert len(created(gateway)) == (3 if applied else 1)


@pytest.mark.parametrize("name", GARBAGE)
def test_a_read_gives_up_with_what_it_met(name: str, posts: parquedb.Collection, front: Between) -> None:
    front.script = [(False, GARBAGE[name])] * 100
    with pytest.raises(RpcError) as caught:
        posts.get("a")
    unavailable = name.startswith(("502", "503", "504", "408", "a problem"))
    assert type(caught.value) is (RpcUnavailableError if unavailable else RpcError)
    assert caught.value.code is (ErrorCode.RPC_UNAVAILABLE if unavailable else ErrorCode.RPC_INVALID_RESPONSE)
    assert len(front.bodies) == 5


def test_a_write_that_may_have_been_applied_is_asked_about_until_its_deadline(
    posts: parquedb.Collection, front: Between, gateway: GatewayServer
) -> None:
    front.script = [(number == 0, GARBAGE["502 in HTML"]) for number in range(1000)]
    with pytest.raises(OutcomeUnknownError) as caught:
        posts.create({"n": 1}, timeout_s=4)
    assert len(front.bodies) > 5
    front.script = []
    document = posts.create({"n": 1}, request_id=caught.value.request_id)
    assert posts.find().items == [document]
    assert isinstance(caught.value.cause, RpcUnavailableError | TimeoutError)


def test_a_write_in_doubt_is_asked_about_even_where_nothing_else_is_repeated(
    between: tuple[Between, str], gateway: GatewayServer
) -> None:
    front, url = between
    front.script = [(True, GARBAGE["502 in HTML"])]
    with parquedb.connect(url, http={"attempts_max": 1}) as db:
        assert db["posts"].create({"n": 1})["n"] == 1
        assert db["posts"].count() == 1
        front.script = [(False, GARBAGE["502 in HTML"])]
        with pytest.raises(RpcUnavailableError):
            db["posts"].count()


def test_a_request_that_failed_in_a_way_nobody_foresaw_may_have_been_applied(
    posts: parquedb.Collection, front: Between
) -> None:
    front.script = [(False, parquedb_problem(InternalError("the log has more")))] * 2
    with pytest.raises(OutcomeUnknownError) as caught:
        posts.create({"n": 1})
    assert isinstance(caught.value.cause, InternalError)
    with pytest.raises(InternalError):
        posts.get("a")
    assert len(front.bodies) == 2


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionDeniedError), (404, RpcError), (413, RpcError)])
def test_a_refusal_on_the_way_is_final_and_nothing_was_applied(
    status: int, kind: type[ParqueDBError], posts: parquedb.Collection, front: Between
) -> None:
    front.script = [(False, (status, HTML, b"<html>no</html>"))]
    with pytest.raises(kind, match=f"HTTP status {status}") as caught:
        posts.create({"n": 1})
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert len(front.bodies) == 1


def test_a_redirect_is_not_followed_for_it_would_carry_the_token_along(
    posts: parquedb.Collection, front: Between
) -> None:
    front.script = [(False, (307, {"location": "https://elsewhere.example/"}, b""))]
    with pytest.raises(RpcError, match=r"leads elsewhere \(https://elsewhere.example/\)"):
        posts.create({"n": 1})


def test_a_crowded_gateway_is_asked_again_no_sooner_than_it_says(posts: parquedb.Collection, front: Between) -> None:
    told = BackpressureError("full", retry_after=0.3)
    problem = parquedb_problem(told)
    front.script = [(False, problem)]
    began_s = time.monotonic()
    posts.create({"n": 1})
    assert time.monotonic() - began_s >= 0.3
    assert len(front.bodies) == 2


def test_a_rate_limit_of_a_proxy_is_kept(posts: parquedb.Collection, front: Between) -> None:
    front.script = [(False, (429, {**HTML, "retry-after": "1"}, b"slow down"))]
    began_s = time.monotonic()
    posts.create({"n": 1})
    assert time.monotonic() - began_s >= 1


def test_no_call_waits_longer_than_its_caller_does(posts: parquedb.Collection, front: Between) -> None:
    front.script = [(False, (429, {**HTML, "retry-after": "60"}, b"slow down"))]
    began_s = time.monotonic()
    with pytest.raises(RateLimitedError) as caught:
        posts.create({"n": 1}, timeout_s=2)
    assert time.monotonic() - began_s < 1
    assert caught.value.retry_after == 60


def test_what_the_gateway_answers_for_one_operation_is_not_repeated(
    posts: parquedb.Collection, front: Between, gateway: GatewayServer
) -> None:
    gateway.local.refuse = [BackpressureError("the owner is full", retry_after=0.01)]
    with pytest.raises(BackpressureError, match="the owner is full"):
        posts.create({"n": 1})
    assert len(front.bodies) == 1


def test_an_answer_without_end_is_not_read_to_its_end(between: tuple[Between, str]) -> None:
    front, url = between
    front.script = [(False, (200, JSON, b'{"results": "' + b"x" * 100_000 + b'"}'))]
    with parquedb.connect(url, http={"answer_bytes_max": 10_000}) as db:
        with pytest.raises(RpcError, match="more than 10 000 bytes") as caught:
            db["posts"].get("a")
        assert caught.value.code is ErrorCode.RPC_INVALID_RESPONSE
        assert db["posts"].get("a") is None


def test_repeats_come_to_an_end_when_nothing_is_answered_any_more(between: tuple[Between, str]) -> None:
    front, url = between
    front.script = [(False, GARBAGE["502 in HTML"])] * 1000
    with parquedb.connect(url, http={"retry_budget_ratio": 0, "attempts_max": 2}) as db:
        for _ in range(100):
            with pytest.raises(RpcUnavailableError):
                db["posts"].get("a")
    # Each failure costs one of 64 that are saved up, the last one of a call as well.
    assert len(front.bodies) == 100 + 64 // 2


def test_nobody_there_is_soon_said(free_port: int) -> None:
    with parquedb.connect(f"http://127.0.0.1:{free_port}") as db:
        began_s = time.monotonic()
        with pytest.raises(RpcUnavailableError, match="cannot be reached"):
            db["posts"].create({"n": 1})
        assert time.monotonic() - began_s < 10


@pytest.fixture
def free_port() -> int:
    import socket  # noqa: PLC0415 - only here

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def proxy(server: GatewayServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.url, seed=1) as started:
        yield started


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "drop_before"},
        {"action": "drop_after"},
        {"action": "status_after", "status": 502},
        {"action": "truncate", "body_bytes": 40},
        {"action": "truncate", "body_bytes": 0},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_writes_over_a_bad_line_are_each_applied_once(fault: dict[str, Any], proxy: FaultProxy) -> None:
    name = f"line-{fault['action']}-{fault.get('body_bytes', '')}"
    rule = proxy.add(**fault, method="POST", count=8, probability=0.5)

    async def work() -> list[Any]:
        async with await parquedb.connect_async(proxy.url) as db:
            posts = db[name]
            documents = await asyncio.gather(*(posts.create({"n": n}) for n in range(200)))
            changed = [posts.update(one["$id"], {"$inc": {"n": 1000}}, expected_version=1) for one in documents]
            await asyncio.gather(*changed)
            return [one async for one in posts.find(limit=1000)]

    found = asyncio.run(work())
    assert rule.fired > 0
    assert sorted(one["n"] for one in found) == list(range(1000, 1200))
    assert {one["version"] for one in found} == {2}


def test_a_write_under_way_at_its_deadline_has_an_unknown_outcome_that_can_be_found_out(proxy: FaultProxy) -> None:
    hangs = proxy.add("hang_after", method="POST", count=1)
    with parquedb.connect(proxy.url) as db:
        posts = db["deadline"]
        began_s = time.monotonic()
        with pytest.raises(OutcomeUnknownError) as caught:
            posts.create({"n": 1}, timeout_s=0.5)
        assert time.monotonic() - began_s < 3
        hangs.release()
        document = posts.create({"n": 1}, request_id=caught.value.request_id)
        assert posts.find().items == [document]


def test_a_read_under_way_at_its_deadline_has_timed_out(proxy: FaultProxy) -> None:
    proxy.add("hang_before", method="POST", count=1)
    with parquedb.connect(proxy.url) as db, pytest.raises(TimeoutError):
        db["deadline"].get("a", timeout_s=0.3)


def test_a_call_that_its_task_gives_up_takes_no_other_along(proxy: FaultProxy) -> None:
    hangs = proxy.add("hang_before", method="POST", count=1)

    async def work() -> Any:
        async with await parquedb.connect_async(proxy.url) as db:
            posts = db["given-up"]
            slow = asyncio.ensure_future(posts.find())
            await asyncio.to_thread(hangs.wait_fired)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            return await posts.count()

    assert asyncio.run(work()) == 0


def test_whoever_waits_when_the_database_is_closed_is_told_what_he_needs_to_know(proxy: FaultProxy) -> None:
    hangs = proxy.add("hang_after", method="POST", count=1)
    db = parquedb.connect(proxy.url)
    posts, told = db["closed"], []

    def create() -> None:
        try:
            posts.create({"n": 1})
        except ParqueDBError as error:
            told.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    hangs.wait_applied()
    db.close()
    thread.join(20)
    assert not thread.is_alive()
    hangs.release()
    [error] = told
    assert isinstance(error, OutcomeUnknownError)
    with parquedb.connect(proxy.url) as again:
        again["closed"].create({"n": 1}, request_id=error.request_id)
        assert again["closed"].count() == 1


def test_threads_share_requests(server: GatewayServer) -> None:
    with FaultProxy(server.url) as proxy, parquedb.connect(proxy.url) as db:
        slow = proxy.add("latency", method="POST", delay_s=0.05)
        threads = [threading.Thread(target=db["shared"].create, args=({"n": n},)) for n in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert slow.fired <= 20
        assert db["shared"].count() == 100


def parquedb_problem(error: ParqueDBError) -> Answer:
    from parquedb.cluster.gateway.problems import problem_response  # noqa: PLC0415 - only here

    response = problem_response(error)
    headers = {name.decode(): value.decode() for name, value in response.raw_headers if name != b"content-length"}
    return response.status_code, headers, bytes(response.body)

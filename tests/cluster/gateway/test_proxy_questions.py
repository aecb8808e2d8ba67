"""What Serve's own `receive` asks of the proxy, with our middleware around the app."""

import asyncio
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from parquedb.cluster.gateway.proxy_questions import SparedProxy

http_util = pytest.importorskip("ray.serve._private.http_util", reason="ray[serve] is not installed")

Messages = list[dict[str, Any]]


class Proxy:
    """Serve's proxy, as far as a replica asks it: the messages of one request, in as many answers as are given.

    Attributes:
        asked: How often.
    """

    def __init__(self, answers: Sequence[Messages]) -> None:
        self.asked = 0
        self._answers = iter(answers)

    async def __call__(self, _: Any) -> bytes:
        self.asked += 1
        found = next(self._answers, None)
        if found is None:
            await asyncio.Event().wait()  # Until the caller leaves.
        return pickle.dumps(found)


async def handled(proxy: Proxy, headers: list[tuple[bytes, bytes]], receives: int) -> Messages:
    """Run a handler that receives so often, as a replica of Serve does; return what it has received."""
    received: Messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(receives):
            received.append(await receive())
        for _ in range(10):
            await asyncio.sleep(0)  # Whatever else wants to ask has time to.

    receive = http_util.ASGIReceiveProxy({"type": "http"}, None, proxy)
    fetching = asyncio.create_task(receive.fetch_until_disconnect())
    async with asyncio.timeout(5):
        await SparedProxy(app)({"type": "http", "headers": headers}, receive, None)
    fetching.cancel()
    return received


def body(part: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": part, "more_body": more}


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]])
async def test_a_request_without_a_body_asks_nothing(headers: list[tuple[bytes, bytes]]) -> None:
    proxy = Proxy([[body(b"")]])
    assert await handled(proxy, headers, 1) == [body(b"")]
    assert proxy.asked == 0


async def test_a_body_is_asked_for_until_it_is_whole_and_then_no_more() -> None:
    proxy = Proxy([[body(b"a", more=True), body(b"b", more=True)], [body(b"c")]])
    received = await handled(proxy, [(b"content-length", b"3")], 3)
    assert received == [body(b"a", more=True), body(b"b", more=True), body(b"c")]
    assert proxy.asked == 2


async def test_a_caller_who_leaves_before_the_end_of_his_body_is_heard_of() -> None:
    gone = {"type": "http.disconnect"}
    proxy = Proxy([[body(b"a", more=True)], [gone]])
    assert await handled(proxy, [(b"transfer-encoding", b"chunked")], 2) == [body(b"a", more=True), gone]


async def test_what_is_no_request_of_serve_passes_as_it_is() -> None:
    passed = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append((scope, receive, send))

    request = ({"type": "lifespan"}, object(), object())
    await SparedProxy(app)(*request)  # type: ignore[arg-type]
    assert passed == [request]

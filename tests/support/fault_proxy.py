"""A reverse proxy that makes a store misbehave, in a thread of its own; it also counts what really went over the wire.

Host and the raw path are forwarded untouched, so signed requests stay valid. Usage:

    with FaultProxy(server.endpoint_url, seed=1) as proxy:
        lost = proxy.add("drop_after", method="PUT", path="/log/", count=1)
        ...                                  # clients use proxy.url
        assert proxy.count(method="PUT") == 1 and lost.fired == 1

Actions, by what becomes of the request:
    latency        forwarded after `delay_s` (+ up to `jitter_s`); later rules apply as well
    status         answered `status`/`code`, not forwarded
    drop_before    connection reset, not forwarded
    drop_after     forwarded, then connection reset: applied, answer lost
    status_after   forwarded, then answered `status`/`code`: applied, but the answer says otherwise
    hang_before    not forwarded, no answer until `release()`; then reset
    hang_after     forwarded, no answer until `release()`; then reset
    zombie         connection reset; forwarded after `delay_s`, or at `release()` when that is None
    truncate       forwarded, `body_bytes` of the answer's body sent, then reset
    slow_body      forwarded, the answer's body sent at `bytes_per_s`
"""

import asyncio
import contextlib
import io
import random
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

ACTIONS = frozenset({"latency", "status", "status_after", "truncate", "slow_body", "zombie"}) | frozenset(
    f"{what}_{when}" for what in ("drop", "hang") for when in ("before", "after")
)
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect"})
_WAIT_S = 20.0


@dataclass
class Fault:
    """One rule. The first match decides, except that `latency` lets the search go on.

    Attributes:
        method, path, condition: What it applies to: an HTTP method, a regular expression found in the raw path and
            query, `create` (If-None-Match) or `replace` (If-Match); None is everything.
        skip: Matches that are left alone first.
        count: Matches that it then acts on; None is all.
        probability: Of acting on a match, drawn from the proxy's seeded generator.
        fired: How often it acted.
    """

    action: str
    method: str | None = None
    path: str = ""
    condition: str | None = None
    skip: int = 0
    count: int | None = None
    probability: float = 1.0
    status: int = 503
    code: str = "SlowDown"
    delay_s: float | None = None
    jitter_s: float = 0.0
    body_bytes: int = 0
    bytes_per_s: int = 1 << 20
    fired: int = 0
    _matched: int = 0
    _released: threading.Event = field(default_factory=threading.Event, repr=False)
    _progress: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0), repr=False)
    _applied: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0), repr=False)

    def release(self) -> None:
        """Let everything that hangs go on, and what comes later at once."""
        self._released.set()

    def wait_fired(self) -> None:
        """Wait until it has acted once more than at the last call; blocking, so `await asyncio.to_thread(...)`."""
        assert self._progress.acquire(timeout=_WAIT_S), f"{self.action} did not happen"

    def wait_applied(self) -> None:
        """Wait until a forwarded request (`drop_after`, `hang_after`, `status_after`, `zombie`) reached the store."""
        assert self._applied.acquire(timeout=_WAIT_S), f"the {self.action} was not applied"


@dataclass(frozen=True)
class Seen:
    """One request that arrived."""

    method: str
    path: str
    condition: str | None
    headers: dict[str, str]
    action: str | None


class FaultProxy:
    """The proxy; a context manager, or `start` and `stop`."""

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        self.upstream = upstream.rstrip("/")
        self.url = ""
        self.seen: list[Seen] = []
        self._faults: list[Fault] = []
        self._down = False
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    # Control, from any thread

    def add(self, action: str, **settings: Any) -> Fault:
        """Add a rule behind the others; see `Fault` for the settings."""
        assert action in ACTIONS, action
        fault = Fault(action, **settings)
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Drop one rule; what hangs by it is released."""
        with self._lock:
            if fault in self._faults:
                self._faults.remove(fault)
        fault.release()

    def clear(self) -> None:
        """Drop all rules and end the outage; what hangs is released."""
        with self._lock:
            faults, self._faults, self._down = self._faults, [], False
        for fault in faults:
            fault.release()

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Reset every connection while inside."""
        self._down = True
        try:
            yield
        finally:
            self._down = False

    def count(self, *, method: str | None = None, path: str = "", condition: str | None = None) -> int:
        """Return how many requests arrived that match."""
        return sum(
            method in {None, one.method} and condition in {None, one.condition} and bool(re.search(path, one.path))
            for one in self.seen
        )

    def start(self) -> "FaultProxy":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_WAIT_S)
        return self

    def stop(self) -> None:
        self.clear()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_S)
        self._loop.close()

    def __enter__(self) -> "FaultProxy":
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # In the proxy's own loop

    async def _start(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=timeout)
        application = web.Application(client_max_size=1 << 40)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(self._runner, listener).start()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        condition = "create" if "If-None-Match" in request.headers else None
        condition = "replace" if "If-Match" in request.headers else condition
        latencies, fault = self._choose(request.method, request.raw_path, condition)
        action = "outage" if self._down else fault.action if fault else latencies[0].action if latencies else None
        self.seen.append(Seen(request.method, request.raw_path, condition, dict(request.headers), action))
        if self._down:
            return _reset(request)
        try:
            body = await request.read()
        except ConnectionError:
            return _reset(request)  # The client has gone, as one does that is killed.
        for latency in latencies:
            latency._progress.release()
            await asyncio.sleep((latency.delay_s or 0.0) + self._random.random() * latency.jitter_s)
        try:
            if fault is None:
                return await self._forward(request, body)
            fault._progress.release()
            return await self._misbehave(fault, request, body)
        except aiohttp.ClientError:
            return _reset(request)  # The store itself is down.

    def _choose(self, method: str, path: str, condition: str | None) -> tuple[list[Fault], Fault | None]:
        latencies = []
        with self._lock:
            for fault in self._faults:
                fits = fault.method in {None, method} and fault.condition in {None, condition}
                if not fits or not re.search(fault.path, path):
                    continue
                fault._matched += 1
                turn = fault._matched - fault.skip
                if turn <= 0 or (fault.count is not None and turn > fault.count):
                    continue
                if self._random.random() >= fault.probability:
                    continue
                fault.fired += 1
                if fault.action != "latency":
                    return latencies, fault
                latencies.append(fault)
        return latencies, None

    async def _misbehave(self, fault: Fault, request: web.Request, body: bytes) -> web.StreamResponse:
        action = fault.action
        if action == "status":
            return _error(fault)
        if action == "zombie":
            self._later(self._apply_late(fault, request, body))
        if action in {"drop_before", "zombie"}:
            return _reset(request)
        if action == "hang_before":
            await self._hang(fault)
            return _reset(request)
        reply = await self._forward(request, body)
        fault._applied.release()
        if action == "hang_after":
            await self._hang(fault)
        if action in {"drop_after", "hang_after"}:
            return _reset(request)
        return _error(fault) if action == "status_after" else await self._send_badly(fault, request, reply)

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        url = URL(self.upstream + request.raw_path, encoded=True)
        skip = ["User-Agent", "Accept", "Accept-Encoding", "Content-Type"]
        async with self._session.request(
            # As a stream: aiohttp warns of large bodies in one piece.
            request.method,
            url,
            headers=headers,
            data=io.BytesIO(body),
            allow_redirects=False,
            skip_auto_headers=skip,
        ) as reply:
            content = await reply.read()
            kept = [(name, value) for name, value in reply.headers.items() if name.lower() not in _HOP_BY_HOP]
            if request.method == "HEAD":
                return web.Response(status=reply.status, headers=kept)
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
            return web.Response(status=reply.status, headers=kept, body=content)

    async def _apply_late(self, fault: Fault, request: web.Request, body: bytes) -> None:
        if fault.delay_s is None:
            await self._hang(fault)
        else:
            await asyncio.sleep(fault.delay_s)
        # It may come too late for a store that has been killed meanwhile.
        with contextlib.suppress(aiohttp.ClientError):
            await self._forward(request, body)
            fault._applied.release()

    async def _send_badly(self, fault: Fault, request: web.Request, reply: web.Response) -> web.StreamResponse:
        content = bytes(reply.body or b"")
        stream = web.StreamResponse(status=reply.status, headers=reply.headers)
        stream.content_length = len(content)
        await stream.prepare(request)
        if fault.action == "truncate":
            await stream.write(content[: fault.body_bytes])
            # Half-closed first, so that the bytes arrive before the end does.
            if request.transport is not None:
                request.transport.close()
            return stream
        step = max(1, fault.bytes_per_s // 20)
        for start in range(0, len(content), step):
            await stream.write(content[start : start + step])
            await asyncio.sleep(step / fault.bytes_per_s)
        return stream

    async def _hang(self, fault: Fault) -> None:
        while not fault._released.is_set():
            await asyncio.sleep(0.005)

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


def _error(fault: Fault) -> web.Response:
    text = f"<Error><Code>{fault.code}</Code><Message>injected</Message><RequestId>fault</RequestId></Error>"
    return web.Response(status=fault.status, text=f'<?xml version="1.0"?>\n{text}', content_type="application/xml")

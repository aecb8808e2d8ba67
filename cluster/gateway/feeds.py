"""What happened: the history of a document, and the change feed as pages or as server-sent events.

A feed ends by itself after so many seconds or bytes, and when the process ends; whoever follows it comes back with
`Last-Event-ID`, as browsers do by themselves, and misses nothing. That bounds what may pile up on the way to a slow
reader: a proxy in between (Ray Serve's does) takes whatever it is given.

Source:
    HTML Living Standard, section 9.2 (Server-sent events).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from parquedb.actors.reads.history import LIMIT_DEFAULT, LIMIT_MAX, WAIT_S_MAX
from parquedb.actors.requests.operations import Outcome
from parquedb.cluster.gateway.answers import StreamedResponse, json_response, send_part
from parquedb.cluster.gateway.bodies import CallerGone
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.problems import error_data, json_text
from parquedb.documents import extended_json
from parquedb.errors import ParqueDBError, ValidationError, wrap_error

EVENT_STREAM: Final = "text/event-stream"
RETRY_MS: Final = 1000
"""Milliseconds after which a reader whose feed has ended comes back."""

_HEARTBEAT: Final = b":\n\n"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PAUSE_FIRST_S: Final = 0.05
_PAUSE_MAX_S: Final = 2.0


async def get_history(call: Call) -> Response:
    """Answer with the changes of one document, oldest first."""
    call.query.expect("id", "after", "limit")
    item = {
        "op": "history",
        "id": call.query.get("id"),
        "after": call.query.number("after", 0),
        "limit": call.query.number("limit", LIMIT_DEFAULT),
    }
    answer = (await call.ask(item)).value
    facts = {"has_more": answer["more"], "truncated": answer["cut"], "oldest_seq": answer["oldest"]}
    return json_response({"changes": [_told(one) for one in answer["changes"]], **facts})


async def get_changes(call: Call) -> Response:
    """Answer with a page of changes, or follow them."""
    call.query.expect("after", "limit", "wait_s")
    after = call.query.number("after", 0)
    if EVENT_STREAM in call.headers.get("accept", ""):
        return await _followed(call, after)
    limit, wait_s = call.query.number("limit", LIMIT_DEFAULT), _wait_s(call)
    changes = (await _page(call, after, limit, wait_s)).value["changes"]
    return json_response({"changes": [_told(one) for one in changes], "after": changes[-1][0] if changes else after})


async def _followed(call: Call, after: int) -> Response:
    last = call.headers.get("last-event-id", "")
    if last:
        if not (last.isascii() and last.isdigit() and len(last) < len(str(2**63))):
            raise ValidationError(f"Last-Event-ID: expected the seq of a change, got {last[:40]!r}", field="after")
        after = int(last)
    with call.gateway.feeds.entered():
        # Whatever is wrong with the question is a status, not an event.
        first = await _page(call, after, LIMIT_MAX, 0.0)
    return Feed(call, after, first)


def _wait_s(call: Call) -> float:
    text = call.query.get("wait_s", "0")
    try:
        return float(text)
    except ValueError:
        raise ValidationError(f"wait_s: expected seconds from 0 to {WAIT_S_MAX:g}, got {text[:40]!r}") from None


async def _page(call: Call, after: int, limit: int, wait_s: float, timeout_s: float | None = None) -> Outcome:
    item = {"op": "changes", "after": after, "limit": limit, "wait_s": wait_s}
    return await call.ask(item, timeout_s)


def _told(change: list[Any]) -> dict[str, Any]:
    seq, time_us, action, id_, document = change
    told: dict[str, Any] = {
        "seq": seq,
        "time": (_EPOCH + timedelta(microseconds=time_us)).isoformat(),
        "action": action,
    }
    if id_:
        told["id"] = id_
    # Beside others the document is no tag, but one of a single field would be read as one.
    told["document"] = None if document is None else extended_json.tagged(document)
    return told


class Feed(StreamedResponse):
    """Changes as they happen."""

    def __init__(self, call: Call, after: int, first: Outcome) -> None:
        """Prepare to follow.

        Args:
            call: The request.
            after: Seq of the last change that the reader knows.
            first: The page after it.
        """
        # Proxies that gather answers before they pass them on would hold a feed back for ever.
        super().__init__({"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, EVENT_STREAM)
        self._call = call
        self._after = after
        self._first: Outcome | None = first
        self._ends_s = time.monotonic() + call.gateway.settings.stream_s_max
        expires_s = call.principal.expires_s
        if expires_s is not None:
            self._ends_s = min(self._ends_s, time.monotonic() + expires_s - time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Send events until the reader leaves or the feed has lasted long enough."""
        with self._call.gateway.feeds.entered():
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            sending = asyncio.create_task(self._send_all(send))
            leaving = [asyncio.create_task(_left(receive)), asyncio.create_task(self._call.gateway.closing.wait())]
            try:
                left_s = max(0.0, self._ends_s - time.monotonic())
                await asyncio.wait([sending, *leaving], timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, *leaving):
                    task.cancel()
                await asyncio.gather(sending, *leaving, return_exceptions=True)
            if isinstance(_failure(sending), CallerGone):
                raise CallerGone
            if not _is_over(leaving[0]):
                await send_part(send, b"", self._call.gateway.settings.stalled_s, more=False)

    async def _send_all(self, send: Send) -> None:
        settings, sent = self._call.gateway.settings, 0
        async for event in self._events():
            await send_part(send, event, settings.stalled_s)
            sent += len(event)
            if sent >= settings.stream_bytes_max:
                return

    async def _events(self) -> AsyncIterator[bytes]:
        """Yield events, and heartbeats where there are none; the last one is an error, if there is one."""
        yield f"retry: {RETRY_MS}\n\n".encode()
        wait_s = min(self._call.gateway.settings.heartbeat_s, WAIT_S_MAX)
        pause_s, failing_since_s = _PAUSE_FIRST_S, 0.0
        while True:
            try:
                page = await self._next_page(wait_s)
            except ParqueDBError as error:
                now_s = time.monotonic()
                failing_since_s = failing_since_s or now_s
                if not error.retryable or now_s - failing_since_s > self._call.timeout_s:
                    yield b"event: error\ndata: " + json_text(error_data(wrap_error(error))) + b"\n\n"
                    return
                await asyncio.sleep(error.retry_after or pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                continue
            pause_s, failing_since_s = _PAUSE_FIRST_S, 0.0
            changes = page.value["changes"]
            for change in changes:
                yield b"id: %d\nevent: change\ndata: %b\n\n" % (change[0], orjson.dumps(_told(change)))
                self._after = change[0]
            if not changes:
                yield _HEARTBEAT

    async def _next_page(self, wait_s: float) -> Outcome:
        first, self._first = self._first, None
        if first is not None and first.value["changes"]:
            return first
        # The owner may hold the question for `wait_s`; the rest is for its way.
        return await _page(self._call, self._after, LIMIT_MAX, wait_s, wait_s + self._call.timeout_s)


def _is_over(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled()


def _failure(task: asyncio.Task[Any]) -> BaseException | None:
    return task.exception() if _is_over(task) else None


async def _left(receive: Receive) -> None:
    """Return when the reader has left."""
    message: Mapping[str, Any] = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()

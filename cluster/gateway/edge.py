"""The outermost step of every request: its id, its span, its place, its count, and an answer for what goes wrong."""

import logging
import os
import re
import time
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parquedb.cluster.gateway.bodies import CallerGone
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.gateway import Gateway
from parquedb.cluster.gateway.problems import Refusal, problem_response
from parquedb.cluster.gateway.routes import PROBES, route_of
from parquedb.errors import InternalError, InvalidInputError, ParqueDBError
from parquedb.observability.logs import get_logger
from parquedb.observability.logs.context import log_context
from parquedb.observability.metrics.http_requests import RequestKind
from parquedb.observability.otel.http_spans import KNOWN_METHODS, OTHER_METHOD, HttpSpans

REQUEST_ID_HEADER: Final = "X-Request-Id"
CALL: Final = "parquedb.call"
"""Where the scope keeps the `Call`."""

_REQUEST_ID: Final = re.compile(r"[\w.:/=+-]{1,128}", re.ASCII)
_REQUEST_ID_BYTES: Final = 10

_logger = get_logger(__name__)
_access = get_logger("cluster.gateway.access_log")


class Edge:
    """ASGI middleware around everything.

    Args:
        app: What is inside.
        gateway: Who answers.
        tells_request_id: Whether answers say the id of their request; Serve's proxy does that by itself.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway, *, tells_request_id: bool) -> None:
        self._app = app
        self._gateway = gateway
        self._tells_request_id = tells_request_id
        self._spans = HttpSpans()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or whatever else the server asks."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = scope[CALL] = Call(self._gateway, scope, receive)
        given = call.headers.get(REQUEST_ID_HEADER, "")
        call.request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(_REQUEST_ID_BYTES).hex()
        method = scope["method"] if scope["method"] in KNOWN_METHODS else OTHER_METHOD
        route = route_of(scope["path"].removeprefix(scope.get("root_path", "")))
        requests = self._gateway.counts
        span = self._spans.begin(method, route, scope["path"], call.headers.get("traceparent"))
        headers = self._headers(call, span.traceparent)
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        requests.active += 1
        try:
            with log_context(request_id=call.request_id):
                await self._answer(call, route, sent, lambda: status != 0)
        finally:
            requests.active -= 1
            took_s = time.monotonic() - call.began_s
            requests.answered(RequestKind(method, route, status), took_s)
            span.end(status)
            if _access.isEnabledFor(logging.INFO):
                _tell(call, method, route, status, took_s)

    def _headers(self, call: Call, traceparent: str | None) -> list[tuple[bytes, bytes]]:
        headers = []
        if self._tells_request_id:
            headers.append((b"x-request-id", call.request_id.encode()))
        if traceparent is not None:
            headers.append((b"traceparent", traceparent.encode()))
        return headers

    async def _answer(self, call: Call, route: str, send: Send, started: Any) -> None:
        room = self._gateway.requests
        entered = False
        try:
            _check_size(call)
            call.read_timeout()
            if route not in PROBES:
                room.enter()
                entered = True
            await self._app(call.scope, call.receive, send)
        except CallerGone:
            return
        except Exception as error:
            if started():
                raise
            await _told(error, call)(call.scope, call.receive, send)
        finally:
            if entered:
                room.leave()


def _check_size(call: Call) -> None:
    """Accept a request whose head is of reasonable size.

    Raises:
        Refusal: 414 or 431, it is not.
    """
    scope, settings = call.scope, call.gateway.settings
    url = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
    if url > settings.url_bytes_max:
        error = InvalidInputError(f"the URL has {url} bytes; {settings.url_bytes_max} is the most")
        raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, error)
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > settings.headers_max or size > settings.headers_bytes_max:
        most = f"{settings.headers_max} lines and {settings.headers_bytes_max} bytes"
        error = InvalidInputError(f"the header has {len(headers)} lines and {size} bytes; {most} are the most")
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, error)


def _told(error: Exception, call: Call) -> Response:
    """Return what is told of an error; of one that nobody foresaw, nothing but that."""
    if isinstance(error, Refusal):
        return problem_response(error.error, request_id=call.request_id, status=error.status, headers=error.headers)
    if not isinstance(error, ParqueDBError):
        call.gateway.counts.unforeseen += 1
        _logger.error("a request failed in a way nobody foresaw", exc_info=error, extra={"event": "http.failed"})
        error = InternalError("an internal error; the log has more under the request id")
    namespace = call.scope.get("path_params", {}).get("namespace", "")
    call.gateway.note(namespace, call.operation or "request", error, call.request_id)
    return problem_response(error, request_id=call.request_id)


def _tell(call: Call, method: str, route: str, status: int, took_s: float) -> None:
    """Put a request on the access log: its route, not its path, for ids and filters may be private."""
    facts = {
        "event": "http.request",
        "request_id": call.request_id,
        "duration": took_s,
        "http_method": method,
        "http_url": route,
        "http_status": status,
        "operation": call.operation or None,
        "namespace": call.scope.get("path_params", {}).get("namespace"),
        "subject": call.principal.subject,
    }
    _access.info("%s %s %d", method, route or "(no such path)", status, extra=facts)

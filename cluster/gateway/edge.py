"""The outermost step of every request: its id, and an answer for whatever goes wrong inside."""

import re
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parquedb.cluster.gateway.bodies import CallerGone
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.gateway import Gateway
from parquedb.cluster.gateway.problems import Refusal, problem_response
from parquedb.errors import InternalError, ParqueDBError
from parquedb.ids import random_token
from parquedb.observability.logs import get_logger

REQUEST_ID_HEADER: Final = "X-Request-Id"

CALL: Final = "parquedb.call"
"""Where the scope keeps the `Call`."""

_REQUEST_ID: Final = re.compile(r"[\w.:/=+-]{1,128}", re.ASCII)
_logger = get_logger(__name__)


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or whatever else the server asks."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = Call(self._gateway, scope, receive)
        call.request_id = _request_id(call)
        scope[CALL] = call
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._tells_request_id:
                    MutableHeaders(raw=message["headers"])[REQUEST_ID_HEADER] = call.request_id
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except CallerGone:
            return
        except Exception as error:
            if started:
                raise
            await _answer_to(error, call)(scope, receive, sent)


def _request_id(call: Call) -> str:
    given = call.headers.get(REQUEST_ID_HEADER, "")
    return given if _REQUEST_ID.fullmatch(given) else random_token(20)


def _answer_to(error: Exception, call: Call) -> Response:
    """Return what is told of an error; of one that nobody foresaw, nothing but that."""
    if isinstance(error, Refusal):
        return problem_response(error.error, request_id=call.request_id, status=error.status, headers=error.headers)
    if not isinstance(error, ParqueDBError):
        _logger.error("a request failed in a way nobody foresaw", exc_info=error)
        error = InternalError("an internal error; the log has more under the request id")
    return problem_response(error, request_id=call.request_id)

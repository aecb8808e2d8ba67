"""The gateway as an ASGI application: its routes, and what stands around them.

Handlers are plain Starlette endpoints, not FastAPI ones: a request is checked by what the library itself uses for its
arguments, and pydantic models on the way would only cost time. FastAPI shows the documentation.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from parquedb import __version__
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway import documents, operations
from parquedb.cluster.gateway.access.authenticator import Anonymous, Authenticator
from parquedb.cluster.gateway.answers import json_response
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.edge import CALL, Edge
from parquedb.cluster.gateway.gateway import Gateway
from parquedb.cluster.gateway.problems import problem_response
from parquedb.errors import ConfigurationError, error_from_status
from parquedb.gateway_settings import GatewaySettings, gateway_env_name

Handler = Callable[[Call], Awaitable[Response]]


def build_app(
    database: AsyncDatabase,
    settings: GatewaySettings,
    authenticator: Authenticator | None = None,
    *,
    behind_serve: bool = False,
) -> FastAPI:
    """Return the gateway to a database.

    Args:
        database: What is served; closed by whoever opened it.
        settings: Limits, and who may call.
        authenticator: Tells who a caller is; by default nobody is asked, which production refuses.
        behind_serve: Whether requests come from a proxy of Ray Serve.

    Raises:
        ConfigurationError: nobody would have to say who he is, and this is production.
    """
    if authenticator is None:
        if settings.environment == "production":
            raise ConfigurationError(
                "a gateway in production needs to know who calls: configure tokens or API keys",
                setting=gateway_env_name("access"),
            )
        authenticator = Anonymous()
    gateway = Gateway(database, settings, authenticator)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.authenticator.close()

    return FastAPI(
        title="ParqueDB",
        version=__version__,
        routes=_routes(gateway),
        lifespan=lifespan,
        middleware=[Middleware(Edge, gateway, tells_request_id=not behind_serve)],
        exception_handlers={HTTPException: _refuse},
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
    )


def _routes(gateway: Gateway) -> list[BaseRoute]:
    """Return all routes, those that are taken most often first."""

    def route(path: str, method: str, handler: Handler, *, open: bool = False) -> Route:  # noqa: A002 - to everybody
        return Route(path, Endpoint(gateway, handler, open=open), methods=[method])

    one, all_ = "/v1/{namespace}/documents/{id:path}", "/v1/{namespace}"
    return [
        route(one, "GET", documents.get_document),
        route(all_, "POST", documents.create_document),
        route("/v1/{namespace}/operations", "POST", operations.run_operations),
        route("/health", "GET", _health, open=True),
    ]


class Endpoint:
    """What answers the requests of one route, as an ASGI application."""

    def __init__(self, gateway: Gateway, handler: Handler, *, open: bool) -> None:  # noqa: A002 - to everybody
        self._gateway = gateway
        self._handler = handler
        self._open = open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        call: Call = scope[CALL]
        # Later than when the edge saw it: path parameters are known, and middlewares have had their say.
        call.scope, call.receive = scope, receive
        call.read_timeout()
        if not self._open:
            headers = call.headers
            call.principal = await self._gateway.authenticator.authenticate(
                headers.get("authorization"), headers.get("x-api-key")
            )
        response = await self._handler(call)
        await response(scope, receive, send)


async def _health(_: Call) -> Response:
    """Say that this process is alive, without asking anybody."""
    return json_response({"status": "healthy"})


async def _refuse(request: Request, error: Exception) -> Response:
    """Word what the router refuses: a path or a method that is none."""
    status, headers = getattr(error, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR), getattr(error, "headers", None)
    words = "this path takes another method" if status == HTTPStatus.METHOD_NOT_ALLOWED else "there is no such path"
    told = error_from_status(status, words)
    return problem_response(told, request_id=request.scope[CALL].request_id, status=status, headers=headers)

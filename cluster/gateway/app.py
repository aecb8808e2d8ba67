"""The gateway as an ASGI application: its routes, and what stands around them.

Handlers are plain ASGI endpoints, not FastAPI's: a request is checked by what the library itself uses for its
arguments, and pydantic models on the way would only cost time. FastAPI tells `openapi.json`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway import documents, exports, feeds, imports, methods, operations, routes
from parquedb.cluster.gateway.access.access_control import AccessControl
from parquedb.cluster.gateway.access.authenticator import Authenticator
from parquedb.cluster.gateway.access.callers import build_authenticator
from parquedb.cluster.gateway.access.middleware import (
    OPEN_PATHS,
    PRINCIPAL,
    AccessMiddleware,
    SecurityHeaders,
    cors_middleware,
)
from parquedb.cluster.gateway.answers import json_response
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.console.data import ConsoleData
from parquedb.cluster.gateway.console.page import Pages
from parquedb.cluster.gateway.description import describe
from parquedb.cluster.gateway.edge import CALL, Edge
from parquedb.cluster.gateway.gateway import Gateway
from parquedb.cluster.gateway.metrics import Scrapes
from parquedb.cluster.gateway.problems import problem_response
from parquedb.cluster.gateway.readiness import Readiness, answer_ready
from parquedb.errors import ParqueDBError, error_from_status
from parquedb.observability.otel.metric_export import export_requests
from parquedb.observability.otel.version import VERSION
from parquedb.settings.gateway import GatewaySettings

Handler = Callable[[Call], Awaitable[Response]]
Handlers = Mapping[str, Handler]


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
        authenticator: Tells who a caller is; by default what the settings say, which may be that nobody is asked.
        behind_serve: Whether requests come from a proxy of Ray Serve.

    Raises:
        ConfigurationError: nobody would have to say who he is, and this is production.
    """
    gateway, access = Gateway(database, settings), settings.access
    readiness, console = Readiness(gateway), ConsoleData(gateway)
    shown = [path for path, wanted in ((routes.CONSOLE, settings.console), (routes.DOCS, settings.docs)) if wanted]
    pages = Pages(shown)
    control = AccessControl(
        authenticator or build_authenticator(access, database, production=settings.environment == "production"), access
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        end_export = export_requests(gateway.counts)
        yield
        end_export()
        gateway.closing.set()
        await readiness.close()
        await console.close()
        await control.close()

    app = FastAPI(
        title="ParqueDB",
        version=VERSION,
        routes=[
            *_routes(gateway, readiness, control),
            *_page_routes(pages, shown),
            *([_route(routes.CONSOLE_DATA, {"GET": console.answer})] if settings.console else []),
            *([_route(routes.CONSOLE_FILE, {"GET": pages.file})] if shown else []),
        ],
        lifespan=lifespan,
        middleware=[
            Middleware(SecurityHeaders, access),
            *cors_middleware(access),
            Middleware(Edge, gateway, tells_request_id=not behind_serve),
            Middleware(AccessMiddleware, control, _unknown, OPEN_PATHS | pages.paths),
        ],
        exception_handlers={HTTPException: _refuse},
        docs_url=None,
        redoc_url=None,
        openapi_url=routes.OPENAPI if settings.docs else None,
    )
    app.state.gateway = gateway
    description = describe(VERSION)
    app.openapi = lambda: description  # type: ignore[method-assign]
    return app


def _unknown(scope: Scope, error: ParqueDBError, headers: Mapping[str, str]) -> Response:
    """Tell a caller why he was not let in."""
    return problem_response(error, request_id=scope[CALL].request_id, headers=headers)


def _routes(gateway: Gateway, readiness: Readiness, control: AccessControl) -> list[BaseRoute]:
    """Return all routes, those that are taken most often first."""

    async def ready(call: Call) -> Response:
        if "authorization" in call.headers or "x-api-key" in call.headers:
            # Probes carry no proof; whoever does wants to know more.
            call.principal = (await control.admit(call.scope)).principal
        return await answer_ready(call, readiness)

    handlers: dict[str, Handlers] = {
        routes.DOCUMENT: {
            "GET": documents.get_document,
            "PUT": documents.put_document,
            "PATCH": documents.patch_document,
            "DELETE": documents.delete_document,
        },
        routes.OPERATIONS: {"POST": operations.run_operations},
        routes.NAMESPACE: {"POST": documents.create_document, "GET": methods.find_documents},
        routes.IMPORT: {"POST": imports.import_documents},
        routes.EXPORT: {"GET": exports.export_documents},
        routes.CHANGES: {"GET": feeds.get_changes, "POST": methods.run_method},
        routes.HISTORY: {"GET": feeds.get_history, "POST": methods.run_method},
        routes.SCHEMA: {"GET": methods.get_schema, "PUT": methods.put_schema, "POST": methods.run_method},
        routes.METHOD: {"POST": methods.run_method},
        routes.NAMESPACES: {"GET": methods.list_namespaces},
        routes.METRICS: {"GET": Scrapes(gateway).answer},
        routes.HEALTH: {"GET": _health},
        routes.READY: {"GET": ready},
    }
    return [_route(path, found) for path, found in handlers.items()]


def _page_routes(pages: Pages, shown: Iterable[str]) -> list[BaseRoute]:
    return [_route(path, {"GET": pages.page}) for path in shown]


def _route(path: str, handlers: Handlers) -> Route:
    # An id is everything behind `/documents/`, slashes too.
    pattern = path.replace("{id}", "{id:path}")
    return Route(pattern, Endpoint(handlers), methods=list(handlers))


class Endpoint:
    """What answers the requests of one route, as an ASGI application.

    Args:
        handlers: By method; a HEAD is answered by GET's.
    """

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        call: Call = scope[CALL]
        # Later than when the edge saw it: path parameters are known, and middlewares have had their say.
        call.scope, call.receive = scope, receive
        call.principal = scope.get(PRINCIPAL, call.principal)
        response = await self._handlers[scope["method"]](call)
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

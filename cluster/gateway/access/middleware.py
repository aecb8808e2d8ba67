"""What stands around the application, as plain ASGI: access control, CORS, and fields that tell browsers to be careful.

Outermost first:

    SecurityHeaders     on every answer, errors too
    CORS                before anybody is asked who they are: a preflight carries no proof
    the gateway's edge  turns errors into answers
    AccessMiddleware    nothing behind it is reached without a principal
"""

from collections.abc import Callable, Mapping
from typing import Final

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parquedb.cluster.gateway.access.access_control import AccessControl, Refused
from parquedb.errors import ParqueDBError
from parquedb.settings.access import AccessSettings

PRINCIPAL: Final = "parquedb.principal"
"""Where the scope keeps the `Principal` of a request."""

OPEN_PATHS: Final = frozenset({"/health", "/ready"})
"""What probes ask; they carry no proof."""

Answer = Callable[[Scope, ParqueDBError, Mapping[str, str]], ASGIApp]
"""Words a refusal as an answer with these fields."""

Fields = list[tuple[bytes, bytes]]

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_REQUEST_FIELDS: Final = (
    *("Authorization", "X-API-Key", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key"),
    *("Last-Event-ID", "Request-Timeout", "X-Request-Id", "traceparent", "tracestate"),
)
_ANSWER_FIELDS: Final = (
    *("ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id", "WWW-Authenticate"),
    "traceparent",
)


class AccessMiddleware:
    """Lets nobody through whom access control refuses.

    Args:
        app: What is inside; finds the caller at `scope[PRINCIPAL]`.
        control: Decides.
        answer: Words refusals.
        open_paths: Paths, exactly, that everybody may ask for.
    """

    def __init__(
        self, app: ASGIApp, control: AccessControl, answer: Answer, open_paths: frozenset[str] = OPEN_PATHS
    ) -> None:
        self._app = app
        self._control = control
        self._answer = answer
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or whatever else the server asks."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        if kind != "http":
            # Web sockets: there are none here, and one that slipped in would have no principal.
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            await self._let_in(scope, receive, send)
        except Refused as refused:
            await self._answer(scope, refused.error, refused.headers)(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _path(scope) in self._open_paths:
            # What answers there may ask access control itself, and tell those more who prove who they are.
            await self._app(scope, receive, send)
            return
        admitted = await self._control.admit(scope)
        scope[PRINCIPAL] = admitted.principal
        fields = _encoded(admitted.headers)
        await self._app(scope, receive, _adding(fields, send) if fields else send)


class SecurityHeaders:
    """Adds the fields that keep browsers from guessing, framing, caching and leaking.

    Args:
        app: What is inside.
        settings: Whether and for how long to insist on TLS.
    """

    def __init__(self, app: ASGIApp, settings: AccessSettings) -> None:
        self._app = app
        self._tls_in_front = settings.tls_in_front
        self._hsts: Fields = (
            _encoded({"Strict-Transport-Security": f"max-age={settings.hsts_s}"}) if settings.hsts_s else []
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or whatever else the server asks."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = _FIELDS
        if self._hsts and (self._tls_in_front or scope.get("scheme") == "https"):
            fields = fields + self._hsts
        await self._app(scope, receive, _adding(fields, send))


def cors_middleware(settings: AccessSettings) -> list[Middleware]:
    """Return what answers browsers whose page is from elsewhere; nothing where no origin is allowed.

    Origins are compared as they are; none is `*`. Cookies are never asked for: whoever calls shows its token, so a page
    can do nothing that its own program does not hold the proof for.
    """
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_FIELDS,
            allow_credentials=False,
            expose_headers=_ANSWER_FIELDS,
            max_age=settings.cors_max_age_s,
        )
    ]


def _path(scope: Scope) -> str:
    """Return the path below the prefix that the application is mounted at."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _adding(fields: Fields, send: Send) -> Send:
    """Return a `send` that adds fields to the answer, where it does not have them already."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            given: Fields = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            message["headers"] = [*given, *(field for field in fields if field[0] not in names)]
        await send(message)

    return sent


def _encoded(headers: Mapping[str, str]) -> Fields:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


_FIELDS: Final = _encoded(
    {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        # Documents are of one caller; no cache between may keep them.
        "Cache-Control": "no-store",
        # Nothing: pages say themselves what they load.
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    }
)

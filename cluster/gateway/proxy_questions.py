"""Sparing Ray Serve's proxy questions that nobody needs an answer to.

While a handler waits for something, Serve asks the proxy for the request's messages: once for the body, and once more
to hear of a caller who leaves. Each is a call between two actors, and costs the processors as much as all the rest of a
get. A request without a body has nothing to be asked for, and when a caller leaves Serve cancels the handler anyway.
"""

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

Fetch = Callable[[Any], Awaitable[bytes]]

_FETCH: Final = "_receive_asgi_messages"
"""Where what Serve passes as `receive` keeps the call to the proxy; without it nothing is spared, and nothing lost."""

_NO_BODY: Final = pickle.dumps([{"type": "http.request", "body": b"", "more_body": False}])


class SparedProxy:
    """ASGI middleware for replicas: the proxy is asked for bodies, and for nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        fetch: Fetch | None = getattr(receive, _FETCH, None)
        if scope["type"] == "http" and fetch is not None:
            setattr(receive, _FETCH, _BodyOnly(fetch, expected=_has_body(scope)))
        await self._app(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


class _BodyOnly:
    """Asks the proxy until the body is whole, and not at all where none is expected."""

    __slots__ = ("_expected", "_fetch", "_whole")

    def __init__(self, fetch: Fetch, *, expected: bool) -> None:
        self._fetch = fetch
        self._expected = expected
        self._whole = False

    async def __call__(self, metadata: Any) -> bytes:
        """Return the next messages; after the last one it waits until Serve, when the handler has ended, cancels it."""
        if self._whole:
            await asyncio.get_running_loop().create_future()
        if not self._expected:
            self._whole = True
            return _NO_BODY
        messages = await self._fetch(metadata)
        self._whole = any(not message.get("more_body") for message in pickle.loads(messages))  # noqa: S301 - Serve's own
        return messages

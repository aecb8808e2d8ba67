"""A gateway on an ephemeral port of this machine, in a thread of its own; any other ASGI application likewise."""

import socket
import threading
from typing import Any

import uvicorn

from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.app import build_app
from parquedb.settings.environment import load_settings
from parquedb.settings.gateway import GatewaySettings
from tests.support.local_connection import LocalConnection

_WAIT_S = 20.0


class AppServer:
    """An ASGI application behind uvicorn; a context manager.

    Attributes:
        port: Where it listens: any free one, unless it is to be where another one was.
        url: The same as a URL.
    """

    def __init__(self, app: Any, *, port: int = 0, **options: Any) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        scheme = "https" if "ssl_certfile" in options else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1, **options)
        self._server = uvicorn.Server(config)
        self._started = threading.Event()
        startup = self._server.startup

        async def told(*arguments: Any, **named: Any) -> None:
            await startup(*arguments, **named)
            self._started.set()

        self._server.startup = told  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> "AppServer":
        self._thread.start()
        assert self._started.wait(_WAIT_S), "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_WAIT_S)
        self._socket.close()


class GatewayServer(AppServer):
    """The real gateway over owners of this process.

    Attributes:
        local: Their connection, which notes every operation that arrives.
        app: The application itself.
    """

    def __init__(
        self,
        url: str = "memory://gateway",
        *,
        settings: GatewaySettings | None = None,
        authenticator: Any = None,
        engine: dict[str, Any] | None = None,
        port: int = 0,
    ) -> None:
        self.local = LocalConnection(load_settings(url), **(engine or {}))
        self.database = AsyncDatabase(self.local)
        self.app = build_app(self.database, settings or GatewaySettings(), authenticator)
        super().__init__(self.app, port=port)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.local.leave()

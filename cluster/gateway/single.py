"""The gateway in one process of its own, without Ray Serve: for one machine, and where callers show certificates."""

import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.access.tls import uvicorn_tls_options
from parquedb.cluster.gateway.app import build_app
from parquedb.settings.gateway import GatewaySettings


class SingleGateway(uvicorn.Server):
    """A server on the loop that runs `serve()`; ends in order at SIGTERM and Ctrl-C.

    Args:
        database: What is served; closed by whoever opened it.
        settings: Of the gateway.

    Attributes:
        app: The application that it serves.

    Raises:
        ConfigurationError: the settings do not allow it.
    """

    def __init__(self, database: AsyncDatabase, settings: GatewaySettings) -> None:
        self.app: FastAPI = build_app(database, settings)
        options = {
            "host": settings.host,
            "port": settings.port,
            "log_config": None,
            "access_log": False,
            # It says who it is in `openapi.json`, to those who may ask.
            "server_header": False,
            "timeout_graceful_shutdown": max(1, round(settings.shutdown_s)),
            **uvicorn_tls_options(settings.access),
        }
        super().__init__(uvicorn.Config(self.app, **options))

    @property
    def port(self) -> int:
        """The one it listens on, once it does."""
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port

    def handle_exit(self, sig: int, frame: FrameType | None = None) -> None:  # noqa: ARG002 - the base's
        """End in order; a second Ctrl-C does not wait for requests under way.

        Unlike the base's it does not raise the signal again afterwards: whoever runs this has more to close.
        """
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()

    def stop(self) -> None:
        """End in order; on the loop. Change feeds end first, which would go on for ever."""
        self.app.state.gateway.closing.set()
        self.should_exit = True

"""`parquedb serve`: a gateway from the command line, until it is told to end."""

import asyncio
import json
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from rich.console import Console

import parquedb
from parquedb.cluster.cli.opening import quietly
from parquedb.cluster.cli.terminal import output
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.errors import ConfigurationError
from parquedb.settings.environment import load_gateway_settings
from parquedb.settings.gateway import GatewaySettings

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class ServeCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        options: Settings of the gateway; None where the environment decides.
        single: Whether to answer in this process, without Ray Serve.
        as_json: Whether to say it as JSON.
        screen: Where it says that it listens.
    """

    url: str | None
    options: Mapping[str, Any]
    single: bool = False
    as_json: bool = False
    screen: Console = field(default_factory=output)

    def run(self) -> bool:
        """Serve until a signal says to end.

        Raises:
            ConfigurationError: a setting cannot be used, or `parquedb[serve]` is not installed.
            ParqueDBError: the database cannot be reached.
        """
        settings = load_gateway_settings(**self.options)
        try:
            import parquedb.cluster.gateway.deployment  # noqa: F401, PLC0415 - an extra
        except ImportError as error:
            words = f"serving needs what `pip install 'parquedb[serve]'` brings: {error.name} is missing"
            raise ConfigurationError(words, setting="serve") from error
        asyncio.run(self._single(settings)) if self.single else self._on_serve(settings)
        return True

    def _on_serve(self, settings: GatewaySettings) -> None:
        from ray import serve  # noqa: PLC0415 - an extra

        from parquedb.cluster.gateway.deployment import serve_gateway  # noqa: PLC0415

        with quietly():
            database = asyncio.run(parquedb.connect_async(self.url))
        try:
            served = serve_gateway(database, settings)
            try:
                self._tell(served.url, database)
                wait_for_signal()
            finally:
                served.close()
                serve.shutdown()  # type: ignore[no-untyped-call] # Ray's own.
        finally:
            asyncio.run(database.close())

    async def _single(self, settings: GatewaySettings) -> None:
        from parquedb.cluster.gateway.deployment import address  # noqa: PLC0415 - an extra
        from parquedb.cluster.gateway.single import SingleGateway  # noqa: PLC0415

        with quietly():
            connected = await parquedb.connect_async(self.url)
        async with connected as database:
            server = SingleGateway(database, settings)
            serving = asyncio.create_task(server.serve())
            while not server.started and not serving.done():
                await asyncio.sleep(0.01)
            if server.started:
                self._tell(address(settings.host, server.port, tls=server.config.is_ssl), database)
            await serving

    def _tell(self, url: str, database: AsyncDatabase) -> None:
        if self.as_json:
            self.screen.out(json.dumps({"url": url, "database": database.url}))
        else:
            self.screen.out(f"{database.url} is served at {url}; its description is at {url}/docs")
        self.screen.file.flush()


def wait_for_signal() -> None:
    """Return at Ctrl-C or SIGTERM. Ray has handlers of its own, which would end the process at once."""
    told = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    before: dict[signal.Signals, Any] = {one: signal.signal(one, handle) for one in _SIGNALS}
    try:
        told.wait()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)

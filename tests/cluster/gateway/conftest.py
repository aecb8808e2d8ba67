"""A gateway in this process: the real application over real engines, called as ASGI or over a socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from parquedb.access.permissions import Permissions
from parquedb.access.principal import Principal
from parquedb.cluster.gateway.app import build_app
from parquedb.cluster.gateway.single import SingleGateway
from parquedb.errors import AuthenticationRequiredError
from parquedb.settings.gateway import GatewaySettings
from tests.support.engine_database import EngineDatabase

Clients = Callable[..., httpx.AsyncClient]


class Names:
    """Believes whoever says a name that it knows, as `Authorization: Bearer <name>`."""

    def __init__(self, **permissions: list[str]) -> None:
        self._principals = {
            name: Principal(name, Permissions(entries), "api_key") for name, entries in permissions.items()
        }

    async def authenticate(self, authorization: str | None, api_key: str | None) -> Principal:
        name = (authorization or "").removeprefix("Bearer ")
        if name not in self._principals:
            raise AuthenticationRequiredError("expected a known name")
        return self._principals[name]

    async def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EngineDatabase]:
    made = EngineDatabase(tmp_path / "database")
    yield made
    await made.close()


@pytest.fixture
async def clients(database: EngineDatabase) -> AsyncIterator[Clients]:
    """Make clients of gateways with settings of one's own."""
    async with AsyncExitStack() as stack:

        def make(
            authenticator: Any = None, headers: dict[str, str] | None = None, **settings: Any
        ) -> httpx.AsyncClient:
            app = build_app(database, GatewaySettings(**settings), authenticator)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            made = httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)
            stack.push_async_callback(made.aclose)
            return made

        yield make


@pytest.fixture
def client(clients: Clients) -> httpx.AsyncClient:
    return clients()


@asynccontextmanager
async def listening(database: EngineDatabase, **settings: Any) -> AsyncIterator[tuple[SingleGateway, str]]:
    """A gateway on a socket, and its address."""
    server = SingleGateway(database, GatewaySettings(port=0, **settings))
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0)
    try:
        yield server, f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
        await serving

"""A gateway in this process: the real application over real engines, called as ASGI."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from parquedb.cluster.gateway.app import build_app
from parquedb.gateway_settings import GatewaySettings
from tests.support.engine_database import EngineDatabase


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EngineDatabase]:
    made = EngineDatabase(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def client(database: EngineDatabase) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(database, GatewaySettings())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as made:
        yield made

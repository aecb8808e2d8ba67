"""A real gateway for the tests of its client."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

import parquedb
from parquedb.settings.gateway import GatewaySettings
from tests.support.gateway_server import GatewayServer

_names = count()


@pytest.fixture(scope="package")
def shared_server() -> Iterator[GatewayServer]:
    with GatewayServer(settings=GatewaySettings(ready_cache_s=0)) as started:
        yield started


@pytest.fixture
def server(shared_server: GatewayServer) -> GatewayServer:
    """One server for all; tests use namespaces of their own."""
    shared_server.local.operations.clear()
    shared_server.local.refuse.clear()
    return shared_server


@pytest.fixture
def db(server: GatewayServer) -> Iterator[parquedb.Database]:
    with parquedb.connect(server.url) as opened:
        yield opened


@pytest.fixture
def posts(db: parquedb.Database) -> Any:
    """A namespace that no other test uses."""
    return db[f"posts{next(_names)}"]

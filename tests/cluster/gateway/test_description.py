"""The OpenAPI description says what there is."""

from typing import Any

import httpx
from starlette.routing import Route

from parquedb.cluster.gateway.app import build_app
from parquedb.settings.gateway import GatewaySettings
from tests.cluster.gateway.conftest import Clients
from tests.support.engine_database import EngineDatabase


def references(data: Any) -> set[str]:
    if isinstance(data, dict):
        return {data["$ref"]} if "$ref" in data else set().union(*map(references, data.values()))
    return set().union(*map(references, data)) if isinstance(data, list) else set()


async def test_every_route_and_method_is_described(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    described = (await client.get("/openapi.json")).json()
    app = build_app(database, GatewaySettings())
    for route in app.routes:
        # The pages are for people, and what the console polls is a matter between it and its gateway.
        if isinstance(route, Route) and not route.path.startswith(("/docs", "/openapi.json", "/console")):
            methods = {method.lower() for method in route.methods or ()} - {"head"}
            told = described["paths"][route.path.replace(":path", "")].keys()
            # A path of its own may be a method's as well (`POST /schema`), which the general path describes.
            assert methods - told <= {"post"}, route.path
    assert all(ref.split("/")[3] in described["components"][ref.split("/")[2]] for ref in references(described))


async def test_documentation_can_be_switched_off(clients: Clients) -> None:
    shown, hidden = clients(), clients(docs=False)
    for path in ("/docs", "/openapi.json"):
        assert (await shown.get(path)).status_code == 200
        assert (await hidden.get(path)).status_code == 404

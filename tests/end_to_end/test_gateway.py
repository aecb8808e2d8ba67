"""The gateway on a real Ray Serve: through the proxy, a replica, the owner, and back."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import parquedb
from parquedb.gateway_settings import GatewaySettings
from tests.support.collector import free_port

serve = pytest.importorskip("ray.serve", reason="ray[serve] is not installed")


@pytest.fixture
def url(ray_cluster: str, tmp_path: Path) -> Iterator[str]:
    import asyncio  # noqa: PLC0415

    from parquedb.cluster.gateway.deployment import serve_gateway  # noqa: PLC0415 - imports Serve

    database = asyncio.run(parquedb.connect_async(str(tmp_path / "db")))
    served = serve_gateway(database, GatewaySettings(port=free_port()))
    yield served.url
    served.close()
    serve.shutdown()
    asyncio.run(database.close())


def test_documents_travel_through_serve(url: str) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        assert client.get("/health").json() == {"status": "healthy"}
        made = client.post("/v1/posts", json={"title": "Served"}, headers={"X-Request-Id": "first"})
        assert (made.status_code, made.headers["x-request-id"]) == (201, "first")
        found = client.get(made.headers["location"])
        assert (found.status_code, found.json(), found.headers["etag"]) == (200, made.json(), '"1"')
        missing = client.get("/v1/posts/documents/none")
        assert (missing.status_code, missing.json()["code"]) == (404, "ENTITY_NOT_FOUND")
        operations = [{"op": "get", "id": made.json()["$id"]}, {"op": "get", "id": "none"}]
        answer = client.post("/v1/posts/operations", json={"operations": operations})
        assert [one["value"] for one in answer.json()["results"]] == [made.json(), None]

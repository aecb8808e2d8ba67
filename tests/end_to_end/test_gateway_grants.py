"""A gateway in front of owners that require grants: what a caller may do is decided twice."""

from pathlib import Path

import httpx
import pytest
import ray

import parquedb
from parquedb.access.permissions import Permissions
from parquedb.cluster.gateway.access.api_keys import ApiKeys
from parquedb.cluster.gateway.app import build_app
from parquedb.cluster.runtime.placement import find
from parquedb.settings.access import AccessSettings
from parquedb.settings.gateway import GatewaySettings

REQUIRED = {"required": True, "keys": ["k" * 32]}
SETTINGS = GatewaySettings(access=AccessSettings(api_keys=True))


async def test_a_key_allows_what_it_says_and_no_more_even_if_the_gateway_forgot_to_look(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await parquedb.connect_async(tmp_path / "data", access=REQUIRED) as database:
        key, _ = await ApiKeys(database).issue("reader", ["read:posts"])
        await database.create("posts", {"n": 1}, id="a")
        await database.create("secrets", {"n": 1}, id="a")
        transport = httpx.ASGITransport(build_app(database, SETTINGS))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            client.headers["X-API-Key"] = key

            async def refused(method: str, path: str, body: object = None) -> bool:
                answer = await client.request(method, path, json=body)
                return (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")

            for _ in range(2):
                assert (await client.get("/v1/posts/documents/a")).json()["n"] == 1
                assert (await client.get("/v1")).json() == {"namespaces": ["posts"]}
                assert await refused("POST", "/v1/posts", {"n": 2})
                assert await refused("POST", "/v1/posts/batch", {"operations": [{"op": "delete", "id": "a"}]})
                assert await refused("GET", "/v1/secrets/documents/a")
                # The second time as if the gateway had a hole there.
                monkeypatch.setattr(Permissions, "check", lambda *_: None)
        assert await database.count("posts") == 1
        for namespace in await database.namespaces():
            owner = find(database.settings, namespace)
            if owner is not None:
                ray.kill(owner)

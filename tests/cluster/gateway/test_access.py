"""The whole gateway behind real tokens and keys: what each may do, and what never comes out of it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from parquedb.access.reserved import API_KEYS
from parquedb.cluster.gateway.access.api_keys import ApiKeys
from parquedb.cluster.gateway.app import build_app
from parquedb.errors import ConfigurationError, RpcUnavailableError
from parquedb.settings.access import AccessSettings
from parquedb.settings.gateway import GatewaySettings
from tests.cluster.gateway.access.test_secrets import Sinks, listening
from tests.support.engine_database import EngineDatabase
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, token

ACCESS = AccessSettings(jwt_secrets=(SECRET,), jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), api_keys=True)


@pytest.fixture
async def client(database: EngineDatabase) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(database, GatewaySettings(environment="production", access=ACCESS))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as made:
        yield made


def as_(*permissions: str, sub: str = "ada") -> dict[str, str]:
    return {"Authorization": f"Bearer {token(sub=sub, permissions=list(permissions))}"}


def test_in_production_a_gateway_that_asks_nobody_does_not_start(database: EngineDatabase) -> None:
    with pytest.raises(ConfigurationError, match="has to know its callers"):
        build_app(database, GatewaySettings(environment="production"))


async def test_a_caller_does_what_its_token_allows_and_is_named_in_what_it_writes(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/orders", json={"total": 5}, headers=as_("*:orders"))
    assert (made.status_code, made.json()["createdBy"]) == (201, "ada")
    assert made.headers["ratelimit-policy"] == '"requests";q=10000;w=10'
    assert made.headers["x-content-type-options"] == "nosniff"
    denied = await client.post("/v1/orders", json={"total": 5}, headers=as_("read:orders"))
    assert (denied.status_code, denied.json()["code"]) == (403, "PERMISSION_DENIED")
    elsewhere = await client.get("/v1/invoices", headers=as_("*:orders"))
    assert elsewhere.status_code == 403
    nobody = await client.get("/v1/orders")
    assert (nobody.status_code, nobody.json()["code"]) == (401, "AUTHENTICATION_REQUIRED")
    assert nobody.headers["content-type"] == "application/problem+json"
    assert nobody.headers["www-authenticate"] == 'Bearer realm="parquedb"'
    assert nobody.json()["request_id"] == nobody.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_probes_carry_no_proof(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


async def test_a_probe_with_a_bad_proof_is_refused_like_anybody(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ready", headers={"Authorization": f"Bearer {token(key='w' * 64)}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "AUTHENTICATION_REQUIRED")
    assert (await client.get("/ready", headers=as_("*:*"))).status_code == 200


Ask = Callable[[httpx.AsyncClient, str, dict[str, str]], Any]
WAYS: dict[str, Ask] = {
    "find": lambda client, name, who: client.get(f"/v1/{name}", headers=who),
    "create": lambda client, name, who: client.post(f"/v1/{name}", json={"digest": "x"}, headers=who),
    "get": lambda client, name, who: client.get(f"/v1/{name}/documents/x", headers=who),
    "put": lambda client, name, who: client.put(f"/v1/{name}/documents/x", json={}, headers=who),
    "method": lambda client, name, who: client.post(f"/v1/{name}/find", json={}, headers=who),
    "operations": lambda client, name, who: client.post(
        f"/v1/{name}/operations", json={"operations": [{"op": "find"}]}, headers=who
    ),
    "export": lambda client, name, who: client.get(f"/v1/{name}/export", headers=who),
    "import": lambda client, name, who: client.post(
        f"/v1/{name}/import", content=b"{}\n", headers={**who, "Content-Type": "application/x-ndjson"}
    ),
    "changes": lambda client, name, who: client.get(f"/v1/{name}/changes", headers=who),
    "history": lambda client, name, who: client.get(f"/v1/{name}/history?id=x", headers=who),
    "schema": lambda client, name, who: client.get(f"/v1/{name}/schema", headers=who),
}


@pytest.mark.parametrize("name", [API_KEYS, "%24api-keys", "%24%61pi-keys", "$other"])
@pytest.mark.parametrize("way", WAYS)
async def test_no_permission_reaches_the_keys_by_any_way(
    client: httpx.AsyncClient, database: EngineDatabase, way: str, name: str
) -> None:
    key, _ = await ApiKeys(database).issue("root", ["*:*", f"*:{API_KEYS}", "*:$*"])
    database.asked.clear()
    for who in (as_("*:*", f"*:{API_KEYS}"), {"X-API-Key": key}):
        answer = await WAYS[way](client, name, who)
        told = answer.json()
        refused = told["results"][0]["error"]["code"] if "results" in told else told["code"]
        assert refused == "PERMISSION_DENIED"
        assert "root" not in answer.text
    assert {(where, one.kind) for where, one, _ in database.asked} <= {(API_KEYS, "get"), (API_KEYS, "update")}


async def test_a_list_of_namespaces_does_not_show_them(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    await ApiKeys(database).issue("root", ["*:*"])
    await client.post("/v1/orders", json={}, headers=as_("*:*"))
    assert (await client.get("/v1", headers=as_("*:*"))).json() == {"namespaces": ["orders"]}


async def test_a_database_that_is_away_is_not_told_as_a_bad_key(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    key, _ = await ApiKeys(database).issue("a", ["read:x"])
    database.refuse = [RpcUnavailableError("away", retry_after=2)]
    answer = await client.get("/v1/x", headers={"X-API-Key": key})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_no_proof_of_identity_comes_out_of_the_whole_gateway(database: EngineDatabase) -> None:
    sinks = Sinks()
    with listening(sinks):
        app = build_app(database, GatewaySettings(environment="production", access=ACCESS))
        key, _ = await ApiKeys(database).issue("billing", ["read:orders", "metrics:*"])
        proofs = [token(permissions=["*:*"]), token(key="w" * 64), token(exp=1), key, key[:-1] + "_", "canary-" * 30]
        sinks.canaries |= {part for text in proofs for part in (text, text.split(".")[-1], text[20:]) if len(part) > 12}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            for proof in proofs:
                for name, value in (("Authorization", f"Bearer {proof}"), ("X-API-Key", proof)):
                    for path in (
                        "/v1/orders",
                        "/v1",
                        "/metrics",
                        "/ready",
                        "/openapi.json",
                        "/docs",
                        "/v1/x/documents/y",
                    ):
                        answer = await client.get(path, headers={name: value})
                        sinks.put(f"{path} {answer.status_code}", f"{answer.headers} {answer.text}")
                    bad = await client.post("/v1/orders", content=b"{", headers={name: value})
                    sinks.put(f"create {bad.status_code}", f"{bad.headers} {bad.text}")
        sinks.put("memory", f"{app!r} {vars(app)!r} {app.state._state!r}")
    seen = set(sinks.found)
    assert {"/v1/orders 200", "/v1/orders 401", "/openapi.json 200", "/metrics 200", "create 400", "spans"} <= seen
    assert "GET" in sinks.found["spans"] or "find" in sinks.found["spans"]
    assert sinks.leaks() == set()

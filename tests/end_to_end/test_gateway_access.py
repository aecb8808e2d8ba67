"""Access to a gateway on a real Ray: secrets on their way to replicas, and keys that several processes share."""

import asyncio
import json
import os
import pickle
import ssl
from pathlib import Path

import httpx
import pytest
import ray

import parquedb
from parquedb.cluster.cli.main import main
from parquedb.cluster.gateway.access.api_keys import ApiKeys
from parquedb.cluster.gateway.access.callers import build_authenticator
from parquedb.cluster.gateway.access.secrets import keep, recover
from parquedb.errors import AuthenticationRequiredError
from parquedb.settings.access import AccessSettings
from parquedb.settings.gateway import GatewaySettings
from tests.support.certificates import Authority
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, token

SETTINGS = AccessSettings(
    jwt_secrets=(SECRET, SECRET[::-1]), jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), api_keys=True
)


def test_a_replica_gets_the_secrets_that_no_pickle_holds(ray_cluster: str) -> None:
    name = keep(SETTINGS, "parquedb")
    assert keep(SETTINGS, "parquedb") == name
    travelling = pickle.dumps(SETTINGS)
    assert SECRET.encode() not in travelling

    @ray.remote(num_cpus=0)
    def replica(data: bytes, name: str | None) -> tuple[bool, tuple[str, ...]]:
        settings = pickle.loads(data)
        return settings.withheld, recover(settings, name, "parquedb").reveal_jwt_secrets()

    assert ray.get(replica.remote(travelling, name)) == (True, SETTINGS.reveal_jwt_secrets())
    # Who asks under another name goes without, and does not start.
    assert ray.get(replica.remote(travelling, "nobody")) == (True, ("", ""))
    assert keep(AccessSettings(api_keys=True), "parquedb") is None
    assert name is not None
    assert SECRET[:8] not in name
    ray.kill(ray.get_actor(name, "parquedb"))


def test_a_key_from_the_command_line_is_known_to_every_gateway_until_it_is_revoked(
    ray_cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "data")
    monkeypatch.setenv("PARQUEDB_URL", url)

    def command(*words: str) -> str:
        assert main(["keys", *words]) == 0
        return capsys.readouterr().out

    async def callers(text: str) -> list[str]:
        async with await parquedb.connect_async(url) as database:
            # Two replicas, each with a memory of its own that lasts no time at all.
            settings = SETTINGS.model_copy(update={"api_key_cache_s": 0.0})
            gateways = [build_authenticator(settings, database, production=True) for _ in range(2)]
            try:
                return [(await one.authenticate(None, text)).subject for one in gateways]
            finally:
                for one in gateways:
                    await one.close()

    key = command("issue", "billing", "read:orders").strip()
    assert asyncio.run(callers(key)) == ["billing", "billing"]
    [listed] = json.loads(command("list", "--json"))
    assert listed["permissions"] == ["read:orders"]
    assert listed["id"] in command("revoke", listed["id"])
    with pytest.raises(AuthenticationRequiredError, match="revoked"):
        asyncio.run(callers(key))
    assert main(["keys", "revoke", "0" * 16]) == 2
    assert "ENTITY_NOT_FOUND" in capsys.readouterr().err
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert stored
    assert key[20:].encode() not in stored
    assert os.environ["PARQUEDB_URL"] == url


@pytest.mark.faults
def test_replicas_on_serve_know_callers_over_tls(ray_cluster: str, tmp_path: Path) -> None:
    serve = pytest.importorskip("ray.serve", reason="ray[serve] is not installed")
    from parquedb.cluster.gateway.deployment import serve_gateway  # noqa: PLC0415 - imports Serve

    authority = Authority(tmp_path, "ours")
    certificate, key_file = authority.issue()
    access = SETTINGS.model_copy(update={"tls_certificate": certificate, "tls_key": key_file})
    database = asyncio.run(parquedb.connect_async(str(tmp_path / "data")))
    key, _ = asyncio.run(ApiKeys(database).issue("billing", ["*:orders"]))
    served = serve_gateway(database, GatewaySettings(port=0, replicas=2, environment="production", access=access))
    try:
        context = ssl.create_default_context(cafile=authority.file)
        with httpx.Client(base_url=served.url, verify=context, timeout=30) as client:
            assert served.url.startswith("https://")
            # Often enough that both replicas answer.
            for turn in range(10):
                made = client.post("/v1/orders", json={}, headers={"X-API-Key": key})
                assert (made.status_code, made.json()["createdBy"]) == (201, "billing"), turn
                bearer = {"Authorization": f"Bearer {token(permissions=['read:orders'])}"}
                assert client.get("/v1/orders", headers=bearer).status_code == 200
                assert client.post("/v1/orders", json={}, headers=bearer).status_code == 403
                assert client.get("/v1/orders").status_code == 401
            assert "strict-transport-security" in made.headers
    finally:
        served.close()
        serve.shutdown()
        asyncio.run(database.close())

"""An issuer's keys over real HTTP: rotation, outages, hostile answers."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest

from parquedb.clock import ManualClock
from parquedb.cluster.gateway.access.jwks import PublishedKeys
from parquedb.cluster.gateway.access.tokens import TokenVerifier
from parquedb.errors import AuthenticationRequiredError, RpcUnavailableError
from parquedb.settings.access import AccessSettings
from tests.support.tokens import AUDIENCE, ISSUER, Issuer, claims, forged, jwk, private_key, served, token


class Place:
    """An issuer, its keys at a gateway, and the clock between them."""

    def __init__(self, issuer: Issuer, url: str, changes: dict[str, Any]) -> None:
        self.issuer, self.clock = issuer, ManualClock()
        settings = AccessSettings(jwt_jwks_url=url, jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), **changes)
        self.keys = PublishedKeys(url, settings, self.clock)

    async def kids(self, kid: str | None, algorithm: str = "RS256") -> list[str | None]:
        return [key.kid for key in await self.keys.candidates(algorithm, kid)]


@asynccontextmanager
async def place(*keys: dict[str, Any], **changes: Any) -> AsyncIterator[Place]:
    issuer = Issuer(*keys)
    async with served(issuer) as url:
        made = Place(issuer, f"{url}/keys", changes)
        try:
            yield made
        finally:
            await made.keys.close()


async def test_a_token_is_verified_with_a_published_key() -> None:
    for kind in ("RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"):
        issuer = Issuer(jwk(kind, "one"))
        async with served(issuer) as url:
            settings = AccessSettings(jwt_jwks_url=url, jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,))
            verifier = TokenVerifier(settings, [PublishedKeys(url, settings, clock := ManualClock())], clock)
            clock.advance(claims()["iat"] - clock.now().timestamp())
            assert (await verifier.principal(token(kind, headers={"kid": "one"}))).subject == "ada"
            assert (await verifier.principal(token(kind, sub="bob", headers={"kid": "one"}))).subject == "bob"
            with pytest.raises(AuthenticationRequiredError, match="no key of ours"):
                await verifier.principal(token(kind, headers={"kid": "two"}))
            assert issuer.requests == ["/"]
            await verifier.close()


async def test_keys_are_fetched_once_and_kept() -> None:
    async with place(jwk("RS256", "a")) as at:
        for _ in range(5):
            assert await at.kids("a") == ["a"]
        assert at.issuer.requests == ["/keys"]


async def test_those_who_come_at_once_share_one_fetch() -> None:
    async with place(jwk("RS256", "a")) as at:
        at.issuer.gate.clear()
        waiting = [asyncio.create_task(at.kids("a")) for _ in range(50)]
        while not at.issuer.requests:
            await asyncio.sleep(0)
        # One that gives up takes it from no other.
        waiting.pop().cancel()
        at.issuer.gate.set()
        assert await asyncio.gather(*waiting) == [["a"]] * 49
        assert len(at.issuer.requests) == 1


async def test_a_new_key_is_found_by_its_unknown_name() -> None:
    async with place(jwk("RS256", "old")) as at:
        assert await at.kids("old") == ["old"]
        at.issuer.keys = [jwk("RS256", "new")]
        at.clock.advance(11)
        assert await at.kids("new") == ["new"]
        assert await at.kids("old") == []


async def test_made_up_names_cannot_hammer_the_issuer() -> None:
    async with place(jwk("RS256", "a")) as at:
        for number in range(100):
            assert await at.kids(f"forged-{number}") == []
        assert len(at.issuer.requests) == 1
        at.clock.advance(10)
        for number in range(100):
            assert await at.kids(f"forged-{number}") == []
        assert len(at.issuer.requests) == 2


async def test_keys_are_looked_at_again_in_the_background() -> None:
    async with place(jwk("RS256", "a")) as at:
        await at.kids("a")
        at.issuer.keys = [jwk("RS256", "b")]
        at.clock.advance(300)
        at.issuer.gate.clear()
        # Nobody waits for it.
        assert await at.kids("a") == ["a"]
        at.issuer.gate.set()
        await at.keys._flight
        assert await at.kids("a") == []
        assert await at.kids("b") == ["b"]


async def test_keys_outlive_an_outage_of_the_issuer_for_a_bounded_time() -> None:
    async with place(jwk("RS256", "a")) as at:
        await at.kids("a")
        at.issuer.status = 500
        at.clock.advance(3599)
        assert await at.kids("a") == ["a"]
        await at.keys._flight
        at.clock.advance(1)
        with pytest.raises(RpcUnavailableError) as caught:
            await at.kids("a")
        assert caught.value.retry_after == 10
        at.issuer.status = 200
        at.clock.advance(10)
        assert await at.kids("a") == ["a"]


async def test_an_issuer_that_is_down_is_not_asked_by_every_request() -> None:
    async with place() as at:
        at.issuer.status = 503
        for _ in range(20):
            with pytest.raises(RpcUnavailableError):
                await at.kids("a")
        assert len(at.issuer.requests) == 1


async def test_an_issuer_that_never_answers_costs_a_caller_no_more_than_the_timeout() -> None:
    async with place(jwk("RS256", "a"), jwks_timeout_s=0.05) as at:
        at.issuer.gate.clear()
        with pytest.raises(RpcUnavailableError):
            await at.kids("a")
        at.issuer.gate.set()


GOOD = json.dumps({"keys": [jwk("RS256", "a")]}).encode()


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, [(b"location", b"/elsewhere")], b""),
        (302, [(b"location", b"https://evil.example/keys")], GOOD),
        (200, [(b"content-encoding", b"gzip")], gzip.compress(GOOD)),
        (200, [], GOOD + b" " * 300_000),
        (200, [], json.dumps({"keys": [jwk("RS256", str(number)) for number in range(65)]}).encode()),
        (200, [], b"[" * 100_000),
        (200, [], b"<html>"),
        (200, [], b"{}"),
        (200, [], b'{"keys": []}'),
        (200, [], b'{"keys": "many"}'),
        (404, [], GOOD),
        (201, [], GOOD),
    ],
)
async def test_any_other_answer_than_a_plain_jwks_is_refused(status: int, headers: Any, body: bytes) -> None:
    async with place() as at:
        at.issuer.status, at.issuer.headers, at.issuer.body = status, headers, body
        with pytest.raises(RpcUnavailableError):
            await at.kids("a")
        assert at.issuer.requests == ["/keys"]


PRIVATE = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(private_key("RS256"))) | {"key_ops": ["verify"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"alg": None},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"kty": "oct", "k": "c2VjcmV0"},
        PRIVATE,
        {"n": "AQAB"},
        {"n": 7},
        {"kty": None},
        {"kid": 7},
        {"kid": "x" * 257},
    ],
)
async def test_a_published_key_is_used_for_what_it_says_only(changes: dict[str, Any]) -> None:
    """And a secret, a weak key or one whose private half is published is not used at all."""
    async with place(jwk("RS256", "a") | changes, jwk("ES256", "b"), 7) as at:  # type: ignore[arg-type]
        assert await at.kids("a") == []
        assert await at.kids("b", "ES256") == ["b"]


async def test_a_key_that_names_its_algorithm_verifies_no_other() -> None:
    async with place(jwk("RS256", "a", alg="PS256", use="sig", key_ops=["verify"])) as at:
        assert await at.kids("a", "PS256") == ["a"]
        assert await at.kids("a", "RS256") == []


async def test_a_token_without_a_key_id_is_verified_only_where_one_key_fits() -> None:
    async with place(jwk("RS256", "a"), jwk("ES256", "b")) as at:
        assert await at.kids(None, "ES256") == ["b"]
        at.issuer.keys.append(jwk("RS256", "c"))
        at.clock.advance(300)
        await at.kids(None)
        await at.keys._flight
        assert await at.kids(None) == []


async def test_the_key_of_another_name_does_not_verify() -> None:
    async with served(Issuer(jwk("RS256", "a"))) as url:
        settings = AccessSettings(jwt_jwks_url=url, jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,))
        verifier = TokenVerifier(settings, [PublishedKeys(url, settings, ManualClock())], ManualClock())
        for kid in ("../a", "a ", "A", "' OR 'a'='a"):
            with pytest.raises(AuthenticationRequiredError, match="no key of ours"):
                await verifier.principal(token("RS256", headers={"kid": kid}))
        text = forged({"alg": "ES256", "kid": "a"}, claims())
        with pytest.raises(AuthenticationRequiredError, match="no key of ours"):
            await verifier.principal(text)
        await verifier.close()
    assert private_key("RS256")


@pytest.mark.parametrize("url", ["http://localhost:1/k", "http://127.0.0.1/k", "http://[::1]/k", "https://a.example/k"])
def test_an_address_is_encrypted_or_on_this_machine(url: str) -> None:
    assert AccessSettings(jwt_jwks_url=url, jwt_issuer="i", jwt_audience=("a",)).jwt


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/k",
        "http://127.0.0.1.evil.example/",
        "ftp://a",
        "file:///etc/passwd",
        "https://u:p@a/",
        "//a",
        "x",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https address"):
        AccessSettings(jwt_jwks_url=url, jwt_issuer="i", jwt_audience=("a",))

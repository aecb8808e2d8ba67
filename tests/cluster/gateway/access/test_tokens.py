"""Tokens as issuers sign them, and as attackers do."""

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from parquedb.access.permissions import Permissions
from parquedb.clock import ManualClock
from parquedb.cluster.gateway.access.tokens import REMEMBERED_S, TokenVerifier
from parquedb.cluster.gateway.access.verification_keys import ConfiguredKeys, public_keys, secret_key
from parquedb.errors import AuthenticationRequiredError, ConfigurationError, TokenExpiredError
from parquedb.settings.access import ALGORITHMS, AccessSettings
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, claims, forged, pem, private_key, rsa_key, token

KINDS = [kind for kind in ALGORITHMS if not kind.startswith("HS")]


def verifier(*keys: Any, clock: ManualClock | None = None, **changes: Any) -> TokenVerifier:
    settings = AccessSettings(jwt_secrets=(SECRET,), jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), **changes)
    every = [
        secret_key(SECRET),
        *(key for kind in ("RS256", "ES256", "ES384", "ES512", "EdDSA") for key in _public(kind)),
    ]
    return TokenVerifier(settings, [ConfiguredKeys(list(keys) or every)], clock or ManualClock(datetime.now(UTC)))


def _public(kind: str) -> list[Any]:
    return public_keys(pem(private_key(kind)), "KEYS")


async def refused(text: str, kind: type[Exception] = AuthenticationRequiredError, **changes: Any) -> str:
    with pytest.raises(kind) as caught:
        await verifier(**changes).principal(text)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize("kind", ALGORITHMS)
async def test_a_token_of_every_algorithm_tells_who_it_is(kind: str) -> None:
    expires_s = claims()["exp"]
    principal = await verifier().principal(token(kind, exp=expires_s))
    assert (principal.subject, principal.authenticated_by) == ("ada", "jwt")
    assert principal.permissions == Permissions(["read:orders", "write:orders"])
    assert principal.expires_s == expires_s


@pytest.mark.parametrize("kind", KINDS)
async def test_a_signature_by_another_key_of_the_same_kind_is_refused(kind: str) -> None:
    other = private_key.__wrapped__(kind) if not kind.startswith(("RS", "PS")) else rsa_key.__wrapped__()
    assert "signature" in await refused(token(kind, key=other))


async def test_a_changed_claim_breaks_the_signature() -> None:
    head, _, tail = token("RS256").split(".")
    _, body, _ = forged({}, claims(sub="root", permissions=["*:*"])).split(".")
    assert "signature" in await refused(f"{head}.{body}.{tail}")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, "HS1", "ES256K", ["HS256"], {"a": 1}, 256, "hs256"])
async def test_no_algorithm_or_an_unknown_one_is_refused(alg: object) -> None:
    assert "algorithm" in await refused(forged({"alg": alg}, claims()))


async def test_an_unsigned_token_is_refused() -> None:
    head, body, _ = jwt.encode(claims(), None, algorithm="none").split(".")
    assert "three parts" in await refused(f"{head}.{body}.")
    assert "algorithm" in await refused(f"{head}.{body}.eA")


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
async def test_a_public_key_is_never_taken_for_a_secret(kind: str) -> None:
    """The classic confusion: HMAC with the PEM that everybody has, which the library itself refuses to make."""
    public = pem(private_key(kind)).encode()
    unsigned = forged({"alg": "HS256", "typ": "JWT"}, claims(), b"").rstrip(".")
    signature = hmac.new(public, unsigned.encode(), hashlib.sha256).digest()
    confused = unsigned + "." + forged({}, {}, signature).rsplit(".", 1)[1]
    assert "no key of ours" in await refused_by(verifier(*_public(kind)), confused)
    assert "signature" in await refused(confused)


async def refused_by(one: TokenVerifier, text: str) -> str:
    with pytest.raises(AuthenticationRequiredError) as caught:
        await one.principal(text)
    return str(caught.value)


async def test_an_algorithm_that_settings_leave_out_is_refused_with_a_good_signature() -> None:
    assert "algorithm" in await refused(token("HS256"), jwt_algorithms=("RS256",))
    assert (await verifier(jwt_algorithms=("RS256",)).principal(token("RS256"))).subject == "ada"


async def test_a_secret_is_used_only_for_hashes_that_it_is_long_enough_for() -> None:
    short = "s" * 47
    assert (await verifier(secret_key(short)).principal(token("HS256", key=short))).subject == "ada"
    assert "no key" in await refused_by(verifier(secret_key(short)), token("HS384", key=short + "s"))


@pytest.mark.parametrize("field", ["jwk", "jku", "x5u", "x5c", "crit", "b64", "cty", "zip", "enc"])
async def test_a_token_that_brings_or_points_at_a_key_of_its_own_is_refused(field: str) -> None:
    text = forged({"alg": "HS256", field: ["https://evil.example/keys"]}, claims())
    assert "header asks" in await refused(text)


async def test_a_token_of_another_kind_is_refused() -> None:
    assert "header asks" in await refused(token(headers={"typ": "logout+jwt"}))
    assert (await verifier().principal(token(headers={"typ": "at+JWT"}))).subject == "ada"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"iss": ISSUER.replace("i", "\u0456", 1)}, "another issuer"),
        ({"iss": None}, "missing"),
        ({"aud": "other"}, "another audience"),
        ({"aud": ["other", "parquedb "]}, "another audience"),
        ({"aud": []}, "missing"),
        ({"aud": None}, "missing"),
        ({"exp": None}, "missing"),
        ({"exp": "soon"}, "cannot be read"),
        ({"exp": str(int(time.time()) + 100)}, "exp must be a number"),
        ({"nbf": int(time.time()) + 7_200}, "time has not come"),
        ({"iat": int(time.time()) + 7_200}, "time has not come"),
        ({"iat": int(time.time()) - 90_000}, "longer than"),
        ({"exp": int(time.time()) + 90_000}, "longer than"),
        ({"exp": int(time.time()) + 90_000, "iat": None}, "longer than"),
        ({"sub": None}, "missing"),
        ({"sub": ""}, "sub must be"),
        ({"sub": "a\x00b"}, "sub must be"),
        ({"sub": "a\u202eb"}, "sub must be"),
        ({"sub": "x" * 257}, "sub must be"),
        ({"permissions": {"a": 1}}, "permissions must be"),
        ({"permissions": ["read:x"] * 1001}, "permissions must be"),
    ],
)
async def test_claims_that_are_not_for_us_are_refused(changes: dict[str, Any], reason: str) -> None:
    text = jwt.encode(claims(**changes), SECRET, algorithm="HS256") if "iss" not in changes else _any(changes)
    assert reason in await refused(text, jwt_bytes_max=65_536)


def _any(changes: dict[str, Any]) -> str:
    """Sign what PyJWT itself would not encode."""
    return jwt.PyJWS().encode(json.dumps(claims(**changes)).encode(), SECRET, algorithm="HS256")


@pytest.mark.parametrize("payload", [b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 5000])
async def test_a_signed_payload_that_is_no_object_of_claims_is_refused(payload: bytes) -> None:
    assert "cannot be read" in await refused(jwt.PyJWS().encode(payload, SECRET, algorithm="HS256"))


async def test_times_that_are_no_times_are_refused() -> None:
    for exp in ("Infinity", "NaN", "1e400", "true"):
        payload = json.dumps(claims()).replace(str(claims()["exp"]), exp).encode()
        text = jwt.PyJWS().encode(payload, SECRET, algorithm="HS256")
        with pytest.raises(AuthenticationRequiredError):
            await verifier().principal(text)


async def test_an_expired_token_says_so_and_clocks_may_differ_by_the_leeway() -> None:
    now_s = int(time.time())
    assert (await verifier().principal(token(exp=now_s - 10))).subject == "ada"
    assert "expired" in await refused(token(exp=now_s - 31), TokenExpiredError)
    assert "expired" in await refused(token(exp=now_s - 1), TokenExpiredError, jwt_leeway_s=0)
    assert (await verifier().principal(token(nbf=now_s + 20, iat=now_s + 20))).subject == "ada"


@pytest.mark.parametrize("kid", ["../../../dev/null", "' OR 1=1 --", "x" * 257, 7, None, ["a"], "\u0000", "%s%n"])
async def test_a_key_id_is_a_name_and_nothing_else(kid: object) -> None:
    """The configured keys have no names, so a text is without effect; it is never a path, a query or a format."""
    text = jwt.PyJWS().encode(json.dumps(claims()).encode(), SECRET, "HS256")
    head, body, _ = text.split(".")
    head = forged({"alg": "HS256", "kid": kid}, b"").split(".")[0]
    signature = forged({}, {}, jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), SECRET.encode()))
    text = f"{head}.{body}.{signature.rsplit('.', 1)[1]}"
    if isinstance(kid, str) and len(kid) <= 256:
        assert (await verifier().principal(text)).subject == "ada"
    else:
        assert "its kid is not" in await refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b",
        "a.b.c.d",
        "a.b.c",
        "..",
        "a" * 9000,
        "." * 9000,
        " " + "e30.e30.eA",
        "e30.e30.eA\n",
        "e30=.e30.eA",
        "e30.e30.e\u0410",
        "e30.e30.eA\x00",
        forged({"alg": "HS256"}, b"x" * 9000),
        forged({"a": 1}, claims()),
    ],
)
async def test_what_is_no_token_is_refused_without_a_look_at_any_key(text: str) -> None:
    class Untouched(ConfiguredKeys):
        async def candidates(self, algorithm: str, kid: str | None) -> Any:
            raise AssertionError(algorithm)

    settings = AccessSettings(jwt_secrets=(SECRET,), jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,))
    message = await refused_by(TokenVerifier(settings, [Untouched([])], ManualClock()), text)
    assert text[:20] not in message or not text.strip("x.")


async def test_a_deep_header_is_refused_and_not_followed() -> None:
    deep = b'{"alg":' + b"[" * 3000 + b"]" * 3000 + b"}"
    head = forged({}, deep).split(".")[1]
    assert "header is not" in await refused(f"{head}.e30.eA")


async def test_a_verified_token_is_remembered_until_it_expires() -> None:
    clock = ManualClock(datetime.now(UTC))
    keys = [secret_key(SECRET)]
    one = verifier(*keys, clock=clock)
    one._sources = [source := ConfiguredKeys(keys)]
    text = token(exp=int(time.time()) + 40)
    first = await one.principal(text)
    source._keys = []
    assert await one.principal(text) is first
    clock.advance(39)
    assert await one.principal(text) is first
    clock.advance(31.5)
    with pytest.raises((TokenExpiredError, AuthenticationRequiredError)):
        await one.principal(text)


async def test_a_remembered_token_expires_by_the_clock_alone() -> None:
    clock = ManualClock(datetime.now(UTC))
    one = verifier(clock=clock)
    text = token(exp=int(time.time()) + 5)
    await one.principal(text)
    clock.advance(36)
    with pytest.raises(TokenExpiredError):
        await one.principal(text)


async def test_a_withdrawn_key_is_noticed_within_a_minute() -> None:
    clock = ManualClock(datetime.now(UTC))
    one, text = verifier(secret_key(SECRET), clock=clock), token()
    await one.principal(text)
    one._sources = [ConfiguredKeys([])]
    clock.advance(REMEMBERED_S - 1)
    await one.principal(text)
    clock.advance(1)
    assert "no key" in await refused_by(one, text)


async def test_memory_for_tokens_is_bounded_and_holds_none_of_them() -> None:
    one = verifier(tokens_cached_max=3)
    texts = [token(sub=f"user-{number}") for number in range(10)]
    for text in texts:
        await one.principal(text)
    assert len(one._seen) == 3
    assert not any(text in repr(one._seen._entries) for text in texts)


async def test_refused_tokens_are_not_remembered() -> None:
    one = verifier()
    for number in range(10):
        await refused_by(one, token(sub=f"user-{number}", key="w" * 64))
    assert len(one._seen) == 0


def test_a_weak_or_private_or_foreign_key_is_a_configuration_error() -> None:
    private = private_key("ES256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for text in (
        pem(rsa_key(1024)),
        private,
        pem(ec.generate_private_key(ec.SECP256K1())),
        "nonsense",
        "-----BEGIN X-----",
    ):
        with pytest.raises(ConfigurationError) as caught:
            public_keys(text, "PARQUEDB_GATEWAY__ACCESS__JWT_PUBLIC_KEYS")
        assert caught.value.setting == "PARQUEDB_GATEWAY__ACCESS__JWT_PUBLIC_KEYS"
        assert text[30:60] not in str(caught.value) or len(text) < 60


def test_two_pem_blocks_are_two_keys() -> None:
    keys = public_keys(pem(private_key("RS256")) + "\n" + pem(private_key("EdDSA")), "X")
    assert [sorted(key.algorithms)[0] for key in keys] == ["PS256", "EdDSA"]

"""Access control around an application, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from parquedb.clock import ManualClock
from parquedb.cluster.gateway.access.access_control import AccessControl
from parquedb.cluster.gateway.access.api_keys import ApiKeys
from parquedb.cluster.gateway.access.authenticator import Anonymous
from parquedb.cluster.gateway.access.callers import build_authenticator
from parquedb.cluster.gateway.access.middleware import PRINCIPAL, AccessMiddleware, SecurityHeaders, cors_middleware
from parquedb.errors import ConfigurationError, ParqueDBError
from parquedb.settings.access import AccessSettings
from tests.support.key_database import KeyDatabase
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, served, token

JWT = {"jwt_secrets": (SECRET,), "jwt_issuer": ISSUER, "jwt_audience": (AUDIENCE,)}
PAGE = "https://app.example.com"


class Place:
    """An application behind access control, and a client of it."""

    def __init__(self, client: httpx.AsyncClient, control: AccessControl, clock: ManualClock, keys: ApiKeys) -> None:
        self.client, self.control, self.clock, self.keys = client, control, clock, keys

    async def get(self, path: str = "/v1/x", **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def as_(self, text: str, **headers: str) -> httpx.Response:
        return await self.get(authorization=f"Bearer {text}", **headers)


def answer(scope: Scope, error: ParqueDBError, headers: Mapping[str, str]) -> ASGIApp:
    return JSONResponse({"code": error.code.value, "detail": error.message}, error.http_status, headers)


def application(control: AccessControl, settings: AccessSettings) -> Starlette:
    async def who(request: Any) -> JSONResponse:
        principal = request.scope[PRINCIPAL]
        return JSONResponse({"subject": principal.subject, "permissions": list(principal.permissions.entries)})

    async def feed(_: Any) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"%d" % number
                await asyncio.sleep(0)

        return StreamingResponse(parts(), headers={"Cache-Control": "private"})

    async def health(_: Any) -> PlainTextResponse:
        return PlainTextResponse("fine")

    return Starlette(
        routes=[
            Route("/v1/x", who, methods=["GET", "PUT"]),
            Route("/docs", health),
            Route("/health", health),
            Route("/v1/feed", feed),
        ],
        middleware=[
            Middleware(SecurityHeaders, settings),
            *cors_middleware(settings),
            Middleware(AccessMiddleware, control, answer),
        ],
    )


@asynccontextmanager
async def place(**changes: Any) -> AsyncIterator[Place]:
    settings = AccessSettings(**{**JWT, "api_keys": True, **changes})
    clock, database = ManualClock(datetime.now(UTC)), KeyDatabase()
    authenticator = build_authenticator(settings, database, production=True, clock=clock)
    control = AccessControl(authenticator, settings, clock)
    async with served(application(control, settings)) as url, httpx.AsyncClient(base_url=url) as client:
        yield Place(client, control, clock, ApiKeys(database, clock))
    await control.close()
    await database.close()


# --- who


async def test_a_token_or_a_key_lets_its_holder_in() -> None:
    async with place() as at:
        text, _ = await at.keys.issue("billing", ["read:orders"])
        assert (await at.as_(token())).json() == {"subject": "ada", "permissions": ["read:orders", "write:orders"]}
        for response in (await at.as_(text), await at.get(x_api_key=text)):
            assert response.json() == {"subject": "billing", "permissions": ["read:orders"]}


async def test_without_a_proof_nothing_but_the_open_paths_is_reached() -> None:
    async with place() as at:
        assert (await at.get("/health")).text == "fine"
        for path in ("/v1/x", "/v1/nowhere", "/docs", "/", "/health/", "/healthz", "/HEALTH"):
            response = await at.get(path)
            assert (response.status_code, response.json()["code"]) == (401, "AUTHENTICATION_REQUIRED"), path
            assert response.headers["www-authenticate"] == 'Bearer realm="parquedb"'


async def test_a_wrong_proof_is_told_apart_from_none() -> None:
    async with place() as at:
        response = await at.as_(token(iss="https://evil.example"))
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="parquedb", error="invalid_token"'
        assert "another issuer" in response.json()["detail"]
        expired = await at.as_(token(exp=1))
        assert (expired.status_code, expired.json()["code"]) == (401, "TOKEN_EXPIRED")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "bearer  x",
        "Bearer x y",
        "Bearer\tx",
        "token x",
        "Bearer x\u00e9",
        "Bearer," * 3,
    ],
)
async def test_another_scheme_or_spelling_is_refused(value: str) -> None:
    async with place() as at:
        assert await raw_status(at, b"/v1/x", b"authorization: " + value.encode("latin-1") + b"\r\n") == b"401"


async def test_the_scheme_may_be_in_any_case() -> None:
    async with place() as at:
        assert (await at.get(authorization=f"bEARER {token()}")).status_code == 200


async def test_two_proofs_are_refused_even_if_both_are_good() -> None:
    async with place() as at:
        key, _ = await at.keys.issue("a", ["read:x"])
        good = f"Bearer {token()}"
        for headers in (
            [("Authorization", good), ("Authorization", good)],
            [("authorization", good), ("AUTHORIZATION", "Bearer x")],
            [("X-API-Key", key), ("X-API-Key", key)],
            [("Authorization", good), ("X-API-Key", key)],
        ):
            assert (await at.client.get("/v1/x", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "raw", [b"Bearer a\x00b", b"Bearer a\rb", b"Bearer a\nb", b"Bearer a\x7fb", b"Bearer \xff\xfe"]
)
async def test_control_characters_in_a_proof_reach_nobody(raw: bytes) -> None:
    """Written to a socket by hand, for no client would send them."""
    async with place() as at:
        status = await raw_status(at, b"/v1/x", b"Authorization: " + raw + b"\r\n")
        assert status in {b"400", b"401"}


async def raw_status(at: Place, path: bytes, fields: bytes = b"") -> bytes:
    url = httpx.URL(at.client.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields + b"\r\n")
    line = await reader.readline()
    writer.close()
    return line.split()[1]


@pytest.mark.parametrize(
    "path", [b"/v1/../health", b"//health", b"/health;x", b"/v1/x?/health", b"/health%2F", b"/%2e/health"]
)
async def test_no_spelling_of_another_path_is_an_open_one(path: bytes) -> None:
    async with place() as at:
        assert await raw_status(at, path) == b"401"
        assert await raw_status(at, b"/health") == b"200"


async def test_a_giant_token_is_refused_before_it_is_read() -> None:
    async with place() as at:
        response = await at.as_("a" * 20_000)
        assert response.status_code == 401
        assert "8192" in response.json()["detail"]


async def test_a_websocket_is_not_a_way_in() -> None:
    async with place() as at:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        middleware = AccessMiddleware(lambda *_: pytest.fail("reached"), at.control, answer)
        await middleware({"type": "websocket", "path": "/health", "headers": []}, None, send)  # type: ignore[arg-type]
        assert sent == [{"type": "websocket.close", "code": 1008}]


# --- configuration


def test_production_without_callers_to_know_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="PARQUEDB_GATEWAY__ACCESS__JWT_JWKS_URL") as caught:
        build_authenticator(AccessSettings(), KeyDatabase(), production=True)
    assert caught.value.code.value == "MISSING_CONFIG"


async def test_in_development_everybody_may_do_everything_if_nothing_is_said() -> None:
    authenticator = build_authenticator(AccessSettings(), KeyDatabase(), production=False)
    assert isinstance(authenticator, Anonymous)
    principal = await authenticator.authenticate(None, None)
    assert (principal.subject, principal.authenticated_by) == ("anonymous", "none")
    assert principal.permissions.allows("create", "orders")


async def test_only_what_settings_name_is_accepted() -> None:
    async with place(api_keys=False) as at:
        assert "API keys are not accepted" in (await at.get(x_api_key="pq_x")).json()["detail"]
        assert "API keys are not accepted" in (await at.as_("pq_x")).json()["detail"]
    async with place(jwt_secrets=()) as at:
        assert "tokens are not accepted" in (await at.as_(token())).json()["detail"]


@pytest.mark.parametrize("missing", ["jwt_issuer", "jwt_audience"])
def test_tokens_of_every_issuer_or_for_everybody_are_no_configuration(missing: str) -> None:
    with pytest.raises(ValueError, match="jwt_issuer and jwt_audience"):
        AccessSettings(**{name: value for name, value in JWT.items() if name != missing})


def test_a_short_secret_is_no_configuration_and_is_not_shown() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes") as caught:
        AccessSettings(**{**JWT, "jwt_secrets": ("canary-short",)})
    assert "canary-short" not in str(caught.value)


# --- how often


async def test_a_caller_is_told_its_rate_and_stopped_past_it() -> None:
    async with place(rate_requests=3, rate_window_s=6) as at:
        text = token()
        responses = [await at.as_(text) for _ in range(4)]
        assert [one.status_code for one in responses] == [200, 200, 200, 429]
        assert responses[0].headers["ratelimit-policy"] == '"requests";q=3;w=6'
        assert [one.headers["ratelimit"] for one in responses] == [
            '"requests";r=2;t=2',
            '"requests";r=1;t=4',
            '"requests";r=0;t=6',
            '"requests";r=0;t=6',
        ]
        assert responses[3].json()["code"] == "RATE_LIMITED"
        assert responses[3].headers["retry-after"] == "2"
        assert (await at.as_(token(sub="bob"))).status_code == 200
        # Another token of the same name is the same caller.
        assert (await at.as_(token(permissions=[]))).status_code == 429
        at.clock.advance(2)
        assert (await at.as_(text)).status_code == 200


async def test_a_key_may_have_a_rate_of_its_own() -> None:
    async with place(rate_requests=3, rate_window_s=6) as at:
        text, _ = await at.keys.issue("batch", ["read:x"], requests_max=5)
        responses = [await at.as_(text) for _ in range(6)]
        assert [one.status_code for one in responses] == [200] * 5 + [429]
        assert responses[0].headers["ratelimit-policy"] == '"requests";q=5;w=6'


async def test_whoever_nobody_asks_has_no_rate() -> None:
    settings = AccessSettings(rate_requests=1)
    control = AccessControl(Anonymous(), settings, ManualClock())
    for _ in range(5):
        assert (await control.admit({"headers": [], "client": ("1.2.3.4", 5)})).headers == {}


async def test_guesses_from_one_address_are_stopped() -> None:
    async with place(failures_max=3, failures_window_s=60) as at:
        responses = [await at.as_(token(key="w" * 64)) for _ in range(5)]
        assert [one.status_code for one in responses] == [401, 401, 401, 429, 429]
        assert responses[3].headers["retry-after"] == "20"
        assert "ratelimit" not in responses[3].headers
        # Not even a good proof that was never seen before: a guess that hits must not be told from one that misses.
        assert (await at.as_(token())).status_code == 429
        assert (await at.get("/health")).status_code == 200
        assert (await at.get()).status_code == 401
        at.clock.advance(20)
        assert (await at.as_(token())).status_code == 200


async def test_who_shares_an_address_with_a_guesser_and_is_known_stays_in() -> None:
    async with place(failures_max=1) as at:
        known = token()
        assert (await at.as_(known)).status_code == 200
        for _ in range(3):
            await at.as_("guess")
        assert (await at.as_(known)).status_code == 200
        assert (await at.as_("guess")).status_code == 429


async def test_guesses_count_for_the_address_that_our_proxy_saw() -> None:
    async with place(failures_max=1, proxies=1) as at:
        assert (await at.as_("guess", x_forwarded_for="9.9.9.9, 6.6.6.6")).status_code == 401
        assert (await at.as_("guess", x_forwarded_for="8.8.8.8, 6.6.6.6")).status_code == 429
        assert (await at.as_("guess", x_forwarded_for="6.6.6.6, 7.7.7.7")).status_code == 401


async def test_neither_a_missing_nor_an_expired_proof_is_a_guess() -> None:
    async with place(failures_max=1) as at:
        for _ in range(3):
            assert (await at.get()).status_code == 401
            assert (await at.as_(token(exp=1))).status_code == 401
        assert (await at.as_(token())).status_code == 200


async def test_memory_for_callers_is_bounded() -> None:
    async with place(callers_max=2, rate_requests=5) as at:
        for number in range(6):
            await at.as_(token(sub=str(number)))
            await at.as_(f"guess{number}")
        control = at.control
        assert {len(control._rates._full_at_s), len(control._proven)} == {2}
        assert len(control._failures._full_at_s) == 1


# --- browsers


async def test_every_answer_tells_browsers_to_be_careful() -> None:
    async with place() as at:
        for response in (await at.as_(token()), await at.get(), await at.get("/health"), await at.get("/docs")):
            headers = response.headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "strict-transport-security" not in headers
            assert "unsafe" not in headers["content-security-policy"]


async def test_an_answer_that_says_something_itself_is_left_alone_and_streams() -> None:
    async with place() as at:
        response = await at.client.get("/v1/feed", headers={"authorization": f"Bearer {token()}"})
        assert response.text == "012"
        assert response.headers.get_list("cache-control") == ["private"]


async def test_browsers_shall_insist_on_tls_where_there_is_some() -> None:
    async with place(tls_in_front=True) as at:
        assert (await at.get()).headers["strict-transport-security"] == "max-age=31536000"
    async with place(tls_in_front=True, hsts_s=0) as at:
        assert "strict-transport-security" not in (await at.get()).headers


def preflight(origin: str, method: str = "PUT", fields: str = "authorization, if-match") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": fields}


async def test_a_page_of_an_allowed_origin_may_call() -> None:
    async with place(cors_origins=(PAGE,)) as at:
        response = await at.client.options("/v1/x", headers=preflight(PAGE))
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == PAGE
        assert "PUT" in response.headers["access-control-allow-methods"]
        assert response.headers["access-control-max-age"] == "600"
        assert "access-control-allow-credentials" not in response.headers
        for answered in (await at.as_(token(), origin=PAGE), await at.get(origin=PAGE)):
            assert answered.headers["access-control-allow-origin"] == PAGE
            assert "Origin" in answered.headers["vary"]
            assert "ETag" in answered.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in answered.headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://app.example.com", PAGE + ".evil.example", PAGE.upper(), "null", PAGE + "/", "*"],
)
async def test_a_page_of_any_other_origin_may_not(origin: str) -> None:
    async with place(cors_origins=(PAGE,)) as at:
        response = await at.client.options("/v1/x", headers=preflight(origin))
        assert response.status_code == 400
        assert "access-control-allow-origin" not in response.headers
        answered = await at.as_(token(), origin=origin)
        assert "access-control-allow-origin" not in answered.headers
        assert "Origin" in answered.headers["vary"]


@pytest.mark.parametrize(("method", "fields"), [("TRACE", "authorization"), ("PUT", "x-evil"), ("CONNECT", "")])
async def test_a_page_may_use_only_our_methods_and_fields(method: str, fields: str) -> None:
    async with place(cors_origins=(PAGE,)) as at:
        assert (await at.client.options("/v1/x", headers=preflight(PAGE, method, fields))).status_code == 400


async def test_without_origins_no_preflight_is_answered() -> None:
    async with place() as at:
        assert (await at.client.options("/v1/x", headers=preflight(PAGE))).status_code == 401


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example.com", "https://*.example.com", PAGE + "/", PAGE.upper(), "file://"]
)
def test_an_allow_list_names_origins_and_no_patterns(origin: str) -> None:
    with pytest.raises(ValueError, match="expected origins"):
        AccessSettings(cors_origins=(origin,))

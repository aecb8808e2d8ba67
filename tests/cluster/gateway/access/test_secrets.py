"""Canaries: proofs of identity and signing keys are planted, and searched for in everything that comes out."""

import contextlib
import io
import json
import logging
import os
import pickle
import traceback
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ray import cloudpickle

from parquedb.cluster.gateway.access.access_control import AccessControl
from parquedb.cluster.gateway.access.callers import build_authenticator
from parquedb.cluster.gateway.access.secrets import VARIABLE, recover
from parquedb.errors import ConfigurationError, ParqueDBError
from parquedb.observability.hooks import register_hook
from parquedb.observability.logs import get_logger
from parquedb.observability.logs.formats import ConsoleFormatter, JsonFormatter
from parquedb.observability.logs.redaction import Redactor, redactor
from parquedb.observability.otel.tracing import OpenTelemetryHook
from parquedb.settings.access import AccessSettings
from parquedb.settings.environment import load_gateway_settings
from parquedb.settings.gateway import GatewaySettings
from tests.cluster.gateway.access.test_access_control import application
from tests.support.key_database import KeyDatabase
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, token

OTHER_SECRET = "canary-second-signing-secret-0123456789"
SETTINGS = AccessSettings(
    jwt_secrets=(SECRET, OTHER_SECRET),
    jwt_issuer=ISSUER,
    jwt_audience=(AUDIENCE,),
    api_keys=True,
    tls_certificate="c.pem",
    tls_key="k.pem",
    tls_key_password="canary-password",
)


class Sinks:
    """What came out, by where; and what must not be in it."""

    def __init__(self) -> None:
        self.canaries = {SECRET, OTHER_SECRET, "canary-password"}
        self.found: dict[str, str] = {}

    def put(self, where: str, what: object) -> None:
        text = what.decode("latin-1") if isinstance(what, bytes) else str(what)
        self.found[where] = self.found.get(where, "") + text

    def error(self, where: str, error: BaseException) -> None:
        self.put(where, f"{error} {error!r} " + "".join(traceback.format_exception(error)))
        if isinstance(error, ParqueDBError):
            self.put(where, json.dumps(error.to_json(stack=True)))
            self.put(where, pickle.dumps(error))

    def leaks(self) -> set[tuple[str, str]]:
        return {(where, canary) for where, text in self.found.items() for canary in self.canaries if canary in text}


@contextlib.contextmanager
def listening(sinks: Sinks) -> Iterator[None]:
    """Keep every record of every logger, in our forms and unformatted, and every span."""
    streams = {name: io.StringIO() for name in ("console", "json", "plain")}
    forms = {"console": ConsoleFormatter(), "json": JsonFormatter(), "plain": logging.Formatter("%(message)s")}
    root, level, ours = logging.getLogger(), logging.getLogger().level, get_logger()
    handlers = []
    for name, stream in streams.items():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(forms[name])
        handlers.append(handler)
    levels = ours.level
    for logger in (root, ours):
        logger.setLevel(logging.DEBUG)
        for handler in handlers:
            logger.addHandler(handler)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    unregister = register_hook(OpenTelemetryHook(provider))
    try:
        yield
    finally:
        unregister()
        for logger, old in ((root, level), (ours, levels)):
            logger.setLevel(old)
            for handler in handlers:
                logger.removeHandler(handler)
        for name, stream in streams.items():
            sinks.put(f"log: {name}", stream.getvalue())
        provider.force_flush()
        sinks.put("spans", [span.to_json() for span in exporter.get_finished_spans()])


async def test_no_proof_of_identity_comes_out_anywhere() -> None:
    sinks, database = Sinks(), KeyDatabase()
    with listening(sinks):
        authenticator = build_authenticator(SETTINGS, database, production=True)
        control = AccessControl(authenticator, SETTINGS)
        keys = authenticator._keys._keys  # type: ignore[attr-defined]
        key, record = await keys.issue("billing", ["read:orders"])
        revoked, revoked_record = await keys.issue("gone", ["read:orders"])
        await keys.revoke(revoked_record.id)
        wrong_key = key[:-7] + ("a" if key[-7] != "a" else "b") + key[-6:]
        good, forged, expired = token(), token(key="w" * 64), token(exp=1)
        proofs = (good, forged, expired, key, revoked, wrong_key, "canary garbage", "canary-garbage-" * 1000)
        sinks.canaries |= {
            proof for text in proofs for proof in (text, text.split(".")[-1], text[20:]) if len(proof) > 12
        }
        transport = httpx.ASGITransport(application(control, SETTINGS))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            for proof in proofs:
                for name, value in (
                    ("Authorization", f"Bearer {proof}"),
                    ("X-API-Key", proof),
                    ("Authorization", proof),
                ):
                    response = await client.get("/v1/x", headers={name: value})
                    sinks.put("answers", f"{response.status_code} {response.headers} {response.text}")
        for where, what in (
            ("memory", (authenticator, control, keys, record, await keys.list())),
            ("memory", (vars(authenticator._tokens), vars(authenticator._keys), vars(control))),  # type: ignore[attr-defined]
        ):
            sinks.put(where, repr(what))
        for proof in proofs:
            try:
                await authenticator.authenticate(f"Bearer {proof}", None)
            except ParqueDBError as error:
                sinks.error("errors", error)
        await control.close()
        sinks.put("stored", database.stored())
        await database.close()
    assert {"answers", "errors", "log: json", "spans", "stored", "memory"} <= sinks.found.keys()
    assert "401" in sinks.found["answers"]
    assert "200" in sinks.found["answers"]
    assert "a caller at" in sinks.found["log: plain"]
    assert sinks.leaks() == set()


def test_the_search_finds_what_is_planted() -> None:
    sinks = Sinks()
    sinks.put("somewhere", f"the secret is {SECRET}.")
    assert sinks.leaks() == {("somewhere", SECRET)}


def test_settings_show_no_secret_and_no_pickle_of_them_holds_one() -> None:
    sinks, gateway = Sinks(), GatewaySettings(access=SETTINGS)
    for one in (SETTINGS, gateway):
        sinks.put("repr", f"{one!r} {one} {one.model_dump()}")
        sinks.put("json", one.model_dump_json())
        sinks.put("pickle", pickle.dumps(one))
        sinks.put("cloudpickle", cloudpickle.dumps(lambda: one))  # noqa: B023 - pickled at once
    assert sinks.leaks() == set()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith("PARQUEDB_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    "variables",
    [
        {"JWT_SECRETS": "canary-short"},
        {"JWT_SECRETS": f"{SECRET},canary-short"},
        {"JWT_SECRETS": SECRET},
        {"JWT_SECRETS": ",".join([SECRET] * 9)},
        {"JWT_SECRETS": SECRET, "JWT_ISSUER": "i", "JWT_AUDIENCE": "a", "RATE_REQUESTS": "0"},
        {"TLS_KEY_PASSWORD": "canary-password", "TLS_KEY": "x"},
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_no_secret_shown(
    environment: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    sinks = Sinks()
    sinks.canaries |= {"canary-short"}
    for name, value in variables.items():
        environment.setenv(f"PARQUEDB_GATEWAY__ACCESS__{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load_gateway_settings()
    assert "PARQUEDB_GATEWAY__ACCESS" in str(caught.value)
    sinks.error("error", caught.value)
    assert sinks.leaks() == set()


def test_nor_is_a_secret_that_is_at_fault_by_its_place_in_a_list(environment: pytest.MonkeyPatch) -> None:
    sinks = Sinks()
    with pytest.raises(ConfigurationError) as caught:
        load_gateway_settings(access={"jwt_secrets": [SECRET, [OTHER_SECRET]], "jwt_issuer": "i", "jwt_audience": "a"})
    assert "a value that is not shown" in str(caught.value)
    sinks.error("error", caught.value)
    assert sinks.leaks() == set()


def test_lists_come_separated_by_commas(environment: pytest.MonkeyPatch) -> None:
    for name, value in {"JWT_SECRETS": f"{SECRET}, {OTHER_SECRET}", "JWT_ISSUER": "i", "JWT_AUDIENCE": "a,b"}.items():
        environment.setenv(f"PARQUEDB_GATEWAY__ACCESS__{name}", value)
    access = load_gateway_settings().access
    assert access.reveal_jwt_secrets() == (SECRET, OTHER_SECRET)
    assert access.jwt_audience == ("a", "b")


# --- settings that lost their secrets on the way


def test_settings_out_of_a_pickle_let_nobody_in() -> None:
    travelled: AccessSettings = pickle.loads(pickle.dumps(SETTINGS))
    assert travelled.withheld
    assert travelled.jwt
    assert travelled.reveal_jwt_secrets() == ("", "")
    for production in (True, False):
        with pytest.raises(ConfigurationError) as caught:
            build_authenticator(travelled, KeyDatabase(), production=production)
        assert caught.value.setting == VARIABLE == "PARQUEDB_GATEWAY__ACCESS__JWT_SECRETS"
    assert not SETTINGS.withheld
    assert not pickle.loads(pickle.dumps(AccessSettings())).withheld


def test_they_get_them_back_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    travelled = pickle.loads(pickle.dumps(SETTINGS))
    environment.setenv(VARIABLE, f"{SECRET},{OTHER_SECRET}")
    again = recover(travelled, None, "parquedb")
    assert again.reveal_jwt_secrets() == SETTINGS.reveal_jwt_secrets()
    assert recover(again, None, "parquedb") is again
    environment.delenv(VARIABLE)
    assert recover(travelled, None, "parquedb") is travelled


# --- what gets into a log all the same


def test_keys_are_known_by_their_shape_and_secrets_by_the_environment() -> None:
    ours, key = Redactor(), "pq_" + "a" * 16 + "_" + "S" * 49
    assert ours.text(f"GET /?k={key} failed") == "GET /?k=pq_aaaaaaaaaaaaaaaa_*** failed"
    ours.hide_environment(
        {VARIABLE: f"{SECRET}, {OTHER_SECRET}", "PARQUEDB_GATEWAY__ACCESS__TLS_KEY_PASSWORD": "canary-password"}
    )
    assert ours.text(f"{SECRET} {OTHER_SECRET} canary-password") == "*** *** ***"


def test_a_gateway_hides_the_secrets_that_it_was_given() -> None:
    secret = "canary-argument-secret-of-enough-bytes-for-sha256"
    settings = AccessSettings(jwt_secrets=(secret,), jwt_issuer="i", jwt_audience=("a",))
    build_authenticator(settings, KeyDatabase(), production=True)
    assert redactor.text(f"it is {secret}!") == "it is ***!"

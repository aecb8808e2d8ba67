"""Who a client says that it is, and that nobody else gets to know."""

import io
import logging
import multiprocessing
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import parquedb
from parquedb.access.permissions import Permissions
from parquedb.access.principal import Principal
from parquedb.cluster.http.connection import HttpConnection
from parquedb.errors import (
    AuthenticationRequiredError,
    ConfigurationError,
    ParqueDBError,
    RpcUnavailableError,
    TokenExpiredError,
)
from tests.support.certificates import Authority
from tests.support.gateway_server import AppServer, GatewayServer

GOOD, STALE, KEY = "token-that-is-good-0123456789", "token-that-is-stale-0123456789", "key-0123456789abcdef"


class Doorkeeper:
    """Lets one token and one key in; counts those it sends away."""

    def __init__(self) -> None:
        self.refused = 0
        self.seen: list[tuple[str | None, str | None]] = []

    async def authenticate(self, authorization: str | None, api_key: str | None) -> Principal:
        self.seen.append((authorization, api_key))
        if authorization == f"Bearer {GOOD}" or api_key == KEY:
            return Principal("ada", Permissions(["*:*"]), "jwt")
        self.refused += 1
        if authorization == f"Bearer {STALE}":
            raise TokenExpiredError("the token has expired")
        raise AuthenticationRequiredError("who are you?")

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def doorkeeper() -> Doorkeeper:
    return Doorkeeper()


@pytest.fixture(scope="module")
def guarded(doorkeeper: Doorkeeper) -> Iterator[str]:
    with GatewayServer(authenticator=doorkeeper) as started:
        yield started.url


def fresh_token() -> str:
    """A provider that every process finds by its name."""
    return GOOD


@pytest.mark.parametrize(
    "settings", [{"token": GOOD}, {"api_key": KEY}, {"token_provider": fresh_token}], ids=["token", "key", "provider"]
)
def test_each_way_to_say_who_one_is(settings: dict[str, Any], guarded: str) -> None:
    with parquedb.connect(guarded, **settings) as db:
        assert db["posts"].create({})["createdBy"] == "ada"


def test_settings_come_from_the_environment(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUEDB_URL", guarded)
    monkeypatch.setenv("PARQUEDB_TOKEN", GOOD)
    with parquedb.connect() as db:
        assert db["posts"].get("nothing") is None


def test_whoever_says_nothing_is_sent_away_at_once(guarded: str, doorkeeper: Doorkeeper) -> None:
    before = doorkeeper.refused
    with parquedb.connect(guarded) as db, pytest.raises(AuthenticationRequiredError):
        db["posts"].create({})
    assert doorkeeper.refused == before + 1


def test_an_expired_token_is_renewed_once(guarded: str) -> None:
    given = [GOOD, STALE]
    with parquedb.connect(guarded, token_provider=given.pop) as db:
        assert db["posts"].create({})["createdBy"] == "ada"
        assert db["posts"].count() >= 1
    assert given == []


def test_a_provider_that_knows_no_better_is_asked_once_more_and_no_more(guarded: str) -> None:
    asked = []

    def stale() -> str:
        asked.append(1)
        return STALE

    with parquedb.connect(guarded, token_provider=stale) as db, pytest.raises(TokenExpiredError):
        db["posts"].create({})
    assert len(asked) == 2


def test_a_provider_that_fails_is_an_error_of_its_own(guarded: str) -> None:
    def broken() -> str:
        raise OSError("the key store is down")

    with (
        parquedb.connect(guarded, token_provider=broken) as db,
        pytest.raises(AuthenticationRequiredError, match="provider of tokens failed: OSError"),
    ):
        db["posts"].create({})


def test_a_secret_is_in_nothing_that_can_be_shown(guarded: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    shown = []
    try:
        db = parquedb.connect(guarded, token=STALE, api_key="wrong-key-0123456789")
        shown += [repr(db), repr(db.settings), repr(db._connection), repr(vars(db._connection)), str(pickle.dumps(db))]
        with pytest.raises(ParqueDBError) as caught:
            db["posts"].create({})
        shown += ["".join(traceback.format_exception(caught.value)), str(caught.value.to_json(stack=True))]
        shown.append(str(pickle.dumps(caught.value)))
        db.close()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    shown.append(stream.getvalue())
    assert [text for text in shown if STALE in text or "wrong-key" in text] == []


def _posts_of(pickled: bytes, told: Any) -> None:
    database = pickle.loads(pickled)
    told.send(database["posts"].create({"from": "a child"})["createdBy"])
    database.close()


@pytest.mark.parametrize("way", ["spawn", "fork"])
def test_a_database_goes_to_another_process_which_has_a_provider_or_its_environment(
    way: str, guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARQUEDB_TOKEN", GOOD)
    with parquedb.connect(guarded) as db:
        assert db["posts"].get("nothing") is None
        context = multiprocessing.get_context(way)
        ours, theirs = context.Pipe()
        child = context.Process(target=_posts_of, args=(pickle.dumps(db), theirs))
        child.start()
        assert ours.poll(60)
        assert ours.recv() == "ada"
        child.join(20)
        assert db["posts"].get("nothing") is None


def test_a_provider_with_a_name_travels_and_one_without_stays(guarded: str) -> None:
    with parquedb.connect(guarded, token_provider=fresh_token) as db:
        assert db._connection.recipe()[1][2] is fresh_token
        assert pickle.loads(pickle.dumps(db))["posts"].get("nothing") is None
    with parquedb.connect(guarded, token_provider=lambda: GOOD) as db:
        assert db._connection.recipe()[1][2] is None


REFUSED = {
    "a token in the clear": ("http://db.example.com", {"token": GOOD}),
    "a key in the clear": ("http://10.0.0.1", {"api_key": KEY}),
    "a token where http is allowed": ("http://10.0.0.1", {"token": GOOD, "http": {"allow_http": True}}),
    "no TLS without a word": ("http://db.example.com", {}),
    "a token to a name like this machine's": ("http://127.evil.example", {"token": GOOD}),
    "credentials in the address": ("https://ada:secret@db.example.com", {}),
    "a query": ("https://db.example.com?token=x", {}),
    "no host": ("https://", {}),
    "a token and a provider": ("https://db.example.com", {"token": GOOD, "token_provider": fresh_token}),
    "a token with a line break": ("https://db.example.com", {"token": "a\nX-Admin: 1"}),
    "a setting of the other side": ("https://db.example.com", {"storage": {"timeout_s": 5}}),
    "a key without a certificate": ("https://db.example.com", {"http": {"client_key": "/k"}}),
    "authorities that are not there": ("https://db.example.com", {"http": {"ca_file": "/nowhere.pem"}}),
    "a provider that is not there": ("https://db.example.com", {"token_provider": "nowhere:token"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_cannot_be_used_is_refused(name: str) -> None:
    url, settings = REFUSED[name]
    with pytest.raises(ConfigurationError) as caught:
        parquedb.connect(url, **settings)
    assert "secret" not in str(caught.value)
    assert GOOD not in str(caught.value)


def test_plain_http_may_leave_the_machine_only_where_that_is_wanted() -> None:
    with parquedb.connect("http://db.example.com/prefix/", http={"allow_http": True}) as db:
        assert db.url == "http://db.example.com/prefix"
        assert isinstance(db._connection, HttpConnection)


def test_tls_is_verified_by_the_given_authorities_alone_and_shows_the_clients_own_certificate(tmp_path: Path) -> None:
    import ssl  # noqa: PLC0415 - only here

    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    certificate, key = ours.issue()
    shown, shown_key = ours.issue()
    inner = GatewayServer()
    server = AppServer(
        inner.app, ssl_certfile=certificate, ssl_keyfile=key, ssl_ca_certs=ours.file, ssl_cert_reqs=ssl.CERT_REQUIRED
    )
    trusting = {"ca_file": ours.file, "client_cert": shown, "client_key": shown_key}
    try:
        with server:
            with parquedb.connect(server.url, token=GOOD, http=trusting) as db:
                assert db["posts"].create({"n": 1})["n"] == 1
            for refused in ({}, {"ca_file": others.file}):
                with (
                    parquedb.connect(server.url, http=refused) as db,
                    pytest.raises(RpcUnavailableError, match="CERTIFICATE_VERIFY_FAILED"),
                ):
                    db["posts"].get("a", timeout_s=5)
            with parquedb.connect(server.url, http={"ca_file": ours.file}) as db, pytest.raises(RpcUnavailableError):
                db["posts"].get("a", timeout_s=5)
    finally:
        inner.local.leave()

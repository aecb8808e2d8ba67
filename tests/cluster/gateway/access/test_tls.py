"""TLS over real sockets: which callers get through, and what is said of files that cannot be used."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from ray.serve.config import HTTPOptions

from parquedb.cluster.gateway.access.middleware import SecurityHeaders
from parquedb.cluster.gateway.access.tls import serve_tls_options, uvicorn_tls_options
from parquedb.errors import ConfigurationError
from parquedb.settings.access import AccessSettings
from tests.support.certificates import Authority
from tests.support.tokens import Issuer, served


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


def settings(authority: Authority, **changes: Any) -> AccessSettings:
    certificate, key = authority.issue()
    return AccessSettings(**{"tls_certificate": certificate, "tls_key": key, **changes})


def trusting(authority: Authority, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


async def status(url: str, context: ssl.SSLContext) -> int:
    async with httpx.AsyncClient(verify=context) as client:
        return (await client.get(url)).status_code


async def test_a_caller_who_trusts_the_authority_gets_through_and_is_told_to_insist(authority: Authority) -> None:
    made = settings(authority)
    async with served(SecurityHeaders(Issuer(), made), **uvicorn_tls_options(made)) as url:
        assert url.startswith("https://")
        async with httpx.AsyncClient(verify=trusting(authority)) as client:
            response = await client.get(url)
            assert response.status_code == 200
            assert response.headers["strict-transport-security"].startswith("max-age=31536000")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_an_older_version_than_1_2_is_refused(authority: Authority) -> None:
    async with served(Issuer(), **uvicorn_tls_options(settings(authority))) as url:
        old, new = trusting(authority), trusting(authority)
        # Level 0, or the client's own library would refuse before the server can.
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        new.minimum_version = new.maximum_version = ssl.TLSVersion.TLSv1_2
        refusal = await asyncio.to_thread(refused_handshake, httpx.URL(url).port, old)
        # The server hung up; our own library would have said NO_PROTOCOLS_AVAILABLE before it called.
        assert refusal == "UNEXPECTED_EOF_WHILE_READING"
        assert await status(url, new) == 200


def refused_handshake(port: int, context: ssl.SSLContext) -> str:
    with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(ssl.SSLError) as caught:
        context.wrap_socket(plain, server_hostname="localhost")
    return caught.value.reason


async def test_a_caller_without_a_certificate_of_our_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    options = uvicorn_tls_options(settings(authority, tls_client_ca=authority.file))
    async with served(Issuer(), **options) as url:
        assert await status(url, trusting(authority, authority.issue())) == 200
        for certificate in (None, Authority(tmp_path, "foreign").issue()):
            with pytest.raises(httpx.TransportError):
                await status(url, trusting(authority, certificate))


async def test_a_key_may_have_a_password(authority: Authority) -> None:
    certificate, key = authority.issue(password="canary-password")
    made = settings(authority, tls_certificate=certificate, tls_key=key, tls_key_password=SecretStr("canary-password"))
    async with served(Issuer(), **uvicorn_tls_options(made)) as url:
        assert await status(url, trusting(authority)) == 200
    for wrong in (None, SecretStr("canary-wrong")):
        with pytest.raises(ConfigurationError) as caught:
            uvicorn_tls_options(made.model_copy(update={"tls_key_password": wrong}))
        assert "canary" not in repr(caught.value)


def test_files_that_cannot_be_used_are_named_by_their_setting(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("canary-junk")
    junk, missing, other = str(tmp_path / "junk.pem"), str(tmp_path / "none.pem"), authority.issue()[1]
    for changes, name in (
        ({"tls_certificate": junk}, "CERTIFICATE"),
        ({"tls_key": junk}, "CERTIFICATE"),
        ({"tls_key": other}, "CERTIFICATE"),
        ({"tls_key": missing}, "CERTIFICATE"),
        ({"tls_client_ca": junk}, "CLIENT_CA"),
        ({"tls_client_ca": missing}, "CLIENT_CA"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            uvicorn_tls_options(settings(authority, **changes))
        assert caught.value.setting == f"PARQUEDB_GATEWAY__ACCESS__TLS_{name}"
        assert "canary" not in str(caught.value)


def test_ray_serve_takes_the_certificate_but_asks_callers_for_none(authority: Authority) -> None:
    made = settings(authority)
    assert HTTPOptions(**serve_tls_options(made)).ssl_certfile == made.tls_certificate
    assert serve_tls_options(AccessSettings()) == uvicorn_tls_options(AccessSettings()) == {}
    with pytest.raises(ConfigurationError, match="asks callers for no certificate"):
        serve_tls_options(settings(authority, tls_client_ca=authority.file))


@pytest.mark.parametrize("given", [{"tls_certificate": "a"}, {"tls_key": "a"}, {"tls_client_ca": "a"}])
def test_half_a_configuration_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="together"):
        AccessSettings(**given)

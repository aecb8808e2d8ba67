"""Spans leave without `requests` wherever that has nothing to add to plain HTTP, and with it where it has."""

from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from parquedb.observability.otel.kept_connection import KeptConnection
from parquedb.observability.otel.span_sinks import spare_requests

ENDPOINT = "http://collector.example:4318/v1/traces"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def spared(endpoint: str = ENDPOINT, session: requests.Session | None = None) -> Any:
    """Return the transport of an exporter after `spare_requests`."""
    exporter = OTLPSpanExporter(endpoint, session=session)
    spare_requests(exporter._client, endpoint)
    return exporter._client._transport


def trusts(endpoint: str = ENDPOINT) -> bool:
    """Whether `requests` asks the environment at each request."""
    trusting: bool = spared(endpoint)._session.trust_env
    return trusting


def test_where_the_environment_says_nothing_plain_http_goes_without_requests() -> None:
    assert type(spared()) is KeptConnection


def test_where_the_environment_says_nothing_it_is_not_asked_again() -> None:
    assert not trusts(ENDPOINT.replace("http:", "https:"))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_stays_in_force(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://proxy.example:3128")
    assert trusts()


def test_a_collector_that_no_proxy_is_for_is_reached_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "collector.example")
    assert type(spared()) is KeptConnection


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_environment_stay_in_force(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/etc/ssl/own.pem")
    assert trusts(ENDPOINT.replace("http:", "https:"))
    assert type(spared()) is KeptConnection, "nobody shows certificates there"


def test_a_password_of_the_netrc_file_stays_in_force(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine collector.example login me password secret")
    assert trusts()


def test_a_password_in_the_address_stays_in_force() -> None:
    transport = spared("http://me:secret@collector.example:4318/v1/traces")
    assert type(transport._session) is requests.Session


def test_a_session_of_somebody_else_is_left_alone() -> None:
    class Own(requests.Session):
        pass

    session = Own()
    assert spared(session=session)._session is session
    assert session.trust_env

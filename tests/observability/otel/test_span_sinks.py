"""What an exporter's session would look up for each request is looked up once, where there is nothing to be found."""

from pathlib import Path

import pytest
import requests

from parquedb.observability.otel.span_sinks import spare_look_ups

ENDPOINT = "http://collector.example:4318/v1/traces"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def trusts(endpoint: str = ENDPOINT) -> bool:
    session = requests.Session()
    spare_look_ups(session, endpoint)
    return session.trust_env


def test_where_the_environment_says_nothing_it_is_not_asked_again() -> None:
    assert not trusts()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_stays_in_force(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://proxy.example:3128")
    assert trusts()


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_environment_stay_in_force(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/etc/ssl/own.pem")
    assert trusts(ENDPOINT.replace("http:", "https:"))
    assert not trusts(), "nobody shows certificates there"


def test_a_password_of_the_netrc_file_stays_in_force(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine collector.example login me password secret")
    assert trusts()


def test_a_session_of_somebody_else_is_left_alone() -> None:
    class Own(requests.Session):
        pass

    session = Own()
    spare_look_ups(session, ENDPOINT)
    assert session.trust_env

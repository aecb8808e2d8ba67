"""Settings of a gateway: from arguments, from the environment, by default."""

import pytest

from parquedb.errors import ConfigurationError
from parquedb.settings.environment import load_gateway_settings
from parquedb.settings.gateway import GatewaySettings, gateway_env_name


def test_arguments_win_over_the_environment_and_this_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUEDB_GATEWAY__PORT", "9000")
    monkeypatch.setenv("PARQUEDB_GATEWAY__REPLICAS", "3")
    monkeypatch.setenv("PARQUEDB_GATEWAY__ACCESS__RATE_REQUESTS", "7")
    loaded = load_gateway_settings(port=9001, host=None)
    assert (loaded.port, loaded.replicas, loaded.host, loaded.access.rate_requests) == (9001, 3, "127.0.0.1", 7)
    assert type(loaded) is GatewaySettings


@pytest.mark.parametrize(("value", "kind"), [("production", "production"), ("", "development"), (None, "development")])
def test_the_kind_of_installation_has_a_variable_of_its_own(
    monkeypatch: pytest.MonkeyPatch, value: str | None, kind: str
) -> None:
    monkeypatch.delenv("PARQUEDB_ENVIRONMENT", raising=False)
    if value is not None:
        monkeypatch.setenv("PARQUEDB_ENVIRONMENT", value)
    assert load_gateway_settings().environment == kind


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PARQUEDB_GATEWAY__PORT", "70000", "port"),
        ("PARQUEDB_GATEWAY__BODY_BYTES_MAX", "many", "body_bytes_max"),
        ("PARQUEDB_GATEWAY__TIMEOUT_S", "600", "timeout_s to be at most timeout_s_max"),
        ("PARQUEDB_ENVIRONMENT", "staging", "environment"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        load_gateway_settings()
    assert words in str(caught.value)
    if "TIMEOUT" not in variable:
        assert caught.value.setting == variable


def test_an_unknown_argument_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigurationError, match="did you mean replicas"):
        load_gateway_settings(replica=2)


def test_names_of_variables() -> None:
    assert gateway_env_name("access", "api_keys") == "PARQUEDB_GATEWAY__ACCESS__API_KEYS"
    assert gateway_env_name("environment") == "PARQUEDB_ENVIRONMENT"

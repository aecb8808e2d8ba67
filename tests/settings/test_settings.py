import json
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from parquedb.errors import ConfigurationError, ErrorCode
from parquedb.settings import (
    BackupSettings,
    ClientSettings,
    EngineSettings,
    GrantSettings,
    HttpSettings,
    Settings,
    StorageSettings,
    env_name,
)
from parquedb.settings.environment import load_settings

SECRET = "hush-hush-1234"
GROUPS = {
    "engine": EngineSettings,
    "storage": StorageSettings,
    "client": ClientSettings,
    "http": HttpSettings,
    "access": GrantSettings,
    "backup": BackupSettings,
}
NUMBERS = [
    (group, name)
    for group, cls in GROUPS.items()
    for name, field in cls.model_fields.items()
    if field.annotation in (int, float)
]
every_number = pytest.mark.parametrize(("group", "name"), NUMBERS, ids=[".".join(pair) for pair in NUMBERS])


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("PARQUEDB_"):
            monkeypatch.delenv(name)


def refusal(**arguments: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**arguments)
    # The library's own error holds the values, so it must not hang on ours.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def bounds_of(group: str, name: str) -> dict[str, float]:
    marks = GROUPS[group].model_fields[name].metadata
    return {side: getattr(mark, side) for mark in marks for side in ("ge", "gt", "le") if hasattr(mark, side)}


# --- where a setting comes from


def test_defaults_are_the_documented_ones():
    settings = load_settings("./data")
    assert (settings.url, settings.region, settings.ray_namespace, settings.hooks) == (
        "./data",
        "us-east-1",
        "parquedb",
        (),
    )
    assert settings.secret is settings.key is settings.endpoint_url is settings.ray_address is None
    engine, storage, client = settings.engine, settings.storage, settings.client
    assert (engine.read_lease_s, engine.log_grace_s, engine.snapshot_grace_s) == (0.2, 120, 3600)
    assert (engine.session_window, engine.request_ids_max, engine.request_id_window_s) == (256, 100_000, 600)
    assert (storage.timeout_s, storage.breaker_failures, storage.breaker_failure_rate) == (10, 5, 0.5)
    assert (client.timeout_s, client.batch_ops_max) == (30, 2048)


def test_an_argument_beats_the_environment_which_beats_the_default(monkeypatch: pytest.MonkeyPatch):
    assert load_settings("a").region == "us-east-1"
    monkeypatch.setenv("PARQUEDB_REGION", "eu-west-1")
    monkeypatch.setenv("PARQUEDB_URL", "s3://bucket/env")
    assert load_settings("a").region == "eu-west-1"
    assert load_settings("a", region="me-south-1").region == "me-south-1"
    assert load_settings().url == "s3://bucket/env"
    assert load_settings("a").url == "a"


def test_none_as_argument_counts_as_not_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARQUEDB_ENDPOINT_URL", "http://localhost:9000")
    assert load_settings("a", endpoint_url=None).endpoint_url == "http://localhost:9000"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARQUEDB_ENDPOINT_URL", "")
    assert load_settings("a").endpoint_url is None


def test_a_setting_of_a_group_has_two_underscores_in_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARQUEDB_ENGINE__READ_LEASE_S", "0.5")
    monkeypatch.setenv("PARQUEDB_STORAGE__POOL_CONNECTIONS", "8")
    settings = load_settings("a", engine={"flush_rows": 10}, storage=StorageSettings(timeout_s=3))
    assert (settings.engine.read_lease_s, settings.engine.flush_rows) == (0.5, 10)
    # A whole group is taken as it is.
    assert (settings.storage.timeout_s, settings.storage.pool_connections) == (3, 64)


@every_number
def test_every_number_can_be_set_by_the_variable_that_errors_name(
    group: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    default = getattr(GROUPS[group](), name)
    monkeypatch.setenv(env_name(group, name), str(default))
    assert getattr(getattr(load_settings("a"), group), name) == default
    monkeypatch.setenv(env_name(group, name), "many")
    error = refusal(url="a")
    assert error.setting == f"PARQUEDB_{group}__{name}".upper()
    assert f"{group}.{name} ({error.setting}): expected a valid " in str(error)
    assert str(error).endswith("got 'many'")


def test_a_path_object_is_a_url(tmp_path: Path):
    assert load_settings(tmp_path).url == str(tmp_path)


def test_hooks_come_as_a_list_or_separated_by_commas(monkeypatch: pytest.MonkeyPatch):
    assert load_settings("a", hooks=["app.hooks:audit"]).hooks == ("app.hooks:audit",)
    monkeypatch.setenv("PARQUEDB_HOOKS", "app.hooks:audit, app:Hooks.slow,")
    assert load_settings("a").hooks == ("app.hooks:audit", "app:Hooks.slow")


def test_labels_of_nodes_come_as_a_dict_or_separated_by_commas(monkeypatch: pytest.MonkeyPatch):
    assert load_settings("a", owner_labels={"role": "owners"}).owner_labels == (("role", "owners"),)
    monkeypatch.setenv("PARQUEDB_OWNER_LABELS", "parquedb.dev/role=owners, zone=a,")
    assert load_settings("a").owner_labels == (("parquedb.dev/role", "owners"), ("zone", "a"))


@pytest.mark.parametrize("labels", ["role", "role=", "=owners", "role=!owners", "role=in(a,b)", {"role": 1}])
def test_what_is_no_label_of_a_node_is_refused(labels: object):
    assert "owner_labels (PARQUEDB_OWNER_LABELS): expected labels of nodes" in str(
        refusal(url="a", owner_labels=labels)
    )


def test_the_log_level_may_be_lower_case(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARQUEDB_LOG_LEVEL", "debug")
    assert load_settings("a").log_level == "DEBUG"


@pytest.mark.parametrize(
    "url", ["data", "./a b", "/abs", "file:///tmp/x", "s3://bucket", "s3://b/p/q", "memory://", "a@b"]
)
def test_a_url_of_each_kind_is_kept_as_given(url: str):
    assert load_settings(url).url == url


# --- bounds


@every_number
def test_every_number_has_a_description_and_two_bounds_around_its_default(group: str, name: str):
    field = GROUPS[group].model_fields[name]
    bounds = bounds_of(group, name)
    assert field.description
    assert field.description.endswith(".")
    assert "le" in bounds
    assert "ge" in bounds or "gt" in bounds
    assert bounds.get("ge", bounds.get("gt", 0)) <= field.default <= bounds["le"]


@every_number
def test_a_number_past_either_bound_is_refused_by_name(group: str, name: str):
    bounds = bounds_of(group, name)
    low = bounds["ge"] - 1 if "ge" in bounds else bounds["gt"]
    for value, words in [(low, "expected greater than"), (bounds["le"] + 1, "expected less than or equal to")]:
        error = refusal(url="a", **{group: {name: value}})
        assert f"{group}.{name} (PARQUEDB_{group.upper()}__{name.upper()}): {words}" in str(error)
        assert str(error).endswith(f"got {value!r}")
        assert error.setting == env_name(group, name)


def test_every_field_has_a_description():
    fields = [*Settings.model_fields.items(), *(pair for cls in GROUPS.values() for pair in cls.model_fields.items())]
    assert [name for name, field in fields if not field.description and name not in GROUPS] == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "inf"])
def test_a_number_that_is_not_finite_is_refused(value: object):
    assert "storage.timeout_s (PARQUEDB_STORAGE__TIMEOUT_S): expected" in str(
        refusal(url="a", storage={"timeout_s": value})
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"engine": {"group_ops_max": 500, "queue_ops_max": 100}},
            "engine (PARQUEDB_ENGINE): expected group_ops_max to be at most queue_ops_max, got 500 and 100",
        ),
        (
            {"engine": {"document_bytes_max": 2000, "queue_bytes_max": 1024}},
            "expected document_bytes_max to be at most queue_bytes_max, got 2000 and 1024",
        ),
        (
            {"engine": {"log_grace_s": 100, "snapshot_grace_s": 50}},
            "expected log_grace_s to be at most snapshot_grace_s, got 100 and 50",
        ),
        (
            {"storage": {"retry_base_s": 3, "retry_max_s": 2}},
            "storage (PARQUEDB_STORAGE): expected retry_base_s to be at most retry_max_s, got 3 and 2",
        ),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(arguments: dict[str, Any], words: str):
    assert words in str(refusal(url="a", **arguments))


# --- messages


@pytest.mark.parametrize(
    ("arguments", "setting", "message"),
    [
        ({}, "PARQUEDB_URL", "url (PARQUEDB_URL): expected a value, got none"),
        (
            {"url": "gs://bucket"},
            "PARQUEDB_URL",
            "url (PARQUEDB_URL): expected a path, file://<path>, s3://<bucket>/<prefix> or memory://<name>, "
            "got 'gs://bucket'",
        ),
        (
            {"url": "s3:///prefix"},
            "PARQUEDB_URL",
            "url (PARQUEDB_URL): expected s3://<bucket>/<prefix>, got 's3:///prefix'",
        ),
        (
            {"url": "a", "endpoint_url": "localhost:9000"},
            "PARQUEDB_ENDPOINT_URL",
            "endpoint_url (PARQUEDB_ENDPOINT_URL): expected http://<host>:<port> or https://<host>, "
            "got 'localhost:9000'",
        ),
        (
            {"url": "a", "log_level": "loud"},
            "PARQUEDB_LOG_LEVEL",
            "log_level (PARQUEDB_LOG_LEVEL): expected 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL', got 'LOUD'",
        ),
        (
            {"url": "a", "hooks": "audit"},
            "PARQUEDB_HOOKS",
            "hooks (PARQUEDB_HOOKS): expected names of the form \"module:attribute\", got 'audit'",
        ),
        (
            {"url": "a", "engine": "fast"},
            "PARQUEDB_ENGINE",
            "engine (PARQUEDB_ENGINE): expected one variable for each setting, such as PARQUEDB_ENGINE__READ_LEASE_S",
        ),
        (
            {"url": "a", "endpont_url": "x"},
            "endpont_url",
            "unknown argument 'endpont_url'; did you mean endpoint_url or backup={'endpoint_url': ...}?",
        ),
        (
            {"url": "a", "timeout_s": 5},
            "timeout_s",
            "unknown argument 'timeout_s'; did you mean storage={'timeout_s': ...} or client={'timeout_s': ...}?",
        ),
        ({"url": "a", "xyzzy": None}, "xyzzy", "unknown argument 'xyzzy'"),
        (
            {"url": "a", "engine": {"flush_row": 1}},
            "PARQUEDB_ENGINE__FLUSH_ROW",
            "engine.flush_row (PARQUEDB_ENGINE__FLUSH_ROW): no such setting; did you mean flush_rows or flush_bytes?",
        ),
    ],
)
def test_a_message_says_which_setting_what_was_expected_and_what_came(
    arguments: dict[str, Any], setting: str, message: str
):
    error = refusal(**arguments)
    assert str(error) == message
    assert error.setting == setting


def test_every_fault_is_told_at_once():
    error = refusal(url="gs://x", engine={"flush_rows": 0, "depth_max": 0})
    assert [part.split(" ")[0] for part in str(error).split("; ")] == ["url", "engine.flush_rows", "engine.depth_max"]


def test_a_missing_setting_and_a_bad_one_have_their_own_codes():
    assert refusal().code is ErrorCode.MISSING_CONFIG
    assert refusal(url="gs://x").code is ErrorCode.INVALID_CONFIG


def test_an_unknown_variable_of_a_group_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARQUEDB_CLIENT__TIMEOUT", "5")
    error = refusal(url="a")
    assert error.setting == "PARQUEDB_CLIENT__TIMEOUT"
    assert "no such setting; did you mean timeout_s?" in str(error)


def test_a_group_given_as_json_in_one_variable_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARQUEDB_ENGINE", '{"flush_rows": 5')
    assert refusal(url="a").setting == "PARQUEDB_ENGINE"


def test_a_long_value_is_cut_in_the_message():
    assert len(str(refusal(url="a", log_level="x" * 100_000))) < 500


@pytest.mark.parametrize("url", ["", "a\0b", 5, "x" * 5000, "s3://"])
def test_a_url_that_names_no_place_is_refused(url: Any):
    assert "url (PARQUEDB_URL): expected " in str(refusal(url=url))


# --- secrets


@pytest.mark.parametrize(
    "form", [repr, str, lambda settings: f"{settings}", lambda settings: settings.model_dump_json()]
)
def test_no_form_of_the_settings_shows_the_secret(form: Any):
    settings = load_settings("s3://bucket", key="AKIDEXAMPLE", secret=SECRET)
    assert SECRET not in form(settings)
    assert "AKIDEXAMPLE" not in repr(settings)


def test_a_pickle_holds_everything_but_the_secret():
    settings = load_settings("s3://bucket", key="AKIDEXAMPLE", secret=SECRET, engine={"flush_rows": 7})
    data = pickle.dumps(settings)
    assert SECRET.encode() not in data
    made = pickle.loads(data)
    assert made.secret is None
    assert (made.key, made.engine.flush_rows) == ("AKIDEXAMPLE", 7)
    assert made.with_secret(SECRET) == settings
    assert settings.reveal_secret() == SECRET


def test_settings_are_keys_whatever_they_hold():
    asked = {"log_levels": {"storage": "debug"}, "log_redact": ["ssn"], "hooks": ["a:b"]}
    assert {load_settings("a", **asked): 1}[load_settings("a", **asked)] == 1
    assert load_settings("a", **asked).log_levels == (("storage", "DEBUG"),)


def test_a_pickle_does_not_read_the_environment_where_it_lands(monkeypatch: pytest.MonkeyPatch):
    data = pickle.dumps(load_settings("a"))
    monkeypatch.setenv("PARQUEDB_REGION", "elsewhere")
    assert pickle.loads(data).region == "us-east-1"


@pytest.mark.parametrize(
    "arguments",
    [
        {"secret": SECRET.encode() + b"\xff"},
        {"secret": [SECRET]},
        {"key": {"k": SECRET}},
        {"url": f"s3://key:{SECRET}@bucket"},
        {"endpoint_url": f"http://key:{SECRET}@host:9000"},
        {"endpoint_url": f"ftp://key:{SECRET}/x@host"},
        {"secret": SECRET, "region": ""},
        {"secret": SECRET, "engine": {"flush_rows": 0}},
    ],
)
def test_no_message_cause_or_json_shows_a_secret(arguments: dict[str, Any]):
    error = refusal(**{"url": "a", **arguments})
    assert SECRET not in str(error)
    assert SECRET not in json.dumps(error.to_json(stack=True))


def test_credentials_in_an_address_are_refused_with_the_way_to_give_them():
    for arguments in ({"url": "s3://k:s@bucket"}, {"url": "a", "endpoint_url": "https://k:s@host"}):
        assert "expected an address without credentials; give them as key and secret, got" in str(refusal(**arguments))


# --- immutable


@pytest.mark.parametrize("cls", [Settings, *GROUPS.values()])
def test_settings_cannot_be_changed(cls: type[BaseModel]):
    made = load_settings("a")
    target = made if cls is Settings else next(getattr(made, name) for name, group in GROUPS.items() if group is cls)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(target, next(iter(cls.model_fields)), 1)


# --- access

KEY_OF_GRANTS = "kkkkk-canary-kkkkkkkkkkkkkkkkkkkk"


def test_keys_of_grants_come_as_a_list_or_separated_by_commas(monkeypatch: pytest.MonkeyPatch):
    other = "o" * 32
    assert load_settings("a", access={"keys": [KEY_OF_GRANTS, other]}).access.reveal_keys() == (KEY_OF_GRANTS, other)
    monkeypatch.setenv("PARQUEDB_ACCESS__KEYS", f"{KEY_OF_GRANTS}, {other}")
    monkeypatch.setenv("PARQUEDB_ACCESS__REQUIRED", "true")
    monkeypatch.setenv("PARQUEDB_ACCESS__PERMISSIONS", "read:*, write:posts")
    access = load_settings("a").access
    assert access.reveal_keys() == (KEY_OF_GRANTS, other)
    assert (access.required, access.permissions) == (True, ("read:*", "write:posts"))


def test_by_default_no_grants_are_required():
    access = load_settings("a").access
    assert (access.required, access.keys, access.grant, access.permissions) == (False, (), None, None)


@pytest.mark.parametrize(
    "access",
    [
        {"keys": [KEY_OF_GRANTS[:31]]},
        {"keys": f"{KEY_OF_GRANTS},short"},
        {"keys": [KEY_OF_GRANTS, 7]},
        {"keys": [KEY_OF_GRANTS] * 9},
        {"keys": 7},
        {"keys": [KEY_OF_GRANTS], "grant": "pqg1.canary"},
        {"grant": "canary" * 20_000},
        {"permissions": ["fly:*"]},
    ],
)
def test_access_that_cannot_be_used_is_refused_and_no_secret_shown(access: Any):
    error = refusal(url="a", access=access)
    assert (error.setting or "").startswith("PARQUEDB_ACCESS")
    assert "canary" not in f"{error!r}{error.to_json()}"


def test_no_form_of_the_settings_shows_keys_or_grant():
    for access in ({"keys": [KEY_OF_GRANTS]}, {"grant": "pqg1.canary"}):
        settings = load_settings("a", access=access)
        made = pickle.loads(pickle.dumps(settings))
        for form in (settings, settings.access):
            told = f"{form!r} {form} {form.model_dump_json()} {pickle.dumps(form)!r}"
            assert "canary" not in told
        assert (made.access.keys, made.access.grant) == ((), None)
        assert {settings: 1}[settings] == 1


def of_another_version(settings: Any, *, set_: tuple[str, ...] = (), without: tuple[str, ...] = (), **more: Any) -> Any:
    """Return settings that come out of a pickle as another version would have made it."""
    state = settings.__getstate__()
    values = {name: value for name, value in state["__dict__"].items() if name not in without} | more
    asked = state["__pydantic_fields_set__"] | set(set_)
    made = type(settings).__new__(type(settings))
    made.__setstate__({**state, "__dict__": values, "__pydantic_fields_set__": asked})
    return made


def test_settings_of_an_earlier_version_get_the_defaults_of_what_they_lack():
    made = load_settings("a", engine={"flush_rows": 7})
    assert of_another_version(made, without=("owner_labels", "client")) == made
    assert of_another_version(made.engine, without=("read_lease_s",)) == made.engine


def test_a_pickle_asks_an_owner_of_an_earlier_version_for_no_module_that_it_lacks():
    settings = load_settings("a")
    named = {text for _, text, _ in pickletools.genops(pickle.dumps(settings)) if isinstance(text, str)}
    groups = ("access", "database", "grants", "http", "storage")
    assert {text for text in named if text.startswith("parquedb.")} <= {f"parquedb.settings.{one}" for one in groups}
    assert pickle.loads(pickle.dumps(settings)) == settings
    elsewhere = load_settings("a", backup={"region": "eu-west-3"})
    assert pickle.loads(pickle.dumps(elsewhere)).backup.region == "eu-west-3"


def test_what_only_a_later_version_knows_is_left_out_where_nobody_has_set_it():
    made = load_settings("a")
    assert of_another_version(made, warp=9) == made
    assert not hasattr(of_another_version(made, warp=9), "warp")


def test_what_only_a_later_version_knows_is_refused_by_name_where_somebody_has_set_it():
    made = load_settings("a")
    for group, words in ((made, "'warp' of Settings"), (made.engine, "'warp' of EngineSettings")):
        with pytest.raises(ConfigurationError, match=words + r" was set .* upgrade the nodes") as caught:
            of_another_version(group, set_=("warp",), warp=9)
        assert caught.value.setting == "warp"

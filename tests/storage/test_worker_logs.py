"""Feeding the worker logs with what a process of ours logs, by its settings."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parquedb.errors import ConfigurationError
from parquedb.observability.logs import get_logger
from parquedb.observability.losses import LOG_RECORDS
from parquedb.observability.worker_logs.handler import WorkerLogsHandler
from parquedb.observability.worker_logs.upkeep import UpkeepOptions
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.worker_logs import (
    attach_worker_logs,
    check_worker_logs,
    close_worker_logs,
    open_worker_logs,
)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    yield load_settings(str(tmp_path / "db"), worker_logs=str(tmp_path / "logs"))
    close_worker_logs()


def handlers() -> list[logging.Handler]:
    return [handler for handler in get_logger().handlers if isinstance(handler, WorkerLogsHandler)]


def messages(settings: Settings) -> list[str]:
    assert settings.worker_logs is not None
    with open_worker_logs(settings.worker_logs) as view:
        return [row["message"] for row in view.tail(10)]


def test_without_the_setting_nothing_is_attached(tmp_path: Path) -> None:
    attach_worker_logs(load_settings(str(tmp_path)))()
    assert handlers() == []


def test_what_is_not_kept_is_counted_for_the_metrics(settings: Settings) -> None:
    def refuse(_record: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("a secret that cannot be hidden")

    before = LOG_RECORDS.lost()
    detach = attach_worker_logs(settings, redact=refuse)
    get_logger("storage").warning("not kept")
    detach()
    assert LOG_RECORDS.lost() - before == 1


@pytest.mark.parametrize(("interval_s", "keep_s", "expected"), [(0, 60, None), (60, 0, (60, None)), (60, 90, (60, 90))])
def test_who_feeds_looks_after_the_files_as_the_settings_say(
    settings: Settings, interval_s: float, keep_s: float, expected: tuple[float, float | None] | None
) -> None:
    told = settings.model_copy(update={"worker_logs_upkeep_s": interval_s, "worker_logs_keep_s": keep_s})
    attach_worker_logs(told)
    [handler] = handlers()
    assert isinstance(handler, WorkerLogsHandler)
    upkeep = handler._ingest.__self__._options.upkeep  # type: ignore[attr-defined] # The view's method.
    assert upkeep == (None if expected is None else UpkeepOptions(*expected))


def test_several_users_of_one_place_share_a_handler_and_the_last_one_ends_it(settings: Settings) -> None:
    first, second = attach_worker_logs(settings), attach_worker_logs(settings)
    assert len(handlers()) == 1
    first()
    get_logger("storage").warning("still heard")
    second()
    assert handlers() == []
    get_logger("storage").warning("not any more")
    second()
    assert messages(settings) == ["still heard"]
    attach_worker_logs(settings)
    get_logger("storage").warning("again")
    close_worker_logs()
    assert handlers() == []
    assert messages(settings) == ["still heard", "again"]


def test_what_is_quieter_than_the_settings_say_is_left_out_and_secrets_are_taken_out(settings: Settings) -> None:
    def redact(record: dict[str, Any]) -> dict[str, Any]:
        return record | {"message": record["message"].replace("canary", "***")}

    loud = settings.model_copy(update={"log_level": "ERROR"})
    detach = attach_worker_logs(loud, script="test", redact=redact)
    get_logger().warning("too quiet")
    get_logger().error("the canary sings")
    detach()
    assert messages(settings) == ["the *** sings"]


def test_the_setting_comes_from_the_environment_and_must_be_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUEDB_WORKER_LOGS", "s3://bucket/logs")
    assert load_settings("./data").worker_logs == "s3://bucket/logs"
    monkeypatch.setenv("PARQUEDB_WORKER_LOGS", "https://example.org/logs")
    with pytest.raises(ConfigurationError) as caught:
        load_settings("./data")
    assert caught.value.setting == "PARQUEDB_WORKER_LOGS"


@pytest.mark.parametrize(
    ("logs", "database"),
    [("s3://b/db", "s3://b/db"), ("s3://b/db/logs", "s3://b/db"), ("s3://b", "s3://b/db"), ("/x/db", "/x/db/deep")],
)
def test_logs_and_database_must_not_lie_in_each_other(logs: str, database: str) -> None:
    with pytest.raises(ConfigurationError, match="must not lie in each other"):
        check_worker_logs(logs, database)


def test_places_beside_each_other_are_fine_also_with_a_common_beginning() -> None:
    check_worker_logs("s3://b/db-logs", "s3://b/db")
    check_worker_logs("/x/logs", "s3://b/db")

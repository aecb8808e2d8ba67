"""Worker logs on a real Ray: what owners and drivers log is found in one place, by their setting alone."""

import logging
from pathlib import Path

import pytest

import parquedb
from parquedb.errors import ConfigurationError
from parquedb.storage.worker_logs import open_worker_logs


class LoggingHook:
    """Logs a line in the process that commits."""

    def on_commit(self, context: object, result: object) -> None:
        logging.getLogger("parquedb.actors.engine").warning("hook saw a commit", extra={"namespace": "posts"})


def test_what_owner_and_driver_log_is_in_the_view(ray_cluster: str, tmp_path: Path) -> None:
    logs = str(tmp_path / "logs")
    with parquedb.connect(tmp_path / "db", worker_logs=logs, hooks=[LoggingHook()]) as db:
        db["posts"].create({"title": "x"}, id="a")
        logging.getLogger("parquedb.cluster").warning("from the driver")
        with open_worker_logs(logs) as view:
            feed = view.follow({"message": "hook saw a commit"}, after="", poll_s=0.1)
            # The owner stops in order and stores what it has.
            import ray  # noqa: PLC0415 - seconds, which collecting the tests should not take

            db["posts"].actor.__ray_terminate__.remote()
            row = next(feed)
            assert (row["script"], row["namespace"], row["level"]) == ("parquedb-owner", "posts", "WARNING")
            assert ray.is_initialized()
    with open_worker_logs(logs) as view:
        [mine] = view.find({"message": "from the driver"})
        assert mine["worker"] != row["worker"]
        assert mine["logger"] == "parquedb.cluster"
    assert not any(type(handler).__name__ == "WorkerLogsHandler" for handler in logging.getLogger("parquedb").handlers)


@pytest.mark.parametrize(("logs", "data"), [("db/logs", "db"), ("db", "db"), ("all", "all/db")])
def test_logs_and_database_in_each_other_are_refused(logs: str, data: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must not lie in each other") as caught:
        parquedb.connect(tmp_path / data, worker_logs=str(tmp_path / logs))
    assert caught.value.setting == "PARQUEDB_WORKER_LOGS"

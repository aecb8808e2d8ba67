"""Owners and their clients work on, and end in time, when the collector is gone."""

import os
import select
import time
from pathlib import Path

import pytest

import parquedb
from parquedb.observability.otel.export import SHUTDOWN_S, take_process_telemetry
from tests.support.lost_collectors import silent


def test_an_owner_whose_collector_never_answers_serves_and_ends_in_time(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process makes its telemetry once, and an earlier test may have made it for another collector.
    take_process_telemetry()
    with silent() as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with parquedb.connect(str(tmp_path / "db")) as db:
            for number in range(50):
                assert db["posts"].create({"n": number})["version"] == 1
            owner = os.pidfd_open(db["posts"].stats()["pid"])
            started_s = time.monotonic()
            db["posts"].actor.__ray_terminate__.remote()
            ended, _, _ = select.select([owner], [], [], 30.0)
            took_s = time.monotonic() - started_s
            os.close(owner)
        lost = take_process_telemetry()
        assert lost is not None
        lost.shutdown(0.1)
    assert ended
    # Ray itself takes a second or so to end a worker.
    assert took_s < SHUTDOWN_S + 4.0

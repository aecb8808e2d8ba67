"""`parquedb serve`, as a process: it says where it listens, answers, and ends in order when it is told to."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import parquedb
from parquedb.cluster.cli.main import main
from tests.support.chain import read_history
from tests.support.collector import free_port

pytest.importorskip("ray.serve", reason="ray[serve] is not installed")


@pytest.mark.parametrize("mode", [["--single"], pytest.param([], marks=pytest.mark.faults)], ids=["single", "serve"])
def test_it_serves_until_sigterm_and_what_was_written_is_there(mode: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "parquedb.cluster.cli", "serve", str(tmp_path / "db"), "--json", *mode]
    port = "0" if mode else str(free_port())
    with subprocess.Popen(
        [*command, "--port", port], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            # Ray may say something first.
            told = next(json.loads(line) for line in running.stdout if line.startswith("{"))
            made = httpx.post(f"{told['url']}/v1/posts", json={"title": "Kept"}, params={"id": "a"}, timeout=60)
            assert made.status_code == 201
            page = httpx.get(told["console"], timeout=60)
            assert (page.status_code, told["console"]) == (200, f"{told['url']}/console")
            running.send_signal(signal.SIGTERM)
            _, complaints = running.communicate(timeout=60)
        finally:
            running.kill()  # Without effect on one that has ended.
    assert running.returncode == 0, complaints
    settings = parquedb.load_settings(str(tmp_path / "db"))
    history = asyncio.run(read_history(settings, "posts"))
    assert [entry.header.kind for entry in history.entries] == ["open", "write", "close"]
    assert history.documents()["posts/a"]["title"] == "Kept"


def test_a_setting_that_cannot_be_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUEDB_GATEWAY__BODY_BYTES_MAX", "many")
    assert main(["serve", "./data"]) == 2
    assert "PARQUEDB_GATEWAY__BODY_BYTES_MAX" in capsys.readouterr().err
    monkeypatch.delenv("PARQUEDB_GATEWAY__BODY_BYTES_MAX")
    assert main(["serve", "./data", "--port", "70000"]) == 2
    assert "PARQUEDB_GATEWAY__PORT" in capsys.readouterr().err


def test_production_without_a_way_to_know_callers_does_not_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ray_cluster: str
) -> None:
    monkeypatch.setenv("PARQUEDB_ENVIRONMENT", "production")
    for mode in ([], ["--single"]):
        assert main(["serve", str(tmp_path / "db"), "--port", "0", *mode]) == 2
        assert "production" in capsys.readouterr().err

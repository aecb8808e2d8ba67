"""The command over owners of a Ray that runs: a directory from an empty one to a check of all of it, and S3."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import parquedb
from tests.cluster.cli.conftest import Run
from tests.support.s3_servers import S3Server

ROWS = "no,city,total\n" + "".join(f"{number},{('Bern', 'Basel')[number % 2]},{number / 4}\n" for number in range(200))


@pytest.fixture
def rows(tmp_path: Path) -> str:
    (tmp_path / "orders.csv").write_text(ROWS)
    return str(tmp_path / "orders.csv")


@pytest.mark.usefixtures("ray_cluster")
def test_a_directory_is_filled_asked_merged_exported_and_checked(run: Run, rows: str, tmp_path: Path) -> None:
    url = str(tmp_path / "db")
    assert run("import", url, "orders", rows, "--id", "no").code == 0
    assert run("query", url, "orders", '{"city": "Bern"}', "--count").out == "100\n"
    assert run("query", url, "orders", "--limit", "0", "--json").out.count("\n") == 200
    with parquedb.connect(url) as database:
        database["orders"].flush()
    merged = run("compact", url)
    assert (merged.code, merged.err) == (0, "")
    assert merged.out.startswith("orders: ")
    assert run("export", url, "orders", str(tmp_path / "out.parquet")).code == 0
    assert run("namespaces", url).out == "orders\n"

    health = run("health", url)
    assert health.code == 0
    assert health.lines[0] == f"✔ healthy {url}: 1 owner"
    counted = run("metrics", url)
    assert counted.code == 0
    assert {tuple(line.split()[:2]) for line in counted.lines} >= {("orders", "find"), ("orders", "count")}
    assert 'operation="find"' in run("metrics", url, "--prometheus").out

    seen = run("status", url)
    assert (seen.code, seen.err) == (0, "")
    assert seen.lines[3] == "circuits    all closed"
    checked = json.loads(run("status", url, "--verify", "--json").out)
    assert checked["go"] is True
    assert [step["name"] for step in checked["check"] if step["good"]][-1] == "verify --quick"
    assert checked["namespaces"] == ["canary", "orders"]


@pytest.mark.usefixtures("ray_cluster")
def test_s3_is_a_place_like_any_other(
    run: Run, rows: str, moto: S3Server, unique_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{moto.bucket}/{unique_prefix}"
    monkeypatch.setenv("PARQUEDB_ENDPOINT_URL", moto.endpoint_url)
    monkeypatch.setenv("PARQUEDB_KEY", moto.key)
    monkeypatch.setenv("PARQUEDB_SECRET", moto.secret)
    monkeypatch.setenv("PARQUEDB_URL", url)
    assert run("import", "-", "orders", rows).code == 0
    assert run("query", "-", "orders", '{"total": {"$lt": 1}}', "--count").out == "4\n"
    assert run("namespaces").out == "orders\n"
    assert run("verify").code == 0


@pytest.mark.faults
def test_where_no_ray_runs_one_is_started_for_so_long_and_says_nothing(rows: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PARQUEDB_URL": str(tmp_path / "db")}
    environment.pop("RAY_ADDRESS", None)

    def ran(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "parquedb.cluster.cli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    stored = ran("import", "-", "orders", rows)
    assert (stored.returncode, stored.stderr) == (0, "")
    assert stored.stdout.count("\n") == 1
    found = ran("query", "-", "orders", "--count")
    assert (found.returncode, found.stdout, found.stderr) == (0, "200\n", "")
    environment["PARQUEDB_RAY_ADDRESS"] = "127.0.0.1:9"
    asked = ran("health")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr.startswith("parquedb: RPC_UNAVAILABLE: no Ray cluster could be reached at ray_address")

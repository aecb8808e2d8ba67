"""Owners write their logs where Ray keeps a worker's, in the asked form; a driver sees them where it asked Ray to."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

import parquedb
from parquedb.cluster.runtime.placement import find
from parquedb.errors import BackpressureError
from parquedb.observability.logs import get_logger
from parquedb.observability.logs.fields import facts_of
from tests.observability.logs.kept import Kept

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def callers_side() -> Iterator[Kept]:
    logger, kept = get_logger("cluster"), Kept()
    logger.addHandler(kept)
    yield kept
    logger.removeHandler(kept)


def worker_log(pid: int) -> str:
    """Return what a worker of this Ray has written on stderr."""
    folder = Path(ray._private.worker.global_worker.node.get_session_dir_path()) / "logs"
    [file] = folder.glob(f"worker-*-{pid}.err")
    return file.read_text()


def records(pid: int) -> list[dict[str, Any]]:
    """Return the lines of JSON among them; Ray and others write on stderr as well."""
    return [json.loads(line) for line in worker_log(pid).splitlines() if line.startswith('{"timestamp"')]


def test_an_owner_logs_json_with_its_namespace_and_its_process(
    ray_cluster: str, tmp_path: Path, callers_side: Kept
) -> None:
    asked = {"log_format": "json", "log_levels": {"actors.checkpoint": "ERROR"}, "log_slow_s": 0.001}
    with parquedb.connect(tmp_path / "db", **asked) as db:
        db.create_many("posts", [{"n": number} for number in range(500)])  # More than a millisecond's work.
        db.flush("posts")
        pid = db.stats("posts")["pid"]
        owner = find(db.settings, "posts")
        ray.get(owner.close.remote())
        found = records(pid)
        ray.kill(owner)
    events = {record["event"]: record for record in found}
    assert {"owner.opened", "operation.slow", "owner.closed"} <= events.keys()
    assert "flush.done" not in events  # Its part of the tree logs errors only.
    assert {(record["namespace"], record["pid"]) for record in found} == {("posts", pid)}
    assert events["operation.slow"]["kinds"] == ["create_many"]
    [slow] = [facts for facts in map(facts_of, callers_side.records) if facts["event"] == "operation.slow"]
    assert (slow["namespace"], slow["operation"]) == ("posts", "create_many")
    assert slow["request_id"] == events["operation.slow"]["request_id"]


def test_an_owner_writes_nothing_below_the_asked_level(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db", log_level="WARNING") as db:
        db.create("posts", {"n": 1})
        pid = db.stats("posts")["pid"]
        ray.kill(find(db.settings, "posts"))
    assert "parquedb." not in worker_log(pid)


DRIVER = """
    import ray, sys, parquedb
    ray.init(address=sys.argv[1])
    parquedb.configure_logging()
    with parquedb.connect("./data") as db:
        db.create("posts", {"n": 1})
        ray.get(db["posts"].actor.close.remote())
        import time
        time.sleep(2)  # Ray forwards what it finds in files now and then, and has no way to wait for it.
    ray.shutdown()
"""


def test_a_driver_sees_its_own_records_and_those_that_it_asked_ray_for(ray_cluster: str, tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PARQUEDB_LOG_LEVELS": "actors.checkpoint=ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRIVER), ray_cluster],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    shown = done.stdout + done.stderr
    own = [line for line in done.stderr.splitlines() if "namespace posts: its owner is process" in line]
    assert len(own) == 1
    assert "INFO parquedb.cluster.calls" in own[0]
    forwarded = [line for line in shown.splitlines() if "namespace posts: opened in epoch" in line]
    assert len(forwarded) == 1
    assert "NamespaceActor" in forwarded[0]


OUTPUT_OF_ITS_OWN = """
    import ray, parquedb
    from ray._private.utils import publish_error_to_driver
    from ray._private.worker import global_worker, listen_error_messages
    with parquedb.connect("./data") as db:
        gcs = global_worker.gcs_client
        witness = ray._raylet.GcsErrorSubscriber(address=gcs.address)
        witness.subscribe()
        # When the second has arrived, whoever listens has done with the first.
        for word in ("first", "second"):
            publish_error_to_driver("test", f"{word} warning of a raylet", gcs_client=gcs)
            while word not in witness.poll()[1]["error_message"]:
                pass
        print("the answer")
    # A program that joins a Ray by itself gets what Ray has for it.
    assert listen_error_messages is ray._private.worker.listen_error_messages
"""


def test_what_raylets_say_of_their_nodes_stays_off_the_output_of_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OUTPUT_OF_ITS_OWN)],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    assert done.stdout == "the answer\n"


async def test_what_finds_no_room_in_the_callers_process_is_told_once_and_how_much_it_was(
    ray_cluster: str, tmp_path: Path, callers_side: Kept
) -> None:
    client = {"queue_ops_max": 5, "calls_in_flight_max": 1, "batch_ops_max": 1}
    get_logger("cluster").setLevel("INFO")
    async with await parquedb.connect_async(tmp_path / "db", client=client) as db:
        await db.create("posts", {"n": 0})
        done = await asyncio.gather(*(db.create("posts", {"n": n}) for n in range(40)), return_exceptions=True)
        await db.get("posts", "none")
    get_logger("cluster").setLevel("NOTSET")
    refused = sum(isinstance(each, BackpressureError) for each in done)
    assert refused > 0
    told = [facts_of(record) for record in callers_side.records]
    [began] = [facts for facts in told if facts.get("event") == "backpressure.began"]
    [ended] = [facts for facts in told if facts.get("event") == "backpressure.ended"]
    assert (began["namespace"], began["queue"], began["error"]["code"]) == ("posts", "client", "BACKPRESSURE")
    assert ended["refused"] == refused


def test_threads_that_find_no_room_are_told_of_too(ray_cluster: str, tmp_path: Path, callers_side: Kept) -> None:
    client = {"queue_ops_max": 2, "calls_in_flight_max": 1, "batch_ops_max": 1}
    get_logger("cluster").setLevel("INFO")
    with parquedb.connect(tmp_path / "db", client=client) as db, ThreadPoolExecutor(16) as threads:
        db.create("posts", {"n": 0})
        done = [threads.submit(db.create, "posts", {"n": n}) for n in range(200)]
        refused = sum(isinstance(each.exception(), BackpressureError) for each in done)
    get_logger("cluster").setLevel("NOTSET")
    assert refused > 0
    told = [facts_of(record) for record in callers_side.records]
    assert [facts["queue"] for facts in told if facts.get("event") == "backpressure.began"] == ["client"]
    assert [facts["queue"] for facts in told if facts.get("event") == "backpressure.ended"] == ["client"]

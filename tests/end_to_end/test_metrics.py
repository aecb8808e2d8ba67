"""`db.metrics()` on a real Ray: counts of every owner and of this process, merged; nobody is waited for."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

import parquedb
from parquedb.cluster.runtime.placement import find
from parquedb.errors import InvalidInputError, VersionConflictError
from parquedb.observability.metrics.snapshot import CircuitKey, MetricsSnapshot, OperationKey
from tests.end_to_end.test_health import end_actors
from tests.support.collector import rotel_binary, running_collector
from tests.support.metric_conventions import metric_violations


def of(metrics: MetricsSnapshot, namespace: str, side: str) -> dict[str, int]:
    """Count queries and mutations by operation."""
    return {
        key.operation: one.count
        for key, one in metrics.operations.items()
        if (key.namespace, key.side) == (namespace, side) and key.category in {"query", "mutation"}
    }


async def test_client_and_owners_count_the_same_operations_with_rows_errors_and_times(
    ray_cluster: str, tmp_path: Path
) -> None:
    async with await parquedb.connect_async(tmp_path / "db") as db:
        posts, users = db["posts"], db["users"]
        await asyncio.gather(*[posts.create({"n": n}, id=f"p{n}") for n in range(200)])
        await users.create_many([{"n": n} for n in range(50)])
        found = await asyncio.gather(*[posts.get(f"p{n}") for n in range(250)])
        assert sum(each is not None for each in found) == 200
        assert len((await posts.find({"n": {"$lt": 20}})).items) == 20
        updates = [posts.update(f"p{n}", {"$inc": {"n": 1}}, expected_version=1 + n % 2) for n in range(100)]
        answers = await asyncio.gather(*updates, return_exceptions=True)
        refused = [each for each in answers if isinstance(each, Exception)]
        assert {type(each) for each in refused} == {VersionConflictError}
        await posts.update_many({"n": {"$lt": 5}}, {"$set": {"small": True}})
        metrics = await db.metrics()
        expected = {"create": 200, "get": 250, "find": 1, "update": 100, "update_many": 1}
        for side in ("client", "actor"):
            assert of(metrics, "posts", side) == expected
            assert of(metrics, "users", side) == {"create_many": 1}
            update = metrics.operations[OperationKey("mutation", "update", "posts", side)]
            assert update.errors == {"VersionConflictError": 50}
            assert update.rows == 50
            assert metrics.operations[OperationKey("query", "get", "posts", side)].rows == 200
            assert metrics.operations[OperationKey("query", "find", "posts", side)].rows == 20
            assert metrics.operations[OperationKey("mutation", "create_many", "users", side)].rows == 50
        whole, part = (
            metrics.operations[OperationKey("mutation", "create", "posts", side)] for side in ("client", "actor")
        )
        assert part.max_s <= whole.max_s
        assert whole.recent[0].requests == 200
        commits = metrics.operations[OperationKey("commit", "write", "posts", "actor")]
        puts = metrics.operations[OperationKey("storage", "create", "posts", "actor")]
        assert commits.bytes > 0
        assert puts.count >= commits.count >= 1
        assert (metrics.cold_starts["posts"].count, metrics.unreachable, metrics.nodes) == (1, {}, 1)
        assert metrics.circuits[CircuitKey("posts", "local.write")].state == "closed"
        end_actors(db.settings)


async def test_reads_from_memory_are_hits_and_reads_from_files_are_misses(ray_cluster: str, tmp_path: Path) -> None:
    settings = {"engine": {"cache_bytes_max": 0, "document_cache_bytes_max": 0}}
    async with await parquedb.connect_async(tmp_path / "db", **settings) as db:
        posts = db["posts"]
        await posts.create_many([{"$id": f"p{n}", "n": n} for n in range(10)])
        await asyncio.gather(*[posts.get(f"p{n}") for n in range(10)])
        cache = (await db.metrics()).cache["posts"]
        assert (cache.hits, cache.misses) == (10, 0)
        await posts.flush()
        await posts.get("p1")
        cache = (await db.metrics()).cache["posts"]
        assert (cache.hits, cache.misses) == (10, 1)
        await posts.find({"n": {"$gt": 3}})
        metrics = await db.metrics()
        assert (metrics.cache["posts"].hits, metrics.cache["posts"].misses) == (10, 2)
        assert metrics.owners["posts"].flushes == {"request": 1}
        end_actors(db.settings)


async def test_an_owner_that_does_not_answer_is_named_and_not_waited_for(ray_cluster: str, tmp_path: Path) -> None:
    async with await parquedb.connect_async(tmp_path / "db") as db:
        for namespace in ("posts", "users"):
            await db.create(namespace, {"n": 1})
        pid = (await db["posts"].stats())["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            started_s = time.monotonic()
            metrics = await db.metrics(timeout_s=1.0)
            took_s = time.monotonic() - started_s
        finally:
            os.kill(pid, signal.SIGCONT)
        assert took_s < 4
        assert metrics.unreachable == {"posts": "no answer within 1 s"}
        assert of(metrics, "posts", "client") == {"create": 1}
        assert of(metrics, "posts", "actor") == {}
        assert of(metrics, "users", "actor") == {"create": 1}
        end_actors(db.settings)


def test_an_owner_that_was_killed_begins_anew_and_its_clients_count_on(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db") as db:
        for namespace in ("posts", "users"):
            for _ in range(3):
                db.create(namespace, {"n": 1})
        # Ray kills when it gets to it: until then the first owner goes on answering.
        owner = os.pidfd_open(db["posts"].stats()["pid"])
        ray.kill(find(db.settings, "posts"), no_restart=False)
        ended, _, _ = select.select([owner], [], [], 30.0)
        os.close(owner)
        assert ended
        for _ in range(2):
            db.create("posts", {"n": 1})
        metrics = db.metrics(timeout_s=20)
        assert metrics.unreachable == {}
        assert of(metrics, "posts", "client") == {"create": 5}
        assert of(metrics, "posts", "actor") == {"create": 2}
        assert of(metrics, "users", "actor") == {"create": 3}
        assert metrics.cold_starts["posts"].count == 1
        end_actors(db.settings)


def test_beyond_a_bound_the_less_busy_namespaces_are_summed(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db") as db:
        for number, namespace in enumerate(("a", "b", "c")):
            for _ in range(number + 1):
                db.create(namespace, {"n": 1})
        metrics = db.metrics(namespaces_max=1)
        assert metrics.namespaces == ["c"]
        assert metrics.merged_namespaces == 2
        assert of(metrics, "_other", "client") == of(metrics, "_other", "actor") == {"create": 3}
        with pytest.raises(InvalidInputError, match="at least 1"):
            db.metrics(namespaces_max=0)
        end_actors(db.settings)


def test_nothing_is_counted_where_the_settings_want_no_metrics(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db", metrics=False) as db:
        db.create("posts", {"n": 1})
        metrics = db.metrics()
        assert (metrics.operations, metrics.cold_starts, metrics.unreachable) == ({}, {}, {})
        end_actors(db.settings)


PROGRAM = """
import sys
import parquedb
with parquedb.connect(sys.argv[1]) as db:
    for n in range(5):
        db.create("posts", {"n": n})
    sys.stdin.readline()
"""


def test_a_collector_hears_of_clients_and_owners_where_the_environment_says_so(
    ray_cluster: str, tmp_path: Path
) -> None:
    if rotel_binary() is None:
        pytest.skip("the `rotel` wheel (a real OpenTelemetry collector) is not installed")
    with running_collector(tmp_path) as collector:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | {
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "PARQUEDB_RAY_ADDRESS": ray_cluster,
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()])),
        }
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "db")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environ) as program:
            wanted = {"db.client.operation.duration", "parquedb.cold_start.duration", "parquedb.queue.depth"}
            got = collector.metrics("shop", lambda got: {one.name for one in got} >= wanted, 60)
            program.communicate(b"\n", timeout=60)
        assert program.returncode == 0
    [*_, calls] = [one for one in got if one.name == "db.client.operation.duration"]
    [point] = calls.histogram.data_points
    assert 1 <= point.count <= 5
    assert [each for one in got for each in metric_violations(one)] == []

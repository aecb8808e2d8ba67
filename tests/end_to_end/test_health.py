"""`db.health()` on a real Ray: every owner that runs is asked, none is started, none is waited for."""

import os
import signal
import time
from pathlib import Path

import ray

import parquedb
from parquedb.cluster.runtime.placement import find, served_namespaces
from parquedb.storage.breaker.monitor import global_circuit_breaker_monitor


def end_actors(settings: parquedb.Settings) -> None:
    for namespace in served_namespaces(settings):
        ray.kill(find(settings, namespace))


def test_every_running_owner_tells_of_itself_and_its_circuits_and_none_is_started(
    ray_cluster: str, tmp_path: Path
) -> None:
    with parquedb.connect(tmp_path / "db") as db:
        assert db.health() == parquedb.DatabaseHealth("healthy", {}, {})
        for namespace in ("posts", "users"):
            db.create(namespace, {"n": 1})
        health = db.health()
        assert (health.status, list(health.owners), health.error) == ("healthy", ["posts", "users"], None)
        posts = health.owners["posts"]
        assert (posts.status, posts.state, posts.error) == ("healthy", "open", None)
        assert posts.report["pid"] == db["posts"].stats()["pid"]
        assert list(posts.circuits) == ["posts.read", "posts.write"]
        write = posts.circuits["posts.write"]
        assert (write.state, write.failure_count, write.success_rate) == ("closed", 0, 1.0)
        end_actors(db.settings)
        assert db.namespaces() == ["posts", "users"]
        assert db.health().owners == {}
        assert served_namespaces(db.settings) == []


async def test_an_owner_that_does_not_answer_is_told_of_and_not_waited_for(ray_cluster: str, tmp_path: Path) -> None:
    async with await parquedb.connect_async(tmp_path / "db") as db:
        for namespace in ("posts", "users"):
            await db.create(namespace, {"n": 1})
        pid = (await db["posts"].stats())["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            started_s = time.monotonic()
            health = await db.health(timeout_s=1.0)
            took_s = time.monotonic() - started_s
        finally:
            os.kill(pid, signal.SIGCONT)
        assert took_s < 4
        assert health.status == "unhealthy"
        posts, users = health.owners["posts"], health.owners["users"]
        assert (posts.status, posts.state, posts.circuits) == ("unhealthy", "unreachable", {})
        assert posts.error == "no answer within 1 s"
        assert (users.status, users.state) == ("healthy", "open")
        assert (await db.health(timeout_s=20)).status == "healthy"
        end_actors(db.settings)


def test_the_circuits_of_this_process_count_as_well_and_leave_with_their_storage(
    ray_cluster: str, tmp_path: Path
) -> None:
    with parquedb.connect(tmp_path / "db") as db:
        storage = db._connection.open_storage("loads")
        storage.write_circuit.trip("drill")
        health = db.health()
        assert (health.status, list(health.circuits)) == ("degraded", ["loads.read", "loads.write"])
        assert [event.reason for event in health.circuits["loads.write"].recent_events] == ["drill"]
        assert f"{db.url} loads.write" in global_circuit_breaker_monitor.get_health_status().circuits
        del storage
        assert db.health() == parquedb.DatabaseHealth("healthy", {}, {})

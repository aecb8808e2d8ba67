"""A survey on a real Ray: every owner that runs answers in one call, none is started, none is waited for."""

import os
import signal
from pathlib import Path

import ray

import parquedb
from parquedb.cluster.runtime.naming import actor_name
from parquedb.cluster.runtime.placement import find, served_namespaces


def test_every_running_owner_tells_of_itself_and_none_is_started(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db") as db:
        assert db._connection.survey(5.0).owners == {}
        for number in range(3):
            db.create("posts", {"n": number}, id=f"p{number}")
        db.create("users", {"n": 1})
        db["posts"].find()
        survey = db._connection.survey(5.0)
        assert (list(survey.owners), survey.silent, survey.error) == (["posts", "users"], {}, None)
        posts = survey.owners["posts"]
        assert posts.pid == db["posts"].stats()["pid"]
        assert posts.node == ray.get_runtime_context().get_node_id()
        assert (posts.reads.count, posts.writes.count) == (1, 3)
        assert posts.sizes is not None
        assert posts.sizes.documents == 3
        assert {one.operation for one in posts.slowest} == {"create", "find"}
        assert list(posts.circuits.circuits) == ["posts.read", "posts.write"]
        ray.kill(find(db.settings, "users"))
        assert list(db._connection.survey(5.0).owners) == ["posts"]
        assert served_namespaces(db.settings) == ["posts"]


def test_an_owner_that_stands_still_is_named_and_does_not_hold_up_the_others(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db") as db:
        db.create("posts", {})
        db.create("users", {})
        pid = db["users"].stats()["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            survey = db._connection.survey(1.0)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert list(survey.owners) == ["posts"]
        assert survey.silent == {"users": "no answer within 1 s"}


@ray.remote
class OlderOwner:
    """One that was started by a version without surveys."""

    def ping(self) -> str:
        return "posts"


def test_an_owner_of_an_older_version_is_named_and_the_others_answer(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db") as db:
        db.create("users", {})
        older = OlderOwner.options(name=actor_name(db.settings, "posts"), namespace=db.settings.ray_namespace).remote()
        ray.get(older.ping.remote())
        survey = db._connection.survey(5.0)
        assert list(survey.owners) == ["users"]
        assert "cannot be asked that" in survey.silent["posts"]
        ray.kill(older)

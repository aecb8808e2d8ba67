"""`verify` on a real Ray: beside the owner, after it, from tasks, sync and async."""

from pathlib import Path
from typing import Any

import pytest
import ray

import parquedb
from parquedb.errors import CollectionNotFoundError, ConfigurationError, InvalidInputError, TimeoutError  # noqa: A004 - ours


def test_a_collection_and_a_database_are_verified_beside_their_owners(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(str(tmp_path), ray_address=ray_cluster) as db:
        posts = db["posts"]
        posts.create_many([{"n": n} for n in range(10)])
        posts.flush()
        posts.create({"n": 10}, id="last")
        report = posts.verify()
        assert isinstance(report, parquedb.VerificationReport)
        assert (report.ok, report.counts.documents, report.seq, report.history_from) == (True, 11, 11, 1)
        db["users"].create({"name": "Ada"})
        whole = db.verify(full=False)
        assert isinstance(whole, parquedb.DatabaseReport)
        assert [one.namespace for one in whole.namespaces] == ["posts", "users"]
        assert whole.ok
        assert [one.counts.documents for one in db.verify("users").namespaces] == [1]
        # The owner has noticed nothing.
        assert posts.update("last", {"$inc": {"n": 1}})["version"] == 2


def test_damage_is_reported_not_raised(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(str(tmp_path), ray_address=ray_cluster) as db:
        db["posts"].create({"n": 1})
        db["posts"].flush()
        [file] = (tmp_path / "posts" / "data").iterdir()
        file.write_bytes(file.read_bytes()[:-1])
        report = db["posts"].verify()
        assert not report.ok
        assert [(one.code, one.key) for one in report.findings if one.severity == "error"] == [
            ("DATA_FILE_SIZE", f"posts/data/{file.name}")
        ]


async def test_the_same_in_coroutines(ray_cluster: str, tmp_path: Path) -> None:
    async with await parquedb.connect_async(str(tmp_path), ray_address=ray_cluster) as db:
        await db["posts"].create({"n": 1})
        told: list[Any] = []
        report = await db["posts"].verify(progress=told.append)
        assert (report.ok, report.counts.documents) == (True, 1)
        assert (await db.verify("posts")).ok


def test_a_task_verifies_a_collection_that_it_was_given(ray_cluster: str, tmp_path: Path) -> None:
    @ray.remote
    def verified(collection: parquedb.Collection) -> parquedb.VerificationReport:
        return collection.verify()

    with parquedb.connect(str(tmp_path), ray_address=ray_cluster) as db:
        db["posts"].create({"n": 1})
        report = ray.get(verified.remote(db["posts"]))
        assert (report.ok, report.counts.documents) == (True, 1)


def test_what_cannot_be_looked_at_is_a_typed_error(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(str(tmp_path), ray_address=ray_cluster) as db:
        with pytest.raises(CollectionNotFoundError, match="nothing"):
            db["nothing"].verify()
        db["posts"].create({"n": 1})
        with pytest.raises(TimeoutError):
            db["posts"].verify(timeout_s=1e-6)
    with pytest.raises(InvalidInputError, match="closed"):
        db["posts"].verify()
    with (
        parquedb.connect("memory://verify", ray_address=ray_cluster) as db,
        pytest.raises(ConfigurationError, match="memory"),
    ):
        db["posts"].verify()

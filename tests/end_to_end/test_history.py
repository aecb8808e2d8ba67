"""The past through Ray: feeds that outlive their owner, as_of, and snapshots in every form."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

import parquedb
from parquedb.errors import ValidationError
from tests.end_to_end.test_on_ray import QUICK, end_actors

ROWS = 60


@pytest.fixture
def db(ray_cluster: str, tmp_path: Path) -> Iterator[parquedb.Database]:
    database = parquedb.connect(url=str(tmp_path / "db"), engine=QUICK)
    yield database
    end_actors(database.settings)
    database.close()


def test_a_feed_goes_on_when_its_owner_is_killed(db: parquedb.Database) -> None:
    posts = db["posts"]
    got: list[parquedb.Change] = []
    done = threading.Event()

    def follow() -> None:
        for change in posts.changes():
            got.append(change)
            if len(got) == ROWS:
                done.set()
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    for number in range(ROWS):
        if number % 25 == 20:
            os.kill(ray.get(posts.actor.activate.remote())["pid"], signal.SIGKILL)
        posts.create({"n": number}, id=f"{number:03d}")
        if number % 10 == 0:
            posts.flush()
    assert done.wait(60)
    assert [change.seq for change in got] == list(range(1, ROWS + 1))
    assert [change.id for change in got] == [f"{number:03d}" for number in range(ROWS)]
    assert [change.document for change in got] == posts.find(limit=ROWS).items


def test_the_past_by_seq_and_by_time_in_all_forms(db: parquedb.Database) -> None:
    posts = db["posts"]
    first = posts.create({"n": 1}, id="a")
    posts.update("a", {"$set": {"n": 2}})
    posts.delete("a")
    posts.create({"n": 3}, id="b")

    assert [(change.seq, change.action, change.version) for change in posts.history("a", limit=2)] == [
        (1, "create", 1),
        (2, "update", 2),
        (3, "delete", 3),
    ]
    changes = list(db.changes("posts", after=1, follow=False))
    assert [change.seq for change in changes] == [2, 3, 4]
    assert posts.get("a", as_of=1) == first == posts.find_one({"n": 1}, as_of=1)
    assert posts.get("a", as_of=changes[0].time)["n"] == 2
    assert posts.get("a", as_of=3) is None
    assert posts.exists("b", as_of=3) is False
    assert (posts.count(as_of=2), posts.count(as_of=0), posts.count()) == (1, 0, 1)
    assert posts.distinct("n", as_of=2) == [2]
    assert posts.aggregate([{"$count": "all"}], as_of=1) == [{"all": 1}]
    page = posts.find(limit=1, as_of=4, include_deleted=True)
    assert [one["$id"] for one in page] == ["posts/a", "posts/b"]
    with pytest.raises(ValidationError, match="as_of: expected at most 4"):
        posts.count(as_of=5)
    with pytest.raises(ValidationError, match="as_of: expected a seq of at least 0 or a datetime, got str"):
        posts.count(as_of="now")

    raw = ray.get(posts.actor.changes.remote(after=3))
    assert [change[3] for change in raw["changes"]] == ["b"]
    assert ray.get(posts.actor.history.remote("a", limit=1))["more"] is True
    [told] = ray.get(posts.actor.execute.remote([{"op": "get", "id": "a", "as_of": 2}]))
    assert told["value"]["n"] == 2


async def test_the_asynchronous_forms(ray_cluster: str, tmp_path: Path) -> None:
    database = await parquedb.connect_async(str(tmp_path / "db"), engine=QUICK)
    try:
        posts = database["posts"]
        await posts.create({"n": 1}, id="a")
        await posts.update("a", {"$set": {"n": 2}})
        assert [change.seq async for change in posts.changes(follow=False)] == [1, 2]
        assert [change.version async for change in await posts.history("a", limit=1)] == [1, 2]
        assert (await posts.get("a", as_of=1))["n"] == 1
        feed = posts.changes(2)
        waiting = asyncio.ensure_future(anext(feed))
        await posts.delete("a")
        assert (await waiting).action == "delete"
        async with await posts.snapshot() as held:
            assert await asyncio.to_thread(held.count) == 0
    finally:
        end_actors(database.settings)
        await database.close()


def test_a_snapshot_is_read_from_storage_by_arrow_and_ray(db: parquedb.Database) -> None:
    posts = db["posts"]
    posts.create_many([{"$id": f"{number:03d}", "n": number, "u": str(number)} for number in range(100)])
    posts.flush()
    posts.update("007", {"$set": {"n": -7}})
    posts.delete("008")
    posts.flush()
    posts.create({"n": 1000}, id="new")
    expected = {one["$id"]: one["n"] for one in posts.find(limit=1000)}
    with posts.snapshot() as held:
        os.kill(ray.get(posts.actor.activate.remote())["pid"], signal.SIGKILL)
        for number in range(50, 100):
            posts.update(f"{number:03d}", {"$set": {"n": 0}})
        posts.compact()
        rows = {row["$id"]: row["n"] for row in held.to_ray().select_columns(["$id", "n"]).take_all()}
        assert rows == expected
        table = held.to_arrow(["$id", "n"])
        assert dict(zip(*(table.column(name).to_pylist() for name in ("$id", "n")), strict=True)) == expected
        assert held.seq == posts.stats()["seq"] - 50
    with pytest.raises(ValidationError, match="this snapshot has been closed"):
        held.to_ray()

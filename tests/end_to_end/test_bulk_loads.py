"""Bulk loads through Ray: from the caller's own hands into the store."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

import parquedb
from parquedb.errors import AlreadyExistsError
from parquedb.observability.contexts import StorageContext
from parquedb.observability.hooks import global_hook_registry
from tests.support.places import on_disk, on_s3
from tests.support.s3_servers import S3Server

ROWS = 60_000
QUICK = {"read_lease_s": 0.05}


class Listener:
    """What this process itself does to storage; `then` is called when it has stored a data file."""

    inline = True

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.stored: list[str] = []
        self.then = then

    def on_storage_end(self, context: StorageContext, result: Any) -> None:
        if context.operation == "create" and "/data/" in context.key:
            self.stored.append(context.key)
            self.then()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    leave = global_hook_registry.register_hook(made)
    yield made
    leave()


@pytest.fixture(params=["local", "s3"])
def db(request: pytest.FixtureRequest, ray_cluster: str, tmp_path: Path) -> Iterator[parquedb.Database]:
    if request.param == "local":
        place = on_disk(tmp_path, engine=QUICK)
    else:
        weed: S3Server = request.getfixturevalue("weed")
        place = on_s3(weed, request.getfixturevalue("unique_prefix"), engine=QUICK)
    with parquedb.connect(**place) as database:
        yield database
        for namespace in database.namespaces():
            ray.kill(database[namespace].actor)


def table(start: int, stop: int) -> pa.Table:
    numbers = list(range(start, stop))
    return pa.table(
        {"$id": [f"r{number:08}" for number in numbers], "n": numbers, "text": [f"t{at}" for at in numbers]}
    )


def documents(count: int) -> list[dict[str, Any]]:
    return [{"$id": f"d{at:06}", "n": at, "deep": {"at": [at]}} for at in range(count)]


def test_loads_of_every_kind_on_every_store(db: parquedb.Database, listener: Listener) -> None:
    posts = db["posts"]
    assert posts.insert_arrow(table(0, ROWS)) == ROWS
    assert len(listener.stored) == 1, "stored by this process"
    assert posts.create_many(documents(5_000)) == [f"posts/d{at:06}" for at in range(5_000)]
    assert len(listener.stored) == 2
    assert posts.insert_arrow(table(ROWS, ROWS + 10)) == 10
    assert len(listener.stored) == 2, "little data goes through the owner"
    assert posts.count() == ROWS + 5_010
    assert posts.get_or_raise("d000007")["deep"] == {"at": [7]}
    assert posts.update("r00000007", {"$inc": {"n": 1}}, expected_version=1)["n"] == 8
    with pytest.raises(AlreadyExistsError):
        posts.insert_arrow(table(5, ROWS))
    assert posts.count({"n": {"$gte": ROWS - 100}}) == 110


def test_the_owner_dies_between_file_and_commit(db: parquedb.Database, listener: Listener) -> None:
    posts = db["posts"]
    posts.create({}, id="first")

    def kill_once() -> None:
        if len(listener.stored) == 1:
            os.kill(posts.stats()["pid"], signal.SIGKILL)

    listener.then = kill_once
    assert posts.insert_arrow(table(0, ROWS), timeout_s=60) == ROWS
    assert posts.create_many(documents(5_000), timeout_s=60)[-1] == "posts/d004999"
    assert posts.count() == ROWS + 5_001
    assert len(listener.stored) == 3, "the file of the dead owner's epoch had to be made again"


async def test_coroutines_load_as_well(ray_cluster: str, tmp_path: Path, listener: Listener) -> None:
    async with await parquedb.connect_async(str(tmp_path / "db"), engine=QUICK) as db:
        posts = db["posts"]
        seen: list[int] = []
        assert await posts.insert_arrow(table(0, ROWS), on_progress=seen.append, request_id="mine") == ROWS
        assert await posts.insert_arrow(table(0, ROWS), request_id="mine") == ROWS
        assert seen == [ROWS]
        assert len(await posts.create_many(documents(5_000), ordered=False)) == 5_000
        assert len(listener.stored) == 2
        assert await posts.count() == ROWS + 5_000
        ray.kill(posts.actor)

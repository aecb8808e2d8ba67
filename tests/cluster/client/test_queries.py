"""The query methods of a collection, over an engine in this process: what they send, and what they make of answers."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.actors.requests.packing import decode_operations, decode_outcomes, encode_operations, encode_outcomes
from parquedb.cluster.client.async_collection import AsyncCollection
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.client.collection import Collection
from parquedb.cluster.client.database import Database
from parquedb.errors import EntityNotFoundError, InvalidInputError, InvalidPipelineError
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, run


async def through_the_wire(owner: NamespaceEngine, operation: Operation) -> Outcome:
    """Execute an operation as if it came from another process."""
    operations = decode_operations(encode_operations([operation]))
    outcomes = await owner.execute(operations)
    [outcome], _ = decode_outcomes(encode_outcomes(operations, outcomes, 0.0))
    outcome.result()
    return outcome


async def fill(owner: NamespaceEngine) -> None:
    for number in range(7):
        await run(owner, "create", f"d{number}", {"n": number, "odd": number % 2, "tags": ["t", number % 3]})
        if number == 3:
            await owner.flush()
    await run(owner, "delete", "d6")


class NearDatabase(Database):
    """A database whose owner lives on a loop of its own in this process."""

    def __init__(self, owner: NamespaceEngine, loop: asyncio.AbstractEventLoop) -> None:
        self.owner, self.loop = owner, loop

    def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:
        return asyncio.run_coroutine_threadsafe(through_the_wire(self.owner, operation), self.loop).result(10)


class NearAsyncDatabase(AsyncDatabase):
    """The same for coroutines, on their own loop."""

    def __init__(self, owner: NamespaceEngine) -> None:
        self.owner = owner

    async def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:
        return await through_the_wire(self.owner, operation)


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def posts() -> Iterator[Collection]:
    with running_loop() as loop:

        def on_loop(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(10)

        manager = opened(MemoryBackend())
        owner = on_loop(manager.__aenter__())
        on_loop(fill(owner))
        yield Collection(NearDatabase(owner, loop), "posts")
        on_loop(manager.__aexit__(None, None, None))


@pytest.fixture
async def aposts() -> AsyncIterator[AsyncCollection]:
    async with opened(MemoryBackend()) as owner:
        await fill(owner)
        yield AsyncCollection(NearAsyncDatabase(owner), "posts")


def test_iterating_a_sorted_page_gives_all_that_follow(posts: Collection) -> None:
    page = posts.find({"n": {"$gte": 1}}, sort=["-odd", "-n"], limit=2, skip=1, total=True, fields={"n": 1, "$id": 0})
    assert (page.items, page.total, page.has_more) == ([{"n": 3}, {"n": 1}], 5, True)
    assert [one["n"] for one in page] == [3, 1, 4, 2]
    following = posts.find({"n": {"$gte": 1}}, sort=["-odd", "-n"], cursor=page.next_cursor, fields={"n": 1, "$id": 0})
    assert (following.items, following.total, following.next_cursor) == ([{"n": 4}, {"n": 2}], None, None)
    with pytest.raises(InvalidInputError, match="one of another filter or sort"):
        posts.find(sort="n", cursor=page.next_cursor)


def test_the_other_queries(posts: Collection) -> None:
    assert posts.find_one({"odd": 1}, sort="-n", fields={"n": 1}) == {"$id": "posts/d5", "n": 5}
    assert posts.find_one({"n": 99}) is None
    assert posts.count({"odd": 0}) == 3
    assert posts.distinct("tags", {"n": {"$lte": 1}}) == [0, 1, "t"]
    stages = [{"$match": {"odd": 1}}, {"$group": {"_id": None, "sum": {"$sum": "$n"}}}]
    assert posts.aggregate(stages) == [{"_id": None, "sum": 9}]
    assert (posts.exists("d5"), posts.exists("d6"), posts.exists("nope")) == (True, False, False)
    assert posts.exists("d6", include_deleted=True)
    assert posts.get("d1", fields={"tags": 0, "createdAt": 0, "updatedAt": 0}) == {
        "$id": "posts/d1",
        "version": 1,
        "n": 1,
        "odd": 1,
    }
    with pytest.raises(EntityNotFoundError):
        posts.get_or_raise("d6")


def test_a_refusal_of_the_owner_keeps_its_type_and_place(posts: Collection) -> None:
    with pytest.raises(InvalidPipelineError, match=r"pipeline\[0\]: cannot divide by zero") as raised:
        posts.aggregate([{"$set": {"x": {"$divide": ["$n", "$odd"]}}}])
    assert raised.value.stage == 0


async def test_the_same_for_coroutines(aposts: AsyncCollection) -> None:
    query = aposts.find(sort="-n", limit=2, skip=1, total=True, fields=["n"])
    page = await query
    assert ([one["n"] for one in page.items], page.total) == ([4, 3], 6)
    assert [one["n"] async for one in query] == [4, 3, 2, 1, 0]
    assert [one["n"] for one in (await aposts.find(sort="-n", cursor=page.next_cursor)).items] == [2, 1, 0]
    assert await aposts.find_one({"odd": 1}, sort="-n", fields={"n": 1}) == {"$id": "posts/d5", "n": 5}
    assert await aposts.count({"odd": 0}) == 3
    assert await aposts.distinct("odd") == [0, 1]
    assert await aposts.aggregate([{"$count": "n"}], include_deleted=True) == [{"n": 7}]
    assert await aposts.exists("d5")
    assert not await aposts.exists("d6")
    with pytest.raises(EntityNotFoundError):
        await aposts.get_or_raise("d6")


@pytest.mark.parametrize(("database", "collection"), [(Database, Collection), (AsyncDatabase, AsyncCollection)])
@pytest.mark.parametrize("name", ["get", "exists", "find", "find_one", "count", "distinct", "aggregate"])
def test_a_database_has_the_method_with_the_namespace_in_front(database: type, collection: type, name: str) -> None:
    assert getattr(database, name).__wrapped__ is getattr(collection, name)

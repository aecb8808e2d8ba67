"""Finding and counting, against the plain predicate over every document."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.documents.budget import Budget
from parquedb.documents.filters import compile_filter
from parquedb.errors import CorruptionError, QueryMemoryError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import build
from parquedb.storage.files.data_files import DataFiles, Location
from parquedb.storage.query.scan import count, find
from parquedb.storage.query.scan_plan import ScanSnapshot
from parquedb.storage.query.scan_rows import STEP_ROWS
from tests.support.columns import bodies, document, exactly, run
from tests.support.worlds import World, filters, ids, regrouped, regrouped_world, worlds


def same(actual, expected):
    assert [exactly(one) for one in actual] == [exactly(one) for one in expected]


@settings(max_examples=100, deadline=None)
@given(worlds(), filters, st.integers(1, 12), ids)
async def test_find_and_count_answer_as_the_predicate_over_every_document(world, condition, limit, after_id):
    predicate = compile_filter(condition)
    expected = world.expected(predicate)
    snapshot = world.snapshot()
    assert await count(snapshot, predicate) == len(expected)
    same(await find(snapshot, predicate, limit=None), expected)
    same(await find(snapshot, predicate, limit=limit), expected[:limit])
    later = [one for one in expected if one["$id"] > after_id]
    same(await find(snapshot, predicate, limit=limit, after_id=after_id), later[:limit])


@settings(max_examples=40, deadline=None)
@given(worlds(bodies), filters)
async def test_the_same_holds_for_documents_of_any_shape(world, condition):
    predicate = compile_filter(condition)
    expected = world.expected(predicate)
    assert await count(world.snapshot(), predicate) == len(expected)
    same(await find(world.snapshot(), predicate, limit=None), expected)


@settings(max_examples=40, deadline=None)
@given(worlds(), filters, st.integers(1, 6))
async def test_row_groups_and_unsorted_files_change_no_answer(world, condition, limit):
    predicate = compile_filter(condition)
    expected = world.expected(predicate)
    snapshot = ScanSnapshot.of(await regrouped_world(world), world.memory)
    assert await count(snapshot, predicate) == len(expected)
    same(await find(snapshot, predicate, limit=limit), expected[:limit])
    same(await find(snapshot, predicate, limit=None), expected)


# One thing at a time.


class Counter:
    """A store that counts reads, and a predicate's closure that counts documents."""

    def __init__(self, parts, condition):
        self.store, self.reads, self.asked, self.steps = MemoryBackend(), 0, 0, []
        self.files = DataFiles(self, "posts", cache_bytes_max=1 << 26, run=run)
        self.built, self.registry = [], ColumnRegistry.empty()
        for number, part in enumerate(parts):
            rows = [(document(body, at), 1) for at, body in part]
            self.built.append(build(f"data/1-{number}", rows, self.registry))
            self.registry = self.built[-1].registry
            self.files.add(self.built[-1].file)
        self.predicate = compile_filter(condition)
        decide = self.predicate.matches

        def asked(one):
            self.asked += 1
            return decide(one)

        self.predicate.matches = asked

    async def read(self, key):
        self.reads += 1
        return next(built.data for built in self.built if key == f"posts/{built.file.key}")

    async def count(self):
        return await count(ScanSnapshot.of(self.files), self.predicate)

    async def find(self, limit=None, **options):
        return await find(ScanSnapshot.of(self.files), self.predicate, limit=limit, **options)


def numbered(start, stop, **more):
    return [(at, {"n": at, "s": f"s{at:04d}", **more}) for at in range(start, stop)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"n": {"$gt": 5_000}}, 0),
        ({"n": "text"}, 0),
        ({"n": None}, 0),
        ({"nope": 1}, 0),
        ({"n.below": 1}, 0),
        ({"s": {"$lt": "s"}}, 0),
        ({"$id": "posts/90000"}, 0),
        ({"createdAt": {"$lt": datetime(2000, 1, 1, tzinfo=UTC)}}, 0),
        ({}, 300),
        ({"n": {"$gte": 0}}, 300),
        ({"n": {"$ne": 999}}, 300),
        ({"nope": {"$exists": False}}, 300),
        ({"s": {"$exists": True}, "n": {"$not": {"$gt": 299.5}}}, 300),
        ({"$nor": [{"n": {"$in": [-1, 5_000]}}, {"nope": {"$ne": None}}]}, 300),
    ],
)
async def test_statistics_alone_answer_without_reading_a_file(condition, expected):
    world = Counter([numbered(0, 200), numbered(200, 300)], condition)
    assert await world.count() == expected
    assert (world.reads, world.asked) == (0, 0)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"n": {"$gt": 149.5}}, 150),
        ({"n": {"$gt": Decimal("149.5"), "$lte": 2**70}}, 150),
        ({"s": {"$in": [f"s{at:04d}" for at in range(100)]}}, 100),
        ({"s": {"$ne": "s0007"}}, 299),
        ({"$or": [{"n": 5}, {"s": "s0009"}]}, 2),
        ({"w.x": {"$gte": 1}}, 300),
        ({"w": {"$exists": True}, "n": {"$lt": 10}}, 10),
    ],
)
async def test_scalar_comparisons_are_counted_without_a_document(condition, expected):
    world = Counter([numbered(0, 200, w={"x": 1}), numbered(200, 300, w={"x": 2})], condition)
    assert await world.count() == expected
    assert world.asked == 0


async def test_only_rows_with_an_unusual_value_at_the_path_are_asked():
    unusual = [(100, {"n": 2.5}), (101, {"n": None}), (102, {"q": {"n": None}}), (103, {"s": '"n"', "q": None})]
    part = [*numbered(0, 100, note=None), *unusual]
    world = Counter([part], {"n": {"$gte": 2.5}})
    assert await world.count() == 98
    assert world.asked == 3


async def test_files_above_the_page_are_not_read():
    world = Counter([numbered(start, start + 50) for start in range(0, 500, 50)], {"n": {"$gte": 20}})
    assert [one["n"] for one in await world.find(limit=5)] == [20, 21, 22, 23, 24]
    assert world.reads == 1
    assert [one["n"] for one in await world.find(limit=3, after_id="posts/00048")] == [49, 50, 51]
    assert world.reads == 2


async def test_later_row_groups_are_read_while_they_can_still_be_in_the_page():
    documents = [document({"n": at % 3}, at) for at in range(12)]
    memory = [document({"n": 1}, at) for at in range(100, 104)]
    world = World([documents], set(), memory)
    [file] = world.files.files
    data, changed, _ = regrouped(world, file, unsorted=False)
    await world.store.create(f"posts/{file.key}", data)
    files = DataFiles(world.store, "posts", cache_bytes_max=0, run=run)
    files.add(changed)
    found = await find(ScanSnapshot.of(files, memory), compile_filter({"n": 1}), limit=5)
    assert [one["$id"] for one in found] == [f"posts/{at:05d}" for at in (1, 4, 7, 10, 100)]


async def test_a_page_of_doubtful_rows_does_not_ask_every_row():
    world = Counter([numbered(0, 5_000, tags=["a", "b"])], {"tags.1": "b"})
    assert [one["n"] for one in await world.find(limit=10)] == list(range(10))
    assert world.asked == 256


async def test_documents_are_made_in_small_steps():
    steps = []

    async def measured(work):
        done = work()
        if isinstance(done, list) and done and isinstance(done[0], dict):
            steps.append(len(done))
        return done

    world = Counter([numbered(0, 2_500)], {})
    files = DataFiles(world, "posts", cache_bytes_max=1 << 26, run=measured)
    files.add(world.built[0].file)
    memory = [document({"n": at}, at) for at in range(5_000, 7_100)]
    found = await find(ScanSnapshot.of(files, memory), compile_filter(None), limit=None)
    assert [one["n"] for one in found] == [*range(2_500), *range(5_000, 7_100)]
    assert sorted(steps) == [100, 500, STEP_ROWS, STEP_ROWS, STEP_ROWS, STEP_ROWS]


async def test_only_the_columns_asked_for_are_read():
    body = {"w": {"x": 1, "y": 2}, "l": [{"x": 1, "y": 2}, 3], "z": None, "k": 1, "u": 5}
    world = Counter([[(0, body)]], {"k": 1})
    expected = {"$id": "posts/00000", "w": body["w"], "l": body["l"], "z": None, "k": 1}
    assert await world.find(fields=["w", "l", "nope"]) == [expected]


async def test_what_is_held_for_the_answer_is_bounded():
    world = Counter([[(at, {"text": "x" * 1_000}) for at in range(20)]], {})
    assert len(await world.find(budget=Budget(60_000))) == 20
    with pytest.raises(QueryMemoryError, match="more memory than its limit 20,000 bytes"):
        await world.find(budget=Budget(20_000))
    assert len(await world.find(limit=5, budget=Budget(20_000))) == 5


async def test_a_page_of_nothing_reads_nothing():
    world = Counter([numbered(0, 1)], {})
    assert await world.find(limit=0) == []
    assert world.reads == 0


async def test_a_scan_sees_the_moment_it_was_taken():
    world = Counter([numbered(0, 10)], {"n": {"$gte": 5}})
    snapshot = ScanSnapshot.of(world.files)
    world.files.kill(Location("data/1-0", 7))
    world.files.remove("data/1-0")
    assert await count(snapshot, world.predicate) == 5
    assert await world.count() == 0


async def test_a_scan_over_a_damaged_file_is_corruption_that_names_it():
    world = Counter([numbered(0, 10), numbered(10, 20)], {"n": {"$gte": 15}})
    world.built[1] = replace(world.built[1], data=b"x" * world.built[1].file.bytes)
    for query in (world.count, world.find):
        with pytest.raises(CorruptionError, match="object 'posts/data/1-1' is corrupt: checksum differs"):
            await query()

"""Finding and counting, against the plain predicate over every document."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from parquedb.documents.filters import compile_filter
from parquedb.errors import CorruptionError, InvalidProjectionError
from parquedb.storage.columns import ColumnRegistry
from parquedb.storage.data_file import build, write_table
from parquedb.storage.data_files import DataFiles, Location
from parquedb.storage.memory import MemoryBackend
from parquedb.storage.scan import STEP_ROWS, ScanSnapshot, count, find
from tests.support.columns import bodies, document, exactly, run

NUMBERS = [0, 1, 2, 3, 2.5, -0.0, 1.0, Decimal("2.5"), Decimal("1"), Decimal("0.1"), 2**63, -(2**63) - 1, 2**53 + 1]
ODD_NUMBERS = [math.inf, -math.inf, math.nan, Decimal("1E+400"), Decimal("1E+999999"), 10**400, 1e308, 5e-324]
OTHERS = [None, True, False, "a", "b", "", "zz", "é", "x" * 100, b"", b"a", date(2026, 1, 1), UUID(int=1)]
OTHERS += [
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    [],
    [1],
    ["a"],
    {},
    {"b": 1},
]
PATHS = ["a", "b", "c", "a.b", "a.0", "b.a.c", "name", "version", "updatedAt", "$id", "$type", "nope", "é"]

small_bodies = st.dictionaries(
    st.sampled_from(["a", "b", "c", "name"]),
    st.one_of(
        st.sampled_from(NUMBERS + ODD_NUMBERS + OTHERS),
        st.integers(-3, 3),
        st.lists(st.sampled_from([1, 2, "a"]), max_size=2),
        st.fixed_dictionaries({}, optional={"b": st.sampled_from([1, 2.5, "a", None]), "a": st.just({"c": 1})}),
    ),
    max_size=4,
)
operands = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(ODD_NUMBERS), st.sampled_from(OTHERS))
conditions = st.one_of(
    operands,
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), operands).map(lambda pair: dict([pair])),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(operands, max_size=7)).map(lambda pair: dict([pair])),
    st.booleans().map(lambda wanted: {"$exists": wanted}),
)
ids = st.integers(0, 40).map(lambda number: f"posts/{number:05d}")
comparisons = st.one_of(
    st.tuples(st.sampled_from(PATHS), conditions).map(lambda pair: dict([pair])),
    st.tuples(st.sampled_from(PATHS), st.sampled_from(["$eq", "$gt", "$lte"]), operands).map(
        lambda three: {three[0]: {"$not": {three[1]: three[2]}}}
    ),
    st.tuples(st.sampled_from(["$gt", "$lte", "$eq"]), ids).map(lambda pair: {"$id": dict([pair])}),
)
filters = st.recursive(
    comparisons,
    lambda inner: st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda pair: dict([pair])
    ),
    max_leaves=5,
)


class World:
    """Some files with dead rows and some documents in memory; `live` is the truth."""

    def __init__(self, parts, dead, memory):
        self.store = MemoryBackend()
        self.files = DataFiles(self.store, "posts", cache_bytes_max=1 << 24, run=run)
        self.live, self.memory = [], memory
        registry = ColumnRegistry.empty()
        self.objects = {}
        for number, rows in enumerate(parts):
            built = build(f"data/1-{number}", [(one, 1) for one in rows], registry)
            registry = built.registry
            self.objects[built.file.key] = built.data
            self.files.add(built.file, built)
            for row, one in enumerate(sorted(rows, key=lambda one: one["$id"])):
                if one["$id"] in dead:
                    self.files.kill(Location(built.file.key, row))
                else:
                    self.live.append(one)
        self.live = sorted(self.live + memory, key=lambda one: one["$id"])

    def snapshot(self):
        return ScanSnapshot.of(self.files, self.memory)

    def expected(self, predicate):
        return [one for one in self.live if predicate(one)]


@st.composite
def worlds(draw, bodies=small_bodies):
    """Documents with distinct ids, dealt to up to four files (some dead) and to memory."""
    found = draw(st.lists(bodies, min_size=1, max_size=24))
    places = draw(st.lists(st.integers(0, 4), min_size=len(found), max_size=len(found)))
    documents = [document(body, number) for number, body in enumerate(found)]
    parts = [[one for one, place in zip(documents, places, strict=True) if place == file] for file in range(4)]
    memory = [one for one, place in zip(documents, places, strict=True) if place == 4]
    dead = draw(st.sets(st.sampled_from([one["$id"] for one in documents]), max_size=6))
    return World([part for part in parts if part], dead, memory)


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
    files = DataFiles(world.store, "posts", cache_bytes_max=0, run=run)
    for file, unsorted in zip(world.files.files, (True, False, True, False), strict=False):
        rewritten = regrouped(world, file, unsorted)
        await world.store.write(f"posts/{file.key}", rewritten[0])
        files.add(rewritten[1], dead=rewritten[2])
    snapshot = ScanSnapshot.of(files, world.memory)
    assert await count(snapshot, predicate) == len(expected)
    same(await find(snapshot, predicate, limit=limit), expected[:limit])
    same(await find(snapshot, predicate, limit=None), expected)


def regrouped(world, file, unsorted):
    """Return a file as three-row groups, its rows turned round if unsorted: object, description, dead rows."""
    table = pq.read_table(pa.BufferReader(world.objects[file.key]))
    dead = world.files.live_dead.get(file.key, BitMap())
    if unsorted:
        table = table.take(list(reversed(range(file.rows))))
        dead = BitMap(file.rows - 1 - row for row in dead)
    data = write_table(table, sorted_by_id=not unsorted, row_group_rows=3)
    changed = replace(file, bytes=len(data), checksum=xxhash.xxh3_64_intdigest(data), sorted=not unsorted)
    return data, changed, dead


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
    world = Counter([numbered(0, 5_000, tags=["a", "b"])], {"tags": "b"})
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


async def test_fields_include_what_is_named_and_always_id_and_version():
    body = {"w": {"x": 1, "y": 2}, "l": [{"x": 1, "y": 2}, 3], "z": None, "k": 1}
    world = Counter([[(0, body)]], {"k": 1})
    expected = {"$id": "posts/00000", "version": 1, "w": {"x": 1}, "l": [{"y": 2}], "z": None}
    assert await world.find(fields=["w.x", "l.y", "z", "nope"]) == [expected]
    memory = ScanSnapshot.of(DataFiles(world, "posts", cache_bytes_max=0, run=run), [document(body, 0)])
    assert await find(memory, compile_filter(None), limit=1, fields=["w.x", "l.y", "z", "nope"]) == [expected]
    assert (await world.find(fields=["w.x", "w"]))[0]["w"] == {"x": 1, "y": 2}


async def test_a_field_that_is_no_path_is_refused():
    world = Counter([numbered(0, 1)], {})
    with pytest.raises(InvalidProjectionError, match=r"'a\.\.b' is no field to include: a path needs a name"):
        await world.find(fields=["a..b"])


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

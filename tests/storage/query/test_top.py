"""Sort and limit over files, dead rows and memory, against Python's sort of every document."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.documents.budget import Budget
from parquedb.documents.filters import compile_filter
from parquedb.documents.sorting import parse_sort
from parquedb.errors import QueryMemoryError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import build
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.query import top
from parquedb.storage.query.scan_plan import ScanSnapshot
from parquedb.storage.query.scan_rows import stream
from parquedb.storage.query.top import find_sorted
from tests.support.columns import all_exactly, bodies, document, run
from tests.support.worlds import filters, regrouped_world, worlds

PATHS = ["a", "b", "c", "a.b", "a.0", "b.a.c", "name", "updatedAt", "$id", "nope", "é"]
sorts = st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from([1, -1])), max_size=3, unique_by=lambda one: one[0])


def truth(world, predicate, sort, after=None):
    found = sorted(world.expected(predicate), key=sort.key)
    return [one for one in found if after is None or sort.key(one) > after]


@settings(max_examples=150, deadline=None)
@given(worlds(), filters, sorts, st.tuples(st.integers(1, 12), st.integers(0, 5), st.integers(0, 30)))
async def test_the_first_of_an_order_are_those_of_a_sort(world, condition, spec, page):
    limit, skip, place = page
    predicate, sort = compile_filter(condition), parse_sort(spec)
    expected = truth(world, predicate, sort)
    found = await find_sorted(world.snapshot(), predicate, sort, limit=limit, skip=skip)
    assert all_exactly(found) == all_exactly(expected[skip : skip + limit])
    if place < len(world.live):
        after = sort.key(world.live[place])
        later = await find_sorted(world.snapshot(), predicate, sort, limit=limit, after=after)
        assert all_exactly(later) == all_exactly(truth(world, predicate, sort, after)[:limit])


@settings(max_examples=60, deadline=None)
@given(worlds(bodies), filters, sorts, st.integers(1, 6))
async def test_row_groups_unsorted_files_and_odd_values_change_no_answer(world, condition, spec, limit):
    predicate, sort = compile_filter(condition), parse_sort(spec)
    snapshot = ScanSnapshot.of(await regrouped_world(world), world.memory)
    found = await find_sorted(snapshot, predicate, sort, limit=limit)
    assert all_exactly(found) == all_exactly(truth(world, predicate, sort)[:limit])


@settings(max_examples=150, deadline=None)
@given(worlds(), filters, sorts, st.integers(1, 4))
async def test_small_rounds_change_no_answer(world, condition, spec, limit):
    predicate, sort = compile_filter(condition), parse_sort(spec)
    with pytest.MonkeyPatch.context() as patch:
        # Few rows of a group are looked at when they come in order, so here the order of columns counts.
        patch.setattr(top, "_FIRST_ROUND_ROWS", 1)
        patch.setattr(top, "STEP_ROWS", 1)
        found = await find_sorted(world.snapshot(), predicate, sort, limit=limit)
    assert all_exactly(found) == all_exactly(truth(world, predicate, sort)[:limit])


NUMBERS = [0.0, -0.0, 1.5, math.nan, -math.inf, math.inf, None, 2.5, math.nan, -3.0, None, 1e308]


@pytest.mark.parametrize("spec", ["n", "-n"])
@pytest.mark.parametrize("limit", [1, 3, 5, 12])
async def test_null_and_nan_have_their_places_in_a_column(monkeypatch, spec, limit):
    monkeypatch.setattr(top, "_FIRST_ROUND_ROWS", 1)
    monkeypatch.setattr(top, "STEP_ROWS", 1)
    documents = [document({} if value is None else {"n": value}, at) for at, value in enumerate(NUMBERS)]
    expected = [one.get("n") for one in sorted(documents, key=parse_sort(spec).key)]
    assert repr(await Files(NUMBERS).top(spec, limit)) == repr(expected[:limit])


@pytest.mark.parametrize(("spec", "first"), [("n", 0.5), ("-n", "text")])
async def test_values_of_an_unusual_type_have_their_place(monkeypatch, spec, first):
    monkeypatch.setattr(top, "_FIRST_ROUND_ROWS", 1)
    assert await Files([*range(1, 10), 0.5, "text"]).top(spec, 1) == [first]


async def test_rows_that_do_not_pass_do_not_count_for_the_limit(monkeypatch):
    monkeypatch.setattr(top, "_FIRST_ROUND_ROWS", 2)
    monkeypatch.setattr(top, "STEP_ROWS", 2)
    world = Files([])
    rows = [(document({"n": at, "tags": ["x"] if at >= 20 else ["y"]}, at), 1) for at in range(30)]
    built = build("data/1-9", rows, ColumnRegistry.empty())
    world.objects["posts/data/1-9"] = built.data
    files = DataFiles(world, "posts", cache_bytes_max=1 << 26, run=run)
    files.add(built.file)
    found = await find_sorted(ScanSnapshot.of(files), compile_filter({"tags": "x"}), parse_sort("n"), limit=2)
    assert [one["n"] for one in found] == [20, 21]


@settings(max_examples=60, deadline=None)
@given(worlds(), filters)
async def test_a_stream_has_every_passing_document_once(world, condition):
    predicate = compile_filter(condition)
    found = [one async for step in stream(world.snapshot(), predicate, None) for one in step]
    assert all_exactly(sorted(found, key=lambda one: one["$id"])) == all_exactly(world.expected(predicate))


class Files:
    """Files of numbered documents, one value a document, and which of them were read."""

    def __init__(self, *parts):
        self.store, self.read_keys, registry = MemoryBackend(), set(), ColumnRegistry.empty()
        self.files = DataFiles(self, "posts", cache_bytes_max=1 << 26, run=run)
        self.objects, at = {}, 0
        for number, part in enumerate(filter(None, parts)):
            rows = [
                (document({"n": value} if value is not None else {}, at + row), 1) for row, value in enumerate(part)
            ]
            at += len(part)
            built = build(f"data/1-{number}", rows, registry)
            registry = built.registry
            self.objects[f"posts/{built.file.key}"] = built.data
            self.files.add(built.file)

    async def read(self, key):
        self.read_keys.add(int(key[-1]))
        return self.objects[key]

    async def top(self, spec, limit, **more):
        snapshot = ScanSnapshot.of(self.files)
        found = await find_sorted(snapshot, compile_filter(None), parse_sort(spec), limit=limit, **more)
        return [one.get("n") for one in found]


EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "values",
    [
        list(range(30)),
        [at / 2 for at in range(30)],
        [f"s{at:03d}" for at in range(30)],
        [EPOCH + timedelta(seconds=at) for at in range(30)],
        [(EPOCH + timedelta(days=at)).date() for at in range(30)],
    ],
)
async def test_files_that_statistics_rule_out_are_not_read(values):
    down = Files(values[20:], values[10:20], values[:10])
    assert await down.top("-n", 3) == values[:-4:-1]
    assert down.read_keys == {0}
    up = Files(values[:10], values[10:20], values[20:])
    assert await up.top("n", 3) == values[:3]
    # A float column may hold NaN, which comes before every number.
    assert up.read_keys == ({0, 1, 2} if type(values[0]) is float else {0})


async def test_a_file_with_missing_values_is_read_for_an_ascending_order():
    world = Files([1, 2, 3], [7, None, 9])
    assert await world.top("n", 2) == [None, 1]
    assert await Files([7, 8, 9], [1, None, 3]).top("-n", 2) == [9, 8]


async def test_files_above_the_page_are_not_read_for_the_order_of_id():
    world = Files(list(range(10)), list(range(10, 20)))
    assert await world.top(None, 3, skip=2) == [2, 3, 4]
    assert world.read_keys == {0}


async def test_only_a_few_rows_of_a_group_become_documents():
    made = []

    async def counting(work):
        done = work()
        if isinstance(done, list) and done and isinstance(done[0], dict):
            made.append(len(done))
        return done

    world = Files([(at * 7_919) % 5_000 for at in range(5_000)])
    files = DataFiles(world, "posts", cache_bytes_max=1 << 26, run=counting)
    files.add(world.files.files[0])
    found = await find_sorted(ScanSnapshot.of(files), compile_filter(None), parse_sort("-n"), limit=5)
    assert [one["n"] for one in found] == [4_999, 4_998, 4_997, 4_996, 4_995]
    assert sum(made) <= 128


async def test_what_is_held_for_the_answer_is_bounded():
    world = Files([f"{at:02d}" + "x" * 1_000 for at in range(20)])
    assert len(await world.top("-n", 20, budget=Budget(60_000))) == 20
    with pytest.raises(QueryMemoryError, match="more memory than its limit 20,000 bytes"):
        await world.top("-n", 20, budget=Budget(20_000))
    assert len(await world.top("-n", 5, budget=Budget(20_000))) == 5

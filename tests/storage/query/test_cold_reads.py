"""Queries of which nothing is in memory but the footers: the answers of the slow path, from parts of the objects."""

import asyncio
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.clock import SystemClock
from parquedb.documents.filters import compile_filter
from parquedb.documents.sorting import parse_sort
from parquedb.errors import CorruptionError, NetworkError
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.files.file_cache import Portion
from parquedb.storage.files.row_groups import Footer
from parquedb.storage.query import scan
from parquedb.storage.query.scan_plan import ScanSnapshot
from parquedb.storage.query.scan_rows import stream
from parquedb.storage.query.top import find_sorted
from tests.support.cold_places import COLORS, GROUP_ROWS, ROWS, Place
from tests.support.columns import exactly
from tests.support.worlds import filters


@pytest.fixture(scope="module")
def place() -> Place:
    return Place()


async def counted(files: DataFiles, condition: dict[str, Any]) -> int:
    return await scan.count(ScanSnapshot.of(files), compile_filter(condition))


async def flipped(place: Place, at: int, bit: int, condition: dict[str, Any]) -> int | None:
    """Count beside a flipped bit of the first file; None where the damage is noticed and the file named."""
    files = await place.files(lambda number, data: number or data.__setitem__(at, data[at] ^ 1 << bit))
    [found] = await asyncio.gather(counted(files, condition), return_exceptions=True)
    if isinstance(found, CorruptionError) and found.key == "posts/data/1-0":
        return None
    assert isinstance(found, int), found
    return found


async def spans(place: Place, group: int, path: str) -> tuple[int, int]:
    file, _ = place.stored[0]
    footer: Footer = await (await place.files()).cache.footer(file)
    [span] = footer.spans([(group, [path])])
    return span


@settings(max_examples=80, deadline=None)
@given(filters, st.sampled_from([None, *COLORS, "color 1x"]), st.sampled_from(["color", "shade", "tags"]))
def test_a_cold_count_is_what_the_predicate_says_of_every_document(place, condition, text, field):
    if text is not None:
        condition = {"$and": [condition, {field: {"$in": [text, "color 2x"]}}]}
    predicate = compile_filter(condition)
    expected = sum(map(predicate, place.live))

    async def check() -> None:
        files = await place.files()
        snapshot = ScanSnapshot.of(files)
        assert await scan.count(snapshot, predicate) == expected
        assert place.store.whole == 0, "the parts that are asked for are a small part"
        assert await scan.count(snapshot, predicate) == expected, "what is in memory by now says the same"

    asyncio.run(check())


@pytest.mark.parametrize(
    "condition",
    [
        {"weather.temp": {"$gt": 1}},
        {"weather.temp": float("nan")},
        {"weather.temp": None},
        {"weather.temp": {"$exists": False}},
        {"weather.temp": 1.5, "weather.wind": 3},
        {"weather.temp": 1.5, "weather": {"$ne": None}},
        {"weather.nothing": None},
        {"weather": {"wind": 4}},
        {"weather": {}},
        {"tags": "color 1"},
        {"tags": {"$all": ["color 0", "color 1"]}},
        {"tags.0": "color 2"},
        {"tags.list.element": None},
        {"color": "color 3"},
        {"color": "color 1x"},
        {"color": {"$in": []}},
        {"color": {"$in": ["color 3", None]}},
        {"color": {"$ne": "color 1x"}},
        {"$nor": [{"color": "color 1x"}]},
        {"$or": [{"color": "color 1x"}, {"a": 1}]},
        {"color": "color 3", "$and": [{"color": "color 4"}]},
        {"shade": "color 3"},
        {"shade": "color 1x"},
        {"shade": 3},
        {"color": "color 3", "shade": "color 5"},
    ],
)
async def test_nested_fields_lists_and_texts_count_cold_as_they_should(place, condition):
    predicate = compile_filter(condition)
    files = await place.files()
    ids = [one["$id"] for one in place.live if predicate(one)]
    for _ in range(2):
        assert await counted(files, condition) == len(ids)
        snapshot = ScanSnapshot.of(files)
        assert [one["$id"] for one in await scan.find(snapshot, predicate, limit=None)] == ids
        assert [one["$id"] for one in await find_sorted(snapshot, predicate, parse_sort("$id"), limit=2_000)] == ids
        streamed = [one["$id"] async for step in stream(snapshot, predicate, ["$id"]) for one in step]
        assert sorted(streamed) == ids


async def test_cold_point_reads_give_the_documents_and_only_live_ones(place):
    files = await place.files()
    rng = random.Random(1)
    wanted = [one["$id"].removeprefix("posts/") for one in rng.sample(place.documents, 200)]
    live = {one["$id"].removeprefix("posts/"): one for one in place.live}
    for _ in range(2):
        found = await files.fetch([*wanted, "absent"])
        assert set(found) == set(wanted) & set(live)
        assert all(exactly(one) == exactly(live[id_]) for id_, (_, one) in found.items())


async def test_many_who_ask_at_once_decode_once_and_get_the_same(place):
    files = await place.files()
    conditions = [{"color": "color 3"}, {"color": "color 4"}, {"a": {"$gt": 1}}, {"a": {"$lt": 1}}] * 5
    answers = await asyncio.gather(*[counted(files, condition) for condition in conditions])
    assert answers == [sum(map(compile_filter(condition), place.live)) for condition in conditions]
    together, alone = place.store.ranged, 0
    for condition in conditions[:4]:
        await counted(await place.files(), condition)
        alone += place.store.ranged
    assert together < alone


async def test_plain_and_dictionary_text_asked_for_at_once_are_two_answers(place):
    files = await place.files()
    file, _ = place.stored[0]
    plain, [found] = await asyncio.gather(
        files.cache.columns(file, 0, ["color"]),
        files.cache.each([Portion(file, 0, ["color"])]),
    )
    encoded = found["color"]
    assert plain["color"].type == pa.string()
    assert pa.types.is_dictionary(encoded.type)
    assert encoded.dictionary_decode() == plain["color"]


async def test_a_store_that_fails_is_not_taken_for_damage(place):
    store = FaultyBackend(MemoryBackend(), rng=random.Random(1), clock=SystemClock())
    files = await place.files(store=store)
    for file in files.files:
        await files.cache.footer(file)
    store.add(FaultRule(fault=Fault.ERROR, error="network", operations=frozenset({"read_ranges"}), count=2))
    with pytest.raises(NetworkError):
        await counted(files, {"a": 1})
    assert await counted(files, {"a": 1}) == sum(map(compile_filter({"a": 1}), place.live))


async def test_who_gives_up_takes_nothing_from_the_others(place):
    files = await place.files()
    leaving = asyncio.ensure_future(counted(files, {"a": {"$gt": 1}}))
    staying = asyncio.ensure_future(counted(files, {"a": {"$gt": 1}}))
    for _ in range(8):
        await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == sum(map(compile_filter({"a": {"$gt": 1}}), place.live))


async def test_a_text_in_no_dictionary_needs_no_row_and_the_next_one_no_byte(place):
    files = await place.files()
    assert await counted(files, {"color": "color 1x"}) == 0
    read = place.store.ranged
    file, _ = place.stored[0]
    assert files.cache.now(Portion(file, 0, ["color"]), dictionaries=True) is None, "nothing was decoded"
    assert await counted(files, {"color": "color 2x"}) == 0
    assert await counted(files, {"color": {"$in": ["color 3x", "color 4x"]}}) == 0
    snapshot, absent = ScanSnapshot.of(files), compile_filter({"color": "color 5x"})
    assert await scan.find(snapshot, absent, limit=None) == []
    assert await find_sorted(snapshot, absent, parse_sort("-n"), limit=5) == []
    assert [step async for step in stream(snapshot, absent, None) if step] == []
    assert place.store.ranged == read
    assert await counted(files, {"color": "color 1"}) > 0


async def test_one_leaf_of_a_struct_is_read_without_its_siblings(place):
    file, _ = place.stored[0]
    footer = await (await place.files()).cache.footer(file)

    def size(path: str) -> int:
        return sum(stop - start for start, stop in footer.spans([(0, [path])]))

    assert size("weather.temp") + size("weather.wind") == size("weather") > size("weather.temp") > 0


@pytest.mark.parametrize(("path", "condition"), [("color", {"color": "color 1x"}), ("color", {"color": "color 1"})])
async def test_no_flipped_bit_of_a_text_column_goes_unnoticed(place, path, condition):
    start, stop = await spans(place, 1, path)
    expected = await counted(await place.files(), condition)
    noticed = 0
    for at in range(start, stop):
        found = await flipped(place, at, at % 8, condition)
        assert found in {None, expected}, f"byte {at - start} of {stop - start}"
        noticed += found is None
    assert noticed > (stop - start) / 4, "where a page is not looked at, the answer is right all the same"


async def test_a_damaged_file_is_named_and_does_not_harm_queries_of_others(place):
    _, stop = await spans(place, 2, "a")
    files = await place.files(lambda number, data: number or data.__setitem__(stop - 1, data[stop - 1] ^ 1))
    both = counted(files, {"a": {"$gt": 1}})
    [other] = [file for file in files.files if file.key == "data/1-1"]
    alone = files.cache.each([Portion(other, 0, ["a"])])
    first, second = await asyncio.gather(both, alone, return_exceptions=True)
    assert isinstance(first, CorruptionError)
    assert "posts/data/1-0" in str(first)
    assert [len(columns["a"]) for columns in second] == [GROUP_ROWS]
    with pytest.raises(CorruptionError, match="posts/data/1-0"):
        await files.fetch([one["$id"].removeprefix("posts/") for one in place.documents[:ROWS]])


@pytest.mark.parametrize("cut", [True, False])
async def test_a_missing_or_cut_object_among_several_is_named(place, cut):
    files = await place.files()
    for file in files.files:
        await files.cache.footer(file)
    key = "posts/data/1-1"
    if cut:
        await place.store.write(key, (await MemoryBackend.read(place.store, key))[:5_000])
    else:
        await place.store.delete(key)
    with pytest.raises(CorruptionError, match=key):
        await counted(files, {"a": 1})


async def test_a_missing_object_fails_only_those_who_asked_for_it_though_it_was_read_with_others(place):
    files = await place.files()
    first, second = files.files
    for file in (first, second):
        await files.cache.footer(file)
    await place.store.delete(f"posts/{second.key}")

    def columns_of(*wanted: tuple[DataFile, int]) -> Any:
        return files.cache.each([Portion(file, group, ["a"]) for file, group in wanted])

    together = columns_of((first, 0), (second, 0), (first, 1), (second, 1))
    failed, answered = await asyncio.gather(together, columns_of((first, 0)), return_exceptions=True)
    assert isinstance(failed, CorruptionError)
    assert failed.key == f"posts/{second.key}"
    assert [len(columns["a"]) for columns in answered] == [GROUP_ROWS]

"""Merging data files: every live document comes back exactly, whatever the files' columns were."""

import io
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from parquedb.documents.filters import compile_filter
from parquedb.errors import CorruptionError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.compaction import merge as merging
from parquedb.storage.compaction.merge import Merge
from parquedb.storage.compaction.merge_schema import common_schema
from parquedb.storage.files.column_stats import column_stats
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import build, write_table
from parquedb.storage.files.data_files import DataFiles, Location
from parquedb.storage.query import scan
from parquedb.storage.query.scan_plan import ScanSnapshot
from tests.support.columns import bodies, document, exactly, run

ROOMY = 1 << 30


class Made:
    """Files on a store, and the documents they hold."""

    def __init__(self):
        self.store = MemoryBackend()
        self.files = DataFiles(self.store, "posts", cache_bytes_max=1 << 24, run=run)
        self.registry = ColumnRegistry.empty()
        self.live = {}
        self.written = 0

    async def add(self, numbered, dead=(), registry=None, indexed=False, order=None):
        """Store a file of (number, body); `dead` are positions in it, `order` makes it an unsorted one."""
        rows = [(document(body, number), 100 + number) for number, body in numbered]
        self.written += 1
        built = build(f"data/1-{self.written:032x}.parquet", rows, registry or self.registry)
        if registry is None:
            self.registry = built.registry
        ids = sorted(one["$id"] for one, _ in rows)
        if order is not None:
            built, ids, indexed = shuffled(built, order), [ids[at] for at in order], False
        await self.store.create(f"posts/{built.file.key}", built.data)
        gone = {ids[at] for at in dead}
        self.live |= {one["$id"]: one for one, _ in rows if one["$id"] not in gone}
        self.files.add(built.file, built if indexed else None, dead=BitMap(dead))
        return built.file

    async def merge(self, sources=None, **options):
        one = Merge(self.files, sources or self.files.files, self.registry, **{"file_bytes": ROOMY, **options})
        await one.begin()
        built = []
        while (made := await one.next_file(f"data/2-{len(built):032x}.parquet")) is not None:
            built.append(made)
        for made in built:
            await self.store.create(f"posts/{made.file.key}", made.data)
        return one, built

    async def found(self):
        documents = await scan.find(ScanSnapshot.of(self.files), compile_filter({}), limit=None)
        return {one["$id"]: one for one in documents}


def shuffled(built, order):
    """Return a file whose rows are in another order, in small row groups, as a bulk load leaves it."""
    table = pq.read_table(io.BytesIO(built.data)).take(pa.array(order))
    data = write_table(table, sorted_by_id=False, row_group_rows=3)
    file = replace(built.file, bytes=len(data), checksum=xxhash.xxh3_64_intdigest(data), sorted=False)
    return replace(built, data=data, file=file)


@contextmanager
def decoded_at_most(bytes_max):
    before, merging.DECODED_BYTES_MAX = merging.DECODED_BYTES_MAX, bytes_max
    try:
        yield
    finally:
        merging.DECODED_BYTES_MAX = before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
async def test_merged_files_hold_exactly_the_live_documents(data):
    made = Made()
    for offset in range(data.draw(st.integers(1, 4))):
        batch = data.draw(st.lists(bodies, min_size=1, max_size=9))
        numbered = [(offset + 4 * number, body) for number, body in enumerate(batch)]
        dead = data.draw(st.sets(st.integers(0, len(batch) - 1)))
        # A file with a registry of its own may have other types at the same paths.
        registry = ColumnRegistry.empty() if data.draw(st.booleans()) else None
        order = data.draw(st.none() | st.permutations(range(len(batch))))
        await made.add(numbered, dead, registry, indexed=data.draw(st.booleans()), order=order)
    with decoded_at_most(data.draw(st.sampled_from([1, ROOMY]))):
        one, built = await made.merge(
            group_rows=data.draw(st.integers(1, 6)), file_bytes=data.draw(st.sampled_from([2_000, ROOMY]))
        )
    made.files.replace(one.moved, built)
    found = await made.found()
    assert list(found) == sorted(made.live)
    assert {key: exactly(value) for key, value in found.items()} == {
        key: exactly(value) for key, value in made.live.items()
    }
    ids = [key.removeprefix("posts/") for key in made.live]
    assert set(await made.files.fetch(ids)) == set(ids)
    for each in built:
        assert each.file == made.files.files[built.index(each)]
        table = pq.read_table(io.BytesIO(each.data))
        assert table.num_rows == each.file.rows
        assert dict(each.file.stats) == column_stats(table)
        assert (each.file.seq_first, each.file.seq_last) == (
            min(table.column("$seq").to_pylist()),
            max(table.column("$seq").to_pylist()),
        )


async def test_rows_keep_their_seq_and_the_file_is_what_any_reader_expects():
    made = Made()
    await made.add([(number, {"n": number, "w": {"a": 1.5}}) for number in range(0, 90, 3)], dead=[0, 4])
    await made.add([(number, {"n": number, "w": {"b": "x"}, "tags": ["t"]}) for number in range(1, 90, 3)])
    await made.add([(number, {"n": None, "late": True}) for number in range(2, 90, 3)])
    _, [built] = await made.merge(group_rows=20)
    parquet = pq.ParquetFile(pa.BufferReader(built.data))
    assert [parquet.metadata.row_group(at).num_rows for at in range(parquet.num_row_groups)] == [20, 20, 20, 20, 8]
    assert parquet.schema_arrow.metadata == {b"parquedb.format": b"1"}
    assert parquet.schema_arrow.names[:2] == ["$id", "$seq"]
    assert parquet.schema_arrow.names[-1] == "$residual"
    assert parquet.metadata.row_group(0).sorting_columns == (pq.SortingColumn(0),)
    merged = duckdb.from_arrow(parquet.read())
    rows = merged.query(
        "merged",
        'select "$id", "$seq", n, w.a, w.b, tags, late from merged order by "$id"',
    ).fetchall()
    assert [row[1] for row in rows] == [100 + int(row[0].removeprefix("posts/")) for row in rows]
    assert rows[0] == ("posts/00001", 101, 1, None, "x", ["t"], None)
    assert rows[1] == ("posts/00002", 102, None, None, None, None, True)
    assert rows[2] == ("posts/00003", 103, 3, 1.5, None, None, None)
    assert built.file.residual_paths == {"n"}


async def test_a_column_whose_type_files_disagree_about_keeps_every_value():
    made = Made()
    await made.add([(1, {"v": 1, "w": {"x": 1}}), (2, {"v": 2, "odd": None})])
    await made.add([(3, {"v": "3", "w": {"x": "s", "y": [1]}}), (4, {"v": None})], registry=ColumnRegistry.empty())
    one, [built] = await made.merge()
    made.files.replace(one.moved, [built])
    assert pq.read_table(io.BytesIO(built.data)).column("v").to_pylist() == [1, 2, None, None]
    assert {key: exactly(value) for key, value in (await made.found()).items()} == {
        key: exactly(value) for key, value in made.live.items()
    }
    assert built.file.residual_paths == {"v", "w", "odd"}
    snapshot = ScanSnapshot.of(made.files)
    assert await scan.count(snapshot, compile_filter({"v": {"$gte": 2}})) == 1
    assert await scan.count(snapshot, compile_filter({"w.x": "s"})) == 1


async def test_numbers_of_a_widened_column_stay_ints_and_every_tool_sees_them():
    made = Made()
    await made.add([(1, {"v": 1, "u": 2**60}), (2, {"v": 2})])
    made.registry = ColumnRegistry.from_wire({"v": "float", "u": "float"})
    await made.add([(3, {"v": 3.5})])
    one, [built] = await made.merge()
    made.files.replace(one.moved, [built])
    table = pq.read_table(io.BytesIO(built.data))
    assert table.column("v").to_pylist() == [1.0, 2.0, 3.5]
    assert {key: exactly(value) for key, value in (await made.found()).items()} == {
        key: exactly(value) for key, value in made.live.items()
    }


async def test_a_column_stays_required_where_every_source_has_it_so():
    made = Made()
    await made.add([(1, {"both": 1, "one": 1, "kind": 1}), (2, {"both": 2, "one": 2, "kind": 2})])
    await made.add([(3, {"both": 3, "kind": "text"}), (4, {"both": 4})], registry=ColumnRegistry.empty())
    one, [built] = await made.merge(group_rows=3)
    made.files.replace(one.moved, [built])
    required = {field.name for field in pq.read_schema(pa.BufferReader(built.data)) if not field.nullable}
    assert required == {"$id", "$seq", "both", "version", "createdAt", "updatedAt"}
    assert {key: exactly(value) for key, value in (await made.found()).items()} == {
        key: exactly(value) for key, value in made.live.items()
    }


async def test_residual_fields_are_forgotten_with_the_rows_that_had_them():
    made = Made()
    await made.add([(1, {"n": 1}), (2, {"n": "text"})], dead=[1])
    _, [built] = await made.merge()
    assert built.file.residual_paths == frozenset()


async def test_files_of_a_wanted_size_whose_rows_do_not_overlap():
    made = Made()
    for offset in range(3):
        await made.add([(number, {"text": f"{number * 7919:020d}" * 20}) for number in range(offset, 3000, 3)])
    stored = sum(file.bytes for file in made.files.files)
    one, built = await made.merge(file_bytes=stored // 4, group_rows=100)
    assert [each.file.rows for each in built] == [750] * 4
    assert all(one.file.id_max < two.file.id_min for one, two in pairwise(built))
    assert one.moved.starts == (0, 750, 1500, 2250, 3000)


async def test_rows_of_large_documents_come_in_smaller_groups(monkeypatch):
    monkeypatch.setattr(merging, "GROUP_BYTES_MAX", 100_000)
    made = Made()
    await made.add([(number, {"text": chr(97 + number % 26) * 10_000}) for number in range(40)])
    _, [built] = await made.merge()
    assert 3 <= pq.ParquetFile(pa.BufferReader(built.data)).num_row_groups <= 20


async def test_rows_and_deletion_vectors_find_their_new_places():
    made = Made()
    first = await made.add([(number, {}) for number in (0, 2, 4, 6)], dead=[1])
    second = await made.add([(number, {}) for number in (1, 3, 5)])
    other = await made.add([(9, {})])
    one, built = await made.merge([first, second], file_bytes=1, group_rows=2)
    moved = one.moved
    assert [each.file.rows for each in built] == [1] * 6
    assert moved.location(Location(first.key, 1)) is None
    assert moved.location(Location(second.key, 2)) == Location(built[4].file.key, 0)
    dead = moved.dead({first.key: BitMap([0, 1]), second.key: BitMap([2]), other.key: BitMap([0])})
    assert dead == {built[0].file.key: BitMap([0]), built[4].file.key: BitMap([0]), other.key: BitMap([0])}
    assert moved.dead({}) == {}


async def test_rows_that_died_during_the_merge_are_dead_afterwards():
    made = Made()
    first = await made.add([(number, {"n": number}) for number in range(5)], indexed=True)
    one = Merge(made.files, made.files.files, made.registry, file_bytes=ROOMY)
    made.files.kill(Location(first.key, 3))
    await one.begin()
    built = [await one.next_file("data/2-new.parquet")]
    made.files.kill(Location(first.key, 0))
    made.files.replace(one.moved, built)
    assert made.files.live_dead == {"data/2-new.parquet": BitMap([0, 3])}
    assert set(await made.files.fetch([f"{number:05d}" for number in range(5)])) == {"00001", "00002", "00004"}
    assert made.files.in_use() == {first.key}  # This test still holds it.
    del first, one
    assert made.files.in_use() == frozenset()


async def test_files_without_a_live_row_become_nothing():
    made = Made()
    file = await made.add([(1, {}), (2, {})], dead=[0, 1])
    one, built = await made.merge()
    assert built == []
    made.files.replace(one.moved, built)
    assert made.files.files == ()
    assert one.moved.location(Location(file.key, 0)) is None


async def test_two_live_rows_of_one_id_are_corruption():
    made = Made()
    await made.add([(1, {}), (2, {})])
    await made.add([(2, {}), (3, {})])
    with pytest.raises(CorruptionError, match=r"have the same \$id"):
        await made.merge()


async def test_a_damaged_source_is_named():
    made = Made()
    file = await made.add([(1, {}), (2, {})])
    await made.store.delete(f"posts/{file.key}")
    with pytest.raises(CorruptionError, match="the object is missing") as caught:
        await made.merge()
    assert caught.value.key == f"posts/{file.key}"


def test_the_schema_of_many_files():
    registry = ColumnRegistry.from_wire({"a": "int", "s": {"x": "str", "y": "int"}})
    one = pa.schema({"$id": pa.string(), "$seq": pa.int64(), "z": pa.bool_(), "$residual": pa.string()})
    two = pa.schema(
        {
            "$id": pa.string(),
            "$seq": pa.int64(),
            "s": pa.struct({"y": pa.int64(), "odd": pa.date32()}),
            "a": pa.float64(),
            "$residual": pa.string(),
        }
    )
    three = pa.schema({"s": pa.struct({"x": pa.string()})})
    schema = common_schema([one, two, three], registry)
    assert list(schema) == ["$id", "$seq", "a", "s", "z", "$residual"]
    assert schema["a"] == pa.int64()
    assert schema["s"] == pa.struct({"x": pa.string(), "y": pa.int64(), "odd": pa.date32()})

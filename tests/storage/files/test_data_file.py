"""Building one Parquet file, and what other programs see in it."""

import math
from datetime import UTC, date, datetime

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import xxhash
from pyarrow.dataset import dataset, field
from pyroaring import BitMap

from parquedb.documents.codec import decode, encode
from parquedb.errors import CorruptionError
from parquedb.storage.files import deletions
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import DataFile, build, low_cardinality
from tests.support.columns import document


def flights(count):
    rows = []
    for n in range(count):
        body = {"carrier": "UA" if n % 3 else "AA", "delay": n - 10, "ratio": n / 7, "tail": f"N{n}"}
        body |= {"weather": {"temp": 71.5, "wind": 3}, "tags": ["x", "y"], "day": date(2026, 1, 1 + n % 9)}
        rows.append((document(body | {"note": None if n == 4 else "ok"}, n), 1_000 + n))
    return rows


@pytest.fixture
def built():
    return build("data/3-abc.parquet", list(reversed(flights(200))), ColumnRegistry.empty())


def test_the_file_describes_itself(built):
    file = built.file
    assert (file.key, file.rows, file.bytes) == ("data/3-abc.parquet", 200, len(built.data))
    assert file.checksum == xxhash.xxh3_64_intdigest(built.data)
    assert (file.id_min, file.id_max, file.seq_first, file.seq_last) == ("00000", "00199", 1_000, 1_199)
    assert file.sorted
    assert file.residual_paths == {"note"}
    assert file.stats["delay"] == ("int", -10, 189, 0)
    assert file.stats["weather.temp"] == ("float", 71.5, 71.5, 0)
    assert file.stats["carrier"] == ("str", "AA", "UA", 0)
    assert file.stats["note"].nulls == 1
    assert file.stats["day"] == ("date", 20454, 20462, 0)
    assert file.stats["createdAt"].kind == "time"
    assert file.stats["tags"] == ("", None, None, 0)


def test_the_description_survives_the_wire(built):
    assert DataFile.from_wire(decode(encode(built.file.to_wire()))) == built.file


def test_the_index_finds_every_row_by_the_hash_of_its_bare_id(built):
    assert built.id_hashes.dtype == np.uint64
    assert built.positions.dtype == np.uint32
    assert (np.diff(built.id_hashes.astype(object)) > 0).all()
    by_hash = dict(zip(built.id_hashes.tolist(), built.positions.tolist(), strict=True))
    assert all(by_hash[xxhash.xxh3_64_intdigest(f"{n:05d}".encode())] == n for n in range(200))


def test_parquet_readers_see_sorted_compressed_rows_with_dictionaries_only_where_they_pay(built):
    metadata = pq.ParquetFile(pa.BufferReader(built.data)).metadata
    assert metadata.metadata[b"parquedb.format"] == b"1"
    group = metadata.row_group(0)
    assert [column.column_index for column in group.sorting_columns] == [0]
    columns = {group.column(at).path_in_schema: group.column(at) for at in range(group.num_columns)}
    with_dictionary = {path for path, column in columns.items() if column.has_dictionary_page}
    assert {path for path, column in columns.items() if column.compression == "SNAPPY"} == with_dictionary
    assert {path for path, column in columns.items() if column.compression == "ZSTD"} == set(columns) - with_dictionary
    assert {"carrier", "weather.temp", "tags.list.element", "note", "day"} <= with_dictionary
    assert not {"$id", "$seq", "$residual", "tail", "ratio", "delay"} & with_dictionary
    assert columns["delay"].statistics.max == 189


def test_a_sample_that_is_mostly_distinct_can_come_from_a_column_of_few_values():
    rng = np.random.default_rng(1)
    many, step = 100_000, 100_000 // 4_096
    table = pa.table(
        {
            "few": rng.integers(0, 4_000, many),
            "text": pa.array(rng.integers(0, 4_000, many).astype(str)),
            "long": pa.array(np.char.add("x" * 400, rng.integers(0, 4_000, many).astype(str))),
            "half": np.where(np.arange(many) % (2 * step) < step, 0, np.arange(many)),
            "many": rng.integers(0, 60_000, many),
            "unique": np.arange(many),
            "none": pa.nulls(many, pa.int64()),
        }
    )
    sampled = table.column("few").take(pa.array(np.arange(0, many, step)))
    assert pc.count_distinct(sampled).as_py() > len(sampled) / 2
    assert low_cardinality(table) == ["few", "text"]
    assert low_cardinality(table.slice(0, 5_000)) == []


def test_duckdb_and_pandas_read_plain_typed_columns(built, tmp_path):
    path = tmp_path / "file.parquet"
    path.write_bytes(built.data)
    with duckdb.connect() as connection:
        described = connection.sql(f"describe select * from '{path}'").fetchall()
        query = f"select count(*), count(*) filter (delay > 100), min(weather.temp) from '{path}'"
        counted = connection.sql(query).fetchall()
    kinds = {name: kind for name, kind, *_ in described}
    assert kinds["delay"] == "BIGINT"
    assert kinds["createdAt"] == "TIMESTAMP WITH TIME ZONE"
    assert kinds["weather"].replace('"', "") == "STRUCT(temp DOUBLE, wind BIGINT)"
    assert kinds["tags"] == "VARCHAR[]"
    assert kinds["day"] == "DATE"
    assert counted == [(200, 89, 71.5)]
    assert pq.read_table(path).to_pandas()["delay"].sum() == sum(range(-10, 190))


def test_columns_in_which_no_row_lacks_a_value_are_required_and_read_together_with_others(built, tmp_path):
    schema = pq.read_schema(pa.BufferReader(built.data))
    assert {field.name for field in schema if field.nullable} == {"note", "$residual"}
    rows = [(document({"delay": 7, "note": "x", "weather": {"temp": 1.5}}, 900), 1), (document({}, 901), 2)]
    for name, data in {"full": built.data, "gaps": build("data/4", rows, ColumnRegistry.empty()).data}.items():
        (tmp_path / f"{name}.parquet").write_bytes(data)
    with duckdb.connect() as connection:
        files = f"read_parquet('{tmp_path}/*.parquet', union_by_name => true)"
        counted = connection.sql(f"select count(*), count(delay), count(weather.temp), count(note) from {files}")
        assert counted.fetchall() == [(202, 201, 201, 200)]
    paths = [str(tmp_path / "full.parquet"), str(tmp_path / "gaps.parquet")]
    for order in (paths, paths[::-1]):
        assert dataset(order).count_rows(filter=field("delay").is_null()) == 1
    lazy = polars.scan_parquet([paths[0], paths[1]], extra_columns="ignore", missing_columns="insert")
    assert lazy.select("delay").collect()["delay"].null_count() == 1


def test_statistics_do_not_see_nan_and_bound_long_texts():
    long = "é" * 100
    bodies = [
        {"f": math.nan, "s": long, "n": math.nan},
        {"f": 2.5, "s": "a", "n": math.nan},
        {"f": -0.5, "s": "\U0010ffff" * 70},
    ]
    stats = build("k", [(document(body, n), n) for n, body in enumerate(bodies)], ColumnRegistry.empty()).file.stats
    assert stats["f"] == ("float", -0.5, 2.5, 0)
    assert stats["n"] == ("float", None, None, 1)
    assert stats["s"] == ("str", "a", None, 0)
    [file] = [build("k", [(document({"s": long}, 0), 1)], ColumnRegistry.empty()).file]
    assert file.stats["s"].low == "é" * 64
    assert long < file.stats["s"].high == "é" * 63 + "ê"


def test_a_file_needs_rows_and_distinct_ids():
    with pytest.raises(ValueError, match="at least one row"):
        build("k", [], ColumnRegistry.empty())
    with pytest.raises(ValueError, match="two rows of a data file have the same \\$id"):
        build("k", flights(2) + flights(1), ColumnRegistry.empty())


def test_a_deletion_vector_survives_storage_and_masks_a_range_of_rows():
    dead = BitMap([0, 7, 70_000])
    again = deletions.decode(deletions.encode(dead), key="data/x", rows=70_001)
    assert again == dead
    assert np.flatnonzero(~deletions.live_mask(again, 5, 10)).tolist() == [2]
    assert deletions.live_mask(None, 5, 10).all()
    assert deletions.live_mask(again, 8, 70_000).all()


@pytest.mark.parametrize("data", [b"", b"abc", deletions.encode(BitMap(range(0, 9_000, 7)))[:50]])
def test_a_damaged_deletion_vector_is_corruption_that_names_the_file(data):
    with pytest.raises(CorruptionError, match="object 'data/x' is corrupt: deletion vector unreadable"):
        deletions.decode(data, key="data/x", rows=10)


def test_a_deletion_vector_that_names_a_row_past_the_end_is_corruption():
    with pytest.raises(CorruptionError, match="'data/x' is corrupt: deletion vector names row 10 of 10"):
        deletions.decode(deletions.encode(BitMap([10])), key="data/x", rows=10)


def test_times_of_all_years_keep_their_bounds():
    years = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
    rows = [(document({"t": when}, n), n) for n, when in enumerate(years)]
    stats = build("k", rows, ColumnRegistry.empty()).file.stats["t"]
    assert (stats.low, stats.high) == (-62_135_596_800_000_000, 253_402_300_799_999_999)

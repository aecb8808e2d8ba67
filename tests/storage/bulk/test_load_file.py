"""Files of bulk loads: what is said of them."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import AlreadyExistsError, ValidationError
from parquedb.storage.bulk import load_file as bulk_file
from parquedb.storage.bulk.load_file import Plan, build
from parquedb.storage.bulk.table import rows_of
from parquedb.storage.files.column_stats import column_stats, file_stats
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import write_table

NOON = datetime(2026, 1, 2, 12, 0, 0, 5, UTC)
PLAN = Plan("posts", NOON, None, "$id", ColumnRegistry.empty())


def odd_values(count: int) -> pa.Table:
    nan = [float("nan"), -0.0, 0.0, None, float("inf"), 1.5]
    texts = ["", "é" * 90, "z" * 5000, None, "\U0010ffff" * 70, "a"]
    columns: dict[str, Any] = {
        "$id": [f"r{number:05}" for number in range(count)],
        "n": [None if at % 5 == 0 else at - 3 for at in range(count)],
        "f": [nan[at % 6] for at in range(count)],
        "only_nan": [float("nan")] * count,
        "s": [texts[at % 6] for at in range(count)],
        "b": [at % 2 == 0 for at in range(count)],
        "raw": [b"\xff" if at % 2 else None for at in range(count)],
        "day": [date(1900, 1, 1) if at % 3 else None for at in range(count)],
        "at": pa.array([NOON] * count, pa.timestamp("us", "UTC")),
        "price": pa.array([Decimal("-1.50")] * count, pa.decimal128(9, 2)),
        "late": [None] * (count - 1) + [7],
        "tags": [None if at % 4 == 0 else ["a"] for at in range(count)],
        "place": [None if at % 7 == 0 else {"x": at, "deep": {"ys": [1.0] if at % 2 else None}} for at in range(count)],
    }
    return pa.table(columns)


@pytest.mark.parametrize("group_rows", [7, 1000])
def test_the_footer_tells_what_going_through_the_values_would(group_rows: int) -> None:
    table = odd_values(60)
    data = write_table(table, sorted_by_id=True, row_group_rows=group_rows)
    told = file_stats(pq.read_metadata(pa.BufferReader(data)))
    counted = column_stats(table)
    # Text longer than the writer keeps has no bounds there, and lists have no number of rows.
    long = {"s"}
    lists = {"tags", "place.deep.ys"}
    assert {path: one for path, one in told.items() if path not in long | lists} == {
        path: one for path, one in counted.items() if path not in long | lists
    }
    assert {told[path].nulls for path in lists} == {-1}
    assert told["s"].nulls == counted["s"].nulls
    assert told["s"].low in {None, counted["s"].low}
    assert told["s"].high is None


def test_a_built_file_says_of_lists_in_how_many_rows_they_are_missing() -> None:
    table = odd_values(60)
    file = build("data/x", rows_of(table, PLAN, 0), PLAN).file
    counted = column_stats(table)
    assert {path: file.stats[path].nulls for path in counted} == {path: one.nulls for path, one in counted.items()}


def test_large_data_becomes_several_files_of_which_each_id_is_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_file, "FILE_ROWS_MAX", 25)
    parts = rows_of(odd_values(60), PLAN, 0).parts()
    assert [len(part.ids) for part in parts] == [20, 20, 20]
    files = [build("data/x", part, PLAN).file for part in parts]
    assert [(file.id_min, file.id_max) for file in files] == [
        ("r00000", "r00019"),
        ("r00020", "r00039"),
        ("r00040", "r00059"),
    ]


def test_an_id_that_comes_twice_is_refused_wherever_it_stands() -> None:
    with pytest.raises(AlreadyExistsError, match="posts/b: more than once in the data"):
        rows_of(pa.table({"$id": ["b", "a", "c", "b"]}), PLAN, 0)


@pytest.mark.parametrize("name", ["$id", "s"])
def test_text_that_is_none_is_refused(name: str) -> None:
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff"))
    table = pa.table({"$id": pa.array(["x", "y"]), "s": pa.array(["1", "2"])} | {name: broken})
    with pytest.raises(ValidationError, match=f"(?s){'.' if name == 's' else ''}.*valid Arrow data"):
        build("data/x", rows_of(table, PLAN, 0), PLAN)

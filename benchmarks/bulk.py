"""Loading a million flights: Arrow data beside `pyarrow.parquet.write_table`, dicts beside SQLite."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

import parquedb
from benchmarks.bench import Bench, end_actors, take_turns
from benchmarks.flights import flights
from benchmarks.table import Row, compared
from parquedb.storage.data_file import ROW_GROUP_ROWS

NAME = "bulk"
NOTE_ARROW = (
    "Rows per second of one call of the sync client, durable when it returns: the Arrow table goes to the owner, who "
    "checks it, makes ids' index and statistics, and commits. The peer writes the same table with zstd and the same "
    "row groups to a file, in this process, and nothing else."
)
NOTE_DICTS = (
    "Documents per second of one `create_many` of dicts, durable when it returns, beside one SQLite transaction that "
    "inserts id and orjson text of each."
)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    table = flights(bench.choose(1_000_000, 50_000))
    database = parquedb.connect(**bench.place("local"))
    numbers = iter(range(1_000_000))
    database.collection("warm").insert_arrow(table.slice(0, 1000))

    def insert() -> float:
        collection = database.collection(f"arrow{next(numbers)}")
        collection.count()
        started_s = time.perf_counter()
        assert collection.insert_arrow(table, timeout_s=120) == table.num_rows
        return table.num_rows / (time.perf_counter() - started_s)

    def write() -> float:
        target = bench.scratch / f"plain{next(numbers)}.parquet"
        started_s = time.perf_counter()
        pq.write_table(table, target, compression="zstd", row_group_size=ROW_GROUP_ROWS)
        elapsed_s = time.perf_counter() - started_s
        target.unlink()
        return table.num_rows / elapsed_s

    arrow = take_turns(bench.choose(5, 2), {"ours": insert, "peer": write})
    what = f"insert_arrow, {table.num_rows // 1000} k rows, ids ascending"
    rows = [
        compared(
            *(what, arrow["ours"], arrow["peer"]),
            unit="rows/s",
            peer="write_table",
            bar=(">=", 0.8),
            note=NOTE_ARROW,
        )
    ]
    rows.append(_dicts(bench, database, table.slice(0, bench.choose(100_000, 5_000)), numbers))
    end_actors(database.settings)
    database.close()
    return rows


def _dicts(bench: Bench, database: Any, table: pa.Table, numbers: Any) -> Row:
    documents = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]

    def create() -> float:
        collection = database.collection(f"dicts{next(numbers)}")
        collection.count()
        started_s = time.perf_counter()
        collection.create_many(documents, timeout_s=120)
        return len(documents) / (time.perf_counter() - started_s)

    timed: dict[str, Callable[[], float]] = {
        "ours": create,
        "peer": lambda: _sqlite(bench.scratch / f"s{next(numbers)}.db", documents),
    }
    results = take_turns(bench.choose(5, 2), timed)
    what = f"create_many of dicts, {len(documents) // 1000} k"
    return compared(
        *(what, results["ours"], results["peer"]), unit="docs/s", peer="SQLite", bar=(">=", 0.6), note=NOTE_DICTS
    )


def _sqlite(path: Path, documents: list[dict[str, Any]]) -> float:
    with sqlite3.connect(path) as session:
        session.execute("create table docs (id text primary key, body text)")
        started_s = time.perf_counter()
        session.executemany(
            "insert into docs values (?, ?)", ((one["$id"], orjson.dumps(one).decode()) for one in documents)
        )
        session.commit()
        elapsed_s = time.perf_counter() - started_s
    path.unlink()
    return len(documents) / elapsed_s

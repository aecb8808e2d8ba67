"""Loading a million flights: Arrow data beside `write_table` and delta-rs, dicts beside SQLite."""

import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import WriterProperties, write_deltalake

import parquedb
from benchmarks.bench import Bench, end_actors, take_turns
from benchmarks.flights import flights
from benchmarks.table import Row, compared, quantity
from parquedb.storage.files.data_file import ROW_GROUP_ROWS

NAME = "bulk"
NOTE_ARROW = (
    "Rows per second of one call of the sync client to a running owner, durable (fsync) when it returns: this process "
    "makes two files and stores them, the owner checks and commits. write_table writes the same table with zstd and "
    "the same row groups to a file, in this process and on one processor, and nothing else; delta-rs appends it to a "
    "local table, zstd, the same row groups. Neither peer syncs."
)
NOTE_CPU = (
    "Processor time of both processes per call, by the processor time of one write_table: the two files are made on "
    "two processors, so the rate alone would flatter."
)
NOTE_DICTS = (
    "Documents per second of one `create_many` of dicts, durable when it returns, beside one SQLite transaction that "
    "inserts id and orjson text of each."
)

_USER, _SYSTEM = 11, 12
"""Places of the two in `/proc/<pid>/stat`, counted from behind the name."""


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    table = flights(bench.choose(1_000_000, 50_000))
    database = parquedb.connect(**bench.place("local"))
    numbers = iter(range(1_000_000))
    database.collection("warm").insert_arrow(table.slice(0, 50_000))
    spent: dict[str, list[float]] = {"ours": [], "peer": []}

    def insert() -> float:
        collection = _opened(database, f"arrow{next(numbers)}")
        pids = (os.getpid(), collection.stats()["pid"])
        started_s, before_s = time.perf_counter(), _cpu_s(*pids)
        assert collection.insert_arrow(table, timeout_s=120) == table.num_rows
        elapsed_s = time.perf_counter() - started_s
        spent["ours"].append(_cpu_s(*pids) - before_s)
        return table.num_rows / elapsed_s

    def write() -> float:
        target = bench.scratch / f"plain{next(numbers)}.parquet"
        started_s, before_s = time.perf_counter(), _cpu_s(os.getpid())
        pq.write_table(table, target, compression="zstd", row_group_size=ROW_GROUP_ROWS)
        elapsed_s = time.perf_counter() - started_s
        spent["peer"].append(_cpu_s(os.getpid()) - before_s)
        target.unlink()
        return table.num_rows / elapsed_s

    rates = take_turns(
        bench.choose(5, 2), {"ours": insert, "write_table": write, "delta": lambda: _delta(bench, table, numbers)}
    )
    what = f"insert_arrow, {table.num_rows // 1000} k rows, ids ascending"
    rows = [
        compared(what, rates["ours"], rates[peer], unit="rows/s", peer=name, bar=(">=", bar), note=NOTE_ARROW)
        for peer, name, bar in (("write_table", "write_table", 0.8), ("delta", "delta-rs append", 1.0))
    ]
    rows.append(_processor_time(spent))
    rows.append(_dicts(bench, database, table.slice(0, bench.choose(100_000, 5_000)), numbers))
    end_actors(database.settings)
    database.close()
    return rows


def _opened(database: Any, namespace: str) -> Any:
    """Return a new namespace whose owner has made a file: the first one takes it longer, for it loads libraries."""
    collection = database.collection(namespace)
    collection.insert_arrow(pa.table({"$id": ["0"]}))
    return collection


def _cpu_s(*pids: int) -> float:
    """Processor seconds that some processes have taken, as Linux tells them."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[_USER]) + int(one[_SYSTEM]) for one in stats) / os.sysconf("SC_CLK_TCK")


def _processor_time(spent: dict[str, list[float]]) -> Row:
    ours, peer = statistics.median(spent["ours"]), statistics.median(spent["peer"])
    return Row(
        "the same, processor time",
        f"{quantity(1000 * ours)} ms",
        f"{quantity(1000 * peer)} ms (write_table)",
        ours / peer,
        note=NOTE_CPU,
    )


def _delta(bench: Bench, table: pa.Table, numbers: Iterator[int]) -> float:
    target = bench.scratch / f"delta{next(numbers)}"
    properties = WriterProperties(compression="ZSTD", max_row_group_size=ROW_GROUP_ROWS)
    write_deltalake(target, table.slice(0, 1), writer_properties=properties)
    started_s = time.perf_counter()
    write_deltalake(target, table, mode="append", writer_properties=properties)
    elapsed_s = time.perf_counter() - started_s
    shutil.rmtree(target)
    return table.num_rows / elapsed_s


def _dicts(bench: Bench, database: Any, table: pa.Table, numbers: Any) -> Row:
    documents = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]

    def create() -> float:
        collection = _opened(database, f"dicts{next(numbers)}")
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

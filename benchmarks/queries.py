"""Queries over a million flights beside DuckDB on plain Parquet of the live rows, without the actor call."""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyroaring import BitMap

from benchmarks.bench import Bench
from benchmarks.flights import flights
from benchmarks.table import Row, compared, percentile, quantity
from parquedb.actors.host.process import GC_THRESHOLDS
from parquedb.documents.filters import compile_filter
from parquedb.documents.sorting import parse_sort
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.bulk.load_file import Plan, build
from parquedb.storage.bulk.table import rows_of
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.query import scan, top
from parquedb.storage.query.scan_plan import ScanSnapshot

NAME = "queries"
NAMESPACE = "flights"
CACHE_BYTES = 1 << 30
ANCHOR_GROUP_ROWS = 122_880
DEAD_SHARE = 0.05
POINT_READS = 256
NOTE = (
    "One million documents, read by the owner's own code in this process, without the call; DuckDB (2 threads) on "
    "plain zstd Parquet of the live rows with row groups of 122 880. Warm: the columns are decoded in the cache. Cold: "
    "only the footers are in memory; the files are in the page cache. DuckDB always reads its files."
)
NOTE_FIND = (
    "Whole documents as Python dicts on both sides, by `$id` here and by the id column in DuckDB where it says so."
)
NOTE_READS = "Time per document of a batch of 256 random ids when nothing is decoded; one file, 5 % dead rows."
NOTE_LAG = "How late a timer of 1 ms fires on the loop while a filter that no column can answer asks every document."
NOTE_INDEX = "Sorted hashes and positions of all ids, loaded."

COUNTS: dict[str, tuple[dict[str, Any], str, float]] = {
    "dep_delay > 60": ({"dep_delay": {"$gt": 60}}, "dep_delay > 60", 1.3),
    "carrier = UA and distance > 4000": (
        {"carrier": "UA", "distance": {"$gt": 4000}},
        "carrier = 'UA' and distance > 4000",
        1.3,
    ),
    "weather.temp > 80": ({"weather.temp": {"$gt": 80}}, "weather.temp > 80", 1.6),
    "tailnum = absent value": ({"tailnum": "N12345x"}, "tailnum = 'N12345x'", 1.3),
    "scheduled out of range": (
        {"scheduled": {"$gt": datetime(2030, 1, 1, tzinfo=UTC)}},
        "scheduled > timestamptz '2030-01-01 00:00:00+00'",
        1.6,
    ),
}
TWO_FIELDS = ({"carrier": "UA", "dep_delay": {"$gt": 60}}, "carrier = 'UA' and dep_delay > 60")


async def _in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


@dataclass(frozen=True)
class Place:
    """The same rows here and in DuckDB."""

    files: DataFiles
    duck: duckdb.DuckDBPyConnection
    source: str
    name: str

    def snapshot(self) -> ScanSnapshot:
        """What a query sees."""
        return ScanSnapshot.of(self.files)

    async def cool(self) -> None:
        """Forget everything but the footers."""
        self.files.cache.close()
        for file in self.files.files:
            await self.files.cache.footer(file)


async def stored(root: Path, table: pa.Table, count: int, dead_share: float) -> Place:
    """Store a table as `count` data files, and its live rows as as many Parquet files for DuckDB."""
    place = root / f"{count}-{int(dead_share * 100)}"
    (place / "plain").mkdir(parents=True)
    live = np.ones(table.num_rows, np.bool_)
    dead = np.random.default_rng(1).choice(table.num_rows, int(table.num_rows * dead_share), replace=False)
    live[dead] = False
    store = LocalBackend(place / "db")
    files = DataFiles(store, NAMESPACE, cache_bytes_max=CACHE_BYTES, run=_in_thread)
    plan = Plan(NAMESPACE, datetime(2026, 1, 1, tzinfo=UTC), None, "$id", ColumnRegistry.empty())
    size = -(-table.num_rows // count)
    for number in range(count):
        start = number * size
        rows = table.slice(start, size)
        made = build(f"data/1-{number:04d}.parquet", rows_of(rows, plan, 0), plan)
        await store.create(f"{NAMESPACE}/{made.file.key}", made.data)
        mine = np.flatnonzero(~live[start : start + size]).astype(np.uint32)
        files.add(replace(made.file, seq_first=start + 1, seq_last=start + rows.num_rows), None, BitMap(mine))
        plain = rows.filter(pa.array(live[start : start + size]))
        pq.write_table(
            plain, place / "plain" / f"{number:04d}.parquet", compression="zstd", row_group_size=ANCHOR_GROUP_ROWS
        )
    duck = duckdb.connect(config={"threads": 2})
    name = f"{count} file{'s' if count > 1 else ''}, {round(dead_share * 100)} % dead"
    return Place(files, duck, f"read_parquet('{place}/plain/*.parquet')", name)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    # As an owner has them: at Python's defaults the search for garbage alone stops the loop for 40 ms.
    gc.set_threshold(*GC_THRESHOLDS)
    gc.freeze()
    table = flights(bench.choose(1_000_000, 50_000))
    rows: list[Row] = []
    for count in (1, 20):
        for dead_share in (0.0, DEAD_SHARE):
            place = bench.run(stored(bench.scratch / "queries", table, count, dead_share))
            rows += bench.run(_counts(bench, place))
            rows += bench.run(_finds(bench, place))
            if (count, dead_share) == (1, DEAD_SHARE):
                rows += bench.run(_alone(bench, place, table))
            place.duck.close()
            place.files.close()
    return rows


async def _counts(bench: Bench, place: Place) -> list[Row]:
    rows = []
    for name, (filter_, condition, cold_bar) in COUNTS.items():
        predicate = compile_filter(filter_)
        query = f"select count(*) from {place.source} where {condition}"

        async def ours(predicate: Any = predicate) -> int:
            return await scan.count(place.snapshot(), predicate)

        def theirs(query: str = query) -> int:
            return int(place.duck.execute(query).fetchone()[0])  # type: ignore[index]

        mine, other = await ours(), theirs()
        assert mine == other, f"{name}: {mine} here, {other} in DuckDB"
        for state, bar in (("warm", 0.5), ("cold", cold_bar)):
            times: dict[str, list[float]] = {"ours": [], "duckdb": []}
            for turn in range(bench.choose(15, 3)):
                if state == "cold":
                    await place.cool()
                if turn % 2:
                    times["duckdb"].append(_ms_of(theirs))
                times["ours"].append(await _ms(ours))
                if not turn % 2:
                    times["duckdb"].append(_ms_of(theirs))
            what, peers = f"count {state}, {name}, {place.name}", times["duckdb"]
            rows.append(compared(what, times["ours"], peers, unit="ms", peer="DuckDB", bar=("<=", bar), note=NOTE))
    return rows


async def _finds(bench: Bench, place: Place) -> list[Row]:
    filter_, condition = TWO_FIELDS
    predicate, sort = compile_filter(filter_), parse_sort("-dep_delay")

    async def hundred() -> list[dict[str, Any]]:
        return await scan.find(place.snapshot(), predicate, limit=100)

    async def ten() -> list[dict[str, Any]]:
        return await top.find_sorted(place.snapshot(), compile_filter({"dep_delay": {"$exists": True}}), sort, limit=10)

    late = "order by dep_delay desc nulls last limit 10"
    pairs: dict[str, tuple[Callable[[], Awaitable[list[dict[str, Any]]]], str, float]] = {
        "find of two fields, limit 100": (hundred, f"where {condition} limit 100", 1.15),
        "find of two fields by id, limit 100": (hundred, f'where {condition} order by "$id" limit 100', 0.8),
        "top 10 by dep_delay": (ten, late, 1.5),
    }
    rows = []
    for name, (ours, clause, bar) in pairs.items():

        def theirs(clause: str = clause) -> list[dict[str, Any]]:
            found = place.duck.execute(f"select * from {place.source} {clause}")
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

        assert len(await ours()) == len(theirs())
        times: dict[str, list[float]] = {"ours": [], "duckdb": []}
        for _ in range(bench.choose(9, 3)):
            times["ours"].append(await _ms(ours))
            times["duckdb"].append(_ms_of(theirs))
        what = f"{name}, {place.name}"
        rows.append(
            compared(what, times["ours"], times["duckdb"], unit="ms", peer="DuckDB", bar=("<=", bar), note=NOTE_FIND)
        )
    return rows


async def _alone(bench: Bench, place: Place, table: pa.Table) -> list[Row]:
    """What stands beside no peer: memory of the ids, cold reads, the loop beside a full scan."""
    files = place.files
    await files.load_index()
    per_document = files.index_bytes / table.num_rows
    generator = np.random.default_rng(2)
    ids = np.array(table.column("$id").to_pylist())
    reads = []
    for _ in range(bench.choose(7, 2)):
        wanted = generator.choice(ids, POINT_READS, replace=False).tolist()
        await place.cool()

        async def fetch(wanted: list[str] = wanted) -> object:
            return await files.fetch(wanted)

        reads.append(await _ms(fetch) / POINT_READS)
    late = await _lag_beside(lambda: scan.count(place.snapshot(), compile_filter({"tags.0": {"$gt": "z"}})))
    read_ms, p99 = statistics.median(reads), percentile(late, 0.99)
    return [
        Row(
            "index memory of an open namespace",
            f"{quantity(per_document)} bytes a document",
            "",
            per_document,
            ("<=", 20),
            note=NOTE_INDEX,
        ),
        Row(
            "point reads, cold, batches of 256",
            f"{quantity(read_ms)} ms",
            "",
            read_ms,
            ("<=", 0.4),
            (min(reads), max(reads)),
            NOTE_READS,
        ),
        Row("lag of the event loop beside a full scan, p99", f"{quantity(p99)} ms", "", p99, ("<=", 20), note=NOTE_LAG),
    ]


async def _lag_beside(work: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds by which a timer was late while `work` ran."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            started_s = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - started_s - 0.001) * 1000)

    watching = asyncio.create_task(watch())
    await work()
    watching.cancel()
    return late


async def _ms(step: Callable[[], Awaitable[object]]) -> float:
    started_s = time.perf_counter()
    await step()
    return (time.perf_counter() - started_s) * 1000


def _ms_of(step: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    step()
    return (time.perf_counter() - started_s) * 1000

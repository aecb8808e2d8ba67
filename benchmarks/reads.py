"""Reading: documents by id from many callers, and queries beside DuckDB on the same Parquet files."""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import ray

import parquedb
from benchmarks.bench import Bench, end_actors, rate, take_turns
from benchmarks.noop import start_noop
from benchmarks.table import Row, compared

NAME = "reads"
NAMESPACE = "flights"
CALLERS = 256
CARRIERS = ("AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV", "9E")
AIRPORTS = tuple(f"{first}{second}X" for first in "ABCDEFGHIJ" for second in "ABCDEFGHIJ")
BULK = 2_000
WORKING_SET = 50_000
NOTE_GET = (
    f"{CALLERS} coroutines, each awaiting its own `get` of one of {WORKING_SET:,} documents in random order, "
    "which lie in a Parquet file and have been read before."
)
NOTE_UPDATE = (
    f"{CALLERS} coroutines, each awaiting its own `update` (`$set` and `$inc` at the `expected_version`) of the next "
    f"of {WORKING_SET:,} documents that have been read before; acknowledged when it is on the disk."
)
NOTE_QUERY = (
    "Median time of one call of the sync client beside the same question asked of DuckDB in this process, on the "
    "owner's Parquet files; DuckDB does without the actor call, and returns tuples where `find` returns documents."
)


def flights(count: int) -> list[dict[str, Any]]:
    """Documents like those of a flight table; the same ones every time."""
    generator = random.Random(2013)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    return [
        {
            "$id": f"f{number:07d}",
            "$type": "Flight",
            "carrier": generator.choice(CARRIERS),
            "flight": generator.randrange(1, 8_500),
            "origin": generator.choice(("EWR", "JFK", "LGA")),
            "dest": generator.choice(AIRPORTS),
            "scheduled": start + timedelta(minutes=2 * number),
            "dep_delay": None if generator.random() < 0.025 else round(generator.gauss(12, 40)),
            "distance": generator.randrange(80, 5_000),
            "air_time": generator.random() * 600,
        }
        for number in range(count)
    ]


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    count = bench.choose(200_000, 10_000)
    place = bench.place("local")
    documents = flights(count)
    database = parquedb.connect(**place)
    collection = database.collection(NAMESPACE)
    started_s = time.perf_counter()
    for first in range(0, count, BULK):
        collection.create_many(documents[first : first + BULK])
    loaded_s = time.perf_counter() - started_s
    collection.flush(timeout_s=120)
    flushed_s = time.perf_counter() - started_s - loaded_s
    bench.say(f"{count} documents stored in {loaded_s:.1f} s, flushed in {flushed_s:.1f} s")
    # In this order: what has been updated lies in the files twice, until it is merged.
    queries = _queries(bench, collection, Path(place["url"]), count)
    rows = [*_by_id(bench, place, [document["$id"] for document in documents]), *queries]
    end_actors(database.settings)
    database.close()
    return rows


def _by_id(bench: Bench, place: dict[str, Any], ids: list[str]) -> list[Row]:
    """Single documents, from many callers, beside the calls that an idle actor can answer."""
    noop = start_noop()
    database = bench.run(parquedb.connect_async(**place))
    collection = database.collection(NAMESPACE)
    generator = random.Random(1)
    working_set = generator.sample(ids, min(WORKING_SET, len(ids) // 2))
    seconds = bench.choose(2.0, 0.5)
    versions = dict.fromkeys(working_set, 1)
    turns, updated = itertools.cycle(working_set), itertools.cycle(working_set)

    async def get() -> None:
        assert await collection.get(next(turns)) is not None

    async def update() -> None:
        id_ = next(updated)
        operators = {"$set": {"air_time": 1.5}, "$inc": {"flight": 1}}
        versions[id_] = (await collection.update(id_, operators, expected_version=versions[id_]))["version"]

    async def call() -> None:
        await noop.f.remote()

    async def read_all() -> None:
        for start in range(0, len(working_set), CALLERS):
            await asyncio.gather(*map(collection.get, working_set[start : start + CALLERS]))

    bench.run(read_all())
    variants = {
        name: partial(_rate, bench, step, seconds) for name, step in (("get", get), ("update", update), ("noop", call))
    }
    take_turns(1, variants)
    results = take_turns(bench.choose(5, 2), variants)
    bench.run(database.close())
    ray.kill(noop)
    peer = {"unit": "/s", "peer": "no-op actor calls", "bar": (">=", 20.0)}
    return [
        compared(f"point reads, {CALLERS} callers", results["get"], results["noop"], note=NOTE_GET, **peer),
        compared(f"versioned updates, {CALLERS} callers", results["update"], results["noop"], note=NOTE_UPDATE, **peer),
    ]


def _rate(bench: Bench, step: Callable[[], Coroutine[Any, Any, None]], seconds: float) -> float:
    return bench.run(rate(step, callers=CALLERS, seconds=seconds))


def _queries(bench: Bench, collection: Any, directory: Path, count: int) -> list[Row]:
    files = sorted(str(file) for file in directory.rglob("*.parquet"))
    session = duckdb.connect()
    session.execute("set threads = 2")
    source = f"read_parquet({files!r}, union_by_name = true)"
    [[stored]] = session.execute(f"select count(*) from {source}").fetchall()
    assert stored == count, f"{stored} rows in the files, {count} documents"
    late = "dep_delay > 60 and carrier = 'UA'"
    filter_ = {"dep_delay": {"$gt": 60}, "carrier": "UA"}
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "count, two conditions": (
            lambda: collection.count(filter_),
            lambda: session.execute(f"select count(*) from {source} where {late}").fetchone()[0],  # type: ignore[index]
        ),
        "count, all": (
            collection.count,
            lambda: session.execute(f"select count(*) from {source}").fetchone()[0],  # type: ignore[index]
        ),
        "find, first 100 by id": (
            lambda: len(collection.find(filter_, limit=100).items),
            lambda: len(
                session.execute(f'select * from {source} where {late} order by "$id" limit 100').fetchall(),
            ),
        ),
        "find, 5 000 matches": (
            lambda: len(collection.find({"distance": {"$lt": 1000}}, limit=5000).items),
            lambda: len(
                session.execute(f'select * from {source} where distance < 1000 order by "$id" limit 5000').fetchall()
            ),
        ),
    }
    rows = []
    for name, (ours, theirs) in pairs.items():
        mine, other = ours(), theirs()
        assert mine == other, f"{name}: {mine} here, {other} in DuckDB"
        timed = {"ours": _timed_ms(ours), "duckdb": _timed_ms(theirs)}
        take_turns(2, timed)
        blocks = [take_turns(bench.choose(6, 3), timed) for _ in range(bench.choose(3, 2))]
        medians = {side: [statistics.median(block[side]) for block in blocks] for side in timed}
        what = f"{name}, {count // 1000} k documents"
        rows.append(compared(what, medians["ours"], medians["duckdb"], unit="ms", peer="DuckDB", note=NOTE_QUERY))
    session.close()
    return rows


def _timed_ms(step: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        started_s = time.perf_counter()
        step()
        return (time.perf_counter() - started_s) * 1000

    return timed

"""Durable single-document creates of many concurrent callers, beside the calls that an idle actor can answer."""

from typing import Any

import ray

import parquedb
from benchmarks.bench import Bench, end_actors, rate, take_turns
from benchmarks.noop import start_noop
from benchmarks.table import Row, compared

NAME = "throughput"
CALLERS = 256
BAR = (">=", 20.0)
NOTE = (
    f"{CALLERS} coroutines of one process, each awaiting its own call before the next; a create is acknowledged when it "
    "is on the disk or stored by the S3 server (SeaweedFS on the same machine)."
)


def document() -> dict[str, Any]:
    """A small document, as an application would log an event."""
    return {
        "$type": "Event",
        "name": "page viewed",
        "user": "u-20418",
        "path": "/products/42",
        "duration_ms": 137,
        "score": 0.75,
        "tags": ["web", "checkout"],
    }


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    noop = start_noop()
    seconds = bench.choose(2.0, 0.5)
    databases = {
        store: bench.run(parquedb.connect_async(**bench.place(store))) for store in bench.choose(("local", "s3"), ("local", "s3"))
    }
    collections = {store: database.collection("events") for store, database in databases.items()}

    async def call() -> None:
        await noop.f.remote()

    def creates(store: str) -> float:
        collection = collections[store]
        return bench.run(rate(lambda: collection.create(document()), callers=CALLERS, seconds=seconds))

    variants = {"noop": lambda: bench.run(rate(call, callers=CALLERS, seconds=seconds))}
    variants |= {store: (lambda store=store: creates(store)) for store in databases}
    take_turns(1, variants)
    results = take_turns(bench.choose(7, 2), variants)
    rows = [
        compared(
            f"durable creates, {CALLERS} callers, {'local directory' if store == 'local' else 'S3'}",
            results[store],
            results["noop"],
            unit="/s",
            peer="no-op actor calls",
            bar=BAR,
            note=NOTE,
        )
        for store in databases
    ]
    for database in databases.values():
        end_actors(database.settings)
        bench.run(database.close())
    ray.kill(noop)
    return rows

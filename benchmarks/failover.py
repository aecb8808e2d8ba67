"""Beginnings: the first acknowledgement after `kill -9` and a new owner's first read, beside those of idle actors."""

import os
import signal
import time
from typing import Any

import ray
from ray.exceptions import RayActorError

import parquedb
from benchmarks.bench import Bench, end_actors, take_turns
from benchmarks.noop import start_noop
from benchmarks.table import Row, compared
from benchmarks.throughput import document
from parquedb.cluster.runtime.placement import find

NAME = "failover"
RETRY_S = 0.005
ROUNDS = 15
"""Kills of each; the median of fewer moves by a tenth from run to run."""

NOTE = (
    "Seconds from SIGKILL of the process until the next `create` of the sync client returns, beside the same for a "
    "call of an actor that does nothing, repeated by hand until it answers; local directory."
)
NOTE_COLD = (
    "Seconds until the first `get` of the sync client returns when the namespace (10 000 documents in a Parquet file) "
    "has been left by its owner, beside the first answer of a new actor whose class needs nothing but Ray."
)
COLD_DOCUMENTS = 10_000


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    return [_failover(bench), _cold_open(bench)]


def _cold_open(bench: Bench) -> Row:
    place = bench.place("local")
    with parquedb.connect(**place) as database:
        collection = database.collection("events")
        ids = [f"e{number:05d}" for number in range(COLD_DOCUMENTS)]
        collection.create_many([{**document(), "$id": id_} for id_ in ids])
        collection.flush()

        def first_read_s() -> float:
            # As after its idle time: the owner has said farewell, and its process is gone.
            ray.get(find(database.settings, "events").close.remote())  # type: ignore[union-attr]
            end_actors(database.settings)
            # Another connection: one that has called the owner before would call the dead one first.
            with parquedb.connect(**place) as fresh:
                started_s = time.perf_counter()
                assert fresh.collection("events").get(ids[4321], timeout_s=60) is not None
                return time.perf_counter() - started_s

        results = take_turns(bench.choose(5, 2), {"ours": first_read_s, "bare": _bare_start_s})
        end_actors(database.settings)
    return compared(
        *("first read of a namespace without owner", results["ours"], results["bare"]),
        unit="s",
        peer="first answer of a new bare actor",
        bar=("<=", 1.5),
        note=NOTE_COLD,
    )


def _bare_start_s() -> float:
    # Defined here, so that it travels by value and its process imports nothing of ours.
    class Bare:
        async def f(self) -> None:
            """Do nothing."""

    started_s = time.perf_counter()
    actor: Any = ray.remote(num_cpus=0)(Bare).remote()  # type: ignore[attr-defined]
    ray.get(actor.f.remote())
    elapsed_s = time.perf_counter() - started_s
    ray.kill(actor)
    return elapsed_s


def _failover(bench: Bench) -> Row:
    noop = start_noop()
    database = parquedb.connect(**bench.place("local"))
    collection = database.collection("events")
    collection.create(document())
    variants = {"ours": lambda: _ours_s(collection), "noop": lambda: _noop_s(noop)}
    results = take_turns(bench.choose(ROUNDS, 2), variants)
    end_actors(database.settings)
    database.close()
    ray.kill(noop)
    what = "owner killed to next durable create"
    return compared(
        *(what, results["ours"], results["noop"]),
        unit="s",
        peer="restart of a no-op actor",
        bar=("<=", 1.3),
        note=NOTE,
    )


def _ours_s(collection: Any) -> float:
    os.kill(collection.stats()["pid"], signal.SIGKILL)
    started_s = time.perf_counter()
    collection.create(document(), timeout_s=60)
    return time.perf_counter() - started_s


def _noop_s(noop: Any) -> float:
    os.kill(ray.get(noop.pid.remote()), signal.SIGKILL)
    started_s = time.perf_counter()
    while True:
        try:
            ray.get(noop.f.remote(), timeout=60)
        except RayActorError:
            time.sleep(RETRY_S)
        else:
            return time.perf_counter() - started_s

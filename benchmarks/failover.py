"""From `kill -9` of the owner's process to the first durable acknowledgement, beside Ray's restart of an idle actor."""

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

NAME = "failover"
RETRY_S = 0.005
NOTE = (
    "Seconds from SIGKILL of the process until the next `create` of the sync client returns, beside the same for a "
    "call of an actor that does nothing, repeated by hand until it answers; local directory."
)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    noop = start_noop()
    database = parquedb.connect(**bench.place("local"))
    collection = database.collection("events")
    collection.create(document())
    variants = {"ours": lambda: _ours_s(collection), "noop": lambda: _noop_s(noop)}
    results = take_turns(bench.choose(5, 2), variants)
    end_actors(database.settings)
    database.close()
    ray.kill(noop)
    what = "owner killed to next durable create"
    return [compared(what, results["ours"], results["noop"], unit="s", peer="restart of a no-op actor", note=NOTE)]


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

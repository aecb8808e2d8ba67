"""Durable single-document creates of many concurrent callers, beside the calls that an idle actor can answer."""

import os
import statistics
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import ray

import parquedb
from benchmarks.bench import WHERE, Bench, end_actors, rate, take_turns
from benchmarks.noop import start_noop
from benchmarks.table import Row, compared, quantity

NAME = "throughput"
CALLERS = 256
BAR = (">=", 20.0)
NOTE = (
    f"{CALLERS} coroutines of one process, each awaiting its own call before the next; a create is acknowledged when "
    "it is on the disk or stored by the S3 server (SeaweedFS on the same machine)."
)
NOTE_CPU = (
    "CPU time per create (per no-op call) of the caller's process and of the actor's, flushes included. The ratio is "
    "that of the busier processes: what the rates come to when each has its own core. Other load distorts it less."
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


class Measured:
    """The rate of a call by many callers, and the CPU time it takes on both sides.

    Attributes:
        cpu_us: (caller, actor) of each round, microseconds per call.
    """

    def __init__(self, bench: Bench, call: Callable[[], Coroutine[Any, Any, object]], pid: int) -> None:
        self._bench = bench
        self._call = call
        self._pid = pid
        self.cpu_us: list[tuple[float, float]] = []

    def __call__(self) -> float:
        """Measure one round; returns calls per second."""
        seconds = self._bench.choose(2.0, 0.5)
        before = time.process_time(), cpu_s(self._pid), time.perf_counter()
        per_s = self._bench.run(rate(self._call, callers=CALLERS, seconds=seconds))
        after = time.process_time(), cpu_s(self._pid), time.perf_counter()
        caller, actor, elapsed_s = (end - start for end, start in zip(after, before, strict=True))
        calls = per_s * elapsed_s
        self.cpu_us.append((caller / calls * 1e6, actor / calls * 1e6))
        return per_s

    def busier(self) -> list[float]:
        """The CPU time of the busier side in each round."""
        return [max(each) for each in self.cpu_us]

    def sides(self) -> str:
        """Both sides' medians, in words."""
        caller, actor = (statistics.median(side) for side in zip(*self.cpu_us, strict=True))
        return f"{quantity(caller)} + {quantity(actor)}"


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all threads; NaN where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    noop = start_noop()

    async def call() -> None:
        await noop.f.remote()

    variants = {"noop": Measured(bench, call, ray.get(noop.pid.remote()))}
    databases = []
    for store in WHERE:
        database = bench.run(parquedb.connect_async(**bench.place(store)))
        databases.append(database)
        variants[store] = bench.run(_creates(bench, database))
    take_turns(1, variants)
    for variant in variants.values():
        variant.cpu_us.clear()
    results = take_turns(bench.choose(7, 2), variants)
    rows = []
    for store, where in WHERE.items():
        what = f"durable creates, {CALLERS} callers, {where}"
        peer = "no-op actor calls"
        rows.append(compared(what, results[store], results["noop"], unit="/s", peer=peer, bar=BAR, note=NOTE))
        rows.append(_cpu_row(f"CPU per durable create, {where}", variants[store], variants["noop"]))
    for database in databases:
        end_actors(database.settings)
        bench.run(database.close())
    ray.kill(noop)
    return rows


async def _creates(bench: Bench, database: parquedb.AsyncDatabase) -> Measured:
    collection = database.collection("events")
    await collection.create(document())
    pid = (await collection.stats())["pid"]

    async def create() -> None:
        await collection.create(document())

    return Measured(bench, create, pid)


def _cpu_row(what: str, ours: Measured, noop: Measured) -> Row:
    ratios = [theirs / mine for mine, theirs in zip(ours.busier(), noop.busier(), strict=True)]
    ratio = statistics.median(noop.busier()) / statistics.median(ours.busier())
    spread = min(ratios), max(ratios)
    return Row(what, f"{ours.sides()} µs", f"{noop.sides()} µs (no-op)", ratio, spread=spread, note=NOTE_CPU)

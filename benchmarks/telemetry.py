"""What full tracing costs, beside the same database without any: processor time and the slowest writes."""

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import parquedb
from benchmarks.bench import Bench, end_actors, take_turns
from benchmarks.hooks import process_cpu_s
from benchmarks.table import Row, percentile, quantity
from benchmarks.throughput import document
from parquedb.observability.otel.export import Telemetry, take_process_telemetry
from tests.support.collector import running_collector
from tests.support.lost_collectors import silent

NAME = "telemetry"
BATCH = 64
CPU_BAR = ("<=", 1.05)
P99_BAR = ("<=", 1.05)
NOTE_CPU = (
    "CPU time of the caller's process and of the owner's, all threads, export included; every trace sampled "
    "(`always_on`) and sent over OTLP to a running collector (rotel). Its own time is not in the ratio, but told: it "
    "shares the machine, and its caches. Both variants are databases in a local directory, each with its own owner, "
    "and take turns; the ratio is the median of those of neighbouring rounds, the spread that of the middle half. Each "
    "round waits until its own spans have left, which is after 250 ms here and after 5 s by default: of what an export "
    "costs whatever it carries, a round pays more than a user does."
)
NOTE_SINGLES = (
    f"{BATCH} coroutines that each create one document at a time, so that about {BATCH} leave in one call: each has a "
    "span of its own, besides the three of the call, its commit and its PUT. Measured as above."
)
NOTE_P99 = (
    "Lone creates whose spans go, from both processes, to a collector that accepts connections and never answers, "
    "beside the same without telemetry; they take turns call by call."
)
EXPORT_MS = "250"
SETTLED_S = 0.3
_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_BSP_SCHEDULE_DELAY")


@dataclass
class Variant:
    """A database with one owner, traced or not.

    Attributes:
        database: Asynchronous.
        pid: The owner's process.
        telemetry: Of this process, for this database; None without.
    """

    database: parquedb.AsyncDatabase
    pid: int
    telemetry: Telemetry | None

    @property
    def events(self) -> Any:
        """The collection that is written."""
        return self.database.collection("events")


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    folder = bench.scratch / "collector"
    folder.mkdir()
    with running_collector(folder, forward=False) as collector, silent() as hole:
        plain = bench.run(_variant(bench, None))
        traced = bench.run(_variant(bench, collector.http_endpoint))
        lost = bench.run(_variant(bench, hole))
        rows = _cpu(bench, plain, traced, collector.pid)
        rows.append(_p99(bench, plain, lost))
        for variant in (plain, traced, lost):
            end_actors(variant.database.settings)
            bench.run(variant.database.close())
            if variant.telemetry is not None:
                variant.telemetry.shutdown(0.2)
    return rows


async def _variant(bench: Bench, endpoint: str | None) -> Variant:
    """Start a database whose client and owner send to `endpoint`, or nothing at all."""
    before = {name: os.environ.pop(name, None) for name in _VARIABLES}
    if endpoint is not None:
        # Short, so that each round pays for the export of its own spans.
        os.environ |= dict(zip(_VARIABLES, (endpoint, "always_on", EXPORT_MS), strict=True))
    try:
        take_process_telemetry()
        database = await parquedb.connect_async(**bench.place("local"))
        events = database.collection("events")
        await events.create(document())
        return Variant(database, (await events.stats())["pid"], take_process_telemetry())
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _cpu(bench: Bench, plain: Variant, traced: Variant, collector: int) -> list[Row]:
    documents = [document() for _ in range(BATCH)]
    operations = [{"op": "create", "data": each} for each in documents]

    async def create_many(events: Any) -> int:
        await events.create_many(documents)
        return BATCH

    async def batch(events: Any) -> int:
        await events.batch(operations)
        return BATCH

    async def singles(events: Any) -> int:
        await asyncio.gather(*(events.create(each) for each in documents))
        return BATCH

    rows = []
    for what, work, note in (
        (f"CPU per create, one `create_many` of {BATCH}, traced", create_many, NOTE_CPU),
        (f"CPU per create, one `batch` of {BATCH}, traced", batch, NOTE_CPU),
        (f"CPU per create, {BATCH} concurrent, traced", singles, NOTE_SINGLES),
    ):
        variants = {name: _round(bench, variant, work) for name, variant in (("plain", plain), ("traced", traced))}
        take_turns(2, variants)
        dropped, taken_s, rounds = _dropped(traced), process_cpu_s(collector), bench.choose(24, 3)
        results = take_turns(rounds, variants)
        taken_us = (process_cpu_s(collector) - taken_s) / (rounds * _calls(bench) * BATCH) * 1e6
        beside = f"{_dropped(traced) - dropped} spans dropped, collector {quantity(taken_us)} µs"
        rows.append(_cpu_row(f"{what}; {beside}", results, note))
    return rows


def _round(bench: Bench, variant: Variant, work: Callable[[Any], Any]) -> Callable[[], float]:
    """Return what measures so many calls and the export of what they have left, in microseconds per operation."""

    async def calls() -> float:
        before_s, done = _cpu_s(variant), 0
        for _ in range(_calls(bench)):
            done += await work(variant.events)
        # Without telemetry as well: what else goes on meanwhile is no difference between them.
        await asyncio.sleep(SETTLED_S)
        return (_cpu_s(variant) - before_s) / done * 1e6

    return lambda: bench.run(calls())


def _calls(bench: Bench) -> int:
    return bench.choose(100, 20)


def _cpu_s(variant: Variant) -> float:
    return time.process_time() + process_cpu_s(variant.pid)


def _dropped(variant: Variant) -> int:
    telemetry = variant.telemetry
    return 0 if telemetry is None or telemetry.provider is None else telemetry.provider.queue.dropped


def _cpu_row(what: str, results: dict[str, list[float]], note: str) -> Row:
    # Neighbours in time share whatever else the machine is doing.
    ratios = sorted(with_ / without for with_, without in zip(results["traced"], results["plain"], strict=True))
    ours, peer = (statistics.median(results[name]) for name in ("traced", "plain"))
    quarter = len(ratios) // 4
    spread = (ratios[quarter], ratios[-1 - quarter])
    figure, beside = f"{quantity(ours)} µs", f"{quantity(peer)} µs (untraced)"
    return Row(what, figure, beside, statistics.median(ratios), CPU_BAR, spread, note)


def _p99(bench: Bench, plain: Variant, lost: Variant) -> Row:
    rounds, calls = bench.choose(10, 2), bench.choose(500, 100)
    ratios: list[float] = []
    took: dict[str, list[float]] = {"plain": [], "lost": []}

    async def alternate() -> None:
        for _ in range(rounds):
            part: dict[str, list[float]] = {"plain": [], "lost": []}
            for turn in range(calls):
                pairs = [("plain", plain), ("lost", lost)]
                for name, variant in pairs if turn % 2 else reversed(pairs):
                    started_s = time.perf_counter()
                    await variant.events.create(document())
                    part[name].append(time.perf_counter() - started_s)
            ratios.append(percentile(part["lost"], 0.99) / percentile(part["plain"], 0.99))
            for name, values in part.items():
                took[name] += values

    bench.run(alternate())
    ours, peer = (percentile(took[name], 0.99) for name in ("lost", "plain"))
    figure, beside = f"{quantity(ours * 1e3)} ms", f"{quantity(peer * 1e3)} ms (no telemetry)"
    what = "p99 of a lone create, collector a black hole"
    return Row(what, figure, beside, ours / peer, P99_BAR, (min(ratios), max(ratios)), NOTE_P99)

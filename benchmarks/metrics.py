"""What counting costs: processor time of client and owner per operation, with metrics on and with metrics off."""

import asyncio
import statistics
from pathlib import Path

import parquedb
from benchmarks.bench import Bench, end_actors
from benchmarks.table import Row, quantity
from benchmarks.throughput import document

CONCURRENT = 64
BAR = ("<=", 1.01)
NOTE = (
    f"CPU time of the client's and the owner's process together, of {CONCURRENT} calls made at once, waves of which "
    "follow each other; two databases take turns, and differ in the setting `metrics` alone. The median of the rounds."
)


class _Variant:
    """One database, and what its operations cost."""

    def __init__(self, bench: Bench, *, metrics: bool) -> None:
        self._bench = bench
        self._database = bench.run(parquedb.connect_async(**bench.place("local"), metrics=metrics))
        self._events = self._database.collection("events")
        bench.run(self._events.create(document(), id="one"))
        self._pid = bench.run(self._events.stats())["pid"]

    def cost_us(self, operation: str, waves: int) -> float:
        """Microseconds of CPU that an operation takes, measured over so many waves."""
        before_s = cpu_s("self") + cpu_s(self._pid)
        self._bench.run(self._waves(operation, waves))
        return (cpu_s("self") + cpu_s(self._pid) - before_s) / (waves * CONCURRENT) * 1e6

    async def _waves(self, operation: str, waves: int) -> None:
        events = self._events
        for _ in range(waves):
            if operation == "create":
                await asyncio.gather(*[events.create(document()) for _ in range(CONCURRENT)])
            else:
                await asyncio.gather(*[events.get("one") for _ in range(CONCURRENT)])

    def close(self) -> None:
        end_actors(self._database.settings)
        self._bench.run(self._database.close())


def cpu_s(pid: int | str) -> float:
    """CPU seconds of all threads of a process that live now; finer than the ticks of `/proc/<pid>/stat`."""
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total_ns += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # It has just ended.
    return total_ns / 1e9


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    counted, bare = _Variant(bench, metrics=True), _Variant(bench, metrics=False)
    rows = []
    for operation in ("create", "get"):
        waves = bench.choose(25, 20)
        for variant in (counted, bare):
            variant.cost_us(operation, waves)
        with_us, without_us = [], []
        for turn in range(bench.choose(80, 5)):
            for variant in (counted, bare) if turn % 2 else (bare, counted):
                (with_us if variant is counted else without_us).append(variant.cost_us(operation, waves))
        mine, theirs = statistics.median(with_us), statistics.median(without_us)
        ratios = sorted(one / other for one, other in zip(with_us, without_us, strict=True))
        spread = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        what = f"CPU per {operation}, {CONCURRENT} at once, metrics on (off); spread of the middle half"
        rows.append(
            Row(
                what,
                f"{quantity(mine)} µs",
                f"{quantity(theirs)} µs (off)",
                statistics.median(ratios),
                BAR,
                spread,
                NOTE,
            )
        )
    for variant in (counted, bare):
        variant.close()
    return rows

"""What registered hooks cost a call: hooks that listen to nothing it does, and hooks that listen to all and do nothing.

The hooks are put in and taken out in the same two processes, client and owner, from one turn to the next: two pairs of
processes differ from each other by more than is to be measured here.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import parquedb
from benchmarks.bench import Bench, end_actors, take_turns
from benchmarks.table import Row, quantity
from benchmarks.throughput import document
from parquedb.observability.hooks import CALLBACKS, HookRegistry

NAME: Final = "hooks"
OPERATIONS: Final = 64
BAR: Final = ("<=", 1.01)
QUIET: Final = {"flush_interval_s": 3600, "compaction_interval_s": 3600, "collect_interval_s": 3600}
"""Settings under which an owner does nothing in the background: that would fall into some turns and not into others."""

NOTE: Final = (
    f"CPU time of client and owner together for {OPERATIONS} operations, in one call (`batch`) or by as many callers "
    "at once, in a local directory. *Idle*: three hooks are registered on both sides that listen to other things "
    "(circuits, compactions). *Doing nothing*: one hook on both sides has all callbacks, and they return at once; each "
    "operation then has a context and a result made, and two callbacks run on the hook's thread. *Inline*: the same, "
    "in place."
)


class Elsewhere:
    """Listens to nothing that a call does."""

    def on_circuit_change(self, ctx: object) -> None: ...

    def on_compaction(self, ctx: object) -> None: ...


def nothing(*_: object) -> None:
    """Do nothing."""


EVERYWHERE: Final = type("Everywhere", (), dict.fromkeys(CALLBACKS, staticmethod(nothing)))
INLINE: Final = type("Inline", (EVERYWHERE,), {"inline": True})
HOOKS: Final = {
    "none": [],
    "again": [],
    "idle": [Elsewhere, Elsewhere, Elsewhere],
    "doing nothing": [EVERYWHERE],
    "inline": [INLINE],
}

_registered: list[Callable[[], None]] = []


def put_in(hooks: HookRegistry, name: str) -> None:
    """Have these hooks in a registry of this process, and no others of ours."""
    while _registered:
        _registered.pop()()
    _registered.extend(hooks.register_hook(kind()) for kind in HOOKS[name])


def put_in_owner(owner: Any, name: str) -> None:
    """Do the same in an owner; runs there."""
    put_in(owner._hooks, name)


def process_cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, to the nanosecond (Linux: the clock of another process)."""
    return time.clock_gettime((~pid << 3) | 2)


class Measured:
    """The CPU time of a call under some hooks."""

    def __init__(
        self, bench: Bench, database: parquedb.AsyncDatabase, call: Callable[[Any], Awaitable[object]], pid: int
    ) -> None:
        self._bench = bench
        self._database = database
        self._call = call
        self._pid = pid

    def under(self, name: str) -> Callable[[], float]:
        """Return what measures one turn: microseconds of CPU per call."""

        return lambda: self._bench.run(self._turn(name))

    async def _turn(self, name: str) -> float:
        collection, hooks = self._database["events"], self._database._connection.hooks
        put_in(hooks, name)
        owner = collection.actor
        await owner.__ray_call__.remote(put_in_owner, name)
        await collection.flush()
        took = []
        for _ in range(self._bench.choose(16, 5)):
            before = time.process_time() + process_cpu_s(self._pid)
            await self._call(collection)
            took.append(time.process_time() + process_cpu_s(self._pid) - before)
        # The hooks' threads run a moment later, in the calls that follow; so the first ones are too cheap.
        return statistics.median(took[len(took) // 4 :]) * 1e6


async def batch(collection: Any) -> None:
    """Create documents in one call."""
    await collection.batch([{"op": "create", "data": document()} for _ in range(OPERATIONS)])


async def creates(collection: Any) -> None:
    """Create documents, each by a caller of its own."""
    await asyncio.gather(*(collection.create(document()) for _ in range(OPERATIONS)))


async def gets(collection: Any) -> None:
    """Get documents, each by a caller of its own."""
    await asyncio.gather(*(collection.get(f"g{number}") for number in range(OPERATIONS)))


CALLS: Final = {
    f"batch of {OPERATIONS} creates": batch,
    f"{OPERATIONS} creates at once": creates,
    f"{OPERATIONS} gets at once": gets,
}


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    database = bench.run(parquedb.connect_async(**bench.place("local"), engine=QUIET))
    pid = bench.run(_filled(database))
    rows: list[Row] = []
    for what, call in CALLS.items():
        measured = Measured(bench, database, call, pid)
        results = take_turns(bench.choose(40, 3), {name: measured.under(name) for name in HOOKS})
        rows += [_row(what, name, results) for name in HOOKS if name != "none"]
    end_actors(database.settings)
    bench.run(database.close())
    return rows


async def _filled(database: parquedb.AsyncDatabase) -> int:
    events = database["events"]
    for number in range(OPERATIONS):
        await events.create(document(), id=f"g{number}")
    pid: int = (await events.stats())["pid"]
    return pid


def _row(what: str, name: str, results: dict[str, list[float]]) -> Row:
    ratios = sorted(mine / theirs for mine, theirs in zip(results[name], results["none"], strict=True))
    quarter = len(ratios) // 4
    words = "no hooks, once more" if name == "again" else f"hooks {name}"
    return Row(
        f"CPU of {what}, {words}",
        f"{quantity(statistics.median(results[name]))} µs",
        f"{quantity(statistics.median(results['none']))} µs (no hooks)",
        statistics.median(ratios),
        bar=BAR if name == "idle" else None,
        # The middle half: a turn that other programs got in the way of says nothing.
        spread=(ratios[quarter], ratios[-1 - quarter]),
        note=NOTE,
    )

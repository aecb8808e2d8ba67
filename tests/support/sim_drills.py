"""A process is stopped at its first step, at its second, and so on until it comes to its end; each time all is judged.

    kill     it never goes on, and another takes its place
    pause    another takes its place, folds, merges and collects beyond all graces; then the first one goes on

A step is one time through `Process.gate`. Between two of them nothing leaves a process, so this is every await.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation
from parquedb.settings import EngineSettings
from tests.support.sim_clients import Client
from tests.support.sim_loaders import Loader
from tests.support.sim_plans import IDS, NAMESPACE, Plan
from tests.support.sim_world import World, calmly
from tests.support.simulation import Verdict, judge
from tests.support.virtual_loop import Process, run_virtually

Stop = Literal["kill", "pause"]
STOPS: tuple[Stop, ...] = ("kill", "pause")

_QUIET = Plan(name="drill", hosts=2, clients=0, fault_max=0.0, wander=0.0, duration_s=1e9)
_GRACE_S = 1.0
_PAUSE_S = 8.0
_EARLY_S = 0.05
_BESIDE = 6
"""Operations that go on beside the role's own work."""


class Drill:
    """One run of one role, stopped at one step.

    Args:
        role: Whose steps are counted; see `ROLES`.
        step: Which one it is stopped at, from 1.
        stop: How.
        seed: Of everything else, which is the same up to that step.
    """

    def __init__(self, role: str, step: int, stop: Stop, seed: int = 0) -> None:
        # Nothing happens by itself: owners fold, merge and collect when the drill says so.
        settings = EngineSettings(
            read_lease_s=0.2, flush_interval_s=3600, collect_interval_s=3600, compaction_interval_s=3600,
            compaction_files=2, log_grace_s=_GRACE_S, snapshot_grace_s=_GRACE_S, request_timeout_s=1.0,
        )  # fmt: skip
        self.world = World(seed, _QUIET, settings=settings)
        self.role = role
        self.step = step
        self.stop = stop
        self.owner, self.rival = self.world.hosts
        self.client = Client(self.world, 0)
        self.visitor = Client(self.world, 1)
        """Reads at the first owner's place when that one wakes up."""
        self.loader = Loader(self.world, 0)
        self.loader.calm = True
        self.steps = 0
        """Steps that the process came to before it was stopped or ended."""
        self._struck = asyncio.Event()

    @property
    def engine(self) -> NamespaceEngine:
        """What runs at the first owner's place."""
        assert self.owner.engine is not None
        return self.owner.engine

    async def run(self) -> Verdict:
        """Prepare, stop the process in its work, let a rival take over, judge."""
        self.world.watch()
        await self._prepare()
        work = _ROLES[self.role]
        process = self.loader.process if self.role == "loader" else self.owner.process
        process.on_gate = lambda number: self._at(process, number)
        beside = asyncio.ensure_future(self._write(_BESIDE))
        doing = asyncio.ensure_future(calmly(work(self)))
        struck = asyncio.ensure_future(self._struck.wait())
        await asyncio.wait([doing, struck], return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
        process.on_gate = None
        await self._take_over(process)
        await asyncio.wait([beside, struck], timeout=_PAUSE_S)
        await self._write(3)
        await self.world.calm()
        return await judge(self.world, [])

    def _at(self, process: Process, number: int) -> None:
        self.steps = number
        if number != self.step:
            return
        self.world.note("stopped", process.name, self.stop, number)
        if self.stop == "kill":
            process.dead = True
        else:
            process.paused_until_s = asyncio.get_running_loop().time() + _PAUSE_S
        self._struck.set()

    async def _take_over(self, process: Process) -> None:
        if process.dead and process is self.owner.process:
            self.owner.boot()
        self.client.favourite = self.rival.number
        await self.rival.activate()
        await self._write(2)
        await calmly(_fold(self.rival.engine))
        await asyncio.sleep(2 * _GRACE_S)
        await self._write(2)
        await calmly(_fold(self.rival.engine))
        await asyncio.sleep(max(0.0, process.paused_until_s - asyncio.get_running_loop().time() - _EARLY_S))
        self.visitor.favourite = self.owner.number
        await asyncio.gather(*(self.visitor.perform(Operation("get", id_), named=False) for id_ in IDS))
        await asyncio.sleep(1.0)

    async def _prepare(self) -> None:
        """Make two data files with dead rows, something superseded, and something in memory."""
        await self.owner.activate()
        for start in (0, 3):
            for number in range(start, start + 3):
                await self._do(Operation("create", f"doc{number}", {"n": number, "tag": f"made {number}"}))
            await calmly(self.engine.flush())
        await self._do(Operation("update", "doc1", {"$inc": {"n": 1}, "$set": {"tag": "changed"}}))
        await self._do(Operation("delete", "doc4", options={"hard": True}))
        await calmly(self.engine.flush())
        await self._do(Operation("update", "doc2", {"$inc": {"n": 1}, "$set": {"tag": "changed again"}}))
        await asyncio.sleep(2 * _GRACE_S)
        if self.role == "opener":
            # Whoever opens is the one to be stopped.
            self.owner.crash()

    async def _do(self, operation: Operation) -> None:
        await self.client.perform(operation, named=operation.is_write)

    async def _write(self, count: int) -> None:
        """Do some random operations, one after the other."""
        for _ in range(count):
            await self._do(self.client.make())


async def _fold(engine: NamespaceEngine | None) -> None:
    """Do everything that an owner does in the background."""
    if engine is not None and engine.state == "open":
        await engine.flush()
        await engine.compact()
        await engine.collect()


async def _as_writer(drill: Drill) -> None:
    update = {"$inc": {"n": 1}, "$set": {"tag": "by filter"}}
    parts = [Operation("create", "doc6", {"n": 1, "tag": "part"}), Operation("update", "doc0", update)]
    await drill._do(Operation("update_many", None, update, {"filter": {"n": {"$gte": 2}}}))
    await drill._do(Operation("batch", body=[part.to_wire() for part in parts]))
    await drill._do(Operation("upsert", None, update, {"filter": {"$id": f"{NAMESPACE}/doc7"}}))


async def _as_opener(drill: Drill) -> None:
    await drill.owner.activate()


async def _as_flusher(drill: Drill) -> None:
    await drill.engine.flush()


async def _as_compactor(drill: Drill) -> None:
    await drill.engine.compact()


async def _as_collector(drill: Drill) -> None:
    engine = drill.engine
    await engine.flush()
    await asyncio.sleep(2 * _GRACE_S)
    await engine.collect()


async def _as_loader(drill: Drill) -> None:
    await drill.loader.load([{"$id": f"load{number}", "n": number, "tag": "loaded"} for number in range(3)])


async def _as_committer(drill: Drill) -> None:
    """The owner's part in a load."""
    await _as_loader(drill)


async def _as_closer(drill: Drill) -> None:
    await drill.engine.close()


_ROLES: dict[str, Callable[[Drill], Awaitable[None]]] = {
    "writer": _as_writer,
    "opener": _as_opener,
    "flusher": _as_flusher,
    "compactor": _as_compactor,
    "collector": _as_collector,
    "loader": _as_loader,
    "committer": _as_committer,
    "closer": _as_closer,
}
ROLES = tuple(_ROLES)


def drill(role: str, step: int, stop: Stop, seed: int = 0) -> tuple[Verdict, bool]:
    """Run one drill; also say whether the process was stopped, or had come to its end before."""

    async def main() -> tuple[Verdict, bool]:
        one = Drill(role, step, stop, seed)
        return await one.run(), one.steps >= step

    verdict, stopped = run_virtually(main)
    return verdict, stopped

"""The places of the simulated cluster where owners live."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from parquedb import errors
from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Outcome
from parquedb.actors.requests.packing import decode_operations, encode_outcomes
from parquedb.observability.hooks import HookRegistry
from tests.support.sim_plans import NAMESPACE
from tests.support.virtual_loop import Process, SimClock

if TYPE_CHECKING:
    from tests.support.sim_world import World


class Host:
    """A place where an owner can live; one at a time, any number after each other."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.generation = 0
        self.engine: NamespaceEngine | None = None
        self.process = Process(f"h{number}.0")
        self.rng = world.rng_for(f"host{number}")

    @property
    def is_open(self) -> bool:
        """Whether an owner here believes that it is the owner."""
        return self.engine is not None and self.engine.state == "open"

    def boot(self) -> None:
        """Start a fresh process: memory is empty, the clock is another one."""
        self.generation += 1
        self.engine = None
        self.process = Process(f"h{self.number}.{self.generation}")

    def crash(self) -> None:
        self.world.note("crash", self.process.name)
        self.process.dead = True
        self.boot()

    async def activate(self) -> None:
        """Open the namespace here unless that is done or being done."""
        if self.engine is not None and self.engine.state in ("open", "opening", "new"):
            return
        process, world = self.process, self.world
        self.generation += 1
        clock = SimClock(process, rate=self.rng.uniform(0.95, 1.05), skew_s=self.rng.uniform(-2.4, 2.4))
        engine = NamespaceEngine(
            NAMESPACE,
            world.connect(process, clock, f"{process.name}.{self.generation}"),
            world.settings,
            clock=clock,
            rng=world.rng_for(f"engine{self.number}.{self.generation}"),
            hooks=HookRegistry(),
            run=runner(world, process, self.rng),
        )
        self.engine = engine
        try:
            await engine.open()
        except errors.CorruptionError as error:
            world.corrupt(error, f"opening at {process.name}")
        except errors.ParqueDBError as error:
            world.note("open failed", process.name, type(error).__name__)
        else:
            world.note("opened", process.name, engine.epoch)

    async def execute(self, payload: bytes) -> bytes:
        """Serve one call that has arrived."""
        process = self.process
        await process.gate()
        engine = self.engine
        operations = decode_operations(payload)
        if engine is None or engine.state != "open":
            error = errors.RpcUnavailableError("nobody is at home")
            outcomes = [Outcome(error=error)] * len(operations)
        else:
            outcomes = await engine.execute(operations)
        echoes = engine is None or not engine.fills_in
        reply = encode_outcomes(operations, outcomes, 0.0, echoes=echoes)
        await process.gate()
        return reply


def runner(world: "World", process: Process, rng: random.Random) -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Return what does CPU work in a process: in no time, but some time later."""

    async def run(work: Callable[[], Any]) -> Any:
        await asyncio.sleep(rng.uniform(0, 0.01))
        await process.gate()
        try:
            return work()
        except errors.ParqueDBError:
            raise
        except Exception as error:
            world.violate(f"CPU work of {process.name} failed: {error!r}")
            raise

    return run

"""One seeded run of the simulated cluster from beginning to verdict."""

from dataclasses import dataclass

from tests.support.sim_checker import Checker
from tests.support.sim_plans import PLANS, Plan
from tests.support.sim_world import World
from tests.support.virtual_loop import run_virtually


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a run.

    Attributes:
        seed: Of the run.
        violations: What must not be; empty when all is well.
        trace_hash: Equal for equal seeds.
        acknowledged: Operations that were acknowledged.
        entries: Log entries.
        zombies: Objects created where an object had been collected.
        counts: Other things that happened, by name: a run in which they never do proves nothing about them.
        trace: Everything that happened, when asked for.
    """

    seed: int
    violations: tuple[str, ...]
    trace_hash: str
    acknowledged: int
    entries: int
    zombies: int
    counts: dict[str, int]
    trace: tuple[str, ...] = ()


def simulate(seed: int, plan: Plan | None = None, *, traced: bool = False) -> Verdict:
    """Run one seed and judge it."""
    chosen = plan or PLANS[seed % len(PLANS)]

    async def main() -> Verdict:
        world = World(seed, chosen)
        trace = world.record() if traced else []
        await world.run()
        return await judge(world, trace)

    verdict = run_virtually(main)
    assert isinstance(verdict, Verdict)
    return verdict


async def judge(world: World, trace: list[str]) -> Verdict:
    """Check a world in which nothing happens any more."""
    checker = Checker(world)
    checker.check()
    # The last open adds an entry; documents and seq stay.
    await checker.check_final(await world.final_owner())
    return Verdict(
        world.seed,
        tuple(world.violations),
        world.trace_hash,
        sum(op.result == "ok" for op in world.ops),
        len(checker.history.landed),
        world.store.zombies,
        checker.counts(),
        tuple(trace),
    )

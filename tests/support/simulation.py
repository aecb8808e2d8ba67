"""One seeded run of the simulated cluster from beginning to verdict."""

from dataclasses import dataclass

from tests.support.sim_checker import Checker
from tests.support.sim_world import PLANS, Plan, World
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
        trace: Everything that happened, when asked for.
    """

    seed: int
    violations: tuple[str, ...]
    trace_hash: str
    acknowledged: int
    entries: int
    zombies: int
    trace: tuple[str, ...] = ()


def simulate(seed: int, plan: Plan | None = None, *, traced: bool = False) -> Verdict:
    """Run one seed and judge it."""
    chosen = plan or PLANS[seed % len(PLANS)]

    async def main() -> Verdict:
        world = World(seed, chosen)
        trace = world.record() if traced else []
        await world.run()
        checker = Checker(world)
        checker.check()
        host = await world.final_owner()
        # The last open adds an entry; documents and seq stay.
        await checker.check_final(host)
        return Verdict(
            seed,
            tuple(world.violations),
            world.trace_hash,
            sum(op.result == "ok" for op in world.ops),
            len(checker.history.landed),
            world.store.zombies,
            tuple(trace),
        )

    verdict = run_virtually(main)
    assert isinstance(verdict, Verdict)
    return verdict

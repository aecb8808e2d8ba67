"""The engine under rival owners, lost and late packets, pauses and crashes: nothing that was promised may break.

`PARQUEDB_SIM_SEEDS=500` runs seeds 0 to 499, `PARQUEDB_SIM_SEEDS=500-900` those from 500 on. See `docs/simulation.md`.
"""

import os

import pytest

from tests.support.sim_plans import PLANS
from tests.support.simulation import Verdict, simulate

SEEDS_DEFAULT = 3 * len(PLANS)


def seeds() -> range:
    first, dash, last = os.environ.get("PARQUEDB_SIM_SEEDS", str(SEEDS_DEFAULT)).rpartition("-")
    return range(int(first) if dash else 0, int(last))


@pytest.mark.timeout(0)
def test_no_seed_breaks_a_promise() -> None:
    verdicts = [simulate(seed) for seed in seeds()]
    broken = {verdict.seed: verdict.violations[:3] for verdict in verdicts if verdict.violations}
    assert not broken, "\n".join(f"seed {seed}: {what}" for seed, what in broken.items())
    # A run in which nobody got anything done proves nothing.
    assert sum(verdict.acknowledged for verdict in verdicts) > 20 * len(verdicts)
    assert len(verdicts) < SEEDS_DEFAULT or sum(verdict.zombies for verdict in verdicts) > 0


def test_the_same_seed_gives_the_same_trace() -> None:
    def facts(verdict: Verdict) -> tuple[str, int, int]:
        return verdict.trace_hash, verdict.acknowledged, verdict.entries

    assert facts(simulate(3)) == facts(simulate(3))
    assert facts(simulate(3)) != facts(simulate(8))

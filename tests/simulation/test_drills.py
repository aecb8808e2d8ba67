"""Every process stopped at every step: a sample of the drills here, all of them in `make test-sim`."""

import pytest

from tests.support.planted_bugs_data import BUGS
from tests.support.sim_drills import ROLES, STOPS, Stop, drill

STRIDE = 11
"""Only every so many-th step, beginning at another one for each role."""


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("role", ROLES)
def test_a_process_that_is_stopped_at_any_step_breaks_no_promise(role: str, stop: Stop) -> None:
    step, stopped = 1 + ROLES.index(role) % 5, True
    while stopped:
        verdict, stopped = drill(role, step, stop)
        assert not verdict.violations, f"{role}, {stop} at step {step}: {verdict.violations[:3]}"
        assert verdict.acknowledged > 8
        step += STRIDE
    assert step > STRIDE + 1, "it had hardly begun"


@pytest.mark.parametrize(
    ("bug", "role", "stop"),
    [
        ("reads without a lease", "writer", "pause"),
        ("an owner forgets the request of a load", "committer", "kill"),
        ("acknowledge before the put", "writer", "kill"),
    ],
)
def test_the_drills_find_planted_bugs(bug: str, role: str, stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS[bug](monkeypatch)
    assert any(drill(role, step, stop)[0].violations for step in range(1, 57, 2))

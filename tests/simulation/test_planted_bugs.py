"""The checker is checked: every planted bug has to be found, within the seeds that `docs/simulation.md` states."""

import pytest

from tests.support.planted_bugs_data import BUGS
from tests.support.sim_matrix import budgets, found_at

SEEDS_QUICK = 12
"""Bugs that need more are for the long runs."""

SEEDS_MAX = 500

BUDGETS = budgets()
QUICK = [bug for bug, seeds in BUDGETS.items() if seeds <= SEEDS_QUICK]
SLOW = [bug for bug in BUDGETS if bug not in QUICK]


def test_every_planted_bug_has_a_budget() -> None:
    assert set(BUDGETS) == set(BUGS)
    assert len(QUICK) >= 12
    assert max(BUDGETS.values()) <= SEEDS_MAX


@pytest.mark.parametrize("bug", QUICK)
def test_a_planted_bug_is_found(bug: str) -> None:
    check(bug)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", SLOW)
def test_a_rare_planted_bug_is_found(bug: str) -> None:
    check(bug)


def check(bug: str) -> None:
    found = found_at(bug, BUDGETS[bug])
    assert found is not None
    assert not found.is_stumble, f"this bug is planted badly: {found.violation}"

"""The checker is checked: every planted bug has to be found, within the seeds that `docs/simulation.md` states."""

import re
from pathlib import Path

import pytest

from tests.support.planted_bugs import BUGS
from tests.support.simulation import simulate

MATRIX = Path(__file__).resolve().parents[2] / "docs" / "simulation.md"
STUMBLES = re.compile("has no (attribute|setter)|object is not|(positional|keyword) argument|is not defined")
SEEDS_QUICK = 12
"""Bugs that need more are for the long runs."""


def budgets() -> dict[str, int]:
    """Read the matrix: planted bug to the seeds within which it must be found."""
    rows = re.findall(r"^\| ([a-z0-9 ]+) \| (\d+) \|", MATRIX.read_text(), flags=re.MULTILINE)
    return {bug: int(seeds) for bug, seeds in rows}


BUDGETS = budgets()
QUICK = [bug for bug, seeds in BUDGETS.items() if seeds <= SEEDS_QUICK]
SLOW = [bug for bug in BUDGETS if bug not in QUICK]


def test_every_planted_bug_has_a_budget() -> None:
    assert set(BUDGETS) == set(BUGS)
    assert len(QUICK) >= 12


def found_at(bug: str, monkeypatch: pytest.MonkeyPatch) -> int | None:
    BUGS[bug](monkeypatch)
    for seed in range(BUDGETS[bug]):
        violations = simulate(seed).violations
        if violations:
            # The engine has changed and the plant has not: then what was found is the plant.
            assert not STUMBLES.search(violations[0]), f"this bug is planted badly: {violations[0]}"
            return seed
    return None


@pytest.mark.parametrize("bug", QUICK)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_at(bug, monkeypatch) is not None


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", SLOW)
def test_a_rare_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_at(bug, monkeypatch) is not None

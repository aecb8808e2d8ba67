"""The checker checked: bugs planted one at a time, and the seed at which each is found."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.planted_bugs_data import BUGS
from tests.support.simulation import simulate

MATRIX = Path(__file__).resolve().parents[2] / "docs" / "simulation.md"
_STUMBLES = re.compile("has no (attribute|setter)|object is not|(positional|keyword) argument|is not defined")


class Found(NamedTuple):
    """Where a planted bug was found.

    Attributes:
        seed: The first seed with a violation.
        violation: What the checker said first.
    """

    seed: int
    violation: str

    @property
    def is_stumble(self) -> bool:
        """Whether the engine only stumbled: it has changed and the plant has not, so what was found is the plant."""
        return _STUMBLES.search(self.violation) is not None


def budgets() -> dict[str, int]:
    """Read the table of the document: planted bug to the seeds, counted from 0, within which it must be found."""
    rows = re.findall(r"^\| ([a-z0-9 ]+) \| (\d+) \|", MATRIX.read_text(), flags=re.MULTILINE)
    return {bug: int(seeds) for bug, seeds in rows}


def found_at(bug: str, seeds: int) -> Found | None:
    """Plant a bug and look for it in the seeds from 0 on; None when none of them shows it."""
    with pytest.MonkeyPatch.context() as patch:
        BUGS[bug](patch)
        for seed in range(seeds):
            violations = simulate(seed).violations
            if violations:
                return Found(seed, violations[0])
    return None

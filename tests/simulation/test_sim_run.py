"""The command that runs many seeds: what it says, and how it ends."""

import pytest

from tests.support.planted_bugs_data import BUGS
from tests.support.sim_run import main, seed_range


def test_seeds_are_a_number_or_a_range() -> None:
    assert seed_range("40") == range(40)
    assert seed_range("20000-20100") == range(20000, 20100)


def test_seeds_that_break_nothing_end_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3-5", "--jobs", "2", "--no-drills"]) == 0
    assert "2 seeds in" in capsys.readouterr().out


def test_a_seed_that_breaks_a_promise_is_named_with_how_to_replay_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    BUGS["acknowledge before the put"](monkeypatch)
    assert main(["--seeds", "0-1", "--jobs", "1", "--no-drills"]) == 1
    said = capsys.readouterr().out
    assert "seed 0 breaks a promise" in said
    assert "--replay 0" in said
    assert main(["--replay", "0"]) == 1
    assert "VIOLATION" in capsys.readouterr().out


def test_a_planted_bug_is_shown_with_where_it_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bugs", "acknowledge before the put", "--jobs", "1"]) == 0
    assert "| acknowledge before the put | 12 | " in capsys.readouterr().out

"""A short slice of chaos on each kind of store: processes die, freeze and are cut off, and no promise is broken."""

from collections.abc import Callable

import pytest

from tests.support.chaos.schedule import DISK, S3
from tests.support.chaos.stores import reason_without_disks
from tests.support.chaos.summary import Task
from tests.support.chaos.trial import OVERHEAD_S, run_slice

SECONDS = 25.0
SEED = 3

pytestmark = [pytest.mark.faults, pytest.mark.timeout(SECONDS + OVERHEAD_S)]


@pytest.mark.parametrize(("place", "lost_percent"), [(S3, 0), (DISK, 2)])
def test_no_promise_is_broken_in_a_slice_of_chaos(place: str, lost_percent: int, figures: Callable[..., None]) -> None:
    if place == DISK and (reason := reason_without_disks()):
        pytest.skip(f"no small disk can be made here: {reason}")
    summary = run_slice(Task(SEED, place, SECONDS, lost_percent))
    assert summary.violations == []
    assert sum(summary.faults.values()) >= 8
    assert summary.acknowledged > 100
    assert summary.reads > 100
    figures(
        place=place,
        faults=sum(summary.faults.values()),
        skipped=summary.skipped,
        acknowledged=summary.acknowledged,
        refused=summary.refused,
        unknown=summary.unknown,
        settled_by_repetition=summary.settled_by_repetition,
        reads=summary.reads,
        owners=summary.owners,
        longest_s_without_ack=summary.longest_silence_s,
        violations=0,
    )

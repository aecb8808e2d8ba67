"""A view counts each row once, whatever is recorded, killed, refreshed and rebuilt in whatever order."""

import pytest

from parquedb.observability.views import groups
from tests.support.ai_lives import Life
from tests.support.view_database import Killed

GRANULARITIES = ["hour", "day", "week", "month"]


def live(seed: int, steps: int = 30) -> Life:
    life = Life(seed, GRANULARITIES[seed % 4])
    for _ in range(steps):
        life.step()
    life.finish()
    return life


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_events_gives_the_totals_of_a_recomputation(seed: int) -> None:
    live(seed)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("other_full", [False, True])
def test_whoever_is_overtaken_at_any_step_starts_over(full: bool, other_full: bool) -> None:
    life = Life(1, "day")
    overtaken = 0
    for operations in range(1, 20):
        life.record()
        life.db.interruption = (operations, lambda: life.view.refresh(full=other_full))
        life.view.refresh(full=full)
        overtaken += life.db.interruption is None
        life.db.interruption = None
        life.check()
    assert overtaken >= 3
    life.finish()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("lost", [False, True])
def test_whoever_is_killed_at_any_step_leaves_what_the_next_one_goes_on_from(full: bool, lost: bool) -> None:
    life = Life(2, "week")
    killed = 0
    for operations in range(1, 20):
        life.record()
        life.db.kill_after, life.db.kill_before = operations, lost
        try:
            life.view.refresh(full=full)
        except Killed:
            killed += 1
        life.db.kill_after = None
        life.view.refresh()
        life.check()
    assert killed >= 3
    life.finish()


def test_groups_of_several_pages_are_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_READ_AT_ONCE", 3)
    life = Life(3, "day")
    for _ in range(10):
        life.record()
    life.view.refresh()
    interrupted = 0
    for operations in range(1, 20):
        before = life.view.get_summary().requests
        life.record()
        life.db.interruption = (operations, life.view.refresh)
        seen = sum(row.usage.requests for row in life.view.get_usage())
        interrupted += life.db.interruption is None
        life.db.interruption = None
        assert seen in {before, life.view.get_summary().requests}
        life.refresh()
    assert interrupted >= 3
    life.finish()


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_a_thousand_orders_of_events_give_the_totals_of_a_recomputation(first: int) -> None:
    killed = sum(live(seed).steps["killed"] for seed in range(first, first + 100))
    assert killed > 100

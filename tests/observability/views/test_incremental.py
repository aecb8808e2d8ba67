"""A view counts each row once, whatever is recorded, killed, refreshed and rebuilt in whatever order."""

import pytest

from tests.support.ai_lives import Life

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


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_a_thousand_orders_of_events_give_the_totals_of_a_recomputation(first: int) -> None:
    killed = sum(live(seed).steps["killed"] for seed in range(first, first + 100))
    assert killed > 100

"""kill -9 of processes that refresh a view of AI usage, at random moments: totals are those of a recomputation."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

import parquedb
from parquedb.observability.ai import AIRequestsView, PriceBook, create_ai_usage_view
from parquedb.observability.ai.prices import NoPrices, custom_prices
from tests.end_to_end.test_ai_usage import some
from tests.end_to_end.test_on_ray import end_actors
from tests.support.places import on_disk

KILLS = 12
REQUESTS = 400
SEED = 20_260_727
ROOT = Path(__file__).parents[2]
BOOK = PriceBook(custom_prices({"gpt-4o": {"input": "2.5", "output": "10"}}), NoPrices())

PROGRAM = """
import asyncio, random, sys
import parquedb
from parquedb.observability.ai import create_ai_usage_view, create_async_ai_usage_view

def at_once(rng):
    view = create_ai_usage_view(parquedb.connect(sys.argv[2], ray_address=sys.argv[1]), granularity="hour")
    print("ready", flush=True)
    while True:
        view.refresh(full=rng.random() < 0.4)
        print("refreshed", flush=True)

async def awaiting(rng):
    db = await parquedb.connect_async(sys.argv[2], ray_address=sys.argv[1])
    view = create_async_ai_usage_view(db, granularity="hour")
    print("ready", flush=True)
    while True:
        await view.refresh(full=rng.random() < 0.4)
        print("refreshed", flush=True)

rng = random.Random(int(sys.argv[4]))
asyncio.run(awaiting(rng)) if sys.argv[3] == "async" else at_once(rng)
"""

pytestmark = pytest.mark.faults


def refresher(cluster: str, url: str, form: str, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, cluster, url, form, str(seed)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", ["sync", "async"])
def test_a_refresher_killed_at_any_moment_costs_no_request_and_counts_none_twice(
    ray_cluster: str, tmp_path: Path, figures: Callable[..., None], form: str
) -> None:
    place, rng = on_disk(tmp_path), random.Random(SEED)
    with parquedb.connect(**place) as db:
        requests = AIRequestsView(db, prices=BOOK)
        view = create_ai_usage_view(db, granularity="hour", prices=PriceBook((), NoPrices()))
        recorded, half_done = 0, 0
        for _ in range(KILLS // 3):
            processes = [refresher(ray_cluster, place["url"], form, rng.randrange(1000)) for _ in range(3)]
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                # Whoever is still alive refreshes beside what is recorded, and beside the one that dies.
                moment_s = time.monotonic() + rng.uniform(0, 0.4)
                while time.monotonic() < moment_s:
                    requests.record_many(some(recorded, REQUESTS // 20))
                    recorded += REQUESTS // 20
                process.send_signal(signal.SIGKILL)
                process.wait(30)
            state = db["ai_usage_hour"].get("state") or {}
            half_done += bool(state.get("building") or state.get("retired"))
            view.refresh()
            check(view, recorded)
        before = view.get_usage()
        view.refresh(full=True)
        assert view.get_usage() == before
        assert db["ai_usage_hour"].count() == len(before) + 1, "nothing is left of generations that were given up"
        figures(kills=KILLS, requests=recorded, rebuilds_left_half_done=half_done)
        with contextlib.suppress(Exception):
            end_actors(db.settings)


def check(view: object, recorded: int) -> None:
    """Compare each hour with what was recorded for it: one request, at its price."""
    rows = view.get_usage()  # type: ignore[attr-defined]
    assert [row.period_name for row in rows] == [f"{request.time:%Y-%m-%dT%H}" for request in some(0, recorded)]
    assert {row.usage.requests for row in rows} == {1}
    assert {row.usage.cost for row in rows} == {Decimal("0.0035")}
    assert sum(row.usage.tokens.input for row in rows) == 1000 * recorded

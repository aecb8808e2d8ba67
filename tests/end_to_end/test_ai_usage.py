"""AI usage through Ray: snapshots under rebuilds, owners that are killed, several refreshers at once, the command."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import ray

import parquedb
from parquedb.cluster.cli.main import main
from parquedb.observability.ai import (
    AIRequest,
    AIRequestsView,
    AsyncAIRequestsView,
    Tokens,
    create_ai_usage_view,
    create_async_ai_usage_view,
)
from tests.end_to_end.test_on_ray import QUICK, end_actors


@pytest.fixture
def db(ray_cluster: str, tmp_path: Path) -> Iterator[parquedb.Database]:
    database = parquedb.connect(url=str(tmp_path / "db"), engine=QUICK)
    yield database
    end_actors(database.settings)
    database.close()


def some(first: int, count: int) -> list[AIRequest]:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    return [
        AIRequest(
            id=f"r{number}",
            time=start + timedelta(hours=number),
            model="gpt-4o",
            provider="openai",
            tokens=Tokens(1000, 100),
        )
        for number in range(first, first + count)
    ]


def kill_owner(collection: parquedb.Collection) -> None:
    os.kill(ray.get(collection.actor.activate.remote())["pid"], signal.SIGKILL)


@pytest.mark.faults
def test_totals_survive_killed_owners_and_refreshers_that_run_at_once(db: parquedb.Database) -> None:
    requests, view = AIRequestsView(db), create_ai_usage_view(db)
    requests.record_many(some(0, 100))
    assert view.refresh().rebuilt
    requests.record_many(some(50, 100))
    kill_owner(db["ai_usage_day"])
    kill_owner(db["ai_requests"])
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: create_ai_usage_view(db).refresh(), range(4)))
    assert {one.seq for one in done} == {150}
    assert sum(one.rows_counted for one in done) == 50
    before = view.get_usage()
    assert sum(row.usage.requests for row in before) == 150
    whole = view.refresh(full=True)
    assert (whole.rebuilt, whole.rows_counted) == (True, 150)
    assert view.get_usage() == before
    groups = db["ai_usage_day"].count()
    assert groups == len(before) + 1  # And the state: nothing of the generation before is left.


def test_a_large_load_is_recorded_once_and_old_days_are_taken_over_by_a_rebuild(db: parquedb.Database) -> None:
    requests = AIRequestsView(db, retention=timedelta(days=30))
    view = create_ai_usage_view(db, granularity="month")
    view.refresh()
    assert requests.record_many(some(0, 4_500)).stored == 4_500
    assert requests.record_many(some(0, 4_500)).duplicates == 4_500
    again = requests.record_many(some(3_000, 2_000))
    assert (again.stored, again.duplicates, again.failures) == (500, 1_500, {})
    view.refresh()
    before = view.get_usage()
    assert sum(row.usage.requests for row in before) == 5_000
    assert requests.delete_expired(datetime(2026, 5, 16, 12, tzinfo=UTC)) == 46 * 24
    view.refresh(full=True)
    assert view.get_usage() == before


def test_the_command_shows_what_is_stored(
    db: parquedb.Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["usage", str(tmp_path / "db")]) == 2
    assert "no requests to models are stored" in capsys.readouterr().err
    AIRequestsView(db).record_many(some(0, 10))
    assert main(["usage", str(tmp_path / "db"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["requests"] == 10
    assert main(["usage", str(tmp_path / "db"), "--from", "nonsense"]) == 2
    assert "expected a day or a time" in capsys.readouterr().err


async def test_coroutines_record_refresh_and_read_with_a_snapshot_under_a_rebuild(
    ray_cluster: str, tmp_path: Path
) -> None:
    async with await parquedb.connect_async(str(tmp_path / "db"), engine=QUICK) as db:
        requests, view = AsyncAIRequestsView(db), create_async_ai_usage_view(db)
        assert (await requests.record_many(some(0, 3_000))).stored == 3_000
        _, whole = await asyncio.gather(view.refresh(), create_async_ai_usage_view(db).refresh(full=True))
        assert whole.rebuilt
        assert (await requests.record_many(some(2_990, 20))).stored == 10
        assert (await view.refresh()).rows_counted == 10
        before = await view.get_usage()
        assert (await view.refresh(full=True)).rows_counted == 3_010
        assert await view.get_usage() == before
        assert (await view.get_summary()).requests == (await requests.statistics()).requests == 3_010
        end_actors(db.settings)

"""What an owner says about itself."""

from typing import Any

import pytest

from parquedb.actors.host.condition import condition
from parquedb.settings import EngineSettings

SETTINGS = EngineSettings(degraded_after_s=5.0, flush_interval_s=60, queue_ops_max=20_000, queries_waiting_max=100)
NOTHING_WAITS: dict[str, Any] = {
    "queued_ops": 0,
    "queued_bytes": 0,
    "queue_age_s": 0.0,
    "queries_waiting": 0,
    "commit_pending_s": 0.0,
    "unflushed_s": 0.0,
    "last_error": None,
}
CLOSED = {"storage.read": "closed", "storage.write": "CLOSED"}


def told(
    state: str = "open",
    circuits: dict[str, str] = CLOSED,
    changing: tuple[str, float] = ("", 0.0),
    **lag: Any,
) -> tuple[str, list[str]]:
    return condition(state, NOTHING_WAITS | lag, circuits, SETTINGS, changing)


@pytest.mark.parametrize("state", ["open", "closed", "opening", "idle"])
def test_an_owner_without_anything_to_report_is_healthy(state: str) -> None:
    busy = {"commit_pending_s": 4.9, "queue_age_s": 4.9, "queued_ops": 17_000, "unflushed_s": 61.0}
    assert told(state, changing=("opening", 1.0), **busy) == ("healthy", [])
    assert condition(state, {}, CLOSED, SETTINGS, ("", 0.0)) == ("healthy", [])


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"commit_pending_s": 12.04}, "a commit has been pending for 12.0 s"),
        ({"queue_age_s": 5.2}, "the oldest waiting write is 5.2 s old"),
        ({"queued_ops": 18_000}, "the queue is full: 18000 of 20000 writes"),
        ({"queries_waiting": 90}, "the queue is full: 90 of 100 queries"),
        ({"unflushed_s": 200.0}, "changes have waited for a flush for 200 s"),
        ({"last_error": "no answer"}, "the last checkpoint or merge failed: no answer"),
        ({"circuits": CLOSED | {"storage.write": "open"}}, "circuit storage.write is open"),
        ({"changing": ("opening", 7.0)}, "opening for 7.0 s"),
    ],
)
def test_what_is_late_full_or_cut_off_degrades_it_and_is_named(figures: dict[str, Any], reason: str) -> None:
    assert told(**figures) == ("degraded", [reason])


@pytest.mark.parametrize("state", ["fenced", "failed"])
def test_an_owner_that_has_ended_is_unhealthy_whatever_else_there_is(state: str) -> None:
    status, [reason] = told(state, commit_pending_s=100.0)
    assert status == "unhealthy"
    assert reason.startswith(state)

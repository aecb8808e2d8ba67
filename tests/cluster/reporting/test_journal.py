"""The calling side tells the log of slow operations, unknown outcomes and damage."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parquedb.actors.requests.operations import Operation, Outcome, SessionRequest
from parquedb.cluster.overview.verifying import verify_namespace
from parquedb.cluster.reporting import journal
from parquedb.cluster.reporting.accounts import Accounts
from parquedb.cluster.transport.delivery import Delivery
from parquedb.errors import OutcomeUnknownError
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.logs import get_logger
from parquedb.observability.logs.fields import facts_of
from parquedb.settings.environment import load_settings
from parquedb.storage.backends.local import LocalBackend
from tests.observability.logs.kept import Kept
from tests.support.engines import opened, run


@pytest.fixture
def kept() -> Iterator[Kept]:
    tree, handler = get_logger("cluster"), Kept()
    before = tree.level
    tree.setLevel(logging.INFO)
    tree.addHandler(handler)
    yield handler
    tree.removeHandler(handler)
    tree.setLevel(before)


def only(kept: Kept) -> dict[str, Any]:
    [record] = kept.records
    return dict(facts_of(record))


def delivery(kind: str) -> Delivery:
    made = Delivery(Operation(kind), now_s=0.0, timeout_s=30.0, span=bytes.fromhex("a" * 32 + "b" * 16 + "01"))
    made.request = SessionRequest(b"s" * 16, 7, 1, 0)
    return made


def test_a_slow_operation_is_told_with_its_request_and_its_trace(kept: Kept) -> None:
    journal.slow_operation("posts", delivery("update"), 2.5, None)
    facts = only(kept)
    assert facts.pop("request_id").endswith("-7-0")
    assert facts == {
        "event": "operation.slow",
        "namespace": "posts",
        "operation": "update",
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
        "duration": 2.5,
    }


def test_who_asked_to_wait_for_changes_is_not_slow_before_that_time(kept: Kept) -> None:
    accounts, began_s = Accounts(None, "posts", slow_s=1.0), time.monotonic() - 15.0
    for wait_s in (20.0, 10.0):
        follow = Operation("changes", options={"wait_s": wait_s})
        accounts.close(Delivery(follow, now_s=began_s, timeout_s=30.0), Outcome({"changes": []}), None, None)
    assert only(kept)["duration"] == pytest.approx(15.0, abs=1.0)


def test_what_takes_its_time_by_nature_is_not_called_slow(kept: Kept) -> None:
    journal.slow_operation("posts", delivery("compact"), 60.0, None)
    assert kept.records == []


def test_an_unknown_outcome_is_told_with_the_request_that_finds_out(kept: Kept) -> None:
    journal.outcome_unknown("posts", delivery("create"), 30.0, OutcomeUnknownError("nobody knows", request_id="r"))
    facts = only(kept)
    assert facts["error"]["code"] == "OUTCOME_UNKNOWN"
    assert facts["request_id"].endswith("-7-0")


async def test_a_verification_tells_what_it_came_to(kept: Kept, tmp_path: Path) -> None:
    async with opened(LocalBackend(str(tmp_path), timeout_s=10)) as owner:
        await run(owner, "create", "a", {"n": 1})
        await owner.flush()
    settings = load_settings(str(tmp_path))
    await verify_namespace(settings, HookRegistry(), "posts")
    [data_file] = (tmp_path / "posts" / "data").rglob("*.parquet")
    data_file.write_bytes(data_file.read_bytes()[:-10])
    await verify_namespace(settings, HookRegistry(), "posts")
    good, bad = kept.records
    assert (good.levelname, bad.levelname) == ("INFO", "ERROR")
    assert facts_of(good)["broken"] == []
    assert facts_of(bad)["broken"] != []

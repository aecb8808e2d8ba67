"""An owner tells the log what an operator has to know, and nothing for each operation."""

import asyncio
import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest

from parquedb.actors.host.namespace_actor import NamespaceActor
from parquedb.actors.reads.query_gate import QueryGate
from parquedb.actors.reporting import journal
from parquedb.actors.reporting.pressure import APART_S, CALM_S, owner_pressure
from parquedb.actors.requests.operations import Operation, SessionRequest
from parquedb.admission import QueueBounds
from parquedb.clock import ManualClock, SystemClock
from parquedb.errors import BackpressureError, ParqueDBError, StorageReadError
from parquedb.observability.logs import get_logger
from parquedb.observability.logs.fields import facts_of
from parquedb.settings.environment import load_settings
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.memory import MemoryBackend
from tests.observability.logs.kept import Kept
from tests.support.engines import opened, run


@pytest.fixture
def kept() -> Iterator[Kept]:
    tree, handler = get_logger(), Kept()
    before = tree.level
    tree.setLevel(logging.INFO)
    tree.addHandler(handler)
    yield handler
    tree.removeHandler(handler)
    tree.setLevel(before)


def told(kept: Kept, event: str) -> list[dict[str, Any]]:
    found = [dict(facts_of(record)) for record in kept.records]
    return [facts for facts in found if facts.get("event") == event]


def faulty() -> FaultyBackend:
    return FaultyBackend(MemoryBackend(), rng=random.Random(1), clock=SystemClock())


async def test_an_owner_says_when_it_opens_and_closes_and_nothing_for_its_operations(kept: Kept) -> None:
    actor = NamespaceActor(load_settings("memory://journal"), "posts")
    for number in range(5):
        await actor.create({"n": number}, id=f"d{number}")
        await actor.get(f"d{number}")
    await actor.close()
    assert [facts["event"] for facts in map(facts_of, kept.records)] == ["owner.opened", "owner.closed"]
    assert told(kept, "owner.opened")[0]["namespace"] == "posts"
    assert told(kept, "owner.opened")[0]["duration"] > 0


async def test_a_slow_call_is_told_with_what_it_carried(kept: Kept) -> None:
    actor = NamespaceActor(load_settings("memory://journal", log_slow_s=0.001), "posts")
    await actor.create_many([{"n": number} for number in range(2000)])
    [slow] = told(kept, "operation.slow")
    assert (slow["namespace"], slow["kinds"], slow["operations"]) == ("posts", ["create_many"], 1)
    assert slow["duration"] >= 0.001
    await actor.close()


def test_a_slow_call_names_the_first_request_and_the_trace(kept: Kept) -> None:
    request = SessionRequest(b"s" * 16, 7, 1, 0)
    span = bytes.fromhex("a" * 32 + "b" * 16 + "01")
    many = [Operation("create", request=request), Operation("delete", spans=span)]
    journal.slow_call("posts", many, 2.0, 1.0)
    [slow] = told(kept, "operation.slow")
    assert slow["trace_id"] == "a" * 32
    assert slow["span_id"] == "b" * 16
    assert slow["request_id"].endswith("-7-0")
    assert kept.messages == ["namespace posts: a call of 2 operations (create, delete) took 2.000 s"]


def test_who_asked_to_wait_for_changes_is_not_slow_before_that_time(kept: Kept) -> None:
    follow = [Operation("changes", options={"wait_s": 20.0})]
    journal.slow_call("posts", follow, 20.5, 1.0)
    assert told(kept, "operation.slow") == []
    journal.slow_call("posts", follow, 21.5, 1.0)
    assert [one["kinds"] for one in told(kept, "operation.slow")] == [["changes"]]


async def test_a_commit_in_doubt_is_told_once_and_then_how_it_ended(kept: Kept) -> None:
    store = faulty()
    async with opened(store) as owner:
        lost = FaultRule(fault=Fault.LOST_REQUEST, operations=frozenset({"create"}), key_part="log/", count=2)
        store.add(lost)
        await run(owner, "create", "a", {"n": 1})
    [doubt], [settled] = told(kept, "commit.in_doubt"), told(kept, "commit.settled")
    assert doubt["error"]["code"] == "OUTCOME_UNKNOWN"
    assert (settled["attempts"], settled["operation"]) == (3, "commit")


async def test_flush_compaction_and_collection_are_told_with_their_counts(kept: Kept) -> None:
    async with opened(MemoryBackend()) as owner:
        for number in range(2):
            await run(owner, "create", f"d{number}", {"n": number})
            await owner.flush()
        await owner.compact()
    assert [(facts["rows"], facts["reason"]) for facts in told(kept, "flush.done")] == [(1, "request"), (1, "request")]
    [merged] = told(kept, "compaction.done")
    assert (merged["files_in"], merged["files_out"], merged["rows"]) == (2, 1, 2)


async def test_a_flush_that_fails_is_told_with_its_error(kept: Kept) -> None:
    store = faulty()
    async with opened(store) as owner:
        await run(owner, "create", "a", {"n": 1})
        store.add(
            FaultRule(
                fault=Fault.ERROR,
                operations=frozenset({"create"}),
                key_part="data/",
                count=1,
                error="write",
            )
        )
        with pytest.raises(ParqueDBError):
            await owner.flush()
    [failed] = told(kept, "checkpoint.failed")
    assert failed["error"]["code"] == "STORAGE_WRITE_ERROR"


async def test_the_loser_of_a_namespace_says_so(kept: Kept) -> None:
    store = MemoryBackend()
    async with opened(store) as loser, opened(store):
        with pytest.raises(ParqueDBError):
            await run(loser, "create", "a", {"n": 1})
        [lost] = told(kept, "owner.fenced")
        assert lost["epoch"] == loser.epoch


async def test_an_owner_that_cannot_open_says_why(kept: Kept, tmp_path) -> None:
    actor = NamespaceActor(load_settings(str(tmp_path)), "posts")
    (tmp_path / "posts").write_text("a file where a folder should be")
    with pytest.raises(ParqueDBError):
        await actor.create({"n": 1})
    [failed] = told(kept, "owner.open_failed")
    assert failed["error"]["code"]


def test_refusals_are_told_when_they_begin_and_when_they_end(kept: Kept) -> None:
    clock = ManualClock()
    pressure = owner_pressure("posts", "writes", QueueBounds(100, 1000, 10.0), clock)
    error = BackpressureError("100 writes are already waiting", retry_after=1.0)
    for _ in range(50):
        pressure.refused(2, error)
        clock.advance(0.1)
    pressure.eased(60, 0)  # No room yet.
    pressure.eased(40, 900)
    pressure.eased(40, 400)  # Room, but refused a moment ago.
    assert pressure.lasts
    clock.advance(CALM_S)
    pressure.eased(40, 400)
    assert not pressure.lasts
    [began], [ended] = told(kept, "backpressure.began"), told(kept, "backpressure.ended")
    assert (began["error"]["code"], began["queue"]) == ("BACKPRESSURE", "writes")
    assert (ended["refused"], ended["duration"]) == (100, pytest.approx(5.0 + CALM_S))


def test_an_empty_queue_is_calm_at_once(kept: Kept) -> None:
    pressure = owner_pressure("posts", "writes", QueueBounds(100, 1000, 10.0), ManualClock())
    pressure.refused(1, BackpressureError("full", retry_after=1.0))
    pressure.eased(0, 0)
    assert len(told(kept, "backpressure.ended")) == 1


def test_a_queue_that_fills_and_empties_all_the_time_is_told_of_now_and_then_and_every_refusal_counts(
    kept: Kept,
) -> None:
    clock = ManualClock()
    pressure = owner_pressure("posts", "queries", QueueBounds(100, 1000, 10.0), clock)
    full = BackpressureError("full", retry_after=1.0)
    for _ in range(1001):
        pressure.refused(1, full)
        pressure.eased(0, 0)
        clock.advance(APART_S / 100)
    began, ended = told(kept, "backpressure.began"), told(kept, "backpressure.ended")
    assert 10 <= len(began) == len(ended) <= 11
    assert sum(facts["refused"] for facts in ended) >= 1001 - 100
    assert {facts["queue"] for facts in began + ended} == {"queries"}


def test_what_began_too_soon_to_be_told_is_told_when_it_lasts(kept: Kept) -> None:
    clock = ManualClock()
    pressure = owner_pressure("posts", "writes", QueueBounds(100, 1000, 10.0), clock)
    full = BackpressureError("full", retry_after=1.0)
    pressure.refused(1, full)
    pressure.eased(0, 0)
    clock.advance(1)
    pressure.refused(1, full)
    assert len(told(kept, "backpressure.began")) == 1
    clock.advance(APART_S)
    pressure.refused(1, full)
    assert len(told(kept, "backpressure.began")) == 2


async def test_queries_that_find_no_turn_are_told_of_and_when_there_are_turns_again(kept: Kept) -> None:
    gate = QueryGate(1, 1, random.Random(1), name="posts")
    release = asyncio.Event()

    async def query() -> bool:
        try:
            async with gate.turn():
                await release.wait()
        except BackpressureError:
            return False
        return True

    queries = [asyncio.create_task(query()) for _ in range(5)]
    await asyncio.sleep(0)
    release.set()
    assert (await asyncio.gather(*queries)).count(False) == 3
    [began], [ended] = told(kept, "backpressure.began"), told(kept, "backpressure.ended")
    assert (began["namespace"], began["queue"], ended["refused"]) == ("posts", "queries", 3)


async def test_calls_that_find_no_room_in_an_owner_are_told_of(kept: Kept) -> None:
    actor = NamespaceActor(load_settings("memory://journal-calls", engine={"calls_bytes_max": 1024}), "posts")
    calls = [actor.create({"text": "x" * 600}) for _ in range(5)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    refused = sum(isinstance(each, BackpressureError) for each in done)
    assert refused == 4
    [began], [ended] = told(kept, "backpressure.began"), told(kept, "backpressure.ended")
    assert (began["queue"], ended["queue"], ended["refused"]) == ("calls", "calls", refused)
    await actor.close()


async def test_a_full_queue_of_an_owner_is_told(kept: Kept) -> None:
    async with opened(MemoryBackend(), queue_ops_max=2, group_ops_max=2) as owner:
        operations = [Operation("create", f"d{number}", {"n": number}) for number in range(20)]
        outcomes = await owner.execute(operations)
        assert any(isinstance(outcome.error, BackpressureError) for outcome in outcomes)
        await run(owner, "create", "later", {"n": 1})
    assert len(told(kept, "backpressure.began")) == 1
    [ended] = told(kept, "backpressure.ended")
    assert ended["refused"] == sum(outcome.error is not None for outcome in outcomes)


def test_what_is_superseded_and_gone_is_told_only_if_there_was_any(kept: Kept) -> None:
    journal.collected("posts", 0)
    journal.collected("posts", 3)
    journal.collection_failed("posts", StorageReadError("no answer", key="k"))
    assert kept.messages == [
        "namespace posts: deleted 3 superseded objects",
        "namespace posts: collection failed, trying again later: no answer",
    ]

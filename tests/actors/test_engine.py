"""The engine as its host sees it: one owner over a store in memory, with faults where a test asks for them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation, SessionRequest
from parquedb.clock import ManualClock, SystemClock
from parquedb.errors import (
    AlreadyExistsError,
    BackpressureError,
    CircuitOpenError,
    CorruptionError,
    EntityNotFoundError,
    FencedError,
    OutcomeUnknownError,
    RpcUnavailableError,
    TimeoutError,  # noqa: A004 - ours
    ValidationError,
    VersionConflictError,
)
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import StorageSettings
from parquedb.storage.backend import ObjectInfo
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.layers import wrap_backend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.log.entry import Kind, decode_entry
from tests.support.engines import engine, opened, outcome, run
from tests.support.virtual_loop import Process, SimClock, run_virtually


class HandTurnedClock(ManualClock):
    """Moves only when told, also for who sleeps."""

    async def sleep(self, delay_s: float) -> None:
        if delay_s > 0:
            await asyncio.Event().wait()


class Gate(DelegatingBackend):
    """Holds creates back until told to go on."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.waiting = 0

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        self.waiting += 1
        await self.go_on.wait()
        self.waiting -= 1
        return await self.inner.create(key, data, timeout_s=timeout_s)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be")


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
async def owner(store: MemoryBackend) -> AsyncIterator[NamespaceEngine]:
    async with opened(store) as made:
        yield made


class Lives:
    """Ways for a document to get from memory to storage and back."""

    def __init__(self, store: MemoryBackend) -> None:
        self.store = store
        self.owner: NamespaceEngine

    async def start(self) -> NamespaceEngine:
        self.owner = engine(self.store)
        await self.owner.open()
        return self.owner

    async def go(self, how: str) -> NamespaceEngine:
        if "flush" in how:
            await self.owner.flush()
        if "restart" in how:
            await self.owner.close()
            return await self.start()
        return self.owner


HOWS = ["now", "flush", "restart", "flush+restart"]


@pytest.fixture
async def lives(store: MemoryBackend) -> AsyncIterator[Lives]:
    made = Lives(store)
    await made.start()
    yield made
    made.owner.abandon()


@pytest.mark.parametrize("how", HOWS)
async def test_a_document_comes_back_as_it_was_made(lives: Lives, how: str) -> None:
    made = await run(lives.owner, "create", "a", {"n": 1, "x": [1.0, None]}, actor="eve")
    owner = await lives.go(how)
    got = await run(owner, "get", "a")
    assert got == made
    assert got["$id"] == "posts/a"
    assert (got["version"], got["createdBy"], got["updatedBy"]) == (1, "eve", "eve")
    assert got["createdAt"] == got["updatedAt"]
    assert await run(owner, "get", "b") is None


@pytest.mark.parametrize("how", HOWS)
async def test_every_kind_of_change_raises_the_version_by_one(lives: Lives, how: str) -> None:
    await run(lives.owner, "create", "a", {"n": 1})
    owner = await lives.go(how)
    assert (await run(owner, "update", "a", {"$inc": {"n": 4}}))["n"] == 5
    owner = await lives.go(how)
    replaced = await run(owner, "replace", "a", {"m": 2})
    assert ("n" in replaced, replaced["m"], replaced["version"]) == (False, 2, 3)
    owner = await lives.go(how)
    assert await run(owner, "delete", "a") == 1
    assert await run(owner, "delete", "a") == 0
    owner = await lives.go(how)
    assert await run(owner, "get", "a") is None
    assert (await run(owner, "get", "a", include_deleted=True))["version"] == 4
    restored = await run(owner, "restore", "a")
    assert (restored["version"], "deletedAt" in restored) == (5, False)
    owner = await lives.go(how)
    assert await run(owner, "delete", "a", hard=True) == 1
    owner = await lives.go(how)
    assert await run(owner, "get", "a", include_deleted=True) is None
    assert (await run(owner, "create", "a", {"again": True}))["version"] == 1


@pytest.mark.parametrize("how", HOWS)
async def test_a_second_create_is_refused(lives: Lives, how: str) -> None:
    await run(lives.owner, "create", "a", {"n": 1})
    owner = await lives.go(how)
    with pytest.raises(AlreadyExistsError) as caught:
        await run(owner, "create", "a", {"n": 2})
    assert (caught.value.id, caught.value.namespace) == ("a", "posts")
    assert (await run(owner, "get", "a"))["n"] == 1


@pytest.mark.parametrize("how", HOWS)
async def test_a_stale_version_is_a_conflict(lives: Lives, how: str) -> None:
    await run(lives.owner, "create", "a", {"n": 1})
    await run(lives.owner, "update", "a", {"$set": {"n": 2}})
    owner = await lives.go(how)
    for kind, body in (("update", {"$set": {"n": 3}}), ("replace", {"n": 3}), ("delete", None)):
        with pytest.raises(VersionConflictError) as caught:
            await run(owner, kind, "a", body, expected_version=1)
        assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert (await run(owner, "update", "a", {"$set": {"n": 3}}, expected_version=2))["version"] == 3


async def test_an_expected_version_of_a_missing_document_is_a_conflict_with_none(owner: NamespaceEngine) -> None:
    with pytest.raises(VersionConflictError) as caught:
        await run(owner, "update", "a", {"$set": {"n": 1}}, expected_version=1)
    assert caught.value.actual is None
    with pytest.raises(EntityNotFoundError):
        await run(owner, "update", "a", {"$set": {"n": 1}})


async def test_of_concurrent_updates_at_one_version_exactly_one_wins(owner: NamespaceEngine) -> None:
    await run(owner, "create", "a", {"n": 0})
    calls = [outcome(owner, "update", "a", {"$inc": {"n": 1}}, expected_version=1) for _ in range(20)]
    outcomes = await asyncio.gather(*calls)
    assert sum(one.error is None for one in outcomes) == 1
    assert (await run(owner, "get", "a"))["n"] == 1


async def test_writes_of_one_call_take_effect_in_order_even_when_some_must_be_loaded(store: MemoryBackend) -> None:
    async with opened(store) as first:
        await run(first, "create_many", None, [{"$id": "posts/a", "n": 1}, {"$id": "posts/b", "n": 1}])
        await first.flush()
    async with opened(store, group_ops_max=1) as owner:
        parts = [Operation("update", id_, {"$set": {"n": 10}}).to_wire() for id_ in ("b", "a")]
        increment = Operation("update", "a", {"$inc": {"n": 1}})
        outcomes = await owner.execute([Operation("batch", body=parts), increment, increment])
        assert [one.error for one in outcomes] == [None] * 3
        assert [one.value["n"] for one in outcomes[1:]] == [11, 12]


async def test_a_made_up_id_inside_the_range_of_an_unread_file_is_no_reason_to_wait(store: MemoryBackend) -> None:
    async with opened(store) as first:
        await run(first, "create_many", None, [{"$id": "posts/00"}, {"$id": "posts/zz"}])
        await first.flush()
    async with opened(store) as owner:
        assert (await outcome(owner, "create", None, {"n": 1}, timeout_s=5)).error is None
        assert await run(owner, "count") == 3


@pytest.mark.parametrize("how", HOWS)
async def test_a_batch_is_all_or_nothing(lives: Lives, how: str) -> None:
    await run(lives.owner, "create", "a", {"n": 1})
    owner = await lives.go(how)
    parts = [
        Operation("update", "a", {"$inc": {"n": 1}}),
        Operation("create", "b", {"n": 7}),
        Operation("update", "a", {"$inc": {"n": 1}}, {"expected_version": 1}),
    ]
    with pytest.raises(VersionConflictError) as caught:
        await run(owner, "batch", None, [part.to_wire() for part in parts])
    assert caught.value.context["batch_index"] == 2
    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert (await run(owner, "get", "a"))["n"] == 1
    assert await run(owner, "get", "b") is None
    values = await run(owner, "batch", None, [part.to_wire() for part in parts[:2]])
    assert [value["n"] for value in values] == [2, 7]
    owner = await lives.go(how)
    assert [(await run(owner, "get", id_))["n"] for id_ in "ab"] == [2, 7]


@pytest.mark.parametrize(("ordered", "there"), [(True, ["a"]), (False, ["a", "c"])])
async def test_create_many_reports_each_document(owner: NamespaceEngine, ordered: bool, there: list[str]) -> None:
    docs = [{"$id": "posts/a"}, {"$id": "posts/a"}, {"$id": "posts/c"}]
    answer = await run(owner, "create_many", None, docs, ordered=ordered)
    assert [index for index, _ in answer["errors"]] == [1]
    assert [id_ for id_ in answer["ids"] if id_] == [f"posts/{id_}" for id_ in there]
    assert await run(owner, "count") == len(there)


async def test_numbers_are_gap_free_and_reads_say_what_they_saw(owner: NamespaceEngine) -> None:
    seqs = [(await outcome(owner, "create", f"d{number}", {})).seq for number in range(5)]
    await outcome(owner, "create", "d0", {})
    assert seqs == [1, 2, 3, 4, 5]
    assert (await outcome(owner, "get", "d0")).seq == 5
    assert (await outcome(owner, "count")).seq == 5


async def test_pages_of_a_query_follow_each_other(owner: NamespaceEngine) -> None:
    for number in range(5):
        await run(owner, "create", f"d{number}", {"n": number})
        if number == 2:
            await owner.flush()
    seen, cursor = [], None
    while True:
        page = await run(owner, "find", limit=2, cursor=cursor)
        seen.append([item["n"] for item in page["items"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValidationError, match="cursor"):
        await run(owner, "find", cursor=7)


# -- a request is applied once


def sent(seq: int, low: int = 1) -> SessionRequest:
    return SessionRequest(b"s" * 16, seq, low, 0)


@pytest.mark.parametrize("request_id", [sent(1), "order-66"])
@pytest.mark.parametrize("how", HOWS)
async def test_a_repeated_request_gets_the_first_answer(lives: Lives, how: str, request_id: Any) -> None:
    await run(lives.owner, "create", "a", {"n": 1})
    first = await outcome(lives.owner, "update", "a", {"$inc": {"n": 1}}, request=request_id)
    owner = await lives.go(how)
    again = await outcome(owner, "update", "a", {"$inc": {"n": 1}}, request=request_id, age_s=1.0)
    assert (again.value, again.seq, again.duplicate) == (first.value, first.seq, True)
    assert (await run(owner, "get", "a"))["n"] == 2


@pytest.mark.parametrize("how", HOWS)
async def test_a_repeated_request_gets_its_answer_whatever_kind_it_was(lives: Lives, how: str) -> None:
    await run(lives.owner, "create", "a", {"n": 1})
    inc = {"$inc": {"n": 1}}
    calls: list[tuple[str, str | None, Any, dict[str, Any]]] = [
        ("update", "a", inc, {"return_document": "before"}),
        ("update", "new", inc, {"return_document": "before", "upsert": True}),
        ("delete", "a", None, {}),
        ("restore", "a", None, {}),
        ("delete", "a", None, {"hard": True}),
        ("create_many", None, [{"$id": "posts/x"}, {"$id": "posts/x"}], {}),
        ("batch", None, [Operation("update", "x", inc).to_wire(), Operation("delete", "x").to_wire()], {}),
    ]
    first = [
        await run(lives.owner, kind, id_, body, request=sent(seq), **options)
        for seq, (kind, id_, body, options) in enumerate(calls, 1)
    ]
    owner = await lives.go(how)
    for seq, ((kind, id_, body, options), value) in enumerate(zip(calls, first, strict=True), 1):
        again = await outcome(owner, kind, id_, body, request=sent(seq), **options)
        assert again.duplicate, kind
        assert again.value == value, kind


async def test_a_retry_joins_the_attempt_under_way(store: MemoryBackend) -> None:
    gate = Gate(store)
    async with opened(gate) as owner:
        gate.go_on.clear()
        calls = [asyncio.ensure_future(outcome(owner, "create", "a", {}, request=sent(1))) for _ in range(3)]
        await until(lambda: gate.waiting == 1)
        calls.append(asyncio.ensure_future(outcome(owner, "create", "a", {}, request=sent(1))))
        await asyncio.sleep(0)
        assert owner.stats()["queued_ops"] == 1
        gate.go_on.set()
        assert [one.seq for one in await asyncio.gather(*calls)] == [1] * 4
        assert owner.stats()["queued_ops"] == 0


async def test_a_retry_that_joined_is_told_unknown_at_its_deadline(store: MemoryBackend) -> None:
    """Its own call was not sent, but the attempt it joined was."""
    gate = Gate(store)
    async with opened(gate) as owner:
        gate.go_on.clear()
        first = asyncio.ensure_future(outcome(owner, "create", "a", {}, request=sent(1)))
        await until(lambda: gate.waiting == 1)
        retry = await outcome(owner, "create", "a", {}, request=sent(1), timeout_s=0.01)
        assert isinstance(retry.error, OutcomeUnknownError)
        assert owner.stats()["queued_ops"] == 1
        gate.go_on.set()
        assert (await first).error is None
        assert (await outcome(owner, "create", "a", {}, request=sent(1))).duplicate


async def test_a_request_given_up_is_never_applied_later(owner: NamespaceEngine) -> None:
    await run(owner, "create", "a", {}, request=sent(2, low=2))
    with pytest.raises(OutcomeUnknownError) as caught:
        await run(owner, "create", "b", {}, request=sent(1, low=1))
    assert caught.value.request_id == f"pqs-{(b's' * 16).hex()}-1-0"
    assert await run(owner, "get", "b") is None


async def test_an_applied_request_is_answered_while_storage_is_down(store: MemoryBackend) -> None:
    faulty = FaultyBackend(store, rng=random.Random(1), clock=ManualClock())
    async with opened(faulty) as owner:
        await run(owner, "create", "a", {}, request=sent(1))
        faulty.outage(True)
        again = await outcome(owner, "create", "a", {}, request=sent(1))
        assert again.duplicate
        assert again.value["$id"] == "posts/a"
        faulty.outage(False)


# -- deadlines, bounds, circuits


async def test_a_queued_write_is_taken_back_at_its_deadline_and_one_in_flight_is_unknown(store: MemoryBackend) -> None:
    gate = Gate(store)
    async with opened(gate) as owner:
        gate.go_on.clear()
        in_flight = asyncio.ensure_future(outcome(owner, "create", "a", {}, request="mine", timeout_s=0.02))
        await until(lambda: gate.waiting == 1)
        queued = await outcome(owner, "create", "b", {}, timeout_s=0.01)
        assert isinstance(queued.error, TimeoutError)
        assert "not applied" in str(queued.error)
        error = (await in_flight).error
        assert isinstance(error, OutcomeUnknownError)
        assert error.request_id == "mine"
        gate.go_on.set()
        retry = await outcome(owner, "create", "a", {}, request="mine", age_s=0.1)
        assert (retry.error, retry.seq) == (None, 1)
        assert await run(owner, "get", "b") is None
        assert owner.stats()["queued_bytes"] == 0


async def test_the_queue_is_bounded_by_count(store: MemoryBackend) -> None:
    gate = Gate(store)
    async with opened(gate, queue_ops_max=4, group_ops_max=1) as owner:
        gate.go_on.clear()
        calls = [asyncio.ensure_future(outcome(owner, "create", f"d{n}", {})) for n in range(4)]
        await until(lambda: gate.waiting == 1)
        refused = await outcome(owner, "create", "late", {})
        assert isinstance(refused.error, BackpressureError)
        assert refused.error.retry_after is not None
        assert "4 writes" in str(refused.error)
        gate.go_on.set()
        assert [one.error for one in await asyncio.gather(*calls)] == [None] * 4
        assert await run(owner, "get", "late") is None
        assert (await outcome(owner, "create", "late", {})).error is None


async def test_the_queue_is_bounded_by_bytes(store: MemoryBackend) -> None:
    gate = Gate(store)
    async with opened(gate, queue_bytes_max=4096, document_bytes_max=4096) as owner:
        gate.go_on.clear()
        first = asyncio.ensure_future(outcome(owner, "create", "a", {"x": "y" * 3000}))
        await until(lambda: gate.waiting == 1)
        refused = await outcome(owner, "create", "b", {"x": "y" * 3000})
        assert isinstance(refused.error, BackpressureError)
        gate.go_on.set()
        assert (await first).error is None


async def test_the_queue_is_bounded_by_the_age_of_its_oldest(store: MemoryBackend) -> None:
    gate, clock = Gate(store), HandTurnedClock()
    async with opened(gate, clock=clock, queue_age_max_s=5.0) as owner:
        gate.go_on.clear()
        calls = [asyncio.ensure_future(outcome(owner, "create", "a", {}))]
        await until(lambda: gate.waiting == 1)
        calls.append(asyncio.ensure_future(outcome(owner, "create", "b", {})))
        await until(lambda: len(owner._queue) == 1)
        clock.advance(4.0)
        calls.append(asyncio.ensure_future(outcome(owner, "create", "c", {}, timeout_s=20.0)))
        await until(lambda: len(owner._queue) == 2)
        hasty = await outcome(owner, "create", "hasty", {}, timeout_s=3.0)
        clock.advance(2.0)
        late = await outcome(owner, "create", "late", {})
        assert owner.stats()["queue_age_s"] == 6.0
        for refused in (hasty, late):
            assert isinstance(refused.error, BackpressureError)
            assert refused.error.retry_after
        gate.go_on.set()
        assert [one.error for one in await asyncio.gather(*calls)] == [None] * 3
        assert await run(owner, "get", "hasty") is None
        assert await run(owner, "get", "late") is None
        assert (await outcome(owner, "create", "late", {})).error is None


async def test_writes_taken_back_do_not_pile_up_while_storage_is_silent(store: MemoryBackend) -> None:
    gate = Gate(store)
    async with opened(gate) as owner:
        gate.go_on.clear()
        first = asyncio.ensure_future(outcome(owner, "create", "a", {}))
        await until(lambda: gate.waiting == 1)
        errors: set[type] = set()
        for _ in range(10):
            calls = [outcome(owner, "create", f"d{n}", {}, timeout_s=0.1) for n in range(100)]
            errors |= {type(one.error) for one in await asyncio.gather(*calls)}
        waiting = len(owner._queue)
        gate.go_on.set()
        await first
    assert waiting <= 200
    # On a slow machine the last ones find that the first have waited longer than they themselves could.
    assert TimeoutError in errors <= {TimeoutError, BackpressureError}


async def test_an_open_circuit_refuses_at_once_and_nothing_is_sent(store: MemoryBackend) -> None:
    clock = SystemClock()
    faulty = FaultyBackend(store, rng=random.Random(1), clock=clock)
    storage = wrap_backend(
        faulty, StorageSettings(breaker_open_s=600), clock=clock, hooks=HookRegistry(), rng=random.Random(1)
    )
    async with opened(storage) as owner:
        storage.write_circuit.trip("test")
        sent_before = faulty.calls["create"]
        refused = await outcome(owner, "create", "a", {}, timeout_s=60)
        assert isinstance(refused.error, CircuitOpenError)
        assert refused.error.retry_after
        assert faulty.calls["create"] == sent_before
        storage.write_circuit.reset()
        assert (await outcome(owner, "create", "a", {})).seq == 1


async def test_writes_wait_while_too_much_is_unfolded(store: MemoryBackend) -> None:
    faulty = FaultyBackend(store, rng=random.Random(1), clock=ManualClock())
    async with opened(faulty, checkpoint_entries_max=2) as owner:
        undo = faulty.add(FaultRule(fault=Fault.ERROR, key_part="/manifest/", error="quota"))
        done = 0
        for number in range(20):
            made = await outcome(owner, "create", f"d{number}", {}, timeout_s=0.05)
            done += made.error is None
        assert done < 12
        assert owner.stats()["unfolded_entries"] <= 8
        undo()
        made = await outcome(owner, "create", "after", {}, timeout_s=20)
        assert made.error is None
        assert owner.stats()["checkpoints"] >= 1


async def test_too_many_unfolded_bytes_hold_writes_back_until_the_checkpoint(store: MemoryBackend) -> None:
    async with opened(store, checkpoint_bytes_max=1024, checkpoint_entries_max=200) as owner:
        for number in range(6):
            await run(owner, "create", f"d{number}", {"x": "y" * 3000}, timeout_s=10)
        calls = [outcome(owner, "create", f"e{number}", {"x": "y" * 3000}, timeout_s=10) for number in range(6)]
        assert [one.error for one in await asyncio.gather(*calls)] == [None] * 6


# -- owners


async def test_a_fenced_owner_acknowledges_nothing_and_answers_nothing(store: MemoryBackend) -> None:
    old, new = engine(store), engine(store)
    await old.open()
    await run(old, "create", "a", {"n": 1})
    await new.open()
    outcomes = await asyncio.gather(
        outcome(old, "update", "a", {"$inc": {"n": 1}}),
        outcome(old, "get", "a"),
        outcome(old, "create", "a", {}),
        outcome(old, "count"),
    )
    assert [type(one.error) for one in outcomes] == [FencedError] * 4
    assert old.state == "fenced"
    assert (await run(new, "update", "a", {"$inc": {"n": 1}}))["n"] == 2
    with pytest.raises(FencedError):
        await old.flush()
    new.abandon()


@pytest.mark.parametrize("kind", ["get", "create", "delete", "find"])
async def test_an_owner_that_never_writes_learns_of_its_rival_by_asking(store: MemoryBackend, kind: str) -> None:
    old, new = engine(store), engine(store)
    await old.open()
    await run(old, "create", "a", {})
    await new.open()
    await run(new, "delete", "a", hard=True)
    asked = await outcome(old, kind, None if kind == "find" else "a", {} if kind == "create" else None)
    assert isinstance(asked.error, FencedError)
    assert old.state == "fenced"
    new.abandon()


async def test_a_flush_that_waits_is_told_when_the_owner_is_fenced(store: MemoryBackend) -> None:
    gate = Gate(store)
    old, new = engine(gate), engine(store)
    await old.open()
    await run(old, "create", "a", {})
    gate.go_on.clear()
    flush = asyncio.ensure_future(old.flush())
    await until(lambda: gate.waiting == 1)
    await new.open()
    assert isinstance((await outcome(old, "get", "a")).error, FencedError)
    with pytest.raises(FencedError):
        await asyncio.wait_for(flush, 5)
    new.abandon()


class Slow(DelegatingBackend):
    """Holds back reads of some objects and, once `replies_go_on` is cleared, the replies to creates."""

    def __init__(self, inner: MemoryBackend, part: str) -> None:
        super().__init__(inner)
        self.reads_go_on, self.replies_go_on = asyncio.Event(), asyncio.Event()
        self.replies_go_on.set()
        self.reads, self.replies = 0, 0
        self._part = part

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        if self._part in key:
            self.reads += 1
            await self.reads_go_on.wait()
        return await self.inner.read(key, timeout_s=timeout_s)

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        info = await self.inner.create(key, data, timeout_s=timeout_s)
        self.replies += not self.replies_go_on.is_set()
        await self.replies_go_on.wait()
        return info


async def test_what_outlives_its_owners_farewell_is_not_answered_from_before(store: MemoryBackend) -> None:
    """The successor waits for nobody after a `close`: nobody may answer any more, however young the lease."""
    async with opened(store, read_lease_s=0.0) as writer:
        await run(writer, "create", "a", {"n": 1})
        await writer.flush()
    slow = Slow(store, "/data/")
    first = engine(slow, read_lease_s=30.0)
    await first.open()
    asked = [
        asyncio.ensure_future(outcome(first, "get", "a")),
        asyncio.ensure_future(outcome(first, "update", "a", {"$set": {"n": 9}}, expected_version=2)),
    ]
    await until(lambda: slow.reads > 0)
    slow.replies_go_on.clear()
    closing = asyncio.ensure_future(first.close())
    await until(lambda: slow.replies > 0)
    async with opened(store, read_lease_s=0.0) as second:
        assert (await run(second, "update", "a", {"$inc": {"n": 1}}))["version"] == 2
        slow.reads_go_on.set()
        answers = await asyncio.gather(*asked)
        slow.replies_go_on.set()
        await closing
    assert [type(answer.error) for answer in answers] == [RpcUnavailableError] * 2


async def test_a_proof_that_comes_after_an_owners_farewell_is_none(store: MemoryBackend) -> None:
    slow = Slow(store, "/log/")
    slow.reads_go_on.set()
    first = engine(slow, read_lease_s=0.0)
    await first.open()
    await run(first, "create", "a", {"n": 1})
    slow.reads_go_on.clear()
    before = slow.reads
    asked = [
        asyncio.ensure_future(outcome(first, "get", "a")),
        asyncio.ensure_future(outcome(first, "update", "a", {"$set": {"n": 9}}, expected_version=2)),
    ]
    await until(lambda: slow.reads > before)
    slow.replies_go_on.clear()
    closing = asyncio.ensure_future(first.close())
    await until(lambda: slow.replies > 0)
    async with opened(store, read_lease_s=0.0) as second:
        assert (await run(second, "update", "a", {"$inc": {"n": 1}}))["version"] == 2
        slow.replies_go_on.set()
        slow.reads_go_on.set()
        answers = await asyncio.gather(*asked)
        await closing
    assert [type(answer.error) for answer in answers] == [RpcUnavailableError] * 2


def test_closing_writes_a_close_entry_and_the_successor_does_not_wait(store: MemoryBackend) -> None:
    async def main() -> None:
        clock = SimClock(Process("test"))
        first, second, third, fourth = (
            engine(store, clock=clock, read_lease_s=lease_s) for lease_s in (10, 10, 0.5, 0.5)
        )
        await first.open()
        await run(first, "create", "a", {})
        await first.close()
        newest = (await store.list("posts/log/", limit=1)).objects[0].key
        assert decode_entry(newest, await store.read(newest)).header.kind == Kind.CLOSE
        assert isinstance((await outcome(first, "get", "a")).error, RpcUnavailableError)
        await second.open()
        assert clock.boot_s() < 1
        waiting = asyncio.ensure_future(third.open())
        await asyncio.sleep(1)
        assert (third.state, waiting.done()) == ("opening", False)
        # The second may still answer for its ten seconds, whatever the third would promise.
        await fourth.open()
        assert clock.boot_s() >= 12.5
        for owner in (second, third, fourth):
            owner.abandon()

    run_virtually(main)


async def test_an_engine_abandoned_while_it_opens_stays_abandoned(store: MemoryBackend) -> None:
    async with opened(store, read_lease_s=0.05) as first:
        second = engine(store, read_lease_s=0.05)
        opening = asyncio.ensure_future(second.open())
        await until(lambda: second.state == "opening" and len(store._store.keys) == 2)
        second.abandon()
        with pytest.raises(RpcUnavailableError):
            await opening
        assert second.state == "failed"
        first.abandon()


async def test_a_crashed_owner_loses_nothing_it_acknowledged(store: MemoryBackend) -> None:
    for life in range(4):
        owner = engine(store, checkpoint_entries_max=3)
        await owner.open()
        for number in range(5):
            await run(owner, "create", f"{life}-{number}", {"n": number})
        assert await run(owner, "count") == 5 * (life + 1)
        owner.abandon()


async def test_a_damaged_data_file_is_named_and_refuses_only_what_needs_it(store: MemoryBackend) -> None:
    async with opened(store) as first:
        await run(first, "create", "a", {"n": 1})
        await first.flush()
        await run(first, "create", "b", {"n": 1})
        await first.flush()
    files = [info.key for info in (await store.list("posts/data/")).objects]
    async with opened(store) as owner:
        [broken] = [file.key for file in owner._data.files.files if file.id_min == "a"]
        assert f"posts/{broken}" in files
        await store.write(f"posts/{broken}", b"rubbish")
        outcomes = await owner.execute([Operation("update", id_, {"$inc": {"n": 1}}) for id_ in "ab"])
        assert isinstance(outcomes[0].error, CorruptionError)
        assert broken in str(outcomes[0].error)
        assert outcomes[1].error is None
        for kind in ("get", "find"):
            read = await outcome(owner, kind, "a" if kind == "get" else None)
            assert isinstance(read.error, CorruptionError), kind


async def test_an_int_of_thousands_of_digits_does_not_end_its_namespace() -> None:
    long, store = 10**5000, MemoryBackend()
    async with opened(store) as owner:
        await run(owner, "create", "a", {"n": long, "m": 1})
        await run(owner, "create", "b", {"n": 1})
        await owner.flush()
    async with opened(store) as owner:
        assert (await run(owner, "get", "a"))["n"] == long
        page = await run(owner, "find", filter={"n": {"$gte": long}}, sort="n", limit=1)
        assert [found["m"] for found in page["items"]] == [1]

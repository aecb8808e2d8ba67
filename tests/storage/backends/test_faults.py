"""The misbehaving store: each fault does what it says, and a seed says everything."""

import random

import pytest

from parquedb import errors
from parquedb.clock import ManualClock
from parquedb.storage.backend import Range
from parquedb.storage.backends.faults import ERRORS, Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.layers import READ_OPERATIONS, WRITE_OPERATIONS
from parquedb.storage.backends.memory import MemoryBackend


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> FaultyBackend:
    return FaultyBackend(MemoryBackend(), rng=random.Random(7), clock=clock)


async def holds(store: FaultyBackend, key: str) -> bool:
    return await store.inner.exists(key)


async def test_without_rules_it_is_the_store_itself(store: FaultyBackend):
    await store.create("n/a", b"1")
    await store.write("n/a", b"2")
    assert await store.read("n/a") == b"2"
    assert store.calls == {"create": 1, "write": 1, "read": 1}
    assert not store.journal


async def test_a_lost_request_is_never_applied_and_its_outcome_is_unknown(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.LOST_REQUEST))
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        await store.create("n/a", b"1")
    assert caught.value.context["key"] == "n/a"
    assert not await holds(store, "n/a")
    assert store.late_writes == 0
    with pytest.raises(errors.NetworkError):
        await store.read("n/a")


async def test_a_lost_reply_leaves_the_write_applied(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.LOST_REPLY, count=1))
    with pytest.raises(errors.OutcomeUnknownError):
        await store.create("n/a", b"1")
    with pytest.raises(errors.AlreadyExistsError):
        await store.create("n/a", b"1")
    assert await store.read("n/a") == b"1"


async def test_a_refusal_can_be_lost_as_well(store: FaultyBackend):
    await store.create("n/a", b"1")
    store.add(FaultRule(fault=Fault.LOST_REPLY, count=1))
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        await store.create("n/a", b"2")
    assert isinstance(caught.value.__cause__, errors.AlreadyExistsError)
    assert await store.read("n/a") == b"1"


async def test_a_late_write_is_absent_at_first_and_lands_before_a_later_call(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.LATE, count=1, after_calls=3))
    with pytest.raises(errors.OutcomeUnknownError):
        await store.create("n/a", b"late")
    assert [await store.exists("n/a") for _ in range(4)] == [False, False, True, True]
    assert [(entry.number, entry.event) for entry in store.journal] == [(1, "late"), (4, "landed")]


async def test_a_late_write_waits_for_its_time_too(store: FaultyBackend, clock: ManualClock):
    store.add(FaultRule(fault=Fault.LATE, count=1, delay_s=(5, 5)))
    with pytest.raises(errors.OutcomeUnknownError):
        await store.write("n/a", b"late")
    clock.advance(4.5)
    assert not await store.exists("n/a")
    clock.advance(0.5)
    assert await store.exists("n/a")


async def test_a_late_create_loses_against_a_rival_and_the_journal_says_so(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.LATE, count=1, after_calls=2))
    with pytest.raises(errors.OutcomeUnknownError):
        await store.create("n/a", b"late")
    await store.create("n/a", b"rival")
    assert await store.read("n/a") == b"rival"
    assert store.journal[-1][1:] == ("create", "n/a", "AlreadyExistsError")


async def test_late_writes_can_be_delivered_at_once_in_the_order_they_are_due(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.LATE, count=1, delay_s=(9, 9)))
    store.add(FaultRule(fault=Fault.LATE, count=1, delay_s=(1, 1)))
    for data in (b"due last", b"due first"):
        with pytest.raises(errors.OutcomeUnknownError):
            await store.write("n/a", data)
    assert store.late_writes == 2
    assert await store.deliver_late() == 2
    assert store.late_writes == 0
    assert await store.read("n/a") == b"due last"


async def test_a_delay_takes_time_on_the_given_clock_and_from_the_callers_limit(
    store: FaultyBackend, clock: ManualClock
):
    store.add(FaultRule(fault=Fault.DELAY, delay_s=(2, 3)))
    await store.create("n/a", b"1", timeout_s=10)
    assert 2 <= clock.boot_s() <= 3


async def test_a_delay_past_the_limit_ends_a_read_at_the_limit(store: FaultyBackend, clock: ManualClock):
    await store.create("n/a", b"1")
    store.add(FaultRule(fault=Fault.DELAY, delay_s=(60, 60)))
    with pytest.raises(errors.TimeoutError) as caught:
        await store.read("n/a", timeout_s=5)
    assert (caught.value.timeout_s, clock.boot_s()) == (5, 5)


async def test_a_delay_past_the_limit_leaves_a_write_on_its_way(store: FaultyBackend, clock: ManualClock):
    store.add(FaultRule(fault=Fault.DELAY, delay_s=(60, 60), count=1))
    with pytest.raises(errors.OutcomeUnknownError):
        await store.create("n/a", b"1", timeout_s=5)
    assert clock.boot_s() == 5
    clock.advance(54)
    assert not await store.exists("n/a")
    clock.advance(1)
    assert await store.exists("n/a")


@pytest.mark.parametrize("name", ERRORS)
async def test_every_named_error_is_raised_for_the_key_and_nothing_is_applied(store: FaultyBackend, name: str):
    store.add(FaultRule(fault=Fault.ERROR, error=name))
    with pytest.raises(type(ERRORS[name]("n/a"))) as caught:
        await store.write("n/a", b"1")
    assert caught.value.context["key"] == "n/a"
    assert not await holds(store, "n/a")


async def test_any_error_can_be_raised(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.ERROR, error=lambda key: errors.NetworkError(f"no route for {key}")))
    with pytest.raises(errors.NetworkError, match="no route for n/a"):
        await store.stat("n/a")


async def test_a_truncated_read_gives_a_proper_prefix(store: FaultyBackend):
    data = bytes(range(200))
    await store.create("n/a", data)
    await store.create("n/empty", b"")
    store.add(FaultRule(fault=Fault.TRUNCATED))
    parts = [await store.read("n/a") for _ in range(200)]
    parts += [await store.read_range("n/a", 0, 50) for _ in range(50)]
    assert all(data.startswith(part) and len(part) < 200 for part in parts)
    assert max(map(len, parts[200:])) < 50
    assert len(set(map(len, parts))) > 50
    assert await store.read("n/empty") == b""
    together = [await store.read_ranges([Range("n/a", 0, 50), Range("n/a", 50, 50)]) for _ in range(50)]
    assert all(first == data[:50] and data[50:].startswith(last) and len(last) < 50 for first, last in together)


async def test_an_outage_stops_everything_until_it_ends(store: FaultyBackend):
    await store.create("n/a", b"1")
    store.outage(True)
    for call in (store.read("n/a"), store.list("n/"), store.exists("n/a")):
        with pytest.raises(errors.NetworkError):
            await call
    with pytest.raises(errors.OutcomeUnknownError):
        await store.delete("n/a")
    store.outage(True, definite=True)
    with pytest.raises(errors.NetworkError):
        await store.delete("n/a")
    store.outage(False)
    assert await store.read("n/a") == b"1"


async def test_late_writes_wait_for_the_end_of_an_outage(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.LATE, count=1))
    with pytest.raises(errors.OutcomeUnknownError):
        await store.create("n/a", b"1")
    store.outage(True)
    with pytest.raises(errors.NetworkError):
        await store.read("n/a")
    assert not await holds(store, "n/a")
    store.clear()
    assert await store.read("n/a") == b"1"


async def test_rules_choose_by_operation_key_skip_and_count(store: FaultyBackend):
    store.add(
        FaultRule(fault=Fault.ERROR, error="network", operations=frozenset({"stat"}), key_part="log/", skip=2, count=1)
    )
    await store.create("n/log/1", b"1")
    await store.create("n/data/1", b"1")
    results = []
    for key in ["n/log/1", "n/data/1", "n/log/1", "n/data/1", "n/log/1", "n/log/1"]:
        try:
            await store.stat(key)
        except errors.NetworkError:
            results.append("lost")
        else:
            results.append("ok")
    assert results == ["ok", "ok", "ok", "ok", "lost", "ok"]


async def test_a_rule_can_be_taken_back(store: FaultyBackend):
    remove = store.add(FaultRule(fault=Fault.LOST_REQUEST))
    remove()
    remove()
    await store.create("n/a", b"1")


async def test_late_and_truncated_happen_only_where_they_can(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.TRUNCATED))
    store.add(FaultRule(fault=Fault.LATE))
    assert (await store.list("n/")).objects == ()
    with pytest.raises(errors.ConfigurationError) as caught:
        FaultRule(fault=Fault.TRUNCATED, operations=frozenset({"read", "list"}))
    assert str(caught.value) == "fault truncated cannot happen to list; only to read, read_range, read_ranges"


@pytest.mark.parametrize("error", [None, "nonsense"])
def test_an_error_rule_without_a_known_error_is_refused(error: str | None):
    with pytest.raises(errors.ConfigurationError, match=r"fault error needs `error`: a function of the key, or one of"):
        FaultRule(fault=Fault.ERROR, error=error)


async def run(seed: int) -> tuple[list[object], list[object], float]:
    """Make 400 calls under every kind of fault; return what the caller saw, what happened, and the time."""
    clock, results = ManualClock(), []
    store = FaultyBackend(MemoryBackend(clock=clock), rng=random.Random(seed), clock=clock)
    store.add(FaultRule(fault=Fault.DELAY, probability=0.2, delay_s=(0, 3)))
    store.add(FaultRule(fault=Fault.LOST_REQUEST, probability=0.1))
    store.add(FaultRule(fault=Fault.LOST_REPLY, probability=0.1))
    store.add(FaultRule(fault=Fault.LATE, probability=0.1, delay_s=(0, 2), after_calls=4))
    store.add(FaultRule(fault=Fault.ERROR, probability=0.1, error="conflict"))
    store.add(FaultRule(fault=Fault.TRUNCATED, probability=0.1))
    for number in range(400):
        key = f"n/{number % 20}"
        try:
            match number % 4:
                case 0 | 1:
                    results.append(await store.create(key, b"x" * number, timeout_s=2))
                case 2:
                    results.append(await store.read(key, timeout_s=2))
                case 3:
                    results.append(await store.delete(key, timeout_s=2))
        except errors.ParqueDBError as error:
            results.append(error.code)
    return results, list(store.journal), clock.boot_s()


async def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first = await run(11)
    assert await run(11) == first
    assert (await run(12))[0] != first[0]
    assert {entry.event for entry in first[1]} >= {fault.value for fault in Fault} | {"landed"}


async def test_an_unfired_probability_leaves_about_the_rest_alone(store: FaultyBackend):
    store.add(FaultRule(fault=Fault.LOST_REQUEST, probability=0.3))
    for _ in range(1_000):
        try:
            await store.exists("n/a")
        except errors.NetworkError:
            continue
    assert 240 < len(store.journal) < 360


def test_reads_and_writes_are_all_that_faults_can_happen_to():
    FaultRule(fault=Fault.LOST_REQUEST, operations=READ_OPERATIONS | WRITE_OPERATIONS)
    with pytest.raises(errors.ConfigurationError, match="fault delay cannot happen to close"):
        FaultRule(fault=Fault.DELAY, operations=frozenset({"close"}))

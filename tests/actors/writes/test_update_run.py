"""Updates that leave a client together travel, are decided and are logged as one, and are told apart again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests import arguments, schema_arguments
from parquedb.actors.requests.operations import UPDATES, Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import (
    decode_operations,
    decode_outcomes,
    encode_operations,
    encode_outcomes,
    whole,
)
from parquedb.actors.writes.draft import Draft
from parquedb.actors.writes.evaluate import Rules
from parquedb.actors.writes.update_run import update_run
from parquedb.errors import (
    BackpressureError,
    EntityNotFoundError,
    InvalidInputError,
    InvalidUpdateError,
    OutcomeUnknownError,
    TimeoutError,  # noqa: A004 - the public name of the error
    ValidationError,
    VersionConflictError,
)
from parquedb.observability.hooks import HookRegistry
from parquedb.storage.backends.memory import MemoryBackend
from tests.actors.test_engine import Gate, until
from tests.support.engines import opened, outcome, run

ONE, TWO = b"1" * 16, b"2" * 16
ODD = {"price": Decimal("1.10"), "key": UUID(int=7), "day": date(2026, 1, 2), "big": 2**80, "at": datetime.now(UTC)}
ADD = {"$inc": {"n": 1}}
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


def update(seq: int, id_: str, ops: dict[str, Any], *, session: bytes = ONE, **options: Any) -> Operation:
    request = SessionRequest(session, seq, 1, 0)
    timeout_s = options.pop("timeout_s", None)
    return replace(arguments.update("posts", id_, ops, request_id=request, **options), timeout_s=timeout_s)


def later(operation: Operation) -> Operation:
    """The same operation as it is sent again."""
    return Operation(operation.kind, operation.id, operation.body, operation.options, operation.request, age_s=0.1)


async def sent(owner: NamespaceEngine, operations: Sequence[Operation]) -> list[Outcome]:
    """Send operations as a client does and return what it learns."""
    arrived = decode_operations(encode_operations(operations))
    reply = encode_outcomes(arrived, await owner.execute(arrived), 0.0)
    return [whole(*pair) for pair in zip(operations, decode_outcomes(reply)[0], strict=True)]


def kinds(*operations: Operation) -> list[str]:
    return [operation.kind for operation in decode_operations(encode_operations(list(operations)))]


async def fill(owner: NamespaceEngine, *ids: str) -> None:
    for id_ in ids:
        await run(owner, "create", id_, {"n": 0})


def test_only_new_updates_of_some_shape_with_consecutive_numbers_leave_as_one() -> None:
    assert kinds(update(1, "a", ADD), update(2, "b", {"$set": {"x": 1}}, expected_version=3)) == [UPDATES]
    assert kinds(update(1, "a", ADD), update(3, "b", ADD)) == [UPDATES, UPDATES]
    assert kinds(update(1, "a", ADD), update(2, "b", ADD, session=TWO)) == [UPDATES, UPDATES]
    for other in (
        later(update(2, "b", ADD)),
        update(2, "b", {"$push": {"l": 1}}),
        update(2, "b", {"$set": {"l.$[i]": 1}}, array_filters=[{"i": 2}]),
        update(2, "b", ADD, upsert=True),
        update(2, "b", ADD, actor="me"),
        update(2, "b", ADD, return_document="before"),
        arguments.update("posts", "b", ADD, request_id="mine"),
    ):
        assert kinds(update(1, "a", ADD), other) == [UPDATES, "update"]


@pytest.mark.parametrize("how", ["at once", "restarted", "folded", "flushed"])
async def test_each_caller_gets_its_own_document_and_every_read_agrees(store: MemoryBackend, how: str) -> None:
    async with opened(store, checkpoint_entries_max=1 if how == "folded" else 64) as owner:
        await fill(owner, "a", "b", "c")
        updates = [
            update(1, "a", {"$set": ODD}, expected_version=1),
            update(2, "b", ADD),
            update(3, "a", {"$unset": {"price": ""}, "$inc": {"n": 5}}, expected_version=2),
            update(4, "c", {"$set": {"deep.x": [1, None]}, "$currentDate": {"when": True}}),
        ]
        outcomes = await sent(owner, updates)
        documents = [each.result() for each in outcomes]
        assert [each.seq for each in outcomes] == [4, 5, 6, 7]
        assert [document["version"] for document in documents] == [2, 2, 3, 2]
        assert [document["n"] for document in documents] == [0, 1, 5, 0]
        assert {name: documents[0][name] for name in ODD} == ODD
        assert "price" not in documents[2]
        assert documents[3]["deep"] == {"x": [1, None]}
        assert documents[3]["when"] == documents[3]["updatedAt"] > documents[3]["createdAt"]
        if how == "flushed":
            await owner.flush()
        if how != "restarted":
            await check(owner, documents)
    async with opened(store) as successor:
        await check(successor, documents)


async def check(owner: NamespaceEngine, documents: list[Any]) -> None:
    for id_, document in zip("bac", documents[1:], strict=True):
        stored = await run(owner, "get", id_)
        assert stored == document
        assert (await sent(owner, [Operation("get", id_)]))[0].value == document
        assert list(map(type, stored.values())) == list(map(type, (stored | document).values()))
    assert await run(owner, "count", filter={"n": 5}) == 1
    changes = (await run(owner, "history", "a"))["changes"]
    assert [change[2] for change in changes] == ["create", "update", "update"]
    assert [change[4] for change in changes[1:]] == [documents[0], documents[2]]


async def test_one_that_is_refused_says_why_and_leaves_the_others_alone(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await fill(owner, "a", "b", "c")
        await run(owner, "delete", "c")
        updates = [
            update(1, "a", ADD, expected_version=2),
            update(2, "a", ADD, expected_version=1),
            update(3, "missing", ADD),
            update(4, "missing", ADD, expected_version=7),
            update(5, "c", ADD),
            update(6, "b", {"$inc": {"n.x": 1}}),
            update(7, "a", ADD, expected_version=1),
            update(8, "b", ADD, expected_version=1),
        ]
        outcomes = await sent(owner, updates)
        errors = [each.error for each in outcomes]
        expected = [VersionConflictError, None, EntityNotFoundError, VersionConflictError, EntityNotFoundError]
        expected += [InvalidUpdateError, VersionConflictError, None]
        assert [each and type(each) for each in errors] == expected
        alone = [await outcome(owner, "update", each.id, each.body, **each.options) for each in updates]
        for at in (2, 3, 4, 5):
            assert errors[at].to_json() == alone[at].error.to_json()
        assert errors[6].context == {"expected": 1, "actual": 2, "id": "a", "namespace": "posts"}
        assert [outcomes[1].result()["n"], outcomes[7].result()["n"]] == [1, 1]
        assert outcomes[7].seq == outcomes[1].seq + 1


async def test_of_many_updates_at_one_version_exactly_one_wins(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await fill(owner, "a")
        runs = [
            [update(seq, "a", {"$set": {"by": seq}}, session=session, expected_version=1) for seq in range(1, 9)]
            for session in (ONE, TWO)
        ]
        outcomes = [each for part in await asyncio.gather(*(sent(owner, part) for part in runs)) for each in part]
        assert sum(each.error is None for each in outcomes) == 1
        assert await run(owner, "get", "a") == next(each.value for each in outcomes if each.error is None)


@pytest.mark.parametrize("flushed", [["a", "b", "c"], ["b"], []])
async def test_documents_that_must_be_fetched_first_change_in_the_order_given(
    store: MemoryBackend, flushed: list[str]
) -> None:
    async with opened(store) as owner:
        await fill(owner, *flushed)
        await owner.flush()
    async with opened(store) as owner:
        await fill(owner, *sorted({"a", "b", "c"} - set(flushed)))
        updates = [
            update(1, "a", {"$set": {"x": 1}}, expected_version=1),
            update(2, "b", {"$set": {"x": 2}}, expected_version=1),
            update(3, "b", {"$inc": {"x": 5}}, expected_version=2),
            update(4, "c", {"$set": {"x": 4}}),
            update(5, "b", ADD, expected_version=2),
            update(6, "missing", ADD),
        ]
        first, second = await asyncio.gather(
            sent(owner, updates), sent(owner, [update(7, "b", {"$inc": {"x": 10}}, expected_version=3)])
        )
        assert [each.value and each.value["x"] for each in first] == [1, 2, 7, 4, None, None]
        assert isinstance(first[4].error, VersionConflictError)
        assert isinstance(first[5].error, EntityNotFoundError)
        assert second[0].result()["x"] == 17
        assert second[0].result()["version"] == 4
        stats = owner.stats()
        assert (stats["queued_ops"], stats["queued_bytes"]) == (0, 0)
    async with opened(store) as successor:
        assert (await run(successor, "get", "b"))["x"] == 17
        for at, each in enumerate(updates[:4]):
            again = (await successor.execute([later(each)]))[0]
            assert again.duplicate
            assert again.value == first[at].value


async def test_documents_of_files_that_were_read_before_change_in_the_run(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await fill(owner, "a", "b", "c")
        await owner.flush()
        gets = [Operation("get", id_) for id_ in "abc"]
        assert [each.value["n"] for each in await sent(owner, gets)] == [0, 0, 0]
        outcomes = await sent(owner, [update(at, id_, ADD, expected_version=v) for at, (id_, v) in enumerate(PATH, 1)])
        assert [each.result()["n"] for each in outcomes] == [1, 1, 2, 3]
        # Each document is in one place: its old row is dead without anybody having had to look for it.
        assert not owner._data.active.unresolved
        await told_apart(owner)
        await owner.flush()
        await told_apart(owner)
    async with opened(store) as successor:
        await told_apart(successor)


PATH = [("a", 1), ("b", 1), ("a", 2), ("a", 3)]


async def told_apart(owner: NamespaceEngine) -> None:
    items = (await run(owner, "find"))["items"]
    assert {item["$id"]: item["n"] for item in items} == {"posts/a": 3, "posts/b": 1, "posts/c": 0}
    assert len(items) == 3
    gets = await sent(owner, [Operation("get", id_) for id_ in "abc"])
    assert [each.value["n"] for each in gets] == [3, 1, 0]


def test_what_an_earlier_write_waits_for_is_left_for_later() -> None:
    documents = {id_: {"$id": f"posts/{id_}", "version": 1, "n": 0} for id_ in "ab"}
    for document in documents.values():
        document["createdAt"] = document["updatedAt"] = NOW
    [operation] = decode_operations(encode_operations([update(1, "a", ADD), update(2, "b", ADD), update(3, "a", ADD)]))
    made = update_run(operation, Rules("posts", 1 << 20, 100), (Nobody(), 0), None)
    answers, left = made.decide(Draft(documents.get, NOW, lambda count: []), {"a"})
    assert left == [0, 2]
    assert answers.updated is not None
    assert (answers.updated.ids, answers.updated.numbers) == (["b"], [1])


class Nobody:
    def settle(self, place: int, outcome: Outcome) -> None:
        raise AssertionError(f"{place} was answered: {outcome}")


async def test_a_retry_joins_the_run_under_way_and_gets_its_own_document(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await fill(owner, "a", "b")
        operations = [update(1, "a", ADD), update(2, "b", {"$inc": {"n": 7}}), update(3, "b", ADD, expected_version=9)]
        arrived = decode_operations(encode_operations(operations))
        retries = [later(operations[1]), later(operations[2])]
        _, (again, refused) = await asyncio.gather(owner.execute(arrived), owner.execute(retries))
        assert again.result()["n"] == 7
        assert isinstance(refused.error, VersionConflictError)
        assert (await run(owner, "get", "b"))["n"] == 7


async def test_a_retry_joins_an_update_that_had_to_leave_its_run(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await fill(owner, "a")
        await owner.flush()
    async with opened(store) as owner:
        await fill(owner, "b")
        operations = [update(1, "a", {"$inc": {"n": 7}}), update(2, "b", ADD)]
        arrived = decode_operations(encode_operations(operations))
        _, (again,) = await asyncio.gather(owner.execute(arrived), owner.execute([later(operations[0])]))
        assert again.result()["n"] == 7
        assert (await run(owner, "get", "a"))["n"] == 7


@pytest.mark.parametrize("how", ["at once", "restarted", "folded"])
async def test_a_retry_of_a_landed_update_gets_what_was_stored_and_one_refused_is_decided_anew(
    store: MemoryBackend, how: str
) -> None:
    async with opened(store, checkpoint_entries_max=1 if how == "folded" else 64) as owner:
        await fill(owner, "a", "b")
        updates = [update(1, "a", ADD), update(2, "b", ADD, expected_version=2), update(3, "b", ADD)]
        outcomes = await sent(owner, updates)
        if how != "restarted":
            again = (await owner.execute([later(updates[2])]))[0]
            assert (again.duplicate, again.value, again.seq) == (True, outcomes[2].value, outcomes[2].seq)
    async with opened(store) as successor:
        for at in (0, 2):
            again = (await successor.execute([later(updates[at])]))[0]
            assert (again.duplicate, again.value, again.seq) == (True, outcomes[at].value, outcomes[at].seq)
        [anew] = await successor.execute([later(updates[1])])
        assert not anew.duplicate
        assert anew.result()["version"] == 3


@pytest.mark.parametrize("seqs", [[1, 2, 3], [2, 3, 4], [0, 1], [3]])
async def test_a_run_of_which_something_was_sent_before_is_refused_whole(store: MemoryBackend, seqs: list[int]) -> None:
    async with opened(store) as owner:
        await fill(owner, "a")
        await sent(owner, [update(seq, "a", ADD) for seq in (1, 2, 3)])
        for refused in await sent(owner, [update(seq, "a", ADD) for seq in seqs]):
            assert isinstance(refused.error, BackpressureError)
        assert (await run(owner, "get", "a"))["n"] == 3
        assert owner.stats()["queued_ops"] == 0


async def test_a_run_that_the_queue_cannot_hold_is_refused_and_nothing_stays(store: MemoryBackend) -> None:
    async with opened(store, queue_ops_max=2, group_ops_max=2) as owner:
        await fill(owner, "a")
        refusals = await sent(owner, [update(seq, "a", ADD) for seq in (1, 2, 3)])
        assert all(isinstance(each.error, BackpressureError) for each in refusals)
        assert [each.result()["n"] for each in await sent(owner, [update(seq, "a", ADD) for seq in (1, 2)])] == [1, 2]


async def test_the_schema_holds_for_every_update_of_a_run(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await fill(owner, "a", "b")
        schema = schema_arguments.register("posts", {"n": "int!", "tag": "string = 'none'"})
        [registered] = await owner.execute([schema])
        assert registered.error is None
        good, bad = await sent(owner, [update(1, "a", ADD), update(2, "b", {"$set": {"n": "x"}})])
        assert isinstance(bad.error, ValidationError)
        assert good.result() == await run(owner, "get", "a")
        assert good.result()["n"] == 1


async def test_a_document_that_grows_too_large_is_refused(store: MemoryBackend) -> None:
    async with opened(store, document_bytes_max=1024) as owner:
        await fill(owner, "a", "b")
        large, small = await sent(owner, [update(1, "a", {"$set": {"x": "y" * 2000}}), update(2, "b", ADD)])
        assert isinstance(large.error, ValidationError)
        assert small.result()["n"] == 1


async def test_what_is_no_run_is_refused(store: MemoryBackend) -> None:
    key, request = [["$inc", "n"]], SessionRequest(ONE, 1, 1, 0)
    async with opened(store) as owner:
        await fill(owner, "a")
        for body in (
            None,
            [],
            [[], None, [], None, []],
            [["a"], None, [], None, [[1]]],
            [["a"], None, key, None, []],
            [["a"], None, key, [1], [[1]]],
            [["a"], None, key, None, [[1, 2]]],
            [["a"], None, [["$nope", "n"]], None, [[1, 2]]],
            [["a"], None, [[["$inc"], "n"]], None, [[1]]],
            [["a"], [1, 2], key, None, [[1]]],
        ):
            [refused] = await owner.execute([Operation(UPDATES, None, body, request=request)])
            assert isinstance(refused.error, InvalidInputError), body
        assert (await run(owner, "get", "a"))["version"] == 1


async def test_a_run_that_waits_past_its_deadline_is_taken_back(store: MemoryBackend) -> None:
    gate = Gate(store)
    async with opened(gate) as owner:
        await fill(owner, "a")
        gate.go_on.clear()
        first = asyncio.ensure_future(run(owner, "update", "a", {"$set": {"x": 1}}))
        await until(lambda: gate.waiting == 1)
        late = await sent(owner, [update(seq, "a", ADD, timeout_s=0.02) for seq in (1, 2)])
        assert all(isinstance(each.error, TimeoutError) for each in late)
        assert owner.stats()["queued_ops"] == 1
        gate.go_on.set()
        assert (await first)["version"] == 2
        assert (await run(owner, "get", "a"))["n"] == 0


async def test_what_is_wrong_with_one_update_is_not_held_against_the_others(store: MemoryBackend) -> None:
    keys = [["$inc", "n"]], [["$inc", "deep.er.x"]], [["$push", "l"]], [["$nope", "n"]]
    which = [0, 0, 0, 1, 2, 0, 3, 0]
    ids = ["a", "a", "", "a", "a", "a", "a", "b"]
    operands: list[list[Any]] = [[1], ["x"], [1], [1], ["y"], [5], [1], [1]]
    async with opened(store, depth_max=2) as owner:
        await fill(owner, "a", "b")
        body = [ids, None, list(keys), which, operands]
        operation = Operation(UPDATES, None, body, request=SessionRequest(ONE, 1, 1, 0))
        reply = encode_outcomes([operation], await owner.execute([operation]), 0.0)
        outcomes = decode_outcomes(reply)[0]
        errors = [each.error and type(each.error) for each in outcomes]
        wrong = InvalidUpdateError
        assert errors == [None, wrong, ValidationError, wrong, None, None, wrong, None]
        # Of one document in the order given, also past the one that this owner makes on its own.
        assert [(each.value["n"], each.value.get("l")) for each in outcomes if not each.error] == [
            (1, None),
            (1, ["y"]),
            (6, ["y"]),
            (1, None),
        ]
        assert (owner.stats()["queued_ops"], owner.stats()["queued_bytes"]) == (0, 0)


@pytest.fixture
async def parted(store: MemoryBackend) -> AsyncIterator[tuple[NamespaceEngine, Gate]]:
    """An owner behind a gate that is shut, with a document in a file and one in memory."""
    async with opened(store) as owner:
        await fill(owner, "cold")
        await owner.flush()
    gate = Gate(store)
    async with opened(gate) as owner:
        await fill(owner, "hot")
        gate.go_on.clear()
        yield owner, gate
        gate.go_on.set()


async def numbers(owner: NamespaceEngine, gate: Gate) -> list[int]:
    """Let everything be decided and return what became of both documents."""
    gate.go_on.set()
    await until(lambda: owner.stats()["queued_ops"] == 0)
    return [(await run(owner, "get", id_))["n"] for id_ in ("cold", "hot")]


async def test_of_a_run_past_its_deadline_what_is_not_decided_yet_is_taken_back(
    parted: tuple[NamespaceEngine, Gate],
) -> None:
    owner, gate = parted
    operations = [update(1, "cold", ADD, timeout_s=0.05), update(2, "hot", ADD, timeout_s=0.05)]
    cold, hot = await sent(owner, operations)
    assert isinstance(cold.error, TimeoutError)
    assert isinstance(hot.error, OutcomeUnknownError)
    # A retry finds nothing to join.
    again = asyncio.ensure_future(owner.execute([replace(later(operations[0]), timeout_s=20)]))
    assert await numbers(owner, gate) == [1, 1]
    assert (await again)[0].result()["version"] == 2


async def test_what_was_taken_back_is_never_applied(parted: tuple[NamespaceEngine, Gate]) -> None:
    await sent(parted[0], [update(1, "cold", ADD, timeout_s=0.05), update(2, "hot", ADD, timeout_s=0.05)])
    assert await numbers(*parted) == [0, 1]


async def test_what_a_retry_waits_for_is_not_taken_back_with_its_run(parted: tuple[NamespaceEngine, Gate]) -> None:
    owner, gate = parted
    operations = [update(1, "cold", ADD, timeout_s=0.05), update(2, "hot", ADD, timeout_s=0.05)]
    first = asyncio.ensure_future(sent(owner, operations))
    # It joins while the run is whole.
    retry = asyncio.ensure_future(owner.execute([replace(later(operations[0]), timeout_s=20)]))
    assert all(isinstance(each.error, OutcomeUnknownError) for each in await first)
    assert await numbers(owner, gate) == [1, 1]
    assert (await retry)[0].result()["n"] == 1


@pytest.mark.parametrize("seq", [1, 2])
async def test_a_retry_that_waits_less_long_than_the_run_it_joined_is_told_unknown(
    parted: tuple[NamespaceEngine, Gate], seq: int
) -> None:
    owner, gate = parted
    operations = [update(1, "cold", ADD), update(2, "hot", ADD)]
    first = asyncio.ensure_future(sent(owner, operations))
    # It joins while the run is whole; by its deadline the run is not.
    [retried] = await asyncio.ensure_future(owner.execute([replace(later(operations[seq - 1]), timeout_s=0.05)]))
    assert isinstance(retried.error, OutcomeUnknownError)
    assert await numbers(owner, gate) == [1, 1]
    assert [each.result()["n"] for each in await first] == [1, 1]


async def test_hooks_are_told_how_many_of_a_run_were_refused(store: MemoryBackend) -> None:
    hooks, results = HookRegistry(), []

    class Hook:
        inline = True

        def on_mutation_end(self, context: Any, result: Any) -> None:
            results.append((context.batch_size, result.rows, result.errors))

    async with opened(store, hooks=hooks) as owner:
        await fill(owner, "a")
        hooks.register_hook(Hook())
        await sent(owner, [update(1, "a", ADD, expected_version=9), update(2, "a", ADD), update(3, "missing", ADD)])
        await sent(owner, [update(4, "a", ADD)])
    assert results == [(3, 1, 2), (1, 1, 0)]

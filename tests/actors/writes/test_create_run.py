"""Creates that leave a client together travel, are decided and are logged as one, and are told apart again."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import CREATES, GETS, Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import (
    decode_operations,
    decode_outcomes,
    encode_operations,
    encode_outcomes,
    whole,
)
from parquedb.errors import BackpressureError, InvalidInputError, ValidationError
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, outcome, run

ONE, TWO = b"1" * 16, b"2" * 16
ODD = {"price": Decimal("1.10"), "key": UUID(int=7), "day": date(2026, 1, 2), "big": 2**80, "at": datetime.now(UTC)}


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


def create(seq: int, body: dict[str, Any] | None = None, *, session: bytes = ONE, **more: Any) -> Operation:
    body = {"n": seq} if body is None else body
    return Operation("create", None, body, request=SessionRequest(session, seq, 1, 0), size=100, **more)


async def sent(owner: NamespaceEngine, operations: list[Operation]) -> list[Outcome]:
    """Send operations as a client does and return what it learns."""
    arrived = decode_operations(encode_operations(operations))
    reply = encode_outcomes(arrived, await owner.execute(arrived), 0.0)
    return [whole(*pair) for pair in zip(operations, decode_outcomes(reply)[0], strict=True)]


def kinds(*operations: Operation) -> list[str]:
    return [operation.kind for operation in decode_operations(encode_operations(list(operations)))]


def test_only_new_creates_without_ids_and_options_with_consecutive_numbers_leave_as_one() -> None:
    assert kinds(create(1), create(2), create(3)) == [CREATES]
    assert kinds(create(1), create(3)) == [CREATES, CREATES]
    assert kinds(create(1), create(2, session=TWO)) == [CREATES, CREATES]
    assert kinds(create(1), Operation("get", "a"), create(2)) == [CREATES, GETS, CREATES]
    for other in (
        create(2, {"$id": "posts/a"}),
        create(2, {"version": 3}),
        create(2, age_s=0.1),
        create(2, options={"actor": "me"}),
        Operation("create", "a", {}, request=SessionRequest(ONE, 2, 1, 0), size=100),
    ):
        assert kinds(create(1), other) == [CREATES, "create"]


@pytest.mark.parametrize("how", ["at once", "restarted", "folded", "flushed"])
async def test_each_caller_gets_its_own_document_and_every_read_agrees(store: MemoryBackend, how: str) -> None:
    bodies = [{"n": 1, **ODD}, {"n": 2, "tags": ["a", None]}, {"n": 3}]
    async with opened(store, checkpoint_entries_max=1 if how == "folded" else 64) as owner:
        outcomes = await sent(owner, [create(seq, body) for seq, body in enumerate(bodies, 1)])
        documents = [each.result() for each in outcomes]
        if how == "flushed":
            await owner.flush()
        if how != "restarted":
            await check(owner, bodies, documents, [each.seq for each in outcomes])
    async with opened(store) as successor:
        await check(successor, bodies, documents, [each.seq for each in outcomes])


async def check(owner: NamespaceEngine, bodies: Any, documents: Any, seqs: list[int]) -> None:
    assert seqs == [1, 2, 3]
    for body, document in zip(bodies, documents, strict=True):
        id_ = document["$id"].removeprefix("posts/")
        at = document["createdAt"]
        assert document == {"$id": f"posts/{id_}", **body, "version": 1, "createdAt": at, "updatedAt": at}
        stored = await run(owner, "get", id_)
        assert stored == document
        assert list(map(type, stored.values())) == list(map(type, (stored | document).values()))
    assert await run(owner, "count") == 3


async def test_a_retry_joins_the_run_under_way_and_gets_its_own_document(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        arrived = decode_operations(encode_operations([create(1), create(2)]))
        retry = create(2, age_s=0.1)
        first, (again,) = await asyncio.gather(owner.execute(arrived), owner.execute([retry]))
        assert again.result()["n"] == 2
        assert again.result()["$id"].endswith(first[0].value.ids[1])
        assert await run(owner, "count") == 2


@pytest.mark.parametrize("how", ["at once", "restarted", "folded"])
async def test_a_retry_of_a_landed_create_gets_what_was_stored(store: MemoryBackend, how: str) -> None:
    async with opened(store, checkpoint_entries_max=1 if how == "folded" else 64) as owner:
        documents = [each.result() for each in await sent(owner, [create(1), create(2), create(3)])]
        if how != "restarted":
            assert (await outcome(owner, "create", None, {}, request=create(2).request, age_s=1)).value == documents[1]
    async with opened(store) as successor:
        for seq, document in enumerate(documents, 1):
            again = await outcome(successor, "create", None, {}, request=create(seq).request, age_s=1)
            assert again.duplicate
            assert again.value == document
        assert await run(successor, "count") == 3


@pytest.mark.parametrize("seqs", [[1, 2, 3], [2, 3, 4], [0, 1], [3]])
async def test_a_run_of_which_something_was_sent_before_is_refused_whole(store: MemoryBackend, seqs: list[int]) -> None:
    async with opened(store) as owner:
        await sent(owner, [create(1), create(2), create(3)])
        for refused in await sent(owner, [create(seq) for seq in seqs]):
            assert isinstance(refused.error, BackpressureError)
            assert "sent before" in str(refused.error)
        assert await run(owner, "count") == 3
        assert owner.stats()["queued_ops"] == 0


async def test_two_runs_with_a_request_in_common_do_not_both_wait(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        runs = [decode_operations(encode_operations(each)) for each in ([create(1), create(2)], [create(2), create(3)])]
        first, second = await owner.execute(runs[0] + runs[1])
        assert first.error is None
        assert isinstance(second.error, BackpressureError)
        assert await run(owner, "count") == 2


async def test_a_run_that_the_queue_cannot_hold_is_refused_and_nothing_stays(store: MemoryBackend) -> None:
    async with opened(store, queue_ops_max=2, group_ops_max=2) as owner:
        assert all(isinstance(each.error, BackpressureError) for each in await sent(owner, [*map(create, (1, 2, 3))]))
        assert [each.result()["n"] for each in await sent(owner, [create(1), create(2)])] == [1, 2]


async def test_what_is_no_run_is_refused_and_a_document_too_large_is_named(store: MemoryBackend) -> None:
    async with opened(store, document_bytes_max=1024) as owner:
        for body in ([], [[1, 2], b"abcd"], [[], b""], None):
            (refused,) = await owner.execute([Operation(CREATES, None, body, request=SessionRequest(ONE, 1, 1, 0))])
            assert isinstance(refused.error, InvalidInputError)
        refusals = await sent(owner, [create(1), create(2, {"text": "x" * 2000})])
        assert all(isinstance(each.error, ValidationError) for each in refusals)
        assert "at most 1,024 bytes" in str(refusals[0].error)
        assert await run(owner, "count") == 0

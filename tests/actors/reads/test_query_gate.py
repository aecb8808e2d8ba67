"""So many queries at once, so many in line, and the rest refused."""

import asyncio
import random

import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.reads.query_gate import QueryGate
from parquedb.errors import BackpressureError, QueryTimeoutError
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, outcome, run


async def test_queries_run_in_turn_and_those_without_a_place_in_line_are_refused() -> None:
    gate = QueryGate(2, 3, random.Random(1))
    leave, most = asyncio.Event(), 0

    async def query() -> None:
        nonlocal most
        async with gate.turn():
            most = max(most, gate.running)
            await leave.wait()

    queries = [asyncio.ensure_future(query()) for _ in range(7)]
    done, _ = await asyncio.wait(queries, return_when=asyncio.FIRST_EXCEPTION)
    refused = [each.exception() for each in done]
    assert len(refused) == 1 or len(refused) == 2
    for error in refused:
        assert isinstance(error, BackpressureError)
        assert error.retry_after
    await asyncio.sleep(0)
    assert (gate.running, gate.waiting) == (2, 3)
    leave.set()
    await asyncio.wait(queries)
    assert (gate.running, gate.waiting, most) == (0, 0, 2)
    assert gate.admission.refused["ops"] == 2


async def test_a_query_that_is_given_up_in_line_leaves_its_place_to_others() -> None:
    gate = QueryGate(1, 1, random.Random(1))
    async with gate.turn():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), gate.turn():
                pass
        assert gate.waiting == 0
    async with gate.turn():
        assert gate.running == 1


async def held(owner: NamespaceEngine, count: int) -> list[asyncio.Task[None]]:
    """Hold places of the gate until the tasks are cancelled."""

    async def hold() -> None:
        async with owner._reader.gate.turn():
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(hold()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("kind", ["find", "count", "update_many"])
async def test_every_query_of_an_owner_goes_through_its_gate(kind: str) -> None:
    body = {"$set": {"n": 2}} if kind == "update_many" else None
    async with opened(MemoryBackend(), queries_max=1, queries_waiting_max=0) as owner:
        await run(owner, "create", "a", {"n": 1})
        [holder] = await held(owner, 1)
        refused = await outcome(owner, kind, None, body, filter={"n": 1})
        assert isinstance(refused.error, BackpressureError)
        assert owner.stats()["queries_refused"] == 1
        assert (await run(owner, "get", "a"))["n"] == 1, "a read by id is no query"
        holder.cancel()
        await asyncio.wait([holder])
        assert (await outcome(owner, kind, None, body, filter={"n": 1})).error is None


async def test_a_query_waits_for_its_turn_no_longer_than_its_caller() -> None:
    async with opened(MemoryBackend(), queries_max=1, queries_waiting_max=5) as owner:
        [holder] = await held(owner, 1)
        late = await outcome(owner, "find", timeout_s=0.05)
        assert isinstance(late.error, QueryTimeoutError)
        holder.cancel()

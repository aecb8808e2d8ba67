"""A request is applied at most once, whoever is asked, in whatever order its packets come (rules 24 to 27)."""

from typing import Any

import pytest

from parquedb.actors.requests.operations import Outcome, Request
from parquedb.errors import OutcomeUnknownError
from tests.support.stage import EVERYWHERE, Owner, Stage, sent


async def counted(stage: Stage, name: str, **changes: Any) -> Owner:
    """Return an owner of a namespace that holds one counter."""
    made = await stage.owner(name, **changes)
    await made.creates("counter")
    return made


def add(owner: Owner, request: Request, **more: Any) -> Any:
    return owner.says("update", "counter", {"$inc": {"n": 1}}, request=request, **more)


async def count(owner: Owner) -> int:
    found = (await owner.says("get", "counter")).result()
    return int(found.get("n", 0))


@EVERYWHERE
async def test_a_retry_joins_the_attempt_under_way(stage: Stage) -> None:
    a = await counted(stage, "A")
    reply = a.wire.holds_reply("create")
    first = stage.begin(add(a, sent(1)))
    await reply.held()
    again = [stage.begin(add(a, sent(1))) for _ in range(3)]
    await stage.passes(0)
    assert a.engine.stats()["queued_ops"] == 1
    reply.release()
    assert [(await one).seq for one in (first, *again)] == [2] * 4
    assert await count(a) == 1


FATES = ["landed", "lost", "lands before the next owner", "lands after the next owner"]


@EVERYWHERE
@pytest.mark.parametrize("request_id", [sent(1), "order-66"], ids=["session", "own id"])
@pytest.mark.parametrize("fate", FATES)
async def test_a_retry_at_the_next_owner_finds_out_what_came_of_the_first(
    stage: Stage, fate: str, request_id: Request
) -> None:
    a = await counted(stage, "A")
    if fate == "landed":
        a.wire.loses_reply()
    elif fate == "lost":
        a.wire.loses_request()
    else:
        a.wire.delays()
    again = a.wire.holds("create", skip=1)
    first = stage.begin(add(a, request_id))
    await again.held()
    a.dies()
    told: Outcome = await first
    assert isinstance(told.error, OutcomeUnknownError)
    if fate == "lands before the next owner":
        await a.wire.deliver()
    b = await stage.owner("B")
    await a.wire.deliver()
    applied = fate in ("landed", "lands before the next owner")
    assert await count(b) == applied
    retry = await add(b, request_id, age_s=1.0)
    assert (retry.error, retry.duplicate) == (None, applied)
    assert await count(b) == 1


@EVERYWHERE
@pytest.mark.parametrize("request_id", [sent(2), "order-66"], ids=["session", "own id"])
async def test_an_answer_is_remembered_when_its_entry_is_folded_and_collected(
    stage: Stage, request_id: Request
) -> None:
    a = await counted(stage, "A", log_grace_s=1)
    first = await add(a, request_id)
    await a.engine.flush()
    await a.creates("more")
    await a.engine.flush()
    stage.time.advance(10)
    await a.engine.collect()
    assert 3 not in await stage.log()
    b = await stage.owner("B")
    retry = await add(b, request_id, age_s=10.0)
    assert (retry.duplicate, retry.seq, retry.value) == (True, first.seq, first.value)
    assert await count(b) == 1


@pytest.mark.parametrize("where", ["the same owner", "the next owner", "the next owner, after a flush"])
async def test_a_request_that_its_client_gave_up_is_dead(stage: Stage, where: str) -> None:
    """Its packet may come when nobody waits any more; what came of it is no longer kept, so it must do nothing."""
    a = await counted(stage, "A")
    await add(a, sent(2, low=2))
    if "flush" in where:
        await a.engine.flush()
    owner = a if where == "the same owner" else await stage.owner("B")
    late = await add(owner, sent(1, low=1))
    assert isinstance(late.error, OutcomeUnknownError)
    assert await count(owner) == 1


async def test_requests_of_one_session_may_come_in_any_order_across_owners(stage: Stage) -> None:
    a = await counted(stage, "A")
    for seq in (3, 1):
        assert not (await add(a, sent(seq))).duplicate
    b = await stage.owner("B")
    for seq in (4, 2):
        assert not (await add(b, sent(seq))).duplicate
    await b.engine.flush()
    c = await stage.owner("C")
    assert [(await add(c, sent(seq))).duplicate for seq in (1, 2, 3, 4)] == [True] * 4
    assert await count(c) == 4


@pytest.mark.parametrize("where", ["the same owner", "the next owner", "the next owner, after a flush"])
async def test_a_late_copy_of_a_request_whose_session_is_forgotten_does_nothing(stage: Stage, where: str) -> None:
    few = {"sessions_max": 1}
    a = await counted(stage, "A", **few)
    await add(a, sent(1))
    await add(a, sent(1, session="t", born=3))
    if "flush" in where:
        await a.engine.flush()
    owner = a if where == "the same owner" else await stage.owner("B", **few)
    late = await add(owner, sent(1))
    assert isinstance(late.error, OutcomeUnknownError)
    fresh = await add(owner, sent(1, session="u", born=owner.engine.tail))
    assert (fresh.error, fresh.duplicate) == (None, False)
    assert await count(owner) == 3


@pytest.mark.parametrize("where", ["the same owner", "the next owner, after a flush"])
async def test_a_late_copy_of_a_callers_own_id_that_is_forgotten_does_nothing(stage: Stage, where: str) -> None:
    few = {"request_ids_max": 1}
    a = await counted(stage, "A", **few)
    await add(a, "order-1")
    await stage.passes(20)
    await add(a, "order-2")
    await a.engine.flush()
    owner = a if where == "the same owner" else await stage.owner("B", **few)
    assert (await add(owner, "order-3")).error is None
    late = await add(owner, "order-1", age_s=20.0)
    assert isinstance(late.error, OutcomeUnknownError)
    assert await count(owner) == 3

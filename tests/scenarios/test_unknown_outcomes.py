"""Writes whose answer was lost, late, doubled or wrong: settled by the store alone (rules 8 to 11)."""

import asyncio
from collections.abc import Callable

import pytest

from parquedb.errors import (
    BackpressureError,
    FencedError,
    OutcomeUnknownError,
    TimeoutError,  # noqa: A004 - ours
)
from tests.support.stage import EVERYWHERE, Stage, sent
from tests.support.wire import Wire

MISHAPS: dict[str, Callable[[Wire], object]] = {
    "lost request": lambda wire: wire.loses_request(count=2),
    "lost reply, or a 503 that was applied": lambda wire: wire.loses_reply(),
    "late": lambda wire: wire.delays(count=2),
    "doubled": lambda wire: wire.doubles("create"),
    "409 storm": lambda wire: wire.refuses("conflict", count=20),
}
"""What can befall the create of a log entry."""


@pytest.mark.parametrize("mishap", MISHAPS)
async def test_each_kind_of_entry_lands_once_whatever_befalls_its_packet(stage: Stage, mishap: str) -> None:
    a, befalls = stage.cast("A"), MISHAPS[mishap]
    befalls(a.wire)
    await a.opens()
    befalls(a.wire)
    assert (await a.creates("x")).error is None
    befalls(a.wire)
    await a.engine.flush()
    befalls(a.wire)
    await a.engine.close()
    assert a.state == "closed"
    before = await stage.chain()
    await a.wire.deliver()
    assert a.wire.on_their_way == 0
    assert await stage.kinds() == ["open", "write", "checkpoint", "close"]
    assert await stage.chain() == before


@EVERYWHERE
async def test_a_404_after_a_timeout_is_no_no(stage: Stage) -> None:
    """Counter-example 1: the packet is under way still, and lands in front of what is sent next."""
    a = await stage.owner("A")
    a.wire.delays()
    again = a.wire.holds("create", skip=1)
    x = a.creating("x", timeout_s=0.05)
    await again.held()
    assert await stage.kinds() == ["open"]
    assert isinstance((await x).error, OutcomeUnknownError)
    y = a.creating("y")
    await a.wire.deliver()
    again.release()
    assert (await y).seq == 2
    assert (await a.says("get", "x")).seq == 2
    assert await stage.kinds() == ["open", "write", "write"]


@EVERYWHERE
async def test_no_is_as_dangerous_as_yes(stage: Stage) -> None:
    """Counter-example 3: ours landed, was built upon, folded and collected; a forgotten packet took its place."""
    a = await stage.owner("A")
    c = stage.cast("C")
    c.wire.delays()
    c_again = c.wire.holds("create", skip=1)
    c.opening()
    await c_again.held()  # C dies here; its `open` for position 2 is on its way.
    a.wire.loses_reply()
    again = a.wire.holds("create", skip=1)
    x = a.creating("x")
    await again.held()
    b = await stage.owner("B", log_grace_s=1)
    await b.creates("y")
    await b.engine.flush()
    stage.time.advance(10)
    await b.engine.collect()
    assert 2 not in await stage.log()
    await c.wire.deliver()
    assert (await stage.log())[2].header.kind == "open"
    again.release()
    assert (await x).error is None
    assert a.state == "fenced"
    assert (await b.says("get", "x")).value is not None


@EVERYWHERE
async def test_a_rivals_entry_that_is_the_tail_is_a_no(stage: Stage) -> None:
    a = await stage.owner("A")
    packet = a.wire.holds("create")
    x = a.creating("x")
    await packet.held()
    b = await stage.owner("B")
    packet.release()
    assert isinstance((await x).error, FencedError)
    assert (await b.says("get", "x")).value is None


async def test_a_409_on_both_sides_decides_nothing(stage: Stage) -> None:
    """Two creates of one position meet again and again; in the end the store takes one of them."""
    a = await stage.owner("A")
    b = stage.cast("B")
    a.wire.refuses("conflict", count=9)
    b.wire.refuses("conflict", count=9)
    said, _ = await asyncio.gather(a.creates("x"), b.opens())
    # Whether the write or the `open` came first, both know which.
    assert ((await b.says("get", "x")).value is None) == isinstance(said.error, FencedError)
    assert isinstance((await a.creates("y")).error, FencedError)


@EVERYWHERE
async def test_a_winner_that_cannot_be_read_is_asked_for_until_it_can(stage: Stage) -> None:
    """The GET after a 412 fails, the caller's deadline passes, and then the answer is a yes."""
    a = await stage.owner("A")
    a.wire.loses_reply()
    look = a.wire.holds("read")
    x = a.creating("x", request=sent(1), timeout_s=0.05)
    await look.held()
    assert isinstance((await x).error, OutcomeUnknownError)
    a.wire.refuses("network", "read", count=3)
    again = a.creating("x", request=sent(1))
    look.release()
    assert ((await again).error, (await again).seq) == (None, 1)
    assert (await a.creates("x", request=sent(1))).duplicate


async def test_what_waits_behind_an_open_outcome_is_refused_for_certain_or_waits(stage: Stage) -> None:
    a = await stage.owner("A", queue_ops_max=3, group_ops_max=1)
    reply = a.wire.holds_reply("create")
    x = a.creating("x", timeout_s=0.05)
    await reply.held()
    waiting = a.creating("waits")
    given_up = await a.creates("gives-up", timeout_s=0.05)
    assert isinstance(given_up.error, TimeoutError)
    assert isinstance((await x).error, OutcomeUnknownError)
    third = a.creating("third")
    await stage.passes(0)
    assert isinstance((await a.creates("one-too-many")).error, BackpressureError)
    reply.release()
    assert [(await one).error for one in (waiting, third)] == [None, None]


async def test_objects_beside_the_log_survive_the_same_mishaps(stage: Stage) -> None:
    """Data file, manifest and segments have names of their own: late copies land nowhere that matters."""
    a = await stage.owner("A")
    for part in ("/data/", "/manifest/", "/history/", "/dedupe/"):
        a.wire.loses_request(part=part)
        a.wire.loses_reply(part=part)
        a.wire.delays(part=part)
    await a.creates("x", request="order-1")
    await a.engine.flush()
    before = await stage.chain()
    await a.wire.deliver()
    assert await stage.chain() == before
    b = await stage.owner("B")
    assert (await b.creates("x", request="order-1", age_s=1.0)).duplicate

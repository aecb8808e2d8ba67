"""Taking a namespace over while others write, fold, collect, open and die (rules 1, 7, 16 to 18)."""

import asyncio
from typing import Any

import pytest

from parquedb.actors.writes.writer import _HARD_BOUND
from parquedb.errors import FencedError
from parquedb.settings import EngineSettings
from parquedb.storage.backend import ListPage
from parquedb.storage.log.entry import Kind, encode_entry, entry_key
from parquedb.storage.log.opening import _LISTING_MAX
from tests.support.chains import entry
from tests.support.stage import EVERYWHERE, PREFIX, Owner, Stage
from tests.support.wire import WAIT_S

BRIEF: dict[str, Any] = {"log_grace_s": 1, "snapshot_grace_s": 1}


async def folds_and_collects(owner: Owner) -> None:
    """Checkpoint, and delete all log entries below once they are old enough."""
    await owner.engine.flush()
    owner.stage.time.advance(10)
    await owner.engine.collect()


@EVERYWHERE
async def test_an_opener_that_slept_in_collected_ground_notices(stage: Stage) -> None:
    """Counter-example 2: its `open` meets nobody, for what stood there has been collected."""
    a = await stage.owner("A", **BRIEF)
    await a.creates("before")
    c = stage.cast("C")
    packet = c.wire.holds("create")
    opening = c.opening()
    await packet.held()
    c.pauses()
    for id_ in ("x", "y"):
        await a.creates(id_)
    await folds_and_collects(a)
    assert sorted(await stage.log()) == [1, 5]
    c.wakes()
    packet.release()
    await opening
    assert (await stage.log())[3].header.kind == "open"
    assert c.engine.epoch == 6
    assert (await c.says("count")).value == 3
    assert isinstance((await a.creates("z")).error, FencedError)


@EVERYWHERE
async def test_a_slow_load_takes_no_zombie_for_the_tail(stage: Stage) -> None:
    """Counter-example 9: what it listed is collected, and a forgotten `open` with the right predecessor lands there."""
    a = await stage.owner("A", **BRIEF)
    await a.creates("x")
    c = stage.cast("C")
    c.wire.delays()
    c_again = c.wire.holds("create", skip=1)
    c.opening()
    await c_again.held()  # C dies here; its `open` for position 3 is on its way.
    await a.creates("y")
    reader, wire = stage.opener("reader")
    look = wire.holds("read", entry_key(3))
    loading = stage.begin(reader.load())
    await look.held()
    await folds_and_collects(a)
    await c.wire.deliver()
    assert (await stage.log())[3].header.kind == "open"
    look.release()
    assert await loading == await stage.chain()
    assert (await loading).next_seq == 3


@EVERYWHERE
async def test_the_tail_is_listed_and_never_probed_for(stage: Stage) -> None:
    """Counter-example 10: behind the fence that a reader knows as the tail there is nothing; yet the log goes on."""
    a = await stage.owner("A")
    await a.creates("x")
    b = await stage.owner("B", **BRIEF)
    reader, _ = stage.opener("reader")
    assert (await reader.load()).tail == 3
    for number in range(5):
        await b.creates(f"y{number}")
    await folds_and_collects(b)
    assert sorted(await stage.log()) == [1, 3, 9]
    assert (await reader.load()).tail == 9
    c = await stage.owner("C")
    assert c.engine.epoch == 10


@EVERYWHERE
async def test_no_stale_or_orphaned_manifest_misleads_an_opener(stage: Stage) -> None:
    """Counter-example 8, as far as there is anything like a hint: only the tail's back pointer is believed."""
    a = await stage.owner("A", **BRIEF)
    await a.creates("x")
    a.wire.doubles("create", "/manifest/")
    await a.engine.flush()
    [stale] = await stage.names("manifest")
    await a.creates("y")
    await folds_and_collects(a)
    assert stale not in await stage.names("manifest")
    await a.wire.deliver()
    assert stale in await stage.names("manifest")
    a = await stage.owner("heir", **BRIEF)
    for number in range(2):  # A newer one, whose checkpoint never lands; and another such owner after that.
        await a.creates(f"z{number}")
        checkpoint = a.wire.holds("create")
        stage.begin(a.engine.flush())
        await checkpoint.held()
        a.dies()
        a = await stage.owner(f"heir {number}")
    assert len(await stage.names("manifest")) == 4
    assert (await a.says("count")).value == 4


@pytest.mark.parametrize("order", ["ABC", "CAB", "at once"])
async def test_of_three_openers_at_once_one_becomes_the_owner(stage: Stage, order: str) -> None:
    first = await stage.owner("first")
    await first.creates("x")
    first.dies()
    openers = {name: stage.cast(name) for name in "ABC"}
    packets = {name: one.wire.holds("create") for name, one in openers.items()}
    tasks = {name: one.opening() for name, one in openers.items()}
    await asyncio.gather(*(packet.held() for packet in packets.values()))
    for name in "ABC" if order == "at once" else order:
        packets[name].release()
        if order != "at once":
            await asyncio.wait({tasks[name]})
    await asyncio.wait(tasks.values())
    owners = [one for name, one in openers.items() if tasks[name].exception() is None]
    assert [type(task.exception()) for task in tasks.values() if task.exception()] == [FencedError, FencedError]
    [owner] = owners
    assert order == "at once" or owner.name == order[0]
    assert (await owner.creates("y")).seq == 2
    assert await stage.kinds() == ["open", "write", "open", "write"]


@pytest.mark.parametrize("lands", ["before the next one looks", "before the next one creates", "after the next one"])
async def test_an_opener_that_dies_leaves_a_packet_that_harms_nobody(stage: Stage, lands: str) -> None:
    """In front of a new owner it lands first and is absorbed; behind it, it is refused."""
    a = await stage.owner("A")
    await a.creates("x")
    c = stage.cast("C", read_lease_s=10)
    c.wire.delays()
    again = c.wire.holds("create", skip=1)
    c.opening()
    await again.held()
    b = stage.cast("B")
    packet = b.wire.holds("create")
    if lands == "before the next one looks":
        await c.wire.deliver()
    opening = b.opening()
    await packet.held()
    if lands == "before the next one creates":
        await c.wire.deliver()
    packet.release()
    if lands == "before the next one looks":
        await b.clock.waits()  # C may have landed and be answering, for all that anybody knows.
        assert b.state == "opening"
        await stage.passes(12.5)
    if lands == "before the next one creates":
        with pytest.raises(FencedError):
            await opening
        b = stage.cast("B again")
        opening = b.opening()
        await b.clock.waits()
        await stage.passes(12.5)
    await opening
    await c.wire.deliver()
    assert (await b.creates("y")).error is None
    kinds = ["open", "write", "open", "write"] if lands == "after the next one" else ["open", "write"] + 2 * ["open"]
    assert (await stage.kinds())[: len(kinds)] == kinds
    assert isinstance((await a.creates("z")).error, FencedError)


@pytest.mark.parametrize(
    ("operation", "part", "skip"),
    [("list", "/log/", 0), ("read", "/log/", 0), ("create", "/log/", 0), ("list", "/log/", 1)],
    ids=["looking", "reading", "creating", "verifying"],
)
async def test_a_rival_opens_folds_and_collects_while_an_opener_is_paused(
    stage: Stage, operation: str, part: str, skip: int
) -> None:
    a = await stage.owner("A", **BRIEF)
    await a.creates("x")
    c = stage.cast("C")
    packet = c.wire.holds(operation, part, skip=skip)
    opening = c.opening()
    await packet.held()
    b = await stage.owner("B", **BRIEF)
    await b.creates("y")
    await folds_and_collects(b)
    await b.creates("z")
    packet.release()
    if operation == "create":
        with pytest.raises(FencedError):  # The rival's younger `open` stands there.
            await opening
        assert (await b.creates("later")).error is None
        return
    await opening
    assert (await c.says("count")).value == 3
    assert isinstance((await b.creates("late")).error, FencedError)


async def test_a_listing_with_holes_is_filled_by_asking(stage: Stage) -> None:
    a = await stage.owner("A")
    for number in range(6):
        await a.creates(f"x{number}")
    b = stage.cast("B")
    hidden = {PREFIX + entry_key(position) for position in (2, 3, 5)}
    b.wire.shows = lambda page: ListPage(
        tuple(one for one in page.objects if one.key not in hidden), page.more, page.server_s
    )
    await b.opens()
    assert b.engine.epoch == 8
    assert (await b.says("count")).value == 6


async def test_a_page_that_is_cut_short_is_no_end_of_the_log(stage: Stage) -> None:
    """A store may give fewer than it was asked for, as long as it says that there are more."""
    a = await stage.owner("A")
    for number in range(6):
        await a.creates(f"x{number}")
    b = stage.cast("B")
    b.wire.shows = lambda page: ListPage(page.objects[:2], page.more or len(page.objects) > 2, page.server_s)
    await b.opens()
    assert b.engine.epoch == 8
    assert (await b.says("count")).value == 6


async def test_more_entries_than_a_page_holds_are_all_read(stage: Stage) -> None:
    """No owner leaves so many unfolded; one with other bounds might have."""
    entries = [entry(1, kind=Kind.OPEN), *(entry(position) for position in range(2, 1_051))]
    store = stage.handle()
    for start in range(0, len(entries), 50):
        made = entries[start : start + 50]
        await asyncio.gather(*(store.create(PREFIX + entry_key(e.header.position), encode_entry(e)) for e in made))
    chain = await stage.chain()
    assert (chain.tail, len(chain.entries)) == (1_050, 1_050)


async def test_an_owner_that_cannot_fold_stops_where_one_page_still_holds_everything(stage: Stage) -> None:
    a = await stage.owner("A", checkpoint_entries_max=3, group_ops_max=1)
    a.wire.refuses("quota", part="/manifest/", count=None)
    writes = [a.creating(f"x{number:02}") for number in range(20)]
    await asyncio.wait_for(asyncio.gather(*writes[:11]), WAIT_S)
    await stage.passes(1)
    assert sum(write.done() for write in writes) == 11
    assert (await stage.chain()).tail == 12
    b = await stage.owner("B")
    assert b.engine.epoch == 13
    assert (await b.says("count")).value == 11
    [entries_max] = [
        one.le for one in EngineSettings.model_fields["checkpoint_entries_max"].metadata if hasattr(one, "le")
    ]
    assert _HARD_BOUND * entries_max < _LISTING_MAX

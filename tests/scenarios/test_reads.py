"""Answers that depend on nobody else having written: leases, fences, hand-overs, slow readers (rules 15, 16 and 22)."""

import asyncio
from typing import Any

import pyarrow as pa
import pytest

from parquedb.actors.requests.operations import Outcome
from parquedb.errors import FencedError, SnapshotNotFoundError, VersionConflictError
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.snapshot import SnapshotContent, Wanted, memory_table, tables
from tests.support.engines import NAMESPACE, inline
from tests.support.stage import EVERYWHERE, Owner, Stage

ANSWERS: dict[str, tuple[str, str | None, Any, dict[str, Any]]] = {
    "read": ("get", "x", None, {}),
    "query": ("find", None, None, {}),
    "version conflict": ("update", "x", {"$set": {"n": 1}}, {"expected_version": 7}),
    "not found": ("update", "nobody", {"$set": {"n": 1}}, {}),
    "already exists": ("create", "x", {}, {}),
    "no change": ("delete", "nobody", None, {}),
}


@EVERYWHERE
@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_owner_that_never_writes_answers_nothing_once_it_is_fenced(stage: Stage, answer: str) -> None:
    """Counter-example 7: it never meets the fence by itself, so it has to look for it."""
    kind, id_, body, options = ANSWERS[answer]
    a = await stage.owner("A")
    await a.creates("x")
    b = await stage.owner("B")
    assert isinstance((await a.says(kind, id_, body, **options)).error, FencedError)
    assert a.state == "fenced"
    told = await b.says("update", "x", {"$set": {"n": 1}}, expected_version=7)
    assert isinstance(told.error, VersionConflictError)


async def test_a_read_waits_while_the_fate_of_a_write_is_open(stage: Stage) -> None:
    a = await stage.owner("A")
    reply = a.wire.holds_reply("create")
    writing = a.creating("x")
    await reply.held()
    reading = a.asking("get", "x")
    await stage.passes(5)
    assert not reading.done()
    reply.release()
    assert (await reading).value is not None
    assert (await writing).error is None


@EVERYWHERE
async def test_an_empty_place_vouches_for_nothing_while_a_write_is_open(stage: Stage) -> None:
    """What we sent landed, was built upon, folded, collected: behind our tail there is nothing, and we are fenced."""
    a = await stage.owner("A")
    a.wire.loses_reply()
    again = a.wire.holds("create", skip=1)
    writing = a.creating("x")
    await again.held()
    b = await stage.owner("B", log_grace_s=1)
    await b.creates("y")
    await b.engine.flush()
    stage.time.advance(10)
    await b.engine.collect()
    assert 2 not in await stage.log()
    reading = a.asking("get", "y")
    await stage.passes(5)
    assert not reading.done()
    again.release()
    assert (await writing).error is None
    assert isinstance((await reading).error, FencedError)


async def waits_for_the_lease(stage: Stage, name: str, **changes: Any) -> tuple[Owner, "asyncio.Task[None]"]:
    """Return an opener that waits out the lease of the owner before it."""
    made = stage.cast(name, **changes)
    opening = made.opening()
    await made.clock.waits()
    return made, opening


@EVERYWHERE
async def test_a_successor_answers_nothing_while_its_predecessor_may_still_read(stage: Stage) -> None:
    a = await stage.owner("A", read_lease_s=10)
    await a.creates("x")
    b, opening = await waits_for_the_lease(stage, "B")
    await stage.passes(9.9)
    assert (await a.says("get", "x")).error is None
    await stage.passes(0.2)
    assert isinstance((await a.says("get", "x")).error, FencedError)
    assert b.state == "opening"
    await stage.passes(2.4)
    await opening
    assert b.state == "open"


@pytest.mark.parametrize(("slow", "fast"), [(0.95, 1.05), (1.05, 0.95)])
async def test_two_never_answer_at_once_though_their_clocks_run_five_percent_wrong(
    stage: Stage, slow: float, fast: float
) -> None:
    a = await stage.owner("A", read_lease_s=10, clock_rate=slow)
    await a.creates("x")
    b, opening = await waits_for_the_lease(stage, "B", clock_rate=fast)
    answered = 0
    while not opening.done():
        told = await a.says("get", "x")
        answered += told.error is None
        assert told.error is None or isinstance(told.error, FencedError)
        assert told.error is not None or b.state == "opening"
        await stage.passes(0.1)
        if opening.done():
            assert isinstance((await a.says("get", "x")).error, FencedError)
    assert answered >= 90


async def test_a_lease_that_was_promised_is_waited_out_whatever_the_next_owners_settings_are(stage: Stage) -> None:
    """Settings change between owners; B dies before A's lease is over, and C owes the wait to both."""
    a = await stage.owner("A", read_lease_s=10)
    await a.creates("x")
    b, _ = await waits_for_the_lease(stage, "B", read_lease_s=2)
    b.dies()
    c, opening = await waits_for_the_lease(stage, "C", read_lease_s=0)
    await stage.passes(12.4)
    assert c.state == "opening"
    await stage.passes(0.2)
    await opening


async def test_a_load_is_as_quick_as_the_owner_demands_and_not_as_its_reader_thinks(stage: Stage) -> None:
    """The log grace belongs to who collects: half of it is all the time that a load may take."""
    a = await stage.owner("A", log_grace_s=4)
    await a.creates("x")
    reader, wire = stage.opener("reader", log_grace_s=3600, snapshot_grace_s=3600)
    look = wire.holds("read")
    loading = stage.begin(reader.load())
    await look.held()
    await stage.passes(3)
    look.release()
    await loading
    assert [key for operation, key in wire.seen if operation == "list"].count("posts/log/") == 2


@EVERYWHERE
async def test_a_clean_farewell_spares_the_successor_the_lease(stage: Stage) -> None:
    a = await stage.owner("A", read_lease_s=30)
    await a.creates("x")
    await a.engine.close()
    b = await stage.owner("B")
    assert stage.time.now_s < 5
    assert (await b.says("get", "x")).value is not None
    assert (await stage.kinds()) == ["open", "write", "close", "open"]


async def test_a_farewell_that_never_arrived_spares_nobody_the_lease(stage: Stage) -> None:
    a = await stage.owner("A", read_lease_s=10)
    await a.creates("x")
    packet = a.wire.holds("create")
    stage.begin(a.engine.close())
    await packet.held()
    b, opening = await waits_for_the_lease(stage, "B")
    packet.release()  # Too late: the successor's `open` stands there.
    await stage.passes(12.4)
    assert b.state == "opening"
    await stage.passes(0.2)
    await opening
    assert await stage.kinds() == ["open", "write", "open"]


async def snapshot_of(stage: Stage, owner: Owner) -> SnapshotContent:
    told: Outcome = await owner.says("snapshot")
    return SnapshotContent.of(NAMESPACE, told.result())


async def read_slowly(stage: Stage, content: SnapshotContent) -> list[str]:
    """Read the files of a snapshot as a reader elsewhere does, who holds nothing but their description."""
    files = DataFiles(stage.handle(), NAMESPACE, cache_bytes_max=0, run=inline)
    wanted = Wanted(content.schema)
    found: list[pa.Table] = [memory_table(content.memory, wanted)]
    for part in content.parts:
        files.add(part.file, dead=part.dead)
        found += [table async for table in tables(files, part, wanted)]
    return sorted(id_ for table in found for id_ in table.column("$id").to_pylist())


@EVERYWHERE
@pytest.mark.parametrize("late", [False, True])
async def test_a_slow_reader_sees_all_within_the_grace_and_a_typed_error_past_it(stage: Stage, late: bool) -> None:
    """Its owner is gone and the next one knows nothing of it: all that it has is the grace."""
    patient = {"snapshot_grace_s": 1000, "log_grace_s": 10, "history_window_s": 0}
    a = await stage.owner("A", **patient)
    for id_ in ("x", "y", "z"):
        await a.creates(id_)
        await a.engine.flush()
    content = await snapshot_of(stage, a)
    a.dies()
    b = await stage.owner("B", **patient)
    await b.says("update", "x", {"$set": {"n": 1}})
    await b.engine.compact()
    stage.time.advance(1100 if late else 900)
    await b.engine.collect()
    if late:
        with pytest.raises(SnapshotNotFoundError):
            await read_slowly(stage, content)
    else:
        assert await read_slowly(stage, content) == ["posts/x", "posts/y", "posts/z"]
    assert (await b.says("count")).value == 3

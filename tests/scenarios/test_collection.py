"""Deleting what is superseded while others freeze, read, flush and collect as well (rules 19 to 21)."""

from typing import Any

import pytest

from parquedb.errors import FencedError, OutcomeUnknownError
from tests.support.stage import EVERYWHERE, Stage

HASTY: dict[str, Any] = {"log_grace_s": 1, "snapshot_grace_s": 1, "history_window_s": 0}
PATIENT: dict[str, Any] = {"log_grace_s": 10, "snapshot_grace_s": 100, "history_window_s": 0}


@EVERYWHERE
async def test_what_lands_while_a_checkpoint_is_made_is_not_collected_with_it(stage: Stage) -> None:
    """Counter-example 4: entries between `through` and the checkpoint's own are folded nowhere."""
    a = await stage.owner("A", **HASTY)
    await a.creates("x")
    packet = a.wire.holds("create", "/manifest/")
    flush = stage.begin(a.engine.flush())
    await packet.held()
    for id_ in ("y", "z"):
        await a.creates(id_)
    packet.release()
    await flush
    stage.time.advance(10)
    await a.engine.collect()
    assert sorted(await stage.log()) == [1, 3, 4, 5]
    b = await stage.owner("B")
    assert (await b.says("count")).value == 3


@EVERYWHERE
async def test_grace_counts_from_being_superseded(stage: Stage) -> None:
    """Counter-example 5: what readers hold may be days old when its successor lands, and stays for the grace."""
    a = await stage.owner("A", **PATIENT)
    for id_ in ("x", "y"):
        await a.creates(id_)
        await a.engine.flush()
    chain = await stage.chain()
    assert chain.base is not None
    held = {chain.base.manifest, *await stage.names("data")}
    stage.time.advance(20_000)
    await a.engine.compact()
    await a.engine.collect()
    assert held <= {*await stage.names("manifest"), *await stage.names("data")}
    stage.time.advance(101)
    await a.engine.collect()
    assert held.isdisjoint({*await stage.names("manifest"), *await stage.names("data")})
    assert (await a.says("count")).value == 2


@EVERYWHERE
async def test_a_stale_collector_spares_the_files_of_a_frozen_flush(stage: Stage) -> None:
    """Counter-example 6: to whoever does not know their owner they look like garbage of long ago."""
    c = await stage.owner("C", **HASTY)
    await c.creates("x")
    await c.engine.flush()
    a = await stage.owner("A", **HASTY)
    await a.creates("y")
    packet = a.wire.holds("create", "/manifest/")
    flush = stage.begin(a.engine.flush())
    await packet.held()
    a.pauses()
    files = await stage.names("data")
    stage.time.advance(20_000)
    assert await c.engine.collect() == 0
    assert await stage.names("data") == files
    a.wakes()
    packet.release()
    await flush
    a.dies()
    b = await stage.owner("B")
    assert [(await b.says("get", id_)).result()["by"] for id_ in "xy"] == ["C", "A"]


@EVERYWHERE
@pytest.mark.parametrize("meanwhile", ["writes", "writes, folds and collects"])
async def test_a_collector_that_was_stopped_mid_pass_deletes_late_and_harms_nobody(
    stage: Stage, meanwhile: str
) -> None:
    """It made its list as the owner; when it deletes, another has taken over from the same checkpoint."""
    a = await stage.owner("A", **HASTY)
    await a.creates("x")
    await a.engine.flush()
    await a.creates("y")
    packet = a.wire.holds("create", "/manifest/")
    flush = stage.begin(a.engine.flush())
    await packet.held()
    await a.creates("in between")
    packet.release()
    await flush
    stage.time.advance(10)
    packet = a.wire.holds("delete", "/")
    collecting = stage.begin(a.engine.collect())
    await packet.held()
    a.pauses()
    b = await stage.owner("B", **HASTY)
    await b.creates("z")
    if "folds" in meanwhile:
        await b.engine.flush()
        stage.time.advance(10)
        await b.engine.collect()
    before = await stage.chain()
    a.wakes()
    packet.release()
    assert await collecting > 0
    assert await stage.chain() == before
    c = await stage.owner("C")
    assert (await c.says("count")).value == 4


async def test_a_checkpoint_that_lands_mid_pass_is_judged_at_the_next_one(stage: Stage) -> None:
    a = await stage.owner("A", **HASTY)
    await a.creates("x")
    await a.engine.flush()
    stage.time.advance(10)
    packet = a.wire.holds("list", "/data/")  # The log has been listed; what comes now, this pass has not seen.
    collecting = stage.begin(a.engine.collect())
    await packet.held()
    await a.creates("y")
    await a.engine.flush()
    await a.creates("z")
    packet.release()
    await collecting
    manifest = (await stage.chain()).manifest
    assert manifest is not None
    stored = {*await stage.names("data"), *await stage.names("history"), *await stage.names("tail")}
    assert {one for one in manifest.objects if one.split("/")[0] != "manifest"} <= stored
    assert sorted(await stage.log()) == [1, 3, 4, 5, 6]
    b = await stage.owner("B")
    assert (await b.says("count")).value == 3


@EVERYWHERE
async def test_a_fence_stops_a_stale_owner_whose_clock_stood_still(stage: Stage) -> None:
    """Counter-example 11: for a machine that was moved no time has passed; storage refuses it all the same."""
    a = await stage.owner("A", **HASTY)
    await a.creates("x")
    packet = a.wire.holds("create")
    y = a.creating("y")
    await packet.held()
    a.pauses()
    a.clock.stop()
    b = await stage.owner("B", **HASTY)
    await b.creates("z")
    await b.engine.flush()
    stage.time.advance(80_000)
    await b.engine.collect()
    assert sorted(await stage.log()) == [1, 3, 5]
    a.wakes()
    packet.release()
    # With the entry above the fence gone, nobody can say any more what became of y; acknowledged it is not.
    assert isinstance((await y).error, OutcomeUnknownError)
    assert isinstance((await a.says("get", "x")).error, FencedError)
    assert (await b.says("count")).value == 2


async def test_fences_outlive_everything_around_them(stage: Stage) -> None:
    for number in range(4):
        owner = await stage.owner(f"owner{number}", **HASTY)
        await owner.creates(f"x{number}")
        await owner.engine.flush()
        stage.time.advance(10)
        await owner.engine.collect()
        owner.dies()
    # Each wrote `open`, a document, a checkpoint: only the last one's checkpoint is needed still.
    assert sorted(await stage.log()) == [1, 4, 7, 10, 12]

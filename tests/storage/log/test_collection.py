"""What may be deleted, and when (rules 19 to 21 of the commit protocol)."""

from dataclasses import dataclass, field

from parquedb.clock import ManualClock
from parquedb.storage.backend import ObjectInfo
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.log.collection import Collector, Graces, Known, Listing, plan
from parquedb.storage.log.entry import entry_key
from tests.support.engines import engine, run
from tests.support.virtual_loop import Process, SimClock, run_virtually

GRACES = Graces(log_s=10, snapshot_s=100)


@dataclass(frozen=True)
class Landed:
    position: int
    through: int
    manifest: str
    objects: frozenset[str] = field(default_factory=frozenset)


FIRST = Landed(5, 4, "manifest/9-1-a", frozenset({"data/1-a", "data/1-b"}))
SECOND = Landed(9, 7, "manifest/8-1-b", frozenset({"data/1-b", "data/1-c"}))


def stored(*keys: str, now_s: float = 1000.0, log: range = range(0)) -> Listing:
    names = [*keys, *(entry_key(position) for position in log)]
    return Listing(tuple(ObjectInfo(name, 1, None, 0.0) for name in names), now_s)


def known(*checkpoints: Landed, fences: tuple[int, ...] = (1,), epoch: int = 1) -> Known:
    return Known(checkpoints, frozenset(fences), epoch)


def positions(*wanted: int) -> list[str]:
    return sorted(entry_key(position) for position in wanted)


def test_without_a_checkpoint_nothing_goes() -> None:
    assert plan(stored("data/1-x", log=range(1, 9)), known(), {}, GRACES) == []


def test_log_entries_go_up_to_what_was_folded_but_not_the_fences() -> None:
    listing = stored(log=range(1, 10))
    assert plan(listing, known(FIRST, fences=(1, 3)), {5: 980}, GRACES) == positions(2, 4)


def test_a_checkpoint_deletes_nothing_above_what_it_folded() -> None:
    """Entries between `through` and the checkpoint's own are in no manifest."""
    assert plan(stored(log=range(1, 10)), known(SECOND), {9: 0}, GRACES) == positions(2, 3, 4, 5, 6, 7)


def test_an_unlisted_open_entry_below_is_a_zombie() -> None:
    assert entry_key(3) in plan(stored(log=range(1, 10)), known(SECOND, fences=(1, 8)), {9: 0}, GRACES)


def test_grace_counts_from_being_superseded_not_from_creation() -> None:
    """All objects here are a thousand seconds old."""
    listing = stored("data/1-a", "manifest/9-1-a", log=range(1, 10))
    assert plan(listing, known(FIRST, SECOND), {5: 100, 9: 995}, GRACES) == positions(2, 3, 4)
    assert plan(listing, known(FIRST, SECOND), {9: 995}, GRACES) == []


def test_files_live_for_the_snapshot_grace_after_they_were_superseded() -> None:
    listing = stored("data/1-a", "data/1-b", "data/1-c", "manifest/9-1-a", "manifest/8-1-b")
    assert plan(listing, known(FIRST, SECOND), {5: 0, 9: 901}, GRACES) == []
    assert plan(listing, known(FIRST, SECOND), {5: 0, 9: 900}, GRACES) == ["data/1-a", "manifest/9-1-a"]


def test_files_of_my_own_epoch_that_no_checkpoint_names_stay() -> None:
    """A flush of mine may be about to name them."""
    assert plan(stored("data/1-new", "data/0-old"), known(SECOND), {9: 0}, GRACES) == ["data/0-old"]


def test_whoever_sees_a_higher_epoch_deletes_nothing() -> None:
    listing = stored("data/0-old", "data/2-new", log=range(1, 10))
    assert plan(listing, known(SECOND), {9: 0}, GRACES) == []


def test_a_foreign_name_stops_everything() -> None:
    assert plan(stored("data/readme", "data/0-old"), known(SECOND), {9: 0}, GRACES) == []


async def still_ours() -> None:
    """Nobody else is there."""


async def test_what_landed_during_the_listing_is_judged_at_the_next_one() -> None:
    clock = ManualClock()
    store = MemoryBackend(clock=clock)
    for position in (1, 2, 3):
        await store.create(f"p/{entry_key(position)}", b"x")
    clock.advance(1000)
    collector = Collector(store, "p/", Graces(0, 0))
    unseen = Landed(4, 2, "manifest/x-1-a")
    assert await collector.collect(lambda: known(unseen), still_ours) == 0
    await store.create(f"p/{entry_key(4)}", b"x")
    assert await collector.collect(lambda: known(unseen), still_ours) == 1


async def test_what_was_pinned_and_then_came_to_be_needed_has_its_grace() -> None:
    clock = ManualClock()
    store = MemoryBackend(clock=clock)
    await store.create("p/data/1-x", b"x")
    for position in range(1, 20):
        await store.create(f"p/{entry_key(position)}", b"x")
    collector = Collector(store, "p/", GRACES)
    first = Landed(5, 4, "manifest/9-2-a")
    second = Landed(9, 7, "manifest/8-2-b", frozenset({"data/1-x"}))
    third = Landed(12, 11, "manifest/7-2-c")
    clock.advance(1000)

    def now(*checkpoints: Landed, pins: tuple[str, ...] = ()) -> Known:
        return Known(checkpoints, frozenset(range(20)), 2, pins=frozenset(pins))

    assert await collector.collect(lambda: now(first, pins=("data/1-x",)), still_ours) == 0
    collector._landed_s |= {12: clock.now().timestamp()}
    assert await collector.collect(lambda: now(first, second, third), still_ours) == 0
    clock.advance(101)
    assert await collector.collect(lambda: now(first, second, third), still_ours) == 1
    assert not await store.exists("p/data/1-x")


def test_an_owner_collects_what_it_superseded_and_its_successor_opens_from_the_rest() -> None:
    async def main() -> None:
        clock = SimClock(Process("test"))
        store = MemoryBackend(clock=clock)
        options = {"clock": clock, "log_grace_s": 1.0, "snapshot_grace_s": 2.0, "checkpoint_entries_max": 3}
        owner = engine(store, **options)
        await owner.open()
        for number in range(12):
            await run(owner, "create", f"d{number}", {"n": number})
            await run(owner, "update", "d0", {"$set": {"n": number}})
            if number % 3 == 0:
                await owner.flush()
        assert await owner.collect() == 0
        for _ in range(3):
            await clock.sleep(3)
            await owner.collect()
        await run(owner, "update", "d1", {"$set": {"n": -1}})
        assert len(owner._data.checkpoints) <= 2
        left = [key.split("/")[1] for key in store._store.keys]
        assert left.count("log") < 10
        assert left.count("manifest") == 1
        # The fence stays although everything around it is gone.
        assert f"posts/{entry_key(1)}" in store._store.keys
        assert f"posts/{entry_key(2)}" not in store._store.keys
        owner.abandon()
        heir = engine(store, **options)
        await heir.open()
        assert await run(heir, "count") == 12
        assert [(await run(heir, "get", id_))["n"] for id_ in ("d0", "d1", "d5")] == [11, -1, 5]
        heir.abandon()

    run_virtually(main)

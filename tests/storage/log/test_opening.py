"""Reading a chain and taking ownership: few round trips, no trust in listings, no silence about damage."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.clock import ManualClock
from parquedb.errors import CorruptionError, FencedError, ObjectNotFoundError
from parquedb.errors import TimeoutError as LateError
from parquedb.storage.backend import ListPage, ObjectInfo
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.log.entry import BackPointer, Kind, entry_key
from parquedb.storage.log.manifest import Manifest, checksum, encode_manifest, manifest_key
from tests.support.chains import INCARNATION, LEASES, PREFIX, chain, commit_id, entry, opener, put
from tests.support.engines import opened, run


class RoundTrips(DelegatingBackend):
    """Counts how often somebody had to wait for storage: what is asked at the same time counts once."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.made = 0
        self.calls: list[str] = []
        self._turn: asyncio.Event | None = None

    async def _take(self, what: str) -> None:
        self.calls.append(what)
        if self._turn is None:
            self._turn = asyncio.Event()
            asyncio.get_running_loop().call_later(0.002, self._end)
        await self._turn.wait()

    def _end(self) -> None:
        assert self._turn is not None
        self._turn.set()
        self._turn = None
        self.made += 1

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        await self._take(key)
        return await self.inner.read(key)

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        await self._take(key)
        return await self.inner.create(key, data)

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        await self._take(prefix)
        return await self.inner.list(prefix, after=after, limit=limit)


class Interfering(DelegatingBackend):
    """Lets something happen right before the first create."""

    def __init__(self, inner: MemoryBackend, before_create: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(inner)
        self._before_create: Callable[[], Awaitable[Any]] | None = before_create

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        if self._before_create is not None:
            happen, self._before_create = self._before_create, None
            await happen()
        return await self.inner.create(key, data)


class Busy(DelegatingBackend):
    """A store whose owner writes whenever the opener looks for news or is about to create, so many times; then rests.

    Attributes:
        calls: What the opener asked: the operation, and the key or prefix.
        found: The keys that it read and found, in order.
    """

    def __init__(self, inner: MemoryBackend, owner: NamespaceEngine, *, times: int) -> None:
        super().__init__(inner)
        self.calls: list[tuple[str, str]] = []
        self.found: list[str] = []
        self._owner = owner
        self._times = times

    async def _work(self, writes: int) -> None:
        if self._times:
            self._times -= 1
            for number in range(writes):
                await run(self._owner, "update", f"d{number}", {"$inc": {"n": 1}}, upsert=True)

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        self.calls.append(("read", key))
        try:
            data = await self.inner.read(key)
        except ObjectNotFoundError:
            await self._work(1)
            raise
        self.found.append(key)
        return data

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        self.calls.append(("create", key))
        await self._work(3)
        return await self.inner.create(key, data)

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        self.calls.append(("list", prefix))
        return await self.inner.list(prefix, after=after, limit=limit)


async def checkpointed(store: MemoryBackend, *, name: str = "a") -> BackPointer:
    """Store 1 to 4, a manifest through 4, and the checkpoint entry 5."""
    await chain(store, 4)
    base = await manifest(store, 4, name)
    base = BackPointer(5, base.manifest, base.checksum, 4)
    await put(store, entry(5, kind=Kind.CHECKPOINT, seq=4, base=base))
    return base


async def manifest(store: MemoryBackend, through: int, name: str) -> BackPointer:
    made = Manifest("posts", INCARNATION, 1, through, commit_id(f"c{through}"), through, 1, (1,), leases=LEASES)
    data = encode_manifest(made)
    key = manifest_key(through, 1, name)
    await store.create(PREFIX + key, data)
    return BackPointer(0, key, checksum(data), through)


@pytest.mark.parametrize("commits", [10, 1000])
async def test_opening_takes_three_round_trips_and_a_verification_at_any_history(commits: int) -> None:
    store = MemoryBackend()
    async with opened(store, checkpoint_entries_max=8, group_ops_max=1, flush_rows=40) as owner:
        for number in range(commits):
            await run(owner, "update", f"d{number % 50}", {"$set": {"n": number}}, upsert=True)
        owner.abandon()
    counting = RoundTrips(store)
    taken = await opener(counting, read_lease_s=0.0).open()
    assert taken.chain.tail > commits
    assert counting.made <= 4
    assert counting.calls[-1] == PREFIX + "log/"
    assert len(counting.calls) < 60


async def test_an_empty_namespace_begins_at_one() -> None:
    taken = await opener(MemoryBackend()).open()
    assert (taken.chain.tail, taken.chain.epoch, taken.chain.next_seq) == (1, 1, 1)
    assert taken.chain.fences == (1,)
    assert taken.answer_at_s == 0.0


async def test_a_successor_waits_out_the_lease_unless_the_owner_said_goodbye() -> None:
    store, clock = MemoryBackend(), ManualClock()
    await opener(store, clock, read_lease_s=4.0).open()
    second = await opener(store, clock, seed=2, read_lease_s=0.0).open()
    assert second.answer_at_s - clock.boot_s() == pytest.approx(5.0)
    bye = entry(3, previous="", kind=Kind.CLOSE, epoch=2, incarnation=second.chain.incarnation)
    header = bye.header.__class__(
        *[
            second.chain.tail_id if name == "previous" else getattr(bye.header, name)
            for name in bye.header.__struct_fields__
        ]
    )
    await put(store, bye.__class__(header, b""))
    third = await opener(store, clock, seed=3).open()
    assert third.answer_at_s == clock.boot_s()


async def test_a_checkpointed_chain_is_read_from_its_manifest() -> None:
    store = MemoryBackend()
    base = await checkpointed(store)
    for position in (2, 3, 4):
        await store.delete(PREFIX + entry_key(position))
    loaded = await opener(store).load()
    assert (loaded.tail, loaded.next_seq, loaded.base) == (5, 4, base)
    assert [one.header.position for one in loaded.entries] == [5]


async def test_manifests_that_never_became_real_are_passed_over() -> None:
    store = MemoryBackend()
    base = await checkpointed(store)
    for name in ("orphan1", "orphan2", "orphan3"):
        await manifest(store, 5, name)
    loaded = await opener(store).load()
    assert (loaded.base, loaded.tail) == (base, 5)


@pytest.mark.parametrize("position", [2, 3, 4])
@pytest.mark.parametrize("damage", ["missing", "corrupt", "empty", "cut", "foreign"])
async def test_a_missing_or_damaged_entry_is_named(position: int, damage: str) -> None:
    store = MemoryBackend()
    await chain(store, 4)
    key = PREFIX + entry_key(position)
    whole = await store.read(key)
    await store.delete(key)
    if damage in ("corrupt", "empty", "cut"):
        await store.create(key, {"corrupt": b"rubbish", "empty": b"", "cut": whole[:-1]}[damage])
    elif damage == "foreign":
        await put(store, entry(position, name="zombie", previous="elsewhere", seq=position - 1))
    if damage == "missing" and position == 4:
        assert (await opener(store).load()).tail == 3
        return
    with pytest.raises(CorruptionError) as caught:
        await opener(store).open()
    # A foreign entry at the end shows itself; one in the middle may show at its successor.
    assert caught.value.key == key
    assert len([name for name in store._store.keys if "/log/" in name]) == (3 if damage == "missing" else 4)


@pytest.mark.parametrize("damage", [None, b"rubbish"])
async def test_a_missing_or_damaged_manifest_is_named(damage: bytes | None) -> None:
    store = MemoryBackend()
    base = await checkpointed(store)
    await store.delete(PREFIX + base.manifest)
    if damage is not None:
        await store.create(PREFIX + base.manifest, damage)
    with pytest.raises(CorruptionError) as caught:
        await opener(store).open()
    assert caught.value.key == PREFIX + base.manifest


async def test_an_emptied_log_beside_a_manifest_is_damage() -> None:
    store = MemoryBackend()
    await manifest(store, 4, "a")
    with pytest.raises(CorruptionError, match="the log is empty"):
        await opener(store).open()


async def test_a_namespace_that_begins_between_two_listings_is_no_damage() -> None:
    class ListsTheLogBeforeItBegan(DelegatingBackend):
        before = True

        async def list(self, prefix: str, **options: Any) -> ListPage:
            page = await self.inner.list(prefix, **options)
            if prefix.endswith("log/") and self.before:
                self.before = False
                return ListPage((), False, page.server_s)
            return page

    store = MemoryBackend()
    await checkpointed(store)
    assert (await opener(ListsTheLogBeforeItBegan(store)).load()).tail == 5


async def test_an_answer_cut_short_once_is_read_again() -> None:
    store = MemoryBackend()
    await chain(store, 5)
    faulty = FaultyBackend(store, rng=random.Random(1), clock=ManualClock())
    faulty.add(FaultRule(fault=Fault.TRUNCATED, operations=frozenset({"read"}), key_part=entry_key(3), count=1))
    assert (await opener(faulty).load()).tail == 5


class Holes(DelegatingBackend):
    """Listings leave out what they should hold."""

    def __init__(self, inner: MemoryBackend, hidden: set[str]) -> None:
        super().__init__(inner)
        self._hidden = hidden

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        page = await self.inner.list(prefix, after=after)
        return ListPage(tuple(one for one in page.objects if one.key not in self._hidden)[:limit], False, page.server_s)


async def test_holes_in_a_listing_are_filled_by_asking() -> None:
    store = MemoryBackend()
    await chain(store, 6)
    hidden = {PREFIX + entry_key(position) for position in (2, 3, 5)}
    loaded = await opener(Holes(store, hidden)).load()
    assert [one.header.position for one in loaded.entries] == [1, 2, 3, 4, 5, 6]


async def test_entries_that_appear_meanwhile_are_taken_in() -> None:
    store = MemoryBackend()
    await chain(store, 3)

    async def write_on() -> None:
        await put(store, entry(4, seq=3))

    taken = await opener(Interfering(store, write_on)).open()
    assert (taken.chain.tail, taken.chain.epoch) == (5, 5)


@pytest.mark.parametrize("checkpoint_entries_max", [4, 32])
async def test_an_owner_that_checkpoints_all_the_time_makes_an_opener_read_nothing_twice(
    checkpoint_entries_max: int,
) -> None:
    store = MemoryBackend()
    async with opened(store, checkpoint_entries_max=checkpoint_entries_max, group_ops_max=1) as owner:
        for number in range(100):
            await run(owner, "update", f"d{number % 50}", {"$set": {"n": number}}, upsert=True)
        before = owner.tail
        busy = Busy(store, owner, times=30)
        taken = await opener(busy, read_lease_s=0.0).open()
        owner.abandon()
    creates = [key for what, key in busy.calls if what == "create"]
    assert len(creates) > 10, "the owner was first again and again"
    assert taken.chain.tail - before > 40
    assert [key for what, key in busy.calls if what == "list"] == [
        PREFIX + "log/",
        PREFIX + "manifest/",
        PREFIX + "log/",
    ]
    assert [key for key, times in Counter(busy.found).items() if times > 1] == []
    # Round by round it has come to what one look at the end shows.
    assert taken.chain == await opener(store).load()
    assert taken.segments.keys() == {
        each.key for each in (*taken.chain.manifest.tails, *taken.chain.manifest.request_ids)
    }


async def test_loading_again_reads_the_tail_and_what_is_new() -> None:
    store = MemoryBackend()
    base = await checkpointed(store)
    counting = RoundTrips(store)
    one = opener(counting)
    first = await one.load()
    for position in range(6, 9):
        await put(store, entry(position, seq=4, base=base))
    counting.calls.clear()
    assert (await one.load()).tail == 8
    assert first.tail == 5
    reads = [key for key in counting.calls if not key.endswith("/")]
    assert sorted(reads) == sorted(PREFIX + entry_key(position) for position in range(6, 9))


async def test_an_opener_that_took_half_the_log_grace_to_catch_up_starts_over() -> None:
    """What it absorbs may have landed late in collected ground (rule 18)."""
    store, clock = MemoryBackend(), ManualClock()
    await chain(store, 3)
    counting = RoundTrips(store)

    async def write_on() -> None:
        await put(store, entry(4, seq=3))
        clock.advance(60)

    taken = await opener(Interfering(counting, write_on), clock).open()
    assert taken.chain.tail == 5
    assert counting.calls.count(PREFIX + "manifest/") == 2


async def test_a_checkpoint_whose_manifest_is_of_another_chain_is_not_taken_in() -> None:
    store = MemoryBackend()
    await chain(store, 4)

    async def fold() -> None:
        made = Manifest("posts", INCARNATION, 1, 4, commit_id("elsewhere"), 4, 1, (1,), leases=LEASES)
        key = manifest_key(4, 1, "a")
        await store.create(PREFIX + key, encode_manifest(made))
        moved = BackPointer(5, key, checksum(encode_manifest(made)), 4)
        await put(store, entry(5, kind=Kind.CHECKPOINT, seq=4, base=moved))

    with pytest.raises(CorruptionError, match="does not follow the entry before it"):
        await opener(Interfering(store, fold)).open()


async def test_a_checkpoint_that_appears_meanwhile_is_taken_in() -> None:
    store = MemoryBackend()
    await chain(store, 4)

    async def fold() -> None:
        base = await manifest(store, 4, "a")
        moved = BackPointer(5, base.manifest, base.checksum, 4)
        await put(store, entry(5, kind=Kind.CHECKPOINT, seq=4, base=moved))

    taken = await opener(Interfering(store, fold)).open()
    assert taken.chain.base is not None
    assert (taken.chain.tail, taken.chain.base.through) == (6, 4)


async def test_it_gives_way_to_a_younger_open() -> None:
    store = MemoryBackend()
    await chain(store, 3)
    rival = opener(store, seed=9)
    with pytest.raises(FencedError) as caught:
        await opener(Interfering(store, rival.open)).open()
    assert caught.value.epoch == 4


async def test_an_opener_that_slept_in_collected_ground_notices() -> None:
    """Counter-example 2: it listed tail 3; others wrote 4 to 7 and collected 4; its `open` at 4 meets nobody."""
    store = MemoryBackend()
    await chain(store, 3)

    async def go_on_and_collect() -> None:
        for position in range(4, 7):
            await put(store, entry(position, seq=3))
        base = await manifest(store, 6, "a")
        folded = Manifest("posts", INCARNATION, 1, 6, commit_id("c6"), 3, 1, (1,), leases=LEASES)
        await store.write(PREFIX + base.manifest, encode_manifest(folded))
        real = BackPointer(7, base.manifest, checksum(encode_manifest(folded)), 6)
        await put(store, entry(7, kind=Kind.CHECKPOINT, seq=3, base=real))
        await store.delete(PREFIX + entry_key(4))

    taken = await opener(Interfering(store, go_on_and_collect)).open()
    assert (taken.chain.tail, taken.chain.epoch, taken.chain.next_seq) == (8, 8, 3)
    assert await store.exists(PREFIX + entry_key(4))


async def test_a_load_slower_than_half_the_log_grace_is_thrown_away() -> None:
    store, clock = MemoryBackend(), ManualClock()
    await chain(store, 3)
    faulty = FaultyBackend(store, rng=random.Random(1), clock=clock)
    undo = faulty.add(FaultRule(fault=Fault.DELAY, operations=frozenset({"read"}), delay_s=(30, 30)))
    with pytest.raises(LateError, match="too slow"):
        await opener(faulty, clock).load()
    undo()
    assert (await opener(faulty, clock).load()).tail == 3

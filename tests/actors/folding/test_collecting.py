"""What owners delete of what they and their predecessors left, and what stays because somebody still needs it."""

import asyncio
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.errors import StorageReadError
from parquedb.storage.backends.delegating import Call, DelegatingBackend, FunnelBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.log import predecessors
from tests.support.engines import engine, opened, run
from tests.support.virtual_loop import Process, SimClock, run_virtually

GRACES = {"log_grace_s": 10.0, "snapshot_grace_s": 100.0, "history_window_s": 0.0}


def names(store: MemoryBackend, folder: str) -> list[str]:
    return [key.removeprefix("posts/") for key in store._store.keys if key.startswith(f"posts/{folder}/")]


async def brief_life(store: Any, clock: SimClock, number: int, *, collects: bool = True) -> NamespaceEngine:
    """Own the namespace for six seconds: write, merge, collect, die."""
    owner = engine(store, clock=clock, **GRACES)
    await owner.open()
    for turn in range(3):
        await run(owner, "create", f"{number}-{turn}", {"n": number})
        await owner.flush()
    await owner.compact()
    await clock.sleep(6)
    if collects:
        await owner.collect()
    owner.abandon()
    return owner


def test_owners_too_short_lived_to_see_a_grace_end_still_collect_what_others_left() -> None:
    async def main() -> None:
        clock = SimClock(Process("one"))
        store = MemoryBackend(clock=clock)
        sizes = []
        for number in range(60):
            await brief_life(store, clock, number)
            sizes.append({folder: len(names(store, folder)) for folder in ("data", "manifest", "log")})
        # Seven files and manifests a life, 16 or so lives within the grace; the log keeps its fences.
        assert max(size["data"] for size in sizes) == max(size["data"] for size in sizes[:40])
        assert sizes[-1]["data"] < 5 * 20
        assert sizes[-1]["manifest"] < 6 * 20
        assert sizes[-1]["log"] < 60 + 4 * 10
        async with opened(store, clock=clock, **GRACES) as owner:
            assert await run(owner, "count") == 180
            await clock.sleep(101)
            await run(owner, "create", "last", {})
            await owner.flush()
            await clock.sleep(101)
            await owner.collect()
            assert set(names(store, "data")) == {file.key for file in owner._data.files.files}
            assert len(names(store, "manifest")) == 1

    run_virtually(main)


def test_what_a_predecessor_superseded_within_the_grace_stays() -> None:
    async def main() -> None:
        clock = SimClock(Process("one"))
        store = MemoryBackend(clock=clock)
        for number in range(20):
            await brief_life(store, clock, number)
        merged = await brief_life(store, clock, 20)
        needed = merged._data.checkpoints[-1]
        for number in range(21, 36):
            await brief_life(store, clock, number)
            # Superseded in the first moments of the next life.
            assert {needed.manifest, *needed.objects} <= {
                *names(store, "data"),
                *names(store, "manifest"),
                *names(store, "tail"),
                *names(store, "history"),
            }
        for number in range(36, 42):
            await brief_life(store, clock, number)
        assert needed.manifest not in names(store, "manifest")

    run_virtually(main)


def test_with_too_many_manifests_to_read_nothing_but_the_log_is_collected(monkeypatch: Any) -> None:
    monkeypatch.setattr(predecessors, "MANIFESTS_MAX", 3)

    async def main() -> None:
        clock = SimClock(Process("one"))
        store = MemoryBackend(clock=clock)
        for number in range(30):
            await brief_life(store, clock, number)
        assert len(names(store, "manifest")) >= 30 * 3
        assert len(names(store, "log")) < 30 + 4 * 10

    run_virtually(main)


def test_pinned_objects_stay_until_nobody_pins_them() -> None:
    async def main() -> None:
        clock = SimClock(Process("one"))
        store = MemoryBackend(clock=clock)
        async with opened(store, clock=clock, **GRACES) as owner:
            for number in range(3):
                await run(owner, "create", f"{number}", {"n": number})
                await owner.flush()
            pinned = names(store, "data")
            await owner.compact()
            for _ in range(4):
                # A pin is a lease: whoever holds one renews it while it runs, or the owner's own collection comes by.
                for _ in range(10):
                    await run(owner, "pin", body=["0" * 32, pinned[:2]])
                    await clock.sleep(10.1)
                await run(owner, "pin", body=["0" * 32, pinned[:2]])
                await run(owner, "update", "0", {"$inc": {"n": 1}})
                await owner.flush()
                await owner.collect()
            assert set(pinned) & set(names(store, "data")) == set(pinned[:2])
            await run(owner, "unpin", body="0" * 32)
            await owner.collect()
            assert not set(pinned) & set(names(store, "data"))

    run_virtually(main)


class Slow(DelegatingBackend):
    """Holds reads of data files back."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.waiting = asyncio.Event()

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        if "/data/" in key and not self.go_on.is_set():
            self.waiting.set()
            await self.go_on.wait()
        return await self.inner.read(key, timeout_s=timeout_s)


def test_a_merged_file_stays_while_a_query_begun_before_still_reads_it() -> None:
    async def main() -> None:
        clock = SimClock(Process("one"))
        store = MemoryBackend(clock=clock)
        options = {"clock": clock, "cache_bytes_max": 0, "request_timeout_s": 3600, **GRACES}
        async with opened(Slow(store), **options) as owner:
            storage: Any = owner._storage
            for number in range(3):
                await run(owner, "create", f"{number}", {"n": number})
                await owner.flush()
            old = names(store, "data")
            await owner.collect()
            storage.go_on.clear()
            query = asyncio.ensure_future(run(owner, "find", timeout_s=3600))
            await storage.waiting.wait()
            storage.go_on, held = asyncio.Event(), storage.go_on
            storage.go_on.set()
            await owner.compact()
            await clock.sleep(101)
            await owner.collect()
            assert set(old) <= set(names(store, "data"))
            held.set()
            assert [one["n"] for one in (await query)["items"]] == [0, 1, 2]
            await owner.collect()
            assert not set(old) & set(names(store, "data"))

    run_virtually(main)


class NoUploads(FunnelBackend):
    """A store whose credentials may not list uploads; counts how often it is asked."""

    asked = 0

    async def _pass(self, call: Call[Any]) -> Any:
        if call.operation == "abort_uploads":
            self.asked += 1
            raise StorageReadError("denied", key=call.key)
        return await call.send(self.inner, call.timeout_s)


async def test_uploads_that_may_not_be_listed_stop_no_collection() -> None:
    storage = NoUploads(MemoryBackend())
    async with opened(storage) as owner:
        await owner.collect()
        await owner.collect()
    assert storage.asked == 1

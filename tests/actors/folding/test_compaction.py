"""Compaction beside everything else: writes, flushes, restarts, rivals, and death at any moment."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from parquedb.actors.engine import NamespaceEngine
from parquedb.errors import FencedError, InternalError, ParqueDBError, RpcUnavailableError, StorageWriteError
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.testing import RecordingHook
from parquedb.storage.backend import ObjectInfo
from parquedb.storage.backends.delegating import Call, FunnelBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.compaction.merge import Merge
from tests.support.engines import engine, opened, run
from tests.support.virtual_loop import Process, SimClock, run_virtually

Model = dict[str, int]


async def filled(owner: NamespaceEngine, files: int = 4, rows: int = 6) -> Model:
    """Make some files of documents whose ids are interleaved."""
    model = {}
    for offset in range(files):
        ids = [f"{number:03d}" for number in range(offset, files * rows, files)]
        await run(owner, "create_many", None, [{"$id": f"posts/{id_}", "n": int(id_)} for id_ in ids])
        await owner.flush()
        model |= {id_: int(id_) for id_ in ids}
    return model


async def seen(owner: NamespaceEngine) -> Model:
    page = await run(owner, "find", limit=10_000)
    found = {one["$id"].removeprefix("posts/"): one["n"] for one in page["items"]}
    for id_ in list(found)[:3]:
        assert (await run(owner, "get", id_))["n"] == found[id_]
    assert await run(owner, "count") == len(found)
    return found


async def stored(owner: NamespaceEngine, store: MemoryBackend) -> Model:
    """Read the live files with DuckDB; the memtable must be empty."""
    data = owner._data
    assert len(data.active) == 0
    found: Model = {}
    for file in data.files.files:
        table = pq.read_table(io.BytesIO(await store.read(f"posts/{file.key}")))
        dead = pa.table({"row": pa.array(list(data.files.live_dead.get(file.key, ())), pa.int64())})
        rows = table.append_column("row", pa.array(np.arange(table.num_rows)))
        query = 'select "$id", n from rows where not exists (from dead where dead.row = rows.row)'
        live = duckdb.sql(query).fetchall()
        assert dead.num_rows + len(live) == rows.num_rows
        assert not {id_ for id_, _ in live} & {f"posts/{id_}" for id_ in found}
        found |= {id_.removeprefix("posts/"): n for id_, n in live}
    return found


async def put(owner: NamespaceEngine, model: Model, id_: str, n: int) -> None:
    await run(owner, "update", id_, {"$set": {"n": n}})
    model[id_] = n


async def remove(owner: NamespaceEngine, model: Model, id_: str) -> None:
    await run(owner, "delete", id_, hard=True)
    del model[id_]


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


async def test_files_become_one_without_dead_rows_and_every_document_stays(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        model = await filled(owner)
        await put(owner, model, "003", -3)
        await remove(owner, model, "004")
        assert await owner.compact() == {
            "compactions": 1,
            "files_in": 5,
            "files_out": 1,
            "rows": 23,
            "rows_dropped": 2,
            "bytes_in": pytest.approx(16_000, rel=0.5),
            "bytes_out": pytest.approx(3_000, rel=0.5),
        }
        assert await seen(owner) == await stored(owner, store) == model
        assert await owner.compact() == dict.fromkeys(
            ("compactions", "files_in", "files_out", "rows", "rows_dropped", "bytes_in", "bytes_out"), 0
        )
        made = await run(owner, "get", "003")
    async with opened(store) as heir:
        assert await seen(heir) == await stored(heir, store) == model
        assert await run(heir, "get", "003") == made
        assert (await run(heir, "update", "003", {"$inc": {"n": 1}}, expected_version=2))["n"] == -2


async def test_files_of_deleted_documents_vanish(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        model = await filled(owner, files=2)
        for id_ in list(model):
            await remove(owner, model, id_)
        done = await owner.compact()
        assert (done["files_in"], done["files_out"], done["rows_dropped"]) == (2, 0, 12)
        assert await seen(owner) == {}
        assert owner.stats()["files"] == 0
        await run(owner, "create", "000", {"n": 1})
    async with opened(store) as heir:
        assert await seen(heir) == {"000": 1}


async def test_it_starts_by_itself_and_tells_hooks_and_stats(store: MemoryBackend) -> None:
    hooks, hook = HookRegistry(), RecordingHook()
    hooks.register_hook(hook)
    async with opened(store, hooks=hooks, compaction_interval_s=0.05) as owner:
        model = await filled(owner)
        async with asyncio.timeout(10):
            while owner.stats()["compactions"] == 0:
                await asyncio.sleep(0.01)
        stats = owner.stats()
        assert (stats["compactions"], stats["compaction_failures"], stats["tiers"]) == (1, 0, {0: 1})
        assert (stats["live_rows"], stats["dead_rows"]) == (24, 0)
        assert stats["compacted_bytes"] > stats["rewritten_bytes"] == stats["file_bytes"] > 0
        assert stats["index_bytes_per_row"] == 12
        assert await seen(owner) == model
    [record] = hook.of("on_compaction")
    context = record.context
    assert (context.files_in, context.files_out, context.rows, context.rows_dropped) == (4, 1, 24, 0)


class Stop(FunnelBackend):
    """Holds the calls of one number back until told to go on, and counts them."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.number = 0
        self.at = -1
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def _pass(self, call: Call[Any]) -> Any:
        await self.step()
        return await call.send(self.inner, call.timeout_s)

    async def step(self) -> None:
        self.number += 1
        if self.number == self.at:
            self.reached.set()
            await self.go_on.wait()

    async def work(self, work: Callable[[], Any]) -> Any:
        """Stand in for the executor."""
        await self.step()
        return work()


async def meddle(owner: NamespaceEngine, model: Model, *, flush: bool) -> None:
    """Change documents in merged files while the merge is held up."""
    await put(owner, model, "000", 1000)
    await remove(owner, model, "001")
    await run(owner, "create", "001", {"n": 1001})
    model["001"] = 1001
    if flush:
        await owner.flush()
    await put(owner, model, "002", 1002)
    await put(owner, model, "000", 2000)
    await remove(owner, model, "003")
    await run(owner, "create", "new", {"n": 5})
    model["new"] = 5


@pytest.mark.parametrize("flush", [False, True])
async def test_writes_and_flushes_go_on_while_it_is_held_up_at_any_step(flush: bool) -> None:
    for at in range(1, 100):
        storage = Stop(MemoryBackend())
        async with opened(storage) as owner:
            model = await filled(owner)
            await put(owner, model, "005", 1005)
            await remove(owner, model, "006")
            await owner.flush()
            owner._data.files.run = owner._data.files.cache._run = storage.work
            storage.number, storage.at = 0, at
            merging = asyncio.ensure_future(owner.compact())
            held = asyncio.ensure_future(storage.reached.wait())
            await asyncio.wait({merging, held}, return_when=asyncio.FIRST_COMPLETED)
            if merging.done():
                assert at > 10, "there are more steps than that"
                held.cancel()
                storage.at = -1
                return
            changes = asyncio.ensure_future(meddle(owner, model, flush=flush))
            # At the swap itself commits wait for one another; everywhere else nothing waits for the merge.
            async with asyncio.timeout(30):
                while not changes.done() and owner._checkpointer._swap is None:
                    await asyncio.sleep(0.001)
            for _ in range(100):
                await asyncio.sleep(0)
            storage.go_on.set()
            await changes
            assert (await merging)["compactions"] == 1
            assert await seen(owner) == model
            await owner.flush()
            assert await seen(owner) == await stored(owner, storage.inner) == model
        async with opened(storage.inner) as heir:
            assert await seen(heir) == await stored(heir, storage.inner) == model
    raise AssertionError("it has no end")


class Slow(MemoryBackend):
    """Takes a moment to create an object."""

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        await asyncio.sleep(0.01)
        return await super().create(key, data, timeout_s=timeout_s)


def test_a_fenced_owners_merge_never_becomes_real_and_is_collected() -> None:
    async def main() -> None:
        clock = SimClock(Process("one"))
        store = Slow(clock=clock)
        options = {"clock": clock, "log_grace_s": 1.0, "snapshot_grace_s": 1.0}
        owner = engine(store, **options)
        await owner.open()
        model = await filled(owner)
        before = set(store._store.keys)
        merging = asyncio.ensure_future(owner.compact())
        while not (fresh := {key for key in store._store.keys if "/data/" in key} - before):
            await asyncio.sleep(0.001)
        async with opened(store, **options) as rival:
            with pytest.raises(FencedError):
                await merging
            assert owner.state == "fenced"
            await put(rival, model, "001", 7)
            await rival.flush()
            await clock.sleep(3)
            await rival.collect()
            assert not fresh & set(store._store.keys)
            assert await seen(rival) == model

    run_virtually(main)


class Refusing(FunnelBackend):
    """Refuses to store the second data file of a merge."""

    on = False

    async def _pass(self, call: Call[Any]) -> Any:
        if self.on and call.operation == "create" and "/data/" in call.key:
            self.on = None
        elif self.on is None and call.operation == "create" and "/data/" in call.key:
            self.on = False
            raise StorageWriteError("no room", key=call.key)
        return await call.send(self.inner, call.timeout_s)


async def test_a_merge_that_fails_leaves_nothing_behind_and_is_tried_again(store: MemoryBackend) -> None:
    storage = Refusing(store)
    async with opened(storage, compaction_file_bytes=1024) as owner:
        model = await filled(owner)
        for id_ in list(model)[::2]:
            await put(owner, model, id_, -1)
        await owner.flush()
        before = [key for key in store._store.keys if "/data/" in key]
        storage.on = True
        with pytest.raises(StorageWriteError, match="no room"):
            await owner.compact()
        assert storage.on is False
        assert [key for key in store._store.keys if "/data/" in key] == before
        assert owner.stats()["compaction_failures"] == 1
        assert "no room" in owner.stats()["last_error"]
        assert await seen(owner) == model
        assert (await owner.compact())["files_out"] > 1
        assert owner.stats()["last_error"] is None
        assert await seen(owner) == await stored(owner, store) == model


async def test_a_fault_in_it_is_no_fault_of_the_owner(store: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(store, compaction_interval_s=400) as owner:
        model = await filled(owner)
        with monkeypatch.context() as patch:
            patch.setattr(Merge, "begin", None)
            with pytest.raises(InternalError, match="compaction of 'posts' failed: TypeError"):
                await owner.compact()
        assert (owner.state, owner.stats()["compaction_failures"]) == ("open", 1)
        assert owner._compactor._pause_s == 600
        assert (await owner.compact())["files_in"] == 4
        assert owner._compactor._pause_s == 400
        assert await seen(owner) == model


async def test_whoever_waits_for_it_hears_of_the_end(store: MemoryBackend) -> None:
    storage = Stop(store)
    async with opened(storage) as owner:
        await filled(owner)
        storage.number, storage.at = 0, 1
        waiting = asyncio.ensure_future(owner.compact())
        await storage.reached.wait()
        owner.abandon()
        with pytest.raises(RpcUnavailableError):
            await waiting


class Mortal(FunnelBackend):
    """Dies at its nth call: before or after that took effect, nothing answers any more."""

    def __init__(self, inner: MemoryBackend, at: int, *, applied: bool) -> None:
        super().__init__(inner)
        self.left = at
        self.applied = applied
        self.died = asyncio.Event()

    async def _pass(self, call: Call[Any]) -> Any:
        self.left -= 1
        if self.left > 0:
            return await call.send(self.inner, call.timeout_s)
        if self.left == 0 and self.applied:
            await call.send(self.inner, call.timeout_s)
        self.died.set()
        return await asyncio.get_running_loop().create_future()


async def life(owner: NamespaceEngine, model: Model, doubt: list[tuple[str, int | None]], clock: SimClock) -> None:
    """Do a bit of everything; `doubt` holds the write whose answer is still out."""

    async def write(work: Awaitable[Any], id_: str, n: int | None) -> None:
        doubt.append((id_, n))
        await work
        doubt.pop()
        model.pop(id_, None)
        if n is not None:
            model[id_] = n

    for number in range(3):
        for id_ in (f"{number}a", f"{number}b", f"{number}c"):
            await write(run(owner, "create", id_, {"n": number}), id_, number)
        await owner.flush()
    await write(run(owner, "update", "0a", {"$set": {"n": 10}}), "0a", 10)
    await write(run(owner, "delete", "1b", hard=True), "1b", None)
    await owner.compact()
    await write(run(owner, "update", "2a", {"$set": {"n": 12}}), "2a", 12)
    await clock.sleep(2)
    await owner.collect()
    await write(run(owner, "create", "1b", {"n": 13}), "1b", 13)
    await write(run(owner, "update", "0a", {"$set": {"n": 14}}), "0a", 14)
    await owner.compact()
    await clock.sleep(2)
    await owner.collect()


@pytest.mark.parametrize("applied", [False, True])
def test_death_at_any_call_to_storage_loses_nothing(applied: bool) -> None:
    graces = {"log_grace_s": 1.0, "snapshot_grace_s": 1.0}

    async def die_at(at: int) -> bool:
        clock = SimClock(Process("one"))
        store = MemoryBackend(clock=clock)
        storage = Mortal(store, at, applied=applied)
        model: Model = {}
        doubt: list[tuple[str, int | None]] = []
        owner = engine(storage, clock=clock, **graces)

        async def living() -> None:
            await owner.open()
            await life(owner, model, doubt, clock)

        tasks = {asyncio.ensure_future(living()), asyncio.ensure_future(storage.died.wait())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        survived = not storage.died.is_set()
        owner.abandon()
        for task in tasks:
            task.cancel()
        for heir_number in range(2):
            async with opened(store, clock=clock, **graces) as heir:
                found = await seen(heir)
                for id_, n in doubt:
                    # Its answer never came: it may have been done or not, but for good.
                    assert found.get(id_) in {n, model.pop(id_, None)}
                    model |= {id_: found[id_]} if id_ in found else {}
                doubt = []
                assert found == model, (at, heir_number)
                model[f"heir{heir_number}"] = heir_number
                await run(heir, "create", f"heir{heir_number}", {"n": heir_number})
                await heir.compact()
                await clock.sleep(3)
                await heir.collect()
                assert await seen(heir) == model
        # Two generations later nothing is left of what nobody refers to.
        named = heir._data.checkpoints[-1].objects
        kept = {key.removeprefix("posts/") for key in store._store.keys if "/data/" in key}
        assert kept == {key for key in named if key.startswith("data/")}
        return survived

    deaths = 0
    for at in range(1, 1000):
        if run_virtually(lambda at=at: die_at(at)):
            break
        deaths += 1
    assert 50 < deaths < 999


histories = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 11), st.integers(0, 99)),
        st.tuples(st.just("remove"), st.integers(0, 11)),
        st.sampled_from(
            [("flush",), ("compact",), ("restart",), ("crash",), ("pass",), ("collect",), ("flush",), ("restart",)]
        ),
    ),
    max_size=40,
)


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories, st.sampled_from([1024, 1 << 20]))
def test_any_history_leaves_what_a_dict_would_hold(history: list[tuple[Any, ...]], file_bytes: int) -> None:
    async def main() -> None:
        clock = SimClock(Process("one"))
        store = MemoryBackend(clock=clock)
        options = {"clock": clock, "log_grace_s": 1.0, "snapshot_grace_s": 1.0, "compaction_file_bytes": file_bytes}
        owner = engine(store, **options)
        await owner.open()
        model: Model = {}
        for what, *arguments in history:
            if what == "put":
                id_, n = f"{arguments[0]:02d}", arguments[1]
                kind, body = ("update", {"$set": {"n": n}}) if id_ in model else ("create", {"n": n})
                await run(owner, kind, id_, body)
                model[id_] = n
            elif what == "remove":
                if f"{arguments[0]:02d}" in model:
                    await remove(owner, model, f"{arguments[0]:02d}")
            elif what == "pass":
                await clock.sleep(1.5)
            elif what in {"restart", "crash"}:
                if what == "restart":
                    await owner.close()
                owner.abandon()
                owner = engine(store, **options)
                await owner.open()
            else:
                await getattr(owner, what)()
        assert await seen(owner) == model
        await owner.flush()
        assert await stored(owner, store) == model
        referred = {f"posts/{key}" for key in owner._data.checkpoints[-1].objects} if owner._data.checkpoints else set()
        assert referred <= set(store._store.keys)
        owner.abandon()

    run_virtually(main)


async def test_nothing_is_done_by_an_owner_that_is_not_open(store: MemoryBackend) -> None:
    owner = engine(store)
    with pytest.raises(ParqueDBError, match="namespace 'posts' is new"):
        await owner.compact()

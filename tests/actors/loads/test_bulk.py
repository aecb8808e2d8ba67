"""Bulk loads of Arrow data: every row or none, like any other documents afterwards."""

import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Outcome
from parquedb.clock import SystemClock
from parquedb.cluster.loads.bulk_loading import PIECE_ROWS_MAX, arrow_steps, pieces
from parquedb.cluster.loads.bulk_steps import unknown_of
from parquedb.errors import AlreadyExistsError, InternalError, OutcomeUnknownError, ParqueDBError, ValidationError
from parquedb.storage.backend import ObjectInfo
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import NAMESPACE, opened, run
from tests.support.loads import Caller

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


def table(start: int, stop: int, **columns: Any) -> pa.Table:
    numbers = list(range(start, stop))
    return pa.table(
        {
            "$id": [f"r{number:05}" for number in numbers],
            "n": numbers,
            "half": [number / 2 if number % 3 else None for number in numbers],
            "at": pa.array([NOON] * len(numbers), pa.timestamp("us", "UTC")),
            "price": pa.array([Decimal("1.50")] * len(numbers), pa.decimal128(9, 2)),
            "tags": [["a", "b"][: number % 3] for number in numbers],
            "place": [{"x": number, "y": None} for number in numbers],
            **columns,
        }
    )


async def load(owner: NamespaceEngine, data: Any, **options: Any) -> list[Outcome]:
    return [(await owner.execute([piece.operation()]))[0] for piece in pieces(data, **options)]


async def loaded(owner: NamespaceEngine, data: Any, **options: Any) -> int:
    return sum(outcome.result()["rows"] for outcome in await load(owner, data, **options))


@pytest.mark.parametrize("rows", [1, 2, 3])
async def test_full_ids_are_ids_however_few(store: MemoryBackend, rows: int) -> None:
    ids = ["posts/a", "posts/é", "c"][:rows]
    async with opened(store) as owner:
        assert await loaded(owner, pa.table({"$id": ids, "n": range(rows)})) == rows
        assert (await run(owner, "get", "a"))["n"] == 0


@pytest.mark.parametrize("how", ["at once", "restarted", "folded", "flushed"])
async def test_rows_become_documents_with_exact_values(store: MemoryBackend, how: str) -> None:
    async with opened(store, checkpoint_entries_max=1 if how == "folded" else 64) as owner:
        await run(owner, "create", "before", {"n": -1})
        assert await loaded(owner, table(0, 500), actor="me") == 500
        await run(owner, "create", "s-after", {"n": -2})
        if how == "flushed":
            await owner.flush()
        if how != "restarted":
            await check(owner)
    async with opened(store) as successor:
        await check(successor)


async def check(owner: NamespaceEngine) -> None:
    found = await run(owner, "get", "r00007")
    at = found["createdAt"]
    assert found == {
        "$id": "posts/r00007",
        "n": 7,
        "half": 3.5,
        "at": NOON,
        "price": Decimal("1.50"),
        "tags": ["a"],
        "place": {"x": 7},
        "version": 1,
        "createdAt": at,
        "createdBy": "me",
        "updatedAt": at,
        "updatedBy": "me",
    }
    assert "half" not in await run(owner, "get", "r00000")
    assert await run(owner, "count") == 502
    assert await run(owner, "count", filter={"n": {"$gte": 400}, "tags": "a"}) == 67
    assert owner.stats()["seq"] == 502


async def test_loaded_documents_change_like_others(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await loaded(owner, table(0, 100))
        assert (await run(owner, "update", "r00003", {"$inc": {"n": 1}}, expected_version=1))["version"] == 2
        assert await run(owner, "delete", "r00004", hard=True) == 1
        await owner.flush()
        assert await run(owner, "get", "r00004") is None
        assert (await run(owner, "get", "r00003"))["n"] == 4
        assert await loaded(owner, table(4, 5)) == 1, "an id is free again once its document is gone"
        assert await run(owner, "count") == 100


async def test_a_taken_id_refuses_all_of_it_and_is_named(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await loaded(owner, table(0, 50))
        await run(owner, "create", "r00060", {})
        for data in (table(49, 55), table(55, 65), pa.concat_tables([table(70, 72), table(71, 73)])):
            [outcome] = await load(owner, data)
            assert isinstance(outcome.error, AlreadyExistsError)
            assert "r000" in str(outcome.error)
        assert await run(owner, "count") == 51


async def test_ids_are_made_where_there_are_none_and_may_come_unsorted(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        assert await loaded(owner, pa.table({"n": [1, 2, 3]})) == 3
        assert await loaded(owner, pa.table({"key": ["z", "a", "m"], "n": [4, 5, 6]}), id_column="key") == 3
        assert (await run(owner, "get", "a"))["n"] == 5
        items = (await run(owner, "find"))["items"]
        assert [one["$id"] for one in items] == sorted(one["$id"] for one in items)
        assert sorted(one["n"] for one in items) == [1, 2, 3, 4, 5, 6]


async def test_a_repeated_request_stores_nothing_twice(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        assert await loaded(owner, table(0, 10), request_id="mine") == 10
        assert await loaded(owner, table(0, 10), request_id="mine") == 10
    async with opened(store) as successor:
        assert await loaded(successor, table(0, 10), request_id="mine") == 10
        assert await run(successor, "count") == 10


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (pa.table({"version": [1]}), {}, "'version' is set by the database and cannot be given"),
        (pa.table({"$foo": [1]}), {}, "does not start with '\\$'"),
        (pa.table({"n": [1]}), {"id_column": "no"}, "expected one of n"),
        (pa.table({"$id": ["a", None]}), {}, r"\$id"),
        (pa.table({"t": pa.array([1], pa.timestamp("ns"))}), {}, "microsecond"),
        ([{"a": 1}], {}, "expected a pyarrow Table, RecordBatch, RecordBatchReader or Dataset, got list"),
    ],
)
async def test_what_documents_cannot_hold_is_named_and_nothing_stays(
    store: MemoryBackend, data: Any, options: Any, message: str
) -> None:
    async with opened(store) as owner:
        with pytest.raises(ValidationError, match=message):
            await loaded(owner, data, **options)
        assert await run(owner, "count") == 0


async def test_a_failure_at_any_step_leaves_all_or_nothing(store: MemoryBackend) -> None:
    """The k-th write to storage fails for every k; what was acknowledged is there after the next opening."""
    for step in range(1, 6):
        bottom = MemoryBackend()
        faulty = FaultyBackend(bottom, rng=random.Random(1), clock=SystemClock())
        async with opened(faulty) as owner:
            faulty.add(
                FaultRule(fault=Fault.ERROR, operations=frozenset({"create"}), skip=step - 1, count=1, error="write")
            )
            [outcome] = await load(owner, table(0, 20))
        async with opened(bottom) as successor:
            assert await run(successor, "count") == (0 if outcome.error is not None else 20)
            if isinstance(outcome.error, ParqueDBError):
                assert await loaded(successor, table(0, 20)) == 20


async def test_the_file_is_plain_parquet(store: MemoryBackend, tmp_path: Any) -> None:
    async with opened(store) as owner:
        await loaded(owner, table(0, 30))
        [info] = (await store.list("posts/data/")).objects
        (tmp_path / "file.parquet").write_bytes(await store.read(info.key))
    with duckdb.connect() as session:
        query = f"select count(*), sum(n), max(price) from '{tmp_path}/file.parquet'"
        assert session.execute(query).fetchall() == [(30, sum(range(30)), Decimal("1.50"))]


def test_large_data_is_cut_into_commits() -> None:
    batch = pa.record_batch({"n": pa.array(range(1000))})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch] * 3)
    assert len(list(pieces(reader, request_id="mine"))) == 1
    many = pa.table({"n": pa.array(range(PIECE_ROWS_MAX + 1))})
    assert [piece.request for piece in pieces(many, request_id="mine")] == ["mine", "mine#1"]
    unnamed = list(pieces(many))
    assert unnamed[1].request == f"{unnamed[0].request}#1", "one id finds all of a large load"
    error = unknown_of(OutcomeUnknownError(request_id=unnamed[1].request), unnamed[1].whole, "a part")  # type: ignore[arg-type]
    assert error.request_id == unnamed[0].request


class Odd(DelegatingBackend):
    """Fails as no store should, when a data file is to be stored."""

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        if key.endswith(".parquet"):
            raise pa.ArrowInvalid("no such buffer")
        return await self.inner.create(key, data, timeout_s=timeout_s)


async def test_what_nobody_foresaw_fails_the_load_and_not_the_owner() -> None:
    async with opened(Odd(MemoryBackend())) as owner:
        [outcome] = await load(owner, table(0, 3))
        with pytest.raises(InternalError, match="nothing of it is stored: ArrowInvalid: no such buffer"):
            outcome.result()
        assert owner.state == "open"
        await run(owner, "create", "r00000", {"n": 1})
        assert await run(owner, "count") == 1


class Interrupted(DelegatingBackend):
    """Lets something happen in the middle of the first read of certain objects."""

    keys: frozenset[str] = frozenset()
    meanwhile: Callable[[], Awaitable[Any]]

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        data = await self.inner.read_range(key, start, length, timeout_s=timeout_s)
        await self._interrupt(key)
        return data

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        data = await self.inner.read(key, timeout_s=timeout_s)
        await self._interrupt(key)
        return data

    async def _interrupt(self, key: str) -> None:
        if key in self.keys:
            self.keys = frozenset()
            await self.meanwhile()


async def test_a_merge_while_ids_are_checked_hides_no_id_that_is_taken(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        for start in (0, 10):
            await loaded(owner, table(start, start + 10))
        await owner.flush()
    storage = Interrupted(store)
    async with opened(storage, compaction_files=2, cache_bytes_max=0) as owner:
        storage.keys = frozenset(info.key for info in (await store.list("posts/data/")).objects)
        storage.meanwhile = owner.compact
        with pytest.raises(AlreadyExistsError):
            await loaded(owner, table(9, 11))
        assert not storage.keys, "nothing happened meanwhile"
        assert await run(owner, "count") == 20


class CutOnce(DelegatingBackend):
    """Gives only a part of a data file the first time it is asked for one."""

    cut = True

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        data = await self.inner.read_range(key, start, length, timeout_s=timeout_s)
        if not (self.cut and key.endswith(".parquet")):
            return data
        self.cut = False
        return data[: len(data) // 2]


async def test_the_end_of_a_loaded_file_that_was_cut_on_its_way_is_read_again(store: MemoryBackend) -> None:
    storage = CutOnce(store)
    async with opened(storage) as owner:
        # Large enough for the loader to store the file himself.
        [piece] = pieces(table(0, 20_000), request_id="mine")
        caller = Caller(owner, store)
        assert await caller.walk(arrow_steps(caller.direct, NAMESPACE, piece, time.monotonic() + 60)) == 20_000
        assert not storage.cut
        assert await run(owner, "count") == 20_000

"""Snapshots as their holders use them, over a directory; the owner runs in this process, without Ray."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.ray_connection import RayConnection
from parquedb.cluster.snapshots import snapshot as snapshots
from parquedb.cluster.snapshots.snapshot import Snapshot, take_snapshot
from parquedb.errors import ConfigurationError, CorruptionError, InvalidInputError, SnapshotNotFoundError
from parquedb.settings.environment import load_settings
from parquedb.storage.open import open_backend
from tests.support.engines import engine, run


class World:
    """A database in a directory, its owner on a loop of its own, and the way there."""

    def __init__(self, folder: Path) -> None:
        self.connection = RayConnection(load_settings(str(folder)))
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.owner: NamespaceEngine = self.do(self._open())

    async def _open(self) -> NamespaceEngine:
        graces = {"log_grace_s": 1, "snapshot_grace_s": 1, "history_window_s": 0}
        made = engine(open_backend(self.connection.settings), **graces)
        await made.open()
        return made

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def run(self, *arguments: Any, **options: Any) -> Any:
        return self.do(run(self.owner, *arguments, **options))

    def deliver(self, operation: Operation, timeout_s: float) -> Outcome:
        [outcome] = self.do(self.owner.execute([operation]))
        outcome.result()
        return outcome

    def snapshot(self) -> Snapshot:
        answer = self.deliver(Operation("snapshot"), 5).value
        return Snapshot(self.connection, self, "posts", answer)  # type: ignore[arg-type] # all that it needs of a link

    def end(self) -> None:
        self.do(self.owner.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def documents(self) -> dict[str, Any]:
        return {one["$id"]: one for one in self.run("find", limit=1000)["items"]}

    def collect(self, until: Callable[[], bool]) -> None:
        """Supersede everything, and collect until `until`."""
        for _ in range(100):
            self.run("update", "keep", {"$inc": {"n": 1}}, upsert=True)
            self.do(self.owner.flush())
            self.do(self.owner.collect())
            if until():
                return
            time.sleep(0.1)  # Graces are counted by the clock of the file system.
        raise AssertionError("it never came to be")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.end()


def fill(world: World) -> None:
    """Two files with dead rows, deleted documents, values that fit no column, structs that grew; and a memtable."""
    for number in range(40):
        odd = {"tag": "x" if number % 3 else number, "s": {"a": number}}
        world.run("create", f"{number:02d}", {"n": number, **odd})
    world.do(world.owner.flush())
    for number in range(0, 40, 4):
        world.run("update", f"{number:02d}", {"$set": {"n": -number, "s.b": "z", "late": True}})
    world.run("delete", "01")
    world.run("delete", "02", hard=True)
    world.do(world.owner.flush())
    world.run("update", "03", {"$set": {"n": 1000, "in": "memory"}})
    world.run("create", "new", {"n": 7, "s": None})
    world.run("delete", "05")


def gone_or_replaced(world: World, held: Snapshot) -> bool:
    keys = {part.file.key for part in held._hold.content.parts}
    return keys.isdisjoint(file.key for file in world.owner._data.files.files)


def test_every_reader_sees_the_same_rows_whatever_happens_meanwhile(world: World) -> None:
    fill(world)
    expected = world.documents()
    with world.snapshot() as held:
        for number in range(40):
            world.run("update", f"{number:02d}", {"$set": {"n": 5}}, upsert=number == 2) if number not in {
                1,
                5,
            } else None
        world.do(world.owner.compact())
        world.run("pin", body=[held._hold._token, [part.file.key for part in held._hold.content.parts]])
        assert gone_or_replaced(world, held)
        world.do(world.owner.collect())

        assert held.seq == 55
        assert held.age_s < 60
        assert {one["$id"]: one for one in held.documents()} == expected
        assert held.count() == len(expected) == 38
        negative = sorted(id_ for id_, one in expected.items() if one["n"] < 0)
        assert [one["$id"] for one in held.find({"n": {"$lt": 0}}, limit=4)] == negative
        table = held.to_arrow()
        total = sum(one["n"] for one in expected.values())
        assert table.num_rows == held.dataset().count_rows() == 38
        assert sum(table.column("n").to_pylist()) == total
        assert held.to_duckdb().aggregate("sum(n), count(*)").fetchall() == [(total, 38)]
        with duckdb.connect() as con:
            rows = held.to_duckdb(con).filter("n < 0").select('"$id", s.b').order('"$id"').fetchall()
            assert rows == [(id_, "z") for id_ in negative]
        frame = held.to_polars()
        assert frame.select(pl.col("n").sum()).collect().item() == total
        assert frame.filter(pl.col("n") < 0).select("$id").collect()["$id"].sort().to_list() == negative
        spool = Path(held._hold.spool())
        assert spool.exists()
    assert not spool.exists()


def test_its_columns_are_typed_and_the_rest_is_in_residual(world: World) -> None:
    fill(world)
    with world.snapshot() as held:
        table = held.to_arrow(["$id", "n", "tag", "s", "$residual"])
        assert table.schema.field("n").type == pa.int64()
        assert table.schema.field("s").type == pa.struct([("a", pa.int64()), ("b", pa.string())])
        row = table.filter(pa.compute.equal(table["$id"], "posts/06")).to_pylist()
        assert row == [{"$id": "posts/06", "n": 6, "tag": None, "s": {"a": 6, "b": None}, "$residual": '{"tag":6}'}]
        assert held.to_arrow(["n"]).column_names == ["n"]
        assert held.schema.names[:3] == ["$id", "$seq", "version"]
        assert held.to_arrow(include_deleted=True).num_rows == 40
        assert held.batches().read_next_batch().num_rows > 0
        with pytest.raises(InvalidInputError, match="columns: 'nope' is no column of the snapshot"):
            held.to_arrow(["nope"])


def test_an_empty_namespace_has_a_snapshot_too(world: World) -> None:
    with world.snapshot() as held:
        assert held.seq == 0
        assert held.to_arrow().num_rows == held.count() == held.dataset().count_rows() == 0
        assert list(held.documents()) == []


def test_files_go_when_the_snapshot_is_closed(world: World) -> None:
    fill(world)
    held = world.snapshot()
    [first, *_] = held._hold.content.parts
    path = world.connection.settings.url
    world.do(world.owner.compact())
    key = next(Path(path).rglob(first.file.key.rpartition("/")[2]))
    world.collect(lambda: True)
    assert key.exists()
    held.close()
    held.close()
    world.collect(lambda: not key.exists())
    with pytest.raises(InvalidInputError, match="this snapshot has been closed"):
        held.count()


def test_whoever_reads_while_it_is_closed_is_told_and_does_not_wait_for_ever(world: World) -> None:
    fill(world)
    held = world.snapshot()
    rows = iter(held.batches())
    next(rows)
    begun = threading.Event()
    told: list[BaseException] = []

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    def read() -> None:
        try:
            held._hold.run(hang())
        except InvalidInputError as error:
            told.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert begun.wait(10)
    held.close()
    reader.join(10)
    assert [str(error) for error in told] == ["this snapshot has been closed; take another one"]
    with pytest.raises(InvalidInputError, match="closed"):
        list(rows)


def test_threads_that_ask_for_its_copies_at_once_get_the_same_whole_ones(world: World) -> None:
    fill(world)
    with world.snapshot() as held, ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: held.dataset().count_rows(), range(8)))
    assert counts == [38] * 8


def test_a_forgotten_snapshot_lets_go(world: World) -> None:
    fill(world)
    held = world.snapshot()
    thread = held._hold._thread
    assert world.owner._past.pins.keys()
    del held
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert not world.owner._past.pins.keys()


def test_a_hold_that_was_lost_is_told_from_damage(world: World) -> None:
    fill(world)
    held, other = world.snapshot(), world.snapshot()
    [first, *_] = held._hold.content.parts
    [path] = Path(world.connection.settings.url).rglob(first.file.key.rpartition("/")[2])
    data = path.read_bytes()
    path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    with pytest.raises(CorruptionError, match="checksum differs"):
        other.to_arrow()
    path.unlink()
    for reading in (held.to_arrow, held.find, held.dataset):
        with pytest.raises(SnapshotNotFoundError, match="has been collected; take a new one"):
            reading()
    held.close()
    other.close()


def test_a_missing_extra_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with world.snapshot() as held, pytest.raises(ConfigurationError, match=r"pip install 'parquedb\[polars\]'"):
        held.to_polars()
    assert snapshots._extra("duckdb") is duckdb


def test_a_database_in_memory_has_no_snapshots() -> None:
    with pytest.raises(ConfigurationError, match="a memory:// database does not allow"):
        take_snapshot(RayConnection(load_settings("memory://x")), "posts", 1.0)

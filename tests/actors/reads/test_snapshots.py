"""Snapshots: what their files say to a reader that knows nothing of us, however long they are held."""

import asyncio
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from parquedb.actors.reads.snapshots import PINS_MAX, Pins
from parquedb.clock import ManualClock
from parquedb.errors import BackpressureError, FencedError, SnapshotNotFoundError, ValidationError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files.columns import TIME_TYPE
from parquedb.storage.files.shred import unshred
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.snapshot import SnapshotContent
from tests.support.engines import NAMESPACE, engine, opened, outcome, run
from tests.support.pasts import Document, Life, random_steps
from tests.support.virtual_loop import Process, SimClock, run_virtually


async def by_duckdb(life: Life, content: SnapshotContent, folder: Path) -> dict[str, Document]:
    """Read the Parquet files of a snapshot with DuckDB, leave the dead rows out, and add the rows of memory."""
    tables = [content.memory]
    with duckdb.connect() as con:
        for part in content.parts:
            path = folder / part.file.key.replace("/", "-")
            path.write_bytes(await life.store.read(namespace_prefix(NAMESPACE) + part.file.key))
            dead = list(part.dead or ())
            relation = con.sql(
                "select * from read_parquet(?, file_row_number = true) where not list_contains(?, file_row_number)",
                params=[str(path), dead],
            )
            tables.append(relation.to_arrow_table().drop_columns("file_row_number"))
    found: dict[str, Document] = {}
    for table in tables:
        for at, field in enumerate(table.schema):
            if pa.types.is_timestamp(field.type):  # DuckDB names the time zone in its own way.
                table = table.set_column(at, field.name, table.column(at).cast(TIME_TYPE))  # noqa: PLW2901
        for document in unshred(table):
            id_ = document["$id"].partition("/")[2]
            assert id_ not in found
            found[id_] = document
    return found


async def renew(life: Life, held: list[dict[str, Any]]) -> None:
    """Do what the holders of snapshots do: say again and again that they hold them, whoever is the owner."""
    while True:
        for answer in list(held):
            keys = [file["key"] for file in answer["files"]]
            await outcome(life.owner, "pin", body=[answer["token"], keys])
        await life.clock.sleep(3)


async def compare_over_files(seed: int, folder: Path) -> int:
    """Live a random life and hold snapshots through it; return how many were compared."""
    rng = random.Random(seed)
    settings = {"history_window_s": rng.choice([30, 100_000]), "collect_interval_s": 20}
    life = await Life.begin(SimClock(Process("one")), **settings)
    held: list[dict[str, Any]] = []
    renewing = asyncio.create_task(renew(life, held))
    try:
        for _ in range(rng.randrange(2, 5)):
            await life.live(random_steps(rng, rng.randrange(5, 30)))
            held.append(await run(life.owner, "snapshot"))
        for answer in held:
            state = life.states[answer["seq"]]
            assert await by_duckdb(life, SnapshotContent.of(NAMESPACE, answer), folder) == state
            try:
                assert await life.seen(answer["seq"]) == state
            except SnapshotNotFoundError:
                continue
        assert not renewing.done()
    finally:
        renewing.cancel()
        life.owner.abandon()
    return len(held)


@pytest.mark.parametrize("seed", range(50))
def test_duckdb_over_the_files_sees_what_the_api_saw(seed: int, tmp_path: Path) -> None:
    async def main() -> None:
        assert await compare_over_files(seed, tmp_path) >= 2

    run_virtually(main)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_duckdb_over_the_files_sees_what_the_api_saw_a_thousand_times(tmp_path: Path) -> None:
    compared = []

    async def main(seed: int) -> None:
        compared.append(await compare_over_files(seed, tmp_path))

    for seed in range(1000, 2000):
        run_virtually(lambda seed=seed: main(seed))
        for path in tmp_path.iterdir():
            path.unlink()
    assert len(compared) == 1000
    assert sum(compared) >= 2000


def test_a_pin_that_is_not_renewed_is_forgotten() -> None:
    clock = ManualClock()
    pins = Pins(clock, grace_s=3600)
    pins.hold("a", ["data/1-x"])
    pins.hold("b", ["data/1-y"])
    clock.advance(20)
    pins.hold("a", ["data/1-x"])
    assert pins.keys() == {"data/1-x", "data/1-y"}
    clock.advance(20)
    assert pins.keys() == {"data/1-x"}
    pins.release("a")
    pins.release("a")
    assert pins.keys() == frozenset()


def test_there_may_be_only_so_many_pins() -> None:
    clock = ManualClock()
    pins = Pins(clock, grace_s=3600)
    for number in range(PINS_MAX):
        pins.hold(f"{number}", [])
    with pytest.raises(BackpressureError, match="1000 snapshots are open already"):
        pins.hold("more", [])
    pins.hold("7", ["data/1-x"])
    clock.advance(31)
    pins.hold("more", [])


async def refused_pin(body: Any) -> None:
    life = await Life.begin(SimClock(Process("one")))
    try:
        await run(life.owner, "pin", body=body)
    finally:
        life.owner.abandon()


@pytest.mark.parametrize("body", [None, [], ["short", []], ["0" * 32, [1]], ["0" * 32, "data/x"]])
def test_a_pin_that_makes_no_sense_is_refused(body: Any) -> None:
    with pytest.raises(ValidationError, match="invalid value of 'pin': expected a token and the keys of objects"):
        run_virtually(lambda: refused_pin(body))


def test_an_owner_who_slept_through_a_takeover_deletes_nothing_that_its_successor_holds() -> None:
    async def main() -> None:
        clock = SimClock(Process("one"))
        store = MemoryBackend(clock=clock)
        options: dict[str, Any] = {"clock": clock, "log_grace_s": 1.0, "snapshot_grace_s": 40.0, "compaction_files": 2}
        owner = engine(store, **options)
        await owner.open()
        for number in range(2):
            await run(owner, "create", f"d{number}", {"n": number})
            await owner.flush()
        answer = await run(owner, "snapshot")
        await owner.compact()
        pin = [answer["token"], [file["key"] for file in answer["files"]]]
        for _ in range(10):
            await clock.sleep(answer["lease_s"] / 2)
            await run(owner, "pin", body=pin)
        async with opened(store, **options) as successor:
            for _ in range(4):
                await run(successor, "pin", body=pin)
                await clock.sleep(answer["lease_s"] / 2)
            [came_of_it] = await asyncio.gather(owner.collect(), return_exceptions=True)
            for key in pin[1]:
                assert await store.exists(namespace_prefix(NAMESPACE) + key)
            assert isinstance(came_of_it, FencedError)

    run_virtually(main)

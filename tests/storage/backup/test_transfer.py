"""Moving objects: creates are sent until their fate is certain, reads are believed when their checksum is right."""

import asyncio
import random
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
import xxhash

from parquedb.clock import ManualClock
from parquedb.errors import (
    CircuitOpenError,
    CorruptionError,
    NetworkError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    StorageWriteError,
)
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.backup.transfer import PIECE_BYTES, Transfers, each
from tests.support.file_size import file_size_limit

DATA = b"content " * 100
SUM = xxhash.xxh3_64_intdigest(DATA)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> FaultyBackend:
    return FaultyBackend(MemoryBackend(), rng=random.Random(1), clock=clock)


@pytest.fixture
def moves(clock: ManualClock) -> Transfers:
    return Transfers(clock, random.Random(1), 2)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.LATE])
async def test_a_create_without_an_answer_is_sent_again_until_there_is_one(
    store: FaultyBackend, moves: Transfers, fault: Fault
) -> None:
    store.add(FaultRule(fault=fault, operations=frozenset({"create"}), count=3))
    assert await moves.create(store, "a/b", DATA)
    assert await store.read("a/b") == DATA
    assert store.calls["create"] > 3


async def test_a_name_that_was_taken_before_is_told_apart(store: FaultyBackend, moves: Transfers) -> None:
    await store.create("a/b", DATA)
    assert not await moves.create(store, "a/b", DATA)


@pytest.mark.parametrize("error", ["conflict", "slow_down", "network"])
async def test_a_store_that_is_busy_is_asked_again(store: FaultyBackend, moves: Transfers, error: str) -> None:
    store.add(FaultRule(fault=Fault.ERROR, operations=frozenset({"create"}), count=2, error=error))
    assert await moves.create(store, "a/b", DATA)


async def test_what_is_wrong_with_a_store_is_told_and_not_that_its_circuit_is_open(moves: Transfers) -> None:
    class Away(MemoryBackend):
        """Does not answer, and is soon not asked any more."""

        tries = 0

        async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> NoReturn:
            self.tries += 1
            if self.tries > 3:
                raise CircuitOpenError(circuit="s3.write", retry_after=24.0)
            raise NetworkError("no answer: connection refused")

    with pytest.raises(NetworkError, match="connection refused"):
        await moves.create(Away(), "a/b", DATA)


async def test_a_definite_refusal_is_final(store: FaultyBackend, moves: Transfers) -> None:
    store.add(FaultRule(fault=Fault.ERROR, operations=frozenset({"create"}), error="write"))
    with pytest.raises(StorageWriteError):
        await moves.create(store, "a/b", DATA)
    assert store.calls["create"] == 1


async def test_a_store_that_stays_away_ends_it_within_bounds(
    store: FaultyBackend, moves: Transfers, clock: ManualClock
) -> None:
    store.outage(True)
    with pytest.raises((OutcomeUnknownError, NetworkError)):
        await moves.create(store, "a/b", DATA)
    assert 0 < clock.boot_s() < 120


async def test_what_was_cut_on_its_way_is_read_once_more(store: FaultyBackend, moves: Transfers) -> None:
    await store.create("a/b", DATA)
    store.add(FaultRule(fault=Fault.TRUNCATED, operations=frozenset({"read_range"}), count=1))
    target = MemoryBackend()
    assert await moves.copy(store, "a/b", target, "c/d", SUM) == len(DATA)
    assert await target.read("c/d") == DATA
    store.add(FaultRule(fault=Fault.TRUNCATED, operations=frozenset({"read_range"})))
    with pytest.raises(CorruptionError, match="checksum differs"):
        await moves.copy(store, "a/b", target, "c/e", SUM)
    assert not await target.exists("c/e"), "nothing is stored that was not right"


async def test_a_large_object_passes_in_pieces_and_is_whole(moves: Transfers, tmp_path: Path) -> None:
    for extra in (-1, 0, 1, PIECE_BYTES):
        source, target = MemoryBackend(), MemoryBackend()
        data = random.Random(1).randbytes(PIECE_BYTES + extra)
        await source.create("a/b", data)
        assert await moves.copy(source, "a/b", target, "a/b", xxhash.xxh3_64_intdigest(data)) == len(data)
        assert await target.read("a/b") == data


async def test_no_more_objects_move_at_a_time_than_allowed() -> None:
    under_way = most = 0

    class Counting(MemoryBackend):
        async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return await super().read_range(key, start, length)

    source, target = Counting(), MemoryBackend()
    for number in range(20):
        await source.create(f"a/{number}", DATA)
    moves = Transfers(ManualClock(), random.Random(1), 3)
    await each(lambda at: moves.copy(source, f"a/{at}", target, f"a/{at}", SUM), range(20), 10)
    assert most == 3


async def test_the_first_error_ends_the_work_after_the_others_have_let_go() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 1:
            raise ObjectNotFoundError(key="x")
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(number)

    with pytest.raises(ObjectNotFoundError):
        await each(work, range(100), 3)
    assert sorted(ended) == [0, 2], "and no more was begun"


async def test_no_room_for_temporary_files_is_no_damage_and_says_what_to_do(
    moves: Transfers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, data = MemoryBackend(), bytes(PIECE_BYTES + 1)
    await source.create("a/b", data)
    copy = lambda: moves.copy(source, "a/b", MemoryBackend(), "c/d", xxhash.xxh3_64_intdigest(data))  # noqa: E731
    with file_size_limit(PIECE_BYTES), pytest.raises(StorageWriteError, match=r"File too large; TMPDIR names another"):
        await copy()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageWriteError, match=r"No such file or directory.*TMPDIR names another folder"):
        await copy()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert await copy() == len(data)

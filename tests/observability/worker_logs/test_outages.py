"""Storage that fails, hangs or loses answers: nothing is lost that has room, nothing doubled, and nobody waits."""

import asyncio
import contextlib
import itertools
import logging
import random
import threading
import time
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from parquedb.clock import SystemClock
from parquedb.errors import InvalidInputError, ParqueDBError, StorageWriteError
from parquedb.errors import TimeoutError as NotInTimeError
from parquedb.observability.worker_logs import flusher as log_flusher
from parquedb.observability.worker_logs.view import WorkerLogsView, create_worker_logs_view
from parquedb.storage.backend import ObjectInfo, StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.memory import MemoryBackend


class Outage(DelegatingBackend):
    """Refuses or hangs every create while it lasts."""

    def __init__(self, inner: StorageBackend, *, hangs: bool = False) -> None:
        super().__init__(inner)
        self.lasts = True
        self.hangs = hangs
        self.met = threading.Event()

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        if self.lasts:
            self.met.set()
            if self.hangs:
                await asyncio.Event().wait()
            raise StorageWriteError(key=key)
        return await self.inner.create(key, data, timeout_s=timeout_s)


@pytest.fixture(autouse=True)
def quick_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_flusher, "BACKOFF_MAX_S", 0.01)


def lines(count: int, start: int = 0, **fields: Any) -> list[dict[str, Any]]:
    return [{"message": f"m{number}", **fields} for number in range(start, start + count)]


def found(view: WorkerLogsView, **wanted: Any) -> Counter[str]:
    return Counter(row["message"] for row in view.find(wanted or None, limit=100_000))


def test_rows_wait_out_an_outage_and_are_stored_once_it_is_over() -> None:
    storage = Outage(MemoryBackend())
    with create_worker_logs_view(storage, flush_threshold=10) as view:
        view.ingest(lines(25))
        assert storage.met.wait(10)
        view.ingest(lines(25, start=25))
        assert view.stats().buffered == 50
        with pytest.raises(NotInTimeError, match="50 rows of worker logs are not stored yet"):
            view.flush(0.05)
        storage.lasts = False
        view.flush(30)
        assert found(view) == Counter(line["message"] for line in lines(50))
        told = view.stats()
        assert (told.stored, told.buffered, told.buffered_bytes, told.dropped) == (50, 0, 0, 0)
        assert told.failures >= 1


def test_a_full_buffer_drops_what_comes_counts_it_by_level_and_says_so_in_the_logs() -> None:
    storage = Outage(MemoryBackend())
    with create_worker_logs_view(storage, flush_threshold=10, buffer_rows_max=100) as view:
        view.ingest(lines(90))
        view.ingest([*lines(20, start=90), *lines(5, start=200, level="error")])
        told = view.stats()
        assert (told.ingested, told.buffered, told.dropped) == (115, 100, 15)
        assert told.dropped_by_level == {"INFO": 10, "ERROR": 5}
        storage.lasts = False
        view.flush(30)
        assert found(view, kind="log") == Counter(line["message"] for line in lines(100))
        view.ingest(lines(1, start=300))
        view.flush(30)
        gap = view.find({"kind": "gap"})
        assert [(row["level"], row["attributes"]["dropped"]) for row in gap] == [("WARNING", 15)]


def test_a_gap_is_told_of_also_where_the_redaction_knows_no_such_record() -> None:
    def redact(record: dict[str, Any]) -> dict[str, Any]:
        return {"message": record["text"]}

    storage = Outage(MemoryBackend())
    with create_worker_logs_view(storage, flush_threshold=2, buffer_rows_max=2, redact=redact) as view:
        view.ingest([{"text": f"m{number}"} for number in range(3)])
        storage.lasts = False
        view.flush(30)
        view.ingest({"text": "m3"})
        view.flush(30)
        assert found(view) == {"m0": 1, "m1": 1, "m3": 1, "1 rows were dropped before this one: the buffer was full": 1}


def test_memory_is_bounded_in_bytes_while_storage_is_down() -> None:
    bytes_max = 8 << 20
    storage = Outage(MemoryBackend())
    with create_worker_logs_view(storage, buffer_bytes_max=bytes_max, buffer_rows_max=10**9) as view:
        view.ingest(lines(2000))
        assert storage.met.wait(10)
        numbers = itertools.count()
        tracemalloc.start()
        try:
            while view.stats().dropped < 5_000:
                text = f"{next(numbers)} " + "x" * 200
                view.ingest([{"message": text + str(n), "user": n, "exception": text + "e"} for n in range(500)])
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert view.stats().buffered_bytes <= bytes_max
        assert grown < bytes_max
        view.close(0.1)


def test_storage_that_hangs_holds_up_neither_who_logs_nor_the_end() -> None:
    storage = Outage(MemoryBackend(), hangs=True)
    view = create_worker_logs_view(storage, flush_threshold=10)
    logger = logging.Logger("app")
    logger.addHandler(view.handler())
    logger.warning("first")
    view.ingest(lines(20))
    assert storage.met.wait(10)
    before_s = time.monotonic()
    for number in range(1000):
        logger.warning("n%d", number)
    view.close(0.2)
    assert time.monotonic() - before_s < 10
    assert view.stats().dropped == 1021
    assert view.stats().buffered == 0
    with pytest.raises(InvalidInputError, match="has been closed"):
        view.ingest({"message": "late"})
    view.close()


def test_an_attempt_that_hangs_is_given_up_and_repeated_under_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_flusher, "ATTEMPT_S", 0.01)
    monkeypatch.setattr(log_flusher, "_GRACE_S", 0.01)
    storage = Outage(MemoryBackend(), hangs=True)
    with create_worker_logs_view(storage, flush_threshold=10) as view:
        view.ingest(lines(10))
        assert storage.met.wait(10)
        storage.lasts = False
        view.flush(30)
        assert found(view) == Counter(line["message"] for line in lines(10))


@pytest.mark.parametrize("seed", range(6))
def test_lost_requests_and_lost_answers_neither_lose_nor_double_a_row(seed: int) -> None:
    rng = random.Random(seed)
    rules = [
        FaultRule(fault=fault, operations=frozenset({"create"}), probability=0.3)
        for fault in (Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.LATE)
    ] + [FaultRule(fault=Fault.ERROR, operations=frozenset({"create"}), probability=0.1, error="slow_down")]
    storage = FaultyBackend(MemoryBackend(), clock=SystemClock(), rng=rng)
    for rule in rules:
        storage.add(rule)
    with create_worker_logs_view(storage, flush_threshold=7) as view:
        for start in range(0, 200, 20):
            view.ingest(lines(20, start=start))
            view.flush(30)
        for _ in range(3):
            # A merge whose answer is lost is left to the next one; what readers see is right all the while.
            with contextlib.suppress(ParqueDBError):
                view.compact(files_min=2)
            assert found(view) == Counter(line["message"] for line in lines(200))
        assert view.stats().failures > 0


def test_a_name_that_is_taken_is_not_written_over() -> None:
    taken: list[str] = []

    class Taken(DelegatingBackend):
        async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
            if not taken:
                taken.append(key)
                await self.inner.create(key, b"somebody else's")
            return await self.inner.create(key, data, timeout_s=timeout_s)

    inner = MemoryBackend()
    view = create_worker_logs_view(Taken(inner), flush_threshold=5)
    view.ingest(lines(5))
    view.flush(30)
    view.close()
    assert asyncio.run(inner.read(taken[0])) == b"somebody else's"
    assert view.stats().stored == 5
    assert len(asyncio.run(inner.list("")).objects) == 2


def test_rows_are_stored_by_age_without_being_asked_for() -> None:
    view = create_worker_logs_view(MemoryBackend(), flush_threshold=1000, flush_interval=0.05)
    feed = view.follow(poll_s=60)
    view.ingest(lines(3))
    assert next(feed)["message"] == "m0"
    view.close()


def test_what_storing_itself_logs_is_not_stored_again() -> None:
    class Talkative(DelegatingBackend):
        async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
            logger.warning("storing")
            return await self.inner.create(key, data, timeout_s=timeout_s)

    logger = logging.Logger("app")
    view = create_worker_logs_view(Talkative(MemoryBackend()), flush_threshold=1)
    logger.addHandler(view.handler())
    logger.warning("one")
    view.flush(30)
    assert found(view) == {"one": 1}
    assert view.stats().ingested == 1
    view.close()


def test_a_bulk_load_waits_for_room_instead_of_losing_rows() -> None:
    with create_worker_logs_view(MemoryBackend(), flush_threshold=100, buffer_rows_max=1000) as view:
        view.ingest((line for _ in range(20) for line in lines(1000)), wait_s=30)
        view.flush(30)
        assert (view.stats().stored, view.stats().dropped) == (20_000, 0)

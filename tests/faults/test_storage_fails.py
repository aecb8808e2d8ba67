"""Storage that is gone, frozen or killed; and an owner that was frozen while another one took over."""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.load import resident_bytes
from parquedb.cluster.transport.calls import reply_to
from parquedb.errors import CircuitOpenError, FencedError, OutcomeUnknownError, ParqueDBError, TimeoutError  # noqa: A004
from parquedb.storage.log.entry import Kind
from tests.support.chain import Bystander, History, Verdict, check_attempts
from tests.support.fault_proxy import FaultProxy
from tests.support.owners import database
from tests.support.places import BUSY, NAMESPACE, EngineCollection, engine_on, on_disk, on_s3, settings_of
from tests.support.s3_servers import S3Server, start_weed
from tests.support.workloads import Ledger, Load, State, gathered

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

SEED = 11
BRIEF = {"timeout_s": 2.0, "breaker_failures": 3, "breaker_open_s": 0.5}
"""Storage settings: the circuit opens soon and is tried again soon."""

FLOODS, FLOOD, FLOOD_BYTES = 10, 500, 50_000
MEMORY_GROWTH_MAX = 24 << 20
"""Bytes between the sixth flood and the last: by then the allocator has what it needs for calls that large. What is
refused adds up to four times this."""


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Freeze a process while inside."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def told_by_storage(place: dict[str, Any]) -> History:
    """Return the history of a database that is quiet."""
    bystander = Bystander(settings_of(place), NAMESPACE)
    try:
        return await bystander.history()
    finally:
        await bystander.close()


async def judged(place: dict[str, Any], ledger: Ledger, posts: Any) -> tuple[History, Verdict]:
    """Hold everything that was answered against what is stored, and against what is read."""
    history = await told_by_storage(place)
    verdict = check_attempts(history, ledger.attempts)
    assert {document["$id"]: document async for document in posts.find(limit=1000)} == history.documents()
    return history, verdict


async def test_during_an_outage_writes_fail_fast_and_for_certain_and_afterwards_they_go_on(
    ray_cluster: str, weed: S3Server, weed_proxy: FaultProxy, unique_prefix: str, figures: Callable[..., None]
) -> None:
    place = on_s3(weed, unique_prefix, endpoint_url=weed_proxy.url, storage=BRIEF)
    ledger = Ledger()
    async with database(place) as db:
        posts = db[NAMESPACE]
        async with Load(posts, ledger, writers=16, seed=SEED) as load:
            await ledger.more(200)
        pid = (await posts.stats())["pid"]
        with weed_proxy.outage():
            # What is at storage when it goes is in doubt; it is awaited below.
            first = asyncio.create_task(load.create("in-doubt"))
            while not any(seen.action == "outage" for seen in weed_proxy.seen):
                await asyncio.sleep(0.01)
            while not isinstance(await load.create("refused"), CircuitOpenError):
                pass
            started = len(ledger.attempts)

            async def flood(number: int) -> None:
                token = ledger.token()
                body = {"token": token, "text": "x" * FLOOD_BYTES}
                await ledger.write(token, [f"f{number}"], posts.create(body, id=f"f{number}", timeout_s=10))

            resident = []
            for _ in range(FLOODS):
                await gathered([lambda number=number: flood(number) for number in range(FLOOD)])
                resident.append(resident_bytes(pid))
            singles = [load.create(f"s{number}") for number in range(20)]
            answers = [await single for single in singles]
            stats = await posts.stats()
            growth = resident[-1] - resident[5]
            refused = ledger.attempts[started:]
            ended_s = time.monotonic()
        await first
        while isinstance(await load.create("back"), CircuitOpenError):
            await asyncio.sleep(0.01)
        back_s = time.monotonic() - ended_s
        assert (await posts.stats())["pid"] == pid, "the owner goes on without a restart"
        history, verdict = await judged(place, ledger, posts)
    assert {attempt.error for attempt in refused} == {"CircuitOpenError"}
    fast_s = [attempt.done_s - attempt.started_s for attempt in refused[-20:]]
    assert statistics.median(fast_s) < 0.1
    assert all(isinstance(answer, CircuitOpenError) and (answer.retry_after or 0) <= 0.5 for answer in answers)
    assert stats["queued_ops"] <= 1
    assert growth < MEMORY_GROWTH_MAX, f"memory after each flood: {resident}"
    assert len(history.epochs) == 1
    assert verdict.unknown == 0
    figures(
        acknowledged=verdict.acknowledged,
        refused=verdict.refused,
        unknown=verdict.unknown,
        median_ms_to_refusal=1000 * statistics.median(fast_s),
        memory_growth_mib=growth >> 20,
        s_to_first_ack_after_outage=back_s,
    )


async def test_while_the_s3_server_is_frozen_writes_wait_or_end_in_doubt_and_are_applied_once(
    ray_cluster: str, weed: S3Server, unique_prefix: str, figures: Callable[..., None]
) -> None:
    place = on_s3(weed, unique_prefix)
    ledger = Ledger()
    async with database(place) as db:
        posts = db[NAMESPACE]
        doubtful: list[tuple[str, str, ParqueDBError]] = []

        async def impatient(number: int) -> None:
            token, id_ = ledger.token(), f"i{number}"
            call = posts.create({"token": token}, id=id_, timeout_s=1.0)
            answer = await ledger.write(token, [id_], call)
            if isinstance(answer, ParqueDBError):
                doubtful.append((token, id_, answer))

        async with Load(posts, ledger, writers=16, seed=SEED) as load:
            await ledger.more(200)
            with stopped(weed.process.pid):
                stopped_s = time.monotonic()
                await gathered([lambda number=number: impatient(number) for number in range(20)])
                await asyncio.sleep(3.0 - (time.monotonic() - stopped_s))
            await ledger.more(100)
        assert all(isinstance(error, OutcomeUnknownError | TimeoutError) for _, _, error in doubtful)
        with stopped(weed.process.pid):
            await gathered([lambda number=number: impatient(number) for number in range(100, 110)])
        unknown = [each for each in doubtful if isinstance(each[2], OutcomeUnknownError)]
        assert len(unknown) >= 10, "alone at storage when it froze"
        # The same request again finds out what became of it, and applies it only if nothing did.
        for token, id_, error in unknown:
            assert error.request_id is not None
            document = await posts.create({"token": token}, id=id_, request_id=error.request_id)
            assert (document["token"], document["version"]) == (token, 1)
            attempt = next(each for each in ledger.attempts if each.token == token)
            attempt.state, attempt.changed, attempt.error = State.ACKNOWLEDGED, [(id_, 1)], ""
        assert await load.create("after") is not None
        history, verdict = await judged(place, ledger, posts)
    assert doubtful
    assert set(verdict.by_error) <= {"VersionConflictError", "TimeoutError"}
    assert len(history.epochs) == 1
    figures(
        acknowledged=verdict.acknowledged,
        refused=verdict.refused,
        in_doubt_then_settled=len(unknown),
        unknown=verdict.unknown,
        duplicates=0,
    )


async def create(posts: EngineCollection, ledger: Ledger, numbers: range) -> None:
    """Create documents one after the other."""
    for number in numbers:
        token = ledger.token()
        await ledger.write(token, [f"young-{number}"], posts.create({"token": token}, id=f"young-{number}"))


@pytest.mark.parametrize("kind", ["disk", "s3"])
async def test_an_owner_that_was_frozen_while_another_took_over_acknowledges_nothing_more(
    kind: str, ray_cluster: str, request: pytest.FixtureRequest, tmp_path: Path, figures: Callable[..., None]
) -> None:
    if kind == "disk":
        place = on_disk(tmp_path, engine=BUSY)
    else:
        place = on_s3(request.getfixturevalue("weed"), request.getfixturevalue("unique_prefix"), engine=BUSY)
    ledger, young = Ledger("old-"), Ledger("young-")
    reads: list[tuple[float, ParqueDBError | None]] = []
    async with database(place) as db, engine_on(settings_of(place), "younger") as younger:
        handle = db[NAMESPACE].actor
        activation = await handle.activate.remote()

        async def write(writer: int) -> None:
            number = 0
            while True:
                token, id_ = ledger.token(), f"{writer}-{number}"
                call = reply_to(handle.create.remote({"token": token}, id=id_), NAMESPACE)
                if isinstance(await ledger.write(token, [id_], call), FencedError):
                    return
                number += 1

        async def read() -> None:
            started_s = time.monotonic()
            try:
                await reply_to(handle.get.remote("0-0"), NAMESPACE)
            except ParqueDBError as error:
                reads.append((started_s, error))
            else:
                reads.append((started_s, None))

        writers = [asyncio.create_task(write(writer)) for writer in range(16)]
        await ledger.more(100)
        with stopped(activation["pid"]):
            await younger.open()
            opened_s = time.monotonic()
            posts = EngineCollection(younger)
            await create(posts, young, range(20))
            # Sent to the frozen one: they wait in its queue until it wakes.
            late = [asyncio.create_task(write(100 + number)) for number in range(8)]
            late += [asyncio.create_task(read()) for _ in range(8)]
            await asyncio.sleep(0)
            woken_s = time.monotonic()
        await asyncio.gather(*writers, *late)
        assert (await handle.stats.remote())["state"] == "fenced"
        await create(posts, young, range(20, 30))
        history = await told_by_storage(place)
    verdict = check_attempts(history, [*ledger.attempts, *young.attempts])
    after = [attempt for attempt in ledger.attempts if attempt.started_s > opened_s]
    assert len(after) >= 8
    assert {attempt.error for attempt in after} == {"FencedError"}
    assert len(reads) == 8
    assert all(isinstance(error, FencedError) for _, error in reads)
    landed_before = [a for a in ledger.attempts if a.state is State.ACKNOWLEDGED and a.done_s > woken_s]
    epochs = {event.document["token"]: epoch for epoch, event in history.events if event.document is not None}
    assert {epochs[attempt.token] for attempt in landed_before} <= {activation["epoch"]}
    assert young.acknowledged == 30
    figures(
        acknowledged_by_older=ledger.acknowledged,
        acknowledged_by_younger=young.acknowledged,
        refused=verdict.refused,
        unknown=verdict.unknown,
        duplicates=0,
        reads_refused=len(reads),
    )


async def test_after_kill_9_of_the_s3_server_every_acknowledged_write_is_still_there(
    ray_cluster: str, tmp_path: Path, figures: Callable[..., None]
) -> None:
    kills = 2
    folder = tmp_path / "weed"
    server = start_weed(folder)
    port = urlsplit(server.endpoint_url).port
    place = on_s3(server, "db", engine=BUSY | {"log_grace_s": 600.0, "snapshot_grace_s": 600.0}, storage=BRIEF)
    ledger = Ledger()
    waits_s = []
    try:
        async with database(place) as db:
            posts = db[NAMESPACE]
            async with Load(posts, ledger, writers=8, seed=SEED, timeout_s=60) as load:
                pid = (await posts.stats())["pid"]
                for kill in range(kills):
                    await ledger.more(200)
                    server.process.kill()
                    await asyncio.to_thread(server.process.wait)
                    server = await asyncio.to_thread(start_weed, folder, port)
                    started_s = time.monotonic()
                    while isinstance(await load.create(f"after-{kill}-{time.monotonic_ns()}"), ParqueDBError):
                        await asyncio.sleep(0.05)
                    waits_s.append(time.monotonic() - started_s)
                await ledger.more(200)
            assert (await posts.stats())["pid"] == pid
            history, verdict = await judged(place, ledger, posts)
    finally:
        server.stop()
    assert verdict.unknown == 0
    assert len(history.epochs) == 1
    figures(
        server_kills=kills,
        acknowledged=verdict.acknowledged,
        refused=verdict.refused,
        unknown=verdict.unknown,
        duplicates=0,
        lost=0,
        median_s_to_first_ack=statistics.median(waits_s),
        entries=len(history.entries),
        checkpoints=history.count(Kind.CHECKPOINT),
    )

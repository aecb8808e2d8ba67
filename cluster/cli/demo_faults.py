"""What the demo does to the database, and what writers noticed: a kill of the owner, an outage of the storage."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from parquedb import AsyncCollection
from parquedb.errors import (
    OutcomeUnknownError,
    ParqueDBError,
)

# A writer gives up here; the proofs then fail instead of the demo hanging.
PATIENCE_S = 30.0
# Writes tried before the outage, and wanted after it.
CALM_WRITES = 20
INCREMENT = {"$inc": {"n": 1}}


@dataclass
class Journal:
    """What the writers were told.

    Attributes:
        acknowledged: Ids of created documents.
        increments: Acknowledged `$inc` of one (count).
        retries: Errors that were answered with another try, by code.
        moments_s: When acknowledgements came, on the performance counter.
    """

    acknowledged: list[str] = field(default_factory=list)
    increments: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    moments_s: list[float] = field(default_factory=list)

    def gap_s(self) -> float:
        """Return the longest time without any acknowledgement."""
        return max(
            (after - before for before, after in zip(self.moments_s, self.moments_s[1:], strict=False)), default=0
        )


async def insist(call: Callable[[], Awaitable[object]], journal: Journal) -> bool:
    """Repeat a call under its own request id until it is acknowledged.

    Returns:
        False when it was not within `PATIENCE_S`.
    """
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            await call()
        except ParqueDBError as error:
            if not (error.retryable or isinstance(error, OutcomeUnknownError)):
                raise
            journal.retries[error.code.value] += 1
            await asyncio.sleep(error.retry_after or 0.05)
        else:
            journal.moments_s.append(time.perf_counter())
            return True
    return False


async def write_through_a_kill(events: AsyncCollection, *, writers: int, before_s: float, after_s: float) -> Journal:
    """Keep writers busy, kill the owner's process in the middle, let them finish.

    Each writer creates documents and increments the counter that all of them share.

    Args:
        events: A namespace that holds the document `counter`.
        writers: Concurrent writers (count).
        before_s: Seconds of load before the kill.
        after_s: Seconds of load from the first acknowledgement after the kill.
    """
    journal, stop = Journal(), asyncio.Event()

    async def writer(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            id_, request = f"w{number}-{turn}", f"demo-{os.getpid()}-{number}-{turn}"
            create = partial(events.create, {"writer": number}, id=id_, request_id=f"{request}-c")
            if await insist(create, journal):
                journal.acknowledged.append(id_)
            raised = await insist(partial(events.update, "counter", INCREMENT, request_id=f"{request}-u"), journal)
            journal.increments += raised

    tasks = [asyncio.create_task(writer(number)) for number in range(writers)]
    await asyncio.sleep(before_s)
    pid = (await events.stats())["pid"]
    os.kill(pid, signal.SIGKILL)
    seen, give_up_s = len(journal.moments_s), time.monotonic() + PATIENCE_S
    while len(journal.moments_s) <= seen + writers and time.monotonic() < give_up_s:
        await asyncio.sleep(0.02)
    await asyncio.sleep(after_s)
    stop.set()
    await asyncio.gather(*tasks)
    return journal


@dataclass
class Phase:
    """Writes tried while the storage was in one condition.

    Attributes:
        title: Which condition.
        took_s: Seconds of each write that was acknowledged.
        refused_s: Seconds of each refusal, by error code.
    """

    title: str
    took_s: list[float] = field(default_factory=list)
    refused_s: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Outage:
    """An outage from the view of one writer.

    Attributes:
        phases: Before, during, after.
        acknowledged: Ids the writer was told are stored.
        refused: Ids it was told are not.
        unknown: Ids it was told nothing certain about.
        recovered_s: Seconds from the storage's return to the first acknowledgement; None when there was none.
    """

    phases: list[Phase]
    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    recovered_s: float | None = None


async def write_through_an_outage(readings: AsyncCollection, root: Path, *, down_s: float) -> Outage:
    """Write steadily while the database's directory is renamed away and comes back.

    Args:
        readings: The namespace to write to.
        root: The database's directory.
        down_s: Seconds it stays away.
    """
    before, during, after = Phase("storage there"), Phase("directory renamed away"), Phase("directory back")
    outage, hidden = Outage([before, during, after]), root.with_name(root.name + ".away")
    written = 0

    async def write(phase: Phase) -> bool:
        nonlocal written
        written += 1
        id_, started_s = f"r{written}", time.perf_counter()
        try:
            await readings.create({"value": written}, id=id_)
        except ParqueDBError as error:
            took_s = time.perf_counter() - started_s
            phase.refused_s.setdefault(error.code.value, []).append(took_s)
            (outage.unknown if isinstance(error, OutcomeUnknownError) else outage.refused).append(id_)
            return False
        phase.took_s.append(time.perf_counter() - started_s)
        outage.acknowledged.append(id_)
        return True

    for _ in range(CALM_WRITES):
        await write(before)
    root.rename(hidden)
    try:
        until_s = time.perf_counter() + down_s
        while time.perf_counter() < until_s:
            await write(during)
            await asyncio.sleep(0.01)
    finally:
        hidden.rename(root)
    back_s = time.perf_counter()
    while time.perf_counter() - back_s < PATIENCE_S and len(after.took_s) < CALM_WRITES:
        if await write(after):
            outage.recovered_s = outage.recovered_s or time.perf_counter() - back_s
        else:
            await asyncio.sleep(0.02)
    return outage

"""Callers in processes of their own: in a closed loop, or offering a load by the clock whatever the answers are."""

import asyncio
import dataclasses
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import ray

import parquedb
from benchmarks.throughput import document
from parquedb.cluster.transport.calls import reply_to, translate
from parquedb.errors import ParqueDBError

TICK_S = 0.002
"""How often an open loop looks whose turn has come; within a tick arrivals are a burst."""

RAMP_S = 1.5
"""Seconds before counting begins: a queue fills first, and what was begun in it is answered a commit or two later."""

LATENCIES_MAX = 200_000


@dataclasses.dataclass
class Offered:
    """What became of a load.

    Attributes:
        seconds: For how long answers were counted, after the ramp.
        sent: Calls begun, in the ramp as well.
        acknowledged: Calls that were answered with a document in the time counted.
        refused: Calls by the name of their error, whenever they were answered.
        latencies_s: Of the acknowledged, from the moment they were due.
        growth_bytes: By how much this process has grown at its largest.
    """

    seconds: float = 0.0
    sent: int = 0
    acknowledged: int = 0
    refused: Counter[str] = dataclasses.field(default_factory=Counter)
    latencies_s: list[float] = dataclasses.field(default_factory=list)
    growth_bytes: int = 0

    def __add__(self, other: "Offered") -> "Offered":
        """Both loads, offered side by side."""
        return Offered(
            max(self.seconds, other.seconds),
            self.sent + other.sent,
            self.acknowledged + other.acknowledged,
            self.refused + other.refused,
            self.latencies_s + other.latencies_s,
            max(self.growth_bytes, other.growth_bytes),
        )


def resident_bytes(pid: int | str = "self") -> int:
    """The memory of a process that is its own: without the pages of Ray's object store."""
    _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    return (resident - shared) * resource.getpagesize()


class Caller:
    """One process that calls one namespace, through the client or through the bare handle."""

    def __init__(self, place: dict[str, Any], namespace: str, *, bare: bool) -> None:
        self._place = place
        self._namespace = namespace
        self._bare = bare
        self._call: Callable[[], Awaitable[object]] | None = None

    async def connect(self) -> None:
        """Make a first call, so that everything is in place."""
        database = await parquedb.connect_async(**self._place)
        collection = database.collection(self._namespace)
        await collection.create(document())
        handle = collection.actor

        async def through_handle() -> None:
            try:
                reply = handle.create.remote(document())
            except Exception as error:
                raise translate(error, self._namespace) from error
            await reply_to(reply, self._namespace)

        self._call = through_handle if self._bare else lambda: collection.create(document())

    async def closed(self, callers: int, seconds: float) -> Offered:
        """Let so many coroutines call, each awaiting its answer before the next call."""
        offered = Offered(seconds)
        end_s = time.perf_counter() + RAMP_S + seconds

        async def caller() -> None:
            while (now_s := time.perf_counter()) < end_s:
                offered.sent += 1
                await self._one(offered, now_s, end_s)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return offered

    async def open(self, per_s: float, seconds: float) -> Offered:
        """Begin `per_s` calls each second, whatever becomes of those before; then await the rest."""
        offered = Offered(seconds)
        before = resident_bytes()
        started_s = time.perf_counter()
        end_s = started_s + RAMP_S + seconds
        calls: set[asyncio.Task[None]] = set()
        now_s = started_s
        while now_s < end_s:
            await asyncio.sleep(TICK_S)
            # A tick may come late: what was due by the end is begun all the same.
            now_s = min(time.perf_counter(), end_s)
            for turn in range(offered.sent, int((now_s - started_s) * per_s)):
                task = asyncio.ensure_future(self._one(offered, started_s + turn / per_s, end_s))
                calls.add(task)
                task.add_done_callback(calls.discard)
                offered.sent += 1
            offered.growth_bytes = max(offered.growth_bytes, resident_bytes() - before)
        if calls:
            await asyncio.wait(calls)
        return offered

    async def _one(self, offered: Offered, due_s: float, end_s: float) -> None:
        assert self._call is not None
        try:
            await self._call()
        except ParqueDBError as error:
            offered.refused[type(error).__name__] += 1
            return
        now_s = time.perf_counter()
        if end_s - offered.seconds <= now_s <= end_s:
            offered.acknowledged += 1
            if len(offered.latencies_s) < LATENCIES_MAX:
                offered.latencies_s.append(now_s - due_s)


RemoteCaller: Any = ray.remote(num_cpus=0, max_concurrency=4)(Caller)

"""A stage for scripts: rival owners of one namespace, each with a wire and a clock of its own, on any store.

    a, b = await stage.owner("A"), stage.cast("B")
    packet = a.wire.holds("create")     # A sends, and the packet is held
    sent = a.creating("x")
    await packet.held()
    await b.opens()
    packet.release()

Time is the stage's: the script moves it, and short waits (backing off) move it a little. The store tells the same time,
whatever store it is. When the script is over, `last_look` delivers every packet still on its way and opens the
namespace once more: what was acknowledged must be there, what was refused must not.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Outcome, Request, SessionRequest
from parquedb.errors import OutcomeUnknownError
from parquedb.observability.hooks import HookRegistry
from parquedb.storage.backend import ListPage, StorageBackend
from parquedb.storage.backends.delegating import Call, FunnelBackend
from parquedb.storage.log.chain import Chain
from parquedb.storage.log.entry import LogEntry, decode_entry, position_of
from parquedb.storage.log.opening import Opener
from tests.support.engines import NAMESPACE, inline, outcome, settings
from tests.support.wire import WAIT_S, Wire

T = TypeVar("T")

PLACES = ("memory", "directory", "s3")
EVERYWHERE = pytest.mark.parametrize("stage", PLACES, indirect=True)
"""Marks a script that is played on the real S3 server each time; others are there with `make test-faults`."""

PREFIX = f"{NAMESPACE}/"
START = datetime(2026, 1, 1, tzinfo=UTC)
SHORT_S = 1.0
"""Waits up to this long pass at once."""

LEASE_WAIT_MAX_S = 40
_DAY_S = 86_400
CALM = {"flush_interval_s": _DAY_S, "collect_interval_s": _DAY_S, "compaction_interval_s": _DAY_S}
"""Nothing happens by itself within a day: the script asks for it."""


class Time:
    """What time it truly is, in seconds since the script began."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []

    def advance(self, delta_s: float) -> None:
        """Let time pass."""
        self.now_s += delta_s
        for until_s, future in self._waiting:
            if until_s <= self.now_s and not future.done():
                future.set_result(None)
        self._waiting = [(until_s, future) for until_s, future in self._waiting if not future.done()]

    async def until(self, until_s: float) -> None:
        """Return once it is so late."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((until_s, future))
        self.advance(0)
        await future


class OwnerClock:
    """The clock of one owner.

    Attributes:
        rate: Its seconds per true second.
        gate: Awaited at the end of each wait: a paused owner does not come back from it.
    """

    def __init__(self, time: Time, rate: float = 1.0) -> None:
        self.rate = rate
        self._time = time
        self._seen_s = self._shown_s = time.now_s
        self._stopped = False
        self._waits = asyncio.Event()
        self.gate: Callable[[], Any] | None = None

    def boot_s(self) -> float:
        """Return what it shows."""
        passed_s, self._seen_s = self._time.now_s - self._seen_s, self._time.now_s
        if not self._stopped:
            self._shown_s += passed_s * self.rate
        return self._shown_s

    def stop(self, stopped: bool = True) -> None:
        """Stand still, as the clock of a virtual machine that is being moved; or go on."""
        self.boot_s()
        self._stopped = stopped

    async def waits(self) -> None:
        """Return once its owner has begun a long wait: that of an opener for a lease is the first."""
        async with asyncio.timeout(WAIT_S):
            await self._waits.wait()

    def now(self) -> datetime:
        """Return the same as a date."""
        return START + timedelta(seconds=self.boot_s())

    async def sleep(self, delay_s: float) -> None:
        """Wait; a long wait ends when the script has moved time that far and the owner runs."""
        true_s = max(0.0, delay_s) / self.rate
        if true_s <= SHORT_S:
            self._time.advance(true_s)
            await asyncio.sleep(0)
        else:
            self._waits.set()
            await self._time.until(self._time.now_s + true_s)
        if self.gate is not None:
            await self.gate()


class Dated(FunnelBackend):
    """A store whose clock is the stage's: listings tell when an object was created in the script's time."""

    def __init__(self, store: StorageBackend, time: Time, born_s: dict[str, float]) -> None:
        super().__init__(store)
        self._time = time
        self._born_s = born_s

    async def _pass(self, call: Call[T]) -> T:
        asked_s = self._time.now_s
        answer = await call.send(self.inner, call.timeout_s)
        if call.operation == "create":
            self._born_s[call.key] = self._time.now_s
        if isinstance(answer, ListPage):
            start_s = START.timestamp()
            objects = [replace(one, modified_s=start_s + self._born_s.get(one.key, 0.0)) for one in answer.objects]
            return ListPage(tuple(objects), answer.more, start_s + asked_s)  # type: ignore[return-value]
        return answer


class Owner:
    """An engine, its wire and its clock; what it is asked to create is entered in the stage's book."""

    def __init__(self, stage: "Stage", name: str, clock_rate: float, **changes: Any) -> None:
        self.name = name
        self.stage = stage
        self.clock = OwnerClock(stage.time, clock_rate)
        self.wire = Wire(stage.handle(), self.clock)
        self.clock.gate = self.wire.gate
        self._rng = random.Random(name)
        self.engine = NamespaceEngine(
            NAMESPACE,
            self.wire,
            settings(**{**CALM, **changes}),
            clock=self.clock,
            rng=self._rng,
            hooks=HookRegistry(),
            run=inline,
        )

    @property
    def state(self) -> str:
        """Return what its engine says of itself."""
        return self.engine.state

    async def opens(self) -> None:
        """Take the namespace over; a wait for the lease of the one before lasts until the script moves time."""
        await self.engine.open()

    def opening(self) -> "asyncio.Task[None]":
        """Begin to take it over."""
        return self.stage.begin(self.opens())

    async def says(self, kind: str, id: str | None = None, body: Any = None, **more: Any) -> Outcome:  # noqa: A002 - the public word
        """Ask it something; no two questions come at the very same time."""
        self.stage.time.advance(0.001)
        async with asyncio.timeout(WAIT_S):
            return await outcome(self.engine, kind, id, body, **more)

    def asking(self, kind: str, id: str | None = None, body: Any = None, **more: Any) -> "asyncio.Task[Outcome]":  # noqa: A002 - as above
        """Begin to ask it something."""
        return self.stage.begin(self.says(kind, id, body, **more))

    async def creates(self, id: str, **more: Any) -> Outcome:  # noqa: A002 - as above
        """Ask it to create a document, and note what it says."""
        said = await self.says("create", id, {"by": self.name}, **more)
        self.stage.book[id].append(said)
        return said

    def creating(self, id: str, **more: Any) -> "asyncio.Task[Outcome]":  # noqa: A002 - as above
        """Begin to ask it to create a document."""
        return self.stage.begin(self.creates(id, **more))

    def pauses(self) -> None:
        """Stop it where it is, as a debugger, a hypervisor or a long collection of garbage does."""
        self.wire.freeze()

    def wakes(self) -> None:
        """Let it go on as if nothing had been."""
        self.wire.thaw()

    def dies(self) -> None:
        """End it at once; packets that it sent are on their way still."""
        self.engine.abandon()


class Stage:
    """See the module.

    Args:
        open_store: Opens one more handle on the script's store.

    Attributes:
        time: Moved by the script.
        store: A bystander's handle.
        book: What each create was answered, by id.
    """

    def __init__(self, open_store: Callable[[], StorageBackend]) -> None:
        self.time = Time()
        self.book: dict[str, list[Outcome]] = defaultdict(list)
        self._open_store = open_store
        self._born_s: dict[str, float] = {}
        self._handles: list[StorageBackend] = []
        self._owners: list[Owner] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.store = self.handle()

    def handle(self) -> StorageBackend:
        """Return one more handle on the store, closed with the stage."""
        opened = self._open_store()
        self._handles.append(opened)
        return Dated(opened, self.time, self._born_s)

    def cast(self, name: str, *, clock_rate: float = 1.0, **changes: Any) -> Owner:
        """Return somebody who may become the owner."""
        self._owners.append(Owner(self, name, clock_rate, **changes))
        return self._owners[-1]

    async def owner(self, name: str, **changes: Any) -> Owner:
        """Return an owner of the namespace."""
        made = self.cast(name, **changes)
        await made.opens()
        return made

    def begin(self, work: Any) -> "asyncio.Task[Any]":
        """Begin something; what the script leaves unfinished ends with it."""
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    async def passes(self, delta_s: float) -> None:
        """Let time pass, and everybody notice."""
        self.time.advance(delta_s)
        for _ in range(10):
            await asyncio.sleep(0)

    def opener(self, name: str, **changes: Any) -> tuple[Opener, Wire]:
        """Return somebody who only reads the chain, and the wire to hold back what it asks."""
        clock = OwnerClock(self.time)
        wire = Wire(self.handle(), clock)
        rng = random.Random(name)
        return Opener(wire, NAMESPACE, PREFIX, settings(**changes), clock=clock, rng=rng), wire

    async def chain(self) -> Chain:
        """Return the chain as storage holds it now."""
        return await self.opener("bystander")[0].load()

    async def log(self) -> dict[int, LogEntry]:
        """Return the stored log entries by position, the newest thousand."""
        keys = [info.key for info in (await self.store.list(PREFIX + "log/")).objects]
        data = await asyncio.gather(*map(self.store.read, keys))
        return {position_of(key): decode_entry(key, one) for key, one in zip(keys, data, strict=True)}

    async def names(self, folder: str) -> list[str]:
        """Return the stored names of a folder of the namespace, relative to it."""
        return [info.key.removeprefix(PREFIX) for info in (await self.store.list(f"{PREFIX}{folder}/")).objects]

    async def kinds(self) -> list[str]:
        """Return the kinds of the stored log entries in the order of the log."""
        return [entry.header.kind for _, entry in sorted((await self.log()).items())]

    async def last_look(self) -> None:
        """Deliver all packets, open once more, and hold the book against what is there."""
        for owner in self._owners:
            owner.dies()
            owner.wire.heal()
            await owner.wire.deliver()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        last = self.cast("last")
        opening = last.opening()
        waiting = self.begin(last.clock.waits())
        await asyncio.wait({opening, waiting}, return_when=asyncio.FIRST_COMPLETED)
        self.time.advance(LEASE_WAIT_MAX_S)  # Whoever was the owner may have promised as much.
        await opening
        for id_, said in self.book.items():
            found = (await last.says("get", id_)).result()
            if any(one.error is None for one in said):
                assert found is not None, f"{id_!r} was acknowledged and is gone"
            elif not any(isinstance(one.error, OutcomeUnknownError) for one in said):
                assert found is None, f"{id_!r} was refused ({said[-1].error!r}) and is there"
        last.dies()

    async def close(self) -> None:
        """Let go of the store."""
        for owner in self._owners:
            owner.dies()
            owner.wire.heal()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handle in self._handles:
            await handle.close()


def sent(seq: int, low: int = 1, *, session: str = "s", born: int = 0) -> Request:
    """Return request `seq` of a client's session that still waits for those from `low` on."""
    return SessionRequest(session.encode() * 16, seq, low, born)

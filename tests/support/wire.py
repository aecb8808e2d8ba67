"""One owner's wire to its store: a script holds, doubles, delays and loses packets on it, and stops the owner itself.

What was held is let go by the script, never by a clock, so a script plays the same way on every store.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar, cast

from parquedb.clock import Clock
from parquedb.errors import ParqueDBError
from parquedb.storage.backend import ListPage, StorageBackend
from parquedb.storage.backends.delegating import Call, FunnelBackend
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend

T = TypeVar("T")

LOG = "/log/"
WAIT_S = 20.0
"""Seconds after which a script that waits for a packet has failed."""

_NEVER = 1 << 60


class Packet:
    """A request on its way to the store, or a reply on its way back, that the script holds.

    Attributes:
        key: What it is about; set once it is held.
    """

    def __init__(self, operation: str, part: str, skip: int = 0) -> None:
        self.key = ""
        self._operation = operation
        self._part = part
        self._skip = skip
        self._held, self._free = asyncio.Event(), asyncio.Event()

    def takes(self, call: Call[Any]) -> bool:
        """Whether this call is the one to hold; it is, once."""
        if self._held.is_set() or call.operation != self._operation or self._part not in call.key:
            return False
        self._skip -= 1
        if self._skip >= 0:
            return False
        self.key = call.key
        self._held.set()
        return True

    async def hold(self) -> None:
        """Return once the script lets go."""
        await self._free.wait()

    async def held(self) -> None:
        """Return once the packet is there."""
        async with asyncio.timeout(WAIT_S):
            await self._held.wait()

    def release(self) -> None:
        """Let it go on, now or as soon as it comes."""
        self._held.set()
        self._free.set()


class Wire(FunnelBackend):
    """See the module. Late and lost packets are `FaultyBackend`'s; what is held or doubled is this one's."""

    def __init__(self, store: StorageBackend, clock: Clock) -> None:
        self.faults = FaultyBackend(store, rng=random.Random(1), clock=clock)
        super().__init__(self.faults)
        self._store = store
        self._requests: list[Packet] = []
        self._replies: list[Packet] = []
        self._doubled: list[Packet] = []
        self._copies: list[Call[Any]] = []
        self.seen: list[tuple[str, str]] = []
        """Each call that left: operation, and key or prefix."""
        self.shows: Callable[[ListPage], ListPage] = lambda page: page
        """What this owner sees of a listing."""
        self._runs = asyncio.Event()
        self._runs.set()

    async def _pass(self, call: Call[T]) -> T:
        await self.gate()
        for packet in self._requests:
            if packet.takes(call):
                await packet.hold()
        if any(packet.takes(call) for packet in self._doubled):
            self._copies.append(call)
        self.seen.append((call.operation, call.key))
        try:
            answer = await call.send(self.inner, call.timeout_s)
            return cast(T, self.shows(answer)) if isinstance(answer, ListPage) else answer
        finally:
            for packet in self._replies:
                if packet.takes(call):
                    await packet.hold()
            await self.gate()

    async def gate(self) -> None:
        """Return once the owner runs."""
        await self._runs.wait()

    def freeze(self) -> None:
        """Stop the owner: it sends nothing more and hears of nothing."""
        self._runs.clear()

    def thaw(self) -> None:
        """Let it run again."""
        self._runs.set()

    def holds(self, operation: str, part: str = LOG, *, skip: int = 0) -> Packet:
        """Hold the next request of this kind, before it reaches the store."""
        self._requests.append(Packet(operation, part, skip))
        return self._requests[-1]

    def holds_reply(self, operation: str, part: str = LOG, *, skip: int = 0) -> Packet:
        """Hold the answer to the next request of this kind; the store has acted on it."""
        self._replies.append(Packet(operation, part, skip))
        return self._replies[-1]

    def doubles(self, operation: str, part: str = LOG) -> None:
        """Let the next request of this kind arrive, and once more at `deliver`."""
        self._doubled.append(Packet(operation, part))

    def delays(self, operation: str = "create", part: str = LOG, count: int = 1) -> None:
        """Tell the sender nothing about the next writes of this kind; they arrive at `deliver`."""
        self._fault(Fault.LATE, operation, part, count, after_calls=_NEVER)

    def loses_request(self, operation: str = "create", part: str = LOG, count: int = 1) -> None:
        """Let the next requests of this kind never arrive."""
        self._fault(Fault.LOST_REQUEST, operation, part, count)

    def loses_reply(self, operation: str = "create", part: str = LOG, count: int = 1) -> None:
        """Let the store act on the next requests of this kind, and the sender hear nothing."""
        self._fault(Fault.LOST_REPLY, operation, part, count)

    def refuses(
        self, error: str, operation: str = "create", part: str = LOG, count: int | None = 1
    ) -> Callable[[], None]:
        """Answer the next requests of this kind with an error of `storage.backends.faults.ERRORS`; returns the end."""
        return self._fault(Fault.ERROR, operation, part, count, error=error)

    def _fault(self, fault: Fault, operation: str, part: str, count: int | None, **more: Any) -> Callable[[], None]:
        rule = FaultRule(fault=fault, operations=frozenset({operation}), key_part=part, count=count, **more)
        return self.faults.add(rule)

    @property
    def on_their_way(self) -> int:
        """Packets that the sender knows nothing about and that will arrive."""
        return self.faults.late_writes + len(self._copies)

    async def deliver(self) -> None:
        """Let what is on its way arrive now."""
        await self.faults.deliver_late()
        copies, self._copies = self._copies, []
        for copy in copies:
            try:
                await copy.send(self._store, None)
            except ParqueDBError:
                continue  # Nobody is there to hear it.

    def heal(self) -> None:
        """Lose, hold and refuse nothing more, and let go of what is held."""
        self.faults.clear()
        for packet in (*self._requests, *self._replies):
            packet.release()
        self._requests, self._replies, self._doubled = [], [], []
        self.thaw()

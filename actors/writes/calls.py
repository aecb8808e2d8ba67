"""Who waits for a write: the calls that arrived, the writes they carry, and their deadlines.

A write may have several waiters (a retry joins the attempt it repeats) and a call several writes; when the last of
them has its outcome, or its deadline has passed, the call is answered.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, NamedTuple, Protocol

from parquedb.actors.requests.operations import Outcome, Request, SessionRequest
from parquedb.actors.writes.evaluate import Prepared

PendingKey = tuple[bytes, int] | str


def key_of(request: Request | None) -> PendingKey | None:
    """Return what tells retries of a request from other requests."""
    return (request.session, request.seq) if isinstance(request, SessionRequest) else request


class Stage(Enum):
    """How far a write has come."""

    QUEUED = auto()
    """Not decided; may be refused with certainty."""
    COMMITTING = auto()
    """In a commit whose fate is open."""
    DONE = auto()


class Origin(NamedTuple):
    """Whose traces a write belongs to.

    Attributes:
        call: Span of the call that brought it, packed (`otel.propagation`).
        callers: The spans of those who asked for it, packed.
    """

    call: bytes | None = None
    callers: bytes = b""


UNTRACED: Final = Origin()


class Waiter(Protocol):
    """What waits for outcomes: a call, or a run of writes of which some have left it."""

    def settle(self, place: int, outcome: Outcome) -> None:
        """Take one outcome."""


@dataclass(slots=True, eq=False)
class Write:
    """One write on its way.

    Attributes:
        prepared: What it does.
        request: Its id, if it has one.
        age_us: Microseconds since its id was first sent; 0 the first time.
        origin: Whose traces it belongs to.
        waiters: Those that wait for it, with the place of its outcome in their answer.
        stage: See `Stage`.
        loaded: Documents fetched for it: bare id to (location, document).
        queued_s: When it was admitted, on the engine's clock.
    """

    prepared: Prepared
    request: Request | None
    age_us: int
    origin: Origin
    waiters: list[tuple[Waiter, int]]
    stage: Stage = Stage.QUEUED
    loaded: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    queued_s: float = 0.0

    @property
    def count(self) -> int:
        """Operations it stands for."""
        return 1

    @property
    def keys(self) -> Sequence[PendingKey]:
        """What a retry of it is recognized by."""
        key = key_of(self.request)
        return () if key is None else (key,)

    @property
    def awaited(self) -> bool:
        """Whether anybody still waits for it."""
        return bool(self.waiters)

    def join(self, retry: "Write") -> "Awaited":
        """Let those who sent a retry of it wait for it; return what they wait for."""
        self.waiters.extend(retry.waiters)
        return self

    def leave(self, call: Waiter, place: int) -> None:
        """Forget a caller whose time is up."""
        self.waiters = [waiter for waiter in self.waiters if waiter != (call, place)]

    def finish(self, outcome: Outcome) -> None:
        """Answer everybody who still waits."""
        self.stage = Stage.DONE
        waiters, self.waiters = self.waiters, []
        for call, place in waiters:
            call.settle(place, outcome)


@dataclass(slots=True, eq=False, frozen=True)
class Member:
    """What the callers of a retry wait for when what they repeat is one of several that `write` stands for."""

    write: Write

    def leave(self, call: Waiter, place: int) -> None:
        """Forget a caller whose time is up."""
        self.write.leave(call, place)


Awaited = Write | Member
"""What a call waits for."""


class Call:
    """One call's outcomes, filled in as they come.

    Args:
        size: Operations it carries.
    """

    def __init__(self, size: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * size
        self._remaining = size
        loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = loop.create_future()
        self._arrived_s = loop.time()
        self._deadlines: list[tuple[float, Awaited, int]] = []

    def settle(self, place: int, outcome: Outcome) -> None:
        """Set one outcome; the first one set stays."""
        if self.outcomes[place] is None:
            self.outcomes[place] = outcome
            self._remaining -= 1
            if not self._remaining and not self._done.done():
                self._done.set_result(None)

    def expect(self, write: Awaited, place: int, timeout_s: float) -> None:
        """Wait for a write, no longer than `timeout_s` after the call arrived."""
        self._deadlines.append((self._arrived_s + timeout_s, write, place))

    async def wait(self, on_deadline: Callable[[Awaited], Outcome]) -> list[Outcome]:
        """Return all outcomes, each at the latest at its deadline.

        Args:
            on_deadline: Says what a write whose time is up is answered, and takes it back where that is possible.
        """
        loop = asyncio.get_running_loop()
        self._deadlines.sort(key=lambda deadline: deadline[0])
        while self._remaining and self._deadlines:
            at_s = self._deadlines[0][0]
            handle = loop.call_at(at_s, self._wake)
            try:
                await self._done
            finally:
                handle.cancel()
            if self._remaining:
                self._done = loop.create_future()
                self._expire(loop.time(), on_deadline)
        if self._remaining:
            await self._done
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _wake(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _expire(self, now_s: float, on_deadline: Callable[[Awaited], Outcome]) -> None:
        due = [deadline for deadline in self._deadlines if deadline[0] <= now_s and self.outcomes[deadline[2]] is None]
        self._deadlines = [deadline for deadline in self._deadlines if deadline[0] > now_s]
        # All leave before any is answered: what nobody waits for any more can be taken back, which is a certain answer.
        for _, write, place in due:
            write.leave(self, place)
        for _, write, place in due:
            self.settle(place, on_deadline(write))

"""Many operations, few calls: while a call is under way arriving operations gather, and leave together when it returns.

An actor call costs about a millisecond whatever it carries, so one call per operation would bound a process to about a
thousand a second. There is no timer: an operation that finds no call under way leaves at once.

Both coalescers know nothing of Ray, sessions or retries. What sends a call is given to them; an exception it raises
goes to every operation of that call.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence, Sized
from typing import Any, Final, Generic, Protocol, TypeVar

from parquedb.actors.requests.operations import Outcome
from parquedb.actors.requests.packing import Part
from parquedb.admission import QueueBounds
from parquedb.cluster.transport.backlog import Backlog

QUEUE: Final = QueueBounds(ops_max=50_000, bytes_max=64 << 20, age_max_s=5.0)
"""What may wait for one destination where nothing else is said."""

SHARED_OPS_MIN = 64
"""Operations that are not worth sharing out over several calls (count); a call costs as much as tens of them."""

_LOOKS_APART_S = 0.01
_NEVER = float("inf")

S = TypeVar("S", bound=Sized)

_Pending = tuple[S, "asyncio.Future[Outcome]", float]


class DeadlinePassed(Exception):  # noqa: N818 - a turn of control that never reaches a user
    """The operation's deadline passed; `sent` says whether it had left by then."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__(sent)
        self.sent = sent


class NoReplyYet(Exception):  # noqa: N818 - a turn of control that never reaches a user
    """The time given for waiting is over; the call goes on."""


class SyncSender(Protocol):
    """Sends calls for threads: starting and waiting are apart, so that another thread can take over the wait."""

    def start(self, parts: Sequence[Part]) -> Any:
        """Send one call and return something to wait for."""

    def wait(self, call: Any, timeout_s: float) -> list[Outcome]:
        """Wait for one call.

        Raises:
            NoReplyYet: the call goes on.
        """


class _Waiting:
    """An operation of a thread. `gate` opens when it is settled or when its thread must take over a call."""

    __slots__ = ("abandoned", "batch", "call", "deadline_s", "failure", "gate", "outcome", "part")

    def __init__(self, part: Part, deadline_s: float) -> None:
        self.part = part
        self.deadline_s = deadline_s
        self.gate = threading.Lock()
        self.gate.acquire()
        self.outcome: Outcome | None = None
        self.failure: BaseException | None = None
        self.batch: list[_Waiting] | None = None
        self.call: Any = None
        self.abandoned = False


class ThreadCoalescer:
    """Coalesces the operations of threads without a thread of its own.

    A thread that finds a free call slot sends at once and waits for the reply itself: a lone operation meets no other
    thread. The others queue; who finishes a call wakes the head of the queue, which sends all that has gathered.
    """

    def __init__(  # noqa: PLR0913 - one destination and how it is used
        self,
        sender: SyncSender,
        *,
        calls_max: int = 1,
        ops_max: int = 2048,
        bytes_max: int = 4 << 20,
        queue: QueueBounds = QUEUE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make one for a single destination; `ops_max` and `bytes_max` bound one call, `queue` what waits for one."""
        self._sender = sender
        self._calls_max = calls_max
        self._ops_max = ops_max
        self._bytes_max = bytes_max
        self._now = now
        self._lock = threading.Lock()
        self._queue: Backlog[_Waiting] = Backlog(queue, now)
        self._calls = 0

    def held(self) -> tuple[int, int]:
        """Return how many operations wait here for a call, and their bytes."""
        with self._lock:
            return self._queue.held()

    def check(self, deadline_s: float) -> None:
        """See that there is room, before an operation is encoded.

        Raises:
            QueueFull: there is none.
        """
        with self._lock:
            self._queue.check(0, deadline_s)

    def submit(self, part: Part, deadline_s: float) -> Outcome:
        """Send one encoded operation, perhaps together with others, and return its outcome.

        Raises:
            DeadlinePassed: no outcome before `deadline_s` (on the clock given).
            QueueFull: too much waits already; this one has not left.
            Exception: whatever the sender raised for the call that carried it.
        """
        entry = _Waiting(part, deadline_s)
        with self._lock:
            if self._calls < self._calls_max and not self._queue:
                self._calls += 1
                entry.batch = [entry]
            else:
                self._queue.check(len(part), deadline_s)
                self._queue.push(entry, len(part))
        if entry.batch is not None or self._await_turn(entry):
            self._lead(entry)
        if entry.failure is not None:
            raise entry.failure
        if entry.outcome is None:
            raise DeadlinePassed(sent=entry.batch is not None or not self._unsent(entry))
        return entry.outcome

    def _await_turn(self, entry: _Waiting) -> bool:
        """Wait until the entry is settled (False) or leads a call (True); False as well when its deadline passed."""
        try:
            entry.gate.acquire(timeout=max(0.0, entry.deadline_s - self._now()))
        except BaseException:
            # Ctrl-C: a call promised to this thread must find another one.
            self._leave(entry)
            raise
        with self._lock:
            if entry.batch is not None:
                return True
            if entry.outcome is None and entry.failure is None:
                entry.abandoned = True
        return False

    def _unsent(self, entry: _Waiting) -> bool:
        with self._lock:
            return self._queue.remove(entry)

    def _lead(self, entry: _Waiting) -> None:
        """Send (or take over) one call and settle everything in it."""
        batch = entry.batch or [entry]
        try:
            if entry.call is None:
                entry.call = self._sender.start([each.part for each in batch])
            outcomes = self._sender.wait(entry.call, max(0.0, entry.deadline_s - self._now()))
        except NoReplyYet:
            self._leave(entry)
            return
        except Exception as error:  # noqa: BLE001 - it is the answer to every operation of the call
            for each in batch:
                each.failure = error
        except BaseException:
            self._leave(entry)
            raise
        else:
            for each, outcome in zip(batch, outcomes, strict=True):
                each.outcome = outcome
        self._finish(entry, batch)

    def _finish(self, entry: _Waiting, batch: Sequence[_Waiting]) -> None:
        successor = None
        with self._lock:
            gathered = self._queue.take(self._ops_max, self._bytes_max, _is_abandoned)
            if gathered:
                successor = gathered[0]
                successor.batch = gathered
            else:
                self._calls -= 1
        # The next call leaves before this one's followers wake: they would compete for the interpreter.
        if successor is not None:
            successor.gate.release()
        for each in batch:
            if each is not entry:
                each.gate.release()

    def _leave(self, entry: _Waiting) -> None:
        """This thread goes: another one of its call waits on in its place; with none left the call is let go."""
        with self._lock:
            entry.abandoned = True
            if entry.batch is None:
                return
            # Before the call left, the abandoned drop out of it; afterwards replies are matched by place.
            batch = [each for each in entry.batch if entry.call is not None or not each.abandoned]
            heir = next((each for each in batch if not each.abandoned), None)
            if heir is not None:
                heir.batch, heir.call = batch, entry.call
        if heir is not None:
            heir.gate.release()
        else:
            self._finish(entry, [])


def _is_abandoned(entry: _Waiting) -> bool:
    return entry.abandoned


class LoopCoalescer(Generic[S]):
    """Coalesces the operations of one event loop. Operations of one turn of the loop leave together.

    What they are encoded as is the sender's business; their length is in bytes.
    """

    def __init__(  # noqa: PLR0913 - one destination and how it is used
        self,
        send: Callable[[Sequence[S]], Awaitable[list[Outcome]]],
        *,
        calls_max: int = 2,
        ops_max: int = 2048,
        bytes_max: int = 4 << 20,
        queue: QueueBounds = QUEUE,
        share: Callable[[int], bool] = lambda _operations: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make one for a single destination.

        Args:
            send: Sends one call and returns its outcomes.
            calls_max: Calls under way (count).
            ops_max: Operations of one call.
            bytes_max: Bytes of one call.
            queue: What may wait for a call.
            share: Asked with the number of operations here: whether they are shared out over the calls, so that the
                owner works on one while this process answers the other, or leave in one lump. The owner commits one
                group at a time, so where the store is the slow part sharing out would halve the rate.
            now: Monotonic seconds.
        """
        self._share = share
        self._send = send
        self._calls_max = calls_max
        self._ops_max = ops_max
        self._bytes_max = bytes_max
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._queue: Backlog[_Pending[S]] = Backlog(queue, now)
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: list[list[_Pending[S]]] = []
        self._pump_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = _NEVER

    def held(self) -> tuple[int, int]:
        """Return how many operations wait here for a call, and their bytes."""
        return self._queue.held()

    def check(self, deadline_s: float) -> None:
        """See that there is room, before an operation is encoded.

        Raises:
            QueueFull: there is none.
        """
        self._queue.check(0, deadline_s)

    def submit(self, part: S, deadline_s: float) -> "asyncio.Future[Outcome]":
        """Queue one encoded operation; the future gives its outcome.

        The future fails with `DeadlinePassed`, or with what the sender raised. Cancelling it forgets the operation if
        it has not left.

        Raises:
            QueueFull: too much waits already; this one has not left.
        """
        size = len(part)
        self._queue.check(size, deadline_s)
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._queue.push((part, future, deadline_s), size)
        if deadline_s < self._timer_s:
            self._arm(deadline_s)
        if not self._pump_due and len(self._under_way) < self._calls_max:
            self._pump_due = True
            self._loop.call_soon(self._pump)
        return future

    def _pump(self) -> None:
        self._pump_due = False
        while self._queue and len(self._under_way) < self._calls_max:
            total = len(self._queue) + sum(map(len, self._under_way))
            part = -(-total // self._calls_max) if total > SHARED_OPS_MIN and self._share(total) else total
            batch = self._queue.take(min(part, self._ops_max), self._bytes_max, _is_settled)
            if not batch:
                return
            self._under_way.append(batch)
            task = self._loop.create_task(self._call(batch))
            # The loop itself keeps only weak references to tasks.
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, batch: list[_Pending[S]]) -> None:
        try:
            outcomes = await self._send([part for part, _, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is the answer to every operation of the call
            for _, future, _ in batch:
                _fail(future, error)
        except BaseException:
            for _, future, _ in batch:
                _fail(future, DeadlinePassed(sent=True))
            raise
        else:
            for (_, future, _), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)
        finally:
            self._under_way.remove(batch)
            self._pump()

    def _arm(self, deadline_s: float) -> None:
        # One timer for all: nearly every operation settles long before its deadline, and a timer each would cost more.
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = deadline_s
        self._timer = self._loop.call_later(max(0.0, deadline_s - self._now()), self._expire)

    def _expire(self) -> None:
        self._timer, self._timer_s = None, _NEVER
        now_s, next_s = self._now(), _NEVER
        outstanding: list[tuple[bool, Iterable[_Pending[S]]]] = [(False, self._queue.entries())]
        outstanding += [(True, batch) for batch in self._under_way]
        for sent, entries in outstanding:
            for _, future, deadline_s in entries:
                if future.done():
                    continue
                if deadline_s <= now_s:
                    _fail(future, DeadlinePassed(sent=sent))
                else:
                    next_s = min(next_s, deadline_s)
        self._queue.sweep(_is_settled)
        if next_s < _NEVER:
            # Each look costs as much as there is outstanding: not one for each of many deadlines.
            self._arm(max(next_s, now_s + _LOOKS_APART_S))


def _is_settled(entry: _Pending[Any]) -> bool:
    return entry[1].done()


def _fail(future: "asyncio.Future[Outcome]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        # A caller that gave up meanwhile must not log "exception was never retrieved".
        future.exception()

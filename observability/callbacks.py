"""Running one hook's callbacks so that nothing they do reaches the operation they watch.

    inline      where every hook starts: called in place, timed
    background  where a hook goes for good once it was slow `slow_calls_max` times: called in order on a daemon thread

Async callbacks run as tasks of the running loop, or on that thread where no loop runs. At most `outstanding_max`
callbacks wait at any time; the ones beyond are dropped and counted.
"""

import asyncio
import inspect
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from parquedb.observability.logs import get_logger

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HookStats:
    """What one registered hook has cost so far.

    Attributes:
        name: Module and class of the hook.
        errors: Callbacks that raised, by group (`query`, `commit`, `flush`, ...).
        slow: Synchronous callbacks that took longer than the registry's bound.
        dropped: Callbacks not run because too many were waiting.
        background: Whether it was moved off the operations' path for being slow.
    """

    name: str
    errors: dict[str, int] = field(default_factory=dict)
    slow: int = 0
    dropped: int = 0
    background: bool = False


class Entry:
    """One registration of one hook: the object, its counters and where it runs."""

    __slots__ = ("_errors", "_lock", "background", "dropped", "hook", "inline", "name", "slow")

    def __init__(self, hook: object) -> None:
        kind = type(hook)
        self.hook = hook
        self.name = f"{kind.__module__}.{kind.__qualname__}"
        # A hook that lives by context variables is of no use on another thread; it asks to stay.
        self.inline = bool(getattr(hook, "inline", False))
        self.background = False
        self.slow = 0
        self.dropped = 0
        self._errors: Counter[str] = Counter()
        self._lock = threading.Lock()

    def stats(self) -> HookStats:
        """Return the counters as they stand."""
        with self._lock:
            return HookStats(self.name, dict(self._errors), self.slow, self.dropped, self.background)

    def failed(self, group: str, error: BaseException) -> None:
        """Count a callback that raised; the first of each group is logged."""
        with self._lock:
            self._errors[group] += 1
            first = self._errors[group] == 1
        if first:
            _logger.warning(
                "hook %s failed in %s; the operation is unaffected, further failures are only counted",
                self.name,
                group,
                exc_info=error,
            )

    def was_slow(self, group: str, took_s: float, calls_max: int) -> None:
        """Count a slow callback; the first is logged, and with the last one allowed the hook moves."""
        with self._lock:
            self.slow += 1
            first = self.slow == 1
            move = not self.inline and not self.background and self.slow >= calls_max
            if move:
                self.background = True
        if first:
            _logger.warning("hook %s was slow in %s: %.3f s; further ones are only counted", self.name, group, took_s)
        if move:
            _logger.warning("hook %s was slow %d times; it now runs in the background", self.name, calls_max)

    def was_dropped(self) -> None:
        """Count a callback that was not run; the first is logged."""
        with self._lock:
            self.dropped += 1
            first = self.dropped == 1
        if first:
            _logger.warning("hook %s cannot keep up; callbacks are dropped and counted", self.name)


class CallbackRunner:
    """Calls hooks for one registry.

    Invariants:
        C1. `call` raises nothing that a hook raised.
        C2. At most `outstanding_max` callbacks wait or run outside their operation.
        C3. The callbacks of one background hook run one after the other, in the order of the calls.
    """

    def __init__(self, *, slow_s: float, slow_calls_max: int, outstanding_max: int) -> None:
        self._slow_s = slow_s
        self._slow_calls_max = slow_calls_max
        self._outstanding_max = outstanding_max
        # Holding them is the point as well: a loop keeps only weak references to its tasks.
        self._outstanding: set[asyncio.Task[None] | Future[None]] = set()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def call(self, entry: Entry, group: str, callback: Callable[..., Any], *args: Any) -> bool:
        """Run or schedule one callback; False when it raised right away."""
        if entry.background:
            self._submit(entry, group, _in_turn(entry, group, callback, args))
            return True
        started_s = time.perf_counter()
        try:
            answer = callback(*args)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - C1; nothing is awaited, so no cancellation is lost
            entry.failed(group, error)
            return False
        took_s = time.perf_counter() - started_s
        if took_s > self._slow_s:
            entry.was_slow(group, took_s, self._slow_calls_max)
        if answer is not None and inspect.isawaitable(answer):
            self._schedule(entry, group, answer)
        return True

    async def drain(self, timeout_s: float) -> bool:
        """Wait for the callbacks that are under way here or in the background; False when time ran out first."""
        here = asyncio.get_running_loop()
        waiting = [
            asyncio.wrap_future(work) if isinstance(work, Future) else work
            for work in tuple(self._outstanding)
            if isinstance(work, Future) or work.get_loop() is here
        ]
        if not waiting:
            return True
        _, late = await asyncio.wait(waiting, timeout=timeout_s)
        return not late

    def _schedule(self, entry: Entry, group: str, awaitable: Awaitable[Any]) -> None:
        work = _watched(entry, group, awaitable)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._submit(entry, group, work)
            return
        if self._full(entry, awaitable):
            work.close()
            return
        task = loop.create_task(work)
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    def _submit(self, entry: Entry, group: str, work: Any) -> None:
        """Run a coroutine on the background thread."""
        if self._full(entry, None):
            work.close()
            return
        try:
            future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._background_loop())
        except RuntimeError as error:  # No new thread at interpreter shutdown.
            work.close()
            entry.failed(group, error)
            return
        self._outstanding.add(future)
        future.add_done_callback(self._outstanding.discard)

    def _full(self, entry: Entry, awaitable: Awaitable[Any] | None) -> bool:
        if len(self._outstanding) < self._outstanding_max:
            return False
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # Else Python warns that it was never awaited.
        entry.was_dropped()
        return True

    def _background_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A fork takes the object along and leaves the thread behind.
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="parquedb-hooks", daemon=True)
                self._thread.start()
            return self._loop


async def _watched(entry: Entry, group: str, awaitable: Awaitable[Any]) -> None:
    try:
        await awaitable
    except Exception as error:  # noqa: BLE001 - C1
        entry.failed(group, error)


async def _in_turn(entry: Entry, group: str, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        answer = callback(*args)
        if answer is not None and inspect.isawaitable(answer):
            await answer
    except Exception as error:  # noqa: BLE001 - C1
        entry.failed(group, error)

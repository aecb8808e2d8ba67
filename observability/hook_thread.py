"""The thread of one hook: it runs what it is handed in order, and whoever hands over never waits.

    asleep --put--> gathering --GATHER_S--> running --queue empty for IDLE_S--> gone --put--> gathering

Waking a thread costs more than most callbacks, so the first item wakes it and it then lets others gather. It is a
daemon: a callback that never comes back ends with the process, which waits for all threads together at most `EXIT_S`.
"""

import asyncio
import atexit
import contextvars
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

GATHER_S: Final = 0.01
"""Seconds between the first item and its turn."""

IDLE_S: Final = 5.0
"""Seconds after which a thread without work ends."""

EXIT_S: Final = 1.0
"""Seconds that the end of the process may wait for callbacks that were handed over."""


class Awaited(NamedTuple):
    """Something to await on the thread.

    Attributes:
        awaitable: What a callback returned.
        settled: Told its error, or None.
    """

    awaitable: Awaitable[Any]
    settled: Callable[[BaseException | None], None]


class HookThread:
    """A queue and the daemon thread behind it, which is there only while there is work.

    Args:
        name: Of the hook; the thread is named after it.
        carry_out: Runs an item, and returns what is left to await. Raises nothing.
        queue_max: Items that may wait (count).
        awaited_s: Seconds after which what is awaited is cancelled.
    """

    __slots__ = (
        "__weakref__", "_awaited_s", "_awake", "_carry_out", "_lock", "_loop", "_name", "_queue", "_queue_max",
        "_thread", "_woken",
    )  # fmt: skip

    def __init__(
        self, name: str, carry_out: Callable[[Any], Awaited | None], *, queue_max: int, awaited_s: float
    ) -> None:
        self._name = name
        self._carry_out = carry_out
        self._queue_max = queue_max
        self._awaited_s = awaited_s
        self._reset()
        _threads.add(self)

    def _reset(self) -> None:
        """Begin anew, without the thread: a forked child has only a copy of its queue and of its locks."""
        self._queue: deque[tuple[Any, contextvars.Context]] = deque()
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._awake = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def put(self, item: Any) -> bool:
        """Hand an item over, with the caller's context variables; False when there is no room for it."""
        if len(self._queue) >= self._queue_max:
            return False
        self._queue.append((item, contextvars.copy_context()))
        return self._awake or self._wake()

    def mark(self) -> threading.Event | None:
        """Return what is set once everything handed over so far has run; None when nothing is under way."""
        if not self._awake and not self._queue:
            return None
        done = threading.Event()
        self._queue.append((done, contextvars.Context()))
        return done if self._awake or self._wake() else None

    def _wake(self) -> bool:
        with self._lock:
            self._awake = True
            self._woken.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"parquedb-hook {self._name}", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # The interpreter is past starting threads.
                    self._thread, self._awake = None, False
                    self._queue.clear()
                    return False
        return True

    def _work(self) -> None:
        while True:
            time.sleep(GATHER_S)
            self._run_all()
            # In this order: who puts an item after the look at the queue sees that the thread has to be woken.
            self._awake = False
            if self._queue:
                self._awake = True
                continue
            if self._woken.wait(IDLE_S):
                self._woken.clear()
                self._awake = True
                continue
            with self._lock:
                if not self._woken.is_set():
                    self._thread = None
                    if self._loop is not None:
                        self._loop.close()
                        self._loop = None
                    return

    def _run_all(self) -> None:
        queue = self._queue
        while queue:
            item, context = queue.popleft()
            if isinstance(item, threading.Event):
                item.set()
                continue
            left = item if isinstance(item, Awaited) else context.run(self._carry_out, item)
            if left is not None:
                left.settled(self._await(left.awaitable, context))

    def _await(self, awaitable: Awaitable[Any], context: contextvars.Context) -> BaseException | None:
        """Await something to its end or its deadline, and return what it raised."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()

        async def within_time() -> BaseException | None:
            try:
                async with asyncio.timeout(self._awaited_s):
                    await awaitable
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the hook's alone
                return error
            return None

        try:
            return self._loop.run_until_complete(self._loop.create_task(within_time(), context=context))
        except Exception as error:  # noqa: BLE001 - as above
            return error


def wait_for(marks: Sequence[threading.Event], timeout_s: float) -> bool:
    """Wait until marks are set, all together at most `timeout_s` seconds; say whether they are."""
    end_s = time.monotonic() + timeout_s
    return all(mark.wait(max(0.0, end_s - time.monotonic())) for mark in marks)


def _before_exit() -> None:
    wait_for([mark for thread in list(_threads) if (mark := thread.mark()) is not None], EXIT_S)


def _after_fork() -> None:
    for thread in list(_threads):
        thread._reset()


_threads: "weakref.WeakSet[HookThread]" = weakref.WeakSet()
atexit.register(_before_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

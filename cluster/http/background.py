"""An event loop in a thread of its own, on which a synchronous client does its requests."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import Final, TypeVar

from parquedb.errors import RpcUnavailableError

T = TypeVar("T")

END_S: Final = 1.0
"""Seconds for what is under way when the loop ends."""


class BackgroundLoop:
    """Starts when it is first used, and anew in a forked child. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have `work` done on the loop, in the caller's context, and wait for its end.

        Whoever is interrupted while he waits gives it up.

        Raises:
            RpcUnavailableError: the loop ended meanwhile.
        """
        with self._lock:  # What is given to the loop before it is told to stop is begun, so that somebody answers.
            future = asyncio.run_coroutine_threadsafe(_done(work), self._started())
        try:
            return future.result()
        except CancelledError:
            raise RpcUnavailableError("this database was closed while a call was under way") from None
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread; the next use starts another one."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None and self._pid == os.getpid():
                loop.call_soon_threadsafe(loop.stop)

    def _started(self) -> asyncio.AbstractEventLoop:
        # A forked child has the loop's memory, but not its thread.
        if self._loop is None or self._pid != os.getpid():
            self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_live, args=(self._loop,), name="parquedb-http", daemon=True).start()
        return self._loop


async def _done(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _live(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        # Threads wait for what is under way: it gets the time to find out that connections are closed.
        loop.run_until_complete(_ended())
    finally:
        loop.close()


async def _ended() -> None:
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    if waiting:
        _, late = await asyncio.wait(waiting, timeout=END_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

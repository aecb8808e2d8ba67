"""A thread with an event loop of its own, for work that must neither block its callers nor need a loop of theirs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from parquedb.errors import InvalidInputError

T = TypeVar("T")

_ENDING_S: Final = 1.0
"""Seconds that cancelled tasks may take."""


class BackgroundLoop:
    """An event loop in a daemon thread, started at once.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    @property
    def thread_id(self) -> int | None:
        """Identity of the thread, as `threading.get_ident` tells it."""
        return self._thread.ident

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its end here.

        Raises:
            InvalidInputError: called in that very thread, which would wait for itself, or after the loop has ended.
        """
        if threading.get_ident() == self._thread.ident:
            work.close()
            raise InvalidInputError("expected a call from another thread than the one that does the work")
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in the thread that waits.
            raise

    async def run_async(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and await its end on the caller's loop.

        Raises:
            InvalidInputError: the loop has ended.
        """
        return await asyncio.wrap_future(self.start(work))

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Have a coroutine run there and return at once; cancelling the future cancels it.

        What has not ended when the loop is stopped is cancelled.

        Raises:
            InvalidInputError: the loop has ended.
        """
        with self._lock:  # What is given to the loop before it is told to stop is begun, so that somebody answers.
            if self._stopped:
                work.close()
                raise InvalidInputError("this view has been closed")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, callback: Callable[[], object]) -> None:
        """Have a callback called there soon; ignored after the end."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return  # Closed; what would have been woken is gone as well.

    def stop(self, timeout_s: float) -> None:
        """End the loop and wait for its thread so many seconds."""
        with self._lock:
            self._stopped = True
            self.call(self._loop.stop)
        if threading.get_ident() != self._thread.ident:
            self._thread.join(timeout_s)

    def _live(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=_ENDING_S))
            # Who waits in another thread is told by a callback.
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

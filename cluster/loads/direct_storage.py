"""The database's storage as this process reaches it by itself, for loads that pass nothing through the owner."""

import asyncio
import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from parquedb.clock import SystemClock
from parquedb.errors import ConflictError, InvalidPathError, ParqueDBError, ValidationError
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.logs import get_logger
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.layers import wrap_backend
from parquedb.storage.keys import decode_segment
from parquedb.storage.open import open_backend, open_fallback

T = TypeVar("T")

AVOIDED_S: Final = 60.0
"""Seconds for which a store that could not be reached is not tried again."""

_CLOSE_S: Final = 5.0
_logger = get_logger(__name__)


def open_storage(settings: Settings, hooks: HookRegistry, *, read_only: bool = False) -> StorageBackend:
    """Open the database's storage with its layers around it, for use on one event loop.

    Args:
        settings: Where it is.
        hooks: Told about the calls.
        read_only: Make and remove nothing, and never read from a replica: what is there itself is of interest.
    """
    return wrap_backend(
        open_backend(settings, read_only=read_only),
        settings.storage,
        clock=SystemClock(),
        hooks=hooks,
        rng=random.Random(),  # noqa: S311 - jitter
        read_fallback=None if read_only else open_fallback(settings),
    )


async def stored_namespaces(storage: StorageBackend) -> list[str]:
    """Return the names of the namespaces of which something is stored, sorted."""
    names = []
    for folder in await storage.list_folders(""):
        # Our own folders (`~probe`) and foreign ones are no namespaces.
        with contextlib.suppress(InvalidPathError):
            names.append(decode_segment(folder))
    return sorted(names)


async def names_in_storage(settings: Settings, hooks: HookRegistry, *, read_only: bool = False) -> list[str]:
    """Open the database's storage for one look, and return what `stored_namespaces` does; arguments of `open_storage`.

    Raises:
        ParqueDBError: there is no such place, or storage refused or did not answer.
    """
    storage = open_storage(settings, hooks, read_only=read_only)
    try:
        return await stored_namespaces(storage)
    finally:
        await storage.close()


class UnreachableError(Exception):
    """The store does not take from here what was to be stored; the owner may still reach it."""


class DirectStorage:
    """Storage on an event loop and a thread of its own, opened when it is first used. Threads may share it.

    Args:
        open_: Opens the storage with its layers; called on the loop.
        reachable: False where it is known that only the owner sees the data (`memory://`).
    """

    def __init__(self, open_: Callable[[], StorageBackend], *, reachable: bool = True) -> None:
        self._open = open_
        self._avoided_until_s = 0.0 if reachable else float("inf")
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._storage: StorageBackend | None = None

    @property
    def usable(self) -> bool:
        """Whether there is hope to reach the store."""
        return time.monotonic() >= self._avoided_until_s

    def avoid(self, why: object) -> None:
        """Do not try again for a while."""
        self._avoided_until_s = max(self._avoided_until_s, time.monotonic() + AVOIDED_S)
        _logger.warning("loads go through the owners for %.0f s: %s", AVOIDED_S, why)

    def run(self, work: Callable[[StorageBackend], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """Run a coroutine over the storage and wait for its end.

        Raises:
            UnreachableError: storage failed, or time was up; until further notice it is not `usable`.
            ValidationError, ConflictError: what the work found wrong with its data.
        """
        future = asyncio.run_coroutine_threadsafe(self._worked(work, timeout_s), self._started())
        try:
            return future.result()
        except (ValidationError, ConflictError):
            raise
        except (ParqueDBError, TimeoutError) as error:
            self.avoid(f"{type(error).__name__}: {error}")
            raise UnreachableError(str(error)) from error
        except BaseException:
            future.cancel()  # Ctrl-C in the thread that waits.
            raise

    def close(self) -> None:
        """Close the storage and end the thread; the next use opens it anew."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is None or self._pid != os.getpid():
                return
        try:
            asyncio.run_coroutine_threadsafe(self._closed(), loop).result(_CLOSE_S)
        except (ParqueDBError, TimeoutError) as error:
            _logger.warning("storage was not closed in order: %s", error)
        loop.call_soon_threadsafe(loop.stop)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked child has the loop's memory, but not its thread.
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._storage, self._pid = asyncio.new_event_loop(), None, os.getpid()
                threading.Thread(target=_live, args=(self._loop,), name="parquedb-loads", daemon=True).start()
            return self._loop

    async def _worked(self, work: Callable[[StorageBackend], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        async with asyncio.timeout(timeout_s):
            if self._storage is None:
                self._storage = self._open()
            return await work(self._storage)

    async def _closed(self) -> None:
        storage, self._storage = self._storage, None
        if storage is not None:
            await storage.close()


def _live(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()

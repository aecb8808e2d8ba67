"""A local directory as object store: the embedded default. Durable when a write returns, safe for many processes."""

import asyncio
import builtins
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from parquedb.errors import OutcomeUnknownError
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.storage.backend import ListPage, ObjectInfo, Range, StorageBackend
from parquedb.storage.backends.directory import System
from parquedb.storage.backends.disk import Disk
from parquedb.storage.backends.strays import Stray
from parquedb.storage.keys import check_folder, check_key, check_limit, check_prefix, check_range

CLOSE_WAIT_S = 5.0

T = TypeVar("T")


class LocalBackend(StorageBackend):
    """Files below one directory, which is made if it does not exist.

    Each call is one hop to a thread and back. A call whose time is up leaves its thread behind; the file system
    decides what becomes of it.

    Attributes:
        conditional_writes: `write(if_match=...)` is honoured among the processes of one host.
    """

    name = "local"
    conditional_writes = True

    def __init__(
        self,
        root: str | Path,
        *,
        timeout_s: float = 10.0,
        threads_max: int = 16,
        system: System | None = None,
        read_only: bool = False,
    ) -> None:
        """Open the directory, or make it.

        Args:
            root: The directory; symbolic links on the way to it are followed once, here.
            timeout_s: For calls that bring no time of their own.
            threads_max: Calls on the disk at a time; more wait.
            system: The operating system's calls; for tests.
            read_only: Change nothing, not even by opening it: it must exist, and every write is refused.

        Raises:
            ConfigurationError: the directory cannot be made, opened or written to.
        """
        self._disk = Disk(Path(root).absolute(), system or System(), read_only=read_only)
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(threads_max, thread_name_prefix="parquedb-disk")

    async def _call(self, key: str, timeout_s: float | None, writes: bool, step: Callable[[], T]) -> T:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, step)
        except builtins.TimeoutError:
            if writes:
                message = f"the disk did not answer for {key!r} within {limit_s:g} s; it may still store it"
                raise OutcomeUnknownError(message, key=key) from None
            message = f"the disk did not answer for {key!r} within {limit_s:g} s"
            raise NoAnswerError(message, timeout_s=limit_s) from None

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Return the whole object."""
        check_key(key)
        return await self._call(key, timeout_s, False, lambda: self._disk.read(key))

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Return bytes `start` (inclusive) to `start + length` (exclusive), cut at the object's end."""
        check_key(key)
        check_range(start, length)
        return await self._call(key, timeout_s, False, lambda: self._disk.read_ranges([Range(key, start, length)])[0])

    async def read_ranges(self, ranges: Sequence[Range], *, timeout_s: float | None = None) -> Sequence[bytes]:
        """Return what `read_range` gives for each, by one hop to a thread."""
        for key, start, length in ranges:
            check_key(key)
            check_range(start, length)
        key = ranges[0].key if ranges else ""
        return await self._call(key, timeout_s, False, lambda: self._disk.read_ranges(ranges))

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        """Store `data` under a key that must not exist; on the disk when it returns.

        Raises:
            AlreadyExistsError: the key is taken; perhaps by an earlier attempt of this very write.
            QuotaExceededError, StorageWriteError: definitely not stored.
            StorageFailedError: nor will anything else be, until the directory is opened anew.
            OutcomeUnknownError: the disk failed or went silent when the name was already being given.
            ConfigurationError: the file system has no hard links.
        """
        check_key(key)
        return await self._call(key, timeout_s, True, lambda: self._disk.create(key, data))

    async def create_file(self, key: str, path: Path, *, timeout_s: float | None = None) -> ObjectInfo:
        """Store the content of a file as `create` does, a piece at a time."""
        check_key(key)
        return await self._call(key, timeout_s, True, lambda: self._disk.create(key, path))

    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        """Store `data`, replacing what is there; with `if_match`, only while the current etag equals it.

        Raises:
            ETagMismatchError: the object has another etag or is missing.
            QuotaExceededError, StorageWriteError, OutcomeUnknownError: as `create`.
        """
        check_key(key)
        return await self._call(key, timeout_s, True, lambda: self._disk.write(key, data, if_match))

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Remove an object; a missing one is no error."""
        check_key(key)
        await self._call(key, timeout_s, True, lambda: self._disk.delete(key))

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """List keys that start with `prefix` and sort after `after` (exclusive), at most `limit` (1 to 1 000).

        What it shows is on the disk, whoever wrote it. The infos carry no etag.
        """
        check_prefix(prefix)
        check_limit(limit)
        return await self._call(prefix, timeout_s, False, lambda: self._disk.list(prefix, after, limit))

    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Return the distinct next segments below `prefix` that have objects below them, sorted."""
        check_folder(prefix)
        return await self._call(prefix, timeout_s, False, lambda: self._disk.list_folders(prefix))

    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        """Describe an object. The etag is a hash of the content, so the file is read; `exists` is cheaper."""
        check_key(key)
        return await self._call(key, timeout_s, False, lambda: self._disk.stat(key))

    async def exists(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Whether the key holds an object now."""
        check_key(key)
        return await self._call(key, timeout_s, False, lambda: self._disk.exists(key))

    async def strays(self, prefix: str, *, timeout_s: float | None = None) -> Sequence[Stray]:
        """Return what lies below a namespace's prefix and is no object; see `parquedb.storage.backends.strays`."""
        check_folder(prefix)
        return await self._call(prefix, timeout_s, False, lambda: self._disk.strays(prefix))

    async def close(self) -> None:
        """End the threads and close the directory, unless the disk keeps a thread longer than `CLOSE_WAIT_S`."""
        threads = self._threads
        # A thread of its own: the pool's threads are what we wait for.
        waiter = ThreadPoolExecutor(1)
        ended = asyncio.get_running_loop().run_in_executor(waiter, lambda: threads.shutdown(cancel_futures=True))
        waiter.shutdown(wait=False)
        done, _ = await asyncio.wait({ended}, timeout=CLOSE_WAIT_S)
        if done:
            # Not before: a descriptor number that a stuck thread still uses could come to mean another file.
            self._disk.close()

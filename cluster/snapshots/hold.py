"""What stands behind an open snapshot: a thread with a loop that reads storage and renews the owner's pin."""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, Final, TypeVar

from parquedb.actors.requests.operations import Operation
from parquedb.cluster.client.connection import Connection, Link
from parquedb.errors import InvalidInputError
from parquedb.observability.logs import get_logger
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.query.scan_plan import ScanSnapshot
from parquedb.storage.snapshot import SnapshotContent

T = TypeVar("T")

RELEASE_TIMEOUT_S: Final = 2.0
_RENEWALS: Final = 3
"""Renewals of a pin per lease."""

_END: Final = object()
_logger = get_logger(__name__)


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run CPU work off the event loop."""
    return await asyncio.to_thread(work)


def data_files(storage: StorageBackend, settings: Settings, namespace: str) -> DataFiles:
    """Return what reads the data files of a namespace."""
    return DataFiles(storage, namespace, cache_bytes_max=settings.engine.cache_bytes_max, run=in_thread)


class Hold:
    """Keeps a snapshot's objects in storage, and reads them. Knows nothing of who uses it, so it cannot keep it alive.

    Args:
        connection: Of the database.
        link: To the owner.
        namespace: Whose snapshot it is.
        answer: What the owner told of it.
    """

    def __init__(self, connection: Connection, link: Link, namespace: str, answer: Mapping[str, Any]) -> None:
        self.content = SnapshotContent.of(namespace, answer)
        self.files: DataFiles
        self.scan: ScanSnapshot
        self.closed = False
        self._connection = connection
        self._link = link
        self._token: str = answer["token"]
        self._lease_s: float = answer["lease_s"]
        self._spool: tempfile.TemporaryDirectory[str] | None = None
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._lock = threading.Lock()
        self._ended = False
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, name="parquedb-snapshot", daemon=True)
        self._thread.start()
        self._ready.result()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its end.

        Raises:
            InvalidInputError: the snapshot has been closed, before or meanwhile.
        """
        with self._lock:
            ended = self._ended
            future = None if ended else asyncio.run_coroutine_threadsafe(work, self._loop)
        if future is None:
            work.close()
            raise closed_error()
        try:
            return future.result()
        except CancelledError:
            raise closed_error() from None

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield what an asynchronous iterator gives, one at a time."""

        async def following() -> Any:
            return await anext(items, _END)

        while (item := self.run(following())) is not _END:
            yield item

    def spool(self) -> Path:
        """Return a folder for copies; it goes when the snapshot is closed."""
        if self._spool is None:
            self._spool = tempfile.TemporaryDirectory(prefix="parquedb-snapshot-", ignore_cleanup_errors=True)
        return Path(self._spool.name)

    def close(self, *, wait: bool = False) -> None:
        """Let go. Without `wait` this returns at once, as the collector of garbage needs it."""
        if not self.closed:
            self.closed = True
            with contextlib.suppress(RuntimeError):  # The loop has ended already.
                self._loop.call_soon_threadsafe(self._over.set)
        if wait and self._thread is not threading.current_thread():
            self._thread.join(2 * RELEASE_TIMEOUT_S)

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._hold())
        finally:
            with self._lock:
                self._ended = True  # Nothing is handed over from here on: it would never run.
            self._loop.run_until_complete(self._give_up())
            self._loop.close()
            if self._spool is not None:
                self._spool.cleanup()

    async def _hold(self) -> None:
        try:
            storage = self._connection.open_storage(f"snapshot {self.content.namespace} {self._token[:8]}")
            self.files = data_files(storage, self._connection.settings, self.content.namespace)
            self.scan = self.content.scan(self.files)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for it
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        keys = [part.file.key for part in self.content.parts]
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), self._lease_s / _RENEWALS)
                break
            await self._tell(Operation("pin", body=[self._token, keys]), self._lease_s / _RENEWALS)
        await self._tell(Operation("unpin", body=self._token), RELEASE_TIMEOUT_S)
        self.files.close()
        await storage.close()

    async def _give_up(self) -> None:
        """Cancel what other threads still wait for; they would wait for ever on a loop that has ended."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _tell(self, operation: Operation, timeout_s: float) -> None:
        try:
            await asyncio.to_thread(self._link.deliver, operation, timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever it was, the thread must go on
            # Superseded objects stay for their grace anyway, and the next renewal may come through.
            _logger.warning("snapshot of %s: %s failed: %s", self.content.namespace, operation.kind, error)


def closed_error() -> InvalidInputError:
    """Return the error of whoever uses a snapshot that has been closed."""
    return InvalidInputError("this snapshot has been closed; take another one")

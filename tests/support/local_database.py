"""Collections over a directory whose owner runs in this process, without Ray."""

import asyncio
import threading
from pathlib import Path
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.async_collection import AsyncCollection
from parquedb.cluster.client.collection import Collection
from parquedb.cluster.client.ray_connection import RayConnection
from parquedb.cluster.snapshots.snapshot import Snapshot
from parquedb.cluster.transport.delivery import encode_wire
from parquedb.documents.codec import decode
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.open import open_backend
from tests.support.engines import NAMESPACE, engine


class LocalDatabase:
    """One namespace, `posts`, and its owner on a loop of its own.

    Attributes:
        operations: All that were sent to the owner.
        refuse: Raised instead of sending an operation, as often as there are some.
    """

    def __init__(self, folder: Path, *, url: str | None = None, **changes: Any) -> None:
        self._connection = RayConnection(load_settings(str(folder)))
        self.url = url or str(folder)
        self.operations: list[Operation] = []
        self.refuse: list[Exception] = []
        self._changes = changes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.owner: NamespaceEngine = self.do(self._open())

    async def _open(self) -> NamespaceEngine:
        made = engine(open_backend(self._connection.settings), **self._changes)
        await made.open()
        return made

    def do(self, work: Any) -> Any:
        """Run something on the owner's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    @property
    def settings(self) -> Settings:
        return self._connection.settings

    def deliver(self, operation: Operation, timeout_s: float) -> Outcome:
        """All that a snapshot needs of a link."""
        return self._run(NAMESPACE, operation, timeout_s)

    def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:
        self.operations.append(operation)
        if self.refuse:
            raise self.refuse.pop()
        sent = Operation.from_wire(decode(encode_wire(operation.to_wire())))
        [outcome] = self.do(self.owner.execute([sent]))
        outcome.result()
        return outcome

    def end(self) -> None:
        """Close the owner."""
        self.do(self.owner.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class LocalCollection(Collection):
    """A collection as it is, but for the way to the owner."""

    __slots__ = ()

    def __init__(self, database: LocalDatabase) -> None:
        super().__init__(database, NAMESPACE)  # type: ignore[arg-type] # All that it needs of one.

    def flush(self, *, timeout_s: float | None = None) -> None:
        self._database.do(self._database.owner.flush())  # type: ignore[attr-defined]

    def snapshot(self, *, timeout_s: float | None = None) -> Snapshot:
        return _snapshot(self._database)


class LocalAsyncCollection(AsyncCollection):
    """The same for coroutines."""

    __slots__ = ()

    def __init__(self, database: LocalDatabase) -> None:
        super().__init__(database, NAMESPACE)  # type: ignore[arg-type] # All that it needs of one.

    async def _run(self, operation: Operation, timeout_s: float | None) -> Outcome:  # type: ignore[override]
        return await asyncio.to_thread(self._database._run, NAMESPACE, operation, timeout_s)  # type: ignore[arg-type]

    async def snapshot(self, *, timeout_s: float | None = None) -> Snapshot:
        return await asyncio.to_thread(_snapshot, self._database)


def _snapshot(database: Any) -> Snapshot:
    answer = database.deliver(Operation("snapshot"), 5).value
    return Snapshot(database._connection, database, NAMESPACE, answer)

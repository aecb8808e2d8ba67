"""A database for views: real engines on memory, on a loop that runs while a call waits; kills on demand."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.async_collection import AsyncCollection
from parquedb.cluster.client.collection import Collection
from parquedb.cluster.snapshots.snapshot import Snapshot
from parquedb.cluster.transport.delivery import encode_wire
from parquedb.documents.codec import decode
from parquedb.errors import ConfigurationError
from parquedb.settings import Settings
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import engine


class Killed(BaseException):
    """Ends whoever was calling as `kill -9` would: nothing but `finally` sees it."""


class ViewDatabase:
    """Any number of namespaces, each with its engine.

    Attributes:
        calls: Operations that were sent, as (namespace, kind).
        kill_after: Operations until the caller is killed; the last one is carried out. None for never.
        kill_before: Whether that last one is lost on the way instead.
        interruption: Operations until something else is done in between, and what.
    """

    def __init__(self, **changes: Any) -> None:
        self.settings = Settings(url="memory://")
        self.calls: list[tuple[str, str]] = []
        self.kill_after: int | None = None
        self.kill_before = False
        self.interruption: tuple[int, Callable[[], object]] | None = None
        self._changes = changes
        self._loop = asyncio.new_event_loop()
        self._engines: dict[str, NamespaceEngine] = {}
        self._stores: dict[str, MemoryBackend] = {}

    def collection(self, namespace: str) -> "ViewCollection":
        return ViewCollection(self, namespace)

    __getitem__ = collection

    def lose_owner(self, namespace: str) -> None:
        """Let the owner of a namespace vanish; the next call opens it anew from what is stored."""
        made = self._engines.pop(namespace, None)
        if made is not None:
            self.do(_abandon(made))

    def do(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def owner(self, namespace: str) -> NamespaceEngine:
        made = self._engines.get(namespace)
        if made is None:
            store = self._stores.setdefault(namespace, MemoryBackend())
            made = self._engines[namespace] = engine(store, namespace=namespace, **self._changes)
            self.do(made.open())
        return made

    def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:
        self._interrupt()
        killed = self._count()
        if killed and self.kill_before:
            raise Killed
        self.calls.append((namespace, operation.kind))
        sent = Operation.from_wire(decode(encode_wire(operation.to_wire())))
        [outcome] = self.do(self.owner(namespace).execute([sent]))
        if killed:
            raise Killed
        outcome.result()
        return outcome

    def _ask(self, namespace: str, what: str, timeout_s: float | None) -> Any:
        owner = self.owner(namespace)
        return owner.stats() if what == "stats" else self.do(getattr(owner, what)())

    def _interrupt(self) -> None:
        if self.interruption is not None:
            left, work = self.interruption
            self.interruption = (left - 1, work) if left > 1 else None
            if left <= 1:
                work()

    def _count(self) -> bool:
        if self.kill_after is None:
            return False
        self.kill_after -= 1
        if self.kill_after > 0:
            return False
        self.kill_after = None
        return True

    def close(self) -> None:
        for made in self._engines.values():
            self.do(made.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


async def _abandon(owner: NamespaceEngine) -> None:
    owner.abandon()


class ViewCollection(Collection):
    """A collection as it is, but for the way to the owner and snapshots, which memory does not have."""

    __slots__ = ()

    def __init__(self, database: ViewDatabase, namespace: str) -> None:
        super().__init__(database, namespace)  # type: ignore[arg-type] # All that it needs of one.

    def snapshot(self, *, timeout_s: float | None = None) -> Snapshot:
        raise ConfigurationError("url: memory:// has no snapshots")


class AsyncViewDatabase:
    """The same for the asynchronous client, on the loop of its test; an operation may be held up on its way.

    Attributes:
        held_up: Awaited before each operation.
    """

    def __init__(self) -> None:
        self.settings = Settings(url="memory://")
        self.held_up: Callable[[], Awaitable[object]] | None = None
        self._opening: dict[str, asyncio.Task[NamespaceEngine]] = {}

    def collection(self, namespace: str) -> "AsyncViewCollection":
        return AsyncViewCollection(self, namespace)

    __getitem__ = collection

    async def _opened(self, namespace: str) -> NamespaceEngine:
        owner = engine(MemoryBackend(), namespace=namespace)
        await owner.open()
        return owner

    async def _owner(self, namespace: str) -> NamespaceEngine:
        if namespace not in self._opening:
            self._opening[namespace] = asyncio.create_task(self._opened(namespace))
        return await asyncio.shield(self._opening[namespace])

    async def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:
        if self.held_up is not None:
            await self.held_up()
        owner = await self._owner(namespace)
        sent = Operation.from_wire(decode(encode_wire(operation.to_wire())))
        [outcome] = await owner.execute([sent])
        outcome.result()
        return outcome

    async def _ask(self, namespace: str, what: str, timeout_s: float | None) -> Any:
        owner = await self._owner(namespace)
        return owner.stats() if what == "stats" else await getattr(owner, what)()

    async def close(self) -> None:
        for opening in self._opening.values():
            await (await opening).close()


class AsyncViewCollection(AsyncCollection):
    """A collection as it is, but for the way to the owner and snapshots, which memory does not have."""

    __slots__ = ()

    def __init__(self, database: AsyncViewDatabase, namespace: str) -> None:
        super().__init__(database, namespace)  # type: ignore[arg-type] # All that it needs of one.

    async def snapshot(self, *, timeout_s: float | None = None) -> Snapshot:
        raise ConfigurationError("url: memory:// has no snapshots")

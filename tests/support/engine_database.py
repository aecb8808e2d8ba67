"""An `AsyncDatabase` whose owners run on the caller's loop, without Ray: for whatever stands on top of one."""

import asyncio
from pathlib import Path
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.client.ray_connection import RayConnection
from parquedb.cluster.transport.delivery import encode_wire
from parquedb.documents.codec import decode
from parquedb.settings_environment import load_settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import engine


class EngineDatabase(AsyncDatabase):
    """Any number of namespaces, each with its engine over memory.

    Attributes:
        operations: All that were sent, as (namespace, operation).
        refuse: Raised instead of sending an operation, as often as there are some.
        timeouts: Seconds that each was given.
    """

    def __init__(self, folder: Path, **changes: Any) -> None:
        super().__init__(RayConnection(load_settings(str(folder))))
        self.operations: list[tuple[str, Operation]] = []
        self.refuse: list[Exception] = []
        self.timeouts: list[float | None] = []
        self._changes = changes
        self._opening = asyncio.Lock()
        self._engines: dict[str, NamespaceEngine] = {}
        self._stores: dict[str, StorageBackend] = {}

    async def owner(self, namespace: str) -> NamespaceEngine:
        """Return the engine of a namespace, opened when it is first asked for."""
        async with self._opening:
            made = self._engines.get(namespace)
            if made is None:
                store = self._stores.setdefault(namespace, MemoryBackend())
                made = self._engines[namespace] = engine(store, namespace=namespace, **self._changes)
                await made.open()
        return made

    async def namespaces(self) -> list[str]:
        return sorted(self._engines)

    async def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:  # type: ignore[override]
        self.operations.append((namespace, operation))
        self.timeouts.append(timeout_s)
        if self.refuse:
            raise self.refuse.pop()
        sent = Operation.from_wire(decode(encode_wire(operation.to_wire())))
        [outcome] = await (await self.owner(namespace)).execute([sent])
        outcome.result()
        return outcome

    async def _ask(self, namespace: str, method: str, timeout_s: float | None) -> Any:
        owner = await self.owner(namespace)
        return owner.stats() if method == "stats" else await getattr(owner, method)()

    async def close(self) -> None:
        for made in self._engines.values():
            await made.close()
        self._engines.clear()
        await super().close()

"""An asynchronous database over engines on memory in this loop, without Ray."""

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.async_collection import AsyncCollection
from parquedb.cluster.transport.delivery import encode_wire
from parquedb.documents.codec import decode
from parquedb.settings import Settings
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import engine


class KeyDatabase:
    """Any number of namespaces, each with its engine.

    Attributes:
        calls: Operations that were sent, as (namespace, kind).
        refusal: Raised instead of sending anything while it is there.
        stores: What each namespace has stored.
    """

    url = "memory://"

    def __init__(self) -> None:
        self.settings = Settings(url=self.url)
        self.calls: list[tuple[str, str]] = []
        self.refusal: Exception | None = None
        self.stores: dict[str, MemoryBackend] = {}
        self._engines: dict[str, NamespaceEngine] = {}

    def collection(self, namespace: str) -> AsyncCollection:
        return AsyncCollection(self, namespace)  # type: ignore[arg-type] # All that it needs of one.

    async def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:
        self.calls.append((namespace, operation.kind))
        if self.refusal is not None:
            raise self.refusal
        if namespace not in self._engines:
            store = self.stores.setdefault(namespace, MemoryBackend())
            self._engines[namespace] = engine(store, namespace=namespace)
            await self._engines[namespace].open()
        sent = Operation.from_wire(decode(encode_wire(operation.to_wire())))
        [outcome] = await self._engines[namespace].execute([sent])
        outcome.result()
        return outcome

    async def reopen(self) -> None:
        """Close every namespace; the next call opens it anew from what is stored."""
        await self.close()
        self._engines.clear()

    async def close(self) -> None:
        for made in self._engines.values():
            await made.close()

    def stored(self) -> bytes:
        """Return all that is stored, of every namespace."""
        return b"".join(one.data for store in self.stores.values() for one in store._store.objects.values())

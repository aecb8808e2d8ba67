"""A database without Ray for tests of API keys: fails when told, is opened anew, and shows all that it has stored."""

from pathlib import Path

from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engine_database import EngineDatabase


class KeyDatabase(EngineDatabase):
    """An `EngineDatabase` on memory.

    Attributes:
        calls: Operations that were sent, as (namespace, kind).
        refusal: Raised instead of sending anything while it is there.
    """

    def __init__(self) -> None:
        super().__init__(Path("unused"))
        self.calls: list[tuple[str, str]] = []
        self.refusal: Exception | None = None

    async def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:  # type: ignore[override]
        self.calls.append((namespace, operation.kind))
        if self.refusal is not None:
            raise self.refusal
        return await super()._run(namespace, operation, timeout_s)

    async def reopen(self) -> None:
        """Close every namespace; the next call opens it anew from what is stored."""
        for made in self._engines.values():
            await made.close()
        self._engines.clear()

    def stored(self) -> bytes:
        """Return all that is stored, of every namespace."""
        stores = [store for store in self._stores.values() if isinstance(store, MemoryBackend)]
        return b"".join(one.data for store in stores for one in store._store.objects.values())

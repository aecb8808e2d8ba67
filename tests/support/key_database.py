"""A database without Ray for tests of API keys: fails when told, is opened anew, and shows all that it has stored."""

from collections.abc import Awaitable
from typing import Any

from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.settings.environment import load_settings
from tests.support.local_connection import LocalConnection


class KeyDatabase(AsyncDatabase):
    """Engines of this process on memory.

    Attributes:
        calls: Operations that were sent, as (namespace, kind).
        refusal: Raised instead of sending anything while it is there.
    """

    def __init__(self) -> None:
        self._local = LocalConnection(load_settings("memory://keys"))
        super().__init__(self._local)
        self.calls: list[tuple[str, str]] = []
        self.refusal: Exception | None = None

    def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Awaitable[Outcome]:
        self.calls.append((namespace, operation.kind))
        return super()._run(namespace, operation, timeout_s) if self.refusal is None else _refused(self.refusal)

    def reopen(self) -> None:
        """Close every namespace; the next call opens it anew from what is stored."""
        self._local.do(self._local._close())

    def stored(self) -> bytes:
        """Return all that is stored."""
        return b"".join(one.data for one in self._local._memory._store.objects.values())


async def _refused(error: Exception) -> Any:
    raise error

"""How often somebody had to wait for storage: calls that are under way together count once."""

from typing import TypeVar

from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import Call, FunnelBackend

T = TypeVar("T")


class RoundTrips(FunnelBackend):
    """Counts the times that a call begins while no other is under way.

    Attributes:
        count: So many so far.
    """

    def __init__(self, inner: StorageBackend) -> None:
        super().__init__(inner)
        self.count = 0
        self._under_way = 0

    async def _pass(self, call: Call[T]) -> T:
        self.count += not self._under_way
        self._under_way += 1
        try:
            return await call.send(self.inner, call.timeout_s)
        finally:
            self._under_way -= 1

"""Backends that hand on to another one: the start of every layer."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from parquedb.storage.backend import ListPage, ObjectInfo, Range, StorageBackend

T = TypeVar("T")

READ_OPERATIONS = frozenset({"read", "read_range", "read_ranges", "list", "list_folders", "stat", "exists"})
WRITE_OPERATIONS = frozenset({"create", "create_file", "write", "delete", "abort_uploads", "verifies_uploads"})


class DelegatingBackend(StorageBackend):
    """Forwards every call to `inner`; a layer overrides what it changes.

    Attributes:
        inner: The next layer, or the store itself.
        name: The store's.
    """

    def __init__(self, inner: StorageBackend) -> None:
        self.inner = inner
        self.name = inner.name

    def __getattr__(self, attribute: str) -> Any:
        """Return what only a layer below has, such as `write_circuit` or a store's `conditional_writes`."""
        # Unpickling and copying ask before `inner` is there.
        if attribute == "inner" or attribute.startswith("__"):
            raise AttributeError(attribute)
        try:
            return getattr(self.inner, attribute)
        except AttributeError:
            raise AttributeError(f"no layer of this {self.name} storage has {attribute!r}") from None

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Forward."""
        return await self.inner.read(key, timeout_s=timeout_s)

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Forward."""
        return await self.inner.read_range(key, start, length, timeout_s=timeout_s)

    async def read_ranges(self, ranges: Sequence[Range], *, timeout_s: float | None = None) -> Sequence[bytes]:
        """Forward."""
        return await self.inner.read_ranges(ranges, timeout_s=timeout_s)

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        """Forward."""
        return await self.inner.create(key, data, timeout_s=timeout_s)

    async def create_file(self, key: str, path: Path, *, timeout_s: float | None = None) -> ObjectInfo:
        """Forward."""
        return await self.inner.create_file(key, path, timeout_s=timeout_s)

    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        """Forward."""
        return await self.inner.write(key, data, if_match=if_match, timeout_s=timeout_s)

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Forward."""
        await self.inner.delete(key, timeout_s=timeout_s)

    async def abort_uploads(self, prefix: str, older_than_s: float, *, timeout_s: float | None = None) -> int:
        """Forward."""
        return await self.inner.abort_uploads(prefix, older_than_s, timeout_s=timeout_s)

    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Forward."""
        return await self.inner.verifies_uploads(key, timeout_s=timeout_s)

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """Forward."""
        return await self.inner.list(prefix, after=after, limit=limit, timeout_s=timeout_s)

    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Forward."""
        return await self.inner.list_folders(prefix, timeout_s=timeout_s)

    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        """Forward."""
        return await self.inner.stat(key, timeout_s=timeout_s)

    async def exists(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Forward."""
        return await self.inner.exists(key, timeout_s=timeout_s)

    async def close(self) -> None:
        """Forward."""
        await self.inner.close()


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One storage call that can be sent, sent again, or sent elsewhere.

    Attributes:
        operation: Name of the method.
        key: The key, the first one of several, or the prefix of a listing.
        send: Makes the call on a backend, with a limit in seconds.
        timeout_s: The limit the caller gave.
        conditional: Whether sending it twice may be answered differently the second time: `create` and `if_match`.
    """

    operation: str
    key: str
    send: Callable[[StorageBackend, float | None], Awaitable[T]]
    timeout_s: float | None
    conditional: bool = False


class FunnelBackend(DelegatingBackend):
    """Leads every call through one method, for layers that treat the operations alike."""

    @abstractmethod
    async def _pass(self, call: Call[T]) -> T:
        """Make the call, or whatever this layer makes of it."""

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Pass."""
        return await self._pass(Call("read", key, lambda to, limit_s: to.read(key, timeout_s=limit_s), timeout_s))

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Pass."""
        return await self._pass(
            Call(
                "read_range",
                key,
                lambda to, limit_s: to.read_range(key, start, length, timeout_s=limit_s),
                timeout_s,
            )
        )

    async def read_ranges(self, ranges: Sequence[Range], *, timeout_s: float | None = None) -> Sequence[bytes]:
        """Pass."""
        key = ranges[0].key if ranges else ""
        return await self._pass(
            Call("read_ranges", key, lambda to, limit_s: to.read_ranges(ranges, timeout_s=limit_s), timeout_s)
        )

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        """Pass."""
        return await self._pass(
            Call("create", key, lambda to, limit_s: to.create(key, data, timeout_s=limit_s), timeout_s, True)
        )

    async def create_file(self, key: str, path: Path, *, timeout_s: float | None = None) -> ObjectInfo:
        """Pass."""
        return await self._pass(
            Call("create_file", key, lambda to, limit_s: to.create_file(key, path, timeout_s=limit_s), timeout_s, True)
        )

    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        """Pass."""
        return await self._pass(
            Call(
                "write",
                key,
                lambda to, limit_s: to.write(key, data, if_match=if_match, timeout_s=limit_s),
                timeout_s,
                if_match is not None,
            )
        )

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Pass."""
        await self._pass(Call("delete", key, lambda to, limit_s: to.delete(key, timeout_s=limit_s), timeout_s))

    async def abort_uploads(self, prefix: str, older_than_s: float, *, timeout_s: float | None = None) -> int:
        """Pass."""
        return await self._pass(
            Call(
                "abort_uploads",
                prefix,
                lambda to, limit_s: to.abort_uploads(prefix, older_than_s, timeout_s=limit_s),
                timeout_s,
            )
        )

    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Pass."""
        return await self._pass(
            Call("verifies_uploads", key, lambda to, limit_s: to.verifies_uploads(key, timeout_s=limit_s), timeout_s)
        )

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """Pass."""
        return await self._pass(
            Call(
                "list",
                prefix,
                lambda to, limit_s: to.list(prefix, after=after, limit=limit, timeout_s=limit_s),
                timeout_s,
            )
        )

    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Pass."""
        return await self._pass(
            Call("list_folders", prefix, lambda to, limit_s: to.list_folders(prefix, timeout_s=limit_s), timeout_s)
        )

    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        """Pass."""
        return await self._pass(Call("stat", key, lambda to, limit_s: to.stat(key, timeout_s=limit_s), timeout_s))

    async def exists(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Pass."""
        return await self._pass(Call("exists", key, lambda to, limit_s: to.exists(key, timeout_s=limit_s), timeout_s))

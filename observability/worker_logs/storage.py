"""What the worker logs ask of a store; the storage interface, which lies above this layer, has all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Span(NamedTuple):
    """A part of an object.

    Attributes:
        key: Of the object.
        start: First byte (inclusive).
        length: Bytes.
    """

    key: str
    start: int
    length: int


class StoredObject(Protocol):
    """One object of a listing."""

    @property
    def key(self) -> str:
        """Its key."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def modified_s(self) -> float | None:
        """When it was stored, Unix seconds by the store's clock."""


class ListedPage(Protocol):
    """One page of a listing, in ascending key order."""

    @property
    def objects(self) -> Sequence[StoredObject]:
        """The objects."""

    @property
    def more(self) -> bool:
        """Whether keys follow."""

    @property
    def server_s(self) -> float:
        """When the store answered, Unix seconds by its clock."""


class LogStorage(Protocol):
    """An object store, as the storage interface describes it; `timeout_s` are seconds for the whole call.

    Attributes:
        name: What kind of store; the listings of `local` are in no order within a folder while it changes.
    """

    name: str

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Return the whole object."""

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Return some bytes of it."""

    async def read_ranges(self, ranges: Sequence[Any], *, timeout_s: float | None = None) -> Sequence[bytes]:
        """Return the bytes of each `Span`."""

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> Any:
        """Store an object under a key that must not exist."""

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Remove an object; a missing one is no error."""

    async def list(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> ListedPage:
        """List keys that start with `prefix` and sort after `after`."""

    async def close(self) -> None:
        """Release what it holds."""

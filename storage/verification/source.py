"""Reading for a verification: whatever is missing is told, not raised; what was read is counted; nothing is written."""

from __future__ import annotations

from typing import Any, NoReturn

from parquedb.errors import InternalError, ObjectNotFoundError
from parquedb.storage.backend import ObjectInfo, Range, StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend


class ReadOnlyBackend(DelegatingBackend):
    """Hands on what reads and refuses what writes: a verification changes nothing, whatever its faults."""

    async def create(self, key: str, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise InternalError(f"a verification tried to create {key!r}")

    async def write(self, key: str, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise InternalError(f"a verification tried to write {key!r}")

    async def delete(self, key: str, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise InternalError(f"a verification tried to delete {key!r}")

    async def abort_uploads(self, prefix: str, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise InternalError(f"a verification tried to abort uploads below {prefix!r}")

    async def verifies_uploads(self, key: str, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise InternalError(f"a verification tried to write {key!r}")


class Source:
    """The objects of one namespace, by keys relative to it.

    Args:
        storage: Where they are.
        prefix: The namespace's, ending in `/`.
    """

    def __init__(self, storage: StorageBackend, prefix: str) -> None:
        self.storage: StorageBackend = ReadOnlyBackend(storage)
        self.prefix = prefix
        self.bytes_read = 0

    async def read(self, key: str) -> bytes | None:
        """Return an object; None when it is missing."""
        try:
            data = await self.storage.read(self.prefix + key)
        except ObjectNotFoundError:
            return None
        self.bytes_read += len(data)
        return data

    async def read_end(self, key: str, size: int, length: int) -> bytes | None:
        """Return the last bytes of an object of a known size; None when it is missing."""
        try:
            [data] = await self.storage.read_ranges([Range(self.prefix + key, max(0, size - length), length)])
        except ObjectNotFoundError:
            return None
        self.bytes_read += len(data)
        return data

    async def stat(self, key: str) -> ObjectInfo | None:
        """Describe an object; None when it is missing."""
        try:
            return await self.storage.stat(self.prefix + key)
        except ObjectNotFoundError:
            return None

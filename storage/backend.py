"""The storage interface: a flat map from keys to immutable bytes, and what each call may answer.

Keys are `/`-joined segments that `parquedb.storage.keys` has encoded; a backend adds its own root in front.

What a write can come to (see `docs/architecture.md`, "Three outcomes"):

    landed     the call returns an `ObjectInfo`
    no         `AlreadyExistsError` (create), `ETagMismatchError` (replace), or another error that is not one of the
               two below: these bytes are not stored and never will be by this call
    conflict   `ConflictError` with code CONCURRENT_MODIFICATION (HTTP 409): not applied, send the same bytes again
    unknown    `OutcomeUnknownError`: the request may have been applied, or may yet be
"""
# ruff: noqa: ARG002 - what a method does where a store has nothing to do needs none of its arguments

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

RANGES_AT_ONCE: Final = 8
"""Parts that one call of `read_ranges` asks a store for at the same time."""


class Range(NamedTuple):
    """A part of an object.

    Attributes:
        key: Of the object.
        start: First byte (inclusive).
        length: Bytes.
    """

    key: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object.

    Attributes:
        key: As given to the call, without the backend's root.
        size: Bytes.
        etag: The store's tag of this content, without quotes; a content hash where the store has none.
        modified_s: Unix seconds by the store's clock (local directory: ctime, for a link keeps the temp file's mtime);
            None where a reply does not say.
    """

    key: str
    size: int
    etag: str | None = None
    modified_s: float | None = None


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a listing, in ascending key order.

    Attributes:
        objects: At most the asked number.
        more: Whether keys follow; ask again with `after` = the last key.
        server_s: Unix seconds by the store's clock when it answered, comparable with `ObjectInfo.modified_s`.
    """

    objects: tuple[ObjectInfo, ...]
    more: bool
    server_s: float


class StorageBackend(ABC):
    """An object store. One attempt per call: a backend never retries, the layers above it do.

    Every method takes `timeout_s`, seconds for the whole call (None: the backend's own default), and raises
    `OutcomeUnknownError` (writes) or `NetworkError`/`TimeoutError` (reads) when no answer came in time.

    Raises (reads): `ObjectNotFoundError` for a missing key; `StorageReadError` for a refusal by the store.
    """

    name: str
    """What kind of store, for logs and spans: `local`, `s3`, `memory`."""

    @abstractmethod
    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Return the whole object."""

    @abstractmethod
    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Return bytes `start` (inclusive) to `start + length` (exclusive), cut at the object's end.

        A start at or past the end gives `b""`, on every backend.
        """

    async def read_ranges(self, ranges: Sequence[Range], *, timeout_s: float | None = None) -> Sequence[bytes]:
        """Return what `read_range` gives for each, of one object or of several; `RANGES_AT_ONCE` at the same time.

        Here each of them has the whole time; a backend that can read them together gives it to all.
        """
        free = asyncio.Semaphore(RANGES_AT_ONCE)

        async def read(key: str, start: int, length: int) -> bytes:
            async with free:
                return await self.read_range(key, start, length, timeout_s=timeout_s)

        tasks = [asyncio.ensure_future(read(*one)) for one in ranges]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    @abstractmethod
    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        """Store `data` under a key that must not exist; durable when it returns.

        Raises:
            AlreadyExistsError: the key is taken; perhaps by an earlier attempt of this very write.
            OutcomeUnknownError: no answer; a later 404 proves nothing.
        """

    async def create_file(self, key: str, path: Path, *, timeout_s: float | None = None) -> ObjectInfo:
        """Store the content of a local file as `create` does; the file must not change meanwhile.

        Here it passes through memory as a whole; a backend that can stream it does.
        """
        return await self.create(key, await asyncio.to_thread(path.read_bytes), timeout_s=timeout_s)

    @abstractmethod
    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        """Store `data`, replacing what is there; with `if_match`, only while the current etag equals it.

        Raises:
            ETagMismatchError: `if_match` was given and the object has another etag or is missing.
        """

    @abstractmethod
    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Remove an object; a missing one is no error."""

    @abstractmethod
    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """List keys that start with `prefix` and sort after `after` (exclusive), at most `limit` (1 to 1 000)."""

    @abstractmethod
    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Return the distinct next segments below `prefix` (which is empty or ends in `/`), sorted, without slashes."""

    @abstractmethod
    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        """Describe an object without reading it."""

    async def abort_uploads(self, prefix: str, older_than_s: float, *, timeout_s: float | None = None) -> int:
        """Give up multipart uploads below `prefix` (ends in `/`) begun more than `older_than_s` ago; return how many.

        Ages are by the store's clock. Such uploads are never listed as objects, yet cost what they hold. We make none;
        tools that copy or restore a database do, and die.
        """
        return 0

    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Whether bytes that were cut or changed on their way are refused; tried with `key`, which may then exist.

        True here: what a backend stores in its own process travels nowhere.
        """
        return True

    async def exists(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Whether the key holds an object now."""
        from parquedb.errors import ObjectNotFoundError  # noqa: PLC0415 - keeps the interface free of imports

        try:
            await self.stat(key, timeout_s=timeout_s)
        except ObjectNotFoundError:
            return False
        return True

    async def close(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Release connections and threads; the object is not used afterwards."""

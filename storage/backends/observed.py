"""Telling hooks of every try of every call to the store."""

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from parquedb.errors import ParqueDBError
from parquedb.observability.brief import UNKNOWN, Kind, Work, Works
from parquedb.observability.contexts import Side, StorageContext, StorageResult
from parquedb.observability.hooks import HookRegistry
from parquedb.storage.backend import ListPage, ObjectInfo, Range, StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.retry import attempt_number
from parquedb.storage.keys import decode_segment

T = TypeVar("T")

_NUMBERS: Final = ("sent", "start", "length", "bytes", "rows", "cached")
_WORDS: Final = ("key", "etag")
_WORKS_MAX: Final = 1000
"""Operations and namespaces that are remembered together with those who take them in brief."""


class _Asked(NamedTuple):
    """What a call asks for; bytes, None where it does not say.

    Attributes:
        sent: How many it brings.
        start: The first one wanted.
        length: How many are wanted.
    """

    sent: int | None = None
    start: int | None = None
    length: int | None = None


_NOTHING: Final = _Asked()


class ObservedBackend(DelegatingBackend):
    """Announces every try of every call to the hooks; where none listens it costs one look.

    Args:
        inner: The next layer.
        hooks: Whom to tell.
        side: Whose process this is.
        actor: Name of the actor, where it is one.
    """

    def __init__(
        self, inner: StorageBackend, hooks: HookRegistry, *, side: Side = "actor", actor: str | None = None
    ) -> None:
        super().__init__(inner)
        self._hooks = hooks
        self._side: Side = side
        self._actor = actor
        self._generation = -1
        self._works: dict[tuple[str, str], tuple[Works, ...]] = {}

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Read, announced."""
        call = self.inner.read(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "read", key)

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Read a part, announced."""
        call = self.inner.read_range(key, start, length, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "read_range", key, _Asked(start=start, length=length))

    async def read_ranges(self, ranges: Sequence[Range], *, timeout_s: float | None = None) -> Sequence[bytes]:
        """Read parts, announced as one call."""
        call = self.inner.read_ranges(ranges, timeout_s=timeout_s)
        if not ranges or not self._hooks.hears("storage"):
            return await call
        total = sum(one.length for one in ranges)
        return await self._announced(call, "read_ranges", ranges[0].key, _Asked(length=total))

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        """Create, announced."""
        call = self.inner.create(key, data, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "create", key, _Asked(len(data)))

    async def create_file(self, key: str, path: Path, *, timeout_s: float | None = None) -> ObjectInfo:
        """Create from a file, announced."""
        call = self.inner.create_file(key, path, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "create_file", key, _Asked(path.stat().st_size))

    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        """Write, announced."""
        call = self.inner.write(key, data, if_match=if_match, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "write", key, _Asked(len(data)))

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Delete, announced."""
        call = self.inner.delete(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "delete", key)

    async def abort_uploads(self, prefix: str, older_than_s: float, *, timeout_s: float | None = None) -> int:
        """Give up multipart uploads, announced."""
        call = self.inner.abort_uploads(prefix, older_than_s, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "abort_uploads", prefix)

    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Forward, announced."""
        call = self.inner.verifies_uploads(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "verifies_uploads", key)

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """List, announced."""
        call = self.inner.list(prefix, after=after, limit=limit, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "list", prefix)

    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """List folders, announced."""
        call = self.inner.list_folders(prefix, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "list_folders", prefix)

    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        """Describe, announced."""
        call = self.inner.stat(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "stat", key)

    async def exists(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Ask for existence, announced."""
        call = self.inner.exists(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(call, "exists", key)

    async def _announced(self, call: Awaitable[T], operation: str, key: str, asked: _Asked = _NOTHING) -> T:
        """Await a call and tell of it: in brief where all want that, and it is no repeat."""
        namespace = _namespace_of(key.partition("/")[0]) if "/" in key else None
        attempt = attempt_number()
        works = self._in_brief(operation, namespace or "") if attempt == 1 else ()
        if works:
            return await _told(Work(works), call, operation, key, asked)
        context = StorageContext(
            operation,
            key,
            self.name,
            namespace=namespace,
            bytes=asked.sent,
            start=asked.start,
            length=asked.length,
            side=self._side,
            attempt=attempt,
            actor=self._actor,
        )
        announced = self._hooks.start("storage", context)
        try:
            result = await call
        except BaseException as error:
            announced.error(error)
            raise
        announced.end(StorageResult(announced.elapsed_s(), *_facts_of(operation, asked.sent, result)))
        return result

    def _in_brief(self, operation: str, namespace: str) -> tuple[Works, ...]:
        if self._generation != self._hooks.generation:
            self._generation, self._works = self._hooks.generation, {}
        found = self._works.get((operation, namespace))
        if found is None:
            told = Kind(
                *("storage", operation, namespace, self._actor or "", _NUMBERS, self._side),
                words=_WORDS,
                backend=self.name,
            )
            found = self._hooks.works(told)
            if len(self._works) < _WORKS_MAX:
                self._works[operation, namespace] = found
        return found


async def _told(work: Work, call: Awaitable[T], operation: str, key: str, asked: _Asked) -> T:
    given = [UNKNOWN if number is None else number for number in asked]
    try:
        result = await call
    except BaseException as error:
        work.error(error, given, (key,))
        raise
    *numbers, etag = _facts_of(operation, asked.sent, result)
    work.end([*given, *[UNKNOWN if number is None else number for number in numbers]], (key, etag))
    return result


def _facts_of(operation: str, sent: int | None, result: Any) -> tuple[int | None, int | None, bool | None, str | None]:
    """Return bytes, rows, cached and etag of a result."""
    if isinstance(result, ObjectInfo):
        return sent, None, None, result.etag
    if isinstance(result, bytes):
        return len(result), None, False, None
    if operation == "read_ranges":
        return sum(map(len, result)), None, False, None
    if isinstance(result, ListPage):
        return None, len(result.objects), None, None
    if operation == "list_folders":
        return None, len(result), None, None
    return None, None, None, None


@lru_cache(maxsize=1024)
def _namespace_of(segment: str) -> str | None:
    try:
        return decode_segment(segment)
    except ParqueDBError:
        return None

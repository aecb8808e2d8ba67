"""Objects in this process's memory: for tests, demos and scratch work; gone when the process ends."""
# ruff: noqa: ARG002 - the interface has timeouts; a dict answers at once

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import xxhash

from parquedb.clock import Clock, SystemClock
from parquedb.errors import AlreadyExistsError, ETagMismatchError, ObjectNotFoundError
from parquedb.storage.backend import ListPage, ObjectInfo, Range, StorageBackend
from parquedb.storage.keys import check_folder, check_key, check_limit, check_prefix, check_range, is_segment


class _Stored(NamedTuple):
    data: bytes
    info: ObjectInfo


@dataclass
class _Store:
    """What is stored. Invariant: `keys` holds the keys of `objects`, sorted."""

    objects: dict[str, _Stored] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)


_SHARED: dict[str, _Store] = {}


def forget(name: str) -> None:
    """Drop everything stored under `memory://<name>` in this process."""
    _SHARED.pop(name, None)


class MemoryBackend(StorageBackend):
    """A dict behind the storage interface.

    No method awaits anything, so each is atomic among the tasks of one event loop. It has no say over time: `timeout_s`
    is accepted and never runs out.

    Attributes:
        conditional_writes: `write(if_match=...)` is honoured.
    """

    name = "memory"
    conditional_writes = True

    def __init__(self, shared_name: str | None = None, *, clock: Clock | None = None) -> None:
        """Open the store that this process knows as `shared_name`; None makes one of its own."""
        self._store = _Store() if shared_name is None else _SHARED.setdefault(shared_name, _Store())
        self._clock: Clock = clock or SystemClock()

    def _get(self, key: str) -> _Stored:
        try:
            return self._store.objects[check_key(key)]
        except KeyError:
            raise ObjectNotFoundError(key=key) from None

    def _put(self, key: str, data: bytes) -> ObjectInfo:
        data = bytes(data)
        info = ObjectInfo(key, len(data), xxhash.xxh3_128_hexdigest(data), self._clock.now().timestamp())
        if key not in self._store.objects:
            insort(self._store.keys, key)
        self._store.objects[key] = _Stored(data, info)
        return info

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Return the whole object."""
        return self._get(key).data

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Return bytes `start` (inclusive) to `start + length` (exclusive), cut at the object's end."""
        check_range(start, length)
        return self._get(key).data[start : start + length]

    async def read_ranges(self, ranges: Sequence[Range], *, timeout_s: float | None = None) -> Sequence[bytes]:
        """Return what `read_range` gives for each."""
        return [await self.read_range(*one) for one in ranges]

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        """Store `data` under a key that must not exist.

        Raises:
            AlreadyExistsError: the key is taken.
        """
        if check_key(key) in self._store.objects:
            raise AlreadyExistsError(key=key)
        return self._put(key, data)

    async def create_file(self, key: str, path: Path, *, timeout_s: float | None = None) -> ObjectInfo:
        """Store the content of a file as `create` does."""
        return await self.create(key, path.read_bytes())

    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        """Store `data`, replacing what is there; with `if_match`, only while the current etag equals it.

        Raises:
            ETagMismatchError: the object has another etag or is missing.
        """
        check_key(key)
        if if_match is not None:
            stored = self._store.objects.get(key)
            actual = stored.info.etag if stored else None
            if actual != if_match:
                raise ETagMismatchError(key=key, expected=if_match, actual=actual)
        return self._put(key, data)

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Remove an object; a missing one is no error."""
        if self._store.objects.pop(check_key(key), None) is not None:
            del self._store.keys[bisect_left(self._store.keys, key)]

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """List keys that start with `prefix` and sort after `after` (exclusive), at most `limit` (1 to 1 000)."""
        check_prefix(prefix)
        check_limit(limit)
        keys = self._store.keys
        start = bisect_left(keys, prefix)
        if after is not None:
            start = max(start, bisect_right(keys, after))
        found = [key for key in keys[start : start + limit + 1] if key.startswith(prefix)]
        infos = tuple(self._store.objects[key].info for key in found[:limit])
        return ListPage(infos, more=len(found) > limit, server_s=self._clock.now().timestamp())

    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Return the distinct next segments below `prefix` that have objects below them, sorted."""
        check_folder(prefix)
        keys, found = self._store.keys, []
        position = bisect_left(keys, prefix)
        while position < len(keys) and keys[position].startswith(prefix):
            segment, slash, _ = keys[position][len(prefix) :].partition("/")
            if not slash:
                position += 1
                continue
            if is_segment(segment):
                found.append(segment)
            # "0" follows "/" in ASCII: this is the first key past the whole folder.
            position = bisect_left(keys, f"{prefix}{segment}0")
        # In key order "a-b/" stands before "a/"; as names they are the other way round.
        return tuple(sorted(found))

    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        """Describe an object."""
        return self._get(key).info

"""Copying objects between stores: every checksum is looked at on the way, and memory is bounded whatever their size."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import xxhash

from parquedb.clock import Clock
from parquedb.errors import (
    AlreadyExistsError,
    CircuitOpenError,
    CorruptionError,
    ParqueDBError,
    QuotaExceededError,
    StorageWriteError,
)
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.retry import RetryOptions, backoff_s, is_retryable

T = TypeVar("T")

PIECE_BYTES: Final = 8 << 20
"""What one transfer holds in memory; larger objects pass through a temporary file."""

PARALLEL: Final = 8
_DIGEST_IN_LOOP_MAX: Final = 64 << 10
_PER_S: Final = 1 << 20
"""Bytes a second that a store takes at least, for the time that a large object may need."""

_CREATES: Final = RetryOptions(attempts_max=8, base_s=0.2, max_s=10.0)


@dataclass(frozen=True, slots=True)
class Bytes:
    """An object on its way.

    Attributes:
        content: Its bytes, or a file that holds them.
        size: Of it.
        checksum: XXH3-64 of it.
    """

    content: bytes | Path
    size: int
    checksum: int


class Transfers:
    """Moves objects, a bounded number at a time.

    Args:
        clock: Waits between tries.
        rng: Draws the waits.
        parallel: Objects on their way at a time, at most; memory is `PIECE_BYTES` for each.
    """

    def __init__(self, clock: Clock, rng: random.Random, parallel: int = PARALLEL) -> None:
        self._clock = clock
        self._rng = rng
        self.parallel = parallel
        self._free = asyncio.Semaphore(parallel)

    async def copy(self, source: StorageBackend, key: str, target: StorageBackend, name: str, checksum: int) -> int:
        """Store the object `key` of `source` as `name` in `target`, unless it is there already; return its size.

        Raises:
            AlreadyExistsError: something else is there.
            CorruptionError: its checksum is another one, also when it was read again; nothing is stored.
            ObjectNotFoundError: it is not there.
            ParqueDBError: a store refused.
        """
        async with self.verified(source, key, checksum) as found:
            if not await self.create(target, name, found.content, found.size):
                async with self._fetched(target, name) as there:
                    if there.checksum != checksum:
                        raise AlreadyExistsError(f"{name!r} is stored already, with other bytes", key=name)
            return found.size

    @asynccontextmanager
    async def verified(self, source: StorageBackend, key: str, checksum: int) -> AsyncIterator[Bytes]:
        """Hold an object whose checksum is the one that is expected; raises like `copy`."""
        async with self._free, self._fetched(source, key) as found:
            if found.checksum == checksum:
                yield found
                return
        # Once more, as for entries of the log (rule 7).
        async with self._free, self._fetched(source, key) as found:
            if found.checksum != checksum:
                reason = f"checksum differs: expected {checksum:016x}, found {found.checksum:016x}"
                raise CorruptionError(key=key, reason=f"{reason} ({found.size} bytes)")
            yield found

    async def checksum(self, source: StorageBackend, key: str) -> Bytes:
        """Read an object and return what it is, without its content."""
        async with self._free, self._fetched(source, key) as found:
            return Bytes(b"", found.size, found.checksum)

    async def read(self, source: StorageBackend, key: str) -> bytes:
        """Return a small object."""
        async with self._free:
            return await source.read(key)

    async def create(self, target: StorageBackend, key: str, content: bytes | Path, size: int | None = None) -> bool:
        """Store an object under a name that only these bytes can have; sent again until its fate is certain.

        Returns:
            False where the name was taken before the first try.

        Raises:
            ParqueDBError: the store refused, or its answer stayed unknown; the same create may be tried again later.
        """
        size = len(content) if isinstance(content, bytes) else size or 0
        limit_s = None if size < PIECE_BYTES else 30 + size / _PER_S
        send: Callable[[], Awaitable[object]] = (
            (lambda: target.create(key, content, timeout_s=limit_s))
            if isinstance(content, bytes)
            else (lambda: target.create_file(key, content, timeout_s=limit_s))
        )
        reason: ParqueDBError | None = None
        for failures in range(1, _CREATES.attempts_max + 1):
            try:
                await send()
            except AlreadyExistsError:
                return failures > 1  # Then an earlier try may have landed after all.
            except ParqueDBError as error:
                # That a circuit is open tells nobody what is wrong with the store.
                reason = reason if reason is not None and isinstance(error, CircuitOpenError) else error
                # Waiting for a circuit is waiting for the store; what it has refused in words it will refuse again.
                again = isinstance(error, CircuitOpenError) or is_retryable(error)
                final = not again or isinstance(error, StorageWriteError | QuotaExceededError)
                if final or failures == _CREATES.attempts_max:
                    raise reason from reason.cause
                await self._clock.sleep(max(backoff_s(failures, _CREATES, self._rng), error.retry_after or 0.0))
            else:
                return True
        raise AssertionError  # pragma: no cover - the last failure has been raised

    @asynccontextmanager
    async def _fetched(self, source: StorageBackend, key: str) -> AsyncIterator[Bytes]:
        first = await source.read_range(key, 0, PIECE_BYTES)
        if len(first) < PIECE_BYTES:
            yield Bytes(first, len(first), await _digest(first))
            return
        with temporary_folder() as folder:
            path, digest, size = folder / "object", xxhash.xxh3_64(), len(first)
            await asyncio.to_thread(_append, path, digest, first)
            piece, first = first, b""  # Else two pieces would be held at a time.
            while len(piece) == PIECE_BYTES:
                piece = await source.read_range(key, size, PIECE_BYTES)
                await asyncio.to_thread(_append, path, digest, piece)
                size += len(piece)
            yield Bytes(path, size, digest.intdigest())


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for what is on its way, and remove it at the end.

    Raises:
        StorageWriteError: there is none that can be written to; says how another one is chosen.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="parquedb-")
    except OSError as error:
        raise no_temporary_room(error) from error
    with made as folder:
        yield Path(folder)


def no_temporary_room(error: OSError) -> StorageWriteError:
    """Return the refusal of a folder for temporary files, which is no fault of the object that was to pass."""
    message = f"temporary files cannot be written: {error}; TMPDIR names another folder, with room for large objects"
    return StorageWriteError(message)


def _append(path: Path, digest: xxhash.xxh3_64, piece: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(piece)
    except OSError as error:
        raise no_temporary_room(error) from error
    digest.update(piece)


async def _digest(data: bytes) -> int:
    if len(data) <= _DIGEST_IN_LOOP_MAX:
        return xxhash.xxh3_64_intdigest(data)
    return await asyncio.to_thread(xxhash.xxh3_64_intdigest, data)


async def each(work: Callable[[T], Awaitable[object]], items: Iterable[T], at_once: int) -> None:
    """Do `work` for every item, some at the same time; the first error ends it, after the others have let go."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    tasks = [asyncio.ensure_future(worker()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""Data files as they are stored: whole objects, parts of them and their footers, kept in memory bounded by bytes.

A data file never changes, so nothing here is ever stale. An object is read once however many ask for it at the same
time, and checked against the manifest's size and checksum before anything in it is believed.
"""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import xxhash

from parquedb.errors import CorruptionError, ObjectNotFoundError, ParqueDBError
from parquedb.storage.backend import Range, StorageBackend
from parquedb.storage.files import partial_reads
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN, SEQ_COLUMN
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.partial_reads import SPARSE_BYTES_MIN, Parts, Readable, Span, Tail
from parquedb.storage.files.row_groups import DECODE_ERRORS, Footer, parse_footer
from parquedb.storage.together import Flight

T = TypeVar("T")

OBJECT_READS_MAX = 8
"""Objects read from the store at the same time."""

RANGES_MAX = 64
"""Parts asked for by one call."""

_TAIL_READ_BYTES = 64 << 10


class Run(Protocol):
    """Runs CPU work off the event loop."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what `work` returns."""


class ObjectCache:
    """Reads data files through the storage interface; least recently used parts leave first.

    Args:
        storage: Where the objects are.
        prefix: The namespace's, in front of each `DataFile.key`.
        bytes_max: Bound of what is kept: objects as stored and columns as decoded. A part larger than this is
            handed out and not kept.
        run: Where checksums and decoding take place.
    """

    def __init__(self, storage: StorageBackend, prefix: str, *, bytes_max: int, run: Run) -> None:
        self._storage = storage
        self._prefix = prefix
        self._bytes_max = bytes_max
        self._run = run
        self._parts: OrderedDict[tuple[Any, ...], tuple[Any, int]] = OrderedDict()
        self._flights: dict[tuple[Any, ...], Flight[Any]] = {}
        self._reads = asyncio.Semaphore(OBJECT_READS_MAX)
        self.bytes = 0
        """Bytes kept now."""

    def put_object(self, file: DataFile, data: bytes) -> None:
        """Keep an object that was just written."""
        self._keep(("object", file.key), data, len(data))

    def forget(self, key: str) -> None:
        """Drop every part of one file."""
        for part in [part for part in self._parts if part[1] == key]:
            self.bytes -= self._parts.pop(part)[1]

    def close(self) -> None:
        """Stop what is being read and drop everything."""
        for flight in list(self._flights.values()):
            flight.cancel()
        self._parts.clear()
        self.bytes = 0

    def corruption(self, key: str, reason: str, cause: BaseException | None = None) -> CorruptionError:
        """Return the error that names the object of a file."""
        return CorruptionError(key=self._prefix + key, reason=reason, cause=cause)

    async def footer(self, file: DataFile) -> Footer:
        """Return the structure of a file.

        Raises:
            CorruptionError: the object is missing, altered or not the Parquet file that the manifest describes.
        """
        found = self._get(("footer", file.key))
        return found if found is not None else await self._once(("footer", file.key), lambda: self._read_footer(file))

    async def borrow(self, file: DataFile) -> tuple[bytes, Footer]:
        """Return an object and its structure for work that reads it once: what is not kept yet is not kept now.

        Raises:
            CorruptionError: as `footer`.
        """
        data = self._get(("object", file.key))
        data = data if data is not None else await self._verified(file)
        footer = self._get(("footer", file.key))
        return data, footer if footer is not None else await self._parsed(file, data)

    async def _object(self, file: DataFile) -> bytes:
        found = self._get(("object", file.key))
        return found if found is not None else await self._once(("object", file.key), lambda: self._read_object(file))

    async def _read_object(self, file: DataFile) -> bytes:
        data = await self._verified(file)
        self._keep(("object", file.key), data, len(data))
        return data

    async def _verified(self, file: DataFile) -> bytes:
        async with self._reads:
            try:
                data = await self._storage.read(self._prefix + file.key)
            except ObjectNotFoundError as error:
                raise self.corruption(file.key, "the object is missing", error) from error
        if len(data) != file.bytes:
            raise self.corruption(file.key, f"{len(data)} bytes instead of {file.bytes}")
        if await self._run(lambda: xxhash.xxh3_64_intdigest(data)) != file.checksum:
            raise self.corruption(file.key, "checksum differs")
        return data

    async def readable(self, wanted: Sequence[tuple[DataFile, Sequence[Span]]]) -> list[Readable | BaseException]:
        """Return of each file the object, or as much of it as lies in its spans: who decodes parts verifies each page.

        What goes wrong with one file stands in its place.
        """
        found: dict[int, Readable | BaseException] = {}
        whole, parts = [], []
        for at, (file, spans) in enumerate(wanted):
            data = self._get(("object", file.key))
            if data is not None:
                found[at] = data
            elif file.tail is None or not partial_reads.worth_it(spans, file.bytes):
                whole.append(at)
            else:
                parts.append(at)
        several = self._parts_of([wanted[at] for at in parts])
        objects = asyncio.gather(*[self._object(wanted[at][0]) for at in whole], return_exceptions=True)
        got = await asyncio.gather(several, objects)
        found |= dict(zip([*parts, *whole], [*got[0], *got[1]], strict=True))
        return [found[at] for at in range(len(wanted))]

    async def _parts_of(self, wanted: Sequence[tuple[DataFile, Sequence[Span]]]) -> Sequence[Parts | BaseException]:
        """Read parts of several objects together; one by one where that fails, to learn which of them it is."""
        try:
            return await self._read_parts(wanted)
        except ParqueDBError as error:
            if len(wanted) == 1:
                return [error]
        alone = await asyncio.gather(*[self._read_parts([one]) for one in wanted], return_exceptions=True)
        return [one if isinstance(one, BaseException) else one[0] for one in alone]

    async def _read_parts(self, wanted: Sequence[tuple[DataFile, Sequence[Span]]]) -> list[Parts]:
        ranges = [
            Range(self._prefix + file.key, start, stop - start) for file, spans in wanted for start, stop in spans
        ]
        parts: list[bytes] = []
        for first in range(0, len(ranges), RANGES_MAX):
            async with self._reads:
                try:
                    parts += await self._storage.read_ranges(ranges[first : first + RANGES_MAX])
                except ObjectNotFoundError as error:
                    key = str(error.key).removeprefix(self._prefix)
                    raise self.corruption(key, "the object is missing", error) from error
        found, rest = [], iter(parts)
        for file, spans in wanted:
            mine = [(start, next(rest)) for start, _ in spans]
            for (start, stop), (_, part) in zip(spans, mine, strict=True):
                if len(part) != stop - start:
                    raise self.corruption(file.key, f"it ends at byte {start + len(part)} instead of {file.bytes}")
            found.append(Parts(file.bytes, mine))
        return found

    async def _read_footer(self, file: DataFile) -> Footer:
        if file.tail is not None and file.bytes >= SPARSE_BYTES_MIN and self._get(("object", file.key)) is None:
            data: Readable = await self._tail(file, file.tail)
        else:
            data = await self._object(file)
        footer = await self._parsed(file, data)
        self._keep(("footer", file.key), footer, footer.memory_bytes)
        return footer

    async def _tail(self, file: DataFile, tail: Tail) -> Parts:
        # PyArrow reads so much of the end by itself, in the hope that the footer is in it.
        size = min(file.bytes, max(tail.bytes, _TAIL_READ_BYTES))
        [parts] = await self._read_parts([(file, [(file.bytes - size, file.bytes)])])
        parts.seek(-tail.bytes, io.SEEK_END)
        if xxhash.xxh3_64_intdigest(parts.read()) != tail.checksum:
            raise self.corruption(file.key, "the checksum of its footer differs")
        return parts

    async def _parsed(self, file: DataFile, data: Readable) -> Footer:
        try:
            footer = await self._run(lambda: parse_footer(data, file))
        except DECODE_ERRORS as error:
            raise self.corruption(file.key, f"not a readable Parquet file: {error}", error) from error
        if footer.starts[-1] != file.rows:
            raise self.corruption(file.key, f"{footer.starts[-1]} rows instead of {file.rows}")
        if missing := {ID_COLUMN, SEQ_COLUMN, RESIDUAL_COLUMN} - footer.known:
            raise self.corruption(file.key, f"lacks the column {min(missing)!r}")
        return footer

    async def _once(self, name: tuple[Any, ...], work: Callable[[], Awaitable[T]]) -> T:
        flight = self._flying(name) or self._depart([name], work())
        with flight:
            return await flight.result()  # type: ignore[no-any-return] # One name, one type.

    def _flying(self, name: tuple[Any, ...]) -> Flight[Any] | None:
        """Return the work under way of this name that one may still join."""
        flight = self._flights.get(name)
        return None if flight is None or flight.abandoned else flight

    def _depart(self, names: Sequence[tuple[Any, ...]], work: Awaitable[T]) -> Flight[T]:
        """Begin work that others find under these names until it has ended."""

        def landed(flight: Flight[T]) -> None:
            for name in names:
                # Another one may have begun when everybody had left this one.
                if self._flights.get(name) is flight:
                    del self._flights[name]

        flight = Flight(work, landed)
        self._flights.update(dict.fromkeys(names, flight))
        return flight

    def _get(self, part: tuple[Any, ...]) -> Any:
        found = self._parts.get(part)
        if found is None:
            return None
        self._parts.move_to_end(part)
        return found[0]

    def _keep(self, part: tuple[Any, ...], value: Any, size: int) -> None:
        if size > self._bytes_max:
            return
        before = self._parts.pop(part, None)
        self.bytes += size - (before[1] if before else 0)
        self._parts[part] = (value, size)
        while self.bytes > self._bytes_max:
            _, (_, gone) = self._parts.popitem(last=False)
            self.bytes -= gone

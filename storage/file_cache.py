"""Data files in memory: whole objects, footers and decoded columns, in one cache bounded by bytes.

A data file never changes, so nothing here is ever stale. An object is read once however many ask for it at the same
time, and checked against the manifest's size and checksum before anything in it is believed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from parquedb.errors import CorruptionError, ObjectNotFoundError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.column_stats import ColumnStats, group_stats
from parquedb.storage.columns import ID_COLUMN, RESIDUAL_COLUMN, SEQ_COLUMN
from parquedb.storage.data_file import DataFile
from parquedb.storage.shred import one_chunk

T = TypeVar("T")

OBJECT_READS_MAX = 8
"""Objects read from the store at the same time."""


class Run(Protocol):
    """Runs CPU work off the event loop."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what `work` returns."""


@dataclass(frozen=True)
class Footer:
    """The structure of one Parquet file.

    Attributes:
        metadata: As PyArrow read it.
        names: Top-level columns.
        starts: First row of each row group, and the number of rows at the end.
    """

    metadata: Any
    names: tuple[str, ...]
    starts: tuple[int, ...]

    @cached_property
    def known(self) -> frozenset[str]:
        """`names` as a set."""
        return frozenset(self.names)

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return len(self.starts) - 1

    @cached_property
    def stats(self) -> tuple[dict[str, ColumnStats], ...]:
        """Column statistics of each row group."""
        return tuple(group_stats(self.metadata.row_group(group)) for group in range(self.groups))


class FileCache:
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
        self._flights: dict[tuple[Any, ...], asyncio.Task[Any]] = {}
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
        for task in list(self._flights.values()):
            task.cancel()
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

    async def columns(self, file: DataFile, group: int, names: Iterable[str] | None = None) -> dict[str, pa.Array]:
        """Return decoded columns of one row group.

        Args:
            file: The file.
            group: Number of the row group.
            names: Top-level columns, those that the file lacks are left out; None for all.

        Raises:
            CorruptionError: as `footer`.
        """
        footer = await self.footer(file)
        wanted = footer.names if names is None else [name for name in names if name in footer.known]
        arrays = {name: self._get(("column", file.key, group, name)) for name in wanted}
        absent = tuple(name for name, array in arrays.items() if array is None)
        if absent:
            decode = ("decode", file.key, group, absent)
            arrays |= await self._once(decode, lambda: self._decode(file, footer, group, absent))
        return arrays

    async def _object(self, file: DataFile) -> bytes:
        found = self._get(("object", file.key))
        return found if found is not None else await self._once(("object", file.key), lambda: self._read_object(file))

    async def _read_object(self, file: DataFile) -> bytes:
        async with self._reads:
            try:
                data = await self._storage.read(self._prefix + file.key)
            except ObjectNotFoundError as error:
                raise self.corruption(file.key, "the object is missing", error) from error
        if len(data) != file.bytes:
            raise self.corruption(file.key, f"{len(data)} bytes instead of {file.bytes}")
        if await self._run(lambda: xxhash.xxh3_64_intdigest(data)) != file.checksum:
            raise self.corruption(file.key, "checksum differs")
        self._keep(("object", file.key), data, len(data))
        return data

    async def _read_footer(self, file: DataFile) -> Footer:
        data = await self._object(file)
        try:
            footer = await self._run(lambda: _parse_footer(data))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.corruption(file.key, f"not a readable Parquet file: {error}", error) from error
        if footer.starts[-1] != file.rows:
            raise self.corruption(file.key, f"{footer.starts[-1]} rows instead of {file.rows}")
        if missing := {ID_COLUMN, SEQ_COLUMN, RESIDUAL_COLUMN} - footer.known:
            raise self.corruption(file.key, f"lacks the column {min(missing)!r}")
        self._keep(("footer", file.key), footer, footer.metadata.serialized_size)
        return footer

    async def _decode(self, file: DataFile, footer: Footer, group: int, names: tuple[str, ...]) -> dict[str, pa.Array]:
        data = await self._object(file)
        try:
            arrays = await self._run(lambda: _decode_group(data, footer, group, names))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.corruption(file.key, f"row group {group} cannot be decoded: {error}", error) from error
        for name, array in arrays.items():
            self._keep(("column", file.key, group, name), array, array.nbytes)
        return arrays

    async def _once(self, name: tuple[Any, ...], work: Callable[[], Awaitable[T]]) -> T:
        # The work is a task of its own: a caller that gives up must not take the others' answer away.
        task = self._flights.get(name)
        if task is None:
            task = self._flights[name] = asyncio.ensure_future(work())
            task.add_done_callback(lambda done: self._landed(name, done))
        return await asyncio.shield(task)

    def _landed(self, name: tuple[Any, ...], task: asyncio.Task[Any]) -> None:
        self._flights.pop(name, None)
        if not task.cancelled():
            task.exception()  # Marks it as seen: every caller may have given up.

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


def _parse_footer(data: bytes) -> Footer:
    parquet = pq.ParquetFile(pa.BufferReader(data))
    metadata = parquet.metadata
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    return Footer(metadata, tuple(parquet.schema_arrow.names), tuple(starts))


def _decode_group(data: bytes, footer: Footer, group: int, names: tuple[str, ...]) -> dict[str, pa.Array]:
    # A reader of its own for each call: one reader is not for several threads.
    parquet = pq.ParquetFile(pa.BufferReader(data), metadata=footer.metadata)
    table = parquet.read_row_group(group, columns=list(names))
    columns = zip(table.column_names, table.itercolumns(), strict=True)
    return {name: one_chunk(column) for name, column in columns}

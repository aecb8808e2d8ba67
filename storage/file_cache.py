"""Data files in memory: whole objects, footers and decoded columns, in one cache bounded by bytes.

A data file never changes, so nothing here is ever stale. An object is read once however many ask for it at the same
time, and checked against the manifest's size and checksum before anything in it is believed.
"""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from parquedb.errors import CorruptionError, ObjectNotFoundError
from parquedb.storage import partial_reads
from parquedb.storage.backend import StorageBackend
from parquedb.storage.column_stats import ColumnStats, group_stats
from parquedb.storage.columns import ID_COLUMN, RESIDUAL_COLUMN, SEQ_COLUMN
from parquedb.storage.data_file import DataFile
from parquedb.storage.partial_reads import SPARSE_BYTES_MIN, Parts, Readable, Span, Tail
from parquedb.storage.shred import one_chunk

T = TypeVar("T")

OBJECT_READS_MAX = 8
"""Objects read from the store at the same time."""

_TAIL_READ_BYTES = 64 << 10


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
        counted_from: Seq of the first row of a file that has no `$seq` column: it was loaded in bulk, and the seqs
            of its rows follow each other. None where the file says them itself.
    """

    metadata: Any
    names: tuple[str, ...]
    starts: tuple[int, ...]
    counted_from: int | None = None

    @cached_property
    def known(self) -> frozenset[str]:
        """`names` as a set."""
        return frozenset(self.names)

    @cached_property
    def dictionaries(self) -> frozenset[str]:
        """Top-level text columns that the file keeps as dictionaries."""
        if not self.groups:
            return frozenset()
        group, schema = self.metadata.row_group(0), self.metadata.schema
        found = set()
        for number in range(group.num_columns):
            column = group.column(number)
            text = schema.column(number).logical_type.type == "STRING"
            if text and column.has_dictionary_page and column.path_in_schema in self.known:
                found.add(column.path_in_schema)
        return frozenset(found)

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return len(self.starts) - 1

    @cached_property
    def decoded_bytes(self) -> int:
        """Size of all columns before compression, about what they take in memory."""
        return sum(self.metadata.row_group(group).total_byte_size for group in range(self.groups))

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

    async def columns(
        self, file: DataFile, group: int, names: Iterable[str] | None = None, *, dictionaries: bool = False
    ) -> dict[str, pa.Array]:
        """Return decoded columns of one row group.

        Args:
            file: The file.
            group: Number of the row group.
            names: Top-level columns, those that the file lacks are left out; None for all.
            dictionaries: Whether text that the file keeps as dictionaries may come as dictionary arrays.

        Raises:
            CorruptionError: as `footer`.
        """
        footer = self._get(("footer", file.key)) or await self.footer(file)
        wanted = footer.names if names is None else [name for name in names if name in footer.known]
        kept_as = footer.dictionaries if dictionaries else frozenset()
        arrays = {name: self._get(_column(file, group, name, name in kept_as)) for name in wanted}
        absent = tuple(name for name, array in arrays.items() if array is None)
        if absent:
            encoded = kept_as.intersection(absent)
            decode = ("decode", file.key, group, absent, encoded)
            arrays |= await self._once(decode, lambda: self._decode(file, footer, group, absent, encoded))
        return arrays

    def columns_now(self, file: DataFile, group: int, names: Iterable[str]) -> dict[str, pa.Array] | None:
        """Return what `columns` with `dictionaries` would, without waiting; None when that is not possible."""
        footer = self._get(("footer", file.key))
        if footer is None:
            return None
        arrays = {}
        for name in names:
            if name in footer.known:
                array = arrays[name] = self._get(_column(file, group, name, name in footer.dictionaries))
                if array is None:
                    return None
        return arrays

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

    async def _readable(self, file: DataFile, footer: Footer, group: int, names: Iterable[str]) -> Readable:
        """Return an object, or as much of it as some columns of a row group need."""
        found: bytes | None = self._get(("object", file.key))
        if found is not None:
            return found
        spans = partial_reads.spans_of(footer.metadata, group, names)
        if file.tail is None or not partial_reads.worth_it(spans, file.bytes):
            return await self._object(file)
        return await self._parts_of(file, spans)

    async def _parts_of(self, file: DataFile, spans: Sequence[Span]) -> Parts:
        """Read parts of an object; who decodes them verifies each page."""

        async def read(start: int, stop: int) -> tuple[int, bytes]:
            async with self._reads:
                try:
                    part = await self._storage.read_range(self._prefix + file.key, start, stop - start)
                except ObjectNotFoundError as error:
                    raise self.corruption(file.key, "the object is missing", error) from error
            if len(part) != stop - start:
                raise self.corruption(file.key, f"it ends at byte {start + len(part)} instead of {file.bytes}")
            return start, part

        return Parts(file.bytes, await asyncio.gather(*[read(*span) for span in spans]))

    async def _read_footer(self, file: DataFile) -> Footer:
        if file.tail is not None and file.bytes >= SPARSE_BYTES_MIN and self._get(("object", file.key)) is None:
            data: Readable = await self._tail(file, file.tail)
        else:
            data = await self._object(file)
        footer = await self._parsed(file, data)
        self._keep(("footer", file.key), footer, footer.metadata.serialized_size)
        return footer

    async def _tail(self, file: DataFile, tail: Tail) -> Parts:
        # PyArrow reads so much of the end by itself, in the hope that the footer is in it.
        size = min(file.bytes, max(tail.bytes, _TAIL_READ_BYTES))
        parts = await self._parts_of(file, [(file.bytes - size, file.bytes)])
        parts.seek(-tail.bytes, io.SEEK_END)
        if xxhash.xxh3_64_intdigest(parts.read()) != tail.checksum:
            raise self.corruption(file.key, "the checksum of its footer differs")
        return parts

    async def _parsed(self, file: DataFile, data: Readable) -> Footer:
        try:
            footer = await self._run(lambda: _parse_footer(data, file))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.corruption(file.key, f"not a readable Parquet file: {error}", error) from error
        if footer.starts[-1] != file.rows:
            raise self.corruption(file.key, f"{footer.starts[-1]} rows instead of {file.rows}")
        if missing := {ID_COLUMN, SEQ_COLUMN, RESIDUAL_COLUMN} - footer.known:
            raise self.corruption(file.key, f"lacks the column {min(missing)!r}")
        return footer

    async def _decode(
        self, file: DataFile, footer: Footer, group: int, names: tuple[str, ...], encoded: frozenset[str]
    ) -> dict[str, pa.Array]:
        data = await self._readable(file, footer, group, names)
        try:
            arrays = await self._run(lambda: decode_group(data, footer, group, names, encoded))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.corruption(file.key, f"row group {group} cannot be decoded: {error}", error) from error
        for name, array in arrays.items():
            self._keep(_column(file, group, name, name in encoded), array, array.nbytes)
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


def _parse_footer(data: Readable, file: DataFile) -> Footer:
    parquet = pq.ParquetFile(partial_reads.reader(data))
    metadata = parquet.metadata
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    names = tuple(parquet.schema_arrow.names)
    if SEQ_COLUMN not in names and file.seq_last - file.seq_first == file.rows - 1:
        return Footer(metadata, (*names, SEQ_COLUMN), tuple(starts), counted_from=file.seq_first)
    return Footer(metadata, names, tuple(starts))


def _column(file: DataFile, group: int, name: str, encoded: bool) -> tuple[Any, ...]:
    return ("dictionary" if encoded else "column", file.key, group, name)


def decode_group(
    data: Readable,
    footer: Footer,
    group: int,
    names: Iterable[str],
    encoded: Iterable[str] = (),
) -> dict[str, pa.Array]:
    """Return decoded columns of one row group of an object, those named in `encoded` as dictionary arrays."""
    # A reader of its own for each call: one reader is not for several threads.
    parquet = pq.ParquetFile(
        partial_reads.reader(data),
        metadata=footer.metadata,
        read_dictionary=list(encoded),
        # Whole objects have been checked as such.
        page_checksum_verification=not isinstance(data, bytes),
    )
    wanted = list(names)
    counted = footer.counted_from is not None and SEQ_COLUMN in wanted
    stored = [name for name in wanted if name != SEQ_COLUMN] if counted else wanted
    table = parquet.read_row_group(group, columns=stored)
    columns = zip(table.column_names, table.itercolumns(), strict=True)
    arrays = {name: one_chunk(column) for name, column in columns}
    if counted and footer.counted_from is not None:
        start, stop = footer.starts[group : group + 2]
        arrays[SEQ_COLUMN] = pa.array(np.arange(footer.counted_from + start, footer.counted_from + stop))
    return arrays


def stored_schema(data: bytes, footer: Footer) -> pa.Schema:
    """Return the types in which `decode_group` gives the columns of an object."""
    schema = pq.ParquetFile(pa.BufferReader(data), metadata=footer.metadata).schema_arrow
    return schema if footer.counted_from is None else schema.append(pa.field(SEQ_COLUMN, pa.int64()))

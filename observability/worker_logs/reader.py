"""Reading the rows of files: only the row groups and bytes that are needed, and only rows that count."""

from __future__ import annotations

import asyncio
import contextlib
import io
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import CorruptionError
from parquedb.observability.worker_logs.catalog import LiveFile, LogCatalog, Part, read_metadata
from parquedb.observability.worker_logs.conditions import ColumnTest, group_may_pass, passing
from parquedb.observability.worker_logs.files import SCHEMA, LogFile
from parquedb.observability.worker_logs.rows import TIME_COLUMNS
from parquedb.observability.worker_logs.storage import Span

WHOLE_BYTES_MAX: Final = 1 << 20
"""A file of at most this size is read whole: one request costs more than the bytes."""

_WHOLE_SHARE: Final = 4
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of one leaf, in their order.

    Attributes:
        part: The leaf, and where it begins in the file.
        table: The rows; the columns asked for.
    """

    part: Part
    table: pa.Table


class LogReader:
    """Reads files of a data set. Lives on one event loop.

    Args:
        catalog: Its files.
    """

    def __init__(self, catalog: LogCatalog) -> None:
        self.catalog = catalog

    async def pieces(
        self, live: LiveFile, tests: Sequence[ColumnTest] = (), columns: Sequence[str] | None = None
    ) -> AsyncIterator[list[Piece]]:
        """Yield the rows of a file that count and pass the tests, a row group at a time, leaf by leaf.

        All bytes are read before the first row is yielded: a file that is deleted meanwhile yields all or nothing.

        Args:
            live: The file.
            tests: Rows that fail one are left out.
            columns: Those returned; all when None. Must hold those of the tests.

        Raises:
            ObjectNotFoundError: it has been superseded and deleted; list again.
            CorruptionError: it cannot be read.
        """
        file, data = live.file, None
        if file.bytes <= WHOLE_BYTES_MAX:
            data = await self.catalog.storage.read(file.key)
            if len(data) != file.bytes:
                raise CorruptionError(key=file.key, reason=f"expected {file.bytes} bytes, got {len(data)}")
            metadata = read_metadata(file, data)
        else:
            metadata = await self.catalog.footer(file)
        groups = [group for group in _groups(live, metadata) if group_may_pass(tests, metadata.row_group(group))]
        if not groups:
            return
        source = io.BytesIO(data) if data is not None else await self._fetch(file, metadata, groups)
        decoder = _Decoder(live, metadata, source, tests, columns)
        for group in groups:
            yield await asyncio.to_thread(decoder.read, group)

    async def _fetch(
        self, file: LogFile, metadata: pq.FileMetaData, groups: Sequence[int]
    ) -> io.RawIOBase | io.BytesIO:
        spans = [_span(metadata.row_group(group)) for group in groups]
        if _WHOLE_SHARE * sum(end - start for start, end in spans) >= file.bytes:
            return io.BytesIO(await self.catalog.storage.read(file.key))
        found = await self.catalog.storage.read_ranges([Span(file.key, start, end - start) for start, end in spans])
        return SparseFile(file.bytes, {start: data for (start, _), data in zip(spans, found, strict=True)})


class SparseFile(io.RawIOBase):
    """A file of which only some spans are there; reading elsewhere is an error.

    Args:
        size: Bytes of the whole file.
        spans: Bytes by where they begin.
    """

    def __init__(self, size: int, spans: Mapping[int, bytes]) -> None:
        super().__init__()
        self._size = size
        self._starts = sorted(spans)
        self._spans = spans
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset from the beginning, from here, or from the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the offset from the beginning."""
        return self._at

    def read(self, length: int | None = -1) -> bytes:
        """Return bytes from here.

        Raises:
            OSError: they are not there.
        """
        end = self._size if length is None or length < 0 else min(self._size, self._at + length)
        index = bisect_right(self._starts, self._at) - 1
        start = self._starts[index] if index >= 0 else 0
        data = self._spans[start][self._at - start : end - start] if index >= 0 else b""
        if len(data) != end - self._at:
            raise OSError(f"bytes {self._at} to {end} were not read from the store")
        self._at = end
        return data


def _span(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """Return where the columns of a row group begin and end in the file."""
    starts, ends = [], []
    for index in range(group.num_columns):
        column = group.column(index)
        start = column.data_page_offset
        if column.dictionary_page_offset is not None:
            start = min(start, column.dictionary_page_offset)
        starts.append(start)
        ends.append(start + column.total_compressed_size)
    return min(starts), max(ends)


def _groups(live: LiveFile, metadata: pq.FileMetaData) -> Iterator[int]:
    """Yield the row groups that hold rows which count."""
    if len(live.parts) == len(live.leaves):
        yield from range(metadata.num_row_groups)
        return
    start = 0
    for group in range(metadata.num_row_groups):
        end = start + metadata.row_group(group).num_rows
        if any(part.start < end and part.start + part.leaf.rows > start for part in live.parts):
            yield group
        start = end


class _Decoder:
    """Decodes row groups of one file, in any thread but one at a time."""

    def __init__(
        self,
        live: LiveFile,
        metadata: pq.FileMetaData,
        source: io.RawIOBase | io.BytesIO,
        tests: Sequence[ColumnTest],
        columns: Sequence[str] | None,
    ) -> None:
        self._live = live
        self._tests = tests
        self._columns = None if columns is None else list(columns)
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        with self._checked():
            self._file = pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True)
            # Pages carry checksums, the footer does not.
            if not self._file.schema_arrow.equals(SCHEMA):
                raise ValueError("its columns are not those of worker logs")

    def read(self, group: int) -> list[Piece]:
        """Return what of a row group counts and passes the tests."""
        with self._checked():
            table = self._file.read_row_group(group, columns=self._columns)
            return list(_cut(self._live, table.replace_schema_metadata(None), self._starts[group], self._tests))

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            key = self._live.file.key
            raise CorruptionError(key=key, reason=f"it cannot be decoded: {error}", cause=error) from error


def _cut(live: LiveFile, table: pa.Table, start: int, tests: Sequence[ColumnTest]) -> Iterator[Piece]:
    end = start + table.num_rows
    for part in live.parts:
        rows = part.leaf.rows if part.leaf.rows >= 0 else table.num_rows + start
        low, high = max(start, part.start), min(end, part.start + rows)
        if low < high:
            kept = passing(tests, table.slice(low - start, high - low))
            if kept.num_rows:
                yield Piece(part, kept)


def documents_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as documents: a column without a value is left out, `attributes` is a dict, times are UTC-aware."""
    columns: dict[str, Iterable[Any]] = {}
    for name in SCHEMA.names:
        values = table.column(name)
        if name in TIME_COLUMNS:
            columns[name] = [moment_of(micros) for micros in values.cast(pa.int64()).to_pylist()]
        elif name == "attributes":
            columns[name] = [None if text is None else orjson.loads(text) for text in values.to_pylist()]
        elif values.null_count < len(values):
            columns[name] = values.to_pylist()
    names = list(columns)
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns.values(), strict=True)
    ]


def moment_of(micros: int) -> datetime:
    """Return microseconds since 1970 as a moment, UTC-aware."""
    return _EPOCH + timedelta(microseconds=micros)

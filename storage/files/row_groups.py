"""The structure of a Parquet data file, and decoding its row groups into columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import NewerFormatError
from parquedb.storage.files import partial_reads
from parquedb.storage.files.column_stats import ColumnStats, group_stats
from parquedb.storage.files.columns import SEQ_COLUMN
from parquedb.storage.files.data_file import FORMAT, DataFile
from parquedb.storage.files.partial_reads import Parts, Readable, Span
from parquedb.storage.files.shred import one_chunk

_IDLE_MAX = 2
"""Readers of one file that are kept open."""

_MEMORY_PER_BYTE = 16
"""PyArrow's objects for a footer of 4 kB take 38 kB, a reader 18 kB, what is worked out of them the rest."""

DECODE_ERRORS = (pa.ArrowException, OSError, ValueError)
"""What decoding damaged bytes raises."""


@dataclass(frozen=True)
class Footer:
    """The structure of one Parquet file.

    Attributes:
        metadata: As PyArrow read it.
        size: Of the file, bytes.
        names: Top-level columns.
        starts: First row of each row group, and the number of rows at the end.
        counted_from: Seq of the first row of a file that has no `$seq` column: it was loaded in bulk, and the seqs
            of its rows follow each other. None where the file says them itself.
    """

    metadata: Any
    size: int
    names: tuple[str, ...]
    starts: tuple[int, ...]
    counted_from: int | None = None

    @cached_property
    def known(self) -> frozenset[str]:
        """`names` as a set."""
        return frozenset(self.names)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The columns without columns below them: dotted path, as Parquet has it, to number."""
        schema = self.metadata.schema
        return {schema.column(number).path: number for number in range(len(schema))}

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

    @cached_property
    def idle(self) -> list[PartsReader]:
        """Readers of parts of the file that nobody uses now; shared by threads, each of which takes one out."""
        return [PartsReader(self)] if self.size >= partial_reads.SPARSE_BYTES_MIN else []

    def prepare(self) -> None:
        """Find out what every query asks for, where it keeps nobody waiting."""
        _ = self.known, self.dictionaries, self._leaves, self._chunks, self.idle
        if self.groups > 1:
            _ = self.stats

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory, with its readers."""
        return _MEMORY_PER_BYTE * int(self.metadata.serialized_size)

    def stored(self, names: Iterable[str] | None) -> tuple[str, ...]:
        """Return which columns hold what is asked for.

        Args:
            names: Top-level columns, or dotted paths below them; None for all.

        Returns:
            Each path as it is if it is a column, else the top-level column that it begins in; without those that the
            file lacks.
        """
        if names is None:
            return self.names
        found = (name if name in self.numbers else top_level(name) for name in names)
        return tuple(name for name in found if name in self.numbers or name in self.known)

    def spans(self, portions: Iterable[tuple[int, Iterable[str]]]) -> list[Span]:
        """Return where columns lie, ascending, near ones joined.

        Args:
            portions: Number of each row group, and which of its columns.
        """
        leaves, chunks = self._leaves, self._chunks
        return partial_reads.joined(
            chunks[group][number] for group, names in portions for name in names for number in leaves.get(name, ())
        )

    @cached_property
    def _leaves(self) -> dict[str, tuple[int, ...]]:
        """The numbers of the columns at or below each path of `numbers`, and each top-level one."""
        found: dict[str, tuple[int, ...]] = {}
        for path, number in self.numbers.items():
            for name in {path, top_level(path)}:
                found[name] = (*found.get(name, ()), number)
        return found

    @cached_property
    def _chunks(self) -> tuple[tuple[Span, ...], ...]:
        """Where each column of each row group lies."""
        groups = (self.metadata.row_group(group) for group in range(self.groups))
        return tuple(
            tuple(partial_reads.chunk_span(group.column(number)) for number in range(group.num_columns))
            for group in groups
        )


def top_level(name: str) -> str:
    """Return the first segment of a dotted path."""
    return name.partition(".")[0]


def parse_footer(data: Readable, file: DataFile) -> Footer:
    """Return the structure of an object.

    Raises:
        DECODE_ERRORS: it is no Parquet file.
        NewerFormatError: a later version wrote it.
    """
    parquet = pq.ParquetFile(partial_reads.reader(data))
    metadata = parquet.metadata
    format_ = (metadata.metadata or {}).get(b"parquedb.format", FORMAT.encode()).decode("ascii", "replace")
    if format_.isdigit() and int(format_) > int(FORMAT):
        raise NewerFormatError(key=file.key, reason=f"format {format_} of data files, known up to {FORMAT}")
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    names = tuple(parquet.schema_arrow.names)
    counted_from = None
    if SEQ_COLUMN not in names and file.seq_last - file.seq_first == file.rows - 1:
        names, counted_from = (*names, SEQ_COLUMN), file.seq_first
    footer = Footer(metadata, file.bytes, names, tuple(starts), counted_from)
    footer.prepare()
    return footer


class PartsReader:
    """PyArrow's reader of one file, opened once and shown other parts of it each time.

    Opening one takes a quarter of the time in which it decodes a column of 50 000 numbers.
    """

    def __init__(self, footer: Footer) -> None:
        self._source = Parts(footer.size, ())
        self._parquet = _open(pa.PythonFile(self._source, mode="r"), footer, footer.dictionaries, verify=True)

    def read(self, data: Parts, read: Callable[[pq.ParquetFile], pa.Table]) -> pa.Table:
        """Return what `read` makes of some parts, and let go of them."""
        self._source.parts = data.parts
        table = read(self._parquet)
        self._source.parts = []
        return table


def decode_groups(  # noqa: PLR0913 - what to decode, and how
    data: Readable,
    footer: Footer,
    groups: Sequence[int],
    names: Iterable[str],
    *,
    encoded: Collection[str] = frozenset(),
    threads: bool = True,
) -> list[dict[str, pa.Array]]:
    """Return columns of some row groups by their top-level names; one call of PyArrow, during which other threads run.

    Args:
        data: The object.
        footer: Its structure.
        groups: Numbers of the row groups. Where there are several, the arrays of a column may share memory.
        names: Top-level columns, or dotted paths of columns: a struct then has only the children asked for.
        encoded: Columns that come as dictionary arrays.
        threads: Whether to decode several columns at the same time.

    Raises:
        DECODE_ERRORS: the object is damaged.
    """
    wanted = list(names)
    counted = footer.counted_from is not None and SEQ_COLUMN in wanted
    stored = [name for name in wanted if name != SEQ_COLUMN] if counted else wanted

    def read(parquet: pq.ParquetFile) -> pa.Table:
        return parquet.read_row_groups(groups, columns=stored, use_threads=threads)

    table = _by_reader(data, footer, stored, encoded, read)
    rows = sum(footer.starts[group + 1] - footer.starts[group] for group in groups)
    if table.num_rows != rows and stored:
        raise ValueError(f"{table.num_rows} rows instead of {rows}")
    found, first = [], 0
    for group in groups:
        start, stop = footer.starts[group : group + 2]
        part = table if len(groups) == 1 else table.slice(first, stop - start)
        arrays = {name: one_chunk(column) for name, column in zip(part.column_names, part.itercolumns(), strict=True)}
        if counted and footer.counted_from is not None:
            arrays[SEQ_COLUMN] = _counted(footer.counted_from + start, stop - start)
        found.append(arrays)
        first += stop - start
    return found


def decode_group(data: Readable, footer: Footer, group: int, names: Iterable[str]) -> dict[str, pa.Array]:
    """Return columns of one row group of an object, as `decode_groups` does."""
    [arrays] = decode_groups(data, footer, [group], names)
    return arrays


def _by_reader(
    data: Readable,
    footer: Footer,
    names: Collection[str],
    encoded: Collection[str],
    read: Callable[[pq.ParquetFile], pa.Table],
) -> pa.Table:
    """Read with a reader that stands idle, or a new one."""
    if isinstance(data, bytes):
        # Whole objects have been checked as such.
        return read(_open(pa.BufferReader(data), footer, encoded, verify=False))
    if any(name in footer.dictionaries and name not in encoded for name in names):
        return read(_open(data.opened(), footer, encoded, verify=True))
    try:
        reader = footer.idle.pop()
    except IndexError:
        reader = PartsReader(footer)
    table = reader.read(data, read)
    # Not after an error: nobody knows what damaged bytes have left in it.
    if len(footer.idle) < _IDLE_MAX:
        footer.idle.append(reader)
    return table


def _open(source: Any, footer: Footer, encoded: Iterable[str], *, verify: bool) -> pq.ParquetFile:
    return pq.ParquetFile(
        source,
        metadata=footer.metadata,
        read_dictionary=list(encoded),
        page_checksum_verification=verify,
        # What is read lies in memory already: reading ahead would only take other threads.
        pre_buffer=False,
    )


def stored_schema(data: bytes, footer: Footer) -> pa.Schema:
    """Return the types in which `decode_group` gives the columns of an object."""
    schema = pq.ParquetFile(pa.BufferReader(data), metadata=footer.metadata).schema_arrow
    return schema if footer.counted_from is None else schema.append(pa.field(SEQ_COLUMN, pa.int64(), nullable=False))


def _counted(first: int, count: int) -> pa.Array:
    """Return `count` numbers from `first` on."""
    # Not `pa.array`: that looks whether it is given pandas data, and imports pandas for it, which takes 0.1 s.
    return pa.Array.from_buffers(
        pa.int64(), count, [None, pa.py_buffer(np.arange(first, first + count, dtype=np.int64))]
    )

"""One data file: rows of many documents as Parquet, and what the manifest says of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from parquedb.errors import NewerFormatError
from parquedb.storage.files import column_stats
from parquedb.storage.files.column_stats import ColumnStats, leaves
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN, SEQ_COLUMN, ColumnRegistry
from parquedb.storage.files.id_index import Hashes, IdIndex, Positions
from parquedb.storage.files.partial_reads import Tail, tail_of
from parquedb.storage.files.shred import Row, shred_with_leftovers

FORMAT = "1"
"""Value of the file's `parquedb.format` key; a change that an older reader would misread raises it."""

ROW_GROUP_ROWS = 131_072

_SAMPLE_ROWS = 4_096
_DICTIONARY_SHARE = 0.25
_DICTIONARY_BYTES_MAX = 1 << 20
"""Where PyArrow gives a dictionary up, after having written it."""

_NO_DICTIONARY = frozenset({ID_COLUMN, SEQ_COLUMN, RESIDUAL_COLUMN})


@dataclass(frozen=True, slots=True, weakref_slot=True)
class DataFile:
    """What the manifest says of one data file.

    Attributes:
        key: Relative to the namespace.
        rows: Dead ones included.
        bytes: Size of the object.
        checksum: XXH3-64 of the object.
        id_min: Least bare id (inclusive).
        id_max: Greatest bare id (inclusive).
        seq_first: Least `$seq` (inclusive).
        seq_last: Greatest `$seq` (inclusive).
        sorted: Rows ascend by `$id`.
        stats: By dotted path of each typed leaf column; a path that is not here has no typed value in the file.
        residual_paths: Top-level fields some row of which has a part in `$residual`.
        tail: Size and checksum of the object's footer, by which parts of it can be read; None: only the whole.
    """

    key: str
    rows: int
    bytes: int
    checksum: int
    id_min: str
    id_max: str
    seq_first: int
    seq_last: int
    sorted: bool
    stats: Mapping[str, ColumnStats]
    residual_paths: frozenset[str]
    tail: Tail | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return plain data; `from_wire` is the inverse."""
        wire = {field.name: getattr(self, field.name) for field in fields(self)}
        return wire | {
            "stats": column_stats.to_wire(self.stats),
            "residual_paths": sorted(self.residual_paths),
            "tail": self.tail and list(self.tail),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> DataFile:
        """Rebuild what `to_wire` gave.

        Raises:
            NewerFormatError: a later version says of the file what this one does not know.
        """
        if unknown := wire.keys() - {field.name for field in fields(cls)}:
            raise NewerFormatError(key=wire["key"], reason=f"a data file with {', '.join(sorted(unknown))}")
        return cls(
            **{
                **wire,
                "stats": column_stats.from_wire(wire["stats"]),
                "residual_paths": frozenset(wire["residual_paths"]),
                "tail": Tail(*wire["tail"]) if wire.get("tail") else None,
            }
        )

    def may_hold(self, id: str) -> bool:  # noqa: A002 - the public word for it
        """Whether a bare id lies in the file's range."""
        return self.id_min <= id <= self.id_max


@dataclass(frozen=True, slots=True)
class Built:
    """A file ready to be stored.

    Attributes:
        data: The object.
        file: Its description.
        registry: The namespace's columns after this batch.
        id_hashes: XXH3-64 of every bare id, ascending.
        positions: The row of each hash.
    """

    data: bytes
    file: DataFile
    registry: ColumnRegistry
    id_hashes: Hashes
    positions: Positions


def build(key: str, rows: Sequence[Row], registry: ColumnRegistry) -> Built:
    """Make the Parquet file of a batch: row groups of `ROW_GROUP_ROWS`, sorted by `$id`.

    Takes CPU time in proportion to the rows and awaits nothing: run it in an executor.

    Args:
        key: Of the object to be, relative to the namespace.
        rows: At least one, ids distinct, in any order.
        registry: The namespace's columns so far.

    Raises:
        ValueError: no rows, or two rows of one id.

    Source:
        Apache Parquet format, `SortingColumn`; PyArrow `write_table`.
    """
    if not rows:
        raise ValueError("a data file has at least one row")
    rows = sorted(rows, key=_row_id)
    table, registry, residual_paths = shred_with_leftovers(rows, registry)
    # A namespace holds no slash, so the first one ends it.
    ids = [document[ID_COLUMN].partition("/")[2] for document, _ in rows]
    if any(map(str.__eq__, ids, ids[1:])):
        raise ValueError("two rows of a data file have the same $id")
    seqs = pc.min_max(table.column(SEQ_COLUMN)).as_py()
    data = write_table(table, sorted_by_id=True)
    index = IdIndex.of(ids)
    file = DataFile(
        key=key,
        rows=len(rows),
        bytes=len(data),
        checksum=xxhash.xxh3_64_intdigest(data),
        id_min=ids[0],
        id_max=ids[-1],
        seq_first=seqs["min"],
        seq_last=seqs["max"],
        sorted=True,
        stats=column_stats.column_stats(table),
        residual_paths=residual_paths,
        tail=tail_of(data),
    )
    return Built(data, file, registry, index.hashes, index.positions)


def warm_up() -> None:
    """Make and drop a file of one row, so that what PyArrow loads and starts lazily is there when it matters."""
    build("data/warm", [({ID_COLUMN: "warm/up", "version": 1}, 1)], ColumnRegistry.empty())


def write_table(table: pa.Table, *, sorted_by_id: bool, row_group_rows: int = ROW_GROUP_ROWS) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    full = frozenset(name for name, column in zip(table.column_names, table.columns, strict=True) if is_full(column))
    table = pa.Table.from_arrays(table.columns, schema=file_schema(table.schema, full))
    sorting = [pq.SortingColumn(table.column_names.index(ID_COLUMN))] if sorted_by_id else None
    dictionaries = low_cardinality(table, row_group_rows)
    pq.write_table(
        table,
        sink,
        row_group_size=row_group_rows,
        compression=codecs(table, dictionaries),
        use_dictionary=dictionaries,
        write_statistics=True,
        write_page_checksum=True,
        sorting_columns=sorting,
    )
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow carries no types.


def is_full(column: pa.ChunkedArray) -> bool:
    """Whether no row lacks a value."""
    return column.null_count == 0  # type: ignore[no-any-return]  # pyarrow carries no types.


def file_schema(schema: pa.Schema, full: Collection[str]) -> pa.Schema:
    """Return the schema of a file: top-level columns in which no row lacks a value are required.

    Of those the file does not say row by row whether there is a value, and nobody has to decode it: that is a quarter
    of the time for numbers, two thirds for dictionaries of text.
    """
    fields = [field.with_nullable(field.name not in full) for field in schema]
    return pa.schema(fields, {"parquedb.format": FORMAT})


def _row_id(row: Row) -> str:
    return row[0][ID_COLUMN]  # type: ignore[no-any-return]  # `$id` of a document is text.


def low_cardinality(table: pa.Table, row_group_rows: int = ROW_GROUP_ROWS) -> list[str]:
    """Return the Parquet paths of the columns that get a dictionary, judged by a sample of the rows."""
    # A dictionary of a unique column fails anew in every row group, which costs a third of the writing time.
    paths = []
    for path, array in leaves(table):
        if path in _NO_DICTIONARY or pa.types.is_boolean(array.type):
            continue
        values = array.flatten() if pa.types.is_list(array.type) else array
        step = max(1, len(values) // _SAMPLE_ROWS)
        sample = values.take(pa.array(np.arange(0, len(values), step))).drop_null()
        if not len(sample):
            continue
        distinct = _distinct(sample, whole=step == 1)
        in_group = min(len(values), row_group_rows)
        entry_bytes = sample.nbytes / len(sample)
        if distinct <= max(1, in_group * _DICTIONARY_SHARE) and distinct * entry_bytes <= _DICTIONARY_BYTES_MAX:
            paths.append(_parquet_path(path, array))
    return paths


def codecs(table: pa.Table, dictionaries: Collection[str]) -> dict[str, str]:
    """Return the compression of each Parquet path: zstd, but Snappy for those that have a dictionary."""
    # Packed indices hold little that zstd could find: it saves a tenth of their bytes, and unpacking it took a third
    # of the time of decoding the column.
    paths = [_parquet_path(path, array) for path, array in leaves(table)]
    return {path: "snappy" if path in dictionaries else "zstd" for path in paths}


def _parquet_path(path: str, array: pa.Array) -> str:
    return f"{path}.list.element" if pa.types.is_list(array.type) else path


def _distinct(sample: pa.Array, *, whole: bool) -> float:
    """Return about how many distinct values there are where these were sampled, or in `whole`, exactly.

    Source:
        A. Chao, "Nonparametric estimation of the number of classes in a population", 1984, bias-corrected.
    """
    counts = pc.value_counts(sample).field("counts").to_numpy()
    if whole:
        return len(counts)
    once, twice = int(np.count_nonzero(counts == 1)), int(np.count_nonzero(counts == 2))  # noqa: PLR2004
    return len(counts) + once * (once - 1) / (2 * (twice + 1))

"""Parquet files that are imported and exported.

An exported file has the columns of a snapshot but `$seq`: typed ones, and `$residual` with what does not fit those. It
is imported exactly: rows with a residual become documents, the others stay columns. Other files have no `$residual`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import InvalidInputError
from parquedb.storage.bulk.arrow_fields import column_of, typed
from parquedb.storage.bulk.table import check_names
from parquedb.storage.compaction.merge_schema import Schema, conform
from parquedb.storage.exchange.file_formats import Place, reading
from parquedb.storage.exchange.row_pieces import (
    MARKED_DELETED,
    PIECE_BYTES_MAX,
    PIECE_DOCUMENTS_MAX,
    PIECE_ROWS_MAX,
    SET_BY_DATABASE,
    Document,
    Lines,
    Piece,
    Refusals,
    is_deleted,
    without_managed,
)
from parquedb.storage.files.columns import ID_COLUMN, PATHS_MAX, RESIDUAL_COLUMN, SEQ_COLUMN, Column, ColumnRegistry
from parquedb.storage.files.shred import one_chunk, shred, unshred

GROUP_ROWS: Final = 131_072
GROUP_BYTES: Final = 64 << 20
_BATCH_ROWS: Final = 65_536
_UUID_BYTES: Final = 16


class ParquetReader:
    """Reads one Parquet file.

    Args:
        place: The file.
        refusals: Takes the rows that stand for deleted documents.
        id_column: The column that holds the ids.

    Raises:
        InvalidInputError: it is no Parquet file.
        ValidationError: a column cannot be a field.
    """

    def __init__(self, place: Place, refusals: Refusals, id_column: str) -> None:
        self._place = place
        self._refusals = refusals
        with reading(place):
            self._file = pq.ParquetFile(place.path)
            schema = self._file.schema_arrow
        self._own = {ID_COLUMN, RESIDUAL_COLUMN} <= set(schema.names)
        managed = SET_BY_DATABASE if ID_COLUMN in schema.names else ()
        kept = [one for one in schema if one.name not in managed and not (self._own and one.name == RESIDUAL_COLUMN)]
        check_names(pa.schema(kept), id_column)
        for one in kept:
            _check_type(one)

    def pieces(self) -> Iterator[Piece]:
        """Yield the rows: tables, and documents for rows that are not all in typed columns.

        Raises:
            InvalidInputError: the file cannot be read, or a row may not be left out.
        """
        total, size = max(1, self._file.metadata.num_rows), self._place.path.stat().st_size
        batches = self._file.iter_batches(self._batch_rows())
        start = 0
        held: list[pa.RecordBatch] = []
        while True:
            with reading(self._place):
                batch = next(batches, None)
            if held and (batch is None or _is_full(held, batch)):
                table = pa.Table.from_batches(held)
                lines = np.arange(start + 1, start + 1 + table.num_rows, dtype=np.int64)
                start += table.num_rows
                yield from self._split(table, lines, size * start // total)
                held = []
            if batch is None:
                return
            held.append(batch)

    def _batch_rows(self) -> int:
        """Return how many rows are decoded at once, a small part of a piece."""
        metadata = self._file.metadata
        decoded = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        row_bytes = max(1, decoded // max(1, metadata.num_rows))
        return max(1, min(_BATCH_ROWS, PIECE_BYTES_MAX // 4 // int(row_bytes)))

    def _split(self, table: pa.Table, lines: Lines, bytes_read: int) -> Iterator[Piece]:
        deleted = is_deleted(table)
        if deleted.any():
            for line in lines[deleted].tolist():
                self._refusals.add(line, MARKED_DELETED)
            table, lines = table.filter(pa.array(~deleted)), lines[~deleted]
        if not self._own:
            yield from _pieces_of(without_managed(table), lines, bytes_read)
            return
        odd = table.column(RESIDUAL_COLUMN).is_valid().to_numpy()
        regular = without_managed(table.filter(pa.array(~odd)).drop_columns([RESIDUAL_COLUMN]))
        regular = regular.cast(pa.schema([(one.name, _with_uuids(one.type)) for one in regular.schema]))
        yield from _pieces_of(regular, lines[~odd], bytes_read)
        if odd.any():
            try:
                documents = unshred(with_plain_uuids(without_managed(table.filter(pa.array(odd)))))
            except ValueError as error:
                message = f"not a file that was exported: {RESIDUAL_COLUMN} cannot be read: {error}"
                raise InvalidInputError(message, field="path") from error
            rest = Piece(documents, lines[odd], bytes_read)
            for start in range(0, len(documents), PIECE_DOCUMENTS_MAX):
                yield rest.part(start, start + PIECE_DOCUMENTS_MAX)


def _pieces_of(table: pa.Table, lines: Lines, bytes_read: int) -> Iterator[Piece]:
    if table.num_rows:
        yield Piece(table, lines, bytes_read)


def _is_full(held: Sequence[pa.RecordBatch], batch: pa.RecordBatch) -> bool:
    parts = [*held, batch]
    rows, size = sum(one.num_rows for one in parts), sum(one.nbytes for one in parts)
    return bool(rows > PIECE_ROWS_MAX or size > PIECE_BYTES_MAX)


def _check_type(field: pa.Field) -> None:
    """Accept a column of a type that documents have; raises ValidationError for another."""
    if pa.types.is_null(field.type):
        return
    typed(field.name, pa.nulls(1, field.type))


class ParquetWriter:
    """Writes rows as Parquet; what is not in typed columns goes to `$residual`.

    Args:
        stream: Takes bytes.
        schema: The columns, as in a snapshot.
    """

    def __init__(self, stream: Any, schema: Schema) -> None:
        self._schema = {name: kind for name, kind in schema.items() if name not in {SEQ_COLUMN, RESIDUAL_COLUMN}}
        self._schema[RESIDUAL_COLUMN] = pa.string()
        self._registry = ColumnRegistry(_columns(self._schema.items()), PATHS_MAX)
        # Inside of lists and structs pandas could not read them.
        uuids = {name: pa.uuid() for name, kind in self._schema.items() if kind == pa.binary(_UUID_BYTES)}
        self._arrow = pa.schema([(name, uuids.get(name, kind)) for name, kind in self._schema.items()])
        self._writer = pq.ParquetWriter(stream, self._arrow, compression="zstd")
        self._held: list[pa.Table] = []
        self._rows = self._bytes = 0

    def table(self, table: pa.Table) -> None:
        """Write the rows of a snapshot's columns."""
        names = [name for name in self._schema if name in table.column_names]
        arrays = {name: one_chunk(table.column(name)) for name in names}
        whole, _ = conform(arrays, self._schema, table.num_rows)
        self._hold(whole.cast(self._arrow) if whole.schema != self._arrow else whole)

    def documents(self, documents: Sequence[Document]) -> None:
        """Write some documents."""
        if documents:
            rows, _ = shred([(document, 0) for document in documents], self._registry)
            self.table(rows)

    def close(self) -> None:
        """End the file."""
        self._write()
        self._writer.close()

    def _hold(self, table: pa.Table) -> None:
        self._held.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held), row_group_size=GROUP_ROWS)
            self._held, self._rows, self._bytes = [], 0, 0


def schema_of(documents: Sequence[Document]) -> Schema:
    """Return the columns that documents are best kept in."""
    table, _ = shred([(document, 0) for document in documents], ColumnRegistry.empty())
    return {one.name: one.type for one in table.schema}


def _columns(fields: Iterable[tuple[str, pa.DataType]]) -> dict[str, Column]:
    return {name: column_of(kind) for name, kind in fields if name != RESIDUAL_COLUMN}


def _with_uuids(kind: pa.DataType) -> pa.DataType:
    """Return a type with 16 bytes said to be what they are in a file of ours: UUIDs."""
    if kind == pa.binary(_UUID_BYTES):
        return pa.uuid()
    if pa.types.is_struct(kind):
        return pa.struct([(one.name, _with_uuids(one.type)) for one in kind])
    return pa.list_(_with_uuids(kind.value_type)) if pa.types.is_list(kind) else kind


def with_plain_uuids(table: pa.Table) -> pa.Table:
    """Return a table with UUIDs as the 16 bytes that `unshred` knows them by."""
    return table.cast(pa.schema([(one.name, _without_uuids(one.type)) for one in table.schema]))


def _without_uuids(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.UuidType):
        return kind.storage_type
    if pa.types.is_struct(kind):
        return pa.struct([(one.name, _without_uuids(one.type)) for one in kind])
    return pa.list_(_without_uuids(kind.value_type)) if pa.types.is_list(kind) else kind

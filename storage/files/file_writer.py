"""Writing one data file piece by piece, a row group at a time, with everything the manifest says of it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from parquedb.storage.files.column_stats import ColumnStats, column_stats, joined
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN, SEQ_COLUMN, ColumnRegistry
from parquedb.storage.files.data_file import Built, DataFile, codecs, file_schema, low_cardinality
from parquedb.storage.files.id_index import Hashes
from parquedb.storage.files.partial_reads import tail_of


class FileWriter:
    """One file being made. Rows come in ascending order of `$id`, each piece becoming one row group.

    All calls take CPU time: run them in an executor, one at a time.

    Args:
        key: Of the object to be, relative to the namespace.
        full: Columns in which no row of the file will lack a value.
    """

    def __init__(self, key: str, full: Collection[str] = ()) -> None:
        self._key = key
        self._full = full
        self._sink = pa.BufferOutputStream()
        self._writer: pq.ParquetWriter | None = None
        self._hashes: list[Hashes] = []
        self._stats: dict[str, ColumnStats] = {}
        self._seqs: list[int] = []
        self._id_min = self._id_max = ""
        self._rows = 0
        self._residuals = False

    def write(self, table: pa.Table, hashes: Hashes) -> None:
        """Add rows.

        Args:
            table: At least one row, complete, with the same schema each time.
            hashes: XXH3-64 of each row's bare id.

        Raises:
            ValueError: an id is not greater than the one before it, or a full column has a row without a value.
        """
        ids = table.column(ID_COLUMN).combine_chunks()
        first, last = ids[0].as_py(), ids[len(ids) - 1].as_py()
        if (self._rows and first <= self._id_max) or not pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py():
            raise ValueError(f"two rows of the data file {self._key!r} have the same $id, or they are not in order")
        if self._writer is None:
            self._writer = self._open(table)
            self._id_min = first
        self._id_max = last
        rows = pa.Table.from_arrays(table.columns, schema=self._writer.schema)
        self._writer.write_table(rows, row_group_size=len(ids))
        self._stats = joined(self._stats, self._rows, column_stats(table), len(ids))
        self._seqs += pc.min_max(table.column(SEQ_COLUMN)).as_py().values()
        self._residuals |= table.column(RESIDUAL_COLUMN).null_count < len(ids)
        self._hashes.append(hashes)
        self._rows += len(ids)

    def finish(self, registry: ColumnRegistry, residual_paths: frozenset[str]) -> Built:
        """Return the finished file.

        Args:
            registry: The namespace's columns.
            residual_paths: Fields that may have a part in `$residual`; ignored where no row has a residual.

        Raises:
            ValueError: no rows were written.
        """
        if self._writer is None:
            raise ValueError("a data file has at least one row")
        self._writer.close()
        data = self._sink.getvalue().to_pybytes()
        hashes = np.concatenate(self._hashes)
        order = np.argsort(hashes, kind="stable")
        file = DataFile(
            key=self._key,
            rows=self._rows,
            bytes=len(data),
            checksum=xxhash.xxh3_64_intdigest(data),
            id_min=self._id_min.partition("/")[2],
            id_max=self._id_max.partition("/")[2],
            seq_first=min(self._seqs),
            seq_last=max(self._seqs),
            sorted=True,
            stats=self._stats,
            residual_paths=residual_paths if self._residuals else frozenset(),
            tail=tail_of(data),
        )
        return Built(data, file, registry, hashes[order], order.astype(np.uint32))

    def _open(self, table: pa.Table) -> pq.ParquetWriter:
        schema = file_schema(table.schema, self._full)
        # Judged by the first rows only: a wrong guess costs space or time, nothing else.
        dictionaries = low_cardinality(table)
        return pq.ParquetWriter(
            self._sink,
            schema,
            compression=codecs(table, dictionaries),
            use_dictionary=dictionaries,
            write_statistics=True,
            write_page_checksum=True,
            sorting_columns=[pq.SortingColumn(schema.get_field_index(ID_COLUMN))],
        )

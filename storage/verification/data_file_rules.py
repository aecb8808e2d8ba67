"""Whether one data file is what the manifest says of it, down to every page and every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from parquedb.storage.files import residual
from parquedb.storage.files.column_stats import ColumnStats, column_stats, joined
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN, SEQ_COLUMN, kind_of_type
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.data_files import bare_ids
from parquedb.storage.files.id_index import Hashes
from parquedb.storage.files.partial_reads import Parts, Readable
from parquedb.storage.files.row_groups import DECODE_ERRORS, Footer, parse_footer
from parquedb.storage.files.shred import one_chunk
from parquedb.storage.verification.report import Findings
from parquedb.storage.verification.rules import Rule
from parquedb.storage.verification.spill import Spill
from parquedb.storage.verification.traces import Numbers, Trace, Versions, hash_ids

_NEEDED: Final = (ID_COLUMN, SEQ_COLUMN, RESIDUAL_COLUMN)
_VERSION: Final = "version"


def check_footer(data: Readable, file: DataFile, key: str, findings: Findings) -> Footer | None:
    """Check the structure of a file; return it, or None where there is no use in going on.

    Args:
        data: The object, or its end.
        file: What the manifest says of it.
        key: Its name in findings.
        findings: Where faults go.
    """
    try:
        footer = parse_footer(data, file)
    except DECODE_ERRORS as error:
        findings.add(Rule.DATA_FILE_FOOTER, key, f"not a readable Parquet file: {error}")
        return None
    if footer.starts[-1] != file.rows:
        findings.add(Rule.DATA_FILE_ROWS, key, f"{footer.starts[-1]} rows instead of {file.rows}")
        return None
    for name in _NEEDED:
        if name not in footer.known:
            findings.add(Rule.DATA_FILE_COLUMNS, key, f"lacks the column {name!r}")
            return None
    return footer


def check_tail(data: bytes, file: DataFile, key: str, findings: Findings) -> Footer | None:
    """Check the footer of a file by its last bytes alone."""
    tail = file.tail
    if tail is not None:
        found = xxhash.xxh3_64_intdigest(data[-tail.bytes :])
        if found != tail.checksum:
            message = f"checksum of its last {tail.bytes} bytes: expected {tail.checksum:016x}, found {found:016x}"
            findings.add(Rule.DATA_FILE_FOOTER, key, message)
            return None
    return check_footer(Parts(file.bytes, [(file.bytes - len(data), data)]), file, key, findings)


def check_whole(data: bytes, file: DataFile, key: str, findings: Findings) -> Footer | None:
    """Check size, checksum and structure of a whole object."""
    if len(data) != file.bytes:
        findings.add(Rule.DATA_FILE_SIZE, key, f"{len(data)} bytes instead of {file.bytes}")
        return None
    found = xxhash.xxh3_64_intdigest(data)
    if found != file.checksum:
        findings.add(Rule.DATA_FILE_CHECKSUM, key, f"expected {file.checksum:016x}, found {found:016x}")
        return None
    return check_footer(data, file, key, findings)


@dataclass(slots=True)
class RowRules:
    """The rows of one file, looked at row group by row group.

    Args:
        file: What the manifest says of it.
        namespace: Whose it is.
        key: Its name in findings.
        findings: Where faults go.
        seed: For hashes of ids.
    """

    file: DataFile
    namespace: str
    key: str
    findings: Findings
    seed: int
    _rows: int = 0
    _last_id: str | None = None
    _low: str | None = None
    _high: str | None = None
    _seqs: tuple[int, int] | None = None
    _stats: Mapping[str, ColumnStats] = field(default_factory=dict)
    _hashes: list[Hashes] = field(default_factory=list)
    _seq_parts: list[Numbers] = field(default_factory=list)
    _versions: list[Versions] = field(default_factory=list)
    _sorted: bool = True
    _broken: bool = False

    def run(self, data: bytes, footer: Footer, spill: Spill) -> Trace | None:
        """Check all rows; return what they say of documents, None where they do not.

        Takes CPU time in proportion to the rows: run it in an executor.
        """
        parquet = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        if not self._check_types(parquet.schema_arrow):
            return None
        for group in range(footer.groups):
            try:
                table = parquet.read_row_group(group)
                table.validate(full=True)
            except DECODE_ERRORS as error:
                self.findings.add(Rule.DATA_FILE_UNREADABLE, self.key, f"row group {group}: {error}")
                return None
            if table.num_rows:
                self._group(table, footer)
        self._finish(footer)
        if self._broken:
            return None
        return Trace.of(self.file.key, self._hashes, self._seq_parts, self._versions, spill)

    def _check_types(self, schema: pa.Schema) -> bool:
        wanted = {ID_COLUMN: pa.string(), RESIDUAL_COLUMN: pa.string(), _VERSION: pa.int64(), SEQ_COLUMN: pa.int64()}
        for column in schema:
            expected = wanted.get(column.name)
            if (expected is not None and column.type != expected) or not _is_ours(column.type):
                self.findings.add(Rule.DATA_FILE_COLUMNS, self.key, f"{column.name!r} is of the type {column.type}")
                return False
        if _VERSION not in schema.names:
            self.findings.add(Rule.DATA_FILE_COLUMNS, self.key, f"lacks the column {_VERSION!r}")
            return False
        return True

    def _group(self, table: pa.Table, footer: Footer) -> None:
        rows = table.num_rows
        ids = one_chunk(table.column(ID_COLUMN))
        bare = bare_ids(ids, f"{self.namespace}/")
        if len(bare) != rows:
            message = f"{rows - len(bare)} rows from row {self._rows} on have no id of {self.namespace!r}"
            self.findings.add(Rule.DATA_FILE_IDS, self.key, message)
            self._broken = True
            return
        self._check_order(bare, ids)
        self._hashes.append(hash_ids(bare, self.seed))
        if footer.counted_from is None:
            column = one_chunk(table.column(SEQ_COLUMN))
            seqs = column.fill_null(0).to_numpy(zero_copy_only=False)
        else:
            first = footer.counted_from + self._rows
            seqs = np.arange(first, first + rows, dtype=np.int64)
        self._seq_parts.append(seqs)
        low, high = int(seqs.min()), int(seqs.max())
        self._seqs = (low, high) if self._seqs is None else (min(low, self._seqs[0]), max(high, self._seqs[1]))
        versions = one_chunk(table.column(_VERSION)).fill_null(0).to_numpy(zero_copy_only=False)
        if versions.min() < 1:
            row = self._rows + int(np.argmax(versions < 1))
            self.findings.add(Rule.DATA_FILE_VERSIONS, self.key, f"row {row}", times=int((versions < 1).sum()))
            self._broken = True
        self._versions.append(versions)
        self._check_residuals(one_chunk(table.column(RESIDUAL_COLUMN)))
        stats = column_stats(table)
        if footer.counted_from is not None:
            # The file has no such column; what the manifest says of it follows from its first seq.
            stats.pop(SEQ_COLUMN, None)
        self._stats = joined(self._stats, self._rows, stats, rows)
        self._rows += rows

    def _check_order(self, bare: list[str], ids: pa.Array) -> None:
        if self.file.sorted and self._sorted:
            ascending = pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py()
            if not ascending or (self._last_id is not None and bare[0] <= self._last_id):
                self._sorted = False
                message = f"some id between rows {self._rows} and {self._rows + len(bare)} is not above the one before"
                self.findings.add(Rule.DATA_FILE_UNSORTED, self.key, message)
        self._last_id = bare[-1]
        low, high = min(bare), max(bare)
        self._low = low if self._low is None else min(low, self._low)
        self._high = high if self._high is None else max(high, self._high)

    def _check_residuals(self, texts: pa.Array) -> None:
        if texts.null_count == len(texts):
            return
        undeclared: set[str] = set()
        for row, text in enumerate(texts.to_pylist(), self._rows):
            if text is None:
                continue
            try:
                undeclared |= residual.decode(text).keys() - self.file.residual_paths
            except ValueError as error:
                self.findings.add(Rule.RESIDUAL_UNREADABLE, self.key, f"row {row}: {error}")
        for name in sorted(undeclared)[:1]:
            message = f"{len(undeclared)} fields that the manifest does not name, {name!r} among them"
            self.findings.add(Rule.RESIDUAL_UNREADABLE, self.key, message)

    def _finish(self, footer: Footer) -> None:
        file = self.file
        if not self._broken and (self._low, self._high) != (file.id_min, file.id_max):
            message = f"{self._low!r} to {self._high!r} instead of {file.id_min!r} to {file.id_max!r}"
            self.findings.add(Rule.DATA_FILE_IDS, self.key, message)
        if self._seqs is not None and self._seqs != (file.seq_first, file.seq_last):
            message = f"{self._seqs[0]} to {self._seqs[1]} instead of {file.seq_first} to {file.seq_last}"
            self.findings.add(Rule.DATA_FILE_SEQS, self.key, message)
        if footer.counted_from is None and self._seq_parts:
            distinct = len(np.unique(np.concatenate(self._seq_parts)))
            if distinct < self._rows:
                self.findings.add(Rule.SEQ_TWICE, self.key, f"{self._rows} rows have {distinct} different seqs")
                self._broken = True
        for path, actual in self._stats.items():
            fault = _fault(file.stats.get(path), actual, self._rows)
            if fault is not None:
                self.findings.add(Rule.DATA_FILE_STATISTICS, self.key, f"{path}: {fault}")


def _fault(said: ColumnStats | None, actual: ColumnStats, rows: int) -> str | None:
    """Return why statistics would make a query skip or count wrongly; wider bounds than needed are none of that."""
    if said is None:
        return None if actual.nulls == rows else "said to hold no value"
    if said.nulls != actual.nulls and -1 not in {said.nulls, actual.nulls}:
        return f"said to lack a value in {said.nulls} rows, lacks it in {actual.nulls}"
    if said.kind and actual.kind and said.kind != actual.kind:
        return f"said to hold {said.kind}, holds {actual.kind}"
    if said.low is not None and actual.low is not None and said.low > actual.low:
        return f"said to be from {said.low!r} up, holds {actual.low!r}"
    if said.high is not None and (actual.high is None or said.high < actual.high) and actual.low is not None:
        return f"said to be up to {said.high!r}, holds {actual.high!r}"
    return None


def _is_ours(arrow: Any) -> bool:
    if pa.types.is_struct(arrow):
        return all(_is_ours(child.type) for child in arrow)
    try:
        kind_of_type(arrow.value_type if pa.types.is_list(arrow) else arrow)
    except (KeyError, ValueError):
        return False
    return True

"""Writing CSV: values as text, quoted only where they must be.

A missing field and null are both a cell without anything, the empty text is `""`. Datetimes are in UTC and end with
`Z`, bytes are base64, arrays and documents are extended JSON. Whatever reads the file decides on types anew: see
`parquedb.storage.exchange.csv_cells` for what ours makes of it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents import extended_json
from parquedb.documents.long_ints import digits_of
from parquedb.storage.exchange.row_pieces import Document
from parquedb.storage.files.cells import documents_of
from parquedb.storage.files.columns import RESIDUAL_COLUMN
from parquedb.storage.files.shred import one_chunk, unshred

_ROWS_AT_ONCE: Final = 16_384
_END: Final = "\n"


class CsvWriter:
    """Writes rows of text.

    Args:
        stream: Takes bytes.
        columns: Names of the columns, which are fields at the top level.
        delimiter: Between cells, one character.
        header: Whether the first row shall be the names.
        null_value: What stands for no value.
    """

    def __init__(
        self, stream: Any, columns: Sequence[str], *, delimiter: str = ",", header: bool = True, null_value: str = ""
    ) -> None:
        self._stream = stream
        self._columns = list(columns)
        self._delimiter = delimiter
        self._null_value = null_value
        # A row of nothing would be a blank line, which readers leave out.
        self._null_cell = '""' if len(self._columns) == 1 and not null_value else null_value
        self._special = f'["\\r\\n\\x{{{ord(delimiter):x}}}]'
        if header:
            self._write([self._quoted(pa.array([name], pa.string())) for name in self._columns])

    def table(self, table: pa.Table) -> None:
        """Write the rows of a snapshot's columns."""
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            self._rows(table.slice(start, _ROWS_AT_ONCE))

    def documents(self, documents: Sequence[Document]) -> None:
        """Write some documents."""
        if documents:
            texts = ([text_of(document.get(name)) for document in documents] for name in self._columns)
            self._write([self._quoted(pa.array(column, pa.string())) for column in texts])

    def close(self) -> None:
        """End the file."""

    def _rows(self, table: pa.Table) -> None:
        residual = one_chunk(table.column(RESIDUAL_COLUMN)) if RESIDUAL_COLUMN in table.column_names else None
        odd = None
        documents: Sequence[Document] = ()
        if residual is not None and residual.null_count < len(residual):
            odd = residual.is_valid()
            documents = unshred(table.filter(odd))
        columns = []
        for name in self._columns:
            if name in table.column_names:
                cells = text_column(one_chunk(table.column(name)))
            else:
                cells = pa.nulls(table.num_rows, pa.string())
            if odd is not None:
                replaced = pa.array([text_of(document.get(name)) for document in documents], pa.string())
                cells = pc.replace_with_mask(cells, odd, replaced)
            columns.append(self._quoted(cells))
        self._write(columns)

    def _quoted(self, cells: pa.Array) -> pa.Array:
        special = pc.or_(pc.match_substring_regex(cells, self._special), pc.equal(cells, self._null_value))
        special = pc.or_(special, pc.equal(cells, ""))
        if pc.any(special, min_count=0).as_py():
            doubled = pc.replace_substring(cells, '"', '""')
            cells = pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), cells)
        return cells.fill_null(self._null_cell)

    def _write(self, columns: Sequence[pa.Array]) -> None:
        if not columns:
            return
        *firsts, last = columns
        lines = pc.binary_join_element_wise(*firsts, pc.binary_join_element_wise(last, _END, ""), self._delimiter)
        offsets = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset : lines.offset + len(lines) + 1]
        self._stream.write(lines.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0])))


def text_column(array: pa.Array) -> pa.Array:
    """Return a column as text, null where it is null."""
    kind = array.type
    if kind == pa.string():
        return array
    if pa.types.is_floating(kind):
        text = array.cast(pa.string())
        # A float stays one: 1400.0, not 1400.
        whole = pc.match_substring_regex(text, r"^-?\d+$")
        return pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return array.cast(pa.string())
    values = documents_of(["value"], [array], len(array))
    return pa.array([text_of(row.get("value")) for row in values], pa.string())


def text_of(value: Any) -> str | None:
    """Return a value as text; None for null."""
    write = _TEXTS.get(type(value))
    return extended_json.dumps(value) if write is None else write(value)


def _time(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds") + "Z"


_TEXTS: Final[Mapping[type, Any]] = {
    type(None): lambda _: None,
    str: lambda value: value,
    bool: lambda value: "true" if value else "false",
    int: digits_of,
    float: repr,
    datetime: _time,
    date: lambda value: value.isoformat(),
    bytes: lambda value: b64encode(value).decode(),
    UUID: str,
    Decimal: str,
}

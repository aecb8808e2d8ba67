"""What importing a file gives: pieces of bounded size, and the rows that were left out, with their reasons."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquedb.documents.values import MANAGED_FIELDS
from parquedb.errors import InvalidInputError
from parquedb.storage.files.columns import ID_COLUMN, SEQ_COLUMN

PIECE_ROWS_MAX: Final = 262_144
"""Rows of Arrow data that are stored together."""

PIECE_BYTES_MAX: Final = 64 << 20
"""Arrow bytes of them; two pieces are in memory at the same time."""

PIECE_DOCUMENTS_MAX: Final = 2_000
"""Documents that are stored together."""

ERRORS_KEPT: Final = 100
"""Rows left out of which the reason is told; the others are counted."""

SET_BY_DATABASE: Final = frozenset({*MANAGED_FIELDS, SEQ_COLUMN})
DELETED: Final = "deletedAt"
MARKED_DELETED: Final = "it is marked as deleted (deletedAt)"

Document = dict[str, Any]
Lines = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowError:
    """A row of a file that was not stored.

    Attributes:
        line: JSON lines: its line, from 1. CSV: its number, the header being 1, which is its line as long as no cell
            has line breaks and none is blank. Parquet: its number, from 1.
        reason: Why not.
    """

    line: int
    reason: str


class Refusals:
    """Collects the rows that are left out; any thread may add some.

    Args:
        skip: Whether the import goes on without them; otherwise the first one is raised.
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self.count = 0
        self._kept: list[RowError] = []
        self._lock = threading.Lock()

    def add(self, line: int, reason: str) -> None:
        """Leave a row out.

        Raises:
            InvalidInputError: no row may be left out; says which it was and why.
        """
        if not self.skip:
            raise InvalidInputError(f"line {line}: {reason}", context={"line": line})
        with self._lock:
            self.count += 1
            if len(self._kept) < ERRORS_KEPT:
                self._kept.append(RowError(line, reason))

    @property
    def errors(self) -> tuple[RowError, ...]:
        """The first of them, by line."""
        return tuple(sorted(self._kept, key=lambda error: error.line))


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a file.

    Attributes:
        rows: A pyarrow table whose columns are fields, or a list of documents.
        lines: Line of each row; see `RowError.line`.
        bytes_read: Bytes of the file read so far.
    """

    rows: Any
    lines: Lines
    bytes_read: int

    def part(self, start: int, stop: int) -> Piece:
        """Return some of the rows."""
        rows = self.rows.slice(start, stop - start) if isinstance(self.rows, pa.Table) else self.rows[start:stop]
        return Piece(rows, self.lines[start:stop], self.bytes_read)


def read_ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield the pieces; while one is being stored, the next is read in a thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="parquedb-import") as pool:
        following = pool.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = pool.submit(next, pieces, None)
            yield piece


def documents_of(table: pa.Table, id_column: str) -> list[Document]:
    """Return the rows of a table as documents: what `insert_arrow` would make of them, one by one."""
    documents = [_present(row) for row in table.to_pylist()]
    if id_column != ID_COLUMN:
        for document in documents:
            if id_column in document:
                document[ID_COLUMN] = str(document.pop(id_column))
    return documents


def _present(value: Any) -> Any:
    """Return a value without the fields that are null: in Arrow that is how a field is missing."""
    if isinstance(value, Mapping):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def without_managed(table: pa.Table) -> pa.Table:
    """Return the columns of an exported file that can be given again: those with ids of ours, if it is one."""
    if ID_COLUMN not in table.column_names:
        return table
    return table.select([name for name in table.column_names if name not in SET_BY_DATABASE])


def is_deleted(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Mark the rows of an exported file that stand for deleted documents."""
    if ID_COLUMN not in table.column_names or DELETED not in table.column_names:
        return np.zeros(table.num_rows, np.bool_)
    marks: npt.NDArray[np.bool_] = table.column(DELETED).is_valid().to_numpy()
    return marks

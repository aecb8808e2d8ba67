"""Reading CSV files in pieces: as Arrow tables, or as documents where a column's values have no common type.

Every cell comes in as bytes and is made into values here (`parquedb.storage.exchange.csv_cells`), so that a row that
cannot be read is known by its number. Types that nobody gave are found by reading the file once before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from parquedb.documents.values import TEXT_FIELDS
from parquedb.errors import InvalidInputError
from parquedb.storage.bulk.table import check_names
from parquedb.storage.exchange.csv_cells import (
    VALUE_KINDS,
    Inference,
    as_text,
    misfits,
    read_cells,
    rows_but,
    shown,
    without,
)
from parquedb.storage.exchange.file_formats import Place, Source, reading
from parquedb.storage.exchange.row_pieces import (
    DELETED,
    MARKED_DELETED,
    PIECE_BYTES_MAX,
    PIECE_DOCUMENTS_MAX,
    PIECE_ROWS_MAX,
    SET_BY_DATABASE,
    Document,
    Lines,
    Piece,
    Refusals,
)
from parquedb.storage.files.columns import ID_COLUMN

_COMMA: Final = ","
_OTHER_DELIMITERS: Final = ";\t|"
BLOCK_BYTES: Final = 4 << 20
"""Bytes that are parsed at once; a row must be smaller. PyArrow reads up to 32 blocks ahead."""

_END_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """How a CSV file is written.

    Attributes:
        delimiter: Between cells, and taken at its word; None for a comma, unless the header looks like another.
        quote_char: Around cells that hold a delimiter, a quote or a line break; doubled inside.
        header: Whether the first row names the columns.
        column_names: Names of the columns, in the place of the header's; None for the header's.
        null_values: Cells without quotes that stand for no value.
        types: Kinds of columns by name; see `csv_cells`.
        infer_types: Whether the types of the other columns are found out; otherwise they are text.
        encoding: Of the text.
    """

    delimiter: str | None = None
    quote_char: str = '"'
    header: bool = True
    column_names: Sequence[str] | None = None
    null_values: Sequence[str] = ("",)
    types: Mapping[str, str] = field(default_factory=dict)
    infer_types: bool = True
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class _Batch:
    cells: pa.RecordBatch
    lines: Lines
    bytes_read: int


class CsvReader:
    """Reads one CSV file.

    Args:
        place: The file.
        options: How it is written.
        refusals: Takes the rows that cannot be read.
        id_column: The column that holds the ids.

    Raises:
        InvalidInputError: the file cannot be read, its columns are not what the options say, or it seems to have
            another delimiter.
        ValidationError: a column cannot be a field.
    """

    def __init__(self, place: Place, options: CsvOptions, refusals: Refusals, id_column: str) -> None:
        self._place = place
        self._options = options
        self._refusals = refusals
        self._id_column = id_column
        self.names = column_names(place, options)
        if "" in self.names:
            which = f"column {self.names.index('') + 1} of {len(self.names)}"
            raise InvalidInputError(f"{which} has no name; name it in the header, or give column_names", field="path")
        own = ID_COLUMN in self.names
        kept = [name for name in self.names if not (own and name in SET_BY_DATABASE)]
        check_names(pa.schema([(name, pa.string()) for name in kept]), id_column)
        unknown = [name for name in options.types if name not in self.names]
        if unknown:
            expected = f"columns of the file ({', '.join(self.names[:20])})"
            message = f"types: expected {expected}, got {unknown[0]!r}"
            raise InvalidInputError(message, field="types", expected=expected, actual=unknown[0])
        self._kept = kept

    def kinds(self, declared: Mapping[str, str]) -> dict[str, str]:
        """Return the kind of each column: given, declared by a schema, or found out by reading all of the file.

        Raises:
            InvalidInputError: a row cannot be read and may not be left out.
        """
        kinds = {**declared, **self._options.types}
        kinds = {name: kinds[name] for name in self._kept if name in kinds}
        for name in (*TEXT_FIELDS, self._id_column):
            if name in self._kept:
                kinds.setdefault(name, "string")
        open_ = [name for name in self._kept if name not in kinds]
        if open_ and self._options.infer_types:
            found = {name: Inference() for name in open_}
            for batch in self._batches(quiet=True):
                for name, inference in found.items():
                    cells = batch.cells.column(name)
                    bad = misfits(as_text, cells)
                    if bad and not self._refusals.skip:
                        self._refusals.add(int(batch.lines[bad[0]]), _undecodable(name))
                    inference.feed(as_text(cells.take(rows_but(len(cells), bad)) if bad else cells))
            kinds |= {name: inference.kind for name, inference in found.items()}
        return {name: kinds.get(name, "string") for name in self._kept}

    def pieces(self, kinds: Mapping[str, str]) -> Iterator[Piece]:
        """Yield the rows: tables, or documents where some kind is one of `VALUE_KINDS`.

        Raises:
            InvalidInputError: a row cannot be read and may not be left out.
        """
        if VALUE_KINDS.isdisjoint(kinds.values()):
            yield from _joined(self._tables(kinds))
            return
        for batch in self._batches():
            columns, keep = self._values(batch, kinds)
            documents = _documents(columns, self._id_column)
            lines = batch.lines
            if keep is not None:
                documents, lines = [documents[row] for row in keep.to_pylist()], lines[keep.to_numpy()]
            whole = Piece(documents, lines, batch.bytes_read)
            for start in range(0, len(documents), PIECE_DOCUMENTS_MAX):
                yield whole.part(start, start + PIECE_DOCUMENTS_MAX)

    def _tables(self, kinds: Mapping[str, str]) -> Iterator[Piece]:
        for batch in self._batches():
            columns, keep = self._values(batch, kinds)
            table, lines = pa.table(columns), batch.lines
            if keep is not None:
                table, lines = table.take(keep), lines[keep.to_numpy()]
            yield Piece(table, lines, batch.bytes_read)

    def _values(self, batch: _Batch, kinds: Mapping[str, str]) -> tuple[dict[str, Any], pa.Array | None]:
        """Return the columns of a batch, and the rows to keep if those are not all."""
        columns: dict[str, Any] = {}
        reasons: dict[int, str] = {}
        for name, kind in kinds.items():
            cells = batch.cells.column(name)
            undecodable = misfits(as_text, cells)
            for row in undecodable:
                reasons.setdefault(row, _undecodable(name))
            text = as_text(without(cells, undecodable))
            columns[name], bad = read_cells(kind, text)
            for row in bad:
                reasons.setdefault(row, f"{name!r}: {shown(text[row].as_py())} is no {kind}")
        if ID_COLUMN in kinds and DELETED in self.names:
            for row in np.flatnonzero(batch.cells.column(DELETED).is_valid().to_numpy(zero_copy_only=False)).tolist():
                reasons.setdefault(row, MARKED_DELETED)
        for row in sorted(reasons):
            self._refusals.add(int(batch.lines[row]), reasons[row])
        return columns, rows_but(batch.cells.num_rows, list(reasons)) if reasons else None

    def _batches(self, *, quiet: bool = False) -> Iterator[_Batch]:
        """Yield the cells as bytes.

        Args:
            quiet: Whether rows that are left out were, or will be, told by another reading.
        """
        numbers = _Numbers(self._told(quiet=quiet), 2 if self._options.header else 1)
        with reading(self._place):
            source = Source(self._place)
        reader = None
        try:
            with reading(self._place):
                reader = _open(source.stream, self._options, numbers, self.names)
            if reader.schema.names != self.names:
                raise InvalidInputError(f"a header of more than {BLOCK_BYTES >> 20} MiB cannot be read", field="path")
            held: _Batch | None = None
            while True:
                with reading(self._place):
                    batch = next(reader, None)
                numbers.raise_refusal()
                if batch is None:
                    break
                if batch.num_rows:
                    if held is not None:
                        yield held
                    held = _Batch(batch, numbers.of(batch.num_rows), source.bytes_read)
            if held is not None and _may_be_cut_off(held, self._options) and not self._ends_with_a_quote():
                reason = "a quote that is never closed: it takes in all that follows"
                self._told(quiet=quiet)(int(held.lines[-1]), reason)
                held = _Batch(held.cells.slice(0, held.cells.num_rows - 1), held.lines[:-1], held.bytes_read)
            if held is not None and held.cells.num_rows:
                yield held
        finally:
            numbers.stop()
            source.close()
            if reader is not None:
                _use_up(reader)

    def _ends_with_a_quote(self) -> bool:
        with reading(self._place):
            source, end = Source(self._place), b""
            try:
                while block := source.stream.read(BLOCK_BYTES):
                    end = (end + block)[-_END_BYTES:]
            finally:
                source.close()
        return end.decode(self._options.encoding, "ignore").rstrip().endswith(self._options.quote_char)

    def _told(self, *, quiet: bool) -> Callable[[int, str], None]:
        return (lambda _line, _reason: None) if quiet and self._refusals.skip else self._refusals.add


def column_names(place: Place, options: CsvOptions) -> list[str]:
    """Return the names of the columns; no more than the first block of the file is read.

    Raises:
        InvalidInputError: the file cannot be read, or it seems to have another delimiter than the comma that nobody
            asked for.
    """
    if not options.header and options.column_names is None:
        raise InvalidInputError("column_names: expected names, since header=False", field="column_names")
    with reading(place):
        source = Source(place)
        try:
            start = source.stream.read_buffer(BLOCK_BYTES)
        finally:
            source.close()
        reader = _open(pa.BufferReader(start), options, None)
        names: list[str] = reader.schema.names
        _use_up(reader)
    if options.column_names is None and options.delimiter is None:
        _check_comma(names)
    return names


def _may_be_cut_off(batch: _Batch, options: CsvOptions) -> bool:
    """Whether the last cell of a file stood in quotes, for nothing else may hold what is in it."""
    cell: bytes = batch.cells.column(batch.cells.num_columns - 1)[-1].as_py() or b""
    return not set(b"\r\n" + (options.delimiter or _COMMA).encode()).isdisjoint(cell)


class _Numbers:
    """Numbers the rows, and takes those with too many or too few cells.

    Args:
        tell: Is told of such a row.
        first: Number of the first row of data.
    """

    def __init__(self, tell: Callable[[int, str], None], first: int) -> None:
        self._tell = tell
        self._next = first
        self._left_out: list[int] = []
        self._refusal: InvalidInputError | None = None

    def invalid(self, row: Any) -> str:
        """Take note of a row that is not like the header; PyArrow calls this from its parser."""
        self._left_out.append(row.number)
        if self._refusal is None:
            try:
                self._tell(row.number, f"{row.actual_columns} cells instead of {row.expected_columns}")
            except InvalidInputError as error:
                self._refusal = error  # The parser would not let it through.
        return "skip"

    def stop(self) -> None:
        """Tell of no more rows."""
        self._tell = lambda _line, _reason: None

    def raise_refusal(self) -> None:
        """Raise what an invalid row came to."""
        if self._refusal is not None:
            raise self._refusal

    def of(self, rows: int) -> npt.NDArray[np.int64]:
        """Return the numbers of the next valid rows."""
        # Of the numbers from the next one on, those that were not left out; all at once, for there may be many.
        left_out = np.array(self._left_out, np.int64)
        numbers = np.arange(self._next, self._next + rows + len(left_out), dtype=np.int64)
        found = np.setdiff1d(numbers, left_out, assume_unique=True)[:rows]
        self._next = int(found[-1]) + 1
        del self._left_out[: int(np.searchsorted(left_out, self._next))]
        return found


def _use_up(reader: Any) -> None:
    """Read what is left of a file that is at its end, or closed.

    PyArrow's threads read ahead and hold what is Python's, such as the handler of invalid rows. One that lets go of
    that while Python ends takes the process down with it.
    """
    with contextlib.suppress(pa.ArrowException, OSError, ValueError):
        while next(reader, None) is not None:
            pass


def _open(stream: Any, options: CsvOptions, numbers: _Numbers | None, names: Sequence[str] = ()) -> Any:
    names_given = options.column_names
    return pacsv.open_csv(
        stream,
        read_options=pacsv.ReadOptions(
            # One thread, or rows would have no numbers.
            use_threads=False,
            block_size=BLOCK_BYTES,
            column_names=names_given,
            skip_rows=1 if names_given is not None and options.header else 0,
            encoding=options.encoding,
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=options.delimiter or _COMMA,
            quote_char=options.quote_char,
            newlines_in_values=True,
            invalid_row_handler=(lambda _row: "skip") if numbers is None else numbers.invalid,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.binary()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=list(options.null_values),
        ),
    )


def _check_comma(names: Sequence[str]) -> None:
    """Refuse a header that another delimiter would part: hardly anybody wants one column named `id;name;city`.

    Raises:
        InvalidInputError: it is such a header; whoever means it asks for the comma.
    """
    other = next((each for each in _OTHER_DELIMITERS if each in names[0]), None) if len(names) == 1 else None
    if other is not None:
        expected = f"{other!r}, or {_COMMA!r} where it really is one column"
        message = f"delimiter: a comma leaves the header {shown(names[0])} in one piece; expected {expected}"
        raise InvalidInputError(message, field="delimiter", expected=expected, actual=_COMMA)


def _undecodable(name: str) -> str:
    return f"{name!r}: not UTF-8 text; the file may have another encoding, such as encoding='latin-1'"


def _documents(columns: Mapping[str, Any], id_column: str) -> list[Document]:
    lists = [values if isinstance(values, list) else values.to_pylist() for values in columns.values()]
    names = [ID_COLUMN if name == id_column else name for name in columns]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*lists, strict=True)
    ]


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Put small pieces together and cut large ones."""
    held: list[Piece] = []
    rows = size = 0
    for piece in pieces:
        for start in range(0, piece.rows.num_rows, PIECE_ROWS_MAX):
            part = piece.part(start, start + PIECE_ROWS_MAX)
            count, more = part.rows.num_rows, part.rows.nbytes
            if held and (rows + count > PIECE_ROWS_MAX or size + more > PIECE_BYTES_MAX):
                yield _one(held)
                held, rows, size = [], 0, 0
            held.append(part)
            rows, size = rows + count, size + more
    if held:
        yield _one(held)


def _one(pieces: Sequence[Piece]) -> Piece:
    table = pa.concat_tables([piece.rows for piece in pieces])
    return Piece(table, np.concatenate([piece.lines for piece in pieces]), pieces[-1].bytes_read)

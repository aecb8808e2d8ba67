"""Importing a file: what is read of it, what is sent, and what becomes of rows that are refused.

`importing` is a generator without a connection: it yields what a collection shall do and is sent what came of it, so
that the synchronous and the asynchronous client share it.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.actors.requests import checks
from parquedb.cluster.exchange.results import ImportResult
from parquedb.errors import AlreadyExistsError, OutcomeUnknownError, ParqueDBError, ValidationError
from parquedb.errors.base import retold
from parquedb.schemas.model import FieldType, Schema
from parquedb.storage.exchange.csv_cells import KINDS, is_kind
from parquedb.storage.exchange.csv_reader import CsvOptions, CsvReader
from parquedb.storage.exchange.file_formats import CSV, PARQUET, Place, check_readable, place_of
from parquedb.storage.exchange.json_lines import read_json_lines
from parquedb.storage.exchange.parquet import ParquetReader
from parquedb.storage.exchange.row_pieces import (
    PIECE_DOCUMENTS_MAX,
    Document,
    Lines,
    Piece,
    Refusals,
    documents_of,
    read_ahead,
)
from parquedb.storage.files.columns import ID_COLUMN

REQUEST_ID_CHARS_MAX: Final = 400
"""Of an import's own id: the ids of its pieces are longer."""

_PARTS: Final = 8
"""Into so many parts a refused piece is cut, to find the rows that it was refused for."""

_NOT_ONE_CHARACTER: Final = frozenset("\r\n")

Ask = Callable[[Any], Any]
"""Given a collection, returns what came of a call, or an awaitable of that."""

Asking = Generator[Ask, Any, Any]


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """The arguments of an import, checked.

    Attributes:
        place: The file.
        bytes: Its size.
        id_column: Which column or field holds the ids.
        csv: How a CSV file is written.
        skip: Whether rows that are refused are left out.
        actor: Who is said to make the documents.
        request_id: Each piece has an id that begins with it.
        on_progress: Told of rows stored and bytes read.
        timeout_s: Seconds for each call.
    """

    place: Place
    bytes: int
    id_column: str
    csv: CsvOptions
    skip: bool
    actor: str | None
    request_id: str
    on_progress: Callable[[int, int], object] | None
    timeout_s: float | None


def plan_import(  # noqa: PLR0913 - the arguments are those of the public method
    path: Any,
    *,
    format: str | None,  # noqa: A002 - the public name of the argument
    id_column: str,
    on_error: str,
    actor: str | None,
    request_id: str | None,
    on_progress: Callable[[int, int], object] | None,
    timeout_s: float | None,
    **csv: Any,
) -> ImportPlan:
    """Check the arguments of an import; nothing has been read or sent when it refuses.

    Raises:
        ValidationError: an argument is of the wrong kind or of no use for the format.
        NotFoundError: there is no such file.
        StorageReadError: the file may not be read.
    """
    place = place_of(path, format)
    if on_error not in {"stop", "skip"}:
        checks.refuse("on_error", "'stop' or 'skip'", on_error, shown=True)
    given_id = checks.optional_text("request_id", request_id)
    if given_id is not None and len(given_id) > REQUEST_ID_CHARS_MAX:
        checks.refuse("request_id", f"at most {REQUEST_ID_CHARS_MAX} characters", len(given_id))
    if on_progress is not None and not callable(on_progress):
        checks.refuse("on_progress", "a callable", on_progress)
    return ImportPlan(
        place=place,
        id_column=checks.optional_text("id_column", id_column) or ID_COLUMN,
        csv=_csv_options(place, {name: value for name, value in csv.items() if value is not None}),
        skip=on_error == "skip",
        actor=checks.optional_text("actor", actor),
        request_id=given_id or f"import-{uuid4().hex}",
        on_progress=on_progress,
        timeout_s=timeout_s,
        bytes=check_readable(place.path),
    )


def _csv_options(place: Place, given: Mapping[str, Any]) -> CsvOptions:
    if given and place.format != CSV:
        name = next(iter(given))
        checks.refuse(name, f"nothing, for it is about CSV and this is {place.format}", given[name])
    for name in ("delimiter", "quote_char"):
        if name in given:
            one_character(name, given[name])
    for name in ("header", "infer_types"):
        checks.flag(name, given.get(name, False))
    names: dict[str, Sequence[str]] = {name: _texts(name, given[name]) for name in _LISTS if name in given}
    types = given.get("types", {})
    if not isinstance(types, Mapping):
        checks.refuse("types", "a dict of columns and types", types)
    for column, kind in types.items():
        if not isinstance(column, str) or not is_kind(kind):
            checks.refuse("types", f"types among {', '.join(KINDS)}, by column", kind, shown=True)
    checks.optional_text("encoding", given.get("encoding"))
    return CsvOptions(**{**given, **names})


_LISTS: Final = ("column_names", "null_values")


def one_character(name: str, value: object) -> None:
    """Accept what can stand between or around cells."""
    if not isinstance(value, str) or len(value.encode()) != 1 or value in _NOT_ONE_CHARACTER:
        checks.refuse(name, "one ASCII character other than a line break", value, shown=True)


def _texts(name: str, value: object) -> Sequence[str]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        checks.refuse(name, "a list of str", value)
    return list(value)


def importing(plan: ImportPlan) -> Generator[Ask, Any, ImportResult]:
    """Import a file; yields what a collection shall do.

    Raises:
        ParqueDBError: what stopped it, with `path`, `stored` and `request_id` in its context.
    """
    started_s = time.monotonic()
    work = _Import(plan)
    try:
        pieces = yield from work.pieces()
        for piece in read_ahead(pieces):
            yield from work.store(piece, f"{plan.request_id}#{work.next_number()}")
            work.tell(piece.bytes_read)
    except ParqueDBError as error:
        raise work.explained(error) from error.cause
    work.tell(plan.bytes)
    refusals = work.refusals
    return ImportResult(work.rows, refusals.count, refusals.errors, plan.bytes, time.monotonic() - started_s)


@dataclass(slots=True)
class _Import:
    """One import under way.

    Attributes:
        plan: Its arguments.
        rows: Documents stored so far.
        number: Pieces begun so far.
    """

    plan: ImportPlan
    rows: int = 0
    number: int = 0
    refusals: Refusals = field(init=False)

    def __post_init__(self) -> None:
        self.refusals = Refusals(skip=self.plan.skip)

    def pieces(self) -> Generator[Ask, Any, Iterator[Piece]]:
        """Open the file and find out what its columns are."""
        plan = self.plan
        if plan.place.format == CSV:
            reader = CsvReader(plan.place, plan.csv, self.refusals, plan.id_column)
            version = yield lambda collection: collection.schema(timeout_s=plan.timeout_s)
            declared = {} if version is None else declared_kinds(version.schema)
            return reader.pieces(reader.kinds(declared))
        if plan.place.format == PARQUET:
            return ParquetReader(plan.place, self.refusals, plan.id_column).pieces()
        return read_json_lines(plan.place, self.refusals, plan.id_column)

    def next_number(self) -> int:
        """Return the number of the next piece, from 0."""
        self.number += 1
        return self.number - 1

    def store(self, piece: Piece, request_id: str) -> Asking:
        """Store a piece under a request id; where rows may be left out, without those that are refused."""
        if not isinstance(piece.rows, pa.Table):
            yield from self._create(piece.rows, piece.lines, request_id)
            return
        try:
            self.rows += yield self._insert(piece.rows, request_id)
        except (ValidationError, AlreadyExistsError) as error:
            if not self.plan.skip:
                raise self._located(error, piece) from error.cause
        else:
            return
        # All or nothing came to nothing: smaller pieces, until it is row by row.
        count = len(piece.lines)
        if count <= PIECE_DOCUMENTS_MAX:
            documents = documents_of(piece.rows, self.plan.id_column)
            yield from self._create(documents, piece.lines, f"{request_id}.rows")
            return
        step = max(PIECE_DOCUMENTS_MAX, -(-count // _PARTS))
        for start in range(0, count, step):
            yield from self.store(piece.part(start, start + step), f"{request_id}.{start}")

    def tell(self, bytes_read: int) -> None:
        """Report progress."""
        if self.plan.on_progress is not None:
            self.plan.on_progress(self.rows, min(bytes_read, self.plan.bytes))

    def explained(self, error: ParqueDBError) -> ParqueDBError:
        """Return an error that says how far the import came."""
        name, stored = self.plan.place.path.name, self.rows
        facts = {"path": str(self.plan.place.path), "stored": stored, "request_id": self.plan.request_id}
        if isinstance(error, OutcomeUnknownError):
            # It names the id of a piece, which is of no use to who imports.
            again = f"import it again with request_id={self.plan.request_id!r}"
            return retold(
                error, f"{name}: whether rows behind the first {stored:,} were stored is unknown; {again}", facts
            )
        before = f" ({stored:,} rows before it are stored)" if stored else ""
        return retold(error, f"{name}: {error.message}{before}", facts)

    def _insert(self, table: pa.Table, request_id: str) -> Ask:
        plan = self.plan
        options = {"id_column": plan.id_column, "actor": plan.actor, "timeout_s": plan.timeout_s}
        return lambda collection: collection.insert_arrow(table, request_id=request_id, **options)

    def _create(self, documents: Sequence[Document], lines: Lines, request_id: str) -> Asking:
        plan = self.plan
        options = {"ordered": not plan.skip, "actor": plan.actor, "timeout_s": plan.timeout_s}
        answers = yield lambda collection: collection.create_many(documents, request_id=request_id, **options)
        for line, answer in zip(lines.tolist(), answers, strict=True):
            if not isinstance(answer, ParqueDBError):
                self.rows += 1
            elif not plan.skip:
                raise retold(answer, f"line {line}: {answer.message}", {"line": line})
            elif isinstance(answer, ValidationError | AlreadyExistsError):
                self.refusals.add(line, answer.message)
            else:
                raise answer  # Nothing is wrong with this row.

    def _located(self, error: ParqueDBError, piece: Piece) -> ParqueDBError:
        """Return a refusal of a table with the lines that it is about."""
        lines = piece.lines
        id_ = getattr(error, "id", None)
        if id_ is not None and self.plan.id_column in piece.rows.column_names:
            ids = piece.rows.column(self.plan.id_column).cast(pa.string()).combine_chunks()
            ends = pc.or_(pc.equal(ids, id_), pc.ends_with(ids, f"/{id_}"))
            found = np.flatnonzero(ends.fill_null(False).to_numpy(zero_copy_only=False))
            if len(found):
                line = int(lines[found[-1]])
                return retold(error, f"line {line}: {error.message}", {"line": line})
        several = f"lines {lines[0]} to {lines[-1]}, rows counted from 0"
        words = f"{several if len(lines) > 1 else f'line {lines[0]}'}: {error.message}"
        return retold(error, words, {"line": int(lines[0])})


def declared_kinds(schema: Schema) -> dict[str, str]:
    """Return how the cells of the columns that a schema declares are to be read."""
    return {one.name: kind for one in schema.fields if (kind := _kind(one.type)) is not None}


def _kind(type_: FieldType) -> str | None:
    kind = type_.kind
    if kind == "decimal" and type_.precision is not None:
        sized = f"decimal({type_.precision},{type_.scale or 0})"
        return sized if is_kind(sized) else kind
    if kind == "enum":
        return "string" if all(isinstance(value, str) for value in type_.values) else None
    if kind == "relation":
        return "json" if type_.relation is not None and type_.relation.many else "string"
    if kind in {"object", "map", "list"}:
        return "json"
    return kind if kind != "json" else None

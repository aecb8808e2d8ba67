"""One data file of a bulk load: columns as they are, and what has to go row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from parquedb.documents.values import DEPTH_MAX, DOCUMENT_BYTES_MAX, normalize
from parquedb.errors import ValidationError
from parquedb.storage.bulk.arrow_fields import column_of
from parquedb.storage.bulk.column_ids import with_prefix
from parquedb.storage.files.column_stats import ColumnStats, file_stats
from parquedb.storage.files.columns import (
    ID_COLUMN,
    RESIDUAL_COLUMN,
    SEQ_COLUMN,
    TIME_TYPE,
    Column,
    ColumnRegistry,
    with_declared,
)
from parquedb.storage.files.data_file import ROW_GROUP_ROWS, DataFile, write_table
from parquedb.storage.files.partial_reads import tail_of
from parquedb.storage.files.shred import one_chunk, shred_with_leftovers

FILE_ROWS_MAX: Final = 4 * ROW_GROUP_ROWS
"""Rows of one file. A writer keeps one processor busy, so that a million rows are two files and occupy two."""

FILE_BYTES_MAX: Final = 256 << 20
"""Arrow bytes that become one file; they are in memory at the same time."""

Hold = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the documents of one load have in common.

    Attributes:
        namespace: Whose they are.
        at: When they are said to be made.
        actor: Who is said to make them.
        id_column: The column that holds the ids; ids are made where it is `$id` and the data has none.
        registry: The namespace's columns.
        hold: Fills in and checks what a schema says of a document, given without its id; None where there is none.
            Documents are then made into Python values one by one.
        bytes_max: Of one document.
        depth_max: Levels of one document.
    """

    namespace: str
    at: datetime
    actor: str | None
    id_column: str
    registry: ColumnRegistry
    hold: Hold | None = None
    bytes_max: int = DOCUMENT_BYTES_MAX
    depth_max: int = DEPTH_MAX


@dataclass(frozen=True, slots=True)
class Rows:
    """New documents by columns, all of one length.

    Attributes:
        ids: Bare ids, all different.
        sorted: Whether they ascend.
        columns: Typed columns that go into the file as they are. Those of plain text may be no valid text yet.
        rest: Columns whose values have to go row by row.
        residuals: The `$residual` column, where it is known already; then there is no `rest`.
        residual_paths: Fields that have a part in it.
    """

    ids: pa.Array
    sorted: bool
    columns: Mapping[str, pa.Array]
    rest: Mapping[str, pa.Array] = field(default_factory=dict)
    residuals: pa.Array | None = None
    residual_paths: frozenset[str] = frozenset()

    def part(self, start: int, count: int) -> Rows:
        """Return some of the rows, without copying them."""
        return Rows(
            self.ids.slice(start, count),
            self.sorted,
            {name: array.slice(start, count) for name, array in self.columns.items()},
            {name: array.slice(start, count) for name, array in self.rest.items()},
            None if self.residuals is None else self.residuals.slice(start, count),
            self.residual_paths,
        )

    def parts(self) -> list[Rows]:
        """Return the rows in parts that each become one file, about equal ones."""
        rows = len(self.ids)
        size = sum(array.nbytes for array in (self.ids, *self.columns.values(), *self.rest.values()))
        count = max(-(-rows // FILE_ROWS_MAX), -(-size // FILE_BYTES_MAX), 1)
        step = -(-rows // count)
        return [self.part(start, step) for start in range(0, rows, step)]


@dataclass(frozen=True, slots=True)
class BulkFile:
    """A file ready to be stored.

    Attributes:
        data: The object.
        file: Its description; the seqs count from 0.
        columns: Its typed columns.
    """

    data: bytes
    file: DataFile
    columns: Mapping[str, Column]


def build(key: str, rows: Rows, plan: Plan) -> BulkFile:
    """Make the data file of some rows, in the order they have.

    Takes CPU time in proportion to the rows, nearly all of it without the interpreter's lock: run it in an executor.

    Args:
        key: Of the object to be, relative to the namespace.
        rows: At least one.
        plan: See there.

    Raises:
        ValidationError: a value that documents cannot hold, or that the schema refuses; names the column.
    """
    count = len(rows.ids)
    for name, array in (*rows.columns.items(), *rows.rest.items()):
        if array.type == pa.string():
            check_valid(name, array)
    found, residuals, residual_paths = _row_by_row(rows, plan)
    arrays = {
        ID_COLUMN: with_prefix(f"{plan.namespace}/", rows.ids),
        **_set_by_database(plan, count),
        **found,
        RESIDUAL_COLUMN: residuals,
    }
    data = write_table(pa.Table.from_arrays(list(arrays.values()), names=list(arrays)), sorted_by_id=rows.sorted)
    id_min, id_max = _bounds(rows)
    file = DataFile(
        key=key,
        rows=count,
        bytes=len(data),
        checksum=xxhash.xxh3_64_intdigest(data),
        id_min=id_min,
        id_max=id_max,
        seq_first=0,
        seq_last=count - 1,
        sorted=rows.sorted,
        stats=_stats(data, arrays),
        residual_paths=residual_paths if residuals.null_count < count else frozenset(),
        tail=tail_of(data),
    )
    return BulkFile(data, file, {name: column_of(array.type) for name, array in found.items()})


def check_valid(name: str, array: pa.Array) -> None:
    """Accept a column whose buffers are what its type says; takes time in proportion to its text and its lists.

    Raises:
        ValidationError: offsets or text are broken.
    """
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ValidationError(field=name, expected="valid Arrow data", actual=str(error)) from error


def _bounds(rows: Rows) -> tuple[str, str]:
    if rows.sorted:
        return rows.ids[0].as_py(), rows.ids[-1].as_py()
    bounds = pc.min_max(rows.ids).as_py()
    return bounds["min"], bounds["max"]


def _stats(data: bytes, arrays: Mapping[str, pa.Array]) -> dict[str, ColumnStats]:
    """Return what the writer found out about the columns; of lists it counted the items, not the rows."""
    stats = file_stats(pq.read_metadata(pa.BufferReader(data)))
    for name, array in arrays.items():
        for path, nulls in _nulls_of_lists(name, array):
            stats[path] = ColumnStats("", None, None, nulls)
    return stats


def _nulls_of_lists(path: str, array: pa.Array) -> Iterator[tuple[str, int]]:
    if pa.types.is_list(array.type):
        yield path, array.null_count
    elif pa.types.is_struct(array.type) and any(map(pa.types.is_nested, (one.type for one in array.type))):
        for one, child in zip(array.type, array.flatten(), strict=True):
            yield from _nulls_of_lists(f"{path}.{one.name}", child)


def _row_by_row(rows: Rows, plan: Plan) -> tuple[dict[str, pa.Array], pa.Array, frozenset[str]]:
    """Return all user columns, the `$residual` column, and the fields that have a part in it."""
    count, found = len(rows.ids), dict(rows.columns)
    if rows.residuals is not None:
        return found, rows.residuals, rows.residual_paths
    if not rows.rest and plan.hold is None:
        return found, pa.nulls(count, pa.string()), frozenset()
    whole = {name: column_of(array.type) for name, array in rows.columns.items()}
    documents = [_document(at, values, plan) for at, values in enumerate(_values(rows.rest, count))]
    registry = with_declared(plan.registry, whole)
    table, _, residual_paths = shred_with_leftovers([(document, 0) for document in documents], registry)
    for name in table.column_names:
        if name not in {SEQ_COLUMN, RESIDUAL_COLUMN}:
            found[name] = one_chunk(table.column(name))
    return found, one_chunk(table.column(RESIDUAL_COLUMN)), residual_paths


def _values(columns: Mapping[str, pa.Array], rows: int) -> Iterator[dict[str, Any]]:
    names = list(columns)
    if not names:
        return iter([{} for _ in range(rows)])
    lists = [array.to_pylist() for array in columns.values()]
    return (dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True))


def _document(row: int, values: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    try:
        document = normalize(_present(values), bytes_max=plan.bytes_max, depth_max=plan.depth_max)
        if plan.hold is not None:
            plan.hold(document)
    except ValidationError as error:
        message = f"row {row}: {error.message}"
        raise ValidationError(message, field=error.field, expected=error.expected, actual=error.actual) from error
    return document


def _present(value: Any) -> Any:
    """Return a value without the fields that are null: in Arrow that is how a field is missing."""
    if isinstance(value, Mapping):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def _set_by_database(plan: Plan, rows: int) -> dict[str, pa.Array]:
    at = pa.repeat(pa.scalar(plan.at, TIME_TYPE), rows)
    columns = {"version": pa.repeat(pa.scalar(1, pa.int64()), rows), "createdAt": at, "updatedAt": at}
    if plan.actor is not None:
        by = pa.repeat(pa.scalar(plan.actor, pa.string()), rows)
        columns |= {"createdBy": by, "updatedBy": by}
    return columns

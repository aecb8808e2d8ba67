"""Bulk loads: Arrow data made into a data file, and the log entry that makes such files part of a namespace.

The file has no `$seq` column, for nobody knows the seqs before the entry has landed: row r has the seq of the file's
first row plus r. Everything else of a document is in it, `version`, `createdAt` and `updatedAt` too, so that any tool
reads whole documents. They say when the load began, by the owner's clock.

Wire form of an entry's body: `[[file...], columns, [request record...]]` in `parquedb.documents.codec` msgpack: wire
forms of `DataFile`, whose seqs count from 0; the wire form of a `ColumnRegistry` of what is in them; and records as in
`parquedb.storage.events`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from parquedb.documents.codec import decode, encode
from parquedb.documents.values import (
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    DOLLAR_FIELDS,
    MANAGED_FIELDS,
    TEXT_FIELDS,
    normalize,
)
from parquedb.errors import CorruptionError, ValidationError
from parquedb.storage.arrow_fields import column_of, typed
from parquedb.storage.bulk_ids import ascend, bare_ids, check_distinct, ulids
from parquedb.storage.column_stats import ColumnStats, column_stats
from parquedb.storage.columns import (
    ID_COLUMN,
    PATHS_MAX,
    RESIDUAL_COLUMN,
    TIME_TYPE,
    Column,
    ColumnRegistry,
    with_declared,
)
from parquedb.storage.data_file import DataFile, write_table
from parquedb.storage.events import RequestRecord
from parquedb.storage.partial_reads import tail_of
from parquedb.storage.shred import one_chunk, shred_with_leftovers

FILE_ROWS_MAX: Final = 8 * 131_072
"""Rows of one file: eight row groups."""

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


def check_names(schema: pa.Schema, id_column: str) -> None:
    """Accept data whose columns can be fields of documents.

    Raises:
        ValidationError: one cannot; says which.
    """
    names = schema.names
    for name in names:
        if names.count(name) > 1:
            raise ValidationError(field=name, expected="distinct column names", actual=f"{name!r} twice")
        if name == id_column:
            continue
        if name in MANAGED_FIELDS:
            message = f"{name!r} is set by the database and cannot be given"
            raise ValidationError(message, field=name, expected="a field of your own", actual=name)
        if not name or "\0" in name or (name[0] == "$" and (name not in DOLLAR_FIELDS or name == ID_COLUMN)):
            expected = "a field name that is not empty, holds no NUL and does not start with '$' ($id and $type aside)"
            raise ValidationError(field=name or "column", expected=expected, actual=repr(name))
    if id_column != ID_COLUMN and id_column not in names:
        raise ValidationError(field="id_column", expected=f"one of {', '.join(names)}", actual=repr(id_column))


def build(key: str, table: pa.Table, plan: Plan, first_ulid: int) -> BulkFile:
    """Make the data file of some rows, in the order they have.

    Takes CPU time in proportion to the rows: run it in an executor. It takes a second thread for a part of the work.

    Args:
        key: Of the object to be, relative to the namespace.
        table: 1 to `FILE_ROWS_MAX` rows; its names have been checked.
        plan: See there.
        first_ulid: Number of the first id to make, where the data has none.

    Raises:
        ValidationError: a value or a type that documents cannot hold; names the column.
        AlreadyExistsError: two rows have one id.
    """
    given = {name: one_chunk(column) for name, column in zip(table.column_names, table.itercolumns(), strict=True)}
    rows = table.num_rows
    with ThreadPoolExecutor(1) as pool:
        valid = pool.submit(_check_valid, table)
        column = given.pop(plan.id_column, None)
        ids = ulids(first_ulid, rows) if column is None else _ids(plan, column)
        sorted_ = column is None or ascend(ids)
        if not sorted_:
            check_distinct(ids, plan.namespace)
        typed_columns, rest = _sorted_out(given, plan, rows)
        valid.result()
        found, leftovers, residual_paths = _row_by_row(rest, typed_columns, plan, rows)
        arrays = {
            ID_COLUMN: pc.binary_join_element_wise(plan.namespace, ids, "/"),
            **_set_by_database(plan, rows),
            **found,
            RESIDUAL_COLUMN: leftovers,
        }
        built = pa.Table.from_arrays(list(arrays.values()), names=list(arrays))
        stats = pool.submit(_stats, built)
        data = write_table(built, sorted_by_id=sorted_)
    bounds = pc.min_max(ids).as_py()
    file = DataFile(
        key=key,
        rows=rows,
        bytes=len(data),
        checksum=xxhash.xxh3_64_intdigest(data),
        id_min=bounds["min"],
        id_max=bounds["max"],
        seq_first=0,
        seq_last=rows - 1,
        sorted=sorted_,
        stats=stats.result(),
        residual_paths=residual_paths,
        tail=tail_of(data),
    )
    return BulkFile(data, file, {name: column_of(array.type) for name, array in found.items()})


def _check_valid(table: pa.Table) -> None:
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ValidationError(field="table", expected="valid Arrow data", actual=str(error)) from error


def _ids(plan: Plan, column: pa.Array) -> pa.Array:
    if not pa.types.is_integer(column.type):
        column = column if column.null_count == len(column) else typed(plan.id_column, column)
    return bare_ids(plan.id_column, column, plan.namespace)


def _sorted_out(
    given: Mapping[str, pa.Array], plan: Plan, rows: int
) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
    """Return the columns that become typed columns as they are, and those that have to go row by row."""
    whole: dict[str, pa.Array] = {}
    rest: dict[str, pa.Array] = {}
    registry = plan.registry
    for name, array in given.items():
        if array.null_count == rows:
            continue
        column = typed(name, array)
        if name in TEXT_FIELDS and (column is None or column.type != pa.string()):
            raise ValidationError(field=name, expected="a column of text", actual=f"a column of type {array.type}")
        if column is None:
            rest[name] = array
            continue
        _check_sizes(name, column, plan.bytes_max)
        grown = with_declared(registry, {name: column_of(column.type)})
        if plan.hold is not None or not _holds(grown.columns.get(name), column_of(column.type)):
            rest[name] = column
            continue
        registry = grown
        whole[name] = column
    return whole, rest


def _check_sizes(path: str, array: pa.Array, bytes_max: int) -> None:
    """Refuse text and bytes that are larger than a document may be."""
    kind = array.type
    if pa.types.is_struct(kind):
        for field, child in zip(kind, array.flatten(), strict=True):
            _check_sizes(f"{path}.{field.name}", child, bytes_max)
    elif kind in {pa.string(), pa.binary()}:
        longest = pc.max(pc.binary_length(array)).as_py() or 0
        if longest > bytes_max:
            raise ValidationError(
                field=path, expected=f"values of at most {bytes_max} bytes", actual=f"{longest} bytes"
            )
    elif pa.types.is_list(kind):
        size = array.nbytes / max(1, len(array))
        longest = (pc.max(pc.list_value_length(array)).as_py() or 0) if array.nbytes > bytes_max else 0
        if longest and longest * max(1, size) > bytes_max:
            _check_sizes(path, array.flatten(), bytes_max)


def _holds(column: Column | None, wanted: Column) -> bool:
    """Whether a column of the registry has all paths of a wanted one: not every name can be a column's."""
    if column is None or isinstance(wanted, str):
        return column == wanted
    return not isinstance(column, str) and all(_holds(column.get(name), child) for name, child in wanted.items())


def _row_by_row(
    rest: Mapping[str, pa.Array], whole: Mapping[str, pa.Array], plan: Plan, rows: int
) -> tuple[dict[str, pa.Array], pa.Array, frozenset[str]]:
    """Return all user columns, the `$residual` column, and the fields that have a part in it."""
    found = dict(whole)
    if not rest and plan.hold is None:
        return found, pa.nulls(rows, pa.string()), frozenset()
    registry = with_declared(plan.registry, {name: column_of(array.type) for name, array in whole.items()})
    documents = [_document(at, values, plan) for at, values in enumerate(_values(rest, rows))]
    table, _, residual_paths = shred_with_leftovers([(document, 0) for document in documents], registry)
    for name in registry_order(table.column_names):
        found[name] = one_chunk(table.column(name))
    return found, one_chunk(table.column(RESIDUAL_COLUMN)), residual_paths


def registry_order(names: list[str]) -> list[str]:
    """Return the user columns among those that the shredder makes."""
    return [name for name in names if name not in {"$seq", RESIDUAL_COLUMN}]


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


def _stats(table: pa.Table) -> dict[str, ColumnStats]:
    return column_stats(table)


def with_found(registry: ColumnRegistry, columns: Mapping[str, Column]) -> ColumnRegistry:
    """Return the registry with the paths of some files that it lacks; what it has, stays.

    Paths beyond `PATHS_MAX` are left out: the registry only says what new files look like.
    """
    wire = registry.to_wire()
    for name, column in columns.items():
        before = wire.get(name)
        after = _joined(before, column)
        if after == before:
            continue
        grown = ColumnRegistry.from_wire({**wire, name: after})
        if grown.paths <= PATHS_MAX:
            wire[name] = after
    return registry if wire == registry.to_wire() else ColumnRegistry.from_wire(wire)


def _joined(before: Column | None, found: Column) -> Column:
    if before is None:
        return found
    if isinstance(before, str) or isinstance(found, str):
        return before
    return {**before, **{name: _joined(before.get(name), child) for name, child in found.items()}}


@dataclass(frozen=True, slots=True)
class Bulk:
    """What a bulk entry says.

    Attributes:
        files: Their seqs count from 0 in each.
        columns: Wire form of the registry of their columns.
        records: What the request came to, if it has an id.
    """

    files: tuple[DataFile, ...]
    columns: Mapping[str, Column]
    records: tuple[RequestRecord, ...]

    @property
    def rows(self) -> int:
        """Documents in all files."""
        return sum(file.rows for file in self.files)

    def placed(self, first_seq: int) -> Iterator[DataFile]:
        """Yield the files with the seqs of an entry whose first is `first_seq`."""
        for file in self.files:
            yield replace(file, seq_first=first_seq, seq_last=first_seq + file.rows - 1)
            first_seq += file.rows


def encode_bulk(bulk: Bulk) -> bytes:
    """Encode the body of a bulk entry."""
    records = [(r.request, r.kind, r.first_event, r.events, r.value) for r in bulk.records]
    return encode([[file.to_wire() for file in bulk.files], dict(bulk.columns), records])


def decode_bulk(key: str, body: bytes) -> Bulk:
    """Decode the body of a bulk entry.

    Raises:
        CorruptionError: the body is not of this form; names `key`.
    """
    try:
        files, columns, records = decode(body)
        return Bulk(tuple(map(DataFile.from_wire, files)), columns, tuple(RequestRecord(*record) for record in records))
    except (CorruptionError, ValueError, TypeError, KeyError, IndexError) as error:
        raise CorruptionError(key=key, reason=f"body unreadable: {error}", cause=error) from error

"""Arrow data of a bulk load, checked and brought into the columns of documents."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents.values import DOLLAR_FIELDS, MANAGED_FIELDS, TEXT_FIELDS
from parquedb.errors import ValidationError
from parquedb.storage.bulk.arrow_fields import column_of, typed
from parquedb.storage.bulk.column_ids import ascend, bare_ids, check_distinct, ulids
from parquedb.storage.bulk.load_file import Plan, Rows, check_valid
from parquedb.storage.files.columns import ID_COLUMN, Column, with_declared
from parquedb.storage.files.shred import one_chunk


def check_names(schema: pa.Schema, id_column: str) -> None:
    """Accept data whose columns can be fields of documents.

    Raises:
        ValidationError: one cannot; says which.
    """
    names, seen = schema.names, set()
    for name in names:
        if name in seen:
            raise ValidationError(field=name, expected="distinct column names", actual=f"{name!r} twice")
        seen.add(name)
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


def rows_of(table: pa.Table, plan: Plan, first_ulid: int) -> Rows:
    """Return the rows of a table.

    Args:
        table: At least one row; its names have been checked.
        plan: See there.
        first_ulid: Number of the first id to make, where the data has none.

    Raises:
        ValidationError: a value or a type that documents cannot hold; names the column.
        AlreadyExistsError: two rows have one id.
    """
    given = {name: one_chunk(column) for name, column in zip(table.column_names, table.itercolumns(), strict=True)}
    for name, array in given.items():
        # Plain text is not touched before its file is made, and is checked there: part by part, beside other work.
        if name == plan.id_column or array.type != pa.string():
            check_valid(name, array)
    column = given.pop(plan.id_column, None)
    ids = ulids(first_ulid, table.num_rows) if column is None else _ids(plan, column)
    sorted_ = column is None or ascend(ids)
    if not sorted_:
        check_distinct(ids, plan.namespace)
    columns, rest = _sorted_out(given, plan, table.num_rows)
    return Rows(ids, sorted_, columns, rest)


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

"""One schema for the columns of several data files, and their columns brought into it without losing anything.

A path normally has one type in all files of a namespace. Where it has not, because a schema changed it, the values of
that field alone become Python values and are shredded again: what the common type cannot hold goes to `$residual`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from parquedb.storage.files.columns import (
    ID_COLUMN,
    PATHS_MAX,
    RESIDUAL_COLUMN,
    SEQ_COLUMN,
    Column,
    ColumnRegistry,
    column_type,
    kind_of_type,
)
from parquedb.storage.files.shred import Columns, one_chunk, shred, unshred_columns

Schema = Mapping[str, pa.DataType]
"""Top-level columns in file order."""


def common_schema(schemas: Sequence[pa.Schema], registry: ColumnRegistry) -> Schema:
    """Return the columns of all files: where types differ, the registry's, else the first file's.

    Args:
        schemas: Of at least one file.
        registry: The namespace's columns; gives order and types.
    """
    found: dict[str, list[pa.DataType]] = {}
    for schema in schemas:
        for field in schema:
            found.setdefault(field.name, []).append(field.type)
    # As the shredder orders them: `$seq` behind `$id`, `$residual` last.
    names = [name for name in registry.columns if name in found and name != ID_COLUMN]
    names += [name for name in found if name not in {*registry.columns, SEQ_COLUMN, RESIDUAL_COLUMN, ID_COLUMN}]
    return {
        name: _common(found[name], None if name not in registry.columns else column_type(registry.columns[name]))
        for name in (ID_COLUMN, SEQ_COLUMN, *names, RESIDUAL_COLUMN)
    }


def full_columns(schemas: Sequence[pa.Schema], common: Schema) -> frozenset[str]:
    """Return the columns that are full in every file, and there of the common type: so they stay."""

    def stays_full(name: str, kind: pa.DataType) -> bool:
        fields = [schema.field(name) for schema in schemas if name in schema.names]
        return len(fields) == len(schemas) and all(not field.nullable and field.type == kind for field in fields)

    return frozenset(name for name, kind in common.items() if stays_full(name, kind))


def _common(types: Sequence[pa.DataType], registered: pa.DataType | None) -> pa.DataType:
    """Return one type for a path: a struct has the fields of all structs, a leaf has the registered type."""
    structs = [kind for kind in types if pa.types.is_struct(kind)]
    wanted = types[0] if registered is None or (pa.types.is_struct(registered) and not structs) else registered
    if not pa.types.is_struct(wanted):
        return wanted
    known = {field.name: field.type for field in registered} if registered is not None else {}
    children: dict[str, list[pa.DataType]] = {name: [] for name in known}
    for struct in structs:
        for field in struct:
            children.setdefault(field.name, []).append(field.type)
    return pa.struct([(name, _common(kinds, known.get(name))) for name, kinds in children.items() if kinds])


def conform(columns: Columns, schema: Schema, length: int) -> tuple[pa.Table, frozenset[str]]:
    """Return the columns of one file as rows of the common schema, and the fields that had another type.

    Raises:
        ValueError: a residual that has to be extended is not what `shred` writes.
    """
    misfits = [name for name, array in columns.items() if not _fits(array.type, schema[name])]
    kept = {name: array for name, array in columns.items() if name not in misfits}
    if misfits:
        moved = {name: columns[name] for name in misfits}
        kept |= _shredded_again(moved, columns[RESIDUAL_COLUMN], {name: schema[name] for name in misfits})
    arrays = [_widened(kept[name], kind) if name in kept else pa.nulls(length, kind) for name, kind in schema.items()]
    return pa.Table.from_arrays(arrays, names=list(schema)), frozenset(misfits)


def _fits(have: pa.DataType, wanted: pa.DataType) -> bool:
    if not (pa.types.is_struct(have) and pa.types.is_struct(wanted)):
        return bool(have == wanted)
    fields = {field.name: field.type for field in wanted}
    return all(_fits(field.type, fields[field.name]) for field in have)


def _widened(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return a struct with the fields it lacks, as missing ones."""
    if array.type == wanted or not pa.types.is_struct(wanted):
        return array
    children = {field.name: child for field, child in zip(array.type, array.flatten(), strict=True)}
    arrays = [
        _widened(children[field.name], field.type) if field.name in children else pa.nulls(len(array), field.type)
        for field in wanted
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(wanted), mask=array.is_null())


def _shredded_again(moved: Columns, residuals: pa.Array, schema: Schema) -> dict[str, pa.Array]:
    """Return columns with other types, and the residuals that hold what does not fit those."""
    columns = {name: column for name, kind in schema.items() if (column := _column(kind)) is not None}
    documents = unshred_columns({**moved, RESIDUAL_COLUMN: residuals}, len(residuals))
    # No room for new paths: the columns are those given and no others.
    table, _ = shred([(document, 0) for document in documents], ColumnRegistry(columns, PATHS_MAX))
    return {name: one_chunk(table.column(name)) for name in (*columns, RESIDUAL_COLUMN) if name in table.column_names}


def _column(kind: pa.DataType) -> Column | None:
    """Return what the registry calls a column of this type; None for a type that it has no name for."""
    if pa.types.is_struct(kind):
        children = {field.name: _column(field.type) for field in kind}
        return {name: column for name, column in children.items() if column is not None} or None
    try:
        return f"list<{kind_of_type(kind.value_type)}>" if pa.types.is_list(kind) else kind_of_type(kind)
    except KeyError:
        return None

"""The columns that a schema declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parquedb.schemas.model import Field, FieldType, Schema
from parquedb.storage.files.columns import DECIMAL_DIGITS_MAX, KIND_OF_TYPE, Column, decimal_kind

_KINDS: Mapping[str, str] = {
    "string": "str",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "date": "date",
    "datetime": "time",
    "uuid": "uuid",
    "bytes": "bytes",
}


def declared_columns(schema: Schema) -> dict[str, Column]:
    """Return the columns of the declared fields; a field without one type is left to what its values show."""
    return _columns(schema.fields)


def _columns(fields: tuple[Field, ...]) -> dict[str, Any]:
    found = {field.name: _column(field.type) for field in fields}
    return {name: column for name, column in found.items() if column}


def _column(type_: FieldType) -> Column | None:
    if type_.kind == "object":
        return _columns(type_.fields)
    if type_.kind == "list" and type_.item is not None:
        item = _scalar(type_.item)
        return None if item is None or item.startswith("decimal") else f"list<{item}>"
    return _scalar(type_)


def _scalar(type_: FieldType) -> str | None:
    if type_.kind == "enum":
        types = set(map(type, type_.values))
        return KIND_OF_TYPE[types.pop()] if len(types) == 1 else None
    if type_.kind == "decimal":
        if type_.precision is None or type_.scale is None or type_.precision > DECIMAL_DIGITS_MAX:
            return None
        return decimal_kind(type_.precision, type_.scale)
    return _KINDS.get(type_.kind)

"""Schemas as JSON Schema (draft 2020-12), for tools; what JSON has no type for is a string with a `format`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from parquedb.schemas.model import Field, FieldType, Schema

_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "string": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "decimal": {"type": ["number", "string"], "format": "decimal"},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "list": {"type": "array"},
    "map": {"type": "object"},
    "object": {"type": "object"},
    "relation": {"type": ["string", "array", "object"]},
}
_NAMES: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
                 "multiple_of": "multipleOf", "pattern": "pattern"}  # fmt: skip
_LENGTHS: Final = {"string": "Length", "bytes": "Length", "list": "Items", "map": "Properties"}


def to_json_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema of a schema's documents, system fields aside."""
    title = {} if schema.name is None else {"title": schema.name}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **title, **_type(schema.root)}


def _type(type_: FieldType) -> dict[str, Any]:
    if type_.kind == "json":
        return {}
    result: dict[str, Any] = {"enum": list(type_.values)} if type_.kind == "enum" else dict(_TYPES[type_.kind])
    if type_.format is not None:
        result["format"] = "uri" if type_.format == "url" else type_.format
    for name, word in _NAMES.items():
        if getattr(type_, name) is not None:
            result[word] = _json(getattr(type_, name))
    for name in ("min_length", "max_length"):
        if getattr(type_, name) is not None:
            result[name[:3] + _LENGTHS[type_.kind]] = getattr(type_, name)
    if type_.kind == "object":
        result |= _object(type_)
    elif type_.item is not None:
        result["items" if type_.kind == "list" else "additionalProperties"] = _type(type_.item)
    return {"anyOf": [result, {"type": "null"}]} if type_.nullable else result


def _object(type_: FieldType) -> dict[str, Any]:
    result: dict[str, Any] = {"properties": {field.name: _field(field) for field in type_.fields}}
    required = [field.name for field in type_.fields if field.required]
    if required:
        result["required"] = required
    if type_.closed:
        result["additionalProperties"] = False
    return result


def _field(field: Field) -> dict[str, Any]:
    result = _type(field.type)
    if field.default is not None:
        result["default"] = _json(field.default)
    return result if field.description is None else {**result, "description": field.description}


def _json(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list) else value

"""Types and values in words, for messages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from parquedb.schemas.model import FieldType

UNITS: Final = {"string": "characters", "bytes": "bytes", "list": "items", "map": "items"}
_BOUNDS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_CHARS_MAX: Final = 40
_VALUES_MAX: Final = 20


def describe(type_: FieldType) -> str:
    """Return what a type asks for, in words: `string of at most 5 characters`, `int >= 0 or null`."""
    words = _named(type_)
    low, high = type_.min_length, type_.max_length
    if low is not None or high is not None:
        unit = UNITS[type_.kind]
        limits = f"{low}" if low == high else f"{low} to {high}"
        limits = f"at least {low}" if high is None else f"at most {high}" if low is None else limits
        words += f" of {limits} {unit}"
    words += "".join(f" {sign} {getattr(type_, name)}" for name, sign in _BOUNDS.items() if _has(type_, name))
    if type_.multiple_of is not None:
        words += f", a multiple of {type_.multiple_of}"
    return f"{words} or null" if type_.nullable and type_.kind != "json" else words


def _has(type_: FieldType, name: str) -> bool:
    return getattr(type_, name) is not None


def _named(type_: FieldType) -> str:
    if type_.kind == "enum":
        more = ", ..." if len(type_.values) > _VALUES_MAX else ""
        return "one of " + ", ".join(map(repr, type_.values[:_VALUES_MAX])) + more
    if type_.kind == "relation":
        return "ids of documents" if type_.relation and type_.relation.many else "the id of a document"
    if type_.kind == "decimal" and (type_.precision is not None or type_.scale is not None):
        return f"decimal({'any' if type_.precision is None else type_.precision},{type_.scale or 0})"
    if type_.kind == "list" and type_.item is not None:
        return f"list of {_named(type_.item)}"
    return type_.format or type_.kind


def shown(value: Any, otherwise: str) -> str:
    """Return a number as it is; other values may be secret or huge."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return otherwise
    try:
        text = str(value)
    except ValueError:  # Python refuses to write out an int of more than 4300 digits.
        return otherwise
    return text if len(text) <= _CHARS_MAX else otherwise

"""The types that `$type` asks for: BSON's names and numbers, and what they mean for our values.

    name                          number   values
    double                        1        float
    string                        2        str
    object, array                 3, 4     dict, list
    binData                       5        bytes and UUID
    bool                          8        bool
    date                          9        datetime
    null                          10       None
    int                           16       int of 32 bits
    long                          18       any other int
    decimal                       19       Decimal
    number                        -        int, long, double, decimal
    day, uuid                     -        date, UUID: names of ours
    objectId, regex, minKey, ...           none: no document holds such a value

Source: MongoDB manual, "BSON Types", "$type".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from datetime import date, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Final
from uuid import UUID

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1

_BY_NUMBER: Final = {
    1: "double",
    2: "string",
    3: "object",
    4: "array",
    5: "binData",
    6: "undefined",
    7: "objectId",
    8: "bool",
    9: "date",
    10: "null",
    11: "regex",
    12: "dbPointer",
    13: "javascript",
    14: "symbol",
    15: "javascriptWithScope",
    16: "int",
    17: "timestamp",
    18: "long",
    19: "decimal",
    -1: "minKey",
    127: "maxKey",
}
_ALIASES: Final = {"number": frozenset({"double", "int", "long", "decimal"})}
_OWN: Final = ("day", "uuid")
NAMES: Final = (*_BY_NUMBER.values(), *_ALIASES, *_OWN)

NAMES_OF: Final[Mapping[type, frozenset[str]]] = {
    float: frozenset({"double"}),
    str: frozenset({"string"}),
    dict: frozenset({"object"}),
    list: frozenset({"array"}),
    bytes: frozenset({"binData"}),
    UUID: frozenset({"binData", "uuid"}),
    bool: frozenset({"bool"}),
    datetime: frozenset({"date"}),
    date: frozenset({"day"}),
    NoneType: frozenset({"null"}),
    int: frozenset({"int", "long"}),
    Decimal: frozenset({"decimal"}),
}
"""The names that a value of a type may have; those of an int depend on its size."""


def names_of_operand(operand: Any) -> frozenset[str] | None:
    """Return the types that one name or number stands for; None if it stands for none."""
    if isinstance(operand, str):
        return _ALIASES.get(operand) or (frozenset({operand}) if operand in NAMES else None)
    if type(operand) in {int, float} and operand in _BY_NUMBER:
        return frozenset({_BY_NUMBER[operand]})
    return None


def has_type(names: Set[str]) -> Callable[[Any], bool]:
    """Return the test whether a value has one of the types."""
    kinds = frozenset(kind for kind, own in NAMES_OF.items() if own & names)
    if ("int" in names) == ("long" in names):
        return lambda value: type(value) in kinds
    small = "int" in names

    def sized(value: Any) -> bool:
        kind = type(value)
        return kind in kinds and (kind is not int or (INT_MIN <= value <= INT_MAX) is small)

    return sized

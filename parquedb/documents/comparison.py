"""Equality and order of values across types, as filters and sorts need them.

Values are equal or ordered inside their bracket; brackets themselves have an order, which only sorts (and arrays
compared element by element) use: null, numbers, str, dict, list, bytes, UUID, bool, date, datetime. `int`, `float` and
`Decimal` are one bracket and compare by exact numeric value; `True` is no number; a `date` is no datetime.

Two rules differ from Python: NaN equals NaN and sorts before every number, and dicts are compared without regard to
the order of their keys (which columns do not keep).

Source: MongoDB manual, "Comparison/Sort Order"; docs/differences.md lists where we differ.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import cmp_to_key
from types import NoneType
from typing import Any, Final
from uuid import UUID


class Missing:
    """The type of `MISSING`: no value at a path, which is not the same as an explicit null."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()

NUMBERS = frozenset({int, float, Decimal})

_BRACKETS: dict[type, int] = {
    Missing: 0,
    NoneType: 0,
    int: 1,
    float: 1,
    Decimal: 1,
    str: 2,
    dict: 3,
    list: 4,
    bytes: 5,
    UUID: 6,
    bool: 7,
    date: 8,
    datetime: 9,
}
_NULL, _NUMBER, _DICT, _LIST = 0, 1, 3, 4


def bracket(value: Any) -> int:
    """The rank of the type of a value; values of one rank can be compared."""
    return _BRACKETS[type(value)]


def is_nan(value: Any) -> bool:
    """Whether a value is the number NaN, in float or Decimal."""
    kind = type(value)
    return (kind is float and value != value) or (kind is Decimal and value.is_nan())  # noqa: PLR0124 - the NaN test


def equal(a: Any, b: Any) -> bool:
    """Whether two values are the same to a filter: `1` and `1.0` are, `1` and `True` are not."""
    kind = type(a)
    if kind in NUMBERS:
        return type(b) in NUMBERS and (a == b or (is_nan(a) and is_nan(b)))
    if kind is not type(b):
        return False
    if kind is list:
        return len(a) == len(b) and all(map(equal, a, b))
    if kind is dict:
        return len(a) == len(b) and all(key in b and equal(value, b[key]) for key, value in a.items())
    return bool(a == b)


def compare(a: Any, b: Any) -> int:  # noqa: PLR0911 - one return per type
    """The total order of all values: negative, 0 or positive as `a` sorts before, with or after `b`.

    A missing value sorts with null.
    """
    rank = bracket(a)
    if rank != bracket(b):
        return rank - bracket(b)
    if rank == _NUMBER:
        return _compare_numbers(a, b)
    if rank == _LIST:
        for x, y in zip(a, b, strict=False):
            if order := compare(x, y):
                return order
        return len(a) - len(b)
    if rank == _DICT:
        return _compare_dicts(a, b)
    if rank == _NULL:
        return 0
    return int(a > b) - int(a < b)


sort_key = cmp_to_key(compare)
"""`compare` as a `key=` of `sorted`."""


def _compare_numbers(a: Any, b: Any) -> int:
    # Decimal raises when a NaN is ordered, so NaN is asked for first.
    if is_nan(a) or is_nan(b):
        return is_nan(b) - is_nan(a)
    return int(a > b) - int(a < b)


def _compare_dicts(a: dict[str, Any], b: dict[str, Any]) -> int:
    for x, y in zip(sorted(a), sorted(b), strict=False):
        if order := bracket(a[x]) - bracket(b[y]):
            return order
        if x != y:
            return 1 if x > y else -1
        if order := compare(a[x], b[y]):
            return order
    return len(a) - len(b)

"""What each operator takes, and the form that the tree keeps of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from parquedb.documents.comparison import NUMBERS, is_nan
from parquedb.documents.filters.tree import CompareOp
from parquedb.documents.regex import Regex
from parquedb.documents.type_names import NAMES, names_of_operand
from parquedb.documents.value_tests import LONG_MAX, LONG_MIN
from parquedb.documents.values import normalize_value, type_name
from parquedb.errors import ValidationError
from parquedb.errors.plain import repr_of, text_of

COMPARE_OPS: Final[Mapping[str, CompareOp]] = {
    "$eq": "eq",
    "$ne": "ne",
    "$gt": "gt",
    "$gte": "gte",
    "$lt": "lt",
    "$lte": "lte",
    "$in": "in",
    "$nin": "nin",
    "$exists": "exists",
    "$mod": "mod",
    "$startsWith": "startsWith",
    "$endsWith": "endsWith",
    "$contains": "contains",
    "$size": "size",
    "$type": "type",
}
"""Operators that become one `Compare` whatever they take."""

_SIZE_MAX: Final = 2**31 - 1
_MOD_NUMBERS: Final = 2


def operand(op: str, given: Any) -> Any:
    """Return what an operator of `COMPARE_OPS` takes, as `Compare` keeps it.

    Raises:
        ValidationError: `expected` and `actual` say what is wrong.
    """
    read = _READERS.get(op)
    if read is not None:
        return read(given)
    if is_pattern(given):
        # MongoDB compares with stored regular expressions, of which there are none here.
        refuse("a value", "a regular expression; one goes with $regex, $in, $not or directly under the path")
    return normalize_value(given)


def is_pattern(value: Any) -> bool:
    """Whether a value is a regular expression, compiled by Python or already read."""
    return isinstance(value, re.Pattern | Regex)


def has_operators(condition: Any) -> bool:
    """Whether a condition is an operator object, not a value."""
    return isinstance(condition, Mapping) and any(isinstance(key, str) and key.startswith("$") for key in condition)


def refuse(expected: str, actual: str) -> NoReturn:
    """Raise the error for a wrong operand."""
    raise ValidationError(field="operand", expected=expected, actual=actual)


def _membership(given: Any) -> list[Any]:
    if not isinstance(given, list | tuple):
        refuse("a list", type_name(given))
    if any(map(has_operators, given)):
        refuse("plain values in its list", "an operator object")
    values: list[Any] = normalize_value(given)
    return values


def _exists(given: Any) -> bool:
    if type(given) is not bool and (type(given) is not int or given not in {0, 1}):
        refuse("True or False", type_name(given))
    return bool(given)


def _mod(given: Any) -> tuple[int, int]:
    expected = "a list of two numbers, divisor and remainder"
    if not isinstance(given, list | tuple):
        refuse(expected, type_name(given))
    if len(given) != _MOD_NUMBERS:
        refuse(expected, f"a list of {len(given)}")
    divisor, remainder = (_whole_part(number, expected) for number in given)
    if not divisor:
        refuse("a divisor other than 0", "0")
    return divisor, remainder


def _whole_part(number: Any, expected: str) -> int:
    if type(number) not in NUMBERS:
        refuse(expected, f"{type_name(number)} among them")
    if is_nan(number) or not LONG_MIN - 1 < number < LONG_MAX + 1:
        refuse("numbers of 64 bits", text_of(number)[:40])
    return int(number)


def _text(given: Any) -> str:
    if type(given) is not str:
        refuse("a str", type_name(given))
    text: str = normalize_value(given)
    return text


def _size(given: Any) -> int:
    if type(given) not in NUMBERS:
        refuse("a number of elements", type_name(given))
    if is_nan(given) or not 0 <= given <= _SIZE_MAX or int(given) != given:
        refuse(f"a whole number from 0 to {_SIZE_MAX:,}", text_of(given)[:40])
    return int(given)


def _types(given: Any) -> frozenset[str]:
    wanted = given if isinstance(given, list | tuple) else (given,)
    if not wanted:
        refuse("at least one type", "an empty list")
    found: frozenset[str] = frozenset()
    for name in wanted:
        names = names_of_operand(name)
        if names is None:
            shown = repr_of(name)[:40] if isinstance(name, str | int | float | Decimal) else type_name(name)
            refuse(f"a BSON type number or one of {', '.join(NAMES)}", shown)
        else:
            found |= names
    return found


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "$in": _membership,
    "$nin": _membership,
    "$exists": _exists,
    "$mod": _mod,
    "$startsWith": _text,
    "$endsWith": _text,
    "$contains": _text,
    "$size": _size,
    "$type": _types,
}

"""Tests of one value, `MISSING` when there is none: what an operator asks, with its operand built in.

All choices by operator and operand type are made once, when the test is made.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from parquedb.documents.comparison import MISSING, NUMBERS, bracket, compare, equal, is_nan
from parquedb.documents.regex import Regex
from parquedb.documents.type_names import has_type

Test = Callable[[Any], bool]

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def is_present(value: Any) -> bool:
    """Whether there is a value, null or not."""
    return value is not MISSING


def test_of(op: str, operand: Any) -> Test:
    """Return the test of a `Compare` node that is no negation and not `exists`."""
    make = _MAKERS.get(op)
    return _ordering(op, operand) if make is None else make(operand)


def _is_null(value: Any) -> bool:
    return value is None or value is MISSING


def _never(value: Any) -> bool:  # noqa: ARG001 - the shape of a Test
    return False


def _equality(operand: Any) -> Test:
    if operand is None:
        return _is_null
    if is_nan(operand):
        return is_nan
    kind = type(operand)
    if kind in NUMBERS:
        return lambda value: type(value) in NUMBERS and value == operand
    if kind is list or kind is dict:
        return lambda value: type(value) is kind and equal(value, operand)
    return lambda value: type(value) is kind and value == operand


def _ordering(op: str, operand: Any) -> Test:
    holds = _ORDER[op]
    or_equal = op in {"gte", "lte"}
    if operand is None:
        return _is_null if or_equal else _never
    if is_nan(operand):
        return is_nan if or_equal else _never
    kind = type(operand)
    if kind in NUMBERS:
        if kind is Decimal:
            # Ordering a Decimal against a NaN raises, whichever of the two is the NaN and whatever its type.
            return lambda value: type(value) in NUMBERS and not is_nan(value) and holds(value, operand)

        def number(value: Any) -> bool:
            kind = type(value)
            if kind is int or kind is float:
                return holds(value, operand)
            # A Decimal NaN raises when it is ordered; a float one is just never greater or less.
            return kind in NUMBERS and not value.is_nan() and holds(value, operand)

        return number
    if kind is list or kind is dict:
        return lambda value: type(value) is kind and holds(compare(value, operand), 0)
    return lambda value: type(value) is kind and holds(value, operand)


def _membership(operands: Iterable[Any]) -> Test:
    """Whether a value equals one of many, by hash where the type has one."""
    hashed: dict[int, set[Any]] = {}
    others: list[Test] = []
    for operand in operands:
        if operand is None or type(operand) is list or type(operand) is dict or is_nan(operand):
            others.append(_equality(operand))
        else:
            hashed.setdefault(bracket(operand), set()).add(operand)
    # By type, so that True is not found among numbers; the three number types share one set, as their hashes agree.
    by_type: dict[type, set[Any]] = {}
    for group in hashed.values():
        kinds = set(map(type, group))
        for kind in NUMBERS if kinds & NUMBERS else kinds:
            by_type[kind] = group
    if not others:

        def among(value: Any) -> bool:
            group = by_type.get(type(value))
            return group is not None and value in group

        return among

    def among_or(value: Any) -> bool:
        group = by_type.get(type(value))
        return (group is not None and value in group) or any(test(value) for test in others)

    return among_or


def _modulo(operand: tuple[int, int]) -> Test:
    """The remainder of a division that rounds to 0, so it has the sign of the value; fractions are cut off."""
    divisor, remainder = abs(operand[0]), operand[1]
    # Only a value of the sign of the remainder can leave it, 0 aside.
    sign, rest = (-1, -remainder) if remainder < 0 else (1, remainder)

    def leaves(value: int) -> bool:
        value *= sign
        return (value >= 0 or not rest) and value % divisor == rest

    def modulo(value: Any) -> bool:
        kind = type(value)
        if kind is int:
            return leaves(value)
        if kind not in NUMBERS or is_nan(value):
            return False
        # The whole part must fit 64 bits, as in MongoDB; int() of Decimal("1E+999999") would take minutes.
        return LONG_MIN - 1 < value < LONG_MAX + 1 and leaves(int(value))

    return modulo


def _search(operand: Regex) -> Test:
    found = operand.search()
    return lambda value: type(value) is str and found(value)


def _size(operand: int) -> Test:
    return lambda value: type(value) is list and len(value) == operand


_MAKERS: dict[str, Callable[[Any], Test]] = {
    "eq": _equality,
    "in": _membership,
    "mod": _modulo,
    "regex": _search,
    "startsWith": lambda operand: lambda value: type(value) is str and value.startswith(operand),
    "endsWith": lambda operand: lambda value: type(value) is str and value.endswith(operand),
    "contains": lambda operand: lambda value: type(value) is str and operand in value,
    "size": _size,
    "type": has_type,
}

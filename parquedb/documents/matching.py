"""Compile one comparison at one path to a closure over documents.

Two steps are kept apart: a `Test` decides about a single value (`MISSING` when there is none), and the walk along the
path decides which values are asked. All choices by operator and operand type are made once, at compile time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from parquedb.documents.comparison import MISSING, NUMBERS, bracket, compare, equal, is_nan
from parquedb.documents.paths import Path, array_index

Document = dict[str, Any]
Matcher = Callable[[Document], bool]
Test = Callable[[Any], bool]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_NEGATIONS = {"ne": "eq", "nin": "in"}


def compile_compare(path: Path, op: str, value: Any) -> Matcher:
    """The matcher of one `Compare` node; `value` is normalised, a list for `in`/`nin`, a bool for `exists`."""
    if op in _NEGATIONS:
        return negated(compile_compare(path, _NEGATIONS[op], value))
    if op == "exists":
        found = _along(path, _is_present)
        return found if value else negated(found)
    if op == "eq":
        return _along(path, _equality(value))
    if op == "in":
        return _along(path, _membership(value))
    return _along(path, _ordering(op, value))


def negated(matcher: Matcher) -> Matcher:
    """The matcher of everything that the given one refuses."""
    return lambda document: not matcher(document)


# Tests of one value.


def _is_present(value: Any) -> bool:
    return value is not MISSING


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


# The walk along a path.


def _along(path: Path, test: Test) -> Matcher:
    if len(path) == 1:
        name = path[0]

        def top(document: Document) -> bool:
            value = document.get(name, MISSING)
            return test(value) or (type(value) is list and any(map(test, value)))

        return top
    steps = tuple((name, array_index(name)) for name in path)
    last = len(steps) - 1

    def through_dict(node: Document, step: int) -> bool:
        while True:
            value = node.get(steps[step][0], MISSING)
            if step == last:
                return test(value) or (type(value) is list and any(map(test, value)))
            step += 1
            kind = type(value)
            if kind is list:
                return through_list(value, step)
            if kind is not dict:
                return test(MISSING)
            node = value

    def through_list(array: list[Any], step: int) -> bool:
        name, index = steps[step]
        for item in array:
            # Digits mean the index first: an element that lacks a field of that name does not count as missing it.
            if type(item) is dict and (index < 0 or name in item) and through_dict(item, step):
                return True
        if not 0 <= index < len(array):
            return False
        item = array[index]
        if step == last:
            return test(item)
        if type(item) is dict:
            return through_dict(item, step + 1)
        return type(item) is list and through_list(item, step + 1)

    return lambda document: through_dict(document, 0)

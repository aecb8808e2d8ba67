"""Compile one condition at one path to a closure over documents.

Two steps are kept apart: a `Test` decides about a single value (`MISSING` when there is none), and the walk along the
path decides which values are asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parquedb.documents.comparison import MISSING
from parquedb.documents.paths import Path, array_index
from parquedb.documents.value_tests import Test, is_present, test_of

Document = dict[str, Any]
Matcher = Callable[[Any], bool]
"""Of a document, or of any value for a condition on the empty path."""

_NEGATIONS = {"ne": "eq", "nin": "in"}


def compile_compare(path: Path, op: str, value: Any) -> Matcher:
    """The matcher of one `Compare` node, with the value that its class describes."""
    if op in _NEGATIONS:
        return negated(compile_compare(path, _NEGATIONS[op], value))
    if op == "exists":
        found = _along(path, is_present)
        return found if value else negated(found)
    return _along(path, test_of(op, value), spread=op != "size")


def compile_elements(path: Path, element: Matcher, *, documents: bool) -> Matcher:
    """The matcher of one `ElemMatch` node, from that of its part."""

    def any_document(value: Any) -> bool:
        if type(value) is list:
            for item in value:
                kind = type(item)
                if kind is dict:
                    if element(item):
                        return True
                elif kind is list and element({str(index): inner for index, inner in enumerate(item)}):
                    return True
        return False

    def any_element(value: Any) -> bool:
        return type(value) is list and any(map(element, value))

    return _along(path, any_document if documents else any_element, spread=False)


def negated(matcher: Matcher) -> Matcher:
    """The matcher of everything that the given one refuses."""
    return lambda document: not matcher(document)


def _along(path: Path, test: Test, *, spread: bool = True) -> Matcher:
    """The walk along a path: whether the test holds of a value there, or of an element of it, if `spread`."""
    if not path:
        return test
    if len(path) == 1:
        return _at_top(path[0], test, spread=spread)
    steps = tuple((name, array_index(name)) for name in path)
    last = len(steps) - 1

    def through_dict(node: Document, step: int) -> bool:
        while True:
            value = node.get(steps[step][0], MISSING)
            if step == last:
                return test(value) or (type(value) is list and spread and any(map(test, value)))
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


def _at_top(name: str, test: Test, *, spread: bool) -> Matcher:
    if not spread:
        return lambda document: test(document.get(name, MISSING))

    def top(document: Document) -> bool:
        value = document.get(name, MISSING)
        return test(value) or (type(value) is list and any(map(test, value)))

    return top

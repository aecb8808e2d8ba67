"""Array filters: which elements `$[<identifier>]` means; and the element that `$` means.

An array filter is a filter whose paths all begin with one identifier, which stands for the element:
`{"line.price": {"$gt": 10}}`, `{"score": {"$lt": 5}}`, `{"$or": [{"line.a": 1}, {"line.b": 2}]}`.

Source: MongoDB manual, "$[<identifier>]" and "$ (update)".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from parquedb.documents.filters import (
    And,
    Compare,
    ElemMatch,
    Filter,
    Not,
    Predicate,
    compile_filter,
    count_operands,
    plain,
)
from parquedb.documents.matching import Matcher
from parquedb.documents.paths import Path
from parquedb.documents.update_errors import dotted
from parquedb.documents.update_tree import FIRST, ElementTest
from parquedb.documents.values import type_name
from parquedb.errors import InvalidFilterError, InvalidUpdateError, ValidationError

ARRAY_FILTERS_MAX: Final = 100

NAMED: Final = "$[<identifier>]"
SPELLING: Final = "a name of ASCII letters and digits that begins with a lower-case letter"


def is_identifier(name: str) -> bool:
    """Whether a name can stand for an element."""
    return name.isascii() and name.isalnum() and name[0].islower()


def read_array_filters(given: Any) -> tuple[list[dict[str, Any]], dict[str, ElementTest]]:
    """Compile array filters.

    Returns:
        A copy of them as plain data, and the test of an element by `$[<identifier>]`.

    Raises:
        InvalidUpdateError: no list of filters, each with one identifier of its own.
    """
    if given is None:
        return [], {}
    if not isinstance(given, list | tuple) or len(given) > ARRAY_FILTERS_MAX:
        actual = f"{len(given):,}" if isinstance(given, list | tuple) else type_name(given)
        raise _invalid(f"a list of at most {ARRAY_FILTERS_MAX} filters", actual)
    copies: list[dict[str, Any]] = []
    tests: dict[str, ElementTest] = {}
    for number, source in enumerate(given):
        try:
            predicate = compile_filter(source)
            copies.append(plain(source))
        except (InvalidFilterError, ValidationError) as error:
            raise InvalidUpdateError(f"array_filters[{number}]: {error.message}", operator=NAMED) from error
        name = _identifier(predicate.filter)
        if f"$[{name}]" in tests:
            raise _invalid("one filter for each identifier", f"two for {name!r}; join them with $and")
        tests[f"$[{name}]"] = ElementTest(_of_element(name, predicate), count_operands(predicate.filter))
    return copies, tests


def condition_on_first(array: Path, matched_by: Predicate | None) -> ElementTest:
    """Return what the elements of an array are asked to find the one through which a document passed a filter.

    Args:
        array: Where the array is.
        matched_by: The filter of the write; None where it has none.

    Raises:
        InvalidUpdateError: no filter, or not exactly one condition on the elements of that array.
    """
    where = dotted(array)
    if matched_by is None:
        message = f"{FIRST} at {where!r} is the element that a filter matched, and an update by id has no filter; "
        raise InvalidUpdateError(
            f"{message}use array_filters, or name the index",
            operator=FIRST,
            path=where,
            expected="a filter",
            actual="an id",
        )
    found = list(_conditions(matched_by.filter, array))
    if len(found) != 1:
        expected = "one condition on its elements in the filter, not negated and in no $or"
        raise InvalidUpdateError(
            f"{FIRST} at {where!r} needs {expected} ($elemMatch joins several), not {len(found)}",
            operator=FIRST,
            path=where,
            expected=expected,
            actual=f"{len(found)}",
        )
    [condition] = found
    matches = Predicate(condition).matches
    if isinstance(condition, Compare) and not condition.path:
        return ElementTest(matches, 1)
    # The condition asks an array; with one element in it, it asks the element.
    return ElementTest(lambda item: matches({"": [item]}), count_operands(condition))


def _conditions(tree: Filter, array: Path) -> Iterator[Filter]:
    """Yield the conditions on single elements of an array, to be asked of an array under the empty name.

    Those on whole elements have the empty path instead.
    """
    if isinstance(tree, And):
        for part in tree.parts:
            yield from _conditions(part, array)
    elif isinstance(tree, Compare | ElemMatch) and tree.path[: len(array)] == array:
        below = tree.path[len(array) :]
        if isinstance(tree, ElemMatch):
            yield ElemMatch(("", *below), tree.part, tree.documents)
        elif not _is_of_no_element(tree, below):
            yield Compare(("", *below) if below else (), tree.op, tree.value)


def _is_of_no_element(condition: Compare, below: Path) -> bool:
    """Whether a condition is on the array itself, or holds where no element passes."""
    if condition.op == "exists":
        return not below or not condition.value
    return condition.op in {"ne", "nin"} or (condition.op == "size" and not below)


def _of_element(name: str, predicate: Predicate) -> Matcher:
    matches = predicate.matches
    return lambda element: matches({name: element})


def _identifier(tree: Filter) -> str:
    """Return the one name with which all paths of an array filter begin."""
    names = sorted(set(_first_names(tree)))
    if len(names) != 1:
        actual = ", ".join(repr(name[:40]) for name in names[:3]) or "none"
        raise _invalid("one identifier in each filter, with which all its paths begin", actual)
    if not is_identifier(names[0]):
        raise _invalid(f"{SPELLING} as identifier", repr(names[0][:40]))
    return names[0]


def _first_names(tree: Filter) -> Iterator[str]:
    if isinstance(tree, Compare | ElemMatch):
        yield tree.path[0]
    else:
        for part in (tree.part,) if isinstance(tree, Not) else tree.parts:
            yield from _first_names(part)


def _invalid(expected: str, actual: str) -> InvalidUpdateError:
    message = f"array_filters: expected {expected}, got {actual}"
    return InvalidUpdateError(message, operator=NAMED, expected=expected, actual=actual)

"""The distinct values of one field over many documents.

As in MongoDB, the elements of an array count one by one, and a document without the field counts for nothing.

Source: MongoDB manual, "distinct".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from parquedb.documents.budget import Budget, size_of
from parquedb.documents.comparison import MISSING, sort_key
from parquedb.documents.identity import identity
from parquedb.documents.paths import Path, PathError, array_index, split_path
from parquedb.documents.values import type_name
from parquedb.errors import InvalidProjectionError, QueryError

DISTINCT_MAX: Final = 100_000


class Distinct:
    """Collects the values at a path.

    Args:
        field: The dotted path.
        budget: Bounds what is collected.

    Raises:
        InvalidProjectionError: the field is no path.
    """

    __slots__ = ("_budget", "_found", "_steps", "column")

    def __init__(self, field: Any, budget: Budget) -> None:
        path = _path(field)
        self._steps = tuple((name, array_index(name)) for name in path)
        self._budget = budget
        self._found: dict[Any, Any] = {}
        self.column = path[0]
        """The top-level field that is looked at."""

    def feed(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Take in documents.

        Raises:
            QueryError: there are more than `DISTINCT_MAX` values.
            QueryMemoryError: they take more memory than allowed.
        """
        found = self._found
        for document in documents:
            for value in _values(document.get(self.column, MISSING), self._steps, 1):
                key = identity(value)
                if key not in found:
                    found[key] = value
                    self._budget.spend(2 * size_of(value))
                    if len(found) > DISTINCT_MAX:
                        raise QueryError(
                            f"distinct: more than {DISTINCT_MAX:,} values; narrow the filter or use $group"
                        )

    def values(self) -> list[Any]:
        """Return what was found, in the order that sorts use."""
        return sorted(self._found.values(), key=sort_key)


def _path(field: Any) -> Path:
    if not isinstance(field, str):
        raise InvalidProjectionError(f"distinct: expected the name of a field, got {type_name(field)}")
    try:
        return split_path(field)
    except PathError as error:
        raise InvalidProjectionError(f"distinct: {field[:80]!r} is no field: {error}") from None


def _values(value: Any, steps: tuple[tuple[str, int], ...], at: int) -> Iterator[Any]:
    kind = type(value)
    if at == len(steps):
        if kind is list:
            yield from value
        elif value is not MISSING:
            yield value
        return
    name, index = steps[at]
    if kind is dict:
        yield from _values(value.get(name, MISSING), steps, at + 1)
    elif kind is list:
        if 0 <= index < len(value):
            yield from _values(value[index], steps, at + 1)
        for item in value:
            if type(item) is dict:
                yield from _values(item, steps, at)

"""Sort orders: what a query may ask for, and the keys that put documents into that order.

A document sorts by the value at each path in turn, and last by its `$id`, so that no two documents are equal. Values of
different types sort by type (see `comparison`), a missing value as null. An array sorts by its least element where the
order ascends and by its greatest where it descends; an empty one sorts before null. A path goes through the documents
in an array; an element that is no document has no value below it, which counts as null.

Source: MongoDB manual, "Comparison/Sort Order" and "$sort"; docs/differences.md lists where we differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Final
from uuid import UUID

from parquedb.documents.comparison import Missing, is_nan, sort_key
from parquedb.documents.paths import Path, PathError, array_index, split_path
from parquedb.documents.values import type_name
from parquedb.errors import InvalidSortError
from parquedb.errors.plain import repr_of

SORT_FIELDS_MAX = 32
INDEXES_MAX = 10
"""The most segments of digits in one path. Each may mean an index or a name: a hostile document doubles the ways."""

ID: Final = "$id"

Document = Mapping[str, Any]
Key = tuple[Any, ...]
"""Compares as the documents sort; its last element is the `$id`."""


class EmptyArray:
    """The type of `EMPTY_ARRAY`: what a document sorts by where the array at the path has no element."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "EMPTY_ARRAY"


EMPTY_ARRAY: Final = EmptyArray()

_NAN_RANK: Final = 2
_RANKS: Final[dict[type, int]] = {
    EmptyArray: 0,
    Missing: 1,
    NoneType: 1,
    int: 3,
    float: 3,
    Decimal: 3,
    str: 4,
    dict: 5,
    list: 6,
    bytes: 7,
    UUID: 8,
    bool: 9,
    date: 10,
    datetime: 11,
}


def order_key(value: Any) -> tuple[int, Any]:
    """Return a key that orders values as `comparison.compare` does, at the cost of a tuple."""
    kind = type(value)
    rank = _RANKS[kind]
    if kind is str or kind is int:
        return rank, value
    if kind is float or kind is Decimal:
        return (_NAN_RANK, 0) if is_nan(value) else (rank, value)
    if kind is dict or kind is list:
        return rank, sort_key(value)
    if rank <= 1:
        return rank, 0
    return rank, value


def reverse_key(value: Any) -> tuple[int, Any]:
    """Return a key that orders values the other way round."""
    rank, key = order_key(value)
    kind = type(key)
    if kind is int or kind is float:
        return -rank, -key
    # The minus of a Decimal rounds it.
    return -rank, key.copy_negate() if kind is Decimal else _Reversed(key)


class _Reversed:
    """Compares the other way round."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.key == other.key)

    __hash__ = None  # type: ignore[assignment]  # keys are compared, never looked up.


@dataclass(frozen=True, slots=True)
class SortField:
    """One part of a sort order."""

    path: Path
    descending: bool


class Sort:
    """A sort order; `Sort(())` is that of `$id` alone.

    Attributes:
        fields: Its parts; with `with_id` the order of `$id` that comes last is not among them.
    """

    __slots__ = ("_parts", "fields")

    def __init__(self, fields: Sequence[SortField], *, with_id: bool = True) -> None:
        """Take the parts; `with_id` says that every document has a `$id`, which no other has."""
        if with_id:
            # Nothing is left to decide after `$id`.
            ends = next((at for at, field in enumerate(fields) if field.path == (ID,)), len(fields))
            fields = fields[: ends + 1]
            if fields and fields[-1] == SortField((ID,), descending=False):
                fields = fields[:-1]
        self.fields = tuple(fields)
        self._parts = [(_extractor(field), reverse_key if field.descending else order_key) for field in self.fields]

    @property
    def columns(self) -> tuple[str, ...]:
        """The top-level fields it looks at, `$id` included."""
        return tuple(dict.fromkeys([*(field.path[0] for field in self.fields), ID]))

    def values(self, document: Document) -> list[Any]:
        """Return what a document sorts by, a value for each of `fields`."""
        return [extract(document) for extract, _ in self._parts]

    def key(self, document: Document) -> Key:
        """Return the key of a document."""
        return self.key_of([extract(document) for extract, _ in self._parts], document.get(ID, ""))

    def key_of(self, values: Sequence[Any], last: str | int) -> Key:
        """Return the key of a document by its `values` and what tells equal ones apart: its `$id`."""
        key: list[Any] = []
        for value, (_, part) in zip(values, self._parts, strict=True):
            key += part(value)
        key.append(last)
        return tuple(key)

    def to_wire(self) -> list[list[Any]]:
        """Return `[[path, 1 or -1], ...]`, which `parse_sort` reads."""
        return [[".".join(field.path), -1 if field.descending else 1] for field in self.fields]

    def __repr__(self) -> str:
        return f"Sort({self.to_wire()!r})"


def parse_sort(spec: Any, *, with_id: bool = True) -> Sort:
    """Read a sort order.

    Args:
        spec: `"-age"`, `["name", "-age"]`, `{"name": 1, "age": -1}` or `[("name", 1), ("age", -1)]`; None, or an empty
            one, for the order of `$id`.
        with_id: See `Sort`.

    Raises:
        InvalidSortError: it is none of these, names a field twice, or has too many.
    """
    if spec is None:
        return Sort((), with_id=with_id)
    fields = [_field(name, direction) for name, direction in _pairs(spec)]
    if len(fields) > SORT_FIELDS_MAX:
        raise InvalidSortError(f"sort: expected at most {SORT_FIELDS_MAX} fields, got {len(fields)}")
    seen: set[Path] = set()
    for field in fields:
        if field.path in seen:
            raise InvalidSortError(f"sort: {'.'.join(field.path)!r} is named twice")
        seen.add(field.path)
    return Sort(fields, with_id=with_id)


def _pairs(spec: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(spec, str):
        yield _signed(spec)
    elif isinstance(spec, Mapping):
        yield from spec.items()
    elif isinstance(spec, list | tuple):
        for item in spec:
            if isinstance(item, str):
                yield _signed(item)
            elif isinstance(item, list | tuple) and len(item) == 2:  # noqa: PLR2004 - name and direction
                yield item[0], item[1]
            else:
                raise InvalidSortError(f'sort: expected "field", "-field" or (field, 1 or -1), got {type_name(item)}')
    else:
        raise InvalidSortError(f"sort: expected a field, a list of fields or a dict, got {type_name(spec)}")


def _signed(name: str) -> tuple[str, int]:
    return (name[1:], -1) if name.startswith("-") else (name, 1)


def _field(name: Any, direction: Any) -> SortField:
    if not isinstance(name, str):
        raise InvalidSortError(f"sort: expected the name of a field, got {type_name(name)}")
    if isinstance(direction, bool) or not isinstance(direction, int | float) or direction not in {1, -1}:
        got = repr_of(direction)[:40] if isinstance(direction, int | float | str) else type_name(direction)
        raise InvalidSortError(f"sort: expected 1 or -1 as the direction of {name[:80]!r}, got {got}")
    try:
        path = split_path(name)
    except PathError as error:
        raise InvalidSortError(f"sort: {name[:80]!r} is no path: {error}") from None
    if sum(array_index(segment) >= 0 for segment in path) > INDEXES_MAX:
        raise InvalidSortError(f"sort: {name[:80]!r} has more than {INDEXES_MAX} array indexes")
    return SortField(path, direction < 0)


def _extractor(field: SortField) -> Callable[[Document], Any]:
    """Return what finds the value a document sorts by at one path."""
    choose: Any = max if field.descending else min
    path = field.path
    first = path[0]

    def of_array(array: list[Any]) -> Any:
        if not array:
            return EMPTY_ARRAY
        return array[0] if len(array) == 1 else choose(array, key=order_key)

    if len(path) == 1:

        def top(document: Document) -> Any:
            value = document.get(first)
            return of_array(value) if type(value) is list else value

        return top
    steps = tuple((name, array_index(name)) for name in path)

    def below(document: Document) -> Any:
        value: Any = document
        for at, (name, _) in enumerate(steps):
            kind = type(value)
            if kind is list:
                found = list(_within(value, steps, at))
                return found[0] if len(found) == 1 else choose(found, key=order_key)
            # The document itself may be any mapping; what is inside is plain.
            value = value.get(name) if kind is dict or at == 0 else None
        return of_array(value) if type(value) is list else value

    return below


def _within(value: Any, steps: Sequence[tuple[str, int]], at: int) -> Iterator[Any]:
    """Yield every value that a path finds below `value`, at least one; null where there is none."""
    if at == len(steps):
        if type(value) is not list:
            yield value
        else:
            yield from value or (EMPTY_ARRAY,)
        return
    name, index = steps[at]
    if type(value) is dict:
        yield from _within(value.get(name), steps, at + 1)
    elif type(value) is not list or not value:
        yield None
    elif 0 <= index < len(value):
        # Digits mean the index; an element chosen by the last segment is taken whole.
        if at + 1 == len(steps):
            yield value[index]
        else:
            yield from _within(value[index], steps, at + 1)
        for item in value:
            if type(item) is dict and name in item:
                yield from _within(item, steps, at)
    else:
        for item in value:
            # An array directly inside an array is not gone into.
            yield from _within(item if type(item) is dict else None, steps, at)

"""The fields of many documents, each with all its values: the step between rows and columns."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import compress, islice, repeat
from operator import is_not, itemgetter, methodcaller
from typing import Any, Final

Field = tuple[str, Sequence[Any], Sequence[int] | None]
"""A field's name, its values, and their positions, ascending (None: value i is at position i)."""

_ABSENT: Final = object()
_BLOCK_ROWS: Final = 1_024
_HOLES_MAX: Final = 3
"""Documents are padded to one width while that makes at most so many places for each value."""


class Typed(list[Any]):
    """Values whose types somebody has looked at already.

    Attributes:
        types: The types of the values.
    """

    __slots__ = ("types",)

    def __init__(self, values: Iterable[Any], types: AbstractSet[type]) -> None:
        super().__init__(values)
        self.types = types


def types_of(values: Sequence[Any]) -> AbstractSet[type]:
    """Return the types of some values."""
    return values.types if type(values) is Typed else set(map(type, values))


def by_name(documents: Sequence[Mapping[str, Any]]) -> Iterator[Field]:
    """Yield the fields of documents, in the order in which they first appear."""
    if not documents:
        return
    names = tuple(documents[0])
    if all(map(names.__eq__, map(tuple, documents))):
        yield from zip(names, _turned(map(_values, documents), len(names)), repeat(None))
        return
    shapes = list(map(tuple, documents))
    counts = Counter(shapes)
    holders: dict[str, int] = {}
    for shape, count in counts.items():
        for name in shape:
            holders[name] = holders.get(name, 0) + count
    names = tuple(holders)
    if len(names) * (len(documents) + len(counts)) <= _HOLES_MAX * sum(holders.values()):
        yield from _padded(documents, shapes, set(counts), holders)
        return
    found: dict[str, tuple[list[Any], list[int]]] = {name: ([], []) for name in names}
    for position, document in enumerate(documents):
        for name, value in document.items():
            entry = found[name]
            entry[0].append(value)
            entry[1].append(position)
    for name, (items, positions) in found.items():
        yield name, items, None if len(items) == len(documents) else positions


def _padded(
    documents: Sequence[Mapping[str, Any]],
    shapes: Sequence[tuple[str, ...]],
    distinct: set[tuple[str, ...]],
    holders: Mapping[str, int],
) -> Iterator[Field]:
    """Yield the fields of documents that are much alike: a third of the price of going through their items.

    Args:
        documents: Whose fields.
        shapes: The names in each.
        distinct: The same, each once.
        holders: How many documents have each name.
    """
    names = tuple(holders)
    arranged = {shape: None if shape == names else _arranging(shape, names) for shape in distinct}
    rows = (
        document.values() if (arrange := arranged[shape]) is None else arrange((*document.values(), _ABSENT))
        for document, shape in zip(documents, shapes, strict=True)
    )
    for (name, count), column in zip(holders.items(), _turned(rows, len(names)), strict=True):
        if count == len(documents):
            yield name, column, None
        else:
            there = list(map(is_not, column, repeat(_ABSENT)))
            yield name, list(compress(column, there)), list(compress(range(len(column)), there))


def _turned(rows: Iterable[Iterable[Any]], width: int) -> list[list[Any]]:
    """Return the columns of rows that all have `width` values."""
    columns: list[list[Any]] = [[] for _ in range(width)]
    rows = iter(rows)
    # In blocks that the processor's caches hold: the values of one row lie together, those of a column do not.
    while block := list(islice(rows, _BLOCK_ROWS)):
        for column, values in zip(columns, zip(*block, strict=True), strict=True):
            column.extend(values)
    return columns


def _arranging(shape: tuple[str, ...], names: tuple[str, ...]) -> Any:
    """Return what puts the values of a document, followed by `_ABSENT`, in the order of `names`."""
    place = {name: at for at, name in enumerate(shape)}
    order = [place.get(name, len(shape)) for name in names]
    return itemgetter(*order) if len(order) > 1 else lambda values: (values[order[0]],)


_values = methodcaller("values")
_pause_lock = threading.Lock()
_pauses = 0
_was_enabled = False


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's collector of cyclic garbage from running.

    Many new objects, none of them garbage, wake it again and again, and each time it looks through all there are.
    """
    global _pauses, _was_enabled  # noqa: PLW0603 - the collector is the process's as well
    with _pause_lock:
        if not _pauses:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _pause_lock:
            _pauses -= 1
            if not _pauses and _was_enabled:
                gc.enable()

"""The stages of a pipeline: each takes documents in, lets others out, and may have more to give at the end.

A stage as parsed (`Stage`) is immutable; `start` makes the state of one run. Documents are never changed in place:
they may be the live ones of the namespace.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from parquedb.documents.aggregation.accumulators import Accumulator
from parquedb.documents.aggregation.expressions import Evaluate
from parquedb.documents.budget import Budget, size_of
from parquedb.documents.comparison import MISSING
from parquedb.documents.identity import identity
from parquedb.documents.paths import Path
from parquedb.documents.sorting import Key, Sort

Document = dict[str, Any]
Flow = Callable[[Iterable[Document]], Iterator[Document]]

RUN_ROWS: Final = 4_000
"""Documents sorted in one go; more would keep other threads from running."""

_GROUP_BYTES: Final = 300
_ACCUMULATOR_BYTES: Final = 150


class Running(Protocol):
    """A stage in one run."""

    @property
    def full(self) -> bool:
        """Whether no further document can change anything."""

    def feed(self, documents: Iterable[Document], /) -> Iterable[Document]:
        """Take documents in; return those that go on at once."""

    def finish(self) -> Iterator[Document]:
        """Yield those that could not go on before the last one was in."""


class Flowing:
    """A stage that looks at each document for itself."""

    __slots__ = ("feed",)

    full = False

    def __init__(self, flow: Flow) -> None:
        self.feed = flow

    def finish(self) -> Iterator[Document]:
        """Yield nothing."""
        return iter(())


class Limiting:
    """`$limit`."""

    __slots__ = ("_left",)

    def __init__(self, limit: int) -> None:
        self._left = limit

    @property
    def full(self) -> bool:
        """Whether it has let all out."""
        return self._left <= 0

    def feed(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Let so many go on."""
        if self._left <= 0:
            return
        for document in documents:
            self._left -= 1
            yield document
            if self._left <= 0:
                return

    def finish(self) -> Iterator[Document]:
        """Yield nothing."""
        return iter(())


class Skipping:
    """`$skip`."""

    __slots__ = ("_left",)

    full = False

    def __init__(self, skip: int) -> None:
        self._left = skip

    def feed(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Let all but the first go on."""
        for document in documents:
            if self._left > 0:
                self._left -= 1
            else:
                yield document

    def finish(self) -> Iterator[Document]:
        """Yield nothing."""
        return iter(())


class Counting:
    """`$count`."""

    __slots__ = ("_count", "_name")

    full = False

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def feed(self, documents: Iterable[Document]) -> tuple[Document, ...]:
        """Count."""
        self._count += sum(1 for _ in documents)
        return ()

    def finish(self) -> Iterator[Document]:
        """Yield the number, unless it is 0."""
        if self._count:
            yield {self._name: self._count}


class Sorting:
    """`$sort`; with a limit behind it, only so many are held. Equal documents keep their order."""

    __slots__ = ("_budget", "_limit", "_number", "_rows", "_runs", "_sort")

    full = False

    def __init__(self, sort: Sort, limit: int | None, budget: Budget) -> None:
        self._sort = sort
        self._limit = limit
        self._budget = budget
        self._number = 0
        self._rows: list[tuple[Key, int, Document]] = []
        self._runs: list[list[tuple[Key, int, Document]]] = []

    def feed(self, documents: Iterable[Document]) -> tuple[Document, ...]:
        """Hold documents."""
        sort = self._sort
        for document in documents:
            size = size_of(document)
            self._budget.spend(size)
            self._number += 1
            # The number is the last part of the key, so keys are never equal.
            self._rows.append((sort.key_of(sort.values(document), self._number), size, document))
            if len(self._rows) >= max(RUN_ROWS, 2 * (self._limit or 0)):
                self._end_run()
        return ()

    def _end_run(self) -> None:
        self._rows.sort()
        if self._limit is None:
            self._runs.append(self._rows)
            self._rows = []
            return
        for _, size, _ in self._rows[self._limit :]:
            self._budget.spend(-size)
        del self._rows[self._limit :]

    def finish(self) -> Iterator[Document]:
        """Yield them in order."""
        self._end_run()
        runs = [self._rows] if self._limit is not None else self._runs
        return (document for _, _, document in heapq.merge(*runs))


class Grouping:
    """`$group`."""

    __slots__ = ("_budget", "_fields", "_groups", "_key")

    full = False

    def __init__(
        self, key: Evaluate, fields: tuple[tuple[str, Evaluate, Callable[[Budget], Accumulator]], ...], budget: Budget
    ) -> None:
        self._key = key
        self._fields = fields
        self._budget = budget
        self._groups: dict[Any, tuple[Any, list[Accumulator]]] = {}

    def feed(self, documents: Iterable[Document]) -> tuple[Document, ...]:
        """Add documents to their groups."""
        groups, fields = self._groups, self._fields
        for document in documents:
            key = self._key(document)
            same = identity(key)
            group = groups.get(same)
            if group is None:
                self._budget.spend(2 * size_of(key) + _GROUP_BYTES + _ACCUMULATOR_BYTES * len(fields))
                made = [make(self._budget) for _, _, make in fields]
                group = groups[same] = (None if key is MISSING else key, made)
            for (_, evaluate, _), accumulator in zip(fields, group[1], strict=True):
                accumulator.add(evaluate(document))
        return ()

    def finish(self) -> Iterator[Document]:
        """Yield a document for each group."""
        for key, accumulators in self._groups.values():
            results = zip(self._fields, accumulators, strict=True)
            yield {"_id": key, **{name: accumulator.result() for (name, _, _), accumulator in results}}


@dataclass(frozen=True, slots=True)
class Unwind:
    """`$unwind`: a document for each element of an array.

    Attributes:
        path: Of the array.
        index: Field that gets the position of the element; None for none.
        keep: Whether documents without an element go on as they are.
    """

    path: Path
    index: Path | None
    keep: bool

    def __call__(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield the documents of the elements."""
        for document in documents:
            value = _at(document, self.path)
            if type(value) is list and value:
                for position, item in enumerate(value):
                    yield self._numbered(_with(document, self.path, item), position)
            elif value is not None and value is not MISSING and type(value) is not list:
                yield self._numbered(document, None)
            elif self.keep:
                emptied = _without(document, self.path) if type(value) is list else document
                yield self._numbered(emptied, None)

    def _numbered(self, document: Document, position: int | None) -> Document:
        return document if self.index is None else _with(document, self.index, position)


def _at(document: Document, path: Path) -> Any:
    """Return the value at a path through documents only; an array on the way has none."""
    value: Any = document
    for name in path:
        if type(value) is not dict:
            return MISSING
        value = value.get(name, MISSING)
    return value


def _with(document: Any, path: Path, value: Any) -> Document:
    result = dict(document) if type(document) is dict else {}
    name, *below = path
    result[name] = _with(result.get(name), tuple(below), value) if below else value
    return result


def _without(document: Document, path: Path) -> Document:
    result = dict(document)
    name, *below = path
    if below:
        result[name] = _without(result[name], tuple(below))
    else:
        del result[name]
    return result

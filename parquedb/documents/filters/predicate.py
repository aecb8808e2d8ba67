"""A compiled filter: closures over documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parquedb.documents.filters.parser import Parser
from parquedb.documents.filters.tree import EVERYTHING, And, Compare, ElemMatch, Filter, Nor, Not, Or
from parquedb.documents.matching import Document, Matcher, compile_compare, compile_elements, negated


class Predicate:
    """A compiled filter: call it with a document.

    Attributes:
        filter: the tree it was compiled from.
        matches: the bare closure, for loops in which one more call per document counts.
    """

    __slots__ = ("filter", "matches")

    def __init__(self, tree: Filter) -> None:
        self.filter = tree
        self.matches: Matcher = _compile(tree)

    def __call__(self, document: Document) -> bool:
        """Whether the document passes."""
        return self.matches(document)

    def __repr__(self) -> str:
        return f"Predicate({self.filter!r})"

    def __reduce__(self) -> tuple[type[Predicate], tuple[Filter]]:
        # Closures do not pickle; the tree does.
        return (Predicate, (self.filter,))


def compile_filter(filter: Mapping[str, Any] | None) -> Predicate:  # noqa: A002 - MongoDB's name for it
    """Parse and compile a filter; `None` and `{}` match every document.

    Raises:
        InvalidFilterError: anything that is not understood. A condition is never ignored.
    """
    return Predicate(EVERYTHING if filter is None else Parser().parse(filter, 1))


def _compile(tree: Filter) -> Matcher:
    match tree:
        case Compare(path, op, value):
            return compile_compare(path, op, value)
        case ElemMatch(path, part, documents):
            return compile_elements(path, _compile(part), documents=documents)
        case Not(part):
            return negated(_compile(part))
        case And(parts):
            return _compile_all([_compile(part) for part in parts])
        case Or(parts):
            return _compile_any([_compile(part) for part in parts])
        case Nor(parts):
            return negated(_compile_any([_compile(part) for part in parts]))


def _compile_all(matchers: list[Matcher]) -> Matcher:
    if not matchers:
        return lambda _: True
    if len(matchers) == 1:
        return matchers[0]
    if len(matchers) == 2:  # noqa: PLR2004 - the common pair, without a loop
        first, second = matchers
        return lambda document: first(document) and second(document)

    def all_of(document: Document) -> bool:
        for matcher in matchers:  # noqa: SIM110 - a generator would double the time
            if not matcher(document):
                return False
        return True

    return all_of


def _compile_any(matchers: list[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]

    def any_of(document: Document) -> bool:
        for matcher in matchers:  # noqa: SIM110 - a generator would double the time
            if matcher(document):
                return True
        return False

    return any_of

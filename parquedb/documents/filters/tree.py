"""The tree of a filter: what the parser makes, and the predicate and the scan are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from parquedb.documents.paths import Path

CompareOp = Literal[
    "eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists",
    "mod", "regex", "startsWith", "endsWith", "contains", "size", "type",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition on one path; the empty path is the value itself, an element below `$elemMatch`.

    `value` is, for

        in, nin                          a list
        exists                           a bool
        mod                              (divisor, remainder): ints
        regex                            a `Regex`
        startsWith, endsWith, contains   a str
        size                             an int
        type                             a frozenset of type names
        any other                        a document value
    """

    path: Path
    op: CompareOp
    value: Any


@dataclass(frozen=True, slots=True)
class ElemMatch:
    """One element of the array at a path passes `part`.

    Attributes:
        path: Of the array.
        part: Of each element; its paths begin in it.
        documents: Whether only elements that are documents are asked (or arrays, as documents with the fields `0`,
            `1`, ...). Otherwise all paths of `part` are empty.
    """

    path: Path
    part: Filter
    documents: bool


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; `And(())` is the filter that every document passes."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds; `Or(())` is the filter that no document passes."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Nor:
    """No part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Leaf = Compare | ElemMatch
Filter = And | Or | Nor | Not | Leaf

EVERYTHING: Final = And(())
NOTHING: Final = Or(())


def count_operands(tree: Filter) -> int:
    """Return how many conditions one document may have to be asked."""
    if isinstance(tree, Compare):
        return 1
    if isinstance(tree, ElemMatch | Not):
        return 1 + count_operands(tree.part)
    return 1 + sum(map(count_operands, tree.parts))


def all_of(parts: list[Filter]) -> Filter:
    """Return the conjunction, without needless levels."""
    flat: list[Filter] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, And) else (part,))
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(parts: list[Filter]) -> Filter:
    """Return the disjunction."""
    return parts[0] if len(parts) == 1 else Or(tuple(parts))

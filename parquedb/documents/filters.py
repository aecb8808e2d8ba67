"""The filter language: parse a filter, refuse what is not understood, and compile the rest to closures.

A filter becomes a small tree (`And`, `Or`, `Nor`, `Not`, `Compare`) that a scan can push down to columns, and a
`Predicate` that decides about one document. The predicate is the truth; push-down may only skip what it would refuse.

How a path meets arrays: a field that holds an array is matched by any of its elements or by the whole; on the way, the
path continues in every element that is a dict, and a segment of digits also selects the element at that index. An
element selected by the last segment is matched as it is, not element by element. `$ne`, `$nin` and
`{"$exists": False}` are the negations of `$eq`, `$in` and `{"$exists": True}`, so they hold only if no element matches.

Source: MongoDB manual, "Query and Projection Operators"; docs/differences.md lists where we differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parquedb.documents.matching import Document, Matcher, compile_compare, negated
from parquedb.documents.paths import Path, PathError, array_index, split_path
from parquedb.documents.values import DOLLAR_FIELDS, normalize_value, type_name
from parquedb.errors import InvalidFilterError, ValidationError

FILTER_DEPTH_MAX = 50
FILTER_OPERANDS_MAX = 10_000
INDEXES_MAX = 10
"""The most segments of digits in one path. Each may mean an index or a name: a hostile document doubles the ways."""

CompareOp = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists"]


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition on one path. `value` is a list for `in`/`nin`, a bool for `exists`, else any document value."""

    path: Path
    op: CompareOp
    value: Any


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; `And(())` is the filter that every document passes."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Nor:
    """No part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter = And | Or | Nor | Not | Compare

EVERYTHING = And(())

_COMPARE_OPS: dict[str, CompareOp] = {
    "$eq": "eq",
    "$ne": "ne",
    "$gt": "gt",
    "$gte": "gte",
    "$lt": "lt",
    "$lte": "lte",
    "$in": "in",
    "$nin": "nin",
    "$exists": "exists",
}
_LOGICAL = ("$and", "$or", "$nor")
_SUPPORTED = (*_COMPARE_OPS, "$not", *_LOGICAL)
_PLANNED = frozenset(
    ("$mod", "$regex", "$options", "$startsWith", "$endsWith", "$contains", "$all", "$elemMatch", "$size", "$type")
)


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
    return Predicate(EVERYTHING if filter is None else _Parser().parse(filter, 1))


class _Parser:
    """Parses one filter, counting its operands."""

    __slots__ = ("operands",)

    def __init__(self) -> None:
        self.operands = 0

    def parse(self, source: Any, depth: int) -> Filter:
        """A whole filter, or one inside `$and`, `$or`, `$nor`."""
        if not isinstance(source, Mapping):
            raise _invalid(f"a filter must be a mapping from paths to conditions, not {type_name(source)}")
        _check_depth(depth)
        return _all_of([self._top_level(key, condition, depth) for key, condition in source.items()])

    def _top_level(self, key: Any, condition: Any, depth: int) -> Filter:
        if not isinstance(key, str):
            raise _invalid(f"a filter's keys are paths and operators, all str, not {type_name(key)}")
        if key in _LOGICAL:
            return self._logical(key, condition, depth)
        if key.startswith("$") and key.split(".", 1)[0] not in DOLLAR_FIELDS:
            if key in _COMPARE_OPS or key == "$not":
                raise _invalid(
                    f"{key} belongs under a path, as in {{'path': {{'{key}': ...}}}}; "
                    f"at the top level only {', '.join(_LOGICAL)} are operators",
                    operator=key,
                )
            raise _unknown(key)
        try:
            path = split_path(key)
        except PathError as error:
            raise _invalid(f"{key[:80]!r} is no path: {error}", path=key) from None
        if sum(array_index(segment) >= 0 for segment in path) > INDEXES_MAX:
            raise _invalid(f"{key!r} has more than {INDEXES_MAX} array indexes", path=key)
        return self._condition(path, condition, depth)

    def _logical(self, key: str, parts: Any, depth: int) -> Filter:
        if not isinstance(parts, list | tuple) or not parts:
            actual = "an empty list" if isinstance(parts, list | tuple) else type_name(parts)
            raise _invalid(f"{key} expects a list of at least one filter, not {actual}", operator=key)
        parsed = [self.parse(part, depth + 1) for part in parts]
        if key == "$and":
            return _all_of(parsed)
        if key == "$nor":
            return Nor(tuple(parsed))
        return parsed[0] if len(parsed) == 1 else Or(tuple(parsed))

    def _condition(self, path: Path, condition: Any, depth: int) -> Filter:
        """What stands at a path: a value to equal, or an operator object."""
        if not _has_operators(condition):
            return self._compare(path, "$eq", condition)
        for key in condition:
            if not (isinstance(key, str) and key.startswith("$")):
                raise _invalid(
                    f"the condition at {_dotted(path)!r} mixes operators and fields ({key!r}); "
                    "to compare with a whole dict use $eq",
                    path=_dotted(path),
                )
        return _all_of([self._operator(path, op, operand, depth) for op, operand in condition.items()])

    def _operator(self, path: Path, op: str, operand: Any, depth: int) -> Filter:
        if op == "$not":
            _check_depth(depth + 1)
            if not _has_operators(operand):
                raise _invalid(
                    f"$not at {_dotted(path)!r} expects an operator object such as {{'$gt': 5}}, "
                    f"not {type_name(operand)}; for a plain value use $ne",
                    operator=op,
                    path=_dotted(path),
                )
            return Not(self._condition(path, operand, depth + 1))
        if op in _LOGICAL:
            raise _invalid(
                f"{op} belongs at the top level of a filter, not under the path {_dotted(path)!r}",
                operator=op,
                path=_dotted(path),
            )
        if op not in _COMPARE_OPS:
            raise _unknown(op, _dotted(path))
        return self._compare(path, op, operand)

    def _compare(self, path: Path, op: str, operand: Any) -> Compare:
        if op in {"$in", "$nin"}:
            if not isinstance(operand, list | tuple):
                raise _operand(op, path, "a list", type_name(operand))
            if any(_has_operators(item) for item in operand):
                raise _operand(op, path, "plain values in its list", "an operator object")
            self._count(max(len(operand), 1))
        else:
            self._count(1)
        if op == "$exists" and type(operand) is not bool:
            if type(operand) is not int or operand not in {0, 1}:
                raise _operand(op, path, "True or False", type_name(operand))
            operand = bool(operand)
        try:
            value = normalize_value(operand)
        except ValidationError as error:
            raise _operand(op, path, error.expected, error.actual) from None
        return Compare(path, _COMPARE_OPS[op], value)

    def _count(self, operands: int) -> None:
        self.operands += operands
        if self.operands > FILTER_OPERANDS_MAX:
            raise _invalid(f"a filter may have at most {FILTER_OPERANDS_MAX:,} operands")


def _compile(tree: Filter) -> Matcher:
    match tree:
        case Compare(path, op, value):
            return compile_compare(path, op, value)
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


def _all_of(parts: list[Filter]) -> Filter:
    """The conjunction, without needless levels."""
    flat: list[Filter] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, And) else (part,))
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def _has_operators(condition: Any) -> bool:
    return isinstance(condition, Mapping) and any(isinstance(key, str) and key.startswith("$") for key in condition)


def _check_depth(depth: int) -> None:
    if depth > FILTER_DEPTH_MAX:
        raise _invalid(f"a filter may be nested at most {FILTER_DEPTH_MAX} levels deep")


def _dotted(path: Path) -> str:
    return ".".join(path)


def _invalid(message: str, *, operator: str | None = None, path: str | None = None) -> InvalidFilterError:
    return InvalidFilterError(message, operator=operator, path=path)


def _operand(op: str, path: Path, expected: Any, actual: Any) -> InvalidFilterError:
    return _invalid(f"{op} at {_dotted(path)!r} expects {expected}, not {actual}", operator=op, path=_dotted(path))


def _unknown(op: str, path: str | None = None) -> InvalidFilterError:
    problem = "is not supported yet" if op in _PLANNED else "is no filter operator"
    where = f" (at {path!r})" if path is not None else ""
    return _invalid(f"{op} {problem}{where}; supported are {', '.join(_SUPPORTED)}", operator=op, path=path)

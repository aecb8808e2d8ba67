"""From a filter as it is written to its tree; what is not understood is refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from parquedb.documents import regex
from parquedb.documents.filters import operands
from parquedb.documents.filters.operands import COMPARE_OPS, has_operators, is_pattern
from parquedb.documents.filters.tree import NOTHING, Compare, ElemMatch, Filter, Nor, Not, Or, all_of, any_of
from parquedb.documents.paths import Path, PathError, array_index, split_path
from parquedb.documents.values import DOLLAR_FIELDS, type_name
from parquedb.errors import InvalidFilterError, ValidationError

FILTER_DEPTH_MAX: Final = 50
FILTER_OPERANDS_MAX: Final = 10_000
PATTERNS_MAX: Final = 100
"""The most regular expressions in one filter; each may take half a megabyte."""
INDEXES_MAX: Final = 10
"""The most segments of digits in one path, with those of each `$elemMatch` around it.

Each may mean an index or a name: a hostile document doubles the ways.
"""

_LOGICAL: Final = ("$and", "$or", "$nor")
_COMMENT: Final = "$comment"
_UNDER_A_PATH: Final = (*COMPARE_OPS, "$regex", "$options", "$all", "$elemMatch", "$not")
_SUPPORTED: Final = (*_UNDER_A_PATH, *_LOGICAL, _COMMENT)


class Parser:
    """Parses one filter, counting its operands."""

    __slots__ = ("_above", "_operands", "_patterns")

    def __init__(self) -> None:
        self._operands = 0
        self._patterns = 0
        self._above: Path = ()
        """The paths of the `$elemMatch` around."""

    def parse(self, source: Any, depth: int) -> Filter:
        """A whole filter, or one inside `$and`, `$or`, `$nor`, `$elemMatch`.

        Raises:
            InvalidFilterError: anything that is not understood.
        """
        if not isinstance(source, Mapping):
            raise _invalid(f"a filter must be a mapping from paths to conditions, not {type_name(source)}")
        _check_depth(depth)
        # MongoDB ignores $comment here, and only here.
        return all_of([self._top_level(key, item, depth) for key, item in source.items() if key != _COMMENT])

    def _top_level(self, key: Any, condition: Any, depth: int) -> Filter:
        if not isinstance(key, str):
            raise _invalid(f"a filter's keys are paths and operators, all str, not {type_name(key)}")
        if key in _LOGICAL:
            return self._logical(key, condition, depth)
        if key.startswith("$") and key.split(".", 1)[0] not in DOLLAR_FIELDS:
            if key in _UNDER_A_PATH:
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
        if sum(array_index(segment) >= 0 for segment in (*self._above, *path)) > INDEXES_MAX:
            raise _invalid(f"{self._dotted(path)!r} has more than {INDEXES_MAX} array indexes", path=self._dotted(path))
        return self._condition(path, condition, depth)

    def _logical(self, key: str, parts: Any, depth: int) -> Filter:
        if not isinstance(parts, list | tuple) or not parts:
            actual = "an empty list" if isinstance(parts, list | tuple) else type_name(parts)
            raise _invalid(f"{key} expects a list of at least one filter, not {actual}", operator=key)
        parsed = [self.parse(part, depth + 1) for part in parts]
        if key == "$and":
            return all_of(parsed)
        return Nor(tuple(parsed)) if key == "$nor" else any_of(parsed)

    def _condition(self, path: Path, condition: Any, depth: int) -> Filter:
        """What stands at a path: a value to equal, a regular expression, or an operator object."""
        if is_pattern(condition):
            return self._regex("$regex", path, condition)
        if not has_operators(condition):
            return self._compare("$eq", path, condition)
        for key in condition:
            if not (isinstance(key, str) and key.startswith("$")):
                raise _invalid(
                    f"the condition at {self._dotted(path)!r} mixes operators and fields ({key!r}); "
                    "to compare with a whole dict use $eq",
                    path=self._dotted(path),
                )
        if "$options" in condition and "$regex" not in condition:
            raise self._operand("$options", path, "a $regex beside it", "to stand alone")
        conditions = [op for op in condition if op != "$options"]
        return all_of([self._operator(op, path, condition, depth) for op in conditions])

    def _operator(self, op: str, path: Path, condition: Mapping[str, Any], depth: int) -> Filter:
        operand = condition[op]
        if op in COMPARE_OPS:
            if op in {"$in", "$nin"}:
                return self._membership(op, path, operand)
            return self._compare(op, path, operand)
        if op == "$regex":
            return self._regex(op, path, operand, condition.get("$options"))
        if op == "$not":
            return self._not(path, operand, depth)
        if op == "$all":
            return self._all(path, operand, depth)
        if op == "$elemMatch":
            return self._elem_match(path, operand, depth)
        if op in _LOGICAL:
            raise _invalid(
                f"{op} belongs at the top level of a filter, not under the path {self._dotted(path)!r}",
                operator=op,
                path=self._dotted(path),
            )
        raise _unknown(op, self._dotted(path))

    def _compare(self, op: str, path: Path, operand: Any) -> Compare:
        self._count(len(operand) if isinstance(operand, list | tuple) and op in {"$in", "$nin", "$type"} else 1)
        try:
            return Compare(path, COMPARE_OPS[op], operands.operand(op, operand))
        except ValidationError as error:
            raise self._operand(op, path, error.expected, error.actual) from None

    def _membership(self, op: str, path: Path, operand: Any) -> Filter:
        patterns = [item for item in operand if is_pattern(item)] if isinstance(operand, list | tuple) else []
        if not patterns:
            return self._compare(op, path, operand)
        values = [item for item in operand if not is_pattern(item)]
        among = self._compare("$in", path, values)
        found = Or((among, *(self._regex(op, path, pattern) for pattern in patterns)))
        return Not(found) if op == "$nin" else found

    def _regex(self, op: str, path: Path, pattern: Any, options: Any = None) -> Compare:
        self._count(1)
        self._patterns += 1
        if self._patterns > PATTERNS_MAX:
            raise _invalid(f"a filter may have at most {PATTERNS_MAX} regular expressions", operator=op)
        try:
            return Compare(path, "regex", regex.read(pattern, options))
        except ValidationError as error:
            raise self._operand(op, path, error.expected, error.actual) from None

    def _not(self, path: Path, operand: Any, depth: int) -> Filter:
        _check_depth(depth + 1)
        if not has_operators(operand) and not is_pattern(operand):
            expected = "an operator object such as {'$gt': 5} or a regular expression"
            raise self._operand("$not", path, expected, f"{type_name(operand)}; for a plain value use $ne")
        return Not(self._condition(path, operand, depth + 1))

    def _all(self, path: Path, operand: Any, depth: int) -> Filter:
        if not isinstance(operand, list | tuple):
            raise self._operand("$all", path, "a list", type_name(operand))
        self._count(1)
        if any(map(has_operators, operand)):
            # As in MongoDB: all of them or none.
            if not all(isinstance(part, Mapping) and list(part) == ["$elemMatch"] for part in operand):
                raise self._operand("$all", path, "values, or $elemMatch conditions only", "other operator objects")
            _check_depth(depth + 1)
            return all_of([self._elem_match(path, part["$elemMatch"], depth + 1) for part in operand])
        found: list[Filter] = [
            self._regex("$all", path, part) if is_pattern(part) else self._compare("$eq", path, part)
            for part in operand
        ]
        return all_of(found) if found else NOTHING

    def _elem_match(self, path: Path, operand: Any, depth: int) -> Filter:
        if not isinstance(operand, Mapping):
            raise self._operand("$elemMatch", path, "a dict of conditions", type_name(operand))
        _check_depth(depth + 1)
        self._count(1)
        above, self._above = self._above, (*self._above, *path)
        if has_value_operators(operand):
            found = ElemMatch(path, self._condition((), operand, depth + 1), documents=False)
        else:
            found = ElemMatch(path, self.parse(operand, depth + 1), documents=True)
        self._above = above
        return found

    def _count(self, operands: int) -> None:
        self._operands += max(operands, 1)
        if self._operands > FILTER_OPERANDS_MAX:
            raise _invalid(f"a filter may have at most {FILTER_OPERANDS_MAX:,} operands")

    def _operand(self, op: str, path: Path, expected: Any, actual: Any) -> InvalidFilterError:
        dotted = self._dotted(path)
        return _invalid(f"{op} at {dotted!r} expects {expected}, not {actual}", operator=op, path=dotted)

    def _dotted(self, path: Path) -> str:
        return ".".join((*self._above, *path))


def has_value_operators(condition: Mapping[Any, Any]) -> bool:
    """Whether a condition on elements has operators for values, and is no filter for documents."""
    return any(
        isinstance(key, str) and key.startswith("$") and key not in {*_LOGICAL, _COMMENT, "$id"} for key in condition
    )


def _check_depth(depth: int) -> None:
    if depth > FILTER_DEPTH_MAX:
        raise _invalid(f"a filter may be nested at most {FILTER_DEPTH_MAX} levels deep")


def _invalid(message: str, *, operator: str | None = None, path: str | None = None) -> InvalidFilterError:
    return InvalidFilterError(message, operator=operator, path=path)


def _unknown(op: str, path: str | None = None) -> InvalidFilterError:
    where = f" (at {path!r})" if path is not None else ""
    problem = f"{op:.80} is no filter operator{where}"
    return _invalid(f"{problem}; supported are {', '.join(_SUPPORTED)}", operator=op, path=path)

"""Expressions: computed values, compiled once to closures over a document.

    "$a.b"            the value at a path; through an array, the list of what its documents have there
    "$$ROOT"          the document; "$$REMOVE" no value; "$$id" and "$$type" the fields `$id` and `$type`
    {"$add": [...]}   an operator
    {"x": "$a"}       a document of expressions; fields without a value are left out
    ["$a", 1]         a list of expressions; null for those without a value
    anything else     itself

Source: MongoDB manual, "Expressions"; docs/differences.md lists where we differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from parquedb.documents.aggregation.dates import PARTS, to_text, truncate
from parquedb.documents.aggregation.functions import FUNCTIONS, Function, is_null, truth
from parquedb.documents.comparison import MISSING
from parquedb.documents.paths import Path, PathError, split_path
from parquedb.documents.values import normalize_value, type_name
from parquedb.errors import InvalidPipelineError, ValidationError

DEPTH_MAX: Final = 50
OPERANDS_MAX: Final = 1_000

Document = Mapping[str, Any]
Evaluate = Callable[[Document], Any]

_PLAIN: Final = {**FUNCTIONS, **PARTS}
# Operands by name, and the parameters of the functions that take them.
_TRUNCATE: Final = {"date": "value", "unit": "unit", "binSize": "size", "startOfWeek": "week_start"}
_TO_TEXT: Final = {"date": "value", "format": "template", "onNull": "on_null"}
_NEEDED: Final = {"$dateTrunc": ("date", "unit"), "$dateToString": ("date",)}
_FIELDS: Final = {"id": "$id", "type": "$type"}


class Compiler:
    """Compiles the expressions of one stage and remembers what they look at.

    Attributes:
        fields: Top-level fields of the document.
        whole: Whether the whole document is looked at.
    """

    __slots__ = ("_operands", "fields", "whole")

    def __init__(self) -> None:
        self.fields: set[str] = set()
        self.whole = False
        self._operands = 0

    def compile(self, source: Any, depth: int = 1) -> Evaluate:
        """Return what computes an expression; `MISSING` where there is no value.

        Raises:
            InvalidPipelineError: it is not understood.
        """
        self._operands += 1
        if self._operands > OPERANDS_MAX:
            raise InvalidPipelineError(f"expected at most {OPERANDS_MAX:,} operands in one stage")
        if depth > DEPTH_MAX:
            raise InvalidPipelineError(f"expected at most {DEPTH_MAX} levels of expressions")
        if isinstance(source, str) and source.startswith("$"):
            return self._variable(source) if source.startswith("$$") else self._field(source[1:])
        if isinstance(source, Mapping):
            return self._mapping(source, depth)
        if isinstance(source, list | tuple):
            parts = [self.compile(item, depth + 1) for item in source]
            return lambda document: [None if (value := part(document)) is MISSING else value for part in parts]
        return _constant(source)

    def _field(self, text: str) -> Evaluate:
        path = _path(text, f"${text}")
        self.fields.add(path[0])
        return _follower(path)

    def _variable(self, text: str) -> Evaluate:
        name, _, rest = text[2:].partition(".")
        if name in _FIELDS:
            return self._field(_FIELDS[name] + (f".{rest}" if rest else ""))
        if name == "REMOVE" and not rest:
            return lambda _: MISSING
        if name not in {"ROOT", "CURRENT"}:
            raise InvalidPipelineError(f"{text[:80]!r}: expected one of $$ROOT, $$CURRENT, $$REMOVE, $$id, $$type")
        if rest:
            return self._field(rest)
        self.whole = True
        return lambda document: document

    def _mapping(self, source: Mapping[Any, Any], depth: int) -> Evaluate:
        names = list(source)
        for name in names:
            if not isinstance(name, str):
                raise InvalidPipelineError(f"expected texts as the keys of an expression, got {type_name(name)}")
        operators = [name for name in names if name.startswith("$")]
        if not operators:
            parts = {name: self.compile(item, depth + 1) for name, item in source.items()}
            for name in names:
                if not name or "." in name:
                    raise InvalidPipelineError(f"expected a field name without dots, got {name[:80]!r}")
            return lambda document: {
                name: value for name, part in parts.items() if (value := part(document)) is not MISSING
            }
        if len(names) > 1:
            raise InvalidPipelineError(f"expected one operator in an expression, got {', '.join(names)[:80]}")
        return self._operator(names[0], source[names[0]], depth)

    def _operator(self, name: str, operand: Any, depth: int) -> Evaluate:  # noqa: PLR0911 - one return per form
        if name == "$literal":
            return _constant(operand)
        if name == "$cond":
            return self._condition(operand, depth)
        if name == "$switch":
            return self._switch(operand, depth)
        if name == "$dateTrunc":
            return self._named(name, truncate, _TRUNCATE, operand, depth)
        if name == "$dateToString":
            return self._named(name, to_text, _TO_TEXT, operand, depth)
        if name in {"$and", "$or", "$ifNull"}:
            parts = self._parts(name, operand, depth, 2 if name == "$ifNull" else 0)
            return {"$and": _all_of, "$or": _any_of, "$ifNull": _first_value}[name](parts)
        function = _PLAIN.get(name)
        if function is None:
            raise InvalidPipelineError(
                f"{name[:80]} is no operator of expressions here; supported are {', '.join(OPERATORS)}", operator=name
            )
        return _applied(function, self._parts(name, operand, depth, function.low, function.high))

    def _parts(self, name: str, operand: Any, depth: int, low: int, high: int | None = None) -> list[Evaluate]:
        given = operand if isinstance(operand, list | tuple) else [operand]
        if len(given) < low or (high is not None and len(given) > high):
            wanted = f"{low}" if low == high else f"{low} or more" if high is None or high > 9 else f"{low} to {high}"  # noqa: PLR2004 - "many"
            raise InvalidPipelineError(f"{name}: expected {wanted} operands, got {len(given)}", operator=name)
        return [self.compile(item, depth + 1) for item in given]

    def _condition(self, operand: Any, depth: int) -> Evaluate:
        if isinstance(operand, Mapping):
            _check_keys("$cond", operand, ("if", "then", "else"), ("if", "then", "else"))
            operand = [operand["if"], operand["then"], operand["else"]]
        test, then, otherwise = self._parts("$cond", operand, depth, 3, 3)
        return lambda document: then(document) if truth(test(document)) else otherwise(document)

    def _switch(self, operand: Any, depth: int) -> Evaluate:
        _check_keys("$switch", operand, ("branches", "default"), ("branches",))
        branches = operand["branches"]
        if not isinstance(branches, list | tuple) or not branches:
            raise InvalidPipelineError("$switch: expected a list of branches", operator="$switch")
        pairs = []
        for branch in branches:
            _check_keys("$switch", branch, ("case", "then"), ("case", "then"))
            pairs.append((self.compile(branch["case"], depth + 1), self.compile(branch["then"], depth + 1)))
        default = self.compile(operand["default"], depth + 1) if "default" in operand else None

        def switch(document: Document) -> Any:
            for case, then in pairs:
                if truth(case(document)):
                    return then(document)
            if default is None:
                raise InvalidPipelineError("$switch: no branch holds and there is no default", operator="$switch")
            return default(document)

        return switch

    def _named(
        self, operator: str, work: Callable[..., Any], names: Mapping[str, str], operand: Any, depth: int
    ) -> Evaluate:
        """Compile an operator whose operands have names."""
        _check_keys(operator, operand, tuple(names), _NEEDED[operator])
        parts = [(names[name], self.compile(item, depth + 1)) for name, item in operand.items()]

        def apply(document: Document) -> Any:
            given = {name: part(document) for name, part in parts}
            return work(**{name: None if value is MISSING else value for name, value in given.items()})

        return apply


OPERATORS: Final = tuple(
    sorted([*_PLAIN, "$literal", "$cond", "$switch", "$dateTrunc", "$dateToString", "$and", "$or", "$ifNull"])
)


def follow(value: Any, path: Path, at: int = 0) -> Any:
    """Return the value at a path; in an array, the list of what its documents have there. Digits are names."""
    while at < len(path):
        if type(value) is list:
            below = (follow(item, path, at) for item in value if type(item) is dict)
            return [item for item in below if item is not MISSING]
        if type(value) is not dict:
            return MISSING
        value = value.get(path[at], MISSING)
        at += 1
    return value


def _follower(path: Path) -> Evaluate:
    first = path[0]
    if len(path) == 1:
        return lambda document: document.get(first, MISSING)
    return lambda document: follow(document.get(first, MISSING), path, 1)


def _path(text: str, shown: str) -> Path:
    try:
        return split_path(text)
    except PathError as error:
        raise InvalidPipelineError(f"{shown[:80]!r} is no field: {error}", path=text[:80]) from None


def _constant(source: Any) -> Evaluate:
    try:
        value = normalize_value(source)
    except ValidationError as error:
        raise InvalidPipelineError(f"expected {error.expected}, got {error.actual}") from None
    return lambda _: value


def _applied(function: Function, parts: Sequence[Evaluate]) -> Evaluate:
    apply = function.apply
    if len(parts) == 1:
        [only] = parts
        return lambda document: apply(only(document))
    if len(parts) == 2:  # noqa: PLR2004 - the common pair, without a loop
        first, second = parts
        return lambda document: apply(first(document), second(document))
    return lambda document: apply(*[part(document) for part in parts])


def _all_of(parts: Sequence[Evaluate]) -> Evaluate:
    return lambda document: all(truth(part(document)) for part in parts)


def _any_of(parts: Sequence[Evaluate]) -> Evaluate:
    return lambda document: any(truth(part(document)) for part in parts)


def _first_value(parts: Sequence[Evaluate]) -> Evaluate:
    *tried, last = parts

    def first(document: Document) -> Any:
        for part in tried:
            value = part(document)
            if not is_null(value):
                return value
        return last(document)

    return first


def _check_keys(operator: str, operand: Any, allowed: Sequence[str], needed: Sequence[str]) -> None:
    if not isinstance(operand, Mapping):
        raise InvalidPipelineError(f"{operator}: expected a dict, got {type_name(operand)}", operator=operator)
    for name in operand:
        if name not in allowed:
            raise InvalidPipelineError(
                f"{operator}: expected only {', '.join(allowed)}, got {name!r:.80}", operator=operator
            )
    for name in needed:
        if name not in operand:
            raise InvalidPipelineError(f"{operator}: {name!r} is missing", operator=operator)

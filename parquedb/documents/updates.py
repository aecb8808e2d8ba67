"""The update language: parse an update, refuse what is not understood, and apply it to documents.

The paths of an update are kept as a tree of names (`update_tree`), which shows conflicts while it is built. Missing
parents are created as dicts; a segment of digits is an index where the document has an array (padded with null up to
it) and a name elsewhere. `$unset` of an array element leaves null in its place. `$[]` means every element of an array,
`$[<identifier>]` those that an array filter lets pass, `$` the one that the filter of the write matched; the array must
be there. `$rename` comes last.

Source: MongoDB manual, "Update Operators"; docs/differences.md lists where we differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from parquedb.documents import update_arrays
from parquedb.documents.array_filters import SPELLING, condition_on_first, is_identifier, read_array_filters
from parquedb.documents.comparison import MISSING
from parquedb.documents.filters import Predicate
from parquedb.documents.paths import Path, PathError, split_path
from parquedb.documents.update_errors import dotted, shown
from parquedb.documents.update_numbers import arithmetic, bit, current_date, extreme, holds_text
from parquedb.documents.update_tree import EACH, FIRST, Change, Node, Run, removed
from parquedb.documents.values import DEPTH_MAX, DOLLAR_FIELDS, MANAGED_FIELDS, TEXT_FIELDS, normalize_value, type_name
from parquedb.errors import InvalidUpdateError

UPDATE_PATHS_MAX: Final = 10_000

_SUPPORTED: Final = (
    *("$set", "$unset", "$rename", "$setOnInsert", "$currentDate"),
    *("$inc", "$mul", "$min", "$max", "$bit"),
    *("$push", "$addToSet", "$pop", "$pull", "$pullAll", "$link", "$unlink"),
)
_OPERATORS: Final = frozenset(_SUPPORTED)
CREATES_NOTHING: Final = frozenset({"$unset", "$pop", "$pull", "$pullAll", "$unlink"})
"""What finds nothing at its path creates no parents on the way."""


class Update:
    """A compiled update.

    Attributes:
        ops: the operators with normalised operands, patterns as `Regex`.
        array_filters: as given, in the same form.

    Compiling them again gives the same update; both are what travels to the owner.
    """

    __slots__ = ("_matched_by", "_on_insert", "_renames", "_root", "_run", "array_filters", "ops")

    def __init__(self, parts: _Parts, matched_by: Predicate | None) -> None:
        self.ops = parts.ops
        self.array_filters = parts.array_filters
        self._root = parts.root
        self._on_insert = parts.on_insert
        self._renames = parts.renames
        self._run = parts.run
        self._matched_by = matched_by

    def apply(
        self, document: dict[str, Any], *, now: datetime | None = None, inserting: bool = False
    ) -> dict[str, Any]:
        """The changed document. The input is not changed; what the update does not touch is shared with the result.

        Args:
            document: What to change.
            now: What `$currentDate` sets, UTC.
            inserting: Whether the document is being made by an upsert, which `$setOnInsert` waits for.

        Raises:
            InvalidUpdateError: the document has something at a path that the operator cannot work on.
        """
        self._run.start(now, inserting=inserting)
        tree = self._on_insert if inserting and self._on_insert is not None else self._root
        document = tree.apply_to_dict(document)
        for source, target in self._renames:
            document = _renamed(document, source, target, self._run)
        return document

    def __repr__(self) -> str:
        return f"Update({self.ops!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_compiled_again, (self.ops, self.array_filters, self._matched_by))


def compile_update(
    ops: Mapping[str, Any],
    *,
    array_filters: Sequence[Mapping[str, Any]] | None = None,
    matched_by: Predicate | None = None,
    depth_max: int = DEPTH_MAX,
) -> Update:
    """Parse and compile an update.

    Args:
        ops: operators, each with a mapping from paths to operands.
        array_filters: which elements each `$[<identifier>]` means.
        matched_by: the filter that finds the documents, which `$` needs.
        depth_max: bound of nesting in the resulting document, inclusive; checked here, since it depends only on the
            paths and the values.

    Raises:
        InvalidUpdateError: an unknown operator, a bad path, two operators on one place, no operator at all, an array
            filter that is not understood, missing or not used.
        ValidationError: a value that no document can hold.
    """
    _check_shape(ops)
    parts = _Parts(ops, array_filters, matched_by)
    count = 0
    for op, fields in ops.items():
        if type(fields) is not dict and not isinstance(fields, Mapping):
            actual = type_name(fields)
            message = f"{op} expects a mapping from paths to values, not {actual}"
            raise InvalidUpdateError(message, operator=op, expected="a mapping from paths to values", actual=actual)
        count += len(fields)
        if count > UPDATE_PATHS_MAX:
            raise InvalidUpdateError(
                f"an update may write at most {UPDATE_PATHS_MAX:,} paths", expected=UPDATE_PATHS_MAX, actual=count
            )
        parts.ops[op] = {text: parts.add(op, text, operand, depth_max) for text, operand in fields.items()}
    if parts.array_filters:
        parts.check_filters_are_used()
    return Update(parts, matched_by)


def _compiled_again(ops: Any, array_filters: Any, matched_by: Predicate | None) -> Update:
    return compile_update(ops, array_filters=array_filters, matched_by=matched_by)


class _Parts:
    """What an update is made of, while it is compiled."""

    def __init__(self, ops: Mapping[str, Any], array_filters: Any, matched_by: Predicate | None) -> None:
        self.ops: dict[str, dict[str, Any]] = {}
        self.array_filters, filters = read_array_filters(array_filters)
        self.run = Run(filters)
        self.root = Node((), self.run)
        # Where `$setOnInsert` is among the operators: the changes of all of them.
        self.on_insert = Node((), self.run) if "$setOnInsert" in ops else None
        self.renames: list[tuple[Path, Path]] = []
        # One tree shows conflicts as it grows. Another is needed only beside operators that do not always act.
        self._guard = None if ops.keys().isdisjoint(("$setOnInsert", "$rename")) else Node((), self.run)
        self._matched_by = matched_by
        self._used: set[str] = set()

    def add(self, op: str, text: Any, operand: Any, depth_max: int) -> Any:
        """Add one operation and return its operand as it is understood."""
        path = changeable_path(op, text, depth_max)
        if len(path) > 1 and "$" in text:
            self._positions(op, text, path)
        if op == "$rename":
            target = _rename_target(text, path, operand, depth_max)
            if self._guard is not None:
                self._guard.add(op, path, removed, creates=False)
                self._guard.add(op, target, removed, creates=False)
            self.renames.append((path, target))
            return operand
        value, change = _compiled(op, text, path, operand, depth_max - len(path), self.run)
        creates = op not in CREATES_NOTHING
        if self._guard is not None:
            self._guard.add(op, path, change, creates=creates)
        if self.on_insert is not None:
            self.on_insert.add(op, path, change, creates=creates)
        if op != "$setOnInsert":
            self.root.add(op, path, change, creates=creates)
        return value

    def check_filters_are_used(self) -> None:
        """Refuse an array filter that no path names."""
        unused = [name for name in self.run.filters if name not in self._used]
        if unused:
            raise InvalidUpdateError(
                f"the array filter of {unused[0][2:-1]!r} is not used in the update",
                operator=unused[0],
                expected=f"a path with {unused[0]}",
                actual="none",
            )

    def _positions(self, op: str, text: str, path: Path) -> None:
        """Check the positional forms of a path."""
        for depth, name in enumerate(path):
            if name == FIRST:
                if any(above == FIRST or above.startswith("$[") for above in path[:depth]):
                    raise _invalid(op, text, "$ cannot stand behind another positional form", "one array", "several")
                self.run.firsts[path[:depth]] = condition_on_first(path[:depth], self._matched_by)
            elif name.startswith("$[") and name != EACH:
                if not (name.endswith("]") and is_identifier(name[2:-1])):
                    raise _invalid(op, text, f"{name[:40]} needs {SPELLING}", SPELLING, name[:40])
                if name not in self.run.filters:
                    raise _invalid(op, text, f"no array filter for {name[:40]}", "an array filter", "none")
                self._used.add(name)


def _compiled(  # noqa: PLR0911, PLR0912, PLR0913, PLR0917 - one return per operator
    op: str, text: str, path: Path, operand: Any, depth: int, run: Run
) -> tuple[Any, Change]:
    """Return the operand as it is understood, and what it does to the value at the path."""
    match op:
        case "$set" | "$setOnInsert":
            return _set(op, text, path, operand, depth)
        case "$unset":
            return "", removed
        case "$inc" | "$mul":
            return arithmetic(op, text, path, operand)
        case "$min" | "$max":
            return extreme(op, text, operand, depth)
        case "$bit":
            return bit(text, operand)
        case "$currentDate":
            return current_date(text, operand), lambda _: run.moment or datetime.now(UTC)
        case "$push":
            return update_arrays.push(text, operand, depth, run)
        case "$addToSet":
            return update_arrays.add_to_set(text, operand, depth)
        case "$pop":
            return update_arrays.pop(text, operand)
        case "$pull":
            return update_arrays.pull(text, operand, depth, run)
        case "$pullAll":
            return update_arrays.pull_all(text, operand, depth)
        case "$link":
            return update_arrays.link(text, operand)
        case _:
            return update_arrays.unlink(text, operand)


def _set(op: str, text: str, path: Path, operand: Any, depth: int) -> tuple[Any, Change]:
    value = normalize_value(operand, text, depth_max=depth)
    if path[0] in TEXT_FIELDS and (len(path) > 1 or type(value) is not str):
        raise holds_text(op, text, path, "a dict" if len(path) > 1 else type_name(value))
    return value, lambda _: value


def _rename_target(text: str, path: Path, operand: Any, depth_max: int) -> Path:
    target = changeable_path("$rename", operand, depth_max)
    for name in (*path, *target):
        if name == FIRST or name.startswith("$["):
            raise _invalid("$rename", text, f"{name[:40]} is not possible here", "names", name[:40])
    return target


def _renamed(document: dict[str, Any], source: Path, target: Path, run: Run) -> dict[str, Any]:
    """Move a value from one path to another; a missing one is not moved, and leaves what is there."""
    value: Any = document
    for depth, name in enumerate(source):
        if type(value) is list:
            message = f"$rename: {dotted(source)!r} goes through the array at {dotted(source[:depth])!r}"
            raise InvalidUpdateError(message, operator="$rename", path=dotted(source))
        value = value.get(name, MISSING) if type(value) is dict else MISSING
    if value is MISSING:
        return document
    above: Any = document
    for depth, name in enumerate(target[:-1], start=1):
        above = above.get(name) if type(above) is dict else None
        if type(above) is list:
            message = f"$rename: {dotted(target)!r} goes through the array at {dotted(target[:depth])!r}"
            raise InvalidUpdateError(message, operator="$rename", path=dotted(target))
    node = Node((), run)
    node.add("$unset", source, removed, creates=False)
    node.add("$set", target, lambda _: value, creates=True)
    return node.apply_to_dict(document)


def _check_shape(ops: Any) -> None:
    if type(ops) is dict and ops and ops.keys() <= _OPERATORS:
        return
    if not isinstance(ops, Mapping):
        raise InvalidUpdateError(f"an update must be a mapping from operators such as $set, not {type_name(ops)}")
    if not ops:
        raise InvalidUpdateError(f"an update needs at least one operator: {', '.join(_SUPPORTED)}")
    fields = [op for op in ops if not (isinstance(op, str) and op.startswith("$")) or op in DOLLAR_FIELDS]
    if len(fields) == len(ops):
        raise InvalidUpdateError(
            f"an update needs operators such as $set, but this one has only fields ({fields[0]!r}, ...); "
            "to store a whole document use replace()"
        )
    if fields:
        raise InvalidUpdateError(f"an update cannot mix operators and fields ({fields[0]!r}); put fields under $set")
    for op in ops:
        if op not in _SUPPORTED:
            message = f"{op} is no update operator; supported are {', '.join(_SUPPORTED)}"
            raise InvalidUpdateError(message, operator=op)


def changeable_path(op: str, text: Any, depth_max: int) -> Path:
    """Return the path of an operation.

    Raises:
        InvalidUpdateError: it names no place that an update may change.
    """
    if type(text) is not str:
        actual = type_name(text)
        raise InvalidUpdateError(
            f"{op} {shown(text)}: a path is a str, not {actual}", operator=op, expected="a str", actual=actual
        )
    try:
        path = _changeable(text)
    except PathError as error:
        raise InvalidUpdateError(f"{op} {text[:80]!r}: {error}", operator=op, path=text) from None
    if len(path) > depth_max:
        raise _invalid(op, text, f"a path has at most {depth_max} names", f"at most {depth_max} names", f"{len(path)}")
    return path


@lru_cache(maxsize=4096)
def _changeable(text: str) -> Path:
    path = split_path(text)
    if path[0] == "$id":
        raise PathError("the $id of a document never changes")
    if path[0] in MANAGED_FIELDS:
        raise PathError(f"only the database writes {path[0]!r}")
    return path


def _invalid(op: str, text: str, why: str, expected: str, actual: str) -> InvalidUpdateError:
    message = f"{op} {text[:80]!r}: {why}"
    return InvalidUpdateError(message, operator=op, path=text, expected=expected, actual=actual)

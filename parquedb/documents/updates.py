"""The update language: parse an update, refuse what is not understood, and apply it to documents.

The paths of an update are kept as a tree of names, which shows conflicts while it is built and lets `apply` copy each
container on the way once. Missing parents are created as dicts; a segment of digits is an index where the document has
an array (padded with null up to it) and a name elsewhere. `$unset` of an array element leaves null in its place. A
segment `$[]` means every element of an array, which must be there. `$rename` comes last.

Source: MongoDB manual, "Update Operators"; docs/differences.md lists where we differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from parquedb.documents import update_arrays
from parquedb.documents.comparison import MISSING
from parquedb.documents.paths import Path, PathError, array_index, split_path
from parquedb.documents.update_numbers import Change, arithmetic, bit, current_date, extreme
from parquedb.documents.values import DEPTH_MAX, DOLLAR_FIELDS, MANAGED_FIELDS, TEXT_FIELDS, normalize_value, type_name
from parquedb.errors import InvalidUpdateError

UPDATE_PATHS_MAX = 10_000
PADDING_MAX = 1_500_000
"""The most nulls that one index past the end of an array may add."""

_SUPPORTED = (
    *("$set", "$unset", "$rename", "$setOnInsert", "$currentDate"),
    *("$inc", "$mul", "$min", "$max", "$bit"),
    *("$push", "$addToSet", "$pop", "$pull", "$pullAll", "$link", "$unlink"),
)
# What finds nothing at its path creates no parents on the way.
_CREATES_NOTHING = frozenset({"$unset", "$pop", "$pull", "$pullAll", "$unlink"})
_EACH = "$[]"


class Update:
    """A compiled update.

    Attributes:
        ops: the operators with normalised operands; compiling them again gives the same update.
    """

    __slots__ = ("_now", "_on_insert", "_renames", "_root", "ops")

    def __init__(
        self,
        ops: dict[str, dict[str, Any]],
        root: _Node,
        on_insert: _Node,
        renames: Sequence[tuple[Path, Path]],
        now: _Now,
    ) -> None:
        self.ops = ops
        self._root = root
        self._on_insert = on_insert
        self._renames = renames
        self._now = now

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
        self._now.moment = now
        document = self._root.apply_to_dict(document)
        if inserting and self._on_insert.children:
            document = self._on_insert.apply_to_dict(document)
        for source, target in self._renames:
            document = _renamed(document, source, target)
        return document

    def __repr__(self) -> str:
        return f"Update({self.ops!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (compile_update, (self.ops,))


class _Now:
    """The moment of the `apply` under way."""

    __slots__ = ("moment",)

    def __init__(self) -> None:
        self.moment: datetime | None = None


def compile_update(ops: Mapping[str, Any], *, depth_max: int = DEPTH_MAX) -> Update:
    """Parse and compile an update.

    Args:
        ops: operators, each with a mapping from paths to operands.
        depth_max: bound of nesting in the resulting document, inclusive; checked here, since it depends only on the
            paths and the values.

    Raises:
        InvalidUpdateError: an unknown operator, a bad path, two operators on one place, no operator at all.
        ValidationError: a value that no document can hold.
    """
    _check_shape(ops)
    root, on_insert, guard, now = _Node(()), _Node(()), _Node(()), _Now()
    # One tree shows conflicts as it grows. Others are needed only beside operators that do not always act.
    apart = not ops.keys().isdisjoint(("$setOnInsert", "$rename"))
    normalized: dict[str, dict[str, Any]] = {}
    renames: list[tuple[Path, Path]] = []
    count = 0
    for op, fields in ops.items():
        if not isinstance(fields, Mapping):
            raise InvalidUpdateError(
                f"{op} expects a mapping from paths to values, not {type_name(fields)}", operator=op
            )
        normalized[op] = {}
        count += len(fields)
        if count > UPDATE_PATHS_MAX:
            raise InvalidUpdateError(f"an update may write at most {UPDATE_PATHS_MAX:,} paths")
        for text, operand in fields.items():
            path = _parse_path(op, text, depth_max)
            if op == "$rename":
                target = _rename_target(text, path, operand, depth_max)
                for one in (path, target):
                    guard.add(op, one, _remove)
                renames.append((path, target))
                normalized[op][text] = operand
                continue
            value, change = _compiled(op, text, path, operand, depth_max - len(path), now)
            if apart:
                guard.add(op, path, change)
            (on_insert if op == "$setOnInsert" else root).add(op, path, change)
            normalized[op][text] = value
    return Update(normalized, root, on_insert, renames, now)


def _compiled(  # noqa: PLR0911, PLR0912, PLR0913, PLR0917 - one return per operator
    op: str, text: str, path: Path, operand: Any, depth: int, now: _Now
) -> tuple[Any, Change]:
    """Return the operand as it is understood, and what it does to the value at the path."""
    match op:
        case "$set" | "$setOnInsert":
            return _set(op, text, path, operand, depth)
        case "$unset":
            return "", _remove
        case "$inc" | "$mul":
            return arithmetic(op, text, path, operand)
        case "$min" | "$max":
            return extreme(op, text, operand, depth)
        case "$bit":
            return bit(text, operand)
        case "$currentDate":
            return current_date(text, operand), lambda _: now.moment or datetime.now(UTC)
        case "$push":
            return update_arrays.push(text, operand, depth)
        case "$addToSet":
            return update_arrays.add_to_set(text, operand, depth)
        case "$pop":
            return update_arrays.pop(text, operand)
        case "$pull":
            return update_arrays.pull(text, operand, depth)
        case "$pullAll":
            return update_arrays.pull_all(text, operand, depth)
        case "$link":
            return update_arrays.link(text, operand)
        case _:
            return update_arrays.unlink(text, operand)


class _Node:
    """The changes below one path: a name leads to a `Change`, or to the node of a longer path."""

    __slots__ = ("children", "creates", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.children: dict[str, _Node | Change] = {}
        # Whether anything below sets a value; `$unset` alone creates no parents and minds no scalar on its way.
        self.creates = False

    def add(self, op: str, path: Path, change: Change) -> None:
        node = self
        for depth, name in enumerate(path[:-1], start=1):
            node.creates |= op not in _CREATES_NOTHING
            child = node.children.setdefault(name, _Node(path[:depth]))
            if not isinstance(child, _Node):
                raise _conflict(op, path, path[:depth])
            node.check_each(op, path)
            node = child
        if path[-1] in node.children:
            raise _conflict(op, path, path)
        node.creates |= op not in _CREATES_NOTHING
        node.children[path[-1]] = change
        node.check_each(op, path)

    def check_each(self, op: str, path: Path) -> None:
        """Refuse what names single elements beside all of them."""
        if _EACH in self.children and len(self.children) > 1:
            raise _conflict(op, path, path[: len(self.path) + 1])

    def apply(self, value: Any) -> Any:
        kind = type(value)
        if kind is dict:
            return self.apply_to_dict(value)
        if kind is list:
            return self._apply_to_list(value)
        if not self.creates:
            return value
        if value is MISSING and _EACH not in self.children:
            return self.apply_to_dict({})
        if _EACH in self.children:
            raise self._no_array(value)
        raise self._cannot_create(next(iter(self.children)), type_name(value))

    def apply_to_dict(self, value: dict[str, Any]) -> dict[str, Any]:
        if _EACH in self.children:
            raise self._no_array(value)
        result = value.copy()
        for name, child in self.children.items():
            old = result.get(name, MISSING)
            new = child.apply(old) if isinstance(child, _Node) else child(old)
            if new is not MISSING:
                result[name] = new
            elif old is not MISSING:
                del result[name]
        return result

    def _apply_to_list(self, value: list[Any]) -> list[Any]:
        if _EACH in self.children:
            child = self.children[_EACH]
            found = [child.apply(old) if isinstance(child, _Node) else child(old) for old in value]
            return [None if new is MISSING else new for new in found]
        result = value.copy()
        for name, child in self.children.items():
            index = array_index(name)
            if index < 0:
                if not isinstance(child, _Node) or child.creates:
                    self._refuse_name(name, child)
                continue
            old = result[index] if index < len(result) else MISSING
            new = child.apply(old) if isinstance(child, _Node) else child(old)
            if index < len(result):
                result[index] = None if new is MISSING else new
            elif new is not MISSING:
                self._pad(result, index)
                result.append(new)
        return result

    def _refuse_name(self, name: str, child: _Node | Change) -> None:
        if child is not _remove:
            raise self._cannot_create(name, "an array")

    def _pad(self, result: list[Any], index: int) -> None:
        missing = index - len(result)
        if missing > PADDING_MAX:
            raise InvalidUpdateError(
                f"cannot pad the array at {_dotted(self.path)!r} with {missing:,} nulls to reach index {index}; "
                f"the most is {PADDING_MAX:,}",
                path=_dotted((*self.path, str(index))),
            )
        result.extend([None] * missing)

    def _no_array(self, actual: Any) -> InvalidUpdateError:
        holds = "nothing" if actual is MISSING else type_name(actual)
        where = _dotted(self.path)
        return InvalidUpdateError(f"{_EACH} needs an array at {where!r}, which holds {holds}", path=where)

    def _cannot_create(self, name: str, actual: str) -> InvalidUpdateError:
        return InvalidUpdateError(
            f"cannot create field {name!r} in {_dotted(self.path)!r}, which holds {actual}",
            path=_dotted((*self.path, name)),
        )


def _set(op: str, text: str, path: Path, operand: Any, depth: int) -> tuple[Any, Change]:
    value = normalize_value(operand, text, depth_max=depth)
    if path[0] in TEXT_FIELDS and (len(path) > 1 or type(value) is not str):
        raise InvalidUpdateError(
            f"{op} {text!r}: {path[0]!r} holds a str, not {'a dict' if len(path) > 1 else type_name(value)}",
            operator=op,
            path=text,
        )
    return value, lambda _: value


def _remove(_: Any) -> Any:
    return MISSING


def _rename_target(text: str, path: Path, operand: Any, depth_max: int) -> Path:
    target = _parse_path("$rename", operand, depth_max)
    if _EACH in (*path, *target):
        raise InvalidUpdateError(f"$rename {text!r}: {_EACH} is not possible here", operator="$rename", path=text)
    return target


def _renamed(document: dict[str, Any], source: Path, target: Path) -> dict[str, Any]:
    """Move a value from one path to another; a missing one is not moved, and leaves what is there."""
    value: Any = document
    for depth, name in enumerate(source):
        if type(value) is list:
            message = f"$rename: {_dotted(source)!r} goes through the array at {_dotted(source[:depth])!r}"
            raise InvalidUpdateError(message, operator="$rename", path=_dotted(source))
        value = value.get(name, MISSING) if type(value) is dict else MISSING
    if value is MISSING:
        return document
    above: Any = document
    for depth, name in enumerate(target[:-1], start=1):
        above = above.get(name) if type(above) is dict else None
        if type(above) is list:
            message = f"$rename: {_dotted(target)!r} goes through the array at {_dotted(target[:depth])!r}"
            raise InvalidUpdateError(message, operator="$rename", path=_dotted(target))
    node = _Node(())
    node.add("$unset", source, _remove)
    node.add("$set", target, lambda _: value)
    return node.apply_to_dict(document)


def _check_shape(ops: Any) -> None:
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


def _parse_path(op: str, text: Any, depth_max: int = DEPTH_MAX) -> Path:
    shown = text[:80] if type(text) is str else text

    def invalid(why: str) -> InvalidUpdateError:
        return InvalidUpdateError(f"{op} {shown!r}: {why}", operator=op, path=str(text))

    if type(text) is not str:
        raise invalid(f"a path is a str, not {type_name(text)}")
    for segment in text.split("."):
        if segment == "$" or (segment.startswith("$[") and segment != _EACH):
            raise invalid(f"the positional operator {segment} is not supported; name the index, or use {_EACH} for all")
    try:
        path = split_path(text)
    except PathError as error:
        raise invalid(str(error)) from None
    if path[0] == "$id":
        raise invalid("the $id of a document never changes")
    if path[0] in MANAGED_FIELDS:
        raise invalid(f"only the database writes {path[0]!r}")
    if len(path) > depth_max:
        raise invalid(f"a path has at most {depth_max} names")
    return path


def _conflict(op: str, path: Path, at: Path) -> InvalidUpdateError:
    return InvalidUpdateError(
        f"updating the path {_dotted(path)!r} would create a conflict at {_dotted(at)!r}",
        operator=op,
        path=_dotted(path),
    )


def _dotted(path: Path) -> str:
    return ".".join(path)

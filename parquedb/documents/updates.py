"""The update language: parse an update, refuse what is not understood, and apply it to documents.

The paths of an update are kept as a tree of names, which shows conflicts while it is built and lets `apply` copy each
container on the way once. Missing parents are created as dicts; a segment of digits is an index where the document has
an array (padded with null up to it) and a name elsewhere. `$unset` of an array element leaves null in its place.

Source: MongoDB manual, "Update Operators"; docs/differences.md lists where we differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact
from typing import Any, Final

from parquedb.documents.comparison import MISSING, NUMBERS
from parquedb.documents.paths import Path, PathError, array_index, split_path
from parquedb.documents.values import DEPTH_MAX, DOLLAR_FIELDS, MANAGED_FIELDS, TEXT_FIELDS, normalize_value, type_name
from parquedb.errors import InvalidUpdateError

UPDATE_PATHS_MAX = 10_000
PADDING_MAX = 1_500_000
"""The most nulls that one index past the end of an array may add."""

DECIMAL_DIGITS_MAX = 1_000
"""The most digits that `$inc` keeps of a Decimal sum; a longer sum is refused, never rounded."""

_SUPPORTED = ("$set", "$unset", "$inc")
_PLANNED = frozenset(
    (
        "$rename",
        "$setOnInsert",
        "$mul",
        "$min",
        "$max",
        "$push",
        "$pull",
        "$pullAll",
        "$addToSet",
        "$pop",
        "$currentDate",
        "$bit",
        "$link",
        "$unlink",
    )
)

# Exact or refused: a sum that would be rounded raises Inexact.
_EXACT = Context(prec=DECIMAL_DIGITS_MAX, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])

Change = Callable[[Any], Any]
"""From the old value to the new one; `MISSING` stands for no value on both sides."""


class Update:
    """A compiled update.

    Attributes:
        ops: the operators with normalised operands; compiling them again gives the same update.
        paths: every path that it writes.
    """

    __slots__ = ("_root", "ops", "paths")

    def __init__(self, ops: dict[str, dict[str, Any]], root: _Node, paths: tuple[Path, ...]) -> None:
        self.ops = ops
        self.paths = paths
        self._root = root

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """The changed document. The input is not changed; what the update does not touch is shared with the result.

        Raises:
            InvalidUpdateError: the document has something at a path that the operator cannot work on.
        """
        return self._root.apply_to_dict(document)

    def __repr__(self) -> str:
        return f"Update({self.ops!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (compile_update, (self.ops,))


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
    root = _Node(())
    normalized: dict[str, dict[str, Any]] = {}
    paths: list[Path] = []
    for op, fields in ops.items():
        if not isinstance(fields, Mapping):
            raise InvalidUpdateError(
                f"{op} expects a mapping from paths to values, not {type_name(fields)}", operator=op
            )
        normalized[op] = {}
        for text, operand in fields.items():
            path = _parse_path(op, text, depth_max)
            value, change = _CHANGES[op](text, path, operand, depth_max)
            root.add(op, path, change)
            normalized[op][text] = value
            paths.append(path)
            if len(paths) > UPDATE_PATHS_MAX:
                raise InvalidUpdateError(f"an update may write at most {UPDATE_PATHS_MAX:,} paths")
    return Update(normalized, root, tuple(paths))


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
            node.creates |= op != "$unset"
            child = node.children.setdefault(name, _Node(path[:depth]))
            if not isinstance(child, _Node):
                raise _conflict(op, path, path[:depth])
            node = child
        if path[-1] in node.children:
            raise _conflict(op, path, path)
        node.creates |= op != "$unset"
        node.children[path[-1]] = change

    def apply(self, value: Any) -> Any:
        kind = type(value)
        if kind is dict:
            return self.apply_to_dict(value)
        if kind is list:
            return self._apply_to_list(value)
        if not self.creates:
            return value
        if value is MISSING:
            return self.apply_to_dict({})
        raise self._cannot_create(next(iter(self.children)), type_name(value))

    def apply_to_dict(self, value: dict[str, Any]) -> dict[str, Any]:
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

    def _cannot_create(self, name: str, actual: str) -> InvalidUpdateError:
        return InvalidUpdateError(
            f"cannot create field {name!r} in {_dotted(self.path)!r}, which holds {actual}",
            path=_dotted((*self.path, name)),
        )


# Operators: each checks its operand and gives it back normalised, with the change it means.


def _set(text: str, path: Path, operand: Any, depth_max: int) -> tuple[Any, Change]:
    value = normalize_value(operand, text, depth_max=depth_max - len(path))
    if path[0] in TEXT_FIELDS and (len(path) > 1 or type(value) is not str):
        raise InvalidUpdateError(
            f"$set {text!r}: {path[0]!r} holds a str, not {'a dict' if len(path) > 1 else type_name(value)}",
            operator="$set",
            path=text,
        )
    return value, lambda _: value


def _remove(_: Any) -> Any:
    return MISSING


def _unset(text: str, path: Path, operand: Any, depth_max: int) -> tuple[Any, Change]:  # noqa: ARG001 - one shape for all; the operand of $unset means nothing
    return "", _remove


def _inc(text: str, path: Path, operand: Any, depth_max: int) -> tuple[Any, Change]:  # noqa: ARG001 - one shape for all
    if type(operand) not in NUMBERS:
        raise InvalidUpdateError(
            f"$inc {text!r} expects a number, not {type_name(operand)}", operator="$inc", path=text
        )
    if path[0] in TEXT_FIELDS:
        raise InvalidUpdateError(f"$inc {text!r}: {path[0]!r} holds a str, not a number", operator="$inc", path=text)
    amount = normalize_value(operand, text)

    def increase(old: Any) -> Any:
        if old is MISSING:
            return amount
        if type(old) not in NUMBERS:
            raise InvalidUpdateError(
                f"cannot apply $inc to {text!r}, which holds {type_name(old)}, not a number", operator="$inc", path=text
            )
        try:
            return _sum(old, amount)
        except (Inexact, OverflowError) as error:
            raise InvalidUpdateError(
                f"cannot apply $inc to {text!r}: the sum cannot be kept exactly "
                f"({'an int too large for a float' if isinstance(error, OverflowError) else 'too many digits'})",
                operator="$inc",
                path=text,
            ) from None

    return amount, increase


_CHANGES: Final = {"$set": _set, "$unset": _unset, "$inc": _inc}


def _sum(a: Any, b: Any) -> Any:
    """Add two numbers: Decimal with anything gives Decimal, float with int gives float."""
    if type(a) is Decimal or type(b) is Decimal:
        return _EXACT.add(_decimal(a), _decimal(b))
    return a + b


def _decimal(value: Any) -> Decimal:
    # A float enters as the digits that print it: 0.1 is Decimal('0.1'), not the 55 digits of its binary value.
    return Decimal(repr(value)) if type(value) is float else Decimal(value)


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
        if op not in _CHANGES:
            problem = "is not supported yet" if op in _PLANNED else "is no update operator"
            raise InvalidUpdateError(f"{op} {problem}; supported are {', '.join(_SUPPORTED)}", operator=op)


def _parse_path(op: str, text: Any, depth_max: int) -> Path:
    shown = text[:80] if type(text) is str else text

    def invalid(why: str) -> InvalidUpdateError:
        return InvalidUpdateError(f"{op} {shown!r}: {why}", operator=op, path=str(text))

    if type(text) is not str:
        raise invalid(f"a path is a str, not {type_name(text)}")
    for segment in text.split("."):
        if segment == "$" or segment.startswith("$["):
            raise invalid(f"the positional operator {segment} is not supported yet; name the index")
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

"""Updates that differ in their operands alone, compiled once: their shape is which operators stand at which paths.

An application makes thousands of updates of a few shapes, and compiling one costs several times what applying it does.
Only operators that every value of a kind suits, at paths by name or index, have a shape; `compile_update` is there for
all the others, and for whatever is wrong: where it refuses, nothing here has an opinion of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import is_
from typing import Any, Final, NamedTuple

from parquedb.documents.comparison import NUMBERS
from parquedb.documents.update_numbers import combined, further
from parquedb.documents.update_tree import Change, Node, Run, removed
from parquedb.documents.updates import CREATES_NOTHING, changeable_path
from parquedb.documents.values import DEPTH_MAX, TEXT_FIELDS, normalize_value
from parquedb.errors import InvalidUpdateError, ValidationError

SHAPES_MAX: Final = 1_024
"""Shapes remembered."""

PATHS_MAX: Final = 32
"""Paths of an update that has a shape."""

CHARACTERS_MAX: Final = 2_000
"""Characters of these paths together: what is remembered has a bound."""

Key = tuple[tuple[str, ...], ...]
"""Each operator with its paths."""

_VALUE, _NUMBER, _TRUE, _NOTHING = range(4)
_TAKES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("$set", "$min", "$max"), _VALUE),
    **dict.fromkeys(("$inc", "$mul"), _NUMBER),
    "$currentDate": _TRUE,
    "$unset": _NOTHING,
}
"""What operators take."""

_SHORT_INT: Final = 1 << 62
"""Ints nearer to 0 need no look at their length."""

_STR_ONLY: Final = frozenset({str})


class Shape:
    """A compiled update without its operands. One thread may apply it at a time.

    Attributes:
        key: What it was made of.
        paths: Each operator with one of its paths, in order; the operands are in the same one.
        is_ascii: Whether all paths are.
    """

    __slots__ = ("_deepest", "_root", "_run", "_takes", "is_ascii", "key", "paths")

    def __init__(self, key: Key) -> None:
        """Compile.

        Raises:
            InvalidUpdateError: a path is none, or two operators meet at one place.
        """
        self.key = key
        self.paths = tuple((op, text) for op, *texts in key for text in texts)
        self.is_ascii = all(text.isascii() for _, text in self.paths)
        self._run = Run({})
        self._root = Node((), self._run)
        self._takes = tuple(_TAKES[op] for op, _ in self.paths)
        self._deepest = 0
        for at, (op, text) in enumerate(self.paths):
            path = changeable_path(op, text, DEPTH_MAX)
            self._deepest = max(self._deepest, len(path))
            self._root.add(op, path, _change(op, text, at, self._run), creates=op not in CREATES_NOTHING)

    def operands(self, given: Sequence[Any], depth_max: int = DEPTH_MAX) -> list[Any] | None:
        """Return operands as `compile_update` would understand them; None where that has to look at them.

        Args:
            given: One for each of `paths`.
            depth_max: Bound of nesting in the resulting document, inclusive.
        """
        if len(given) != len(self._takes) or self._deepest > depth_max:
            return None
        operands: list[Any] = []
        try:
            for takes, value in zip(self._takes, given, strict=True):
                kind = type(value)
                if takes <= _NUMBER and (kind is float or (kind is int and -_SHORT_INT < value < _SHORT_INT)):
                    operands.append(value)
                elif takes == _VALUE or (takes == _NUMBER and kind in NUMBERS):
                    # At the depth of the deepest path, which is right or too strict.
                    operands.append(normalize_value(value, depth_max=depth_max - self._deepest))
                elif takes == _NOTHING:
                    operands.append("")
                elif value is True and takes == _TRUE:
                    operands.append(True)
                else:
                    return None
        except ValidationError:
            return None
        return operands

    def apply(self, document: dict[str, Any], operands: Sequence[Any], now: datetime) -> dict[str, Any]:
        """Return the changed document; the input is not changed, and shared with the result where nothing happens.

        Args:
            document: What to change.
            operands: As `operands` returned them.
            now: What `$currentDate` sets, UTC.

        Raises:
            InvalidUpdateError: the document has something at a path that the operator cannot work on.
        """
        run = self._run
        run.start(now, inserting=False)
        run.operands = operands
        return self._root.apply_to_dict(document)

    def ops(self, operands: Sequence[Any]) -> dict[str, dict[str, Any]]:
        """Return the operators with these operands, as `Update.ops` has them."""
        return ops_of(self.key, operands)

    def __reduce__(self) -> tuple[Any, ...]:
        return Shape, (self.key,)


def ops_of(key: Key, operands: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Return operators at paths, with one operand for each path in order.

    Raises:
        ValueError: there are more or fewer operands than paths.
    """
    if sum(map(len, key)) - len(key) != len(operands):
        raise ValueError("an update needs one operand for each path")
    values = iter(operands)
    return {op: dict(zip(texts, values, strict=False)) for op, *texts in key}


class Shaped(NamedTuple):
    """An update as its shape and its operands.

    Attributes:
        ops: The operators, as `Update.ops` has them.
    """

    shape: Shape
    operands: list[Any]
    ops: dict[str, dict[str, Any]]


def shaped_update(ops: Mapping[str, Any]) -> Shaped | None:
    """Return an update as its shape and operands; None where it has none, or where something is wrong with it."""
    if type(ops) is not dict:
        return None
    key: list[tuple[str, ...]] = []
    given: list[Any] = []
    copied: dict[str, dict[str, Any]] = {}
    for op, fields in ops.items():
        # Subclasses of str are equal to it and would be found, but no path is one.
        if type(op) is not str or type(fields) is not dict or not _STR_ONLY.issuperset(map(type, fields)):
            return None
        key.append((op, *fields))
        given += fields.values()
        copied[op] = fields.copy()
    shape = shape_of(tuple(key))
    operands = None if shape is None else shape.operands(given)
    if shape is None or operands is None:
        return None
    unchanged = all(map(is_, operands, given))
    return Shaped(shape, operands, copied if unchanged else shape.ops(operands))


def shape_of(key: Key) -> Shape | None:
    """Return the shape of updates with these operators and paths; None where they have none."""
    try:
        return _compiled(key)
    except _TooLargeError:
        return None


class _TooLargeError(Exception):
    """A key too large to be remembered, not even as one that has no shape; errors are not remembered."""


@lru_cache(maxsize=SHAPES_MAX)
def _compiled(key: Key) -> Shape | None:
    texts = [text for _, *texts in key for text in texts]
    if len(texts) > PATHS_MAX or sum(map(len, texts)) > CHARACTERS_MAX:
        raise _TooLargeError
    operators = {op for op, *_ in key}
    if not texts or len(operators) < len(key) or not operators <= _TAKES.keys():
        return None
    # System fields hold texts only, and `$` asks for elements of arrays.
    if any("$" in text or text.partition(".")[0] in TEXT_FIELDS for text in texts):
        return None
    try:
        return Shape(key)
    except InvalidUpdateError:
        return None


def _change(op: str, text: str, at: int, run: Run) -> Change:
    """Return what the operand at a place does to the value at a path."""
    match op:
        case "$set":
            return lambda _: run.operands[at]
        case "$inc" | "$mul":
            return lambda old: combined(op, text, run.operands[at], old)
        case "$min" | "$max":
            return lambda old: further(op, run.operands[at], old)
        case "$unset":
            return removed
        case _:
            return lambda _: run.moment or datetime.now(UTC)

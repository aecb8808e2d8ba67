"""What keeps one schema from following another: documents that were accepted must stay acceptable.

Allowed: a new field that is optional or has a default, int to float or decimal, more members of an enum, optional where
required, null where refused, looser limits, a looser mode. Defaults, indexes and descriptions may change freely.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from parquedb.schemas.guard import Mode
from parquedb.schemas.model import Field, FieldType, Schema
from parquedb.schemas.words import describe

_LOOSENESS: Final = (Mode.STRICT, Mode.PERMISSIVE, Mode.WARN)
_INT_DIGITS: Final = 19
"""Digits of a 64-bit integer."""


def obstacles(old: Schema, new: Schema) -> list[str]:
    """Return why `new` cannot follow `old`, each with the dotted path of the field; empty if it can."""
    return list(_object(old.root, new.root, ""))


def mode_obstacles(old: Mode, new: Mode) -> list[str]:
    """Return why a mode cannot follow another for documents that nobody has looked at."""
    if _LOOSENESS.index(new) >= _LOOSENESS.index(old):
        return []
    return [f"mode: {old} cannot become {new} unless the existing documents are checked (validate_existing=True)"]


def _object(old: FieldType, new: FieldType, path: str) -> Iterator[str]:
    if new.closed and not old.closed:
        yield f"{path or 'schema'}: fields that are not declared were accepted"
    before = {field.name: field for field in old.fields}
    after = {field.name: field for field in new.fields}
    for name, field in before.items():
        below = f"{path}.{name}" if path else name
        if name in after:
            yield from _field(field, after[name], below)
        else:
            yield f"{below}: a declared field cannot be removed"
    for name, field in after.items():
        if name not in before and field.required and field.default is None:
            below = f"{path}.{name}" if path else name
            yield f"{below}: a new field must be optional or have a default"


def _field(old: Field, new: Field, path: str) -> Iterator[str]:
    if new.required and new.default is None and not (old.required and old.default is None):
        yield f"{path}: documents without it were accepted, so it cannot become required without a default"
    yield from _type(old.type, new.type, path)


def _type(old: FieldType, new: FieldType, path: str) -> Iterator[str]:
    if old.nullable and not new.nullable:
        yield f"{path}: null was accepted"
    if not _may_become(old, new):
        yield f"{path}: {describe(old)} cannot become {describe(new)}"
        return
    if new.kind == "enum":
        gone = _typed(old.values) - _typed(new.values)
        if gone:
            yield f"{path}: {', '.join(sorted(repr(value) for _, value in gone))} cannot leave the enum"
    if new.kind == "relation" and not _relation_may_become(old, new):
        yield f"{path}: a relationship keeps its direction and its target"
    yield from _limits(old, new, path)
    if old.item is not None and new.item is not None:
        yield from _type(old.item, new.item, f"{path}[]")
    if new.kind == "object":
        yield from _object(old, new, path)


def _may_become(old: FieldType, new: FieldType) -> bool:
    if old.kind != "int" or new.kind not in {"float", "decimal"}:
        return old.kind == new.kind
    return new.precision is None or new.precision - (new.scale or 0) >= _INT_DIGITS


def _relation_may_become(old: FieldType, new: FieldType) -> bool:
    one, other = old.relation, new.relation
    if one is None or other is None:
        return one is other
    same = (one.arrow, one.target, one.reverse) == (other.arrow, other.target, other.reverse)
    return same and (other.many or not one.many)


def _typed(values: tuple[Any, ...]) -> set[tuple[type, Any]]:
    return {(type(value), value) for value in values}


def _limits(old: FieldType, new: FieldType, path: str) -> Iterator[str]:
    tighter = [
        _tighter(old.min_length, new.min_length, 1),
        _tighter(old.max_length, new.max_length, -1),
        _tighter_bound((old.ge, old.gt), (new.ge, new.gt), 1),
        _tighter_bound((old.le, old.lt), (new.le, new.lt), -1),
        new.multiple_of is not None and new.multiple_of != old.multiple_of,
        new.pattern is not None and new.pattern != old.pattern,
        new.format is not None and new.format != old.format,
        new.finite and not old.finite and old.kind == "float",
        old.kind == "decimal" and _fewer_digits(old, new),
    ]
    if any(tighter):
        yield f"{path}: {describe(old)} cannot become {describe(new)}: a limit is new or tighter"


def _tighter(old: Any, new: Any, sign: int) -> bool:
    """Whether a limit is new or closer; `sign` 1 for a lower one, -1 for an upper one."""
    return new is not None and (old is None or (new - old) * sign > 0)


def _tighter_bound(old: tuple[Any, Any], new: tuple[Any, Any], sign: int) -> bool:
    """The same of a pair: the limit that may be reached, and the one that may not."""
    reached, passed = new
    above = _at_least if sign > 0 else _at_most
    if reached is not None and not any(one is not None and above(one, reached) for one in old):
        return True
    if passed is None:
        return False
    inclusive, exclusive = old
    kept = exclusive is not None and above(exclusive, passed)
    return not (kept or (inclusive is not None and above(inclusive, passed) and inclusive != passed))


def _at_least(one: Any, other: Any) -> bool:
    return bool(one >= other)


def _at_most(one: Any, other: Any) -> bool:
    return bool(one <= other)


def _fewer_digits(old: FieldType, new: FieldType) -> bool:
    if new.scale is not None and (old.scale is None or new.scale < old.scale):
        return True
    if new.precision is None:
        return False
    if old.precision is None:
        return True
    fewer_whole = new.precision - (new.scale or 0) < old.precision - (old.scale or 0)
    return new.precision < old.precision or fewer_whole

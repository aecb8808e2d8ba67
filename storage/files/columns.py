"""Which typed column each field path of a namespace has: the registry, and the column types it can name.

A path gets its type once, from the schema or from the first batch that shows one, and keeps it in all later files; the
registry only grows. Only a schema may change the type of a path: files before and after differ then, and each is read
by its own types. A value that does not fit its path's type goes to the `$residual` column instead (see `shred`).

    kind          Python type         Arrow type
    int           int (64 bit)        int64
    float         float               double
    str           str                 string
    bool          bool                bool
    time          datetime            timestamp[us, UTC]
    date          date                date32
    bytes         bytes               binary
    uuid          UUID                fixed_size_binary[16]
    decimal(p,s)  Decimal, declared   decimal128(p, s)
    list<kind>    list, one kind      list<that>
    (a mapping)   dict                struct
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any
from uuid import UUID

import pyarrow as pa

from parquedb.storage.files.fields import by_name, types_of

ID_COLUMN = "$id"
SEQ_COLUMN = "$seq"
RESIDUAL_COLUMN = "$residual"

PATHS_MAX = 1_000
"""Registered paths per namespace; every further path lives in the residual."""

DEPTH_MAX = 16
"""Levels of nested columns; deeper dicts stay whole in the residual."""

NAME_CHARS_MAX = 200

SYSTEM_COLUMNS: Mapping[str, str] = {
    ID_COLUMN: "str",
    "version": "int",
    "createdAt": "time",
    "updatedAt": "time",
    "deletedAt": "time",
    "createdBy": "str",
    "updatedBy": "str",
    "deletedBy": "str",
}

KIND_OF_TYPE: Mapping[type, str] = {
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    datetime: "time",
    date: "date",
    bytes: "bytes",
    UUID: "uuid",
}
TYPE_OF_KIND: Mapping[str, type] = {kind: python for python, kind in KIND_OF_TYPE.items()}

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_TYPE = pa.timestamp("us", "UTC")
_ARROW: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "bool": pa.bool_(),
    "time": TIME_TYPE,
    "date": pa.date32(),
    "bytes": pa.binary(),
    "uuid": pa.binary(16),
}
_KIND_OF_ARROW = {arrow: kind for kind, arrow in _ARROW.items()}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
DECIMAL_DIGITS_MAX = 38
_ARROW |= {f"list<{kind}>": pa.list_(arrow) for kind, arrow in _ARROW.items()}

_RESERVED = frozenset({SEQ_COLUMN, RESIDUAL_COLUMN})
_TOP_LEVEL_DOLLAR = frozenset({ID_COLUMN, "$type"})

Column = str | Mapping[str, Any]
"""A kind of the table above, or the columns of a struct by name."""


@dataclass(frozen=True, slots=True)
class ColumnRegistry:
    """The columns of one namespace. Immutable; growing makes a new one.

    Attributes:
        columns: Top-level field name to column, system fields first.
        paths: Registered paths, struct levels included, system fields not.
    """

    columns: Mapping[str, Column]
    paths: int = 0

    @classmethod
    def empty(cls) -> ColumnRegistry:
        """Return the registry of a new namespace: the system fields."""
        return cls(dict(SYSTEM_COLUMNS))

    def to_wire(self) -> dict[str, Any]:
        """Return plain dicts and strings, fields in column order; `from_wire` is the inverse."""
        return {name: _copied(column) for name, column in self.columns.items() if name not in SYSTEM_COLUMNS}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> ColumnRegistry:
        """Rebuild a registry from `to_wire`."""
        columns = {name: _copied(column) for name, column in wire.items()}
        return cls({**SYSTEM_COLUMNS, **columns}, sum(map(_paths, columns.values())))


class RegistryGrowth:
    """A registry being extended by one batch; copies only when something is added."""

    def __init__(self, registry: ColumnRegistry) -> None:
        self._registry = registry
        self._paths = registry.paths
        self._columns: dict[str, Any] | None = None

    @property
    def columns(self) -> Mapping[str, Column]:
        """The top-level columns so far."""
        return self._registry.columns if self._columns is None else self._columns

    @property
    def room(self) -> int:
        """How many more paths may be registered."""
        return PATHS_MAX - self._paths

    def add(self, name: str, column: Column) -> None:
        """Register a new top-level field."""
        if self._columns is None:
            self._columns = dict(self._registry.columns)
        self._columns[name] = column
        self._paths += _paths(column)

    def replace(self, name: str, column: Column) -> None:
        """Put a struct that has grown in the place of its earlier self."""
        self._paths -= _paths(self.columns[name])
        self.add(name, column)

    def finish(self) -> ColumnRegistry:
        """Return the registry after the batch; the same object if nothing was new."""
        return self._registry if self._columns is None else ColumnRegistry(self._columns, self._paths)


def column_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column."""
    if isinstance(column, str):
        return _ARROW[column] if column in _ARROW else pa.decimal128(*decimal_digits(column))
    return pa.struct([pa.field(name, column_type(child)) for name, child in column.items()])


def kind_of_type(arrow: pa.DataType) -> str:
    """Return the kind of a scalar column's Arrow type."""
    if pa.types.is_decimal(arrow):
        return decimal_kind(arrow.precision, arrow.scale)
    return _KIND_OF_ARROW[arrow]


def decimal_kind(precision: int, scale: int) -> str:
    """Return the kind of a decimal column with so many digits, so many of them behind the point."""
    return f"decimal({precision},{scale})"


def decimal_digits(kind: str) -> tuple[int, int]:
    """Return precision and scale of a decimal column's kind.

    Raises:
        ValueError: a kind of another type.
    """
    found = _DECIMAL.fullmatch(kind)
    if found is None:
        raise ValueError(f"{kind!r} is not the kind of a decimal column")
    return int(found[1]), int(found[2])


def with_declared(registry: ColumnRegistry, columns: Mapping[str, Column]) -> ColumnRegistry:
    """Return the registry with declared columns in it, in the place of what their paths had before.

    Paths whose names Parquet cannot hold, and those beyond `PATHS_MAX` and `DEPTH_MAX`, get no column.
    """
    growth = RegistryGrowth(registry)
    for name, column in columns.items():
        before = growth.columns.get(name)
        after = None if name in SYSTEM_COLUMNS else _declared(name, before, column, growth.columns, growth.room, 0)
        if after is not None and after != before:
            (growth.add if before is None else growth.replace)(name, after)
    return growth.finish()


def _declared(  # noqa: PLR0913, PLR0917 - the state of one recursion step
    name: str, before: Column | None, column: Column, siblings: Iterable[str], room: int, depth: int
) -> Column | None:
    if before is None and (room <= 0 or not _may_name_a_column(name, siblings, depth)):
        return None
    if isinstance(column, str):
        return column
    if depth + 1 >= DEPTH_MAX:
        return before
    children = {} if before is None or isinstance(before, str) else dict(before)
    room -= not children
    for child, below in column.items():
        had = children.get(child)
        after = _declared(child, had, below, children, room, depth + 1)
        if after is not None:
            room -= _paths(after) - (0 if had is None else _paths(had))
            children[child] = after
    return children or before


def grown(
    column: Mapping[str, Column], values: Sequence[Mapping[str, Any]], room: int, depth: int
) -> dict[str, Column]:
    """Return the struct `column` with the new paths that `values` show, at most `room` more.

    Args:
        column: The struct so far; empty for a new one.
        values: The dicts found at its path.
        room: Paths that may still be registered.
        depth: Level of the struct, 1 for a top-level field.
    """
    result = dict(column)
    if depth >= DEPTH_MAX:
        return result
    open_ = {name for name in set(chain.from_iterable(values)) if not isinstance(column.get(name), str)}
    if not open_:
        return result
    for name, items, _ in by_name(values):
        if name not in open_:
            continue
        before = result.get(name)
        after = settle(name, before, result, items, room, depth)
        if after is not None and after is not before:
            result[name] = after
            room -= _paths(after) - (0 if before is None else _paths(before))
    return result


def settle(  # noqa: PLR0913, PLR0917 - the state of one recursion step, private to registry and shredder
    name: str, column: Column | None, siblings: Iterable[str], values: Sequence[Any], room: int, depth: int
) -> Column | None:
    """Return the column of one path after seeing `values`: unchanged, grown, new, or None where it gets none.

    Args:
        name: Last segment of the path.
        column: What the registry has, None for a new path.
        siblings: Names already registered beside it.
        values: Everything found at the path in this batch.
        room: Paths that may still be registered.
        depth: Number of segments before `name`.
    """
    if isinstance(column, str):
        return column
    if column is None:
        if room <= 0 or not _may_name_a_column(name, siblings, depth):
            return None
        kind = _commonest_kind(values)
        if kind != "struct":
            return kind
        room -= 1
    dicts = [value for value in values if type(value) is dict]
    struct = grown(column or {}, dicts, room, depth + 1)
    if not struct:
        return None  # Parquet has no struct without children.
    return column if column is not None and _paths(struct) == _paths(column) else struct


def _commonest_kind(values: Sequence[Any]) -> str | None:
    # The commonest type, not the first: prices like 10, 10.5, 11.5 should become a float column.
    types = types_of(values)
    for python in types if len(types) == 1 else [python for python, _ in Counter(map(type, values)).most_common()]:
        if python is dict:
            return "struct"
        if python is list:
            kind = next((kind for value in values if type(value) is list and (kind := _list_kind(value))), None)
        else:
            kind = KIND_OF_TYPE.get(python)
        if kind is not None:
            return kind
    return None


def _list_kind(items: list[Any]) -> str | None:
    types = set(map(type, items))
    kind = KIND_OF_TYPE.get(types.pop()) if len(types) == 1 else None
    return None if kind is None else f"list<{kind}>"


def _may_name_a_column(name: str, siblings: Iterable[str], depth: int) -> bool:
    if not name or len(name) > NAME_CHARS_MAX or "." in name or not name.isprintable():
        return False  # Parquet names a nested column by its dotted path; a dot inside a name would be ambiguous.
    if depth == 0 and name.startswith("$") and name not in _TOP_LEVEL_DOLLAR:
        return False
    # DuckDB and Spark fold case: two struct fields "a" and "A" make a file that they refuse.
    folded = name.casefold()
    taken = (*siblings, *_RESERVED) if depth == 0 else siblings
    return all(other.casefold() != folded for other in taken)


def _paths(column: Column) -> int:
    return 1 if isinstance(column, str) else 1 + sum(map(_paths, column.values()))


def _copied(column: Any) -> Column:
    return column if isinstance(column, str) else {name: _copied(child) for name, child in column.items()}

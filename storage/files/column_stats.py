"""What is known of a column without reading it: least and greatest value and the number of rows without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from parquedb.storage.files.columns import EPOCH, ID_COLUMN, RESIDUAL_COLUMN
from parquedb.storage.files.shred import one_chunk

TEXT_CHARS_MAX = 64
"""Longer texts are kept as a bound of this many characters."""

_BOUNDED_KINDS = {
    pa.int64(): "int",
    pa.float64(): "float",
    pa.string(): "str",
    pa.bool_(): "bool",
    pa.timestamp("us", "UTC"): "time",
    pa.date32(): "date",
}


class ColumnStats(NamedTuple):
    """One column of one file or row group.

    Attributes:
        kind: `int float str bool time date`, as in `columns` beside it; "" for a type without an order here.
        low: No value is below; None when there is no bound. Times are µs since 1970, dates days since then.
        high: No value is above, NaN aside; None when there is no bound.
        nulls: Rows that lack a typed value.
    """

    kind: str
    low: Any
    high: Any
    nulls: int


def leaves(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    """Yield the dotted path and the values of every column that is no struct, in file order.

    A value below a missing struct counts as missing.
    """
    for name, column in zip(table.column_names, table.itercolumns(), strict=True):
        yield from _leaves(name, one_chunk(column))


def _leaves(path: str, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    if not pa.types.is_struct(array.type):
        yield path, array
        return
    for field, child in zip(array.type, array.flatten(), strict=True):
        yield from _leaves(f"{path}.{field.name}", child)


def column_stats(table: pa.Table) -> dict[str, ColumnStats]:
    """Return the statistics of each leaf column, `$id` and `$residual` aside."""
    return {path: _stats(array) for path, array in leaves(table) if path not in {ID_COLUMN, RESIDUAL_COLUMN}}


def _stats(array: pa.Array) -> ColumnStats:
    kind = _BOUNDED_KINDS.get(array.type, "")
    if not kind or array.null_count == len(array):
        return ColumnStats(kind, None, None, array.null_count)
    values = array
    if kind == "time":
        values = array.cast(pa.int64())
    elif kind == "date":
        values = array.cast(pa.int32())
    elif kind == "float":
        # NaN is neither below nor above anything; Arrow would let it hide the bounds or become one.
        values = array.filter(pc.invert(pc.is_nan(array)))
    bounds = pc.min_max(values).as_py()
    low, high = bounds["min"], bounds["max"]
    if kind == "str":
        low, high = low[:TEXT_CHARS_MAX], _text_above(high)
    return ColumnStats(kind, low, high, array.null_count)


def _text_above(text: str) -> str | None:
    """Return a text of bounded length that is not below `text`; None if there is none."""
    if len(text) <= TEXT_CHARS_MAX:
        return text
    head = text[: TEXT_CHARS_MAX - 1]
    last = ord(text[TEXT_CHARS_MAX - 1]) + 1
    # The surrogates between U+D7FF and U+E000 are no characters.
    last = 0xE000 if last == 0xD800 else last  # noqa: PLR2004 - explained above
    return head + chr(last) if last <= 0x10FFFF else None  # noqa: PLR2004 - the last code point


def to_wire(stats: Mapping[str, ColumnStats]) -> dict[str, list[Any]]:
    """Return plain lists by dotted path."""
    return {path: list(one) for path, one in stats.items()}


def from_wire(wire: Mapping[str, Any]) -> dict[str, ColumnStats]:
    """Rebuild what `to_wire` gave."""
    return {path: ColumnStats(*one) for path, one in wire.items()}


def group_stats(group: Any) -> dict[str, ColumnStats]:
    """Return the same statistics of one row group, from a PyArrow `RowGroupMetaData`."""
    found: dict[str, ColumnStats] = {}
    for number in range(group.num_columns):
        column = group.column(number)
        path, listed, _ = column.path_in_schema.partition(".list.element")
        statistics = column.statistics
        if path in {ID_COLUMN, RESIDUAL_COLUMN}:
            continue
        if listed or statistics is None or not statistics.has_null_count:
            # Lists count the nulls of elements, not of rows; -1 equals no number of rows.
            found[path] = ColumnStats("", None, None, -1)
        elif not statistics.has_min_max:
            found[path] = ColumnStats(_kind_of_parquet(statistics), None, None, statistics.null_count)
        else:
            low, high = _plain(statistics.min), _plain(statistics.max)
            found[path] = ColumnStats(_kind_of_parquet(statistics), low, high, statistics.null_count)
    return found


def file_stats(metadata: Any) -> dict[str, ColumnStats]:
    """Return what `column_stats` would, from the footer of a Parquet file (a PyArrow `FileMetaData`).

    Lists are the exception: their `nulls` is -1, for the writer counts the items without a value.
    """
    found: dict[str, ColumnStats] = {}
    rows = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        found = joined(found, rows, group_stats(group), group.num_rows)
        rows += group.num_rows
    return {path: _as_kept(one) for path, one in found.items()}


def _as_kept(one: ColumnStats) -> ColumnStats:
    if not one.kind:
        return ColumnStats("", None, None, one.nulls)
    if one.kind != "str" or one.low is None:
        return one
    return one._replace(low=one.low[:TEXT_CHARS_MAX], high=None if one.high is None else _text_above(one.high))


def joined(
    before: Mapping[str, ColumnStats], rows_before: int, added: Mapping[str, ColumnStats], rows_added: int
) -> dict[str, ColumnStats]:
    """Return the statistics of rows followed by others."""
    if not rows_before:
        return dict(added)
    return {path: _both(before[path], rows_before, one, rows_added) for path, one in added.items()}


def _both(one: ColumnStats, one_rows: int, other: ColumnStats, other_rows: int) -> ColumnStats:
    nulls = -1 if -1 in {one.nulls, other.nulls} else one.nulls + other.nulls
    if one.nulls == one_rows or other.nulls == other_rows:
        bounds = other if one.nulls == one_rows else one
        return bounds._replace(nulls=nulls)
    low = None if one.low is None or other.low is None else min(one.low, other.low)
    high = None if one.high is None or other.high is None else max(one.high, other.high)
    return ColumnStats(one.kind, low, high, nulls)


def _kind_of_parquet(statistics: Any) -> str:
    logical = statistics.logical_type.type
    physical = statistics.physical_type
    return _KIND_OF_LOGICAL.get(logical) or _KIND_OF_PHYSICAL.get(physical, "")


def _plain(bound: Any) -> Any:
    if isinstance(bound, datetime):
        return (bound - EPOCH) // timedelta(microseconds=1)
    return (bound - EPOCH.date()).days if isinstance(bound, date) else bound


_KIND_OF_LOGICAL = {"STRING": "str", "TIMESTAMP": "time", "DATE": "date"}
_KIND_OF_PHYSICAL = {"INT64": "int", "DOUBLE": "float", "BOOLEAN": "bool"}

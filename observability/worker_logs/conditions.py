"""What a filter asks of single columns, so that hours, row groups and rows that cannot pass are left out.

Only conditions that every passing row must meet are taken from a filter, and of those only comparisons of a column with
a value of its own type. All else is left to the predicate, which decides about every row that is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parquedb.documents.filters import And, Compare, Filter
from parquedb.observability.worker_logs.files import SCHEMA, hour_of
from parquedb.observability.worker_logs.rows import EVENT_TIME, NUMBER_COLUMNS, TEXT_COLUMNS, TIME_COLUMNS, micros_of

_OPERATORS: Final = frozenset({"eq", "in", "gt", "gte", "lt", "lte"})
_EXACT_MAX: Final = 2**53
_STATUS_MAX: Final = 2**31 - 1
_MASKS: Final[Mapping[str, Callable[[Any, Any], pa.BooleanArray]]] = {
    "eq": pc.equal,
    "gt": pc.greater,
    "gte": pc.greater_equal,
    "lt": pc.less,
    "lte": pc.less_equal,
}


@dataclass(frozen=True, slots=True)
class ColumnTest:
    """A comparison of one column.

    Attributes:
        column: Its name.
        op: One of `eq in gt gte lt lte`.
        values: For `in` any number, else one; moments as microseconds since 1970.
    """

    column: str
    op: str
    values: tuple[Any, ...]

    def may_pass(self, low: Any, high: Any) -> bool:
        """Whether a value from `low` to `high`, both inclusive, can pass."""
        if self.op in {"eq", "in"}:
            return any(low <= value <= high for value in self.values)
        value = self.values[0]
        if self.op in {"gt", "gte"}:
            return bool(high > value or (self.op == "gte" and high == value))
        return bool(low < value or (self.op == "lte" and low == value))

    def mask(self, table: pa.Table) -> pa.ChunkedArray:
        """Return which rows pass; null where they have no value."""
        column = table.column(self.column)
        if self.op == "in":
            return pc.is_in(column, value_set=pa.array(self.values, SCHEMA.field(self.column).type))
        value = self.values[0]
        if self.column in TIME_COLUMNS:
            value = pa.scalar(value, SCHEMA.field(self.column).type)
        return _MASKS[self.op](column, value)


def comparisons_of(tree: Filter) -> tuple[ColumnTest, ...]:
    """Return comparisons that every row which passes the filter passes too."""
    return tuple(_tests(tree))


def _tests(tree: Filter) -> Iterator[ColumnTest]:
    if isinstance(tree, And):
        for part in tree.parts:
            yield from _tests(part)
    elif isinstance(tree, Compare) and tree.op in _OPERATORS and len(tree.path) == 1:
        column = tree.path[0]
        values = [_in_column(column, value) for value in (tree.value if tree.op == "in" else (tree.value,))]
        if None not in values:
            yield ColumnTest(column, tree.op, tuple(values))


def _in_column(column: str, value: Any) -> Any:
    """Return a value as the column holds it; None where the comparison is for the predicate."""
    if column in TIME_COLUMNS:
        return micros_of(value) if type(value) is datetime else None
    if column in NUMBER_COLUMNS:
        if type(value) not in {int, float} or not math.isfinite(value):
            return None
        if column == "http_status":
            return int(value) if abs(value) <= _STATUS_MAX and value == int(value) else None
        return float(value) if abs(value) < _EXACT_MAX else None
    if column == "id" or (column in TEXT_COLUMNS and column != "attributes"):
        return value if type(value) is str and _is_text(value) else None
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def hours_of(tests: Iterable[ColumnTest]) -> tuple[int | None, int | None]:
    """Return the first and the last hour in which a row can pass; None is open."""
    first: int | None = None
    last: int | None = None
    for test in tests:
        if test.column != TIME_COLUMNS[EVENT_TIME]:
            continue
        if test.op in {"eq", "in", "gt", "gte"} and test.values:
            low = hour_of(min(test.values))
            first = low if first is None else max(first, low)
        if test.op in {"eq", "in", "lt", "lte"} and test.values:
            high = hour_of(max(test.values))
            last = high if last is None else min(last, high)
    return first, last


def group_may_pass(tests: Iterable[ColumnTest], group: pq.RowGroupMetaData) -> bool:
    """Whether a row of a row group can pass, by its statistics."""
    for test in tests:
        statistics = group.column(SCHEMA.get_field_index(test.column)).statistics
        if statistics is None or not statistics.has_min_max:
            continue
        low, high = statistics.min, statistics.max
        if test.column in TIME_COLUMNS:
            low, high = micros_of(low), micros_of(high)
        if low is not None and high is not None and not test.may_pass(low, high):
            return False
    return True


def passing(tests: Iterable[ColumnTest], table: pa.Table) -> pa.Table:
    """Return the rows that pass all tests."""
    masks = [test.mask(table) for test in tests]
    return table.filter(reduce(pc.and_, masks)) if masks else table

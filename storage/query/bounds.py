"""What one comparison asks of a typed column: values, an interval, NaN or nothing; in the column's own type.

Everything here is exact: an operand of another number type is moved to the nearest value that decides the same way,
so `{"$gt": 2.5}` on an int column becomes "at least 3", and a Decimal between two floats the float above it.

Source: `parquedb.documents.matching`, whose answers on single values these must equal.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from parquedb.documents.comparison import NUMBERS, is_nan
from parquedb.documents.type_names import INT_MAX, INT_MIN
from parquedb.storage.files.column_stats import ColumnStats
from parquedb.storage.files.columns import EPOCH, TYPE_OF_KIND
from parquedb.storage.files.residual import is_text
from parquedb.storage.query import decimal_bounds
from parquedb.storage.query.operator_masks import OPERATORS, names_of_kind

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_MICROSECOND = timedelta(microseconds=1)
_NOTHING = object()
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values of one column that pass a comparison.

    Attributes:
        points: Exactly these; None where `low` and `high` speak.
        low: From here; None: from the beginning.
        high: To here; None: to the end.
        low_open: `low` itself does not pass.
        high_open: `high` itself does not pass.
        nan: NaN passes.
        partial: Only some of these pass.
        unknown: It can't be said in the column's type; ask the documents.
    """

    points: tuple[Any, ...] | None = ()
    low: Any = None
    high: Any = None
    low_open: bool = False
    high_open: bool = False
    nan: bool = False
    partial: bool = False
    unknown: bool = False

    def reach(self, stats: ColumnStats) -> tuple[bool, bool]:
        """Return whether some, and whether every, value within the statistics can pass."""
        if self.unknown or self.nan or stats.low is None or stats.high is None:
            return self.unknown or self.nan or bool(self.points is None or self.points), False
        if self.points is not None:
            some = any(stats.low <= point <= stats.high for point in self.points)
            return some, some and stats.low == stats.high and stats.kind not in {"float", "str"}
        some = not (
            (self.low is not None and (stats.high < self.low or (self.low_open and stats.high == self.low)))
            or (self.high is not None and (stats.low > self.high or (self.high_open and stats.low == self.high)))
        )
        every = (
            (self.low is None or stats.low > self.low or (not self.low_open and stats.low == self.low))
            and (self.high is None or stats.high < self.high or (not self.high_open and stats.high == self.high))
            and stats.kind != "float"  # Statistics do not tell whether there is a NaN.
            and not self.partial
        )
        return some, every


NEVER = Wanted()
_NAN = Wanted(nan=True)
_UNKNOWN = Wanted(unknown=True)


def wanted(kind: str, op: str, operand: Any) -> Wanted:  # noqa: PLR0911 - one return per case
    """Return which values of a column of `kind` pass an operator other than `ne nin exists`, with its operand.

    Only statistics ask for other operators than `eq in gt gte lt lte`.
    """
    if op in OPERATORS:
        return _by_operator(kind, op, operand)
    if op == "eq":
        return _one_of(kind, (operand,))
    if op == "in":
        return _one_of(kind, operand)
    if operand is None:
        return NEVER
    if kind.startswith("decimal"):
        found = decimal_bounds.interval(kind, op, operand)
        return NEVER if found.low is None and found.high is None else Wanted(None, *found)
    if kind in {"int", "float"}:
        return _numbers(kind, op, operand) if type(operand) in NUMBERS else NEVER
    if not _has_kind(operand, kind):
        return NEVER
    if kind == "bool":
        return Wanted(tuple(value for value in (False, True) if _ORDER[op](value, operand)))
    if kind in {"bytes", "uuid"} or (kind == "str" and not is_text(operand)):
        return _UNKNOWN
    return _interval(op, _in_domain(kind, operand))


def _by_operator(kind: str, op: str, operand: Any) -> Wanted:  # noqa: PLR0911 - one return per case
    if op == "size":
        return NEVER
    if op == "type":
        names = operand & names_of_kind(kind)
        if kind == "int" and names == {"int"}:
            return Wanted(None, low=INT_MIN, high=INT_MAX)
        return Wanted(None, partial=kind == "int" and names == {"long"}) if names else NEVER
    if op == "mod":
        return _UNKNOWN if kind in {"int", "float"} or kind.startswith("decimal") else NEVER
    if kind != "str":
        return NEVER
    if op == "startsWith":
        return _beginning(operand) if is_text(operand) else NEVER
    return replace(_beginning(operand.prefix() if op == "regex" else ""), partial=True)


def _beginning(prefix: str) -> Wanted:
    """Return the texts that begin so."""
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return Wanted(None, low=prefix)
    # Behind all of them; it may end in a surrogate, since it is compared with statistics only.
    return Wanted(None, low=prefix, high=head[:-1] + chr(ord(head[-1]) + 1), high_open=True)


def _one_of(kind: str, operands: Iterable[Any]) -> Wanted:
    points = [point for operand in operands if (point := _in_domain(kind, operand)) is not _NOTHING]
    return Wanted(tuple(points), nan=kind == "float" and any(map(is_nan, operands)))


def _interval(op: str, bound: Any) -> Wanted:
    if op in {"gt", "gte"}:
        return Wanted(None, low=bound, low_open=op == "gt")
    return Wanted(None, high=bound, high_open=op == "lt")


def _in_domain(kind: str, operand: Any) -> Any:  # noqa: PLR0911 - one return per type
    """Return the operand as the column holds it; `_NOTHING` if no value of the column can equal it."""
    if kind.startswith("decimal"):
        value = decimal_bounds.point(kind, operand)
        return _NOTHING if value is None else value
    if kind in {"int", "float"}:
        if type(operand) not in NUMBERS or is_nan(operand):
            return _NOTHING
        return _as_int(operand) if kind == "int" else _as_float(operand)
    if not _has_kind(operand, kind):
        return _NOTHING
    if kind == "str":
        return operand if is_text(operand) else _NOTHING
    if isinstance(operand, datetime):
        return (operand - EPOCH) // _MICROSECOND
    if isinstance(operand, date):
        return (operand - EPOCH.date()).days
    return operand.bytes if isinstance(operand, UUID) else operand


def _has_kind(operand: Any, kind: str) -> bool:
    return type(operand) is TYPE_OF_KIND[kind]


def _as_int(operand: int | float | Decimal) -> Any:
    # The range is asked first: int() of Decimal("1E+999999") would take minutes.
    if not _INT_MIN <= operand <= _INT_MAX:
        return _NOTHING
    whole = int(operand)
    return whole if whole == operand else _NOTHING


def _nearest_float(operand: int | float | Decimal) -> float:
    try:
        return float(operand)
    except OverflowError:
        return math.inf if operand > 0 else -math.inf


def _as_float(operand: int | float | Decimal) -> Any:
    nearest = _nearest_float(operand)
    return nearest if nearest == operand else _NOTHING


def _numbers(kind: str, op: str, operand: int | float | Decimal) -> Wanted:
    if is_nan(operand):
        return _NAN if kind == "float" and op in {"gte", "lte"} else NEVER
    return _integers(op, operand) if kind == "int" else _floats(op, operand)


def _integers(op: str, operand: int | float | Decimal) -> Wanted:
    # Two past either end decides as any number beyond it does.
    whole = max(_INT_MIN - 2, min(_INT_MAX + 2, operand))
    if op in {"gt", "gte"}:
        low = math.floor(whole) + 1 if op == "gt" else math.ceil(whole)
        return NEVER if low > _INT_MAX else Wanted(None, low=max(low, _INT_MIN))
    high = math.ceil(whole) - 1 if op == "lt" else math.floor(whole)
    return NEVER if high < _INT_MIN else Wanted(None, high=min(high, _INT_MAX))


def _floats(op: str, operand: int | float | Decimal) -> Wanted:
    nearest = _nearest_float(operand)
    if op in {"gt", "gte"}:
        if nearest > operand or (op == "gte" and nearest == operand):
            return Wanted(None, low=nearest)
        return NEVER if nearest == math.inf else Wanted(None, low=math.nextafter(nearest, math.inf))
    if nearest < operand or (op == "lte" and nearest == operand):
        return Wanted(None, high=nearest)
    return NEVER if nearest == -math.inf else Wanted(None, high=math.nextafter(nearest, -math.inf))

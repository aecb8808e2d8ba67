"""The operators of expressions that take dates apart. All of them count in UTC; a `date` counts as its midnight.

Source: MongoDB manual, "Date Expression Operators".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from parquedb.documents.aggregation.functions import Function, is_null, wrong
from parquedb.errors import InvalidPipelineError

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Bins of more than one unit are counted from here.
_REFERENCE: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FIXED: Final = {
    "millisecond": timedelta(milliseconds=1),
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_BIN_MAX: Final = 1_000_000_000

_FORMATS: Final[dict[str, Callable[[datetime], str]]] = {
    "%Y": lambda at: f"{at.year:04d}",
    "%m": lambda at: f"{at.month:02d}",
    "%d": lambda at: f"{at.day:02d}",
    "%H": lambda at: f"{at.hour:02d}",
    "%M": lambda at: f"{at.minute:02d}",
    "%S": lambda at: f"{at.second:02d}",
    "%L": lambda at: f"{at.microsecond // 1000:03d}",
    "%j": lambda at: f"{at.timetuple().tm_yday:03d}",
    "%u": lambda at: str(at.isoweekday()),
    "%G": lambda at: f"{at.isocalendar().year:04d}",
    "%V": lambda at: f"{at.isocalendar().week:02d}",
    "%z": lambda _: "+0000",
    "%%": lambda _: "%",
}
_DEFAULT_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%LZ"


def _part(operator: str, work: Callable[[datetime], int]) -> Function:
    def apply(value: Any) -> Any:
        return None if is_null(value) else work(_instant(operator, value))

    return Function(1, 1, apply)


def _instant(operator: str, value: Any) -> datetime:
    if type(value) is datetime:
        return value
    if type(value) is date:
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise wrong(operator, "a datetime or date", value)


PARTS: Final[dict[str, Function]] = {
    "$year": _part("$year", lambda at: at.year),
    "$month": _part("$month", lambda at: at.month),
    "$dayOfMonth": _part("$dayOfMonth", lambda at: at.day),
    "$dayOfWeek": _part("$dayOfWeek", lambda at: at.isoweekday() % 7 + 1),
    "$dayOfYear": _part("$dayOfYear", lambda at: at.timetuple().tm_yday),
    "$hour": _part("$hour", lambda at: at.hour),
    "$minute": _part("$minute", lambda at: at.minute),
    "$second": _part("$second", lambda at: at.second),
    "$millisecond": _part("$millisecond", lambda at: at.microsecond // 1000),
}


def truncate(value: Any, unit: Any, size: Any = 1, week_start: Any = "sunday") -> Any:
    """Return the start of the bin that an instant lies in: `$dateTrunc`."""
    if size is None or any(map(is_null, (value, unit, week_start))):
        return None
    instant = _instant("$dateTrunc", value)
    if type(size) is not int or not 1 <= size <= _BIN_MAX:
        raise wrong("$dateTrunc", "a whole number from 1 as binSize", size)
    try:
        if unit in _MONTHS:
            return _month_bin(instant, size * _MONTHS[unit])
        if unit in _FIXED:
            start = _REFERENCE if unit != "week" else _REFERENCE + _to_weekday(week_start)
            width = _FIXED[unit] * size
            return start + (instant - start) // width * width
    except (OverflowError, ValueError):
        raise InvalidPipelineError("$dateTrunc: the bin begins before the year 1", operator="$dateTrunc") from None
    raise InvalidPipelineError(
        f"$dateTrunc: expected one of {', '.join([*_FIXED, *_MONTHS])} as unit, got {unit!r:.40}", operator="$dateTrunc"
    )


def _month_bin(instant: datetime, months: int) -> datetime:
    since = (instant.year - _REFERENCE.year) * 12 + instant.month - 1
    start = since // months * months
    return _REFERENCE.replace(year=_REFERENCE.year + start // 12, month=start % 12 + 1)


def _to_weekday(name: Any) -> timedelta:
    """Return how far the first such weekday on or after the reference is from it."""
    matching = [number for number, day in enumerate(_DAYS) if type(name) is str and name.lower() in {day, day[:3]}]
    if not matching:
        raise InvalidPipelineError(
            f"$dateTrunc: expected a weekday such as 'monday' as startOfWeek, got {name!r:.40}", operator="$dateTrunc"
        )
    return timedelta(days=(matching[0] - _REFERENCE.weekday()) % 7)


def to_text(value: Any, template: Any = _DEFAULT_FORMAT, on_null: Any = None) -> Any:
    """Return an instant as text: `$dateToString`."""
    if is_null(value):
        return on_null
    if type(template) is not str:
        raise wrong("$dateToString", "a text as format", template)
    instant = _instant("$dateToString", value)

    def part(found: re.Match[str]) -> str:
        make = _FORMATS.get(found.group())
        if make is None:
            raise InvalidPipelineError(
                f"$dateToString: expected one of {' '.join(_FORMATS)} in format, got {found.group()!r}",
                operator="$dateToString",
            )
        return make(instant)

    return re.sub("%.?", part, template, flags=re.DOTALL)

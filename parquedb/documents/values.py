"""Turn what a caller passes in into a document: plain values of exact types, copied, checked and bounded.

Everything behind this module may test types with `type(v) is ...`, because nothing else passes. A value is `None`,
`bool`, `int`, `float`, `str`, `bytes`, an aware UTC `datetime`, `date`, `Decimal`, `UUID`, a `list` of values or a
`dict` from `str` to values.

What is converted, since nothing is lost: a datetime to UTC (a naive one is read as UTC), subclasses of `datetime`,
`date` and `UUID` to the class itself, any `Mapping` to `dict`, `tuple` and subclasses of `list` to `list`. Everything
else is refused, subclasses of `str`, `int` and `float` too (enum members, `numpy.float64`, ...): they would come back
as another type than went in, and a type that changes in silence is found much later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID

from parquedb.errors import ValidationError

MANAGED_FIELDS = ("version", "createdAt", "createdBy", "updatedAt", "updatedBy", "deletedAt", "deletedBy")
"""Top-level fields that only the database writes."""

DOLLAR_FIELDS = ("$id", "$type")
"""The only top-level fields whose name may start with `$`."""

TEXT_FIELDS = ("$id", "$type", "name")
"""System fields that a caller may give, each a `str`."""

DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
DEPTH_MAX = 100

INT_BITS_MAX = 65_536
"""The most bits of an int: with longer ones a multiplication, or a comparison with a `Decimal`, takes seconds."""

EXPECTED = "one of None, bool, int, float, str, bytes, datetime, date, Decimal, UUID, list, dict"

# Every value is charged what a number takes in the encoded form.
_VALUE_BYTES = 9
_INT_MAX = 2**63 - 1
_SHORT = 1_000
_FREE = frozenset({NoneType, bool, float, date})
_STR_ONLY = frozenset({str})


def normalize(
    data: Mapping[str, Any], *, bytes_max: int = DOCUMENT_BYTES_MAX, depth_max: int = DEPTH_MAX
) -> dict[str, Any]:
    """Copy a document deeply, with exact types.

    Args:
        data: what the caller gave; never changed, and nothing mutable is shared with the result.
        bytes_max: bound of the estimated encoded size, inclusive, in bytes.
        depth_max: bound of nested containers, inclusive; the document itself is level 1.

    Raises:
        ValidationError: a type, a key or a size that cannot be stored; `field` is its path, such as `a.b[2]`.
    """
    return normalize_sized(data, bytes_max=bytes_max, depth_max=depth_max)[0]


def normalize_sized(
    data: Mapping[str, Any], *, bytes_max: int = DOCUMENT_BYTES_MAX, depth_max: int = DEPTH_MAX
) -> tuple[dict[str, Any], int]:
    """`normalize`, with the estimate of the encoded size in bytes that it makes on the way.

    The estimate charges every value 9 bytes plus its text; it lies between half the encoded size (many dates long ago)
    and nine times it (many nulls), and for usual documents 10 to 50 % above it.
    """
    if not isinstance(data, Mapping):
        raise ValidationError(field="document", expected="a mapping from str to values", actual=type_name(data))
    walk = _Walk(bytes_max, depth_max)
    try:
        result, names = walk.mapping(data, 1)
        if "\0$" in names or "\0\0" in names or names.endswith("\0"):
            _check_top_level_names(result)
        for field in TEXT_FIELDS:
            if field in result and type(result[field]) is not str:
                refuse("str", type_name(result[field]), field)
    except Refused as refused:
        raise refused.error("document") from None
    return result, bytes_max - walk.bytes_left


def normalize_value(
    value: Any, path: str = "", *, bytes_max: int = DOCUMENT_BYTES_MAX, depth_max: int = DEPTH_MAX
) -> Any:
    """Copy a single value deeply, with exact types; `path` names it in errors.

    Raises:
        ValidationError: as `normalize`, but for the rules about top-level names.
    """
    # Most values are short scalars, which need no walk.
    kind = type(value)
    if kind in _FREE or (kind is int and -_INT_MAX <= value <= _INT_MAX):
        return value
    if kind is str and len(value) < _SHORT and value.isascii():
        return value
    walk = _Walk(bytes_max, depth_max)
    try:
        return walk.sequence([value], 0)[0]
    except Refused as refused:
        del refused.steps[-1:]  # The step into the list that carried the value, where it came to one.
        if path:
            refused.steps.append(path)
        raise refused.error("value") from None


def type_name(value: Any) -> str:
    """The type of a value as its user would write it: `int`, `numpy.int64`, `decimal.Decimal`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Refused(Exception):  # noqa: N818 - private control flow, always turned into a ValidationError
    """A refusal on its way up; every container adds its step, so that the happy path builds no path strings."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected, actual)
        self.expected = expected
        self.actual = actual
        self.steps: list[str | int] = []

    def error(self, whole: str) -> ValidationError:
        """The error for the user; `whole` names the value when it is not inside another one."""
        path = ""
        for step in reversed(self.steps):
            path += f"[{step}]" if type(step) is int else f".{step}" if path else str(step)
        return ValidationError(field=path or whole, expected=self.expected, actual=self.actual)


def refuse(expected: str, actual: str, *steps: str | int) -> NoReturn:
    """Raise `Refused`."""
    refused = Refused(expected, actual)
    refused.steps.extend(steps)
    raise refused


class _Walk:
    """One pass over one value: copies, checks, and spends the byte budget as it goes.

    The budget is spent during the walk, not after: a list that contains another one ten times, ten levels deep, is
    small in memory and would be 10^10 values when copied.
    """

    __slots__ = ("bytes_left", "bytes_max", "depth_max")

    def __init__(self, bytes_max: int, depth_max: int) -> None:
        self.bytes_left = self.bytes_max = bytes_max
        self.depth_max = depth_max

    def mapping(self, source: Mapping[Any, Any], depth: int) -> tuple[dict[str, Any], str]:
        """The copy, and its keys joined, each with a NUL before it (a key cannot hold one)."""
        if depth > self.depth_max:
            refuse(f"at most {self.depth_max} levels of nesting", "deeper, or a cycle")
        result = dict(source)
        names = self._names(result)
        spent = _VALUE_BYTES * len(result) + len(names)
        key = ""
        try:
            for key, value in result.items():
                kind = type(value)
                if kind is str:
                    spent += len(value) if value.isascii() else _text_bytes(value)
                elif kind in _FREE:
                    pass
                elif kind is int:
                    if not -_INT_MAX <= value <= _INT_MAX:
                        spent += _long_int_bytes(value)
                elif kind is datetime and value.tzinfo is UTC:
                    pass
                else:
                    # Replacing the value of a present key is the one change that is safe during iteration.
                    result[key] = self._other(value, kind, depth)
        except Refused as refused:
            refused.steps.append(key)
            raise
        self._spend(spent)
        return result, names

    def sequence(self, source: Iterable[Any], depth: int) -> list[Any]:
        if depth > self.depth_max:
            refuse(f"at most {self.depth_max} levels of nesting", "deeper, or a cycle")
        result = list(source)
        spent = _VALUE_BYTES * len(result)
        if _FREE.issuperset(map(type, result)):
            self._spend(spent)
            return result
        index = 0
        try:
            for index, value in enumerate(result):
                kind = type(value)
                if kind is str:
                    spent += len(value) if value.isascii() else _text_bytes(value)
                elif kind is int:
                    if not -_INT_MAX <= value <= _INT_MAX:
                        spent += _long_int_bytes(value)
                elif kind not in _FREE and not (kind is datetime and value.tzinfo is UTC):
                    result[index] = self._other(value, kind, depth)
        except Refused as refused:
            refused.steps.append(index)
            raise
        self._spend(spent)
        return result

    def _spend(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            refuse(f"a document of at most {self.bytes_max:,} bytes", "a larger one")

    def _other(self, value: Any, kind: type, depth: int) -> Any:  # noqa: PLR0911 - one return per type
        """A value that the loops do not handle in line."""
        if kind is dict:
            return self.mapping(value, depth + 1)[0]
        if kind is list or kind is tuple:
            return self.sequence(value, depth + 1)
        if kind is bytes:
            self._spend(len(value))
            return value
        if kind is Decimal:
            return self._decimal(value)
        if isinstance(value, datetime):
            return _utc(value)
        if isinstance(value, UUID):
            self._spend(_VALUE_BYTES)
            return value if kind is UUID else UUID(int=value.int)
        if isinstance(value, date):
            return date(value.year, value.month, value.day)
        if isinstance(value, Mapping):
            return self.mapping(value, depth + 1)[0]
        if isinstance(value, list | tuple):
            return self.sequence(value, depth + 1)
        if isinstance(value, Enum):
            refuse(EXPECTED, f"{type_name(value)} (an Enum; store its .value)")
        refuse(EXPECTED, type_name(value))

    def _decimal(self, value: Decimal) -> Decimal:
        if value.is_snan():
            # It raises whenever it is compared, so one such value would break every filter and sort over its field.
            refuse("a Decimal that can be compared", "a signalling NaN")
        self._spend(len(value.as_tuple().digits))
        return value

    @staticmethod
    def _names(result: dict[Any, Any]) -> str:
        """Check the keys of one mapping, in a few calls for all of them together."""
        if not _STR_ONLY.issuperset(map(type, result)):
            key = next(key for key in result if type(key) is not str)
            refuse("str as a key", type_name(key), repr(key))
        names = "\0".join(result)
        if names.count("\0") >= len(result) > 0:
            refuse("a key without NUL", "one with NUL", next(key for key in result if "\0" in key))
        if not names.isascii():
            for key in result:
                _text_bytes(key, key)
        return f"\0{names}" if result else ""


def _check_top_level_names(result: dict[str, Any]) -> None:
    for key in result:
        if not key:
            refuse("a field name of at least one character", "an empty one", repr(key))
        if key[0] == "$" and key not in DOLLAR_FIELDS:
            refuse("a field name that does not start with '$' ($id and $type aside)", repr(key), key)


def _text_bytes(text: str, *steps: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        refuse("text that is valid Unicode", "a lone surrogate", *(ascii(step) for step in steps))


def _long_int_bytes(value: int) -> int:
    bits = value.bit_length()
    if bits > INT_BITS_MAX:
        refuse(f"an int of at most {INT_BITS_MAX:,} bits", f"one of {bits:,} bits")
    return bits >> 3


def _utc(value: datetime) -> datetime:
    """The same instant in UTC, as an exact `datetime`; a naive one is taken as UTC."""
    try:
        if type(value) is not datetime:
            value = _plain_datetime(value)
        return value.replace(tzinfo=UTC, fold=0) if value.utcoffset() is None else value.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, AttributeError):
        refuse("a datetime between the years 1 and 9999 in UTC", repr(value))


def _plain_datetime(value: datetime) -> datetime:
    """A datetime of the same wall time and zone as one of a subclass; pandas.NaT has none and fails."""
    plain = datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second,
        value.microsecond, value.tzinfo, fold=value.fold,
    )  # fmt: skip
    if getattr(value, "nanosecond", 0):
        refuse("a datetime of whole microseconds", f"{type_name(value)} with nanoseconds")
    return plain

"""Documents as JSON text and back, with every type: MongoDB's Extended JSON, relaxed, where that has a form.

    {"$date": "2026-01-02T03:04:05.000006Z"}           datetime, UTC
    {"$numberDecimal": "1.10"}                         Decimal
    {"$numberDouble": "NaN"}, "Infinity", "-Infinity"  what JSON numbers lack
    {"$binary": {"base64": "...", "subType": "00"}}    bytes
    {"$uuid": "3b241101-e2bb-4255-8caf-4136c566a962"}  UUID
    {"$day": "2026-01-02"}                             date
    {"$integer": "18446744073709551616"}               int beyond 64 bit
    {"$regularExpression": {"pattern": "^a", "options": "i"}}  a pattern, in filters and updates only
    {"$surrogates": "<hex of UTF-8>"}                  str with a lone surrogate
    {"$literal": {...}}                                a user's own object with one key that starts with `$`

The last four are ours. Reading also takes `$numberInt`, `$numberLong`, `$date` with `{"$numberLong": milliseconds}`,
and ints beyond 64 bit as plain digits.

Source: MongoDB Extended JSON (v2), relaxed format.
"""

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

import orjson

from parquedb.documents.long_ints import digits_of, int_of
from parquedb.documents.regex import Regex, ordered
from parquedb.documents.tagged_json import TaggedJson, is_text
from parquedb.errors import InvalidInputError

DEPTH_MAX: Final = 200
"""Levels of nesting that are read: tags add one to a document's own."""

_LITERAL: Final = "$literal"
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def dumps(value: Any) -> str:
    """Return the JSON text of a document, or of any value that documents hold.

    Raises:
        InvalidInputError: a value of another type.
    """
    return orjson.dumps(tagged(value)).decode()


def tagged(value: Any) -> Any:
    """Return the plain JSON data that `dumps` writes, to be put into other JSON; raises likewise."""
    try:
        return _FORMAT.tagged(value)
    except (TypeError, RecursionError) as error:
        raise InvalidInputError(f"not a document: {error}") from error


def untagged(data: Any) -> Any:
    """Return the value of JSON data that `tagged` gave.

    Raises:
        InvalidInputError: an unknown tag, or one around something else than it stands for.
    """
    return _read(data, _FORMAT.untagged)


def dumps_document(document: dict[str, Any]) -> str:
    """Return the JSON text of a document, for `loads_document`: as `dumps`, but never a tag as a whole."""
    if len(document) != 1:
        return dumps(document)
    ((name, value),) = document.items()
    return f"{{{orjson.dumps(name).decode()}:{dumps(value)}}}"


def loads(text: str | bytes) -> Any:
    """Return the value of a JSON text; plain JSON is its own value.

    Raises:
        InvalidInputError: not JSON, an unknown tag, or a tag around something else than it stands for.
    """
    return _loaded(text, _FORMAT.untagged)


def loads_document(text: str | bytes) -> dict[str, Any]:
    """Return the document of a JSON text; `{"$id": "a"}` is one, and no tag.

    Raises:
        InvalidInputError: as `loads`, or not an object.
    """
    return _loaded(text, _document)  # type: ignore[no-any-return]  # `_document` returns a dict.


def loads_request(text: str | bytes, *, depth_max: int = DEPTH_MAX) -> Any:
    """Return what a request says: filters, updates and documents as `dumps` writes them, or as people do.

    `{"age": {"$gte": 18}}` need not hide its operator in a `$literal`; values that JSON lacks still need their tags.

    Args:
        text: JSON.
        depth_max: Levels of nesting, at most `DEPTH_MAX`.

    Raises:
        InvalidInputError: not JSON, nested too deeply, or a tag around something else than it stands for.
    """
    return _loaded(text, _FORMAT.untagged_request, depth_max)


def _loaded(text: str | bytes, read: Callable[[Any], Any], depth_max: int = DEPTH_MAX) -> Any:
    def checked(text: str | bytes) -> Any:
        data = orjson.loads(text)
        # Of ints beyond 64 bit orjson makes floats: digits would be lost.
        return read(json.loads(text, parse_int=int_of) if _has_long_numbers([data], 0, depth_max) else data)

    return _read(text, checked)


def _read(given: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return read(given)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise InvalidInputError(f"not extended JSON: {error}") from error


def _document(data: Any) -> dict[str, Any]:
    if type(data) is not dict:
        raise ValueError(f"expected an object, got {type(data).__name__}")
    if len(data) == 1 and _LITERAL in data:
        data = data[_LITERAL]
    return {name: _FORMAT.untagged(value) for name, value in data.items()}


def _has_long_numbers(data: Any, depth: int, depth_max: int) -> bool:
    """Return whether there is a float so large that it may have been written as an int; refuse what is too deep."""
    if depth > depth_max:
        raise ValueError(f"more than {depth_max} levels of nesting")
    found = False
    for item in data.values() if type(data) is dict else data:
        kind = type(item)
        if kind is dict or kind is list:
            found |= _has_long_numbers(item, depth + 1, depth_max)
        elif kind is float and not _INT_MIN < item < _INT_MAX:
            found = True
    return found


def _float(value: float) -> Any:
    if math.isfinite(value):
        return value
    return {"$numberDouble": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


def _text(value: str) -> Any:
    return value if is_text(value) else {"$surrogates": value.encode("utf-8", "surrogatepass").hex()}


def _date(value: datetime) -> Any:
    return {"$date": value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}


def _read_date(given: Any) -> datetime:
    if isinstance(given, dict):
        return _EPOCH + timedelta(milliseconds=int_of(given["$numberLong"]))
    found = datetime.fromisoformat(given)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _read_float(given: Any) -> float:
    return _NOT_FINITE[given] if _said(given) in _NOT_FINITE else float(given)


def _read_decimal(given: Any) -> Decimal:
    try:
        return Decimal(_said(given))
    except InvalidOperation:
        raise ValueError(f"{given[:40]!r} is no number") from None


def _read_regex(given: Any) -> Regex:
    pattern, options = _FORMAT.untagged(given["pattern"]), given.get("options", "")
    if type(pattern) is not str or type(options) is not str:
        raise ValueError("expected a pattern and its options as text")
    return Regex(pattern, ordered(options))


def _said(given: Any) -> str:
    """Return the text of a tagged number; a bare one in its place could have lost digits before it was read."""
    if type(given) is not str:
        raise TypeError(f"expected a number as text, got {type(given).__name__}")
    return given


_FORMAT: Final = TaggedJson(
    {
        str: _text,
        int: lambda value: value if _INT_MIN <= value <= _INT_MAX else {"$integer": digits_of(value)},
        float: _float,
        datetime: _date,
        date: lambda value: {"$day": value.isoformat()},
        Decimal: lambda value: {"$numberDecimal": str(value)},
        bytes: lambda value: {"$binary": {"base64": b64encode(value).decode(), "subType": "00"}},
        UUID: lambda value: {"$uuid": str(value)},
        Regex: lambda value: {"$regularExpression": {"pattern": _text(value.pattern), "options": value.options}},
    },
    {
        "$date": _read_date,
        "$day": date.fromisoformat,
        "$numberDecimal": _read_decimal,
        "$numberDouble": _read_float,
        "$numberInt": int_of,
        "$numberLong": int_of,
        "$integer": int_of,
        "$binary": lambda given: b64decode(given["base64"], validate=True),
        "$uuid": UUID,
        "$regularExpression": _read_regex,
        "$surrogates": lambda digits: bytes.fromhex(digits).decode("utf-8", "surrogatepass"),
    },
    _LITERAL,
)

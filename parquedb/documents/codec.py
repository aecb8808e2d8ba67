"""Write values down as MessagePack and read them back exactly.

The format, for readers in other languages: plain MessagePack (nil, bool, int, float 64, str, bin, array, map with str
keys; datetimes as its timestamp type, Ext -1, always UTC), and these extension types for what MessagePack lacks:

| Ext | value                             | payload                                                           |
|-----|-----------------------------------|-------------------------------------------------------------------|
| 1   | an int outside -2**63 .. 2**64-1  | two's complement, big-endian, as few bytes as hold it             |
| 2   | Decimal                           | its digits as ASCII: `1.50`, `-0`, `1E+400`, `NaN`, `-Infinity`   |
| 3   | UUID                              | 16 bytes, big-endian                                              |
| 4   | date                              | days since 1970-01-01, 4 bytes, signed, big-endian                |
| 5   | str with a lone surrogate         | UTF-8 that lets surrogates through                                |
| 6   | Regex, in filters only            | its options, a `/`, its pattern, as UTF-8                         |

msgspec writes Decimal, UUID and date as plain strings, which would not come back as what they were, so they are
wrapped before. Most documents hold none of them: a test of the set of types (C speed) decides whether a copy is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

import msgspec

from parquedb.documents.regex import Regex
from parquedb.documents.values import EXPECTED, type_name
from parquedb.errors import CorruptionError, ValidationError

EXT_INT, EXT_DECIMAL, EXT_UUID, EXT_DATE, EXT_TEXT, EXT_REGEX = 1, 2, 3, 4, 5, 6

_EPOCH = date(1970, 1, 1)
_DATE_BYTES = 4
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1

# What msgspec writes exactly by itself, except for an int or a str that only the attempt can tell.
_NATIVE = frozenset({NoneType, bool, int, float, str, bytes, datetime, msgspec.msgpack.Ext, msgspec.Raw})
_NATIVE_OR_CONTAINER = _NATIVE | {list, tuple, dict}


def encode(value: Any) -> bytes:
    """The bytes of a value that `normalize` returned, or of lists and dicts of such.

    Datetimes must be aware (the caller's duty: checking each would cost more than the encoding).

    Raises:
        ValidationError: a type that is no value of a document, or a key that is no valid Unicode.
    """
    return encode_plain(value if is_plain(value) else wrap(value))


def is_plain(value: Any) -> bool:
    """Whether MessagePack holds a value as it is, but for an int or a str that only the attempt can tell."""
    kind = type(value)
    if kind is dict:
        return not _needs_wrapping(value.values())
    if kind is list or kind is tuple:
        return not _needs_wrapping(value)
    return kind in _NATIVE


def encode_plain(value: Any) -> bytes:
    """`encode` for a value whose parts the caller knows to be plain (`is_plain`), at half the cost.

    Raises:
        ValidationError: a key that is no valid Unicode.
    """
    try:
        return _encode(value)
    except (OverflowError, UnicodeEncodeError):
        pass
    # An int past 64 bits or a lone surrogate: rare enough to be found by failing.
    try:
        return _encode(wrap(value))
    except UnicodeEncodeError:
        raise ValidationError(field="document", expected="keys of valid Unicode", actual="a lone surrogate") from None
    except OverflowError:
        raise ValidationError(field="document", expected="keys of text", actual="an int") from None


def decode(data: bytes | bytearray | memoryview) -> Any:
    """The value that `encode` was given; tuples come back as lists.

    Raises:
        CorruptionError: the bytes are not what `encode` writes.
    """
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
        raise CorruptionError(f"these bytes are not an encoded value: {error}", reason=str(error)) from error


def measure(value: Any) -> int:
    """The encoded size in bytes, exactly, at the cost of encoding."""
    return len(encode(value))


def wrap(value: Any) -> Any:  # noqa: PLR0911 - one return per type
    """A copy in which everything MessagePack lacks is an `Ext`, ready for any msgspec encoder.

    Raises:
        ValidationError: a type that is no value of a document.
    """
    kind = type(value)
    if kind is dict:
        return {key: wrap(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [wrap(item) for item in value]
    if kind is int:
        return value if _INT_MIN <= value <= _INT_MAX else msgspec.msgpack.Ext(EXT_INT, _int_bytes(value))
    if kind is str:
        return value if value.isascii() else _wrap_text(value)
    if kind is Decimal:
        return msgspec.msgpack.Ext(EXT_DECIMAL, str(value).encode())
    if kind is UUID:
        return msgspec.msgpack.Ext(EXT_UUID, value.bytes)
    if kind is date:
        days = value.toordinal() - _EPOCH.toordinal()
        return msgspec.msgpack.Ext(EXT_DATE, days.to_bytes(_DATE_BYTES, "big", signed=True))
    if kind in _NATIVE:
        return value
    if kind is Regex:
        return msgspec.msgpack.Ext(EXT_REGEX, f"{value.options}/{value.pattern}".encode("utf-8", "surrogatepass"))
    raise ValidationError(field="document", expected=EXPECTED, actual=type_name(value))


def ext_hook(code: int, payload: memoryview) -> Any:
    """Read one extension; the `ext_hook` of any msgspec decoder that reads values.

    Raises:
        ValueError: an unknown code, or a payload that does not fit it.
    """
    if code == EXT_UUID:
        return UUID(bytes=bytes(payload))
    if code == EXT_DECIMAL:
        return Decimal(bytes(payload).decode("ascii"))
    if code == EXT_DATE:
        return _EPOCH + timedelta(days=int.from_bytes(payload, "big", signed=True))
    if code == EXT_INT:
        return int.from_bytes(payload, "big", signed=True)
    if code == EXT_TEXT:
        return bytes(payload).decode("utf-8", "surrogatepass")
    if code == EXT_REGEX:
        options, _, pattern = bytes(payload).decode("utf-8", "surrogatepass").partition("/")
        return Regex(pattern, options)
    raise ValueError(f"unknown extension type {code}")


def _needs_wrapping(values: Iterable[Any]) -> bool:
    kinds = set(map(type, values))
    if kinds <= _NATIVE:
        return False
    if not kinds <= _NATIVE_OR_CONTAINER:
        return True
    for value in values:
        kind = type(value)
        if kind is dict:
            if _needs_wrapping(value.values()):
                return True
        elif (kind is list or kind is tuple) and _needs_wrapping(value):
            return True
    return False


def _int_bytes(value: int) -> bytes:
    # One bit more than the magnitude, for the sign; a negative number's magnitude counts from -1.
    bits = (value if value >= 0 else ~value).bit_length()
    return value.to_bytes(bits // 8 + 1, "big", signed=True)


def _wrap_text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return msgspec.msgpack.Ext(EXT_TEXT, value.encode("utf-8", "surrogatepass"))
    return value


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ext_hook=ext_hook).decode

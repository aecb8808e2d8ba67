"""Text and JSON data from any object whatever, without ever raising."""

import math
import traceback
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

# Plenty for a message with a remote stack; a document of 16 MiB as a fact must not become a message.
_TEXT_CHARS_MAX = 20_000
_DEPTH_MAX = 32
# What every JSON library carries, orjson's 64 bits included.
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


def text_of(value: object) -> str:
    """Return `str(value)`, cut at 20 000 characters; a placeholder when the object refuses."""
    try:
        text = str.__str__(value) if isinstance(value, str) else str(value)
    except Exception:  # noqa: BLE001 - foreign code; the report of an error must not fail
        return f"<{qualified_name(type(value))}>"
    return _utf8(_cut(text))


def seconds_of(value: object) -> str:
    """Return `2.5 s` for 2.5."""
    return f"{value:g} s" if isinstance(value, int | float) else f"{text_of(value)} s"


def repr_of(value: object) -> str:
    """Return `repr(value)`, cut at 20 000 characters; a placeholder when the object refuses."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - foreign code; the report of an error must not fail
        return f"<{qualified_name(type(value))}>"
    return _utf8(_cut(text))


def qualified_name(cls: type) -> str:
    """Return `module.Class`, or `Class` for a builtin."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def stack_of(error: BaseException) -> str:
    """Return the formatted traceback of this error alone, without its causes."""
    try:
        return _utf8("".join(traceback.format_exception(error, chain=False)))
    except Exception:  # noqa: BLE001 - formatting calls the error's own code
        return text_of(error)


def jsonable(value: Any) -> Any:
    """Return `value` as JSON data.

    bytes become hex, dates ISO 8601, Decimal, UUID and paths their text, enum members their value, NaN, infinities and
    integers beyond 64 bits their text, sets and tuples lists; anything else its repr.
    """
    return _jsonable(value, ())


def _jsonable(value: Any, parents: tuple[int, ...]) -> Any:
    # Guarded at every level, so that one bad item does not cost its neighbours.
    try:
        return _converted(value, parents)
    except Exception:  # noqa: BLE001 - containers run foreign code; the report of an error must not fail
        return repr_of(value)


def _converted(value: Any, parents: tuple[int, ...]) -> Any:
    scalar = _scalar(value)
    if scalar is not _NO_SCALAR:
        return scalar
    if id(value) in parents or len(parents) >= _DEPTH_MAX:
        return "..."
    below = (*parents, id(value))
    if isinstance(value, Mapping):
        return {text_of(name): _jsonable(item, below) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item, below) for item in value]
    return repr_of(value)


_NO_SCALAR = object()


def _scalar(value: Any) -> Any:  # noqa: PLR0911 - one line per type reads best
    if value is None or value is True or value is False:
        return value
    if isinstance(value, Enum):
        return jsonable(value.value)
    if isinstance(value, int):
        number = int(value)
        return number if _INT_MIN <= number <= _INT_MAX else repr_of(number)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr_of(float(value))
    if isinstance(value, str):
        return _utf8(str.__str__(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID | PurePath | BaseException):
        return text_of(value)
    return _NO_SCALAR


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_CHARS_MAX else text[:_TEXT_CHARS_MAX] + "..."


def _utf8(text: str) -> str:
    # A lone surrogate cannot be sent as UTF-8.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

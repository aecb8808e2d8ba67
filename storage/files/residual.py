"""What typed columns cannot hold, as JSON: the `$residual` column.

A residual is the part of a document that did not fit, as a document of its own: merged deeply over the typed row it
gives the document back. JSON's own types stand for themselves; a one-key object tags the rest:

    {"$date": "2026-01-02T03:04:05+00:00"}  datetime     {"$bin": "<base64>"}   bytes
    {"$day": "2026-01-02"}                  date         {"$uuid": "<hex>"}     UUID
    {"$dec": "1.10"}                        Decimal      {"$int": "<decimal>"}  int beyond 64 bit
    {"$float": "nan"}                       nan, inf     {"$text": "<hex>"}     str with a lone surrogate
    {"$lit": {…}}                           a user's own one-key "$…" object
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from parquedb.documents.long_ints import digits_of, int_of
from parquedb.documents.tagged_json import TaggedJson, is_text

__all__ = ["decode", "encode", "is_text", "merge"]

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def encode(leftover: dict[str, Any]) -> str:
    """Return the JSON text of a document's leftover part."""
    return _FORMAT.dumps(leftover).decode()


def decode(text: str) -> dict[str, Any]:
    """Return the leftover part from its JSON text.

    Raises:
        ValueError: the text is not what `encode` writes.
    """
    leftover = _FORMAT.loads(text)
    if type(leftover) is not dict:
        raise ValueError("a residual must be a JSON object")
    return leftover


def merge(target: dict[str, Any], leftover: dict[str, Any]) -> None:
    """Lay `leftover` over `target`, in place; only a dict over a dict is merged, anything else replaces."""
    for name, value in leftover.items():
        below = target.get(name)
        if type(below) is dict and type(value) is dict:
            merge(below, value)
        else:
            target[name] = value


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    str: lambda value: value if is_text(value) else {"$text": value.encode("utf-8", "surrogatepass").hex()},
    int: lambda value: value if _INT_MIN <= value <= _INT_MAX else {"$int": digits_of(value)},
    float: lambda value: value if math.isfinite(value) else {"$float": repr(value)},
    datetime: lambda value: {"$date": value.isoformat()},
    date: lambda value: {"$day": value.isoformat()},
    Decimal: lambda value: {"$dec": str(value)},
    bytes: lambda value: {"$bin": b64encode(value).decode()},
    UUID: lambda value: {"$uuid": value.hex},
}

_READERS: Mapping[str, Callable[[str], Any]] = {
    "$date": datetime.fromisoformat,
    "$day": date.fromisoformat,
    "$dec": Decimal,
    "$bin": b64decode,
    "$uuid": UUID,
    "$int": int_of,
    "$float": float,
    "$text": lambda digits: bytes.fromhex(digits).decode("utf-8", "surrogatepass"),
}

_FORMAT = TaggedJson(_WRITERS, _READERS, "$lit")

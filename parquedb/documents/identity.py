"""When two values are one: hashable keys that are equal exactly where `comparison.equal` says so."""

from __future__ import annotations

from typing import Any, Final

from parquedb.documents.comparison import NUMBERS, bracket, is_nan

_NULL: Final = (0,)
_NAN: Final = (1,)


def identity(value: Any) -> Any:
    """Return a hashable key of a value: the same for 1, 1.0 and Decimal(1), and whatever the order of keys.

    A missing value has the key of null.
    """
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is dict:
        return bracket(value), frozenset((name, identity(item)) for name, item in value.items())
    if kind is list:
        return bracket(value), tuple(map(identity, value))
    if kind in NUMBERS:
        return _NAN if is_nan(value) else value
    rank = bracket(value)
    return (rank, value) if rank else _NULL

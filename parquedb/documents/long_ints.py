"""Ints as decimal digits, however long: Python refuses to convert more than 4 300, and a document may hold more."""

import re
from decimal import Decimal
from typing import Final

DIGITS_MAX: Final = 20_000
"""Digits that are read: some more than the longest int of a document has."""

_DIGITS: Final = re.compile(r"[-+]?[0-9]+")
_SHORT: Final = 10**18


def digits_of(value: int) -> str:
    """Return an int as decimal digits."""
    # The limit is there because `str` takes the square of the time; `Decimal` does not.
    return str(value) if -_SHORT < value < _SHORT else str(Decimal(value))


def int_of(digits: str) -> int:
    """Return the int that decimal digits stand for.

    Raises:
        ValueError: they are none, or too many.
    """
    if not isinstance(digits, str) or len(digits) > DIGITS_MAX or _DIGITS.fullmatch(digits) is None:
        raise ValueError(f"expected at most {DIGITS_MAX:,} decimal digits")
    return int(Decimal(digits))

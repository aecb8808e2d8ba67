"""Numbers as a typed column holds them, where another type than the column's is a number all the same.

An int in a float column, or a Decimal of fewer digits in a decimal column, is put there by its value, so that every
tool sees it, and into `$residual` by itself, so that the document comes back exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from typing import Any

from parquedb.storage.files.columns import DECIMAL_DIGITS_MAX, decimal_digits

_FLOAT_INT_MAX = 2**53
_CONTEXT = Context(prec=2 * DECIMAL_DIGITS_MAX)


def is_numeric(column: str) -> bool:
    """Whether a column takes numbers of other types than its own."""
    return column == "float" or column.startswith("decimal")


def as_held(column: str, values: Sequence[Any]) -> list[Any]:
    """Return each value as a numeric column holds it: the very object if exactly, another if nearly, None if not."""
    hold = _float if column == "float" else _decimal(*decimal_digits(column))
    return [hold(value) for value in values]


def _float(value: Any) -> float | None:
    if type(value) is float:
        return value
    return float(value) if type(value) is int and -_FLOAT_INT_MAX <= value <= _FLOAT_INT_MAX else None


def _decimal(precision: int, scale: int) -> Callable[[Any], Decimal | None]:
    step = Decimal((0, (1,), -scale))
    limit = Decimal((0, (9,) * precision, -scale))

    def hold(value: Any) -> Decimal | None:
        if type(value) is int:
            # Compared as it is: a Decimal of a huge int would take long to make.
            return Decimal(value).quantize(step, context=_CONTEXT) if -limit <= value <= limit else None
        if type(value) is not Decimal or not value.is_finite() or not -limit <= value <= limit:
            return None
        if value.as_tuple().exponent == -scale and (value or not value.is_signed()):
            return value
        held = value.quantize(step, context=_CONTEXT)
        return abs(held) if held == value and not held else held if held == value else None

    return hold

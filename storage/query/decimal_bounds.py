"""What one comparison asks of a decimal column: its values are the multiples of one step, up to a limit.

Exact like `bounds` beside it: an operand between two such values is moved to the one that decides the same way.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, NamedTuple

from parquedb.documents.comparison import NUMBERS, is_nan
from parquedb.storage.files.columns import decimal_digits

_CONTEXT = Context(prec=100)


class Range(NamedTuple):
    """An interval of column values, as in `bounds.Wanted`; both ends None for no value at all."""

    low: Decimal | None = None
    high: Decimal | None = None
    low_open: bool = False
    high_open: bool = False


def point(kind: str, operand: Any) -> Decimal | None:
    """Return the column's value that equals an operand; None if there is none."""
    if type(operand) not in NUMBERS or is_nan(operand):
        return None
    step, limit = _domain(kind)
    if not -limit <= operand <= limit:
        return None
    below = _rounded(operand, step, ROUND_FLOOR)
    return below if below == operand else None


def interval(kind: str, op: str, operand: Any) -> Range:
    """Return the column's values that are `gt gte lt lte` an operand."""
    if type(operand) not in NUMBERS or is_nan(operand):
        return Range()
    step, limit = _domain(kind)
    above = op in {"gt", "gte"}
    if not -limit <= operand <= limit:
        if above == (operand > 0):
            return Range()
        return Range(low=-limit) if above else Range(high=limit)
    if above:
        return Range(low=_rounded(operand, step, ROUND_FLOOR if op == "gt" else ROUND_CEILING), low_open=op == "gt")
    return Range(high=_rounded(operand, step, ROUND_CEILING if op == "lt" else ROUND_FLOOR), high_open=op == "lt")


def _domain(kind: str) -> tuple[Decimal, Decimal]:
    precision, scale = decimal_digits(kind)
    return Decimal((0, (1,), -scale)), Decimal((0, (9,) * precision, -scale))


def _rounded(operand: Any, step: Decimal, rounding: str) -> Decimal:
    return Decimal(operand).quantize(step, rounding=rounding, context=_CONTEXT)

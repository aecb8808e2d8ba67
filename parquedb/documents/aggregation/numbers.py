"""Arithmetic on the numbers of documents: int, float and Decimal mixed.

A Decimal with anything gives a Decimal (a float enters as the digits that print it), a float with an int gives a float.
"""

from __future__ import annotations

import math
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from parquedb.documents.comparison import NUMBERS
from parquedb.documents.values import INT_BITS_MAX
from parquedb.errors import InvalidPipelineError

# Sums keep every digit that a document is likely to have; quotients those of MongoDB's decimal128.
_EXACT: Final = Context(prec=1_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_QUOTIENT: Final = Context(prec=34, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])


def is_number(value: Any) -> bool:
    """Whether a value is a number; True is none."""
    return type(value) in NUMBERS


def plus(a: Any, b: Any) -> Any:
    """Return the sum."""
    if type(a) is Decimal or type(b) is Decimal:
        return _EXACT.add(_decimal(a), _decimal(b))
    if type(a) is float or type(b) is float:
        return _float(a) + _float(b)
    return _bounded(a + b)


def minus(a: Any, b: Any) -> Any:
    """Return the difference."""
    if type(b) is Decimal:
        return plus(a, b.copy_negate())
    return plus(a, -b)


def times(a: Any, b: Any) -> Any:
    """Return the product."""
    if type(a) is Decimal or type(b) is Decimal:
        return _EXACT.multiply(_decimal(a), _decimal(b))
    if type(a) is float or type(b) is float:
        return _float(a) * _float(b)
    # Asked before, for the product of two long ones takes its time, and it has at most one bit less.
    if a.bit_length() + b.bit_length() > INT_BITS_MAX + 1:
        raise _too_long()
    return _bounded(a * b)


def quotient(a: Any, b: Any) -> Any:
    """Return the quotient: a float for two ints.

    Raises:
        InvalidPipelineError: the divisor is zero.
    """
    if b == 0:
        raise InvalidPipelineError("cannot divide by zero")
    if type(a) is Decimal or type(b) is Decimal:
        return _QUOTIENT.divide(_decimal(a), _decimal(b))
    try:
        return a / b
    except OverflowError:
        return _float(a) / _float(b)


def remainder(a: Any, b: Any) -> Any:
    """Return the remainder, with the sign of the dividend.

    Raises:
        InvalidPipelineError: the divisor is zero.
    """
    if b == 0:
        raise InvalidPipelineError("cannot divide by zero")
    if type(a) is Decimal or type(b) is Decimal:
        return _EXACT.remainder(_decimal(a), _decimal(b))
    if type(a) is float or type(b) is float:
        left = _float(a)
        return math.nan if math.isinf(left) else math.fmod(left, _float(b))
    rest = abs(_bounded(a)) % abs(_bounded(b))
    return rest if a >= 0 else -rest


def rounded(value: Any, places: int, how: str = ROUND_HALF_EVEN) -> Any:
    """Return a number rounded to decimal places, in its own type; exactly between two, the even one is taken."""
    if type(value) is int:
        return value if places >= 0 else int(_rounded(_decimal(value), places, how))
    if type(value) is Decimal:
        return _rounded(value, places, how)
    return float(_rounded(Decimal(repr(value)), places, how)) if math.isfinite(value) else value


def ceiling(value: Any) -> Any:
    """Return the least whole number that is not below, in the number's own type."""
    return rounded(value, 0, ROUND_CEILING)


def floor(value: Any) -> Any:
    """Return the greatest whole number that is not above, in the number's own type."""
    return rounded(value, 0, ROUND_FLOOR)


class Total:
    """A running sum that loses no precision to the order of its parts: ints exactly, floats compensated.

    Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", 1974.
    """

    __slots__ = ("_compensation", "_decimals", "_floats", "_ints", "_kinds", "count")

    def __init__(self) -> None:
        self._ints = 0
        self._floats = 0.0
        self._compensation = 0.0
        self._decimals = Decimal(0)
        self._kinds: set[type] = set()
        self.count = 0
        """How many numbers it is the sum of."""

    def add(self, value: Any) -> None:
        """Add a number; anything else is passed over."""
        kind = type(value)
        if kind is int:
            self._ints = _bounded(self._ints + value)
        elif kind is float:
            total = self._floats + value
            larger, smaller = (self._floats, value) if abs(self._floats) >= abs(value) else (value, self._floats)
            self._compensation += (larger - total) + smaller
            self._floats = total
        elif kind is Decimal:
            self._decimals = _EXACT.add(self._decimals, value)
        else:
            return
        self._kinds.add(kind)
        self.count += 1

    def sum(self) -> Any:
        """Return the sum: 0 of nothing."""
        floats = self._floats + self._compensation if math.isfinite(self._compensation) else self._floats
        if Decimal in self._kinds:
            total = plus(self._decimals, self._ints)
            return plus(total, floats) if float in self._kinds else total
        return plus(floats, self._ints) if float in self._kinds else self._ints

    def mean(self) -> Any:
        """Return the average; None of nothing."""
        return quotient(self.sum(), self.count) if self.count else None


def _rounded(value: Decimal, places: int, how: str) -> Decimal:
    if not value.is_finite() or int(value.as_tuple().exponent) >= -places:
        return value  # It has no digit behind that place.
    return value.quantize(Decimal((0, (1,), -places)), rounding=how, context=_EXACT)


def _decimal(value: Any) -> Decimal:
    if type(value) is float:
        return Decimal(repr(value))
    # Turning a long int into a Decimal takes longer than multiplying it.
    return value if type(value) is Decimal else Decimal(_bounded(value))


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _bounded(value: int) -> int:
    if value.bit_length() > INT_BITS_MAX:
        raise _too_long()
    return value


def _too_long() -> InvalidPipelineError:
    return InvalidPipelineError(f"an int of more than {INT_BITS_MAX:,} bits")

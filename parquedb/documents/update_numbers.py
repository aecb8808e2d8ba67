"""Update operators on single values: `$inc $mul $min $max $bit $currentDate`.

Source: MongoDB manual, "Field Update Operators" and "Bitwise Update Operator".
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact
from functools import partial
from typing import Any, Final

from parquedb.documents.comparison import MISSING, NUMBERS, compare
from parquedb.documents.paths import Path
from parquedb.documents.update_errors import wrong_operand, wrong_value
from parquedb.documents.update_tree import Change
from parquedb.documents.values import INT_BITS_MAX, TEXT_FIELDS, normalize_value, type_name
from parquedb.errors import InvalidUpdateError

DECIMAL_DIGITS_MAX = 1_000
"""The most digits that a result in Decimal keeps; a longer one is refused, never rounded."""

# Exact or refused: a result that would be rounded raises Inexact.
_EXACT = Context(prec=DECIMAL_DIGITS_MAX, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])
_BITS: Final[dict[str, Callable[[int, int], int]]] = {
    "and": int.__and__,
    "or": int.__or__,
    "xor": int.__xor__,
}
_SHORT_INT: Final = f"an int of at most {INT_BITS_MAX} bits"


def arithmetic(op: str, text: str, path: Path, operand: Any) -> tuple[Any, Change]:
    """`$inc` and `$mul`: exact in ints and Decimals; a missing field counts as 0."""
    if type(operand) not in NUMBERS:
        raise wrong_operand(op, text, "a number", type_name(operand))
    if path[0] in TEXT_FIELDS:
        raise holds_text(op, text, path, "a number")
    amount = normalize_value(operand, text)
    return amount, partial(combined, op, text, amount)


def combined(op: str, text: str, amount: Any, old: Any) -> Any:
    """Return what `$inc` or `$mul` by a number makes of the value at a path.

    Raises:
        InvalidUpdateError: that is no number, or the result could not be kept exactly.
    """
    if old is MISSING:
        return amount if op == "$inc" else type(amount)(0)
    if type(old) not in NUMBERS:
        raise wrong_value(op, text, "a number", old)
    apply, result = (_sum, "sum") if op == "$inc" else (_product, "product")
    try:
        return apply(old, amount)
    except _TooLongError:
        raise _inexact(op, text, result, _SHORT_INT, f"an int of more than {INT_BITS_MAX} bits") from None
    except Inexact:
        expected = f"at most {DECIMAL_DIGITS_MAX:,} digits"
        raise _inexact(op, text, result, expected, "too many digits") from None
    except OverflowError:
        raise _inexact(op, text, result, "an int that fits a float", "an int too large for a float") from None


def extreme(op: str, text: str, operand: Any, depth: int) -> tuple[Any, Change]:
    """`$min` and `$max`, by the order of all values (`comparison.compare`); a missing field takes the value."""
    value = normalize_value(operand, text, depth_max=depth)
    return value, partial(further, op, value)


def further(op: str, value: Any, old: Any) -> Any:
    """Return what `$min` or `$max` with a value makes of the one at a path."""
    sign = -1 if op == "$min" else 1
    return value if old is MISSING or compare(value, old) * sign > 0 else old


def bit(text: str, operand: Any) -> tuple[Any, Change]:
    """`$bit`: `{"and": int}`, `or`, `xor`, one after the other; a missing field counts as 0."""
    if not isinstance(operand, dict) or not operand or not operand.keys() <= _BITS.keys():
        expected = "a dict such as {'and': 5}, {'or': 5} or {'xor': 5}"
        actual = "another dict" if isinstance(operand, dict) else type_name(operand)
        raise wrong_operand("$bit", text, expected, actual)
    for number in operand.values():
        if type(number) is not int or number.bit_length() > INT_BITS_MAX:
            actual = "a longer one" if type(number) is int else type_name(number)
            raise wrong_operand("$bit", text, f"ints of at most {INT_BITS_MAX} bits", actual)
    steps = [(_BITS[name], number) for name, number in operand.items()]

    def change(old: Any) -> int:
        result = 0 if old is MISSING else old
        if type(result) is not int:
            raise wrong_value("$bit", text, "an int", old)
        if result.bit_length() > INT_BITS_MAX:
            raise _inexact("$bit", text, "result", _SHORT_INT, f"an int of more than {INT_BITS_MAX} bits")
        for combine, number in steps:
            result = combine(result, number)
        return result

    return dict(operand), change


def current_date(text: str, operand: Any) -> Any:
    """Check what `$currentDate` is given: True, or `{"$type": "date"}` or `"timestamp"`, all of which mean a datetime.

    Returns:
        The operand.
    """
    if operand is True:
        return True
    if operand in ({"$type": "date"}, {"$type": "timestamp"}):
        return dict(operand)
    expected = "True, {'$type': 'date'} or {'$type': 'timestamp'}"
    raise wrong_operand("$currentDate", text, expected, type_name(operand))


def holds_text(op: str, text: str, path: Path, actual: str) -> InvalidUpdateError:
    """Return the error for a system field that would become what it cannot be."""
    return InvalidUpdateError(
        f"{op} {text!r}: {path[0]!r} holds a str, not {actual}", operator=op, path=text, expected="a str", actual=actual
    )


class _TooLongError(Exception):
    """An int is or would be longer than arithmetic takes."""


def _inexact(op: str, text: str, result: str, expected: str, actual: str) -> InvalidUpdateError:
    message = f"cannot apply {op} to {text!r}: the {result} cannot be kept exactly ({actual})"
    return InvalidUpdateError(message, operator=op, path=text, expected=expected, actual=actual)


def _sum(a: Any, b: Any) -> Any:
    """Add two numbers: Decimal with anything gives Decimal, float with int gives float."""
    if type(a) is Decimal or type(b) is Decimal:
        return _EXACT.add(_decimal(a), _decimal(b))
    result = a + b
    if type(result) is int and result.bit_length() > INT_BITS_MAX:
        raise _TooLongError
    return result


def _product(a: Any, b: Any) -> Any:
    """Multiply two numbers, of types as `_sum`."""
    if type(a) is Decimal or type(b) is Decimal:
        return _EXACT.multiply(_decimal(a), _decimal(b))
    # Asked before, for the product of two long ones takes its time, and it has at most one bit less.
    if type(a) is int and type(b) is int and a.bit_length() + b.bit_length() > INT_BITS_MAX + 1:
        raise _TooLongError
    result = a * b
    if type(result) is int and result.bit_length() > INT_BITS_MAX:
        raise _TooLongError
    return result


def _decimal(value: Any) -> Decimal:
    # A float enters as the digits that print it: 0.1 is Decimal('0.1'), not the 55 digits of its binary value.
    if type(value) is float:
        return Decimal(repr(value))
    # Turning a long int into a Decimal takes longer than multiplying it.
    if type(value) is int and value.bit_length() > INT_BITS_MAX:
        raise _TooLongError
    return Decimal(value)

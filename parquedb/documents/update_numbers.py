"""Update operators on single values: `$inc $mul $min $max $bit $currentDate`.

Source: MongoDB manual, "Field Update Operators" and "Bitwise Update Operator".
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact
from typing import Any, Final

from parquedb.documents.comparison import MISSING, NUMBERS, compare
from parquedb.documents.paths import Path
from parquedb.documents.values import TEXT_FIELDS, normalize_value, type_name
from parquedb.errors import InvalidUpdateError

DECIMAL_DIGITS_MAX = 1_000
"""The most digits that a result in Decimal keeps; a longer one is refused, never rounded."""

Change = Callable[[Any], Any]
"""From the old value to the new one; `MISSING` stands for no value on both sides."""

# Exact or refused: a result that would be rounded raises Inexact.
_EXACT = Context(prec=DECIMAL_DIGITS_MAX, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])
_BITS: Final[dict[str, Callable[[int, int], int]]] = {
    "and": int.__and__,
    "or": int.__or__,
    "xor": int.__xor__,
}
_BIT_LENGTH_MAX = 1 << 16


def arithmetic(op: str, text: str, path: Path, operand: Any) -> tuple[Any, Change]:
    """`$inc` and `$mul`: exact in ints and Decimals; a missing field counts as 0."""
    if type(operand) not in NUMBERS:
        raise InvalidUpdateError(f"{op} {text!r} expects a number, not {type_name(operand)}", operator=op, path=text)
    if path[0] in TEXT_FIELDS:
        raise InvalidUpdateError(f"{op} {text!r}: {path[0]!r} holds a str, not a number", operator=op, path=text)
    amount = normalize_value(operand, text)
    apply, result = (_sum, "sum") if op == "$inc" else (_product, "product")

    def change(old: Any) -> Any:
        if old is MISSING:
            return amount if op == "$inc" else type(amount)(0)
        if type(old) not in NUMBERS:
            raise InvalidUpdateError(
                f"cannot apply {op} to {text!r}, which holds {type_name(old)}, not a number", operator=op, path=text
            )
        try:
            return apply(old, amount)
        except (Inexact, OverflowError) as error:
            reason = "an int too large for a float" if isinstance(error, OverflowError) else "too many digits"
            message = f"cannot apply {op} to {text!r}: the {result} cannot be kept exactly ({reason})"
            raise InvalidUpdateError(message, operator=op, path=text) from None

    return amount, change


def extreme(op: str, text: str, operand: Any, depth: int) -> tuple[Any, Change]:
    """`$min` and `$max`, by the order of all values (`comparison.compare`); a missing field takes the value."""
    value = normalize_value(operand, text, depth_max=depth)
    sign = -1 if op == "$min" else 1

    def change(old: Any) -> Any:
        return value if old is MISSING or compare(value, old) * sign > 0 else old

    return value, change


def bit(text: str, operand: Any) -> tuple[Any, Change]:
    """`$bit`: `{"and": int}`, `or`, `xor`, one after the other; a missing field counts as 0."""
    if not isinstance(operand, dict) or not operand or not operand.keys() <= _BITS.keys():
        expected = "a dict such as {'and': 5}, {'or': 5} or {'xor': 5}"
        raise InvalidUpdateError(f"$bit {text!r} expects {expected}", operator="$bit", path=text)
    for number in operand.values():
        if type(number) is not int or number.bit_length() > _BIT_LENGTH_MAX:
            message = f"$bit {text!r} expects ints of at most {_BIT_LENGTH_MAX} bits, not {type_name(number)}"
            raise InvalidUpdateError(message, operator="$bit", path=text)
    steps = [(_BITS[name], number) for name, number in operand.items()]

    def change(old: Any) -> int:
        result = 0 if old is MISSING else old
        if type(result) is not int:
            message = f"cannot apply $bit to {text!r}, which holds {type_name(old)}, not an int"
            raise InvalidUpdateError(message, operator="$bit", path=text)
        for combine, number in steps:
            result = combine(result, number)
        return result

    return dict(operand), change


def current_date(text: str, operand: Any) -> Any:
    """Check what `$currentDate` is given: True, or `{"$type": "date"}` or `"timestamp"`, all of which mean a datetime.

    Returns:
        The operand.
    """
    if operand is True or operand in ({"$type": "date"}, {"$type": "timestamp"}):
        return operand
    expected = "True, {'$type': 'date'} or {'$type': 'timestamp'}"
    raise InvalidUpdateError(
        f"$currentDate {text!r} expects {expected}, not {type_name(operand)}", operator="$currentDate", path=text
    )


def _sum(a: Any, b: Any) -> Any:
    """Add two numbers: Decimal with anything gives Decimal, float with int gives float."""
    if type(a) is Decimal or type(b) is Decimal:
        return _EXACT.add(_decimal(a), _decimal(b))
    return a + b


def _product(a: Any, b: Any) -> Any:
    """Multiply two numbers, of types as `_sum`."""
    if type(a) is Decimal or type(b) is Decimal:
        return _EXACT.multiply(_decimal(a), _decimal(b))
    return a * b


def _decimal(value: Any) -> Decimal:
    # A float enters as the digits that print it: 0.1 is Decimal('0.1'), not the 55 digits of its binary value.
    return Decimal(repr(value)) if type(value) is float else Decimal(value)

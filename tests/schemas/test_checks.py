"""Numbers of any size against the limits of a schema: decided exactly and at once, and refused by our own error."""

import random
import time
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

import pytest
from pydantic import Field as Said

from parquedb.errors import ValidationError
from parquedb.schemas.checks import Violation, compile_type, digits_of
from parquedb.schemas.notation import parse_fields
from parquedb.schemas.pydantic_models import _type


def accepts(annotation: Any, value: object) -> bool:
    check = compile_type(_type(annotation, "v", ()), strict=False)
    if type(value) in check.free:
        return True
    try:
        check.test(value)
    except Violation:
        return False
    return True


def by(step: object) -> Any:
    return Annotated[type(step), Said(multiple_of=step)]


@pytest.mark.parametrize(
    ("value", "step", "fits"),
    [
        (Decimal("1E+30"), Decimal("0.01"), True),
        (Decimal("1E+999999999999"), Decimal("0.01"), True),
        (Decimal("1E+999999999999"), Decimal(3), False),
        (Decimal("1E-999999999999"), Decimal("0.01"), False),
        (Decimal("0E-999999999999"), Decimal("0.01"), True),
        (Decimal("1" + "0" * 40 + "1"), Decimal(5), False),
        (10**40 + 5, Decimal(5), True),
        (10**5000, 0.1, True),
        (0.3, 0.1, True),
        (0.35, 0.1, False),
        (-15, 5, True),
        (10**5000 + 1, 5, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_number_of_any_size_is_a_multiple_or_not(value: object, step: object, fits: bool) -> None:
    assert accepts(by(step), value) is fits


def test_multiples_of_decimals_are_those_of_fractions() -> None:
    rng = random.Random(7)
    for _ in range(5_000):
        value = Decimal(rng.randrange(-(10**6), 10**6)).scaleb(rng.randrange(-6, 6))
        step = Decimal(rng.choice([1, 2, 3, 5, 7, 25, 50, 125])).scaleb(rng.randrange(-4, 4))
        fits = (Fraction(value) / Fraction(step)).denominator == 1
        assert accepts(by(step), value) is fits, (value, step)


@pytest.mark.parametrize(
    ("value", "digits"),
    [("1.500", (2, 1)), ("0.00", (1, 1)), ("100", (3, 0)), ("1E+5", (6, 0)), ("0.010", (2, 2)),
     ("1." + "0" * 300_000, (1, 0))],
    ids=lambda value: str(value)[:10],
)  # fmt: skip
def test_digits_are_counted_without_the_zeros_at_the_end_and_in_linear_time(
    value: str, digits: tuple[int, int]
) -> None:
    number = Decimal(value)
    started_s = time.thread_time()
    assert digits_of(number) == digits
    assert time.thread_time() - started_s < 1


def test_fields_nested_too_deeply_are_refused_by_our_own_error() -> None:
    nested: Any = "string"
    for _ in range(5_000):
        nested = {"a": nested}
    with pytest.raises(ValidationError, match="at most 32 levels"):
        parse_fields({"v": nested})


def test_a_long_text_of_a_relationship_is_refused_in_linear_time() -> None:
    started_s = time.thread_time()
    with pytest.raises(ValidationError, match="a relationship"):
        parse_fields({"a": "-> A" + " " * 100_000 + "x"})
    assert time.thread_time() - started_s < 1

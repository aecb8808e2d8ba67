"""Schemas compiled into checks: closures that return when a value is what its type asks for, and raise otherwise.

Most values pass by their Python type alone, so every check comes with the types that need no further look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from types import NoneType
from typing import Annotated, Any, Final, NoReturn
from uuid import UUID

from pydantic import StringConstraints, TypeAdapter
from pydantic import ValidationError as PatternMissed

from parquedb.documents.values import Refused, type_name
from parquedb.errors import ErrorCode, ValidationError
from parquedb.schemas.model import FieldType
from parquedb.schemas.words import UNITS, describe, shown

PYTHON_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "string": frozenset({str}),
    "int": frozenset({int}),
    # An int where a float or decimal is declared stays the int it is.
    "float": frozenset({float, int}),
    "decimal": frozenset({Decimal, int}),
    "bool": frozenset({bool}),
    "date": frozenset({date}),
    "datetime": frozenset({datetime}),
    "uuid": frozenset({UUID}),
    "bytes": frozenset({bytes}),
    "object": frozenset({dict}),
    "map": frozenset({dict}),
    "list": frozenset({list}),
}
EMAIL_CHARS_MAX: Final = 320
_FLOAT_TOLERANCE: Final = 1e-9
_COMPARES: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    # Written so that NaN, which is neither above nor below, passes no bound.
    "ge": lambda value, bound: bool(value >= bound),
    "gt": lambda value, bound: bool(value > bound),
    "le": lambda value, bound: bool(value <= bound),
    "lt": lambda value, bound: bool(value < bound),
}

Test = Callable[[Any], None]


class Violation(Refused):
    """A value that its schema refuses, on its way up to the document; see `Refused`."""

    def __init__(self, expected: str, actual: str, code: ErrorCode = ErrorCode.VALIDATION_FAILED) -> None:
        super().__init__(expected, actual)
        self.code = code

    def error(self, whole: str) -> ValidationError:
        """Return the error for the user; `whole` names the value when it is not inside another one."""
        plain = super().error(whole)
        return ValidationError(field=plain.field, expected=self.expected, actual=self.actual, code=self.code)


@dataclass(frozen=True, slots=True)
class Check:
    """One type, compiled.

    Attributes:
        free: Python types of values that pass without a further look.
        test: Returns if any other value passes, raises `Violation` if not.
        words: What is expected.
    """

    free: frozenset[type]
    test: Test
    words: str


class _Missing:
    """The type of `MISSING`, so that a field that is not there can be told by its type like any other."""


MISSING: Final = _Missing()


def compile_type(type_: FieldType, *, strict: bool) -> Check:
    """Compile the check of a type.

    Args:
        type_: The type.
        strict: Every object refuses fields that are not declared.
    """
    words = describe(type_)
    none = frozenset({NoneType}) if type_.nullable else frozenset[type]()
    if type_.kind == "json":
        return Check(frozenset({NoneType}), _anything, words)
    if type_.kind == "relation":
        return Check(none, _relation(type_, words), words)
    if type_.kind == "enum":
        return Check(none, _enum(type_, words), words)
    types = PYTHON_TYPES[type_.kind]
    tests = _tests(type_, strict=strict)
    if not tests:
        return Check(types | none, _refusing(words), words)

    def test(value: Any) -> None:
        if type(value) not in types:
            wrong_type(words, value)
        for one in tests:
            one(value)

    return Check(none, test, words)


def wrong_type(words: str, value: Any) -> NoReturn:
    """Refuse a value by its type.

    Raises:
        Violation: always.
    """
    raise Violation(words, "null" if value is None else type_name(value), ErrorCode.INVALID_TYPE)


def compile_object(type_: FieldType, *, strict: bool, beside: frozenset[str] = frozenset()) -> Callable[[Any], None]:
    """Compile the check of the fields of a dict.

    Args:
        type_: Of kind `object`.
        strict: Refuse fields that are not declared, here and below.
        beside: Fields that are not declared and never refused.
    """
    rows = []
    for field in type_.fields:
        check = compile_type(field.type, strict=strict)
        free = check.free if field.required else check.free | {_Missing}
        rows.append((field.name, free, check.test, check.words))
    known = beside | {field.name for field in type_.fields} if strict or type_.closed else None

    def test(value: Any) -> None:
        get = value.get
        for name, free, look, words in rows:
            item = get(name, MISSING)
            if type(item) in free:
                continue
            try:
                if item is MISSING:
                    raise Violation(words, "nothing", ErrorCode.REQUIRED_FIELD)  # noqa: TRY301 - one place adds steps
                look(item)
            except Violation as violation:
                violation.steps.append(name)
                raise
        if known is not None and not known.issuperset(value):
            name = next(name for name in value if name not in known)
            unknown = Violation("no field of this name", type_name(value[name]))
            unknown.steps.append(name)
            raise unknown

    return test


def _tests(type_: FieldType, *, strict: bool) -> list[Test]:
    """Return what a value of the right Python type still has to pass."""
    tests: list[Test] = []
    if type_.kind == "decimal":
        tests.append(_digits(type_))
    if type_.finite:
        tests.append(_finite)
    if type_.min_length is not None or type_.max_length is not None:
        tests.append(_length(type_))
    for bound, compare in _COMPARES.items():
        if getattr(type_, bound) is not None:
            tests.append(_bound(type_, bound, compare))
    if type_.multiple_of is not None:
        tests.append(_multiple(type_))
    if type_.pattern is not None:
        tests.append(_pattern(type_.pattern))
    if type_.format is not None:
        tests.append(_FORMATS[type_.format])
    if type_.item is not None:
        item = compile_type(type_.item, strict=strict)
        if type_.item.kind != "json":
            tests.append(_items(item) if type_.kind == "list" else _entries(item))
    if type_.kind == "object" and (type_.fields or type_.closed or strict):
        tests.append(compile_object(type_, strict=strict))
    return tests


def _items(item: Check) -> Test:
    free, look = item.free, item.test

    def test(value: Any) -> None:
        if free.issuperset(map(type, value)):
            return
        for index, one in enumerate(value):
            if type(one) not in free:
                try:
                    look(one)
                except Violation as violation:
                    violation.steps.append(index)
                    raise

    return test


def _entries(item: Check) -> Test:
    free, look = item.free, item.test

    def test(value: Any) -> None:
        for name, one in value.items():
            if type(one) not in free:
                try:
                    look(one)
                except Violation as violation:
                    violation.steps.append(name)
                    raise

    return test


def _anything(_value: Any) -> None:
    return


def _refusing(words: str) -> Test:
    def test(value: Any) -> None:
        wrong_type(words, value)

    return test


def _enum(type_: FieldType, words: str) -> Test:
    # By type first: True equals 1, and what cannot be hashed must not be looked up.
    by_type: dict[type, set[Any]] = {}
    for value in type_.values:
        by_type.setdefault(type(value), set()).add(value)

    def test(value: Any) -> None:
        allowed = by_type.get(type(value))
        if allowed is None:
            wrong_type(words, value)
        if value not in allowed:
            raise Violation(words, shown(value, "another value"))

    return test


def _relation(type_: FieldType, words: str) -> Test:
    many = type_.relation is not None and type_.relation.many

    def test(value: Any) -> None:
        kind = type(value)
        if kind is str:
            return
        # A dict maps the name to show of each linked document to its id.
        items = value.values() if kind is dict else value if kind is list and many else None
        if items is None:
            wrong_type(words, value)
        for step, item in value.items() if kind is dict else enumerate(value):
            if type(item) is not str:
                violation = Violation("the id of a document", type_name(item), ErrorCode.INVALID_TYPE)
                violation.steps.append(step)
                raise violation

    return test


def _digits(type_: FieldType) -> Test:
    precision, scale, words = type_.precision, type_.scale, describe(type_)
    whole_max = None if precision is None else precision - (scale or 0)

    def test(value: Any) -> None:
        if type(value) is int:
            if whole_max is not None and abs(value) >= 10**whole_max:
                raise Violation(words, "an int of more digits", ErrorCode.INVALID_FORMAT)
            return
        if not value.is_finite():
            raise Violation(words, str(value), ErrorCode.INVALID_FORMAT)
        digits, behind = digits_of(value)
        too_many = precision is not None and digits > precision
        too_many |= scale is not None and behind > scale
        if too_many or (whole_max is not None and digits - behind > whole_max):
            raise Violation(words, shown(value, "more digits"), ErrorCode.INVALID_FORMAT)

    return test


def digits_of(value: Decimal) -> tuple[int, int]:
    """Return the digits of a finite Decimal, and how many of them stand behind the point; zeros at its end aside."""
    _, digits, exponent = value.as_tuple()
    count, places = len(digits), -int(exponent)
    if places <= 0:
        return count - places, 0
    zeros = next((behind for behind, digit in enumerate(reversed(digits)) if digit), count)
    cut = min(zeros, places)
    return max(count - cut, places - cut), places - cut


def _finite(value: Any) -> None:
    if value - value != 0:
        raise Violation("a finite number", str(value))


def _length(type_: FieldType) -> Test:
    low, high, words, unit = type_.min_length or 0, type_.max_length, describe(type_), UNITS[type_.kind]

    def test(value: Any) -> None:
        if len(value) < low or (high is not None and len(value) > high):
            raise Violation(words, f"{len(value)} {unit}")

    return test


def _bound(type_: FieldType, bound: str, compare: Callable[[Any, Any], bool]) -> Test:
    limit, words = getattr(type_, bound), describe(type_)

    def test(value: Any) -> None:
        if not compare(value, limit):
            raise Violation(words, shown(value, type_name(value)))

    return test


def _multiple(type_: FieldType) -> Test:
    step, words = type_.multiple_of, describe(type_)

    def test(value: Any) -> None:
        if type(value) is float or type(step) is float:
            fits = _nearly_multiple(value, step)
        elif type(value) is Decimal or type(step) is Decimal:
            fits = _exact_multiple(Decimal(value), Decimal(step))
        else:
            fits = not value % step
        if not fits:
            raise Violation(words, shown(value, type_name(value)))

    return test


def _nearly_multiple(value: float, step: float) -> bool:
    """As pydantic: what rounding alone explains is no remainder."""
    try:
        rest, tolerance = abs(value % step), abs(value) * _FLOAT_TOLERANCE
    except OverflowError:  # An int beyond all floats: its rounding explains any remainder.
        return True
    return not (rest > tolerance and abs(rest - step) > tolerance)


def _exact_multiple(value: Decimal, step: Decimal) -> bool:
    """Decide without `%`, which takes no quotient of more than 28 digits; for any exponents in little time."""
    (_, digits, exponent), (_, step_digits, step_exponent) = value.as_tuple(), step.as_tuple()
    whole, unit = int(Decimal((0, digits, 0))), int(Decimal((0, step_digits, 0)))
    shift = int(exponent) - int(step_exponent)
    if shift >= 0:
        return whole * pow(10, shift, unit) % unit == 0
    # The value has digits behind those of the step; more of them than it has digits are not all zeros.
    return not whole or (-shift <= len(digits) and whole % (unit * 10**-shift) == 0)


def _pattern(pattern: str) -> Test:
    matches = TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)]).validator.validate_python

    def test(value: Any) -> None:
        try:
            matches(value)
        except PatternMissed:
            raise Violation(f"string matching {pattern!r}", "another string", ErrorCode.INVALID_FORMAT) from None

    return test


def _email(value: Any) -> None:
    name, at, domain = value.rpartition("@")
    good = at and name and "@" not in name and "." in domain.strip(".") and len(value) <= EMAIL_CHARS_MAX
    if not good or domain != domain.strip(".") or not value.isprintable() or " " in value:
        raise Violation("email address", "another string", ErrorCode.INVALID_FORMAT)


def _url(value: Any) -> None:
    scheme, colon, rest = value.partition("://")
    good = colon and rest.strip("/") and scheme[:1].isalpha() and scheme.isascii()
    if not good or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum() or " " in value:
        raise Violation("URL", "another string", ErrorCode.INVALID_FORMAT)


_FORMATS: Final[Mapping[str, Test]] = {"email": _email, "url": _url}

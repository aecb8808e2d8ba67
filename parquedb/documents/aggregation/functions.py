"""The operators of expressions that are plain functions of their operands.

An operand that is null or missing usually makes the result null; one of the wrong type is refused by name. `MISSING`
stands for no value. Source: MongoDB manual, "Aggregation Operators".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from parquedb.documents.aggregation import numbers
from parquedb.documents.aggregation.numbers import Total, is_number
from parquedb.documents.comparison import MISSING, compare, equal
from parquedb.documents.sorting import order_key
from parquedb.documents.values import type_name
from parquedb.errors import InvalidPipelineError

ANY: Final = 1_000
_MS: Final = timedelta(milliseconds=1)
_PLACES: Final = range(-20, 101)


class Function(NamedTuple):
    """An operator: how many operands it takes, at least and at most, and what it makes of them."""

    low: int
    high: int
    apply: Callable[..., Any]


def is_null(value: Any) -> bool:
    """Whether a value is null or missing."""
    return value is None or value is MISSING


def truth(value: Any) -> bool:
    """Whether a condition holds: null, missing, False and zero do not; empty texts and arrays do."""
    return not (is_null(value) or value is False or (is_number(value) and value == 0))


def ordered(a: Any, b: Any) -> int:
    """Compare as expressions do: missing comes before null."""
    if a is MISSING or b is MISSING:
        return int(b is MISSING) - int(a is MISSING)
    return compare(a, b)


def wrong(operator: str, expected: str, actual: Any) -> InvalidPipelineError:
    """Return the refusal of an operand."""
    got = "a missing value" if actual is MISSING else type_name(actual)
    return InvalidPipelineError(f"{operator}: expected {expected}, got {got}", operator=operator)


def _arithmetic(operator: str, work: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        if any(map(is_null, values)):
            return None
        for value in values:
            if not is_number(value):
                raise wrong(operator, "numbers", value)
        result = values[0] if values else None
        for value in values[1:]:
            result = work(result, value)
        return result

    return apply


def _unary(operator: str, work: Callable[[Any], Any]) -> Callable[..., Any]:
    def apply(value: Any) -> Any:
        if is_null(value):
            return None
        if not is_number(value):
            raise wrong(operator, "a number", value)
        return work(value)

    return apply


def _add(*values: Any) -> Any:
    if any(map(is_null, values)):
        return None
    instants = [value for value in values if type(value) is datetime]
    if len(instants) > 1:
        raise wrong("$add", "at most one datetime", instants[1])
    result: Any = 0
    for value in values:
        if type(value) is not datetime:
            if not is_number(value):
                raise wrong("$add", "numbers, or a datetime and milliseconds", value)
            result = numbers.plus(result, value)
    return _moved("$add", instants[0], result) if instants else result


def _subtract(a: Any, b: Any) -> Any:
    if is_null(a) or is_null(b):
        return None
    if type(a) is datetime:
        if type(b) is datetime:
            return (a - b) // _MS
        if is_number(b):
            return _moved("$subtract", a, numbers.minus(0, b))
    for value in (a, b):
        if not is_number(value):
            raise wrong("$subtract", "numbers or datetimes", value)
    return numbers.minus(a, b)


def _moved(operator: str, instant: datetime, milliseconds: Any) -> datetime:
    try:
        return instant + timedelta(milliseconds=float(milliseconds))
    except (OverflowError, ValueError):
        raise InvalidPipelineError(
            f"{operator}: expected a datetime between the years 1 and 9999", operator=operator
        ) from None


def _round(value: Any, places: Any = 0) -> Any:
    if is_null(value) or is_null(places):
        return None
    if not is_number(value):
        raise wrong("$round", "a number", value)
    if type(places) is not int or places not in _PLACES:
        raise wrong("$round", "an int from -20 to 100 as the place", places)
    return numbers.rounded(value, places)


def _concat(*texts: Any) -> Any:
    for text in texts:
        if not is_null(text) and type(text) is not str:
            raise wrong("$concat", "texts", text)
    return None if any(map(is_null, texts)) else "".join(texts)


def _text(operator: str, work: Callable[[str], Any], null: Any) -> Callable[..., Any]:
    def apply(value: Any) -> Any:
        if is_null(value):
            if null is MISSING:
                raise wrong(operator, "a text", value)
            return null
        if type(value) is not str:
            raise wrong(operator, "a text", value)
        return work(value)

    return apply


def _substring(text: Any, start: Any, length: Any) -> str:
    for number in (start, length):
        if type(number) is not int or number < 0:
            raise wrong("$substrCP", "whole numbers from 0 as start and length", number)
    if is_null(text):
        return ""
    if type(text) is not str:
        raise wrong("$substrCP", "a text", text)
    return text[start : start + length]


def _split(text: Any, separator: Any) -> Any:
    if is_null(text) or is_null(separator):
        return None
    if type(text) is not str or type(separator) is not str or not separator:
        raise wrong("$split", "a text and a separator that is not empty", text if type(text) is not str else separator)
    return text.split(separator)


def _compared(holds: Callable[[int], bool]) -> Callable[..., Any]:
    return lambda a, b: holds(ordered(a, b))


def _equal(a: Any, b: Any) -> bool:
    return a is b if a is MISSING or b is MISSING else equal(a, b)


def _list_of(operator: str, value: Any) -> list[Any]:
    if type(value) is not list:
        raise wrong(operator, "a list", value)
    return value


def _in(value: Any, array: Any) -> bool:
    return any(_equal(value, item) for item in _list_of("$in", array))


def _element(array: Any, index: Any) -> Any:
    if is_null(array) or is_null(index):
        return None
    items = _list_of("$arrayElemAt", array)
    if type(index) is not int:
        raise wrong("$arrayElemAt", "an int as the index", index)
    return items[index] if -len(items) <= index < len(items) else MISSING


def _end(operator: str, index: int) -> Callable[..., Any]:
    def apply(array: Any) -> Any:
        if is_null(array):
            return None
        items = _list_of(operator, array)
        return items[index] if items else MISSING

    return apply


def _concat_arrays(*arrays: Any) -> Any:
    if any(map(is_null, arrays)):
        return None
    return [item for array in arrays for item in _list_of("$concatArrays", array)]


def _merge(*documents: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for document in documents:
        if is_null(document):
            continue
        if type(document) is not dict:
            raise wrong("$mergeObjects", "dicts", document)
        result |= document
    return result


def _parts(values: tuple[Any, ...]) -> Any:
    """A single operand that is a list stands for its elements."""
    return values[0] if len(values) == 1 and type(values[0]) is list else values


def _total(finish: Callable[[Total], Any]) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        total = Total()
        for value in _parts(values):
            total.add(value)
        return finish(total)

    return apply


def _best(choose: Any) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        return choose((value for value in _parts(values) if not is_null(value)), key=order_key, default=None)

    return apply


FUNCTIONS: Final[dict[str, Function]] = {
    "$add": Function(0, ANY, _add),
    "$subtract": Function(2, 2, _subtract),
    "$multiply": Function(1, ANY, _arithmetic("$multiply", numbers.times)),
    "$divide": Function(2, 2, _arithmetic("$divide", numbers.quotient)),
    "$mod": Function(2, 2, _arithmetic("$mod", numbers.remainder)),
    "$abs": Function(
        1, 1, _unary("$abs", lambda value: value.copy_abs() if hasattr(value, "copy_abs") else abs(value))
    ),
    "$ceil": Function(1, 1, _unary("$ceil", numbers.ceiling)),
    "$floor": Function(1, 1, _unary("$floor", numbers.floor)),
    "$round": Function(1, 2, _round),
    "$concat": Function(0, ANY, _concat),
    "$toUpper": Function(1, 1, _text("$toUpper", str.upper, "")),
    "$toLower": Function(1, 1, _text("$toLower", str.lower, "")),
    "$strLenCP": Function(1, 1, _text("$strLenCP", len, MISSING)),
    "$substrCP": Function(3, 3, _substring),
    "$split": Function(2, 2, _split),
    "$cmp": Function(2, 2, lambda a, b: (ordered(a, b) > 0) - (ordered(a, b) < 0)),
    "$eq": Function(2, 2, _equal),
    "$ne": Function(2, 2, lambda a, b: not _equal(a, b)),
    "$gt": Function(2, 2, _compared(lambda order: order > 0)),
    "$gte": Function(2, 2, _compared(lambda order: order >= 0)),
    "$lt": Function(2, 2, _compared(lambda order: order < 0)),
    "$lte": Function(2, 2, _compared(lambda order: order <= 0)),
    "$not": Function(1, 1, lambda value: not truth(value)),
    "$size": Function(1, 1, lambda array: len(_list_of("$size", array))),
    "$isArray": Function(1, 1, lambda value: type(value) is list),
    "$in": Function(2, 2, _in),
    "$arrayElemAt": Function(2, 2, _element),
    "$first": Function(1, 1, _end("$first", 0)),
    "$last": Function(1, 1, _end("$last", -1)),
    "$concatArrays": Function(0, ANY, _concat_arrays),
    "$mergeObjects": Function(0, ANY, _merge),
    "$sum": Function(0, ANY, _total(Total.sum)),
    "$avg": Function(0, ANY, _total(Total.mean)),
    "$min": Function(0, ANY, _best(min)),
    "$max": Function(0, ANY, _best(max)),
}

"""Columns of anybody's Arrow data as columns of ours, without making Python values of them.

    theirs                                            ours
    int8 to int64, uint8 to uint64                    int64; a column with values past it goes row by row
    halffloat, float, double                          double
    string, large_string, string_view                 string
    binary, large_binary, binary_view, fixed size     binary
    arrow.uuid                                        binary(16), a UUID
    bool                                              bool
    timestamp of any unit and zone                    timestamp[us, UTC]; without a zone it is taken as UTC
    date32, date64                                    date32
    decimal up to 38 digits                           decimal128 of the same digits
    dictionary, run-end encoded                       what they encode
    struct                                            struct; a null in it is a missing field
    list of one of the above, without nulls in it     list

Lists of lists, of structs, of decimals or with nulls in them, and decimals of more digits, have no typed column of
their own: such a column goes row by row (`None` below) through `parquedb.storage.files.shred`, which keeps values
exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.errors import ValidationError
from parquedb.storage.files.columns import DECIMAL_DIGITS_MAX, EPOCH, TIME_TYPE, Column, kind_of_type

EXPECTED = (
    "integers, floats, strings, booleans, binary, UUIDs, timestamps, dates, decimals, or structs and lists of these"
)
_INT64_MAX = 2**63 - 1
_US_PER_DAY = 86_400_000_000
_DAYS = ((date.min - EPOCH.date()).days, (date.max - EPOCH.date()).days)
_MICROSECONDS = (_DAYS[0] * _US_PER_DAY, (_DAYS[1] + 1) * _US_PER_DAY - 1)
_YEARS = f"a time from {date.min.year} to {date.max.year} in whole microseconds"


def typed(path: str, array: pa.Array) -> pa.Array | None:
    """Return a column in the type that ours has; None where it has to go row by row.

    Args:
        path: Dotted path of the column, for errors.
        array: At least one value in it is not null.

    Raises:
        ValidationError: documents cannot hold values of its type, or one of its values.
    """
    array = _decoded(array)
    kind = array.type
    if isinstance(kind, pa.UuidType):
        return array.storage
    for fits, convert in _CONVERSIONS:
        if fits(kind):
            return convert(path, array)
    raise ValidationError(field=path, expected=EXPECTED, actual=f"a column of type {kind}")


def column_of(kind: pa.DataType) -> Column:
    """Return what the registry calls a type that `typed` returns."""
    if pa.types.is_struct(kind):
        return {field.name: column_of(field.type) for field in kind}
    if pa.types.is_list(kind):
        return f"list<{kind_of_type(kind.value_type)}>"
    return kind_of_type(kind)


def _decoded(array: pa.Array) -> pa.Array:
    """Return the values of an encoded column as such."""
    if pa.types.is_dictionary(array.type):
        return _decoded(array.dictionary_decode())
    if pa.types.is_run_end_encoded(array.type):
        return _decoded(pc.run_end_decode(array))
    return array


def _integers(_path: str, array: pa.Array) -> pa.Array | None:
    if array.type == pa.uint64() and (pc.max(array).as_py() or 0) > _INT64_MAX:
        return None
    return array.cast(pa.int64())


def _cast_to(wanted: pa.DataType) -> Callable[[str, pa.Array], pa.Array]:
    return lambda _path, array: array if array.type == wanted else array.cast(wanted)


def _times(path: str, array: pa.Array) -> pa.Array:
    try:
        counts = array.cast(pa.timestamp("us", array.type.tz)).view(pa.int64())
    except pa.ArrowInvalid:
        actual = f"a column of type {array.type} with others"
        raise ValidationError(field=path, expected=_YEARS, actual=actual) from None
    _check_range(path, counts, _MICROSECONDS, array.type)
    return counts.view(TIME_TYPE)


def _dates(path: str, array: pa.Array) -> pa.Array:
    try:
        days = array.cast(pa.date32())
    except pa.ArrowInvalid:
        raise ValidationError(
            field=path, expected="whole days", actual=f"a column of type {array.type} with times of day"
        ) from None
    _check_range(path, days.view(pa.int32()), _DAYS, array.type)
    return days


def _check_range(path: str, counts: pa.Array, bounds: tuple[int, int], kind: pa.DataType) -> None:
    found = pc.min_max(counts).as_py()
    if found["min"] is not None and not bounds[0] <= found["min"] <= found["max"] <= bounds[1]:
        raise ValidationError(field=path, expected=_YEARS, actual=f"a column of type {kind} with others")


def _decimals(_path: str, array: pa.Array) -> pa.Array | None:
    precision, scale = array.type.precision, array.type.scale
    if precision > DECIMAL_DIGITS_MAX or scale < 0:
        return None
    return array.cast(pa.decimal128(precision, scale))


def _structs(path: str, array: pa.Array) -> pa.Array | None:
    children: dict[str, pa.Array] = {}
    for field, child in zip(array.type, array.flatten(), strict=True):
        if field.name in children:
            raise ValidationError(field=path, expected="distinct field names", actual=f"{field.name!r} twice")
        if child.null_count == len(child):
            continue
        column = typed(f"{path}.{field.name}", child)
        if column is None:
            return None
        children[field.name] = column
    if not children:
        return None
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(list(children.values()), list(children), mask=mask)


def _lists(path: str, array: pa.Array) -> pa.Array | None:
    items = array.flatten()
    if items.null_count:
        return None
    if len(items):
        column = typed(path, items)
        if column is None or pa.types.is_nested(column.type) or pa.types.is_decimal(column.type):
            return None
    elif pa.types.is_nested(items.type) or pa.types.is_decimal(items.type) or pa.types.is_null(items.type):
        return None
    else:
        column = _empty_like(path, items)
        if column is None:
            return None
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False), out=offsets[1:])
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), column, mask=mask)


def _empty_like(path: str, items: pa.Array) -> pa.Array | None:
    """Return no items, in the type that ours have: `typed` asks for a value."""
    one = typed(path, pa.array([None], _decoded(items).type))
    return None if one is None else one.slice(0, 0)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    # Values of 16 bytes that are not said to be UUIDs are bytes like others.
    plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return bool(plain or pa.types.is_fixed_size_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    plain = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(views or plain)


_CONVERSIONS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str, pa.Array], pa.Array | None]], ...] = (
    (pa.types.is_boolean, _cast_to(pa.bool_())),
    (pa.types.is_integer, _integers),
    (pa.types.is_floating, _cast_to(pa.float64())),
    (_is_text, _cast_to(pa.string())),
    (_is_bytes, _cast_to(pa.binary())),
    (pa.types.is_timestamp, _times),
    (pa.types.is_date, _dates),
    (pa.types.is_decimal, _decimals),
    (pa.types.is_struct, _structs),
    (_is_list, _lists),
)

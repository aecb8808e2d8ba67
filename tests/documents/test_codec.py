"""The written form of values: exact both ways, and readable by others."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.documents.codec import decode, encode, measure
from parquedb.errors import CorruptionError, ValidationError

Ext = msgspec.msgpack.Ext


def exact(value: Any) -> Any:
    """A form that is equal only for the same types, signs, digits and NaNs."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return type(value), repr(value)


texts = st.text(st.characters())  # Surrogates too.
keys = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**71 - 1, -(2**71)]),
    st.floats(),
    texts,
    st.binary(),
    st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0)),  # UTC has no folds.
    st.dates(),
    st.decimals(),
    st.uuids(),
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


@given(values)
def test_every_value_comes_back_exactly(value: Any) -> None:
    back = decode(encode(value))

    assert exact(back) == exact(value)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        5e-324,
        Decimal("1.50"),
        Decimal("-0E+7"),
        Decimal("1E-999999"),
        Decimal("-Infinity"),
        Decimal("NaN123"),
        Decimal("sNaN"),
        Decimal("9" * 200),
        date.min,
        date.max,
        date(1969, 12, 31),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "\ud800\0\U0010ffff",
    ],
)
def test_values_at_the_edges_come_back_exactly(value: Any) -> None:
    for whole in (value, [value], {"a": {"b": [value]}}):
        assert exact(decode(encode(whole))) == exact(whole)


def test_tuples_come_back_as_lists() -> None:
    assert decode(encode((1, (Decimal(2),)))) == [1, [Decimal(2)]]


@pytest.mark.parametrize(
    ("value", "code", "payload"),
    [
        (2**64, 1, b"\x01" + bytes(8)),
        (-(2**71), 1, b"\x80" + bytes(8)),
        (Decimal("1.50"), 2, b"1.50"),
        (UUID(int=1), 3, bytes(15) + b"\x01"),
        (date(1970, 1, 2), 4, b"\x00\x00\x00\x01"),
        (date(1969, 12, 31), 4, b"\xff\xff\xff\xff"),
        ("\ud800", 5, b"\xed\xa0\x80"),
    ],
)
def test_the_extension_types_are_written_as_documented(value: Any, code: int, payload: bytes) -> None:
    written = msgspec.msgpack.decode(encode(value))

    assert (written.code, written.data) == (code, payload)


def test_a_plain_document_is_plain_messagepack() -> None:
    document = {"a": [1, 2.5, "x", b"y", None, True], "t": datetime(2024, 1, 1, tzinfo=UTC)}

    assert msgspec.msgpack.decode(encode(document)) == document


def test_measure_is_the_encoded_length() -> None:
    assert measure({"a": 1}) == len(encode({"a": 1})) == 4


@pytest.mark.parametrize("value", [{1, 2}, [object()], {"a": {"b": 1j}}])
def test_a_type_that_no_document_holds_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="expected one of None, bool, int, float, str, bytes, datetime"):
        encode(value)


def test_a_key_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected keys of valid Unicode, got a lone surrogate"):
        encode({"\ud800": 1})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        encode({"a": "text"})[:-1],
        encode(1) + b"\x00",
        msgspec.msgpack.encode(Ext(99, b"")),
        msgspec.msgpack.encode(Ext(3, b"short")),
        msgspec.msgpack.encode(Ext(2, b"twelve")),
        msgspec.msgpack.encode(Ext(2, b"\xff")),
        msgspec.msgpack.encode(Ext(4, b"\x7f\xff\xff\xff")),
        b"\x91" * 100_000,
    ],
    ids=["empty", "invalid", "cut", "longer", "code", "uuid", "decimal", "ascii", "date", "deep"],
)
def test_bytes_that_encode_never_wrote_are_corruption(data: bytes) -> None:
    with pytest.raises(CorruptionError, match="these bytes are not an encoded value") as caught:
        decode(data)
    assert caught.value.reason


@given(st.binary())
def test_arbitrary_bytes_are_a_value_or_corruption(data: bytes) -> None:
    try:
        decode(data)
    except CorruptionError:
        return

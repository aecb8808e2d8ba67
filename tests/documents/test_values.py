"""What `normalize` accepts, converts and refuses."""

from __future__ import annotations

import collections
import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.documents.codec import measure
from parquedb.documents.values import INT_BITS_MAX, normalize, normalize_sized, normalize_value
from parquedb.errors import ValidationError

NAIVE = datetime(2024, 1, 1, 12)  # noqa: DTZ001 - that a naive one is taken as UTC is under test

EVERY_TYPE: dict[str, Any] = {
    "none": None,
    "bool": True,
    "int": 2**80,
    "float": -0.0,
    "str": "naïve \0 text \U0001f600",
    "bytes": b"\x00\xff",
    "datetime": datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
    "date": date(2024, 5, 6),
    "decimal": Decimal("1.50"),
    "uuid": UUID(int=5),
    "list": [1, [2.0, {"x": None}]],
    "dict": {"": {}, "a.b": [], "$date": 1},
}


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Zone(datetime):
    """A subclass as libraries make them."""


class TaggedUUID(UUID):
    pass


def refusal(data: Any, **limits: int) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        normalize(data, **limits)
    return caught.value


def test_every_type_of_value_passes_unchanged() -> None:
    result = normalize(EVERY_TYPE)

    assert result == EVERY_TYPE
    assert {key: type(value) for key, value in result.items()} == {
        key: type(value) for key, value in EVERY_TYPE.items()
    }
    assert str(result["float"]) == "-0.0"


def test_the_result_shares_no_container_with_the_input() -> None:
    data = {"a": {"b": [{"c": [1]}]}, "n": [1.5, None]}
    result = normalize(data)

    data["a"]["b"][0]["c"].append(2)  # type: ignore[index,call-overload]
    data["n"].append(3)  # type: ignore[union-attr]

    assert result == {"a": {"b": [{"c": [1]}]}, "n": [1.5, None]}


@pytest.mark.parametrize("place", [lambda value: {"f": value}, lambda value: {"f": [value]}], ids=["field", "list"])
@pytest.mark.parametrize(
    ("given_value", "stored"),
    [
        (NAIVE, datetime(2024, 1, 1, 12, tzinfo=UTC)),
        (datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 1, 1, 10, tzinfo=UTC)),
        (Zone(2024, 1, 1, 12, 0, 0, 7), datetime(2024, 1, 1, 12, 0, 0, 7, tzinfo=UTC)),
        (pd.Timestamp("2024-01-01T12:00:00.000001+02:00"), datetime(2024, 1, 1, 10, 0, 0, 1, tzinfo=UTC)),
        (TaggedUUID(int=3), UUID(int=3)),
        ((1, (2,)), [1, [2]]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
    ],
)
def test_what_loses_nothing_is_converted_to_the_exact_type(place: Any, given_value: Any, stored: Any) -> None:
    result = normalize(place(given_value))["f"]
    result = result[0] if isinstance(place(0)["f"], list) else result

    assert result == stored
    assert type(result) is type(stored)
    if isinstance(stored, datetime):
        assert result.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "actual"),
    [
        (np.int64(1), "numpy.int64"),
        (np.float64(1.5), "numpy.float64"),
        (np.str_("x"), "numpy.str_"),
        (np.array([1]), "numpy.ndarray"),
        ({1, 2}, "set"),
        (bytearray(b"x"), "bytearray"),
        (1j, "complex"),
        (timedelta(1), "datetime.timedelta"),
        (object, "type"),
        (Colour.RED, f"{__name__}.Colour (an Enum; store its .value)"),
        (Level.LOW, f"{__name__}.Level (an Enum; store its .value)"),
    ],
)
def test_any_other_type_is_refused_with_its_path_and_name(value: Any, actual: str) -> None:
    error = refusal({"a": {"b": [0, "x", value]}})

    assert (error.field, error.actual) == ("a.b[2]", actual)
    assert str(error) == (
        "invalid value of 'a.b[2]': expected one of None, bool, int, float, str, bytes, datetime, date, Decimal, UUID, "
        f"list, dict, got {actual}"
    )
    assert refusal({"top": value}).field == "top"


@pytest.mark.parametrize(
    ("value", "expected", "actual"),
    [
        (pd.NaT, "a datetime between the years 1 and 9999 in UTC", "NaT"),
        (pd.Timestamp(1), "a datetime of whole microseconds", "with nanoseconds"),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "a datetime between the years", "9999"),
        (Decimal("sNaN"), "a Decimal that can be compared", "a signalling NaN"),
        ("a\ud800", "text that is valid Unicode", "a lone surrogate"),
    ],
)
def test_a_value_that_could_not_come_back_is_refused(value: Any, expected: str, actual: str) -> None:
    for data in ({"f": value}, {"g": [value]}):
        error = refusal(data)
        assert expected in error.expected
        assert actual in error.actual


@pytest.mark.parametrize(
    ("data", "field", "expected", "actual"),
    [
        ({"a": {1: 2}}, "a.1", "str as a key", "int"),
        ({Colour.RED: 2}, "<Colour.RED: 'red'>", "str as a key", f"{__name__}.Colour"),
        ({"": 1}, "''", "a field name of at least one character", "an empty one"),
        ({"a": 1, "": 1}, "''", "a field name of at least one character", "an empty one"),
        ({"": 1, "a": 1}, "''", "a field name of at least one character", "an empty one"),
        ({"a\0b": 1}, "a\0b", "a key without NUL", "one with NUL"),
        ({"x": {"\0": 1}}, "x.\0", "a key without NUL", "one with NUL"),
        ({"x": {"\udfff": 1}}, "x.'\\udfff'", "text that is valid Unicode", "a lone surrogate"),
        ({"a": 1, "$set": {}}, "$set", "a field name that does not start with '$' ($id and $type aside)", "'$set'"),
        ({"$id": 5}, "$id", "str", "int"),
        ({"$type": None}, "$type", "str", "NoneType"),
        ({"name": ["x"]}, "name", "str", "list"),
        ([("a", 1)], "document", "a mapping from str to values", "list"),
        (None, "document", "a mapping from str to values", "NoneType"),
    ],
)
def test_a_bad_key_or_system_field_is_refused(data: Any, field: str, expected: str, actual: str) -> None:
    error = refusal(data)

    assert (error.field, error.expected, error.actual) == (field, expected, actual)


def test_system_fields_that_a_caller_may_give_pass() -> None:
    data = {"$id": "posts/1", "$type": "Post", "name": "First", "x": {"$set": 1, "": 2}}

    assert normalize(data) == data


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"d": value}
    return {"d": value}


def test_the_document_itself_is_the_first_level_of_the_depth_limit() -> None:
    assert normalize(nested(7), depth_max=7) == nested(7)
    error = refusal(nested(8), depth_max=7)
    assert error.expected == "at most 7 levels of nesting"
    assert error.actual == "deeper, or a cycle"


def test_a_cycle_meets_the_depth_limit() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = [loop]

    assert refusal(loop).actual == "deeper, or a cycle"


def test_a_document_past_the_byte_limit_is_refused() -> None:
    assert normalize({"a": "x" * 900}, bytes_max=1000)
    for big in ("x" * 1001, "é" * 600, b"x" * 1001, 1 << 9000, [1.0] * 200, {str(n): 1 for n in range(200)}):
        error = refusal({"a": big}, bytes_max=1000)
        assert (error.expected, error.actual) == ("a document of at most 1,000 bytes", "a larger one")


def test_a_small_input_that_copies_to_a_huge_one_is_refused_in_time() -> None:
    value: Any = ["boom"]
    for _ in range(50):
        value = [value] * 10

    assert refusal({"a": value}, bytes_max=100_000).actual == "a larger one"


def test_an_int_has_a_longest() -> None:
    assert normalize({"a": (1 << INT_BITS_MAX) - 1, "b": [-(1 << INT_BITS_MAX) + 1]})["b"] == [-(1 << INT_BITS_MAX) + 1]
    for value in (1 << INT_BITS_MAX, [-(1 << INT_BITS_MAX)]):
        error = refusal({"a": value})
        assert (error.expected, error.actual) == ("an int of at most 65,536 bits", "one of 65,537 bits")


def test_a_single_value_is_checked_under_the_path_it_is_given() -> None:
    assert normalize_value((1, NAIVE)) == [1, NAIVE.replace(tzinfo=UTC)]
    with pytest.raises(ValidationError) as caught:
        normalize_value([{"b": {1}}], "a.x")
    assert caught.value.field == "a.x[0].b"
    with pytest.raises(ValidationError) as caught:
        normalize_value({1})
    assert caught.value.field == "value"


texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(texts.map(lambda key: key.replace("\0", "")), inner),
)


@given(st.dictionaries(st.sampled_from(["a", "b", "é"]), plain))
def test_the_estimated_size_stays_near_the_encoded_size(document: dict[str, Any]) -> None:
    _, estimate = normalize_sized(document)
    exact = measure(document)

    assert exact <= 2 * estimate + 5
    assert estimate <= 9 * exact

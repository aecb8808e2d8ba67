"""Every value goes through JSON text and back as itself, and what is not such text is refused by name."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.documents.extended_json import dumps, loads, loads_document, loads_request
from parquedb.documents.long_ints import DIGITS_MAX
from parquedb.documents.regex import Regex
from parquedb.documents.values import INT_BITS_MAX
from parquedb.errors import InvalidInputError, ValidationError

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**80), max_value=2**80),
    st.floats(),
    st.text(),
    st.just("\ud800"),
    st.binary(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.dates(),
    st.datetimes(timezones=st.just(UTC)),
)
keys = st.one_of(st.text(), st.sampled_from(["$date", "$uuid", "$literal", "$numberLong", "$x"]))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=12)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return repr(a) == repr(b)
    return bool(a == b)


@given(values)
def test_every_value_comes_back_as_itself(value: Any) -> None:
    text = dumps(value)
    json.loads(text)
    assert same(loads(text), value)


@given(values)
def test_a_request_that_a_program_wrote_is_read_exactly(value: Any) -> None:
    assert same(loads_request(dumps(value)), value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"age":{"$gte":18}}', {"age": {"$gte": 18}}),
        ('{"$set":{"at":{"$date":"2026-01-02T00:00:00Z"}}}', {"$set": {"at": datetime(2026, 1, 2, tzinfo=UTC)}}),
        ('{"$id":"a"}', {"$id": "a"}),
        ('{"$literal":1}', {"$literal": 1}),
        ('{"$literal":{"a":1}}', {"$literal": {"a": 1}}),
        ('{"$literal":{"$gte":1}}', {"$gte": 1}),
    ],
)
def test_a_request_that_people_wrote_keeps_its_operators(text: str, value: Any) -> None:
    assert same(loads_request(text), value)


@pytest.mark.parametrize("text", ['{"$date":"soon"}', '{"$uuid":5}', '{"a":[[1]]}', "{", "[" * 100_000])
def test_a_request_with_a_wrong_tag_or_too_many_levels_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        loads_request(text, depth_max=2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), '{"$date":"2026-01-02T03:04:05.000006Z"}'),
        (Decimal("1.10"), '{"$numberDecimal":"1.10"}'),
        (math.inf, '{"$numberDouble":"Infinity"}'),
        (b"ab", '{"$binary":{"base64":"YWI=","subType":"00"}}'),
        (UUID(int=7), '{"$uuid":"00000000-0000-0000-0000-000000000007"}'),
        (date(2026, 1, 2), '{"$day":"2026-01-02"}'),
        (2**64, '{"$integer":"18446744073709551616"}'),
        ({"$date": 5}, '{"$literal":{"$date":5}}'),
        ({"$a": 1, "b": 2.0}, '{"$a":1,"b":2.0}'),
    ],
)
def test_what_mongodb_has_a_form_for_is_in_that_form(value: Any, text: str) -> None:
    assert dumps(value) == text
    assert same(loads(text), value)


def test_what_others_write_is_read() -> None:
    assert loads('{"n": {"$numberLong": "5"}, "m": {"$numberInt": "7"}, "x": {"$numberDouble": "1.5"}}') == {
        "n": 5,
        "m": 7,
        "x": 1.5,
    }
    assert loads('{"$date": {"$numberLong": "1000"}}') == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    late = loads('{"$date": "2026-01-02T03:00:00+02:00"}')
    assert late == datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert late.tzinfo is UTC


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64 - 1, 2**64, -(2**64) - 1, 10**29 + 1, -(10**300) - 7])
def test_plain_ints_of_any_length_keep_their_digits(number: int) -> None:
    value = {"list": [{"n": number, "f": 1e30, "t": str(number), "one": 1.0}]}
    text = f'{{"list": [{{"n": {number}, "f": 1e30, "t": "{number}", "one": 1.0}}]}}'
    for read in (loads, loads_request, loads_document):
        assert same(read(text), value)
        assert same(read(text.encode()), value)
    assert same(loads(str(number)), number)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not extended JSON"),
        ('{"$what": 1}', r"unknown tag '\$what'"),
        ('{"$date": 5}', "not extended JSON"),
        ('{"$date": "yesterday"}', "yesterday"),
        ('{"$binary": {"base64": "?"}}', "not extended JSON"),
        ('{"$numberDecimal": "x"}', "'x' is no number"),
        ('{"$literal": 5}', "not extended JSON"),
        ("[" * 201 + "]" * 201, "more than 200 levels"),
    ],
)
def test_what_is_no_extended_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        loads(text)


def test_what_no_document_holds_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a document cannot hold a set"):
        dumps({"a": {1}})


@pytest.mark.parametrize("bits", [63, 64, 15_000, INT_BITS_MAX])
def test_an_int_of_any_size_that_a_document_may_hold_comes_back(bits: int) -> None:
    for value in (2**bits - 1, -(2**bits) + 1, 2 ** (bits - 1)):
        assert loads(dumps({"n": value})) == {"n": value}


@pytest.mark.parametrize(
    "text",
    [
        *('{"$integer": 1.5}', '{"$integer": true}', '{"$integer": "١٢"}', '{"$integer": "1_0"}', '{"$integer": ""}'),
        *('{"$numberLong": 7}', '{"$numberInt": "7.0"}', '{"$date": {"$numberLong": 1.5}}'),
        *('{"$numberDecimal": 1.1}', '{"$numberDouble": false}', '{"$numberLong": [5]}'),
        pytest.param('{"$integer": "' + "9" * (DIGITS_MAX + 1) + '"}', id="too many digits"),
    ],
)
def test_a_tagged_number_that_is_not_the_text_of_one_is_refused_instead_of_changed(text: str) -> None:
    with pytest.raises(InvalidInputError):
        loads(text)


def test_a_pattern_of_a_filter_is_a_tag_and_comes_back_as_one() -> None:
    text = dumps({"name": {"$in": [Regex("^a/b\ud800", "is"), 1]}})
    assert '"$regularExpression":{"pattern":' in text
    assert loads(text) == {"name": {"$in": [Regex("^a/b\ud800", "is"), 1]}}
    assert loads('{"$regularExpression":{"pattern":"a","options":"mui"}}') == Regex("a", "im")


@pytest.mark.parametrize(
    "given", ['"a"', "{}", '{"pattern":1}', '{"pattern":"a","options":"z"}', '{"pattern":"a","options":[]}']
)
def test_what_is_no_pattern_is_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        loads(f'{{"$regularExpression":{given}}}')

"""Sort orders: what may be asked for, and where documents come."""

import itertools
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cmp_to_key
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.documents.comparison import compare, equal
from parquedb.documents.sorting import EMPTY_ARRAY, order_key, parse_sort, reverse_key
from parquedb.errors import InvalidSortError
from tests.support.columns import values


def ordered(spec: Any, *documents: dict[str, Any]) -> list[Any]:
    """Return the positions of documents in the order of `spec`."""
    sort = parse_sort(spec)
    named = [{"$id": f"n/{at:03d}", **document} for at, document in enumerate(documents)]
    return [int(document["$id"][2:]) for document in sorted(named, key=sort.key)]


@pytest.mark.parametrize(
    "spec", ["-age", ["-age"], {"age": -1}, [("age", -1)], [["age", -1]], {"age": -1.0}, {"age": -1, "$id": 1}]
)
def test_every_form_says_the_same(spec: Any) -> None:
    assert parse_sort(spec).to_wire() == [["age", -1]]


@pytest.mark.parametrize("spec", [None, [], {}, "$id", {"$id": 1, "age": -1}])
def test_the_order_of_id_alone_has_no_fields(spec: Any) -> None:
    assert parse_sort(spec).fields == ()


def test_nothing_counts_after_the_id() -> None:
    assert parse_sort(["a", "-$id", "b"]).to_wire() == [["a", 1], ["$id", -1]]
    assert parse_sort(["a", "$id", "b"]).to_wire() == [["a", 1]]


def test_the_columns_are_the_first_segments_and_the_id() -> None:
    assert parse_sort(["a.b", "a.c", "-d"]).columns == ("a", "d", "$id")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (5, "sort: expected a field, a list of fields or a dict, got int"),
        ([5], r'sort: expected "field", "-field" or \(field, 1 or -1\), got int'),
        ([("a", 1, 2)], r"or \(field, 1 or -1\), got tuple"),
        ({"a": 2}, "sort: expected 1 or -1 as the direction of 'a', got 2"),
        ({"a": True}, "as the direction of 'a', got True"),
        ({"a": "desc"}, "as the direction of 'a', got 'desc'"),
        ({"a": {"$meta": "textScore"}}, "as the direction of 'a', got dict"),
        ({5: 1}, "sort: expected the name of a field, got int"),
        ("", "sort: '' is no path: a path needs a name"),
        ("-", "sort: '' is no path"),
        ("a..b", "sort: 'a..b' is no path"),
        ("$x", r"sort: '\$x' is no path: no field of a document starts with '\$'"),
        (["a", "-a"], "sort: 'a' is named twice"),
        ([f"f{at}" for at in range(33)], "sort: expected at most 32 fields, got 33"),
        ("a" + ".0" * 11, "has more than 10 array indexes"),
    ],
)
def test_what_is_no_sort_order_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(InvalidSortError, match=message):
        parse_sort(spec)


def test_types_come_in_mongodbs_order_and_missing_sorts_as_null() -> None:
    kinds = [
        {"a": []},
        {},
        {"a": None},
        {"a": math.nan},
        {"a": -math.inf},
        {"a": 2},
        {"a": Decimal("2.5")},
        {"a": "B"},
        {"a": "a"},
        {"a": {}},
        {"a": {"b": 1}},
        {"a": [[1]]},
        {"a": b"x"},
        {"a": UUID(int=1)},
        {"a": False},
        {"a": True},
        {"a": date(2026, 1, 1)},
        {"a": datetime(2026, 1, 1, tzinfo=UTC)},
    ]
    assert ordered("a", *reversed(kinds)) == [*range(17, 16, -1), 15, 16, *range(14, -1, -1)]
    assert ordered("-a", *kinds) == [*range(17, 2, -1), 1, 2, 0]


@pytest.mark.parametrize(
    ("spec", "documents", "expected"),
    [
        # MongoDB's manual: ascending by the least element, descending by the greatest.
        ("a", [{"a": [5, 1]}, {"a": 2}, {"a": [0, 9]}], [2, 0, 1]),
        ("-a", [{"a": [5, 1]}, {"a": 2}, {"a": [0, 9]}], [2, 0, 1]),
        ("a", [{"a": None}, {"a": []}, {"a": [None]}, {}], [1, 0, 2, 3]),
        ("-a", [{"a": []}, {"a": None}, {"a": 1}], [2, 1, 0]),
        ("a.b", [{"a": [{"b": 3}, {"b": 1}]}, {"a": {"b": 2}}], [0, 1]),
        ("-a.b", [{"a": [{"b": 3}, {"b": 1}]}, {"a": {"b": 2}}], [0, 1]),
        ("a.b", [{"a": {"b": 1}}, {"a": [{"b": 5}, 7]}, {"a": {}}], [1, 2, 0]),
        ("a.b", [{"a": {"b": [4, 2]}}, {"a": {"b": 3}}], [0, 1]),
        ("a.0", [{"a": [5, 1]}, {"a": [2, 9]}], [1, 0]),
        ("a.1.b", [{"a": [{"b": 0}, {"b": 5}]}, {"a": [{"b": 9}, {"b": 1}]}], [1, 0]),
        ("a.0", [{"a": {"0": 5}}, {"a": [{"0": 3}]}, {"a": [4]}], [1, 2, 0]),
        ("a.b.c", [{"a": [{"b": [{"c": 9}, {"c": 2}]}]}, {"a": {"b": {"c": 3}}}], [0, 1]),
        ("a.b", [{"a": 5}, {"a": {"b": -1}}], [0, 1]),
        (["a", "-b"], [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 0, "b": 0}], [2, 1, 0]),
        (["-a", "b"], [{"a": "x", "b": 2}, {"a": "x", "b": 1}, {"a": "y"}], [2, 1, 0]),
    ],
)
def test_arrays_and_paths(spec: Any, documents: list[dict[str, Any]], expected: list[int]) -> None:
    assert ordered(spec, *documents) == expected


def test_equal_values_are_ordered_by_id() -> None:
    assert ordered("-a", {"a": 1}, {"a": 1.0}, {"a": Decimal("1.00")}) == [0, 1, 2]


def test_a_long_decimal_is_not_rounded_by_a_descending_order() -> None:
    low, high = Decimal("1." + "0" * 40 + "1"), Decimal("1." + "0" * 40 + "2")
    assert ordered("-a", {"a": low}, {"a": high}) == [1, 0]


@settings(max_examples=300)
@given(values, values)
def test_keys_order_as_compare_does(a: Any, b: Any) -> None:
    order = compare(a, b)
    assert (order_key(a) < order_key(b), order_key(a) == order_key(b)) == (order < 0, order == 0)
    assert (reverse_key(a) < reverse_key(b), reverse_key(a) == reverse_key(b)) == (order > 0, order == 0)
    assert not equal(a, b) or order == 0


@given(st.lists(st.lists(values, max_size=3) | values, max_size=6), st.booleans())
def test_an_array_sorts_by_its_best_element(found: list[Any], descending: bool) -> None:
    by = cmp_to_key(compare)
    documents = [{"$id": f"n/{at}", "a": value} for at, value in enumerate(found)]
    sort = parse_sort("-a" if descending else "a")
    for one, other in itertools.combinations(documents, 2):
        if one["a"] == [] or other["a"] == []:
            assert sort.key(one) != sort.key(other)
            continue
        best = [
            (max if descending else min)(each["a"], key=by) if isinstance(each["a"], list) else each["a"]
            for each in (one, other)
        ]
        order = compare(*best) * (-1 if descending else 1)
        # Of equal ones the first has the lower id.
        assert (sort.key(one) < sort.key(other)) == (order <= 0)


def test_an_empty_array_shows_itself() -> None:
    assert parse_sort("a").values({"a": []}) == [EMPTY_ARRAY]
    assert repr(EMPTY_ARRAY) == "EMPTY_ARRAY"

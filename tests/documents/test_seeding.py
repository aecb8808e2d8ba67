"""What an upsert takes from its filter."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from parquedb.documents.filters import compile_filter
from parquedb.documents.regex import Regex
from parquedb.documents.seeding import seed_from_filter
from parquedb.errors import InvalidFilterError


@pytest.mark.parametrize(
    ("query", "seed"),
    [
        (None, {}),
        ({}, {}),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}),
        ({"a": None}, {"a": None}),
        ({"a": {"$eq": 1}}, {"a": 1}),
        ({"a": {"$eq": 1, "$gt": 0}}, {"a": 1}),
        ({"a": {"b": 1, "c": [2]}}, {"a": {"b": 1, "c": [2]}}),
        ({"a": [1, 2]}, {"a": [1, 2]}),
        ({"a.b": 1, "a.c": 2, "d.e.f": 3}, {"a": {"b": 1, "c": 2}, "d": {"e": {"f": 3}}}),
        ({"a.0": 1}, {"a": {"0": 1}}),
        ({"$and": [{"a": 1}, {"$and": [{"b": 2}]}, {"c": {"$eq": 3}}]}, {"a": 1, "b": 2, "c": 3}),
        ({"$or": [{"a": 1}]}, {"a": 1}),
        ({"$id": "n/a", "$type": "Post", "name": "N"}, {"$id": "n/a", "$type": "Post", "name": "N"}),
        # What says no value.
        ({"$or": [{"a": 1}, {"a": 2}]}, {}),
        ({"$nor": [{"a": 1}]}, {}),
        ({"a": {"$gt": 1}, "b": {"$in": [1]}, "c": {"$exists": True}, "d": {"$all": [1]}}, {}),
        ({"a": {"$elemMatch": {"b": 1}}, "c": {"$not": {"$eq": 1}}, "d": {"$ne": 1}}, {}),
        ({"a": re.compile("x"), "b": Regex("x"), "c": {"$regex": "x"}}, {}),
        ({"$comment": "why"}, {}),
        # What only the database writes.
        ({"version": 3, "createdAt": datetime(2024, 1, 1, tzinfo=UTC), "updatedBy": "ann", "a": 1}, {"a": 1}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_equalities_of_a_filter_are_what_a_new_document_starts_with(query: Any, seed: dict[str, Any]) -> None:
    compile_filter(query)  # Only filters that are understood come here.
    assert seed_from_filter(query) == seed


@pytest.mark.parametrize(
    "query",
    [
        {"a": 1, "$and": [{"a": 1}]},
        {"$and": [{"a": 1}, {"a": 2}]},
        {"a": 1, "a.b": 2},
        {"a": [1], "a.0": 1},
        {"a.b": 1, "a": 2},
    ],
    ids=repr,
)
def test_a_path_that_is_given_twice_or_below_a_value_is_refused(query: dict[str, Any]) -> None:
    compile_filter(query)
    with pytest.raises(InvalidFilterError, match=r"an upsert cannot make '(a|a\.b|a\.0)'") as caught:
        seed_from_filter(query)

    assert caught.value.path in query or caught.value.path == "a"


def test_values_are_copied_and_normalized() -> None:
    inner = [1]
    query = {"a": inner, "at": datetime(2024, 1, 1), "n": (1, Decimal("1.50"))}  # noqa: DTZ001 - a naive one
    seed = seed_from_filter(query)
    inner.append(2)

    assert seed == {"a": [1], "at": datetime(2024, 1, 1, tzinfo=UTC), "n": [1, Decimal("1.50")]}

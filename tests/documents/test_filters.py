"""The filter language: what matches, what is refused and how it is said."""

from __future__ import annotations

import pickle
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from parquedb.documents.comparison import compare, sort_key
from parquedb.documents.filters import And, Compare, Nor, Not, Or, compile_filter
from parquedb.errors import InvalidFilterError

NAN = float("nan")
JAN = datetime(2024, 1, 1, tzinfo=UTC)
FEB = datetime(2024, 2, 1, tzinfo=UTC)

MATCHES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # Equality, implicit and by operator.
    ({}, {}),
    ({}, {"a": 1}),
    ({"a": 1}, {"a": 1}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 1.5}, {"a": Decimal("1.5")}),
    ({"a": Decimal("1.50")}, {"a": 1.5}),
    ({"a": 2**70}, {"a": 2.0**70}),
    ({"a": {"$eq": "x"}}, {"a": "x"}),
    ({"a": 0.0}, {"a": -0.0}),
    ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2.0, "x": 1}}),
    ({"a": {}}, {"a": {}}),
    ({"a": {"$eq": {"$date": 1}}}, {"a": {"$date": 1}}),
    ({"a": b"x"}, {"a": b"x"}),
    ({"a": UUID(int=1)}, {"a": UUID(int=1)}),
    ({"a": date(2024, 1, 1)}, {"a": date(2024, 1, 1)}),
    ({"a": JAN}, {"a": JAN}),
    ({"a": JAN.replace(tzinfo=None)}, {"a": JAN}),
    ({"$id": "posts/1", "$type": "Post"}, {"$id": "posts/1", "$type": "Post"}),
    ({"_id": 7}, {"_id": 7}),
    ({"$type": {"$in": ["Post"]}}, {"$type": "Post"}),
    # Null and missing.
    ({"a": None}, {}),
    ({"a": None}, {"a": None}),
    ({"a.b": None}, {"a": 5}),
    ({"a.b": None}, {"a": [{"b": 1}, {}]}),
    ({"a": {"$in": [None]}}, {}),
    ({"a": {"$gte": None}}, {}),
    ({"a": {"$lte": None}}, {"a": None}),
    ({"a": {"$ne": 1}}, {}),
    ({"a": {"$nin": [1]}}, {}),
    ({"a": {"$exists": True}}, {"a": None}),
    ({"a": {"$exists": 1}}, {"a": []}),
    ({"a": {"$exists": False}}, {}),
    ({"a.b": {"$exists": False}}, {"a": []}),
    # Order.
    ({"a": {"$gt": 1}}, {"a": 1.5}),
    ({"a": {"$gte": Decimal(1)}}, {"a": 1}),
    ({"a": {"$lt": 10.5}}, {"a": Decimal("10.4")}),
    ({"a": {"$gt": "B"}}, {"a": "a"}),
    ({"a": {"$gt": JAN, "$lte": FEB}}, {"a": FEB}),
    ({"a": {"$gt": date(2024, 1, 1)}}, {"a": date(2024, 1, 2)}),
    ({"a": {"$gt": False}}, {"a": True}),
    ({"a": {"$lt": b"b"}}, {"a": b"aaa"}),
    ({"a": {"$gt": UUID(int=1)}}, {"a": UUID(int=2)}),
    ({"a": {"$gt": [1, 2]}}, {"a": [1, 3]}),
    ({"a": {"$gt": {"x": 1}}}, {"a": {"x": 2}}),
    # NaN equals itself and is on neither side of anything.
    ({"a": NAN}, {"a": NAN}),
    ({"a": Decimal("NaN")}, {"a": NAN}),
    ({"a": {"$gte": NAN}}, {"a": Decimal("NaN")}),
    ({"a": {"$in": [NAN]}}, {"a": NAN}),
    ({"a": [NAN]}, {"a": [NAN]}),
    # Arrays.
    ({"a": 2}, {"a": [1, 2]}),
    ({"a": [1, 2]}, {"a": [1, 2]}),
    ({"a": [1]}, {"a": [[1], 2]}),
    ({"a": {"$gt": 5, "$lt": 3}}, {"a": [2, 6]}),
    ({"a": {"$in": [[1, 2], 9]}}, {"a": [1, 2]}),
    ({"a": {"$in": [{"x": 1}]}}, {"a": [{"x": 1}]}),
    ({"a.b": 2}, {"a": [{"b": 1}, {"b": 2}]}),
    ({"a.b": 2}, {"a": [{"b": [1, 2]}]}),
    ({"a.b.c": 2}, {"a": [{"b": [{"c": 2}]}]}),
    ({"a.1": 2}, {"a": [1, 2]}),
    ({"a.0.b": 2}, {"a": [{"b": 2}]}),
    ({"a.0.1": 2}, {"a": [[1, 2]]}),
    ({"a.0": [1]}, {"a": [[1]]}),
    ({"a.0": 5}, {"a": {"0": 5}}),
    ({"a.0": 5}, {"a": [{"0": 5}]}),
    ({"a.0.b": {"$ne": None}}, {"a": [{"b": 1}]}),
    # Logic.
    ({"$and": [{"a": 1}, {"b": 2}]}, {"a": 1, "b": 2}),
    ({"$and": [{"a": 1}, {"b": 2}, {"c": 3}]}, {"a": 1, "b": 2, "c": 3}),
    ({"$or": [{"a": 1}, {"b": 2}]}, {"b": 2}),
    ({"$nor": [{"a": 1}, {"b": 2}]}, {"a": 2}),
    ({"a": {"$not": {"$gt": 5}}}, {}),
    ({"a": {"$not": {"$not": {"$gt": 5}}}}, {"a": 6}),
    ({"a": {"$not": {"$gt": 5, "$lt": 9}}}, {"a": 10}),
]

MISMATCHES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": 1}, {}),
    ({"a": 1}, {"a": True}),
    ({"a": True}, {"a": 1}),
    ({"a": 1}, {"a": "1"}),
    ({"a": "x"}, {"a": b"x"}),
    ({"a": Decimal("0.1")}, {"a": 0.1}),
    ({"a": date(2024, 1, 1)}, {"a": JAN}),
    ({"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}),
    ({"a": {"x": 1}}, {"a": {"x": True}}),
    ({"a": [1, 2]}, {"a": [2, 1]}),
    ({"a": [True]}, {"a": [1]}),
    ({"a": None}, {"a": 0}),
    ({"a.b": None}, {"a": []}),
    ({"a.b": None}, {"a": [1]}),
    ({"a.0.b": None}, {"a": [{"b": 1}]}),
    ({"a.b": 1}, {"a.b": 1}),
    ({"a.b": 1}, {"a": [[{"b": 1}]]}),
    ({"a.0": 1}, {"a": [[1, 2]]}),
    ({"a.01": 2}, {"a": [1, 2]}),
    ({"a.-1": 2}, {"a": [1, 2]}),
    ({"a.99999999999999999999": 2}, {"a": [1, 2]}),
    ({"a": {"$in": []}}, {"a": 1}),
    ({"a": {"$in": []}}, {}),
    ({"a": {"$in": [1, 2]}}, {"a": True}),
    ({"a": {"$in": [True]}}, {"a": 1}),
    ({"a": {"$ne": 2}}, {"a": [1, 2]}),
    ({"a": {"$nin": [2]}}, {"a": [1, 2]}),
    ({"a.b": {"$ne": None}}, {"a": [{"b": 1}, {}]}),
    ({"a": {"$gt": None}}, {"a": None}),
    ({"a": {"$lt": 5}}, {}),
    ({"a": {"$lt": 5}}, {"a": None}),
    ({"a": {"$lt": 5}}, {"a": NAN}),
    ({"a": {"$lt": 5}}, {"a": Decimal("NaN")}),
    ({"a": {"$gt": NAN}}, {"a": 1}),
    ({"a": {"$lte": NAN}}, {"a": 1}),
    ({"a": {"$gt": 0}}, {"a": True}),
    ({"a": {"$gt": 0}}, {"a": "5"}),
    ({"a": {"$lt": JAN}}, {"a": date(2020, 1, 1)}),
    ({"a": {"$gt": [1, 2]}}, {"a": [1, 2]}),
    ({"a": {"$exists": False}}, {"a": None}),
    ({"$or": [{"a": 1}, {"b": 2}]}, {"a": 2, "b": 1}),
    ({"$and": [{"a": 1}, {"b": 2}, {"c": 3}]}, {"a": 1, "b": 2, "c": 4}),
    ({"$nor": [{"a": 1}]}, {"a": 1}),
    ({"a": {"$not": {"$gt": 5}}}, {"a": [1, 6]}),
]


@pytest.mark.parametrize(("query", "document"), MATCHES, ids=repr)
def test_a_document_matches(query: dict[str, Any], document: dict[str, Any]) -> None:
    assert compile_filter(query)(document) is True


@pytest.mark.parametrize(("query", "document"), MISMATCHES, ids=repr)
def test_a_document_does_not_match(query: dict[str, Any], document: dict[str, Any]) -> None:
    assert compile_filter(query)(document) is False


@pytest.mark.parametrize(("query", "document"), [*MATCHES, *MISMATCHES], ids=repr)
def test_nor_is_the_negation_of_every_filter(query: dict[str, Any], document: dict[str, Any]) -> None:
    assert compile_filter({"$nor": [query]})(document) is not compile_filter(query)(document)


def test_no_filter_matches_every_document() -> None:
    assert compile_filter(None)({"a": 1})
    assert compile_filter(None).filter == And(())


@pytest.mark.parametrize(
    ("query", "tree"),
    [
        ({"a.b": 1}, Compare(("a", "b"), "eq", 1)),
        ({"a": {"$gt": 1, "$lt": 5}}, And((Compare(("a",), "gt", 1), Compare(("a",), "lt", 5)))),
        ({"$and": [{"a": 1}, {"$and": [{"b": 2}]}], "c": {"$nin": (3,)}}, And((
            Compare(("a",), "eq", 1), Compare(("b",), "eq", 2), Compare(("c",), "nin", [3]))))  ,
        ({"$or": [{"a": 1}, {}]}, Or((Compare(("a",), "eq", 1), And(())))),
        ({"$nor": [{"a": {"$exists": 0}}]}, Nor((Compare(("a",), "exists", False),))),
        ({"a": {"$not": {"$lte": 2}}}, Not(Compare(("a",), "lte", 2))),
    ],
)  # fmt: skip
def test_the_tree_is_flat_and_normalised(query: dict[str, Any], tree: Any) -> None:
    assert compile_filter(query).filter == tree


def test_a_predicate_pickles_and_stays_the_same() -> None:
    predicate = pickle.loads(pickle.dumps(compile_filter({"a": {"$in": [1, None]}, "b.c": {"$gt": JAN}})))

    assert predicate({"b": {"c": FEB}})
    assert not predicate({"a": 2, "b": {"c": FEB}})
    assert repr(predicate).startswith("Predicate(And(parts=(Compare(path=('a',), op='in', value=[1, None])")


def test_changing_the_given_filter_afterwards_changes_nothing() -> None:
    options = [1]
    predicate = compile_filter({"a": {"$in": options}, "b": options})
    options.append(2)

    assert not predicate({"a": 2, "b": [1]})
    assert not predicate({"a": 1, "b": [1, 2]})


SUPPORTED = "supported are $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $not, $and, $or, $nor"


@pytest.mark.parametrize(
    ("query", "message", "operator", "path"),
    [
        ({"a": {"$near": 1}}, f"$near is no filter operator (at 'a'); {SUPPORTED}", "$near", "a"),
        ({"$where": "x"}, f"$where is no filter operator; {SUPPORTED}", "$where", None),
        ({"a.b": {"$regex": "x"}}, f"$regex is not supported yet (at 'a.b'); {SUPPORTED}", "$regex", "a.b"),
        ({"a": {"$type": "int"}}, f"$type is not supported yet (at 'a'); {SUPPORTED}", "$type", "a"),
        ({"a": {"$not": {"$size": 1}}}, f"$size is not supported yet (at 'a'); {SUPPORTED}", "$size", "a"),
        ({"a": {"$gt": np.int64(1)}}, "$gt at 'a' expects one of None, bool, int, float, str, bytes, datetime, date, "
         "Decimal, UUID, list, dict, not numpy.int64", "$gt", "a"),
        ({"a": re.compile("x")}, "$eq at 'a' expects one of None, bool, int, float, str, bytes, datetime, date, "
         "Decimal, UUID, list, dict, not re.Pattern", "$eq", "a"),
        ({"a": {"$in": "xyz"}}, "$in at 'a' expects a list, not str", "$in", "a"),
        ({"a": {"$nin": [{"$gt": 1}]}}, "$nin at 'a' expects plain values in its list, not an operator object",
         "$nin", "a"),
        ({"a": {"$exists": "yes"}}, "$exists at 'a' expects True or False, not str", "$exists", "a"),
        ({"a": {"$not": 5}}, "$not at 'a' expects an operator object such as {'$gt': 5}, not int; for a plain value "
         "use $ne", "$not", "a"),
        ({"a": {"$gt": 1, "b": 2}}, "the condition at 'a' mixes operators and fields ('b'); to compare with a whole "
         "dict use $eq", None, "a"),
        ({"$or": []}, "$or expects a list of at least one filter, not an empty list", "$or", None),
        ({"$and": {"a": 1}}, "$and expects a list of at least one filter, not dict", "$and", None),
        ({"$nor": [5]}, "a filter must be a mapping from paths to conditions, not int", None, None),
        ({"$gt": 5}, "$gt belongs under a path, as in {'path': {'$gt': ...}}; at the top level only $and, $or, $nor "
         "are operators", "$gt", None),
        ({"$not": {"a": 5}}, "$not belongs under a path, as in {'path': {'$not': ...}}; at the top level only $and, "
         "$or, $nor are operators", "$not", None),
        ({"a": {"$and": [{}]}}, "$and belongs at the top level of a filter, not under the path 'a'", "$and", "a"),
        ({"a..b": 1}, "'a..b' is no path: a path needs a name on both sides of every dot, and at least one name", None,
         "a..b"),
        ({"": 1}, "'' is no path: a path needs a name on both sides of every dot, and at least one name", None, ""),
        ({"a\0": 1}, "'a\\x00' is no path: a path cannot contain NUL", None, "a\0"),
        ({5: 1}, "a filter's keys are paths and operators, all str, not int", None, None),
        ([("a", 1)], "a filter must be a mapping from paths to conditions, not list", None, None),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_is_not_understood_is_refused(query: Any, message: str, operator: str | None, path: str | None) -> None:
    with pytest.raises(InvalidFilterError) as caught:
        compile_filter(query)

    assert str(caught.value) == message
    assert (caught.value.operator, caught.value.path) == (operator, path)


def nested_and(levels: int) -> dict[str, Any]:
    query: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        query = {"$and": [query]}
    return query


def test_filters_are_nested_at_most_50_levels_deep() -> None:
    assert compile_filter(nested_and(50))({"a": 1})
    with pytest.raises(InvalidFilterError, match="a filter may be nested at most 50 levels deep"):
        compile_filter(nested_and(51))
    condition: dict[str, Any] = {"$gt": 1}
    for _ in range(50):
        condition = {"$not": condition}
    with pytest.raises(InvalidFilterError, match="a filter may be nested at most 50 levels deep"):
        compile_filter({"a": condition})


def test_a_filter_has_at_most_10_000_operands() -> None:
    assert compile_filter({"a": {"$in": list(range(10_000))}})({"a": 9_999})
    with pytest.raises(InvalidFilterError, match="a filter may have at most 10,000 operands"):
        compile_filter({"a": {"$in": list(range(10_000))}, "b": 1})
    with pytest.raises(InvalidFilterError, match="a filter may have at most 10,000 operands"):
        compile_filter({"$or": [{"a": {"$in": []}}] * 10_001})


def test_a_document_made_to_multiply_the_ways_along_a_path_is_answered_in_time() -> None:
    # Every "0" can mean the index or the name, so each level would double the ways if their number had no bound.
    document: Any = []
    for _ in range(45):
        document = [{"0": document}]
    zeros = ".0" * 10

    assert compile_filter({f"a{zeros}": "nowhere"})({"a": document}) is False
    with pytest.raises(InvalidFilterError, match="has more than 10 array indexes"):
        compile_filter({f"a{zeros}.0": 1})


def test_a_path_has_at_most_4_096_characters() -> None:
    assert not compile_filter({"x" * 4_096: 1})({})
    with pytest.raises(InvalidFilterError, match=r"'x{80}' is no path: a path has at most 4,096 characters"):
        compile_filter({"x" * 4_097: 1})


def test_values_of_all_types_have_one_order() -> None:
    ordered = [
        None,
        Decimal("NaN"),
        float("-inf"),
        -1,
        Decimal("0.5"),
        1,
        2**70,
        "",
        "Z",
        "a",
        {},
        {"a": 1},
        {"a": 2},
        {"b": 1},
        {"a": "text"},
        [],
        [1],
        [1, 2],
        ["a"],
        b"",
        UUID(int=1),
        False,
        True,
        date(2024, 1, 1),
        JAN,
        FEB,
    ]
    backwards = ordered[::-1]
    backwards.sort(key=sort_key)

    assert list(map(repr, backwards)) == list(map(repr, ordered))
    assert compare(NAN, Decimal("NaN")) == 0
    assert compare({"a": 1, "b": 2}, {"b": 2, "a": 1}) == 0


@pytest.mark.parametrize("op", ["$gt", "$gte", "$lt", "$lte"])
def test_a_float_nan_is_neither_greater_nor_less_than_a_decimal(op: str) -> None:
    assert not compile_filter({"a": {op: Decimal(1)}})({"a": float("nan")})

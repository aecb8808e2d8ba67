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
from parquedb.documents.filters import And, Compare, ElemMatch, Nor, Not, Or, compile_filter
from parquedb.documents.regex import Regex
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
    # Remainders: fractions are cut off, and the sign is that of the value.
    ({"a": {"$mod": [4, 0]}}, {"a": 12}),
    ({"a": {"$mod": [4, 3]}}, {"a": 7.9}),
    ({"a": {"$mod": [4.9, 0.5]}}, {"a": Decimal("8.7")}),
    ({"a": {"$mod": [3, -2]}}, {"a": -5}),
    ({"a": {"$mod": [-3, 2]}}, {"a": 5}),
    ({"a": {"$mod": [3, 0]}}, {"a": -3}),
    ({"a": {"$mod": [2, 1]}}, {"a": ["1", 2, 3]}),
    ({"a": {"$mod": [10, 4]}}, {"a": 2**70}),
    # Text.
    ({"a": {"$regex": "b.d"}}, {"a": "abcd"}),
    ({"a": {"$regex": "^B", "$options": "i"}}, {"a": "bx"}),
    ({"a": {"$options": "m", "$regex": "^b$"}}, {"a": "a\nb\nc"}),
    ({"a": {"$regex": "a.b", "$options": "s"}}, {"a": "a\nb"}),
    ({"a": {"$regex": "a b # no blanks \n c", "$options": "x"}}, {"a": "abc"}),
    ({"a": {"$regex": "É", "$options": "iu"}}, {"a": "é"}),
    ({"a": re.compile("^B", re.IGNORECASE)}, {"a": "bx"}),
    ({"a": {"$regex": re.compile("b.d")}}, {"a": ["x", "abcd"]}),
    ({"a": {"$regex": re.compile("B"), "$options": "i"}}, {"a": "b"}),
    ({"a": {"$in": [1, re.compile("^b")]}}, {"a": "bx"}),
    ({"a": {"$in": [1, re.compile("^b")]}}, {"a": [0, 1]}),
    ({"a": {"$in": [None, re.compile("^b")]}}, {}),
    ({"a": {"$nin": [1, re.compile("^b")]}}, {"a": ["a", 2]}),
    ({"a": {"$not": re.compile("^b")}}, {"a": 5}),
    ({"a": {"$not": {"$regex": "^b"}}}, {}),
    ({"a": {"$regex": "b", "$nin": ["b"]}}, {"a": "bb"}),
    ({"a": {"$startsWith": "ab"}}, {"a": "abc"}),
    ({"a": {"$startsWith": ""}}, {"a": ""}),
    ({"a": {"$endsWith": ".*"}}, {"a": ["x", "y.*"]}),
    ({"a.b": {"$contains": "é"}}, {"a": [{"b": 1}, {"b": "cafés"}]}),
    # Arrays as such.
    ({"a": {"$size": 2}}, {"a": [1, [2, 3]]}),
    ({"a": {"$size": 0.0}}, {"a": []}),
    ({"a.b": {"$size": 1}}, {"a": [{"b": []}, {"b": [1]}]}),
    ({"a.0": {"$size": 2}}, {"a": [[1, 2]]}),
    ({"a": {"$all": [1, 2]}}, {"a": [2, 3, 1]}),
    ({"a": {"$all": [1]}}, {"a": 1}),
    ({"a": {"$all": [[1, 2]]}}, {"a": [1, 2]}),
    ({"a": {"$all": [[1, 2]]}}, {"a": [[1, 2], 3]}),
    ({"a": {"$all": [None]}}, {}),
    ({"a": {"$all": [re.compile("^b"), "a"]}}, {"a": ["bx", "a"]}),
    ({"a": {"$all": [{"$elemMatch": {"b": 1}}, {"$elemMatch": {"b": 2}}]}}, {"a": [{"b": 2}, {"b": 1}]}),
    ({"a": {"$elemMatch": {"$gte": 80, "$lt": 85}}}, {"a": [82, 85, 88]}),
    ({"a": {"$elemMatch": {"product": "xyz", "score": {"$gte": 8}}}}, {"a": [{"product": "xyz", "score": 8}]}),
    ({"a": {"$elemMatch": {"b.c": 1}}}, {"a": [{"b": [{"c": 1}]}]}),
    ({"a": {"$elemMatch": {"$or": [{"b": 1}, {"c": 1}]}}}, {"a": [{"c": 1}]}),
    ({"a": {"$elemMatch": {}}}, {"a": [{}]}),
    ({"a": {"$elemMatch": {"b": None}}}, {"a": [{"c": 1}]}),
    ({"a": {"$elemMatch": {"$eq": None}}}, {"a": [1, None]}),
    ({"a": {"$elemMatch": {"$ne": 1}}}, {"a": [1, 2]}),
    ({"a": {"$elemMatch": {"$nin": [1, 2]}}}, {"a": [1, 3]}),
    ({"a": {"$elemMatch": {"$not": {"$gt": 5}}}}, {"a": [9, 1]}),
    ({"a": {"$elemMatch": {"$exists": True}}}, {"a": [None]}),
    ({"a": {"$elemMatch": {"$elemMatch": {"$gt": 5}}}}, {"a": [[1], [9]]}),
    ({"a": {"$elemMatch": {"$size": 1}}}, {"a": [[], [1]]}),
    ({"a": {"$elemMatch": {"$all": [5]}}}, {"a": [5]}),
    ({"a": {"$elemMatch": {"$regex": "^b", "$options": "i"}}}, {"a": ["a", "B"]}),
    ({"a": {"$elemMatch": {"1": 5}}}, {"a": [[4, 5]]}),
    ({"a.b": {"$elemMatch": {"$gt": 1}}}, {"a": [{"b": [1]}, {"b": [2]}]}),
    ({"a": {"$not": {"$elemMatch": {"$gt": 5}}}}, {"a": 9}),
    # Types.
    ({"a": {"$type": "string"}}, {"a": "x"}),
    ({"a": {"$type": 2}}, {"a": [1, "x"]}),
    ({"a": {"$type": 1.0}}, {"a": 1.5}),
    ({"a": {"$type": "array"}}, {"a": []}),
    ({"a": {"$type": "object"}}, {"a": [{}]}),
    ({"a": {"$type": "int"}}, {"a": 2**31 - 1}),
    ({"a": {"$type": "long"}}, {"a": 2**31}),
    ({"a": {"$type": 18}}, {"a": 2**70}),
    ({"a": {"$type": ["long", "int"]}}, {"a": 1}),
    ({"a": {"$type": "decimal"}}, {"a": Decimal(1)}),
    ({"a": {"$type": "bool"}}, {"a": False}),
    ({"a": {"$type": "date"}}, {"a": JAN}),
    ({"a": {"$type": "day"}}, {"a": date(2024, 1, 1)}),
    ({"a": {"$type": "binData"}}, {"a": b""}),
    ({"a": {"$type": 5}}, {"a": UUID(int=1)}),
    ({"a": {"$type": "uuid"}}, {"a": UUID(int=1)}),
    ({"a": {"$type": "null"}}, {"a": None}),
    ({"a": {"$type": ["objectId", "string"]}}, {"a": "x"}),
    ({"a": {"$not": {"$type": "null"}}}, {}),
    ({"$type": {"$type": "string"}}, {"$type": "Post"}),
    *(({"a": {"$type": "number"}}, {"a": number}) for number in (1, 2**40, 1.5, NAN, Decimal(2))),
    # Comments.
    ({"$comment": "why", "a": 1}, {"a": 1}),
    ({"$and": [{"$comment": {"any": "thing"}}]}, {}),
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
    ({"a": {"$mod": [4, 0]}}, {"a": 13}),
    ({"a": {"$mod": [3, 1]}}, {"a": -5}),
    ({"a": {"$mod": [3, -2]}}, {"a": 4}),
    ({"a": {"$mod": [3, 5]}}, {"a": 5}),
    ({"a": {"$mod": [2, 1]}}, {"a": True}),
    ({"a": {"$mod": [2, 0]}}, {"a": NAN}),
    ({"a": {"$mod": [2, 0]}}, {"a": Decimal("-Infinity")}),
    ({"a": {"$mod": [2, 0]}}, {"a": 2.0**63}),
    ({"a": {"$mod": [2, 0]}}, {"a": Decimal("1E+999999")}),
    ({"a": {"$mod": [2, 0]}}, {}),
    ({"a": {"$regex": "b"}}, {"a": "B"}),
    ({"a": {"$regex": "^b$"}}, {"a": "a\nb"}),
    ({"a": {"$regex": "a.b"}}, {"a": "a\nb"}),
    ({"a": {"$regex": ""}}, {"a": 5}),
    ({"a": {"$regex": ""}}, {"a": None}),
    ({"a": {"$regex": ""}}, {}),
    ({"a": {"$regex": "a"}}, {"a": b"a"}),
    ({"a": {"$regex": "a"}}, {"a": [["a"]]}),
    ({"a": {"$in": [1, re.compile("^b")]}}, {"a": "ab"}),
    ({"a": {"$nin": [1, re.compile("^b")]}}, {"a": ["a", "b"]}),
    ({"a": {"$not": re.compile("^b")}}, {"a": ["a", "b"]}),
    ({"a": {"$startsWith": "b"}}, {"a": "ab"}),
    ({"a": {"$startsWith": "A"}}, {"a": "ab"}),
    ({"a": {"$startsWith": ""}}, {"a": None}),
    ({"a": {"$endsWith": "."}}, {"a": "ab"}),
    ({"a": {"$contains": "ab"}}, {"a": ["a", "b"]}),
    ({"a": {"$contains": "a"}}, {"a": {"a": "a"}}),
    ({"a": {"$size": 1}}, {"a": "x"}),
    ({"a": {"$size": 1}}, {"a": {"x": 1}}),
    ({"a": {"$size": 2}}, {"a": [[1, 2]]}),
    ({"a": {"$size": 0}}, {}),
    ({"a": {"$all": []}}, {"a": []}),
    ({"a": {"$all": []}}, {}),
    ({"a": {"$all": [1, 2]}}, {"a": [1]}),
    ({"a": {"$all": [[1, 2]]}}, {"a": [1, 2, 3]}),
    ({"a": {"$all": [{"$elemMatch": {"$gt": 5}}, {"$elemMatch": {"$lt": 1}}]}}, {"a": [6]}),
    ({"a": {"$elemMatch": {"$gt": 5, "$lt": 3}}}, {"a": [2, 6]}),
    ({"a": {"$elemMatch": {"$gt": 5}}}, {"a": 6}),
    ({"a": {"$elemMatch": {"$gt": 5}}}, {"a": [[6]]}),
    ({"a": {"$elemMatch": {"$exists": False}}}, {"a": [None]}),
    ({"a": {"$elemMatch": {"$ne": 1}}}, {"a": []}),
    ({"a": {"$elemMatch": {"b": 1, "c": 1}}}, {"a": [{"b": 1}, {"c": 1}]}),
    ({"a": {"$elemMatch": {"b": 1}}}, {"a": {"b": 1}}),
    ({"a": {"$elemMatch": {"b": None}}}, {"a": [5]}),
    ({"a": {"$elemMatch": {}}}, {"a": [5]}),
    ({"a": {"$type": "int"}}, {"a": True}),
    ({"a": {"$type": "int"}}, {"a": 2**31}),
    ({"a": {"$type": "long"}}, {"a": -(2**31)}),
    ({"a": {"$type": "double"}}, {"a": 1}),
    ({"a": {"$type": "array"}}, {"a": "x"}),
    ({"a": {"$type": "date"}}, {"a": date(2024, 1, 1)}),
    ({"a": {"$type": "uuid"}}, {"a": b"x"}),
    ({"a": {"$type": "null"}}, {}),
    ({"a": {"$type": "undefined"}}, {}),
    ({"a": {"$type": ["objectId", "minKey", "regex"]}}, {"a": "x"}),
    ({"$comment": "why", "a": 1}, {"a": 2}),
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
        ({"a": re.compile("x", re.M | re.I)}, Compare(("a",), "regex", Regex("x", "im"))),
        ({"a": {"$nin": [1, re.compile("x")]}}, Not(Or((
            Compare(("a",), "in", [1]), Compare(("a",), "regex", Regex("x")))))),
        ({"a": {"$all": [1, 2]}}, And((Compare(("a",), "eq", 1), Compare(("a",), "eq", 2)))),
        ({"a": {"$all": []}}, Or(())),
        ({"a": {"$elemMatch": {"$gt": 1}}}, ElemMatch(("a",), Compare((), "gt", 1), documents=False)),
        ({"a": {"$elemMatch": {"b": 1}}}, ElemMatch(("a",), Compare(("b",), "eq", 1), documents=True)),
        ({"a": {"$mod": [4.5, -1.5]}}, Compare(("a",), "mod", (4, -1))),
        ({"a": {"$type": [2, "number"]}}, Compare(("a",), "type", frozenset({
            "string", "double", "int", "long", "decimal"}))),
    ],
)  # fmt: skip
def test_the_tree_is_flat_and_normalised(query: dict[str, Any], tree: Any) -> None:
    assert compile_filter(query).filter == tree


def test_a_predicate_pickles_and_stays_the_same() -> None:
    predicate = pickle.loads(pickle.dumps(compile_filter({"a": {"$in": [1, None]}, "b.c": {"$gt": JAN}})))

    assert predicate({"b": {"c": FEB}})
    assert not predicate({"a": 2, "b": {"c": FEB}})
    assert repr(predicate).startswith("Predicate(And(parts=(Compare(path=('a',), op='in', value=[1, None])")


@pytest.mark.parametrize(("query", "document"), [*MATCHES, *MISMATCHES], ids=repr)
def test_every_filter_pickles(query: dict[str, Any], document: dict[str, Any]) -> None:
    predicate = compile_filter(query)

    assert pickle.loads(pickle.dumps(predicate))(document) is predicate(document)


def test_changing_the_given_filter_afterwards_changes_nothing() -> None:
    options = [1]
    predicate = compile_filter({"a": {"$in": options}, "b": options})
    options.append(2)

    assert not predicate({"a": 2, "b": [1]})
    assert not predicate({"a": 1, "b": [1, 2]})


SUPPORTED = (
    "supported are $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $mod, $startsWith, $endsWith, $contains, $size, "
    "$type, $regex, $options, $all, $elemMatch, $not, $and, $or, $nor, $comment"
)
RE2_ONLY = "expects a regular expression as RE2 takes it, without look-around and back references, not"
NO_PATTERN = "expects a value, not a regular expression; one goes with $regex, $in, $not or directly under the path"

TWO_NUMBERS = "expects a list of two numbers, divisor and remainder, not"
TYPES = (
    "$type at 'a' expects a BSON type number or one of double, string, object, array, binData, undefined, objectId, "
    "bool, date, null, regex, dbPointer, javascript, symbol, javascriptWithScope, int, timestamp, long, decimal, "
    "minKey, maxKey, number, day, uuid, not"
)


@pytest.mark.parametrize(
    ("query", "message", "operator", "path"),
    [
        ({"a": {"$near": 1}}, f"$near is no filter operator (at 'a'); {SUPPORTED}", "$near", "a"),
        ({"$where": "x"}, f"$where is no filter operator; {SUPPORTED}", "$where", None),
        ({"a.b": {"$elemMatch": {"c": {"$near": 1}}}}, f"$near is no filter operator (at 'a.b.c'); {SUPPORTED}",
         "$near", "a.b.c"),
        ({"a": {"$comment": "x"}}, f"$comment is no filter operator (at 'a'); {SUPPORTED}", "$comment", "a"),
        ({"a": {"$regex": "(a)(?=b)"}}, f"$regex at 'a' {RE2_ONLY} '(a)(?=b)' (invalid perl operator: (?=)",
         "$regex", "a"),
        ({"a": re.compile(r"(a)\1")}, f"$regex at 'a' {RE2_ONLY} '(a)\\\\1' (invalid escape sequence: \\1)",
         "$regex", "a"),
        ({"a": {"$in": [re.compile("a(?!b)")]}}, f"$in at 'a' {RE2_ONLY} 'a(?!b)' (invalid perl operator: (?!)",
         "$in", "a"),
        ({"a": {"$not": {"$regex": "["}}}, f"$regex at 'a' {RE2_ONLY} '[' (missing ]: [)", "$regex", "a"),
        ({"a": {"$regex": 5}}, "$regex at 'a' expects a str or a compiled pattern, not int", "$regex", "a"),
        ({"a": re.compile(b"x")}, "$regex at 'a' expects a pattern of str, not a pattern of bytes", "$regex", "a"),
        ({"a": {"$regex": "x", "$options": "g"}}, "$regex at 'a' expects options out of i, m, s, x, u, not 'g'",
         "$regex", "a"),
        ({"a": {"$regex": "x", "$options": 1}}, "$regex at 'a' expects options of str, not int", "$regex", "a"),
        ({"a": {"$regex": re.compile("x", re.I), "$options": "m"}},
         "$regex at 'a' expects options in $options or in the compiled pattern, not both", "$regex", "a"),
        ({"a": {"$options": "i"}}, "$options at 'a' expects a $regex beside it, not to stand alone", "$options", "a"),
        ({"a": {"$regex": "x" * 4_097}}, "$regex at 'a' expects a pattern of at most 4,096 characters, not one of "
         "4,097", "$regex", "a"),
        ({"a": {"$regex": "(x{100}){11}"}}, f"$regex at 'a' {RE2_ONLY} '(x{{100}}){{11}}' (invalid repetition size: "
         "{11})", "$regex", "a"),
        ({"a": {"$regex": ".{999}"}}, "$regex at 'a' expects a pattern that takes at most 2,000 instructions, not one "
         "that takes 7,996; repeat less", "$regex", "a"),
        ({"a": {"$ne": re.compile("x")}}, f"$ne at 'a' {NO_PATTERN}", "$ne", "a"),
        ({"a": {"$elemMatch": {"$gt": re.compile("x")}}}, f"$gt at 'a' {NO_PATTERN}", "$gt", "a"),
        ({"a": {"$startsWith": 5}}, "$startsWith at 'a' expects a str, not int", "$startsWith", "a"),
        ({"a": {"$contains": re.compile("x")}}, "$contains at 'a' expects a str, not re.Pattern", "$contains", "a"),
        ({"a": {"$mod": 5}}, f"$mod at 'a' {TWO_NUMBERS} int", "$mod", "a"),
        ({"a": {"$mod": [5]}}, f"$mod at 'a' {TWO_NUMBERS} a list of 1", "$mod", "a"),
        ({"a": {"$mod": [5, "1"]}}, f"$mod at 'a' {TWO_NUMBERS} str among them", "$mod", "a"),
        ({"a": {"$mod": [True, 1]}}, f"$mod at 'a' {TWO_NUMBERS} bool among them", "$mod", "a"),
        ({"a": {"$mod": [0.5, 1]}}, "$mod at 'a' expects a divisor other than 0, not 0", "$mod", "a"),
        ({"a": {"$mod": [NAN, 1]}}, "$mod at 'a' expects numbers of 64 bits, not nan", "$mod", "a"),
        ({"a": {"$mod": [2**63, 1]}}, "$mod at 'a' expects numbers of 64 bits, not 9223372036854775808", "$mod", "a"),
        ({"a": {"$size": "1"}}, "$size at 'a' expects a number of elements, not str", "$size", "a"),
        ({"a": {"$size": True}}, "$size at 'a' expects a number of elements, not bool", "$size", "a"),
        ({"a": {"$size": -1}}, "$size at 'a' expects a whole number from 0 to 2,147,483,647, not -1", "$size", "a"),
        ({"a": {"$size": 1.5}}, "$size at 'a' expects a whole number from 0 to 2,147,483,647, not 1.5", "$size", "a"),
        ({"a": {"$type": "text"}}, f"{TYPES} 'text'", "$type", "a"),
        ({"a": {"$type": [2, 20]}}, f"{TYPES} 20", "$type", "a"),
        ({"a": {"$type": True}}, f"{TYPES} True", "$type", "a"),
        ({"a": {"$type": []}}, "$type at 'a' expects at least one type, not an empty list", "$type", "a"),
        ({"a": {"$all": 5}}, "$all at 'a' expects a list, not int", "$all", "a"),
        ({"a": {"$all": [1, {"$elemMatch": {"$gt": 1}}]}}, "$all at 'a' expects values, or $elemMatch conditions only, "
         "not other operator objects", "$all", "a"),
        ({"a": {"$all": [{"$gt": 1}]}}, "$all at 'a' expects values, or $elemMatch conditions only, not other operator "
         "objects", "$all", "a"),
        ({"a": {"$elemMatch": [1]}}, "$elemMatch at 'a' expects a dict of conditions, not list", "$elemMatch", "a"),
        ({"a": {"$elemMatch": {"$gt": 1, "b": 1}}}, "the condition at 'a' mixes operators and fields ('b'); to compare "
         "with a whole dict use $eq", None, "a"),
        ({"$regex": "x"}, "$regex belongs under a path, as in {'path': {'$regex': ...}}; at the top level only $and, "
         "$or, $nor are operators", "$regex", None),
        ({"a": {"$gt": np.int64(1)}}, "$gt at 'a' expects one of None, bool, int, float, str, bytes, datetime, date, "
         "Decimal, UUID, list, dict, not numpy.int64", "$gt", "a"),
        ({"a": [re.compile("x")]}, "$eq at 'a' expects one of None, bool, int, float, str, bytes, datetime, date, "
         "Decimal, UUID, list, dict, not re.Pattern", "$eq", "a"),
        ({"a": {"$in": "xyz"}}, "$in at 'a' expects a list, not str", "$in", "a"),
        ({"a": {"$nin": [{"$gt": 1}]}}, "$nin at 'a' expects plain values in its list, not an operator object",
         "$nin", "a"),
        ({"a": {"$exists": "yes"}}, "$exists at 'a' expects True or False, not str", "$exists", "a"),
        ({"a": {"$not": 5}}, "$not at 'a' expects an operator object such as {'$gt': 5} or a regular expression, "
         "not int; for a plain value use $ne", "$not", "a"),
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


def test_elem_match_is_nested_at_most_50_levels_deep() -> None:
    query: dict[str, Any] = {"$gt": 1}
    document: Any = 2
    for _ in range(49):
        query, document = {"$elemMatch": query}, [document]
    assert compile_filter({"a": query})({"a": document})
    with pytest.raises(InvalidFilterError, match="a filter may be nested at most 50 levels deep"):
        compile_filter({"a": {"$elemMatch": query}})


def test_a_filter_has_at_most_100_regular_expressions() -> None:
    patterns = [re.compile(str(number)) for number in range(100)]
    assert compile_filter({"a": {"$in": patterns}})({"a": "99"})
    with pytest.raises(InvalidFilterError, match="a filter may have at most 100 regular expressions"):
        compile_filter({"a": {"$in": patterns}, "b": re.compile("x")})


def test_the_indexes_of_nested_elem_match_add_up() -> None:
    inner = {"$elemMatch": {"b.0.0.0.0.0.0": {"$elemMatch": {"$gt": 1}}}}
    assert compile_filter({"a.0.0.0.0": inner})
    with pytest.raises(InvalidFilterError, match=r"'a.0.0.0.0.0.b.0.0.0.0.0.0' has more than 10 array indexes"):
        compile_filter({"a.0.0.0.0.0": inner})


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

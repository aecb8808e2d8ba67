"""The update language: what comes out, what is refused and how it is said."""

from __future__ import annotations

import copy
import math
import pickle
import re
from datetime import UTC, datetime
from decimal import Decimal
from pprint import pformat
from typing import Any

import numpy as np
import pytest

from parquedb.documents.updates import compile_update
from parquedb.documents.values import MANAGED_FIELDS
from parquedb.errors import InvalidUpdateError, ValidationError


def refusal(ops: Any) -> InvalidUpdateError:
    with pytest.raises(InvalidUpdateError) as caught:
        compile_update(ops)
    return caught.value


@pytest.mark.parametrize(
    ("ops", "before", "after"),
    [
        # $set
        ({"$set": {"a": 1}}, {}, {"a": 1}),
        ({"$set": {"a": 1}}, {"a": [2], "b": 3}, {"a": 1, "b": 3}),
        ({"$set": {"a": None}}, {"a": 1}, {"a": None}),
        ({"$set": {}}, {"a": 1}, {"a": 1}),
        ({"$set": {"a.b.c": 1}}, {}, {"a": {"b": {"c": 1}}}),
        ({"$set": {"a.b": 1}}, {"a": {"c": 2}}, {"a": {"c": 2, "b": 1}}),
        ({"$set": {"a.b": 1, "a.c": 2, "a.d.e": 3}}, {"a": {}}, {"a": {"b": 1, "c": 2, "d": {"e": 3}}}),
        ({"$set": {"a.1": 9}}, {"a": [1, 2, 3]}, {"a": [1, 9, 3]}),
        ({"$set": {"a.3": 9}}, {"a": [1]}, {"a": [1, None, None, 9]}),
        ({"$set": {"a.2": 9, "a.1": 8}}, {"a": [1]}, {"a": [1, 8, 9]}),
        ({"$set": {"a.1.b": 9}}, {"a": [1, {"c": 2}]}, {"a": [1, {"c": 2, "b": 9}]}),
        ({"$set": {"a.1.b": 9}}, {"a": []}, {"a": [None, {"b": 9}]}),
        ({"$set": {"a.0": 9}}, {}, {"a": {"0": 9}}),
        ({"$set": {"a.0": 9}}, {"a": {"x": 1}}, {"a": {"x": 1, "0": 9}}),
        ({"$set": {"$type": "Post", "name": "N", "a.$date": 1}}, {}, {"$type": "Post", "name": "N", "a": {"$date": 1}}),
        ({"$set": {"a.version": 1}}, {}, {"a": {"version": 1}}),
        ({"$set": {"a": (1, datetime(2024, 1, 1, tzinfo=UTC))}}, {}, {"a": [1, datetime(2024, 1, 1, tzinfo=UTC)]}),
        # $unset
        ({"$unset": {"a": ""}}, {"a": 1, "b": 2}, {"b": 2}),
        ({"$unset": {"a": 1, "x": 1}}, {"a": None}, {}),
        ({"$unset": {"a.b": ""}}, {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        ({"$unset": {"a.b.c": ""}}, {}, {}),
        ({"$unset": {"a.b.c": ""}}, {"a": {"b": 5}}, {"a": {"b": 5}}),
        ({"$unset": {"a.b.c": ""}}, {"a": {}}, {"a": {}}),
        ({"$unset": {"a.1": ""}}, {"a": [1, 2, 3]}, {"a": [1, None, 3]}),
        ({"$unset": {"a.7": "", "a.x": "", "a.y.z": "", "a.9.z": ""}}, {"a": [1]}, {"a": [1]}),
        ({"$unset": {"$type": "", "name": ""}}, {"$type": "Post", "name": "N"}, {}),
        # $inc
        ({"$inc": {"a": 2}}, {"a": 1}, {"a": 3}),
        ({"$inc": {"a": -2}}, {}, {"a": -2}),
        ({"$inc": {"a.b": 2.5}}, {}, {"a": {"b": 2.5}}),
        ({"$inc": {"a.1": 2}}, {"a": [1, 2]}, {"a": [1, 4]}),
        ({"$inc": {"a.2": 2}}, {"a": [1]}, {"a": [1, None, 2]}),
        ({"$inc": {"a": 1}}, {"a": 2**63 - 1}, {"a": 2**63}),
        ({"$inc": {"a": 1}}, {"a": 1.5}, {"a": 2.5}),
        ({"$inc": {"a": 1.0}}, {"a": 1}, {"a": 2.0}),
        ({"$inc": {"a": Decimal("0.10")}}, {"a": Decimal("1.2")}, {"a": Decimal("1.30")}),
        ({"$inc": {"a": 1}}, {"a": Decimal("1.50")}, {"a": Decimal("2.50")}),
        ({"$inc": {"a": Decimal("0.2")}}, {"a": 0.1}, {"a": Decimal("0.3")}),
        ({"$inc": {"a": Decimal(1)}}, {"a": Decimal("1E+60")}, {"a": Decimal(10**60 + 1)}),
        ({"$inc": {"a": math.inf}}, {"a": Decimal(1)}, {"a": Decimal("Infinity")}),
        # Together.
        (
            {"$set": {"a.b": 1}, "$unset": {"a.c": ""}, "$inc": {"a.d": 1, "n": 1}},
            {"a": {"c": 1, "d": 1}},
            {"a": {"b": 1, "d": 2}, "n": 1},
        ),
    ],
    ids=lambda value: repr(value)[:50],
)  # fmt: skip
def test_an_update_makes_the_documented_result_and_leaves_its_input_alone(ops: Any, before: Any, after: Any) -> None:
    untouched = copy.deepcopy(before)

    result = compile_update(ops).apply(before)

    assert result == after
    assert pformat(result) == pformat(after)  # The types, too, whatever the order of keys.
    assert before == untouched
    assert result is not before


def test_infinities_of_both_signs_add_up_to_nan() -> None:
    update = compile_update({"$inc": {"a": -math.inf}})

    assert math.isnan(update.apply({"a": math.inf})["a"])
    assert update.apply({"a": Decimal("Infinity")})["a"].is_nan()


def test_what_an_update_does_not_touch_is_shared_and_what_it_touches_is_copied() -> None:
    document = {"a": {"b": 1, "same": [1]}, "c": [2]}
    result = compile_update({"$set": {"a.b": 2}}).apply(document)

    assert result["c"] is document["c"]
    assert result["a"]["same"] is document["a"]["same"]
    assert result["a"] is not document["a"]


@pytest.mark.parametrize(
    ("ops", "document", "message", "path"),
    [
        ({"$inc": {"a.b": 1}}, {"a": {"b": "x"}}, "cannot apply $inc to 'a.b', which holds str, not a number", "a.b"),
        ({"$inc": {"a": 1}}, {"a": True}, "cannot apply $inc to 'a', which holds bool, not a number", "a"),
        ({"$inc": {"a": 1}}, {"a": None}, "cannot apply $inc to 'a', which holds NoneType, not a number", "a"),
        ({"$inc": {"a": 1}}, {"a": [1]}, "cannot apply $inc to 'a', which holds list, not a number", "a"),
        ({"$inc": {"a": 0.5}}, {"a": 10**400}, "cannot apply $inc to 'a': the sum cannot be kept exactly (an int too "
         "large for a float)", "a"),
        ({"$inc": {"a": 1}}, {"a": Decimal("1E+5000")}, "cannot apply $inc to 'a': the sum cannot be kept exactly "
         "(too many digits)", "a"),
        ({"$set": {"a.b": 1}}, {"a": 5}, "cannot create field 'b' in 'a', which holds int", "a.b"),
        ({"$set": {"a.b.c": 1}}, {"a": {"b": None}}, "cannot create field 'c' in 'a.b', which holds NoneType", "a.b.c"),
        ({"$set": {"a.b": 1}}, {"a": [1]}, "cannot create field 'b' in 'a', which holds an array", "a.b"),
        ({"$set": {"a.b.c": 1}}, {"a": [1]}, "cannot create field 'b' in 'a', which holds an array", "a.b"),
        ({"$set": {"a.01": 1}}, {"a": [1]}, "cannot create field '01' in 'a', which holds an array", "a.01"),
        ({"$set": {"a.2000000": 1}}, {"a": [1]}, "cannot pad the array with 1,999,999 nulls to reach index 2000000 at "
         "'a.2000000': that makes 1,999,999 in this update; the most is 1,500,000", "a.2000000"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_a_document_does_not_allow_is_refused(ops: Any, document: Any, message: str, path: str) -> None:
    before = copy.deepcopy(document)
    with pytest.raises(InvalidUpdateError) as caught:
        compile_update(ops).apply(document)

    assert str(caught.value) == message
    assert caught.value.path == path
    assert document == before


OPERATORS = (
    "$set, $unset, $rename, $setOnInsert, $currentDate, $inc, $mul, $min, $max, $bit, "
    "$push, $addToSet, $pop, $pull, $pullAll, $link, $unlink"
)
SUPPORTED = f"supported are {OPERATORS}"


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ({"$frob": {}}, f"$frob is no update operator; {SUPPORTED}"),
        ({"$where": {"a": 1}}, f"$where is no update operator; {SUPPORTED}"),
        ({}, f"an update needs at least one operator: {OPERATORS}"),
        (
            {"title": "x"},
            "an update needs operators such as $set, but this one has only fields ('title', ...); to "
            "store a whole document use replace()",
        ),
        (
            {"$id": "x", "$type": "y"},
            "an update needs operators such as $set, but this one has only fields ('$id', "
            "...); to store a whole document use replace()",
        ),
        ({"$set": {"a": 1}, "b": 2}, "an update cannot mix operators and fields ('b'); put fields under $set"),
        ([{"$set": {}}], "an update must be a mapping from operators such as $set, not list"),
        ({"$set": 5}, "$set expects a mapping from paths to values, not int"),
        ({"$set": {5: 1}}, "$set 5: a path is a str, not int"),
        ({"$set": {"a.": 1}}, "$set 'a.': a path needs a name on both sides of every dot, and at least one name"),
        (
            {"$set": {"a.$": 1}},
            "$ at 'a' is the element that a filter matched, and an update by id has no filter; use array_filters, or "
            "name the index",
        ),
        (
            {"$inc": {"a.$[x].b": 1}},
            "$inc 'a.$[x].b': no array filter for $[x]",
        ),
        ({"$set": {"a.$[]": 1, "a.0": 1}}, "updating the path 'a.0' would create a conflict at 'a.0'"),
        ({"$rename": {"a": "a.b"}}, "updating the path 'a.b' would create a conflict at 'a'"),
        ({"$set": {"a.$[].x": 1, "a.0.y": 2}}, "updating the path 'a.0.y' would create a conflict at 'a.0'"),
        ({"$pop": {"a": 10**12}}, "$pop 'a' expects 1 (the last element) or -1 (the first), not int"),
        (
            {"$push": {"a": {"$each": [], "$sort": {"x": [1]}}}},
            "$push 'a' expects 1, -1 or a dict of fields with 1 or -1 as $sort, not dict",
        ),
        ({"$rename": {"a": 5}}, "$rename 5: a path is a str, not int"),
        ({"$rename": {"a": "$id"}}, "$rename '$id': the $id of a document never changes"),
        ({"$set": {"a": 1}, "$setOnInsert": {"a": 1}}, "updating the path 'a' would create a conflict at 'a'"),
        ({"$set": {"b": 1}, "$rename": {"a": "b"}}, "updating the path 'b' would create a conflict at 'b'"),
        ({"$mul": {"a": "2"}}, "$mul 'a' expects a number, not str"),
        ({"$pop": {"a": 2}}, "$pop 'a' expects 1 (the last element) or -1 (the first), not 2"),
        ({"$push": {"a": {"$slice": 1}}}, "$push 'a' expects $each with $position, $slice and $sort, not no $each"),
        ({"$push": {"a": {"$each": 1}}}, "$push 'a' expects a list of values, not int"),
        (
            {"$push": {"a": {"$each": [], "$sort": 2}}},
            "$push 'a' expects 1, -1 or a dict of fields with 1 or -1 as $sort, not 2",
        ),
        ({"$push": {"a": {"$each": [], "$position": "x"}}}, "$push 'a' expects an int as $position, not str"),
        (
            {"$addToSet": {"a": {"$each": [], "$slice": 1}}},
            "$addToSet 'a' expects nothing beside $each, not $each, $slice",
        ),
        ({"$pullAll": {"a": 1}}, "$pullAll 'a' expects a list of values, not int"),
        (
            {"$bit": {"a": {"not": 1}}},
            "$bit 'a' expects a dict such as {'and': 5}, {'or': 5} or {'xor': 5}, not another dict",
        ),
        ({"$bit": {"a": {"and": 1.5}}}, "$bit 'a' expects ints of at most 65536 bits, not float"),
        (
            {"$currentDate": {"a": 1}},
            "$currentDate 'a' expects True, {'$type': 'date'} or {'$type': 'timestamp'}, not int",
        ),
        ({"$link": {"a": "users"}}, "$link 'a' expects '<namespace>/<id>' or a list of such, not 'users'"),
        ({"$unlink": {"a": 5}}, "$unlink 'a' expects '<namespace>/<id>' or a list of such, not int"),
        ({"$set": {"$foo": 1}}, "$set '$foo': no field of a document starts with '$' ($id and $type aside)"),
        ({"$set": {"$id": "x"}}, "$set '$id': the $id of a document never changes"),
        ({"$unset": {"$id": ""}}, "$unset '$id': the $id of a document never changes"),
        ({"$set": {"name": 5}}, "$set 'name': 'name' holds a str, not int"),
        ({"$set": {"name.first": "x"}}, "$set 'name.first': 'name' holds a str, not a dict"),
        ({"$inc": {"$type": 1}}, "$inc '$type': '$type' holds a str, not a number"),
        ({"$inc": {"a": "1"}}, "$inc 'a' expects a number, not str"),
        ({"$inc": {"a": True}}, "$inc 'a' expects a number, not bool"),
        ({"$inc": {"a": np.int64(1)}}, "$inc 'a' expects a number, not numpy.int64"),
        ({"$set": {"a": 1}, "$inc": {"a": 1}}, "updating the path 'a' would create a conflict at 'a'"),
        ({"$set": {"a": 1, "a.b": 1}}, "updating the path 'a.b' would create a conflict at 'a'"),
        ({"$set": {"a.b.c": 1}, "$unset": {"a.b": 1}}, "updating the path 'a.b' would create a conflict at 'a.b'"),
        ({"$set": {".".join("a" * 101): 1}}, f"$set {'.'.join('a' * 101)[:80]!r}: a path has at most 100 names"),
        ({"$set": {str(n): 1 for n in range(10_001)}}, "an update may write at most 10,000 paths"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_not_understood_is_refused(ops: Any, message: str) -> None:
    assert str(refusal(ops)) == message


@pytest.mark.parametrize("field", MANAGED_FIELDS)
@pytest.mark.parametrize("op", ["$set", "$unset", "$inc"])
def test_fields_that_the_database_manages_are_refused(op: str, field: str) -> None:
    assert str(refusal({op: {field: 1}})) == f"{op} {field!r}: only the database writes {field!r}"
    assert str(refusal({op: {f"{field}.x": 1}})).endswith(f"only the database writes {field!r}")


def test_a_refusal_names_operator_and_path_as_facts() -> None:
    error = refusal({"$inc": {"a.b": "x"}})

    assert (error.operator, error.path) == ("$inc", "a.b")


def test_a_value_that_no_document_holds_is_refused_with_its_whole_path() -> None:
    with pytest.raises(ValidationError) as caught:
        compile_update({"$set": {"a.b": [{"c": np.int64(1)}]}})

    assert (caught.value.field, caught.value.actual) == ("a.b[0].c", "numpy.int64")


def test_an_update_cannot_make_a_document_deeper_than_the_limit() -> None:
    assert compile_update({"$set": {"a.b": {"c": []}}}, depth_max=4).apply({}) == {"a": {"b": {"c": []}}}
    with pytest.raises(ValidationError, match="levels of nesting"):
        compile_update({"$set": {"a.b": {"c": [[]]}}}, depth_max=4)


def test_an_update_pickles_and_keeps_its_normalised_operators() -> None:
    update = pickle.loads(pickle.dumps(compile_update({"$set": {"a.b": (1,)}, "$unset": {"c": 0}, "$inc": {"n": 2}})))

    assert update.ops == {"$set": {"a.b": [1]}, "$unset": {"c": ""}, "$inc": {"n": 2}}
    assert update.apply({"c": 1}) == {"a": {"b": [1]}, "n": 2}
    assert repr(update) == "Update({'$set': {'a.b': [1]}, '$unset': {'c': ''}, '$inc': {'n': 2}})"


def test_changing_the_given_operators_afterwards_changes_nothing() -> None:
    value = [1]
    update = compile_update({"$set": {"a": value}})
    value.append(2)

    assert update.apply({}) == {"a": [1]}


NOW = datetime(2026, 2, 3, tzinfo=UTC)
XS = re.compile("x")


@pytest.mark.parametrize(
    ("ops", "within"),
    [
        ({"$pull": {"a": {"n": {"$in": [1]}}}}, lambda ops: ops["$pull"]["a"]["n"]["$in"].append(2)),
        ({"$pull": {"a": {"$or": [{"n": 1}]}}}, lambda ops: ops["$pull"]["a"]["$or"].append({"n": 2})),
        ({"$push": {"a": {"$each": [], "$sort": {"n": 1}}}}, lambda ops: ops["$push"]["a"]["$sort"].update(n=-1)),
        ({"$bit": {"b": {"or": 1}}}, lambda ops: ops["$bit"]["b"].update({"or": 2})),
        ({"$currentDate": {"c": {"$type": "date"}}}, lambda ops: ops["$currentDate"]["c"].update({"$type": "x"})),
        ({"$link": {"d": ["t/x"]}}, lambda ops: ops["$link"]["d"].append("t/y")),
        ({"$unlink": {"d": ["t/x"]}}, lambda ops: ops["$unlink"]["d"].append("t/y")),
    ],
    ids=["$pull", "$pull $or", "$push", "$bit", "$currentDate", "$link", "$unlink"],
)
def test_changing_a_given_condition_afterwards_changes_nothing(ops: Any, within: Any) -> None:
    ops = copy.deepcopy(ops)
    update, same = compile_update(ops), compile_update(copy.deepcopy(ops))
    within(ops)

    document = {"a": [{"n": 2}, {"n": 1}], "b": 4, "d": ["t/y"]}
    assert update.ops == same.ops
    assert pickle.loads(pickle.dumps(update)).apply(document, now=NOW) == same.apply(document, now=NOW)


@pytest.mark.parametrize(
    ("ops", "document", "expected", "actual"),
    [
        ({"$set": {5: 1}}, {}, "a str", "int"),
        ({"$set": 5}, {}, "a mapping from paths to values", "int"),
        ({"$inc": {"a": "x"}}, {}, "a number", "str"),
        ({"$inc": {"a": 1}}, {"a": "x"}, "a number", "str"),
        ({"$bit": {"a": {"or": 1.5}}}, {}, "ints of at most 65536 bits", "float"),
        ({"$push": {"a": 1}}, {"a": 5}, "an array", "int"),
        ({"$pop": {"a": 3}}, {}, "1 (the last element) or -1 (the first)", "3"),
        ({"$set": {"a.b": 1}}, {"a": 5}, "a dict", "int"),
        ({"$set": {"a.b": 1}}, {"a": []}, "a dict", "an array"),
        ({"$set": {"a": 1}, "$inc": {"a": 1}}, {}, "one change of each place", "two at 'a'"),
        ({"$set": {"name": 5}}, {}, "a str", "int"),
        ({"$set": {".".join("a" * 101): 1}}, {}, "at most 100 names", "101"),
        ({"$currentDate": {"a": 1}}, {}, "True, {'$type': 'date'} or {'$type': 'timestamp'}", "int"),
        ({"$link": {"a": "x"}}, {}, "'<namespace>/<id>' or a list of such", "'x'"),
        ({"$set": {"a.$": 1}}, {}, "a filter", "an id"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_refusal_says_what_was_expected_and_what_it_met(ops: Any, document: Any, expected: str, actual: str) -> None:
    with pytest.raises(InvalidUpdateError) as caught:
        compile_update(ops).apply(document)

    assert (caught.value.expected, caught.value.actual) == (expected, actual)


@pytest.mark.parametrize(
    ("ops", "before", "after"),
    [
        ({"$set": {"a.$[].n": 1}}, {"a": [{}, {"n": 2}]}, {"a": [{"n": 1}, {"n": 1}]}),
        ({"$inc": {"a.$[]": 1}}, {"a": [1, 2.5]}, {"a": [2, 3.5]}),
        ({"$unset": {"a.$[]": ""}}, {"a": [1, 2]}, {"a": [None, None]}),
        ({"$set": {"a.3.x": 1, "a.1.y": 2}}, {"a": [{}]}, {"a": [{}, {"y": 2}, None, {"x": 1}]}),
        ({"$rename": {"a.b": "c.d"}}, {"a": {"b": 1, "x": 2}}, {"a": {"x": 2}, "c": {"d": 1}}),
        ({"$rename": {"no": "a"}}, {"a": 1}, {"a": 1}),
        ({"$rename": {"a": "b"}}, {"a": 1, "b": 2}, {"b": 1}),
        ({"$setOnInsert": {"a": 1}}, {}, {}),
        ({"$currentDate": {"at": True, "b.c": {"$type": "timestamp"}}}, {}, {"at": NOW, "b": {"c": NOW}}),
        ({"$mul": {"a": 3, "b": 2.5, "c": Decimal("1.5")}}, {"a": 2, "c": 2}, {"a": 6, "b": 0.0, "c": Decimal("3.0")}),
        ({"$mul": {"a": 2**70}}, {"a": 2**70}, {"a": 2**140}),
        ({"$min": {"a": 1, "b": None, "c": "x"}}, {"a": 2, "b": 3}, {"a": 1, "b": None, "c": "x"}),
        ({"$max": {"a": "text", "b": 1.0}}, {"a": 5, "b": 1}, {"a": "text", "b": 1}),
        ({"$bit": {"a": {"and": 12, "or": 1}, "b": {"xor": 5}}}, {"a": 10}, {"a": 9, "b": 5}),
        ({"$push": {"a": [1], "b": 2}}, {"a": [0]}, {"a": [0, [1]], "b": [2]}),
        (
            {"$push": {"a": {"$each": [3, 1], "$position": 1, "$sort": -1, "$slice": 3}}},
            {"a": [2, 9]},
            {"a": [9, 3, 2]},
        ),
        ({"$push": {"a": {"$each": [], "$slice": -2}}}, {"a": [1, 2, 3]}, {"a": [2, 3]}),
        (
            {"$push": {"a": {"$each": [{"n": 1}], "$sort": {"n": 1, "k": -1}}}},
            {"a": [{"n": 1, "k": 5}, {}]},
            {"a": [{}, {"n": 1, "k": 5}, {"n": 1}]},
        ),
        ({"$addToSet": {"a": {"$each": [1.0, 2, 2]}, "b": {"x": 1}}}, {"a": [1]}, {"a": [1, 2], "b": [{"x": 1}]}),
        ({"$pop": {"a": 1, "b": -1, "no.where": 1}}, {"a": [1, 2], "b": [1, 2]}, {"a": [1], "b": [2]}),
        (
            {"$pull": {"a": 1, "b": {"$gte": 2}, "c": {"n": {"$gt": 1}}, "no.where": 1}},
            {"a": [1, 1.0, 2], "b": [1, 2, 3], "c": [{"n": 1}, {"n": 2}, 5]},
            {"a": [2], "b": [1], "c": [{"n": 1}, 5]},
        ),
        (
            {"$pull": {"a": {"$or": [{"n": 1}, {"$and": [{"n": 2}, {"m": 1}]}]}, "b": {"$nor": [{"n": 1}]}, "c": {}}},
            {"a": [{"n": 1}, {"n": 2}, {"n": 2, "m": 1}, 1], "b": [{"n": 1}, {"n": 2}, 2], "c": [{}, {"x": 1}, 1]},
            {"a": [{"n": 2}, 1], "b": [{"n": 1}, 2], "c": [1]},
        ),
        (
            {"$pull": {"a": re.compile("^x", re.IGNORECASE), "b": {"n": re.compile("x$")}, "c": {"$in": [XS, 1]}}},
            {"a": ["Xa", "ax", 1], "b": [{"n": "ax"}, {"n": "xa"}], "c": ["ax", 1, 2]},
            {"a": ["ax", 1], "b": [{"n": "xa"}], "c": [2]},
        ),
        ({"$pull": {"a": {"$comment": "why", "n": 1}}}, {"a": [{"n": 1}, {"n": 2}]}, {"a": [{"n": 2}]}),
        ({"$pullAll": {"a": [1, [2]]}}, {"a": [1, 2, [2], 3]}, {"a": [2, 3]}),
        ({"$pop": {"a.x": 1, "b.c": 1}, "$pull": {"a.y": 1}}, {"a": [1], "b": 5}, {"a": [1], "b": 5}),
        (
            {"$link": {"one": "users/a", "two": "users/b", "many": ["tags/x", "tags/y", "tags/x"]}},
            {"two": "users/old", "many": ["tags/y"]},
            {"one": "users/a", "two": "users/b", "many": ["tags/y", "tags/x"]},
        ),
        ({"$link": {"many": "tags/x"}}, {"many": ["tags/y"]}, {"many": ["tags/y", "tags/x"]}),
        (
            {"$unlink": {"one": "users/a", "many": ["tags/x"], "all": "$all", "no": "$all"}},
            {"one": "users/a", "many": ["tags/x", "tags/y"], "all": ["a/b"]},
            {"many": ["tags/y"], "all": []},
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_each_operator_does(ops: Any, before: Any, after: Any) -> None:
    given = copy.deepcopy(before)
    found = compile_update(ops).apply(given, now=NOW)
    assert found == after
    assert list(map(type, found.values())) == list(map(type, (found | after).values()))
    assert given == before


def test_what_waits_for_an_insert_comes_with_one() -> None:
    update = compile_update({"$setOnInsert": {"a.b": 1, "c": 2}, "$inc": {"n": 1}})
    assert update.apply({}, inserting=True) == {"n": 1, "a": {"b": 1}, "c": 2}
    assert update.apply({"n": 1}) == {"n": 2}


@pytest.mark.parametrize("first", ["$setOnInsert", "$set"])
def test_what_waits_for_an_insert_is_made_before_a_later_element_pads_its_place(first: str) -> None:
    ops = {"$setOnInsert": {"a.1.x": 1}, "$set": {"a.2.y": 2}}
    update = compile_update(dict(sorted(ops.items(), reverse=first == "$setOnInsert")))

    assert update.apply({"a": []}, inserting=True) == {"a": [None, {"x": 1}, {"y": 2}]}


@pytest.mark.parametrize(
    ("ops", "document", "message"),
    [
        ({"$push": {"a": 1}}, {"a": 5}, "cannot apply $push to 'a', which holds int, not an array"),
        ({"$pop": {"a": 1}}, {"a": None}, "cannot apply $pop to 'a', which holds NoneType, not an array"),
        ({"$mul": {"a": 2}}, {"a": None}, "cannot apply $mul to 'a', which holds NoneType, not a number"),
        ({"$bit": {"a": {"or": 1}}}, {"a": 1.0}, "cannot apply $bit to 'a', which holds float, not an int"),
        ({"$link": {"a": ["t/x"]}}, {"a": "t/y"}, "cannot apply $link to 'a', which holds str, not a list"),
        ({"$unlink": {"a": "t/x"}}, {"a": 5}, "cannot apply $unlink to 'a', which holds int, not a list or a str"),
        ({"$set": {"a.$[]": 1}}, {"a": {"b": 1}}, "$[] needs an array at 'a', which holds dict"),
        ({"$set": {"a.$[].b": 1}}, {}, "$[] needs an array at 'a', which holds nothing"),
        ({"$rename": {"a.b": "c"}}, {"a": [{"b": 1}]}, "$rename: 'a.b' goes through the array at 'a'"),
    ],
)
def test_what_stands_in_the_way_is_named(ops: Any, document: Any, message: str) -> None:
    before = copy.deepcopy(document)
    with pytest.raises(InvalidUpdateError) as caught:
        compile_update(ops).apply(document)
    assert str(caught.value) == message
    assert document == before

"""Positional forms in the paths of updates: `$[]`, `$[<identifier>]` with array filters, and `$`."""

from __future__ import annotations

import copy
import pickle
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from parquedb.documents.array_filters import SPELLING
from parquedb.documents.filters import compile_filter
from parquedb.documents.regex import Regex
from parquedb.documents.updates import compile_update
from parquedb.errors import InvalidUpdateError

ONE_IDENTIFIER = "array_filters: expected one identifier in each filter, with which all its paths begin"


def applied(ops: Any, filters: Any, document: dict[str, Any]) -> dict[str, Any]:
    before = copy.deepcopy(document)
    result = compile_update(ops, array_filters=filters).apply(document)
    assert document == before
    return result


def refusal(ops: Any, document: dict[str, Any] | None = None, **more: Any) -> InvalidUpdateError:
    """The error of an update: of compiling it, or with a document, of applying what compiles."""
    if document is None:
        with pytest.raises(InvalidUpdateError) as caught:
            compile_update(ops, **more)
    else:
        update = compile_update(ops, **more)
        with pytest.raises(InvalidUpdateError) as caught:
            update.apply(document)
    return caught.value


@pytest.mark.parametrize(
    ("ops", "filters", "before", "after"),
    [
        # The examples of MongoDB's manual.
        ({"$set": {"grades.$[element]": 100}}, [{"element": {"$gte": 100}}], {"grades": [95, 102, 90, 150]},
         {"grades": [95, 100, 90, 100]}),
        ({"$set": {"grades.$[elem].mean": 100}}, [{"elem.grade": {"$gte": 85}}],
         {"grades": [{"grade": 80, "mean": 75}, {"grade": 85, "mean": 90}]},
         {"grades": [{"grade": 80, "mean": 75}, {"grade": 85, "mean": 100}]}),
        ({"$inc": {"grades.$[elem].std": -1}}, [{"elem.grade": {"$gte": 80}, "elem.std": {"$gt": 5}}],
         {"grades": [{"grade": 80, "std": 5}, {"grade": 85, "std": 6}]},
         {"grades": [{"grade": 80, "std": 5}, {"grade": 85, "std": 5}]}),
        ({"$set": {"alumni.$[degree].gradcampaign": 1}}, [{"degree.level": {"$ne": "Bachelor"}}],
         {"alumni": [{"level": "Master"}, {"level": "Bachelor"}]},
         {"alumni": [{"level": "Master", "gradcampaign": 1}, {"level": "Bachelor"}]}),
        ({"$inc": {"grades.$[t].questions.$[score]": 2}}, [{"t.type": "quiz"}, {"score": {"$gte": 8}}],
         {"grades": [{"type": "quiz", "questions": [10, 8, 5]}, {"type": "exam", "questions": [9, 8]}]},
         {"grades": [{"type": "quiz", "questions": [12, 10, 5]}, {"type": "exam", "questions": [9, 8]}]}),
        ({"$inc": {"grades.$[].questions.$[score]": 2}}, [{"score": {"$gte": 8}}],
         {"grades": [{"questions": [10, 5]}, {"questions": [8]}]},
         {"grades": [{"questions": [12, 5]}, {"questions": [10]}]}),
        # Conditions of other shapes.
        ({"$unset": {"a.$[i]": ""}}, [{"i": 2}], {"a": [1, 2, 3]}, {"a": [1, None, 3]}),
        ({"$unset": {"a.$[i].n": ""}}, [{"i.n": 2}], {"a": [{"n": 2}, {"n": 3}]}, {"a": [{}, {"n": 3}]}),
        ({"$set": {"a.$[i].x": 1}}, [{"$or": [{"i.n": 1}, {"i.m": 2}]}], {"a": [{"n": 1}, {"m": 2}, {"m": 1}]},
         {"a": [{"n": 1, "x": 1}, {"m": 2, "x": 1}, {"m": 1}]}),
        ({"$set": {"a.$[i]": 0}}, [{"$and": [{"i": {"$gt": 1}}, {"i": {"$lt": 3}}]}], {"a": [1, 2, 3]},
         {"a": [1, 0, 3]}),
        ({"$set": {"a.$[i]": 0}}, [{"i": {"$not": {"$gt": 1}}}], {"a": [1, 2]}, {"a": [0, 2]}),
        ({"$set": {"a.$[i]": 0}}, [{"i": re.compile("^x", re.IGNORECASE)}], {"a": ["Xa", "ax"]}, {"a": [0, "ax"]}),
        ({"$set": {"a.$[i].t": 1}}, [{"i.b": {"$elemMatch": {"k": 1}}}], {"a": [{"b": [{"k": 1}]}, {"b": [1]}]},
         {"a": [{"b": [{"k": 1}], "t": 1}, {"b": [1]}]}),
        ({"$push": {"a.$[i]": 9}}, [{"i": {"$size": 1}}], {"a": [[1], [1, 2]]}, {"a": [[1, 9], [1, 2]]}),
        ({"$set": {"a.$[i2X]": 0}}, [{"i2X": 1}], {"a": [1]}, {"a": [0]}),
        # An array filter may be used several times, and no element need pass.
        ({"$set": {"a.$[i].x": 1, "a.$[i].y": 2, "b.$[i].z": 3}}, [{"i.n": 1}], {"a": [{"n": 1}, {"n": 2}], "b": []},
         {"a": [{"n": 1, "x": 1, "y": 2}, {"n": 2}], "b": []}),
        ({"$set": {"a.$[i].$[i]": 0}}, [{"i": 1}], {"a": [[1, 2], [3]]}, {"a": [[0, 2], [3]]}),
        ({"$inc": {"a.$[i]": 1}}, [{"i": 9}], {"a": [1]}, {"a": [1]}),
        # Several that meet at one element change it together.
        ({"$set": {"a.$[i].x": 1, "a.$[j].y": 2, "a.$[].z": 3}}, [{"i.n": 1}, {"j.n": {"$lt": 3}}],
         {"a": [{"n": 1}, {"n": 2}, {"n": 3}]},
         {"a": [{"n": 1, "x": 1, "y": 2, "z": 3}, {"n": 2, "y": 2, "z": 3}, {"n": 3, "z": 3}]}),
        ({"$set": {"a.$[i].b.$[k]": 0, "a.$[j].b.$[l]": 9}}, [{"i.n": 1}, {"j.m": 1}, {"k": 1}, {"l": 2}],
         {"a": [{"n": 1, "m": 1, "b": [1, 2]}, {"m": 1, "b": [1, 2]}]},
         {"a": [{"n": 1, "m": 1, "b": [0, 9]}, {"m": 1, "b": [1, 9]}]}),
        ({"$set": {"a.$[i]": 5, "a.$[j]": 6}}, [{"i": 0}, {"j": 1}], {"a": [0, 1, 2]}, {"a": [5, 6, 2]}),
        ({"$setOnInsert": {"a.$[i]": 5}}, [{"i": 0}], {"a": [0]}, {"a": [0]}),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_an_array_filter_chooses_the_elements(ops: Any, filters: Any, before: Any, after: Any) -> None:
    assert applied(ops, filters, before) == after


@pytest.mark.parametrize(
    ("ops", "filters", "message"),
    [
        ({"$set": {"a.$[i]": 1}}, None, "$set 'a.$[i]': no array filter for $[i]"),
        ({"$set": {"a.$[i]": 1}}, [{"j": 1}], "$set 'a.$[i]': no array filter for $[i]"),
        ({"$set": {"a": 1}}, [{"i": 1}], "the array filter of 'i' is not used in the update"),
        ({"$set": {"a.$[i]": 1}}, [{"i": 1}, {"j": 1}], "the array filter of 'j' is not used in the update"),
        ({"$set": {"a.$[i]": 1}}, [{"i.a": 1}, {"i.b": 1}],
         "array_filters: expected one filter for each identifier, got two for 'i'; join them with $and"),
        ({"$set": {"a.$[i]": 1}}, [{"i": 1, "j": 2}], f"{ONE_IDENTIFIER}, got 'i', 'j'"),
        ({"$set": {"a.$[i]": 1}}, [{"$or": [{"i": 1}, {"$nor": [{"j": 2}]}]}], f"{ONE_IDENTIFIER}, got 'i', 'j'"),
        ({"$set": {"a.$[i]": 1}}, [{}], f"{ONE_IDENTIFIER}, got none"),
        *(
            ({"$set": {f"a.$[{name}]": 1}}, [{name: 1}],
             f"array_filters: expected {SPELLING} as identifier, got {name!r}")
            for name in ("I", "1", "_i", "i-j", "i_j", "ï", "$id")
        ),
        ({"$set": {"a.$[I]": 1}}, None, f"$set 'a.$[I]': $[I] needs {SPELLING}"),
        ({"$set": {"a.$[i": 1}}, [{"i": 1}], f"$set 'a.$[i': $[i needs {SPELLING}"),
        ({"$set": {"a.$[i]": 1}}, {"i": 1}, "array_filters: expected a list of at most 100 filters, got dict"),
        ({"$set": {"a.$[i]": 1}}, [{"i": 1}] * 101, "array_filters: expected a list of at most 100 filters, got 101"),
        ({"$set": {"a.$[i]": 1}}, ["i"], "array_filters[0]: a filter must be a mapping from paths to conditions, "),
        ({"$set": {"a.$[i]": 1}}, [{"i": {"$near": 1}}], "array_filters[0]: $near is no filter operator (at 'i'); "),
        ({"$set": {"a.$[i]": 1}}, [{"$expr": {}}], "array_filters[0]: $expr is no filter operator; supported are"),
        ({"$set": {"$[i]": 1}}, [{"i": 1}], "$set '$[i]': no field of a document starts with '$'"),
        ({"$rename": {"a.$[i]": "b"}}, [{"i": 1}], "$rename 'a.$[i]': $[i] is not possible here"),
        ({"$rename": {"b": "a.$[]"}}, None, "$rename 'b': $[] is not possible here"),
        ({"$set": {"a.$[i]": 1, "a.0": 1}}, [{"i": 1}], "updating the path 'a.0' would create a conflict at 'a.0'"),
        ({"$set": {"a.$[i]": 1}, "$inc": {"a.$[i]": 1}}, [{"i": 1}],
         "updating the path 'a.$[i]' would create a conflict at 'a.$[i]'"),
        ({"$set": {"a.$[i].b": 1, "a": 1}}, [{"i": 1}], "updating the path 'a' would create a conflict at 'a'"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_array_filters_that_are_not_understood_are_refused(ops: Any, filters: Any, message: str) -> None:
    assert str(refusal(ops, array_filters=filters)).startswith(message)


def test_a_filter_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {"$and": []}
    endless["$and"].append(endless)

    assert "levels deep" in str(refusal({"$set": {"a.$[i]": 1}}, array_filters=[endless]))


@pytest.mark.parametrize("segment", ["$[]", "$[i]", "$"])
@pytest.mark.parametrize("op", ["$set", "$unset", "$inc", "$pop", "$pull", "$pullAll", "$push"])
@pytest.mark.parametrize(
    ("held", "kind"), [({"a": 5}, "int"), ({"a": {"b": 1}}, "dict"), ({"a": None}, "NoneType"), ({}, "nothing")]
)
def test_every_positional_form_of_every_operator_needs_an_array(op: str, segment: str, held: Any, kind: str) -> None:
    operand = {"$pullAll": [1], "$unset": ""}.get(op, 1)
    filters = [{"i": 1}] if segment == "$[i]" else None
    where = compile_filter({"a": 5})

    error = refusal({op: {f"a.{segment}": operand}}, held, array_filters=filters, matched_by=where)

    assert str(error) == f"{segment} needs an array at 'a', which holds {kind}"
    assert (error.path, error.operator, error.expected, error.actual) == ("a", segment, "an array", kind)


def test_an_array_that_a_positional_form_needs_may_not_be_missing_further_down() -> None:
    ops = {"$unset": {"a.b.$[].c": ""}}
    assert str(refusal(ops, {"a": {}})) == "$[] needs an array at 'a.b', which holds nothing"
    assert str(refusal(ops, {})) == "$[] needs an array at 'a.b', which holds nothing"
    assert str(refusal(ops, {"a": 5})) == "cannot create field 'b' in 'a', which holds int"
    assert applied({"$unset": {"a.$[].b.c": ""}}, None, {"a": [1, {}, {"b": {"c": 1}}]}) == {"a": [1, {}, {"b": {}}]}


def test_two_array_filters_that_pass_one_element_cannot_change_it_twice() -> None:
    filters = [{"i": {"$lt": 5}}, {"j": {"$gt": 3}}]
    ops = {"$set": {"a.$[i]": 5, "a.$[j]": 6}}
    assert applied(ops, filters, {"a": [3, 5]}) == {"a": [5, 6]}

    assert str(refusal(ops, {"a": [3, 4]}, array_filters=filters)) == (
        "updating the path 'a.1' would create a conflict at 'a.1'"
    )
    apart = {"$set": {"a.$[i].x": 5, "a.$[].y": 6}}
    assert (
        str(refusal(apart, {"a": [1]}, array_filters=[{"i": 1}])) == "cannot create field 'x' in 'a.0', which holds int"
    )
    nested = {"$set": {"a.$[i].x.y": 5, "a.$[].x": 6}}
    assert str(refusal(nested, {"a": [{}]}, array_filters=[{"i": {}}])).endswith("a conflict at 'a.0.x'")
    indexed = {"$set": {"a.$[].x.0": 5, "a.$[i].x.$[]": 6}}
    assert str(refusal(indexed, {"a": [{}]}, array_filters=[{"i": {}}])).endswith("a conflict at 'a.0.x'")


def test_an_update_keeps_its_array_filters_as_plain_data_of_its_own() -> None:
    given = [{"i": {"$in": [re.compile("^x", re.IGNORECASE), datetime(2024, 1, 1)]}}]  # noqa: DTZ001 - a naive one
    update = compile_update({"$set": {"a.$[i]": 0}}, array_filters=given)
    given[0]["i"]["$in"].clear()

    assert update.array_filters == [{"i": {"$in": [Regex("^x", "i"), datetime(2024, 1, 1, tzinfo=UTC)]}}]
    assert pickle.loads(pickle.dumps(update)).apply({"a": ["Xy", "y"]}) == {"a": [0, "y"]}


def found_by(query: Any, ops: Any, document: dict[str, Any]) -> dict[str, Any]:
    predicate = compile_filter(query)
    assert predicate(document), "the example is wrong"
    before = copy.deepcopy(document)
    result = compile_update(ops, matched_by=predicate).apply(document)
    assert document == before
    return result


@pytest.mark.parametrize(
    ("query", "ops", "before", "after"),
    [
        # The examples of MongoDB's manual.
        ({"$id": "n/1", "grades": 80}, {"$set": {"grades.$": 82}}, {"$id": "n/1", "grades": [85, 80, 80]},
         {"$id": "n/1", "grades": [85, 82, 80]}),
        ({"grades.grade": 85}, {"$set": {"grades.$.std": 6}}, {"grades": [{"grade": 80}, {"grade": 85}, {"grade": 85}]},
         {"grades": [{"grade": 80}, {"grade": 85, "std": 6}, {"grade": 85}]}),
        ({"grades": {"$elemMatch": {"grade": {"$lte": 90}, "mean": {"$gt": 80}}}}, {"$set": {"grades.$.std": 6}},
         {"grades": [{"grade": 80, "mean": 75}, {"grade": 85, "mean": 90}]},
         {"grades": [{"grade": 80, "mean": 75}, {"grade": 85, "mean": 90, "std": 6}]}),
        # Others.
        ({"a": {"$elemMatch": {"$gt": 2, "$lt": 5}}}, {"$inc": {"a.$": 10}}, {"a": [1, 7, 3, 4]}, {"a": [1, 7, 13, 4]}),
        ({"a": {"$elemMatch": {"$ne": 1}}}, {"$set": {"a.$": 0}}, {"a": [1, 7]}, {"a": [1, 0]}),
        ({"$and": [{"k": 1}, {"a": {"$gt": 1}}]}, {"$unset": {"a.$": ""}}, {"k": 1, "a": [1, 2]},
         {"k": 1, "a": [1, None]}),
        ({"a.b.c": 2}, {"$set": {"a.$.x": 1}}, {"a": [{"b": {"c": 1}}, {"b": [{"c": 1}, {"c": 2}]}]},
         {"a": [{"b": {"c": 1}}, {"b": [{"c": 1}, {"c": 2}], "x": 1}]}),
        ({"a.b": {"$elemMatch": {"c": 2}}}, {"$set": {"a.b.$.x": 1}}, {"a": {"b": [{}, {"c": 2}]}},
         {"a": {"b": [{}, {"c": 2, "x": 1}]}}),
        ({"a.b": {"$elemMatch": {"c": 2}}}, {"$set": {"a.$.x": 1}}, {"a": [{"b": []}, {"b": [{"c": 2}]}]},
         {"a": [{"b": []}, {"b": [{"c": 2}], "x": 1}]}),
        ({"a": [1]}, {"$set": {"a.$": 0}}, {"a": [1, [1]]}, {"a": [1, 0]}),
        ({"a.n": 2, "b": 3}, {"$set": {"a.$.x": 1, "a.$.y": 2, "b.$": 9}}, {"a": [{"n": 1}, {"n": 2}], "b": [3]},
         {"a": [{"n": 1}, {"n": 2, "x": 1, "y": 2}], "b": [9]}),
        ({"a.n": 1}, {"$inc": {"a.$.b.$[]": 1}}, {"a": [{"n": 1, "b": [1, 2]}]}, {"a": [{"n": 1, "b": [2, 3]}]}),
        ({"a": re.compile("^x")}, {"$set": {"a.$": ""}}, {"a": ["y", "xy"]}, {"a": ["y", ""]}),
        ({"a.n": None}, {"$set": {"a.$.n": 1}}, {"a": [{"n": 2}, {}]}, {"a": [{"n": 2}, {"n": 1}]}),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_the_positional_operator_is_the_first_element_that_the_filter_matched(
    query: Any, ops: Any, before: Any, after: Any
) -> None:
    assert found_by(query, ops, before) == after


@pytest.mark.parametrize(
    ("query", "path", "message"),
    [
        ({}, "a.$", "not 0"),
        ({"b": 1}, "a.$", "not 0"),
        ({"a": {"$ne": 1}}, "a.$", "not 0"),
        ({"a": {"$nin": [1]}}, "a.$", "not 0"),
        ({"a": {"$not": {"$gt": 1}}}, "a.$", "not 0"),
        ({"a.b": {"$exists": False}}, "a.$", "not 0"),
        ({"a": {"$exists": True}}, "a.$", "not 0"),
        ({"a": {"$size": 2}}, "a.$", "not 0"),
        ({"$or": [{"a": 1}, {"b": 1}]}, "a.$", "not 0"),
        ({"a": {"$gt": 1, "$lt": 3}}, "a.$", "not 2"),
        ({"a.b": 1, "a.c": 2}, "a.$.x", "not 2"),
        ({"ab": 1}, "a.$", "not 0"),
        ({"a": 1}, "a.$[].b.$", "$ cannot stand behind another positional form"),
        ({"a": 1}, "a.$.b.$", "$ cannot stand behind another positional form"),
        ({"a": 1}, "$", "no field of a document starts with '$'"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_filter_that_names_no_single_element_is_refused(query: Any, path: str, message: str) -> None:
    assert message in str(refusal({"$set": {path: 1}}, matched_by=compile_filter(query)))


def test_the_positional_operator_needs_an_element_that_matched() -> None:
    whole = compile_filter({"a": [1, 2]})
    ops = {"$set": {"a.$": 0}}

    error = refusal(ops, {"a": [1, 2]}, matched_by=whole)

    assert str(error) == "$ at 'a': the filter matched no single element of the array"
    with pytest.raises(InvalidUpdateError, match="matched no single element"):
        compile_update(ops, matched_by=whole).apply({"a": [1, [1, 2]]}, inserting=True)


def test_elements_by_index_and_by_the_positional_operator_do_not_meet() -> None:
    error = refusal({"$set": {"a.$.x": 1, "a.0.y": 1}}, matched_by=compile_filter({"a.n": 1}))

    assert str(error) == "updating the path 'a.0.y' would create a conflict at 'a.0'"

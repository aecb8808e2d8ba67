"""Sorts, projections, distinct values and pipelines against mongomock: the same documents, the same answer.

Where mongomock and MongoDB's manual are known to differ, a rule says so with its reason and that one document is set
aside. `PARQUEDB_DIFFERENTIAL_EXAMPLES` raises the number of examples.
"""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import mongomock
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from parquedb.documents.aggregation import parse_pipeline
from parquedb.documents.budget import Budget
from parquedb.documents.distinct import Distinct
from parquedb.documents.filters import compile_filter
from parquedb.documents.projection import parse_projection
from parquedb.documents.sorting import parse_sort
from tests.support.columns import exactly

EXAMPLES = int(os.environ.get("PARQUEDB_DIFFERENTIAL_EXAMPLES", "300"))
thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)

names = st.sampled_from(["a", "b", "c"])
# 0 and 1 are left out: mongomock's True equals 1.
scalars = st.sampled_from([None, True, False, 2, 3, -5, 2.5, "", "x", "xy", datetime(2024, 1, 1, tzinfo=UTC)])


def _sorted(value: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(value.items()))


values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3).map(_sorted),
    max_leaves=6,
)
documents = st.lists(st.dictionaries(names, values, max_size=3).map(_sorted), min_size=1, max_size=6)
paths = st.lists(names, min_size=1, max_size=3).map(".".join)


@pytest.fixture(scope="module")
def collection() -> mongomock.Collection:
    return mongomock.MongoClient(tz_aware=True)["test"]["documents"]


def store(collection: mongomock.Collection, found: list[dict[str, Any]]) -> None:
    collection.delete_many({})
    collection.insert_many([{**document, "_id": number} for number, document in enumerate(found)])


def numbered(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"$id": f"n/{number:03d}", **document} for number, document in enumerate(found)]


def along(value: Any, path: list[str]) -> Iterator[Any]:
    """Every container and value that a path meets."""
    yield value
    if path and isinstance(value, dict) and path[0] in value:
        yield from along(value[path[0]], path[1:])
    elif isinstance(value, list):
        for item in value:
            yield from along(item, path)


def _sorts_by_array(document: dict[str, Any], path: str) -> bool:
    """mongomock sorts an array by its first element and looks at no document in it."""
    return any(isinstance(value, list) for value in along(document, path.split(".")))


def _sorts_by_document(document: dict[str, Any], path: str) -> bool:
    """mongomock compares documents by their values before their names."""
    return any(isinstance(value, dict) for value in list(along(document, path.split(".")))[len(path.split(".")) :])


def _goes_on_below_scalar(document: dict[str, Any], path: str) -> bool:
    """mongomock fails where a path goes on below a scalar; in MongoDB nothing is there, and a projection keeps it."""

    def below(value: Any, steps: list[str]) -> bool:
        if isinstance(value, dict):
            return bool(steps) and steps[0] in value and below(value[steps[0]], steps[1:])
        return any(below(item, steps) for item in value) if isinstance(value, list) else bool(steps)

    return below(document, path.split("."))


SORT_RULES: list[Callable[[dict[str, Any], str], bool]] = [_sorts_by_array, _sorts_by_document, _goes_on_below_scalar]


@thorough
@given(
    documents, st.lists(st.tuples(paths, st.sampled_from([1, -1])), min_size=1, max_size=2, unique_by=lambda p: p[0])
)
def test_a_sort_gives_mongomocks_order(collection: mongomock.Collection, found: list, spec: list) -> None:
    kept = [one for one in found if not any(rule(one, path) for rule in SORT_RULES for path, _ in spec)]
    assume(kept)
    store(collection, kept)
    sort = parse_sort(spec)
    ours = [int(one["$id"][2:]) for one in sorted(numbered(kept), key=sort.key)]
    assert ours == [one["_id"] for one in collection.find().sort([*spec, ("_id", 1)])]


def _has_list_in_list(value: Any) -> bool:
    """mongomock drops lists inside lists from a projection."""
    if isinstance(value, list):
        return any(isinstance(item, list) or _has_list_in_list(item) for item in value)
    return isinstance(value, dict) and any(map(_has_list_in_list, value.values()))


@thorough
@given(documents, st.lists(paths, min_size=1, max_size=3, unique=True), st.booleans(), st.booleans())
def test_a_projection_keeps_what_mongomock_keeps(
    collection: mongomock.Collection, found: list, chosen: list, including: bool, with_id: bool
) -> None:
    # MongoDB refuses a path beside a part of it.
    assume(not any(other.startswith(f"{one}.") for one in chosen for other in chosen))
    kept = [
        one
        for one in found
        if not _has_list_in_list(one) and not any(_goes_on_below_scalar(one, path) for path in chosen)
    ]
    assume(kept)
    store(collection, kept)
    spec = dict.fromkeys(chosen, int(including))
    project = parse_projection(spec if with_id else {**spec, "$id": 0})
    assert project is not None
    ours = [project(one) for one in numbered(kept)]
    for one, number in zip(ours, range(len(kept)), strict=True):
        assert ("$id" in one) == with_id
        if one.pop("$id", None) is not None:
            one["_id"] = number
    theirs = list(collection.find({}, spec if with_id else {**spec, "_id": 0}))
    assert exactly(ours) == exactly(theirs)


@thorough
@given(documents, paths)
def test_distinct_finds_mongomocks_values(collection: mongomock.Collection, found: list, path: str) -> None:
    store(collection, found)
    distinct = Distinct(path, Budget(1 << 20))
    distinct.feed(numbered(found))
    try:
        theirs = collection.distinct(path)
    except TypeError:
        assume(False)  # mongomock cannot hash a list in a list, or in a document.
    assert sorted(map(repr, map(exactly, distinct.values()))) == sorted(map(repr, map(exactly, theirs)))


maybe = st.sampled_from([2, 3, -5, 2.5, 4, 10])
rows = st.lists(
    st.fixed_dictionaries(
        {"x": maybe, "y": maybe},
        optional={
            "k": st.sampled_from(["p", "q", None, 3, 3.0]),
            "z": maybe | st.none(),
            "s": st.sampled_from(["ab", "Cd", ""]),
            "t": st.lists(st.sampled_from([2, 3, "u", None]), max_size=3) | st.none(),
            "d": st.fixed_dictionaries({}, optional={"u": maybe, "v": st.sampled_from(["p", "q"])}),
        },
    ),
    min_size=1,
    max_size=8,
)
numbers = st.sampled_from(["$x", "$y", 2, 0.5])
computed = st.one_of(
    st.tuples(st.sampled_from(["$add", "$multiply", "$subtract", "$divide"]), numbers, numbers).map(
        lambda three: {three[0]: [three[1], three[2]]}
    ),
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), numbers, numbers).map(
        lambda three: {three[0]: [three[1], three[2]]}
    ),
    st.tuples(numbers, numbers).map(lambda two: {"$cond": [{"$gt": list(two)}, "$x", "no"]}),
    st.sampled_from(
        [
            {"$ifNull": ["$z", "none"]},
            {"$ifNull": ["$k", "$x"]},
            {"$concat": [{"$ifNull": ["$s", "-"]}, "!"]},
            # In MongoDB the upper case of a missing field is an empty text; mongomock leaves the field out.
            {"$toUpper": {"$ifNull": ["$s", "q"]}},
            {"$toLower": {"$ifNull": ["$s", "Q"]}},
            {"$and": ["$x", {"$gt": ["$y", 2]}]},
            {"$or": [{"$lt": ["$x", 2]}, {"$gt": ["$y", 3]}]},
            {"$not": {"$gt": ["$x", 2]}},  # mongomock takes a list of one as a list, which is true.
            {"$size": {"$ifNull": ["$t", []]}},
            {"$abs": "$x"},
            {"$literal": "$x"},
            # In MongoDB a field set to a missing value is gone; mongomock leaves what it was.
            {"$ifNull": ["$d.u", 7]},
            "$x",
        ]
    ),
)
accumulators = st.one_of(
    st.sampled_from(["$sum", "$avg", "$min", "$max"]).flatmap(
        lambda op: st.sampled_from(["$x", "$y", "$z", "$d.u"]).map(lambda field: {op: field})
    ),
    st.sampled_from([{"$sum": 1}, {"$push": "$x"}, {"$push": "$z"}, {"$addToSet": "$x"}, {"$first": "$x"}]),
    st.sampled_from([{"$last": "$y"}, {"$sum": {"$multiply": ["$x", "$y"]}}]),
)
shaping = st.one_of(
    st.sampled_from([{"$match": {"x": {"$gt": 2}}}, {"$match": {"k": "p"}}, {"$match": {"$or": [{"y": 2}, {"x": 3}]}}]),
    st.sampled_from([{"$sort": {"x": 1, "_id": 1}}, {"$sort": {"y": -1, "_id": -1}}]),
    st.integers(1, 5).map(lambda number: {"$limit": number}),
    st.integers(0, 3).map(lambda number: {"$skip": number}),
    st.sampled_from([{"$unwind": "$t"}, {"$unwind": {"path": "$t", "includeArrayIndex": "at"}}]),
    st.sampled_from([{"$unwind": {"path": "$t", "preserveNullAndEmptyArrays": True}}]),
    computed.map(lambda expression: {"$addFields": {"w": expression}}),
    computed.map(lambda expression: {"$set": {"w": expression}}),
    computed.map(lambda expression: {"$project": {"x": 1, "y": 1, "t": 1, "k": 1, "w": expression}}),
    st.sampled_from([{"$project": {"s": 0, "d.u": 0}}]),
)
endings = st.one_of(
    st.just([]),
    st.just([{"$count": "n"}]),
    st.tuples(
        st.sampled_from([None, "$k", "$x", {"k": "$k", "x": "$x"}, "$d.v"]),
        st.dictionaries(st.sampled_from(["m", "n"]), accumulators, max_size=2),
    ).map(lambda two: [{"$group": {"_id": two[0], **two[1]}}]),
)


def _ours(found: list[dict[str, Any]], stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pipeline = parse_pipeline(stages)
    for source in pipeline.filters:
        found = list(filter(compile_filter(source).matches, found))
    if pipeline.limit is not None and pipeline.sort is not None:
        found = sorted(found, key=pipeline.sort.key)[pipeline.skip : pipeline.skip + pipeline.limit]
    aggregation = pipeline.start(Budget(1 << 24))
    aggregation.feed(found)
    for _ in aggregation.finish():
        pass
    return aggregation.results


def _in_any_order(value: Any) -> Any:
    """A form for comparison: sets as lists in a fixed order, and numbers rounded where sums may differ in a bit."""
    return sorted(repr(exactly(one)) for one in value)


def _settled(results: list[dict[str, Any]], stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    group = stages[-1].get("$group", {}) if stages else {}
    sets = [name for name, spec in group.items() if isinstance(spec, dict) and "$addToSet" in spec]
    return [{**one, **{name: sorted(one[name], key=repr) for name in sets}} for one in results]


@thorough
@given(rows, st.lists(shaping, max_size=3), endings)
def test_a_pipeline_gives_what_mongomock_gives(
    collection: mongomock.Collection, found: list, head: list, end: list
) -> None:
    stages = [*head, *end]
    store(collection, found)
    theirs = list(collection.aggregate(stages))
    # In MongoDB nothing comes out of $count when nothing goes in.
    theirs = [one for one in theirs if one != {"n": 0}]
    ours = _ours([{"$id": f"n/{at:03d}", **one, "_id": at} for at, one in enumerate(found)], stages)
    for one in ours:
        one.pop("$id", None)
    # In MongoDB there is no group without a document; mongomock makes one for the key null.
    assume(ours or "$group" not in str(stages[-1:]))
    assert _in_any_order(_settled(ours, stages)) == _in_any_order(_settled(theirs, stages))

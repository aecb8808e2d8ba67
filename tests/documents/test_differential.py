"""Filters and updates against mongomock: the same documents, the same question, the same answer.

Where the two are known to differ, a rule below says so with its reason, and that one case is set aside; the values are
also drawn so that mongomock's own simplifications (`True == 1`, no date type, millisecond clocks) do not show.
`PARQUEDB_DIFFERENTIAL_EXAMPLES` raises the number of examples.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import mongomock
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from parquedb.documents.filters import And, Compare, Filter, Nor, Not, Or, compile_filter
from parquedb.documents.paths import array_index
from parquedb.documents.updates import compile_update
from parquedb.errors import InvalidUpdateError

EXAMPLES = int(os.environ.get("PARQUEDB_DIFFERENTIAL_EXAMPLES", "400"))
thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)

# A few names and values, so that filters meet documents often. 0 and 1 are left out: mongomock's True equals 1.
names = st.sampled_from(["a", "b", "c"])
scalars = st.sampled_from(
    [
        None,
        True,
        False,
        2,
        3,
        -5,
        2.0,
        2.5,
        10**12,
        Decimal("2.5"),
        Decimal(3),
        "",
        "x",
        "xy",
        "é",
        b"ab",
        b"ac",
        UUID(int=7),
        UUID(int=9),
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1),
    ]
)


def _sorted(value: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(value.items()))


values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3).map(_sorted),
    max_leaves=6,
)
documents = st.dictionaries(names, values, max_size=3).map(_sorted)
paths = st.lists(names | st.sampled_from(["0", "1"]), min_size=0, max_size=2).flatmap(
    lambda rest: names.map(lambda first: ".".join([first, *rest]))
)


def _places(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside a document, with a path that leads to it."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        below = f"{path}.{step}" if path else str(step)
        yield below, child
        if isinstance(value, list) and path:
            yield path, child
        yield from _places(child, below)


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Documents and a filter that asks, half of the time, for something that one of them has or nearly has."""
    found = draw(st.lists(documents, min_size=1, max_size=4))
    places = [place for document in found for place in _places(document)]
    hits = st.sampled_from(places) if places else st.tuples(paths, values)
    pairs = hits | st.tuples(hits.map(lambda place: place[0]), values) | st.tuples(paths, values)

    def conditions(value: Any) -> st.SearchStrategy[Any]:
        operators = st.one_of(
            st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]).map(lambda op: {op: value}),
            st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(values, max_size=2), st.booleans()).map(
                lambda drawn: {drawn[0]: [value, *drawn[1]] if drawn[2] else drawn[1]}
            ),
            st.booleans().map(lambda exists: {"$exists": exists}),
        )
        negated = operators.map(lambda condition: {"$not": condition})
        # A bare {} is an empty operator object to mongomock.
        return operators | negated | (operators if value == {} else st.just(value))

    single = pairs.flatmap(lambda pair: conditions(pair[1]).map(lambda condition: {pair[0]: condition}))
    logical = st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(single, min_size=1, max_size=2))
    return found, draw(single | single | logical.map(lambda drawn: {drawn[0]: drawn[1]}))


# What is set aside, and why.


def _steps(document: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Any, int]]:
    """The containers (or scalars) that a path meets, each with the number of the segment that leaves it."""

    def walk(node: Any, index: int) -> Iterator[tuple[Any, int]]:
        if index == len(path):
            return
        yield node, index
        if isinstance(node, dict) and path[index] in node:
            yield from walk(node[path[index]], index + 1)
        elif isinstance(node, list):
            position = array_index(path[index])
            if 0 <= position < len(node):
                yield from walk(node[position], index + 1)
            for item in node:
                if isinstance(item, dict):
                    yield from walk(item, index)

    return walk(document, 0)


def _crosses_array(document: dict[str, Any], leaf: Compare) -> bool:
    return any(isinstance(node, list) for node, _ in _steps(document, leaf.path))


def _has_operand(leaf: Compare, kind: type) -> bool:
    operands = leaf.value if leaf.op in {"in", "nin"} else [leaf.value]
    return any(isinstance(operand, kind) for operand in operands)


def _is_stopped_by_scalar(document: dict[str, Any], leaf: Compare) -> bool:
    return any(not isinstance(node, dict | list) for node, _ in _steps(document, leaf.path))


def _is_range(leaf: Compare) -> bool:
    return leaf.op in {"gt", "gte", "lt", "lte"}


def _asks_for_missing(leaf: Compare) -> bool:
    return leaf.op == "exists" or _has_operand(leaf, type(None))


def _ends_in_nested_list(document: dict[str, Any], leaf: Compare) -> bool:
    """Whether the value at the path is a list with a list inside."""
    return any(
        isinstance(node, list) and number == len(leaf.path) and any(isinstance(item, list) for item in node)
        for node, number in _steps(document, (*leaf.path, "end"))
    )


def _ends_in_index_of_list(document: dict[str, Any], leaf: Compare) -> bool:
    """Whether the last segment is the index of an element that is a list."""
    last = len(leaf.path) - 1
    index = array_index(leaf.path[last])
    return any(
        isinstance(node, list) and number == last and 0 <= index < len(node) and isinstance(node[index], list)
        for node, number in _steps(document, leaf.path)
    )


def _types_within(value: Any) -> set[type]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {type(value)}.union(*map(_types_within, inner))


Rule = Callable[[dict[str, Any], Compare, bool], bool]
FILTER_DIFFERENCES: dict[str, Rule] = {
    "MongoDB takes a path through a scalar for missing; mongomock sees nothing there, neither null nor not": (
        lambda document, leaf, negated: _is_stopped_by_scalar(document, leaf) and (negated or _asks_for_missing(leaf))
    ),
    "mongomock asks the elements of an array one by one whether the condition under $not fails": (
        lambda document, leaf, negated: negated and _crosses_array(document, leaf)
    ),
    "in MongoDB {$exists: false} is the negation of {$exists: true}, also across arrays": (
        lambda document, leaf, _: leaf.op == "exists" and _crosses_array(document, leaf)
    ),
    "MongoDB orders a UUID as 16 bytes of binary; for us it is a type of its own, and mongomock fails": (
        lambda document, leaf, _: (
            _is_range(leaf) and {bytes, UUID} <= _types_within(document) | _types_within(leaf.value)
        )
    ),
    "in MongoDB null is >= and <= a missing field": lambda _, leaf, __: _is_range(leaf) and leaf.value is None,
    "mongomock does not compare a whole array with an array in the list of $in": (
        lambda _, leaf, __: leaf.op in {"in", "nin"} and _has_operand(leaf, list)
    ),
    "mongomock does not compare arrays inside an array with an array": (
        lambda document, leaf, _: _has_operand(leaf, list) and _ends_in_nested_list(document, leaf)
    ),
    "MongoDB takes an array selected by its index whole; mongomock matches its elements": lambda document, leaf, _: (
        _ends_in_index_of_list(document, leaf)
    ),
}


def _leaves(tree: Filter, negated: bool = False) -> Iterator[tuple[Compare, bool]]:
    match tree:
        case Compare():
            yield tree, negated
        case Not(part):
            yield from _leaves(part, True)
        case And(parts) | Or(parts) | Nor(parts):
            for part in parts:
                yield from _leaves(part, negated)


def _differs_by_rule(document: dict[str, Any], tree: Filter) -> bool:
    return any(rule(document, leaf, negated) for leaf, negated in _leaves(tree) for rule in FILTER_DIFFERENCES.values())


@pytest.fixture(scope="module")
def collection() -> mongomock.Collection:
    return mongomock.MongoClient(tz_aware=True)["test"]["documents"]


@thorough
@given(questions())
def test_a_filter_selects_what_mongomock_selects(collection: mongomock.Collection, question: tuple) -> None:
    found, query = question
    predicate = compile_filter(query)
    compared = [document for document in found if not _differs_by_rule(document, predicate.filter)]
    assume(compared)
    collection.delete_many({})
    collection.insert_many([{**document, "_id": number} for number, document in enumerate(compared)])

    ours = [number for number, document in enumerate(compared) if predicate(document)]

    assert ours == sorted(document["_id"] for document in collection.find(query))


amounts = st.sampled_from([2, -3, 2.5, 10**12])
updates = st.fixed_dictionaries(
    {},
    optional={
        "$set": st.dictionaries(paths, values, min_size=1, max_size=2),
        "$unset": st.dictionaries(paths, st.just(""), min_size=1, max_size=2),
        "$inc": st.dictionaries(paths, amounts, min_size=1, max_size=2),
    },
).filter(bool)


def _exact(value: Any) -> Any:
    """A form that is equal only for values of the same types, whatever the order of keys."""
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return type(value), value


def _unsets_in_list(document: dict[str, Any], ops: dict[str, Any]) -> bool:
    return any(
        isinstance(node, list) for path in ops.get("$unset", {}) for node, _ in _steps(document, tuple(path.split(".")))
    )


@thorough
@given(documents, updates)
def test_an_update_makes_what_mongomock_makes(collection: mongomock.Collection, document: dict, ops: dict) -> None:
    before = copy.deepcopy(document)
    try:
        ours = compile_update(ops).apply(document)
    except InvalidUpdateError:
        # mongomock accepts conflicting paths and steps over what it cannot change, where MongoDB refuses.
        assume(False)
    assert document == before
    # MongoDB leaves null where an array element was; mongomock leaves the element.
    assume(not _unsets_in_list(document, ops))
    collection.delete_many({})
    collection.insert_one({**document, "_id": 7})
    try:
        collection.update_one({"_id": 7}, ops)
    except (IndexError, TypeError):
        # It pads no array on the way to a deeper path, and adds no float to a Decimal.
        assume(False)
    theirs = collection.find_one({"_id": 7})

    assert _exact({**ours, "_id": 7}) == _exact(theirs)

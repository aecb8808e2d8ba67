"""Filters and updates against mongomock: the same documents, the same question, the same answer.

Where the two are known to differ, a rule below says so with its reason, and that one case is set aside; the values are
also drawn so that mongomock's own simplifications (`True == 1`, no date type, millisecond clocks) do not show. What
mongomock cannot be asked (`$mod`, `$type` with a list, Decimal or null, `$not` right below `$elemMatch`) is in the
tables of `test_filters.py`. `PARQUEDB_DIFFERENTIAL_EXAMPLES` sets the number of examples, each of up to four
documents; `make test-soak` compares a hundred times a thousand, from `PARQUEDB_DIFFERENTIAL_SEED` on, and logs
(`--log-cli-level=INFO`) how many were set aside by which rule.
"""

from __future__ import annotations

import copy
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any, NamedTuple
from uuid import UUID

import mongomock
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from parquedb.documents.filters import compile_filter
from parquedb.documents.paths import array_index
from parquedb.documents.updates import compile_update
from parquedb.errors import InvalidUpdateError
from tests.support.filters import conditions
from tests.support.mongomock_updates import Oracle, Refused, SetAside, exact
from tests.support.updates import Case

COMPARED = "compared"
EXAMPLES = int(os.environ.get("PARQUEDB_DIFFERENTIAL_EXAMPLES", "500"))
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
    single = pairs.flatmap(lambda pair: conditions(pair[1], values).map(lambda condition: {pair[0]: condition}))
    logical = st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(single, min_size=1, max_size=2))
    query = draw(single | single | logical.map(lambda drawn: {drawn[0]: drawn[1]}))
    return found, query if draw(st.integers(0, 19)) == 13 else _comparable(query, found)


def _comparable(query: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    """A filter like the given one, without what would have it set aside for every document."""
    return {
        key: [_comparable(part, found) for part in condition]
        if key in {"$and", "$or", "$nor"}
        else _comparable_at(tuple(key.split(".")), condition, found)
        for key, condition in query.items()
    }


def _comparable_at(path: tuple[str, ...], condition: Any, found: list[dict[str, Any]]) -> Any:
    if not (isinstance(condition, dict) and any(key.startswith("$") for key in condition)):
        return condition
    ends = [end for document in found for end in _ends(document, path) or [None]]
    in_arrays = all(isinstance(end, list) for end in ends)
    changed: dict[str, Any] = {}
    for op, operand in condition.items():
        if op == "$not":
            changed[op] = _comparable_at(path, operand, found)
        elif op == "$elemMatch":
            changed[op] = _comparable_element(operand, [item for end in ends if isinstance(end, list) for item in end])
        elif op == "$all" and not in_arrays:
            changed["$in"] = [part for part in operand if not isinstance(part, list | dict)]
        elif op in {"$in", "$nin", "$all"}:
            changed[op] = [part for part in operand if not isinstance(part, list)] or [2]
        elif op == "$size" and not in_arrays:
            changed["$exists"] = True
        elif op == "$mod" or (op == "$type" and (operand not in MONGOMOCK_TYPES or _has_types_of_ours(found))):
            changed["$gte"] = 2
        else:
            changed[op] = operand
    return changed


def _comparable_element(part: dict[str, Any], items: list[Any]) -> dict[str, Any]:
    if not _is_of_values(part):
        return _comparable(part, [item for item in items if isinstance(item, dict)])
    changed: dict[str, Any] = _comparable_at(("field",), part, [{"field": item} for item in items])
    return {op: operand for op, operand in changed.items() if op != "$not"} or {"$gte": 2}


def _has_types_of_ours(found: list[dict[str, Any]]) -> bool:
    return not {Decimal, UUID}.isdisjoint(set().union(*map(_types_within, found)))


# What is set aside, and why.


class Asked(NamedTuple):
    """One operator of a filter.

    Attributes:
        path: Its segments.
        op: Such as `$gt`; `$eq` for a plain value, `$regex` for a pattern.
        operand: What it was given.
        negated: Whether it stands below a `$not`.
        beside: The other operators of the same condition.
    """

    path: tuple[str, ...]
    op: str
    operand: Any
    negated: bool
    beside: frozenset[str]


def _asked(query: dict[str, Any], negated: bool = False) -> Iterator[Asked]:
    for key, condition in query.items():
        if key in {"$and", "$or", "$nor"}:
            for part in condition:
                yield from _asked(part, negated)
        else:
            yield from _asked_at(tuple(key.split(".")), condition, negated)


def _asked_at(path: tuple[str, ...], condition: Any, negated: bool) -> Iterator[Asked]:
    if isinstance(condition, re.Pattern):
        condition = {"$regex": condition}
    if not (isinstance(condition, dict) and any(key.startswith("$") for key in condition)):
        condition = {"$eq": condition}
    for op, operand in condition.items():
        if op == "$not":
            yield from _asked_at(path, operand, True)
        elif op != "$options":
            yield Asked(path, op, operand, negated, frozenset(condition) - {op, "$options"})


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


def _ends(document: dict[str, Any], path: tuple[str, ...]) -> list[Any]:
    """The values at the end of a path, arrays whole."""
    return [node for node, number in _steps(document, (*path, "end")) if number == len(path)]


def _crosses_array(document: dict[str, Any], asked: Asked) -> bool:
    return any(isinstance(node, list) for node, _ in _steps(document, asked.path))


def _operands(asked: Asked) -> list[Any]:
    return asked.operand if asked.op in {"$in", "$nin", "$all"} else [asked.operand]


def _has_operand(asked: Asked, kind: type) -> bool:
    return any(isinstance(operand, kind) for operand in _operands(asked))


def _is_stopped_by_scalar(document: dict[str, Any], asked: Asked) -> bool:
    return any(not isinstance(node, dict | list) for node, _ in _steps(document, asked.path))


def _is_range(asked: Asked) -> bool:
    return asked.op in {"$gt", "$gte", "$lt", "$lte"}


def _asks_for_missing(asked: Asked) -> bool:
    return asked.op in {"$exists", "$ne", "$nin"} or _has_operand(asked, type(None))


def _ends_in_nested_list(document: dict[str, Any], asked: Asked) -> bool:
    """Whether the value at the path is a list with a list inside."""
    ends = _ends(document, asked.path)
    return any(isinstance(node, list) and any(isinstance(item, list) for item in node) for node in ends)


def _ends_in_index_of_list(document: dict[str, Any], asked: Asked) -> bool:
    """Whether the last segment is the index of an element that is a list."""
    last = len(asked.path) - 1
    index = array_index(asked.path[last])
    return any(
        isinstance(node, list) and number == last and 0 <= index < len(node) and isinstance(node[index], list)
        for node, number in _steps(document, asked.path)
    )


def _types_within(value: Any) -> set[type]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {type(value)}.union(*map(_types_within, inner))


def _elements(document: dict[str, Any], asked: Asked) -> list[Any]:
    return [item for node in _ends(document, asked.path) if isinstance(node, list) for item in node]


def _element_parts(asked: Asked) -> list[Any]:
    """The conditions on elements that `$elemMatch`, or `$all` with some, has."""
    if asked.op == "$elemMatch":
        return [asked.operand]
    return [part["$elemMatch"] for part in _operands(asked) if isinstance(part, dict) and "$elemMatch" in part]


def _is_of_values(part: dict[str, Any]) -> bool:
    return any(key.startswith("$") for key in part)


def _differs_inside(document: dict[str, Any], asked: Asked) -> bool:
    for part in _element_parts(asked):
        of_values = _is_of_values(part)
        query = {"field": part} if of_values else part
        for item in _elements(document, asked):
            if _rule_of({"field": item} if of_values else item, query) is not None:
                return True
    return False


TEXT_OPERATORS = {"$startsWith": r"\A{}", "$endsWith": r"{}\Z", "$contains": "{}"}
REGEX_OPERATORS = {"$regex", *TEXT_OPERATORS}
BSON_NUMBERS = {1: "double", 2: "string", 4: "array", 16: "int", 18: "long"}
MONGOMOCK_TYPES = [*BSON_NUMBERS, *BSON_NUMBERS.values(), "object", "binData", "bool", "date", "number"]


def _all_asks_no_array(document: dict[str, Any], asked: Asked) -> bool:
    ends = _ends(document, asked.path)
    if _element_parts(asked):
        return not all(type(end) is list for end in ends) or not ends
    return None in asked.operand and not ends


Rule = Callable[[dict[str, Any], Asked], bool]
FILTER_DIFFERENCES: dict[str, Rule] = {
    "MongoDB takes a path through a scalar for missing; mongomock sees nothing there, neither null nor not": (
        lambda document, asked: _is_stopped_by_scalar(document, asked) and (asked.negated or _asks_for_missing(asked))
    ),
    "mongomock asks the elements of an array one by one whether the condition under $not fails": (
        lambda document, asked: asked.negated and _crosses_array(document, asked)
    ),
    "in MongoDB {$exists: false} is the negation of {$exists: true}, also across arrays": (
        lambda document, asked: asked.op == "$exists" and _crosses_array(document, asked)
    ),
    "MongoDB orders a UUID as 16 bytes of binary; for us it is a type of its own, and mongomock fails": (
        lambda document, asked: (
            _is_range(asked) and {bytes, UUID} <= _types_within(document) | _types_within(asked.operand)
        )
    ),
    "in MongoDB null is >= and <= a missing field": lambda _, asked: _is_range(asked) and asked.operand is None,
    "mongomock does not compare a whole array with an array in the list of $in": (
        lambda _, asked: asked.op in {"$in", "$nin", "$all"} and _has_operand(asked, list)
    ),
    "mongomock does not compare arrays inside an array with an array": (
        lambda document, asked: _has_operand(asked, list) and _ends_in_nested_list(document, asked)
    ),
    "MongoDB takes an array selected by its index whole; mongomock matches its elements": _ends_in_index_of_list,
    "mongomock finds that every document meets $all of nothing": lambda _, asked: (
        asked.operand == [] and asked.op == "$all"
    ),
    "mongomock lets $all ask what is no array, a missing field too, as if it were an element": (
        lambda document, asked: asked.op == "$all" and _all_asks_no_array(document, asked)
    ),
    "mongomock asks the elements of an array that is an element itself": (
        lambda document, asked: (
            bool(_element_parts(asked)) and any(isinstance(item, list) for item in _elements(document, asked))
        )
    ),
    "mongomock gives a $size to dicts and scalars": (
        lambda document, asked: (
            asked.op == "$size" and any(type(end) is not list for end in _ends(document, asked.path))
        )
    ),
    "mongomock tells int from long at 2**32, takes no Decimal for a number and no UUID for binData": (
        lambda document, asked: asked.op == "$type" and not {Decimal, UUID}.isdisjoint(_types_within(document))
    ),
    "where several conditions meet a path through arrays, mongomock asks one element to pass all of them": (
        lambda document, asked: bool(asked.beside) and _crosses_array(document, asked)
    ),
}


def _can_be_asked(condition: Any) -> bool:
    """Whether mongomock understands a filter at all."""
    if isinstance(condition, list):
        return all(map(_can_be_asked, condition))
    if not isinstance(condition, dict):
        return True
    below = condition.get("$elemMatch")
    return (
        "$mod" not in condition
        and ("$type" not in condition or condition["$type"] in MONGOMOCK_TYPES)
        and len(REGEX_OPERATORS & condition.keys()) <= 1
        and not (isinstance(below, dict) and "$not" in below)
        and all(map(_can_be_asked, condition.values()))
    )


def _rule_of(document: dict[str, Any], query: dict[str, Any]) -> str | None:
    """The first rule that sets a case aside."""
    for asked in _asked(query):
        for name, rule in FILTER_DIFFERENCES.items():
            if rule(document, asked):
                return name
        if _differs_inside(document, asked):
            return "one of these rules, for an element below $elemMatch"
    return None


def _spelled(query: Any) -> Any:
    """The same filter with MongoDB's operators only."""
    if isinstance(query, list):
        return [_spelled(item) for item in query]
    if not isinstance(query, dict):
        return query
    spelled = {}
    for key, item in query.items():
        if key in TEXT_OPERATORS:
            spelled["$regex"] = re.compile(TEXT_OPERATORS[key].format(re.escape(item)))
        elif key == "$regex":
            flags = [re.RegexFlag[option.upper()] for option in query.get("$options", "")]
            spelled["$regex"] = re.compile(item, reduce(or_, flags, re.RegexFlag(0)))
        elif key == "$type":
            spelled["$type"] = BSON_NUMBERS.get(item, item)
        elif key != "$options":
            spelled[key] = _spelled(item)
    return spelled


@pytest.fixture(scope="module")
def collection() -> mongomock.Collection:
    return mongomock.MongoClient(tz_aware=True)["test"]["documents"]


def compare_filter(collection: mongomock.Collection, question: tuple, tally: Counter[str]) -> None:
    """Ask both, and count each document, compared or set aside by its rule."""
    found, query = question
    predicate = compile_filter(query)
    if not _can_be_asked(query):
        tally["mongomock does not know the operator, or not there"] += len(found)
        return
    rules = [_rule_of(document, query) for document in found]
    tally.update(rule or COMPARED for rule in rules)
    compared = [document for document, rule in zip(found, rules, strict=True) if rule is None]
    collection.delete_many({})
    if not compared:
        return
    collection.insert_many([{**document, "_id": number} for number, document in enumerate(compared)])

    ours = [number for number, document in enumerate(compared) if predicate(document)]

    assert ours == sorted(document["_id"] for document in collection.find(_spelled(query)))


@thorough
@given(questions())
def test_a_filter_selects_what_mongomock_selects(collection: mongomock.Collection, question: tuple) -> None:
    compare_filter(collection, question, Counter())


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_filters_select_what_mongomock_selects(collection: mongomock.Collection) -> None:
    tally = Counter[str]()
    first = int(os.environ.get("PARQUEDB_DIFFERENTIAL_SEED", "1000"))
    # One long run would remember every example.
    for number in range(first, first + 100):

        @seed(number)
        @settings(thorough, max_examples=1_000, database=None, phases=[Phase.generate, Phase.shrink])
        @given(questions())
        def compare(question: tuple) -> None:
            compare_filter(collection, question, tally)
            tally["filters"] += 1

        compare()
    logging.getLogger(__name__).info("documents: %s", tally.most_common())
    assert tally[COMPARED] > 0.7 * (tally.total() - tally["filters"]), tally


ORACLE = Oracle()
amounts = st.sampled_from([2, -3, 2.5, 10**12])
updates = st.fixed_dictionaries(
    {},
    optional={
        "$set": st.dictionaries(paths, values, min_size=1, max_size=2),
        "$unset": st.dictionaries(paths, st.just(""), min_size=1, max_size=2),
        "$inc": st.dictionaries(paths, amounts, min_size=1, max_size=2),
    },
).filter(bool)


def _unsets_in_list(document: dict[str, Any], ops: dict[str, Any]) -> bool:
    return any(
        isinstance(node, list) for path in ops.get("$unset", {}) for node, _ in _steps(document, tuple(path.split(".")))
    )


@thorough
@given(documents, updates)
def test_an_update_makes_what_mongomock_makes(collection: mongomock.Collection, document: dict, ops: dict) -> None:
    before = copy.deepcopy(document)
    try:
        ours: Any = compile_update(ops).apply(document)
    except InvalidUpdateError:
        ours = "refused"
    assert document == before
    try:
        expected: Any = ORACLE.result(Case(document, ops, [], None, inserting=False))
    except Refused:
        expected = "refused"
    except SetAside:
        expected = ours  # mongomock adds no float to a Decimal.

    assert exact(ours) == exact(expected)

    # Whole updates, with their paths: mongomock accepts conflicting ones and steps over what it cannot change, and it
    # leaves an array element where MongoDB leaves null.
    if ours == "refused" or _unsets_in_list(document, ops):
        return
    collection.delete_many({})
    collection.insert_one({**document, "_id": 7})
    try:
        collection.update_one({"_id": 7}, ops)
    except (IndexError, TypeError):
        return  # It pads no array on the way to a deeper path.
    assert exact({**ours, "_id": 7}) == exact(collection.find_one({"_id": 7}))

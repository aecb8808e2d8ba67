"""Updates compiled once for all operands do what each of them compiled for itself does."""

import copy
import pickle
import random
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from parquedb.documents.update_shapes import CHARACTERS_MAX, PATHS_MAX, Shaped, shape_of, shaped_update
from parquedb.documents.updates import compile_update
from parquedb.errors import InvalidUpdateError, ValidationError
from tests.support.mongomock_updates import exact
from tests.support.updates import case

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def shaped(ops: Any) -> Shaped:
    found = shaped_update(ops)
    assert found is not None
    return found


def result(apply: Any) -> object:
    try:
        return exact(apply())
    except InvalidUpdateError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(4))
def test_random_updates_come_to_the_same_with_and_without_a_shape(seed: int) -> None:
    rng, tally = random.Random(seed), Counter[str]()
    for _ in range(2000):
        given = case(rng)
        found = shaped_update(given.ops)
        if found is None:
            tally["none"] += 1
            continue
        # Array filters that nothing uses are another mistake.
        update = compile_update(given.ops)
        assert exact(found.ops) == exact(update.ops)
        before = copy.deepcopy(given.document)
        expected = result(lambda: update.apply(given.document, now=NOW))  # noqa: B023 - called at once
        assert result(lambda: found.shape.apply(given.document, found.operands, NOW)) == expected  # noqa: B023
        assert given.document == before
        tally["refused" if isinstance(expected, str) else "applied"] += 1
    assert min(tally["applied"], tally["none"]) > 200, tally
    assert tally["refused"], tally


def test_one_shape_is_applied_with_the_operands_of_each_update() -> None:
    first = shaped({"$set": {"a.b": 1}, "$inc": {"n": 2}})
    second = shaped({"$set": {"a.b": ["x"]}, "$inc": {"n": Decimal("0.5")}})
    assert first.shape is second.shape

    assert first.shape.apply({"n": 1}, first.operands, NOW) == {"n": 3, "a": {"b": 1}}
    assert second.shape.apply({"n": 1}, second.operands, NOW) == {"n": Decimal("1.5"), "a": {"b": ["x"]}}
    assert first.shape.apply({"n": 5}, first.operands, NOW) == {"n": 7, "a": {"b": 1}}


def test_operands_share_nothing_with_what_the_caller_gave() -> None:
    value = ["a"]
    ops = {"$set": {"x": value}, "$inc": {"n": 1}}
    found = shaped(ops)
    value.append("b")
    ops["$inc"]["n"] = 5
    assert found.ops == {"$set": {"x": ["a"]}, "$inc": {"n": 1}}
    assert found.operands == [["a"], 1]


@pytest.mark.parametrize(
    "ops",
    [
        {},
        {"$set": {}},
        {"n": 1},
        {"$nope": {"a": 1}},
        {"$set": [("a", 1)]},
        {"$set": {1: 1}},
        {"$set": {type("Text", (str,), {})("a"): 1}},
        {"$set": {"": 1}},
        {"$set": {"version": 1}},
        {"$set": {"$id": "a"}},
        {"$set": {"name": 5}},
        {"$set": {"a": 1}, "$inc": {"a": 1}},
        {"$set": {"a": 1, "a.b": 1}},
        {"$set": {"a.$[].b": 1}},
        {"$set": {"a": object()}},
        {"$set": {"\ud800": 1}},
        {"$inc": {"a": "1"}},
        {"$inc": {"a": True}},
        {"$currentDate": {"a": False}},
        {"$currentDate": {"a": {"$type": "date"}}},
        {"$push": {"a": 1}},
        {"$setOnInsert": {"a": 1}},
        {"$set": {f"a{number}": 1 for number in range(PATHS_MAX + 1)}},
        {"$set": {"a" * (CHARACTERS_MAX + 1): 1}},
    ],
)
def test_what_is_wrong_or_unusual_has_no_shape(ops: Any) -> None:
    assert shaped_update(ops) is None


def test_a_value_deeper_than_a_document_may_be_has_no_shape() -> None:
    value: Any = 1
    for _ in range(100):
        value = [value]
    ops = {"$set": {"a": value}}
    assert shaped_update(ops) is None
    with pytest.raises(ValidationError):
        compile_update(ops)


def test_operands_from_elsewhere_are_checked_against_the_bounds_given() -> None:
    shape = shaped({"$set": {"a.b": 1}, "$inc": {"n": 1}}).shape
    assert shape.operands([date(2026, 1, 1), 2]) == [date(2026, 1, 1), 2]
    assert shape.operands([[1], 2], 3) == [[1], 2]
    for given, depth_max in [([1], 100), ([1, 2, 3], 100), ([1, "2"], 100), ([1, 2], 1), ([[[1]], 2], 3)]:
        assert shape.operands(given, depth_max) is None


def test_keys_from_elsewhere_that_name_an_operator_or_a_path_twice_are_no_shape() -> None:
    assert shape_of((("$set", "a"), ("$set", "b"))) is None
    assert shape_of((("$set", "a", "a"),)) is None
    assert shape_of(()) is None
    assert shape_of((("$set", "a", "b"),)) is not None


def test_a_shape_that_was_pickled_does_the_same() -> None:
    found = pickle.loads(pickle.dumps(shaped({"$min": {"n": 1}, "$unset": {"x": 7}})))
    assert found.ops == {"$min": {"n": 1}, "$unset": {"x": ""}}
    assert found.shape.apply({"n": 4, "x": 1}, found.operands, NOW) == {"n": 1}

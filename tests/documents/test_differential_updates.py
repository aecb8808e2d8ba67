"""Update operators against mongomock: random documents, random updates, the same result.

`test_differential.py` compares `$set`, `$unset` and `$inc` in depth; here are the others. Set aside by name: mongomock
does not know `$mul` and `$bit`, applies `$rename` in a way of its own, sorts mixed types by Python's order, and takes
`True` for 1, so values are drawn to stay clear of that. `PARQUEDB_DIFFERENTIAL_EXAMPLES` sets the number of cases.
"""

import copy
import os
import random
from collections import Counter
from typing import Any

import mongomock
import pytest

from parquedb.documents.updates import compile_update
from parquedb.errors import InvalidUpdateError

CASES = int(os.environ.get("PARQUEDB_DIFFERENTIAL_EXAMPLES", "1000")) * 3
PATHS = ("a", "b", "c", "d.x", "d.y")


def number(rng: random.Random) -> Any:
    return rng.choice([2, 3, -4, 2.5, 7])


def value(rng: random.Random) -> Any:
    return rng.choice([number(rng), "x", "y", None, [number(rng)], {"n": number(rng)}])


def array(rng: random.Random) -> list[Any]:
    return [value(rng) for _ in range(rng.randrange(4))]


def document(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {name: rng.choice([value, array, number])(rng) for name in "abc" if rng.random() < 0.8}
    if rng.random() < 0.7:
        made["d"] = {name: rng.choice([value, array])(rng) for name in "xy" if rng.random() < 0.7}
    return made


def push(rng: random.Random) -> Any:
    if rng.random() < 0.4:
        return value(rng)
    given: dict[str, Any] = {"$each": array(rng)}
    if rng.random() < 0.5:
        given["$slice"] = rng.randrange(-3, 4)
    if rng.random() < 0.5:
        given["$position"] = rng.randrange(3)
    return given


def operand(op: str, rng: random.Random) -> Any:  # noqa: PLR0911 - one return per operator
    match op:
        case "$inc" | "$min" | "$max":
            return number(rng)
        case "$push":
            return push(rng)
        case "$addToSet":
            # mongomock adds what $each names twice twice.
            given = array(rng)
            distinct = [item for at, item in enumerate(given) if item not in given[:at]]
            return rng.choice([value(rng), {"$each": distinct}])
        case "$pop":
            return rng.choice([1, -1])
        case "$pull":
            return rng.choice([value(rng), {"$gte": 3}, {"$in": [2, "x"]}, {"n": {"$gt": 2}}])
        case "$pullAll":
            return array(rng)
        case _:
            return value(rng)


OPERATORS = ("$set", "$unset", "$inc", "$min", "$max", "$push", "$addToSet", "$pop", "$pull", "$pullAll")


def set_aside(ops: dict[str, Any], before: dict[str, Any]) -> str | None:  # noqa: PLR0911 - one per reason
    """Why mongomock's answer says nothing, or None."""
    for op, fields in ops.items():
        for path, given in fields.items():
            top, _, below = path.partition(".")
            old = before.get(top)
            if below:
                if not isinstance(old, dict):
                    return "what lies below a value that is no dict"
                old = old.get(below, ...) if isinstance(old, dict) else ...
            elif top not in before:
                old = ...
            if op in {"$min", "$max"} and old is not ... and not isinstance(old, int | float):
                return "order across types"
            if op in {"$pop", "$pull", "$pullAll", "$addToSet"} and old is not ... and not isinstance(old, list):
                return "mongomock does not refuse what is no array"
            items = old if isinstance(old, list) else []
            if op == "$pull" and isinstance(given, dict) and any(isinstance(item, list | dict) for item in items):
                return "conditions on elements that are containers"
            if op == "$pull" and isinstance(given, list):
                return "pulling a whole array"
            if op == "$push" and isinstance(given, dict) and "$each" in given and given.get("$slice") == 0:
                return "slice of nothing"
    return None


@pytest.mark.parametrize("seed", range(4))
def test_updates_come_to_what_mongomock_says(seed: int) -> None:
    rng = random.Random(seed)
    compared: Counter[str] = Counter()
    for _ in range(CASES // 4):
        before = document(rng)
        chosen = rng.sample(PATHS, rng.randrange(1, 3))
        ops: dict[str, Any] = {}
        for path in chosen:
            op = rng.choice(OPERATORS)
            ops.setdefault(op, {})[path] = operand(op, rng)
        reason = set_aside(ops, before)
        if reason is not None:
            compared[reason] += 1
            continue
        oracle = mongomock.MongoClient().db.c
        oracle.insert_one({"_id": 1, **copy.deepcopy(before)})
        try:
            oracle.update_one({"_id": 1}, copy.deepcopy(ops))
            theirs: Any = oracle.find_one({"_id": 1}, {"_id": 0})
        except mongomock.WriteError:
            theirs = "refused"
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            compared[f"mongomock fails: {type(error).__name__}"] += 1
            continue
        try:
            ours: Any = compile_update(ops).apply(before)
        except InvalidUpdateError:
            ours = "refused"
        assert ours == theirs, f"{ops} on {before}"
        compared["compared"] += 1
    assert compared["compared"] > CASES // 4 // 3, compared

"""Random documents, and random updates that mostly fit them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

Ops = dict[str, dict[str, Any]]


class Case(NamedTuple):
    """An update and what it is applied to.

    Attributes:
        document: What there is; for an insert what the filter's equalities make.
        ops: Update operators.
        filters: Array filters.
        query: The filter of the write, which the document matches; None for an update by id.
        inserting: Whether the document is made by an upsert.
    """

    document: dict[str, Any]
    ops: Ops
    filters: list[dict[str, Any]]
    query: dict[str, Any] | None
    inserting: bool


class Target(NamedTuple):
    """A place that updates are made for.

    Attributes:
        root: Targets of different roots never meet.
        path: With `{}` where the way to an element of an array stands.
        fit: Operators that usually find there what they need.
    """

    root: str
    path: str
    fit: tuple[str, ...]


NUMERIC = ("$inc", "$inc", "$mul", "$mul", "$min", "$max", "$bit", "$bit", "$set", "$unset")
ANY = ("$set", "$unset", "$currentDate", "$setOnInsert", "$min", "$max")
ARRAY = ("$push", "$push", "$push", "$addToSet", "$pop", "$pull", "$pull", "$pullAll", "$set")
OPERATORS = sorted({*NUMERIC, *ANY, *ARRAY})

TARGETS = [
    Target("a", "a", (*ANY, "$rename")),
    Target("b", "b", (*ANY, "$rename")),
    Target("n", "n", (*NUMERIC, "$rename")),
    Target("new", "new.x", ("$set", "$inc", "$mul", "$push", "$addToSet", "$unset", "$pop", "$currentDate", "$bit")),
    Target("d.x", "d.x", ANY),
    Target("d.n", "d.n", NUMERIC),
    Target("d.l", "d.l", ARRAY),
    Target("l", "l", (*ARRAY, "$rename")),
    Target("l", "l.{}", ("$set", "$unset", "$currentDate")),
    Target("m", "m", ARRAY),
    Target("m", "m.{}", NUMERIC),
    Target("r", "r", ARRAY),
    Target("r", "r.{}", ("$set", "$unset")),
    Target("r.k", "r.{}.k", NUMERIC),
    Target("r.t", "r.{}.t", ANY),
    Target("r.q", "r.{}.q", ARRAY),
    Target("r.q", "r.{}.q.{}", NUMERIC),
]

_TEXTS = ("x", "xy", "yx", "z", "")


def _number(rng: random.Random) -> Any:
    # Not 0 and 1, which are False and True to mongomock.
    return rng.choice([2, 3, 5, 6, -4, 2.5, 7, 12])


def _whole(rng: random.Random) -> int:
    return rng.choice([2, 3, 5, 6, 7, 12, -4])


def _scalar(rng: random.Random) -> Any:
    return rng.choice([_number(rng), rng.choice(_TEXTS), None, rng.choice([True, False]), _number(rng)])


def _value(rng: random.Random) -> Any:
    if rng.random() < 0.7:
        return _scalar(rng)
    return rng.choice([[_scalar(rng)], {"n": _scalar(rng)}, [], {}, [[2]], {"n": {"k": 2}}])


def _many(make: Callable[[random.Random], Any], rng: random.Random) -> list[Any]:
    return [make(rng) for _ in range(rng.randrange(5))]


def _row(rng: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {"k": _whole(rng), "t": rng.choice(_TEXTS), "q": _many(_whole, rng)}
    for name in ("t", "q"):
        if rng.random() < 0.1:
            del row[name]
    return row


_MADE: dict[str, Callable[[random.Random], Any]] = {
    "a": _value,
    "b": _value,
    "n": _number,
    "l": lambda rng: _many(_value, rng),
    "m": lambda rng: _many(_whole, rng),
    "r": lambda rng: _many(_row, rng),
    "d": lambda rng: {"x": _value(rng), "n": _number(rng), "l": _many(_value, rng)},
}


def document(rng: random.Random) -> dict[str, Any]:
    """A document whose fields hold, nine times out of ten, what their names stand for."""
    made = {}
    for name, make in _MADE.items():
        chance = rng.random()
        if chance > 0.15:
            made[name] = _value(rng) if chance < 0.2 else make(rng)
    return made


def case(rng: random.Random) -> Case:
    """An update of one to three places."""
    found = document(rng)
    inserting = rng.random() < 0.1
    chosen: dict[str, Target] = {}
    for target in rng.sample(TARGETS, rng.randrange(1, 4)):
        # A whole array leaves no room for its elements.
        if not any(root.split(".")[0] == target.root.split(".")[0] for root in chosen) or (
            "." in target.root and all("." in root for root in chosen if root[0] == target.root[0])
        ):
            chosen.setdefault(target.root, target)
    way = rng.choice(["index", "each", "filter", "filter", "first"])
    query = _query(found, rng) if way == "first" else None
    if way == "first" and query is None:
        way = "filter"
    ops: Ops = {}
    filters: dict[str, dict[str, Any]] = {}
    for target in chosen.values():
        path = _path(target, way, filters, query, rng)
        op = rng.choice(OPERATORS if rng.random() < 0.05 else target.fit)
        old = found.get(target.root)
        ops.setdefault(op, {})[path] = _operand(op, target, old, rng)
    return Case(found, ops, list(filters.values()), query, inserting and query is None)


def _query(found: dict[str, Any], rng: random.Random) -> dict[str, Any] | None:
    """A filter that the document matches by an element of `m` and one of `r`."""
    query: dict[str, Any] = {}
    numbers = [item for item in _items(found, "m") if type(item) is int]
    rows = [item for item in _items(found, "r") if type(item) is dict and type(item.get("k")) is int]
    if numbers:
        wanted = rng.choice(numbers)
        query["m"] = rng.choice([wanted, {"$gte": wanted}, {"$elemMatch": {"$gte": wanted, "$lt": wanted + 3}}])
    if rows:
        wanted = rng.choice(rows)["k"]
        query.update(rng.choice([{"r.k": wanted}, {"r.k": {"$lte": wanted}}, {"r": {"$elemMatch": {"k": wanted}}}]))
    return query or None


def _items(found: dict[str, Any], name: str) -> list[Any]:
    held = found.get(name)
    return held if isinstance(held, list) else []


def _path(
    target: Target, way: str, filters: dict[str, dict[str, Any]], query: dict[str, Any] | None, rng: random.Random
) -> str:
    steps = []
    for number in range(target.path.count("{}")):
        asked = query is not None and any(key.split(".")[0] == target.root[0] for key in query)
        if number == 0 and way == "first" and asked:
            steps.append("$")
        elif way == "index" or (way == "first" and number == 0):
            steps.append(str(rng.choice([0, 0, 1, 2, 4])))
        elif way == "each":
            steps.append("$[]")
        else:
            rows = target.root.startswith("r") and number == 0
            name = ("row" if rows else "item") + rng.choice(["", "2"])
            filters.setdefault(name, _array_filter(name, rng, rows=rows))
            steps.append(f"$[{name}]")
    return target.path.format(*steps)


def _array_filter(name: str, rng: random.Random, *, rows: bool) -> dict[str, Any]:
    condition = rng.choice([{"$gte": _whole(rng)}, {"$lt": _whole(rng)}, _whole(rng), {"$in": [2, 3, "x"]}, {"$ne": 5}])
    if not rows:
        return {name: condition}
    return rng.choice(
        [
            {f"{name}.k": condition},
            {f"{name}.k": condition, f"{name}.t": {"$ne": "x"}},
            {"$or": [{f"{name}.k": condition}, {f"{name}.t": "z"}]},
            {"$and": [{f"{name}.k": condition}, {f"{name}.q": {"$exists": True}}]},
            {name: {"$elemMatch": {"$gt": 3}}} if rng.random() < 0.1 else {f"{name}.q": condition},
        ]
    )


def _operand(op: str, target: Target, old: Any, rng: random.Random) -> Any:  # noqa: PLR0911 - one return per operator
    element = {"m": _whole, "r": _row, "r.q": _whole}.get(target.root, _value)
    match op:
        case "$inc" | "$mul":
            return _number(rng)
        case "$min" | "$max":
            return rng.choice(_TEXTS) if isinstance(old, str) or target.root == "r.t" else _number(rng)
        case "$bit":
            return {name: _whole(rng) for name in rng.sample(["and", "or", "xor"], rng.randrange(1, 3))}
        case "$push":
            return _pushed(target, element, rng)
        case "$addToSet":
            return rng.choice([element(rng), {"$each": _many(element, rng)}])
        case "$pop":
            return rng.choice([1, -1])
        case "$pull":
            return _pulled(target, element, rng)
        case "$pullAll":
            return _many(element, rng)
        case "$currentDate":
            return rng.choice([True, {"$type": "date"}, {"$type": "timestamp"}])
        case "$rename":
            return target.root + "Renamed"
        case "$unset":
            return ""
        case _:
            return element(rng) if rng.random() < 0.5 else _value(rng)


def _pushed(target: Target, element: Callable[[random.Random], Any], rng: random.Random) -> Any:
    if rng.random() < 0.3:
        return element(rng)
    given: dict[str, Any] = {"$each": _many(element, rng)}
    if rng.random() < 0.5:
        given["$slice"] = rng.randrange(-3, 4)
    if rng.random() < 0.5:
        given["$position"] = rng.randrange(-2, 4)
    if rng.random() < 0.5 and target.root in {"m", "r", "r.q"}:
        way = rng.choice([1, -1])
        given["$sort"] = rng.choice([{"k": way}, {"t": -way, "k": way}]) if target.root == "r" else way
    return given


def _pulled(target: Target, element: Callable[[random.Random], Any], rng: random.Random) -> Any:
    condition = rng.choice(
        [{"$gte": 3}, {"$in": [2, "x", 5]}, {"$ne": 5}, {"$lt": 6, "$gt": 2}, {"$exists": True}, {"$nin": [2, 3]}]
    )
    of_rows = rng.choice(
        [{"k": condition}, {"k": condition, "t": "x"}, {"$or": [{"k": condition}, {"t": "x"}]}, {"q": {"$size": 1}}]
    )
    if target.root == "r":
        return of_rows if rng.random() < 0.8 else element(rng)
    texts = [re.compile("^x"), {"$in": [re.compile("y"), 2]}]
    return rng.choice([element(rng), condition, condition, {"n": condition}, *texts])

"""Operations that know the language and mean nothing by it: every operator and stage, at odd paths, with odd values."""

import random
from typing import Any

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 1.5, -0.0, 1e308, "", "a", "$a", "$$ROOT", "$$", "a.b", "\0"),
    *([], [1], [[1]], {}, {"a": 1}, "x" * 300, "\U0001f4a9", {"$date": "2026-01-01T00:00:00Z"}, {"$day": "2026-01-01"}),
    *({"$numberDecimal": "NaN"}, {"$numberDecimal": "1E+999999"}, {"$numberDouble": "NaN"}, {"$integer": "9" * 90}),
    *({"$binary": {"base64": "AA==", "subType": "00"}}, {"$uuid": "3b241101-e2bb-4255-8caf-4136c566a962"}),
]
PATHS = [
    *(
        "a",
        "b",
        "a.b",
        "a.0",
        "a.$",
        "a.$[]",
        "a.$[x]",
        "$id",
        "version",
        "createdAt",
        "tags",
        "tags.0",
        "n",
        "deep.x.y",
    ),
    *("", "a..b", ".", "$a", "name", "$type", "0", "a.b.c.d", "a.99999999999", "tags.-1", "a.1000000"),
]
FILTERS = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$mod",
    "$regex",
    "$options",
    "$startsWith",
    "$endsWith",
    "$contains",
    "$all",
    "$elemMatch",
    "$size",
    "$exists",
    "$type",
    "$not",
    "$and",
    "$or",
    "$nor",
    "$none",
]
UPDATES = [
    "$set",
    "$unset",
    "$rename",
    "$setOnInsert",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$push",
    "$pull",
    "$pullAll",
    "$addToSet",
    "$pop",
    "$currentDate",
    "$bit",
    "$link",
    "$unlink",
    "$none",
]
STAGES = [
    "$match",
    "$group",
    "$sort",
    "$project",
    "$limit",
    "$skip",
    "$unwind",
    "$count",
    "$sortByCount",
    "$addFields",
    "$facet",
    "$none",
]
EXPRESSIONS = [
    "$sum",
    "$avg",
    "$min",
    "$max",
    "$first",
    "$last",
    "$push",
    "$addToSet",
    "$add",
    "$divide",
    "$concat",
    "$cond",
    "$size",
    "$literal",
    "$none",
]
DEPTH = 3


class Strange:
    """Makes operations in dict form, as JSON data; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def operation(self) -> dict[str, Any]:
        """Return one of any kind."""
        kind = self._random.choice([name for name in dir(self) if name.startswith("_op_")])
        arguments = {name: value for name, value in getattr(self, kind)().items() if value is not None}
        return {"op": kind.removeprefix("_op_"), **arguments}

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _one(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _some(self, make: Any, most: int = 3) -> list[Any]:
        return [make() for _ in range(self._random.randrange(most))]

    def _path(self) -> str:
        return self._random.choice(PATHS)

    def _value(self, depth: int = 0) -> Any:
        if depth < DEPTH and self._chance(0.15):
            return self._some(lambda: self._value(depth + 1))
        if depth < DEPTH and self._chance(0.12):
            names = [*PATHS, *FILTERS, *EXPRESSIONS, "$each", "$position", "$slice"]
            return {self._random.choice(names): self._value(depth + 1) for _ in range(self._random.randrange(3))}
        return self._random.choice(VALUES)

    def _filter(self, depth: int = 0) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for _ in range(self._random.randrange(3)):
            if depth < DEPTH and self._chance(0.25):
                made[self._one("$and", "$or", "$nor")] = self._some(lambda: self._filter(depth + 1))
            elif self._chance(0.5):
                inner = self._filter(depth + 1) if depth < DEPTH and self._chance(0.3) else self._value()
                made[self._path()] = {self._random.choice(FILTERS): inner}
            else:
                made[self._path()] = self._value()
        return made

    def _update(self) -> dict[str, Any]:
        return {self._random.choice(UPDATES): self._changes() for _ in range(self._random.randrange(1, 3))}

    def _changes(self) -> Any:
        each = {"$each": self._value(), "$position": self._value(), "$slice": self._value(), "$sort": self._value()}
        values = [self._value(), self._value(), each, self._filter(), {self._one("and", "or", "xor"): self._value()}]
        return {self._path(): self._random.choice(values)} if self._chance(0.95) else self._value()

    def _expression(self, depth: int = 0) -> Any:
        if depth < DEPTH and self._chance(0.5):
            inner = [self._expression(depth + 1) for _ in range(self._random.randrange(3))]
            return {self._random.choice(EXPRESSIONS): inner if self._chance(0.5) else self._expression(depth + 1)}
        return f"${self._path()}" if self._chance(0.5) else self._value()

    def _stage(self) -> dict[str, Any]:
        name = self._random.choice(STAGES)
        made = {
            "$match": self._filter(),
            "$group": {"_id": self._expression(), "x": {self._random.choice(EXPRESSIONS): self._expression()}},
            "$sort": {self._path(): self._one(1, -1, 0, "x")},
            "$project": {self._path(): self._one(0, 1, True, self._expression()) for _ in range(2)},
            "$unwind": self._one("$tags", "tags", {"path": "$tags", "includeArrayIndex": self._path()}),
            "$count": self._path(),
        }
        return {name: made[name] if name in made and self._chance(0.9) else self._value()}

    def _sort(self) -> Any:
        return self._one(None, "a", "-a", "", ["a", "-b"], {"a": -1, "b": 1}, [["a", 1]], self._value())

    def _fields(self) -> Any:
        return self._one(None, ["a"], {"a": 1}, {"a": 0}, {"a.b": 1, "$id": 0}, {"a": 1, "b": 0}, self._value())

    def _op_find(self) -> dict[str, Any]:
        page = {
            "limit": self._one(1, 10, 0, None),
            "skip": self._one(0, 1, -1, None),
            "cursor": self._one(None, None, "AA"),
        }
        return {"filter": self._filter(), "sort": self._sort(), "fields": self._fields(), **page}

    def _op_find_one(self) -> dict[str, Any]:
        return {"filter": self._filter(), "sort": self._sort(), "fields": self._fields()}

    def _op_count(self) -> dict[str, Any]:
        return {"filter": self._filter()}

    def _op_distinct(self) -> dict[str, Any]:
        return {"field": self._path(), "filter": self._filter()}

    def _op_aggregate(self) -> dict[str, Any]:
        return {"pipeline": self._some(self._stage, 4)}

    def _op_explain(self) -> dict[str, Any]:
        return {"filter": self._filter(), "sort": self._sort()}

    def _op_update(self) -> dict[str, Any]:
        version = {"expected_version": self._one(None, None, 1, 0, "1")}
        filters = {"array_filters": self._one(None, None, [{"x": 1}], [{"x.a": {"$gt": 1}}], self._value())}
        return (
            {"id": self._one("one", "two", "new"), "ops": self._update(), "upsert": self._one(True, False)}
            | version
            | filters
        )

    def _op_update_many(self) -> dict[str, Any]:
        return {"filter": self._filter(), "ops": self._update(), "upsert": self._one(True, False)}

    def _op_upsert(self) -> dict[str, Any]:
        return {"filter": self._filter(), "ops": self._update()}

    def _op_delete_many(self) -> dict[str, Any]:
        return {"filter": {"$and": [{"a": "nothing"}, self._filter()]}}

    def _op_replace(self) -> dict[str, Any]:
        return {"id": "two", "data": self._one({"a": self._value()}, self._value())}

    def _op_create(self) -> dict[str, Any]:
        return {"data": {"a": self._value(), self._path(): self._value()}}

    def _op_create_many(self) -> dict[str, Any]:
        return {"docs": self._one([{"a": self._value()}, {"b": 1}], self._value()), "ordered": self._one(True, False)}

    def _op_batch(self) -> dict[str, Any]:
        return {"operations": self._some(self.operation)}

    def _op_history(self) -> dict[str, Any]:
        return {"id": self._one("one", self._value()), "after": self._one(0, self._value())}

    def _op_changes(self) -> dict[str, Any]:
        return {"after": self._one(0, self._value()), "limit": self._one(1, self._value())}

    def _op_get(self) -> dict[str, Any]:
        return {
            "id": self._one("one", self._value()),
            "as_of": self._one(None, 1, self._value()),
            "fields": self._fields(),
        }

    def _op_delete(self) -> dict[str, Any]:
        return {"id": "gone", "hard": self._one(True, False, self._value())}

    def _op_restore(self) -> dict[str, Any]:
        return {"id": self._one("one", "two")}

    def _op_register(self) -> dict[str, Any]:
        types = self._one("string!", "int", "<- P.a[]", "x!!", self._value())
        return {"schema": self._one({self._path(): types}, self._value()), "mode": "warn"}

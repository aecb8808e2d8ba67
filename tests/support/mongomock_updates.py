"""What an update should come to: MongoDB's manual for the paths, mongomock for what the operators do at their ends.

mongomock is asked for the whole update where it knows all of it. For the rest the places that an update means are found
here, by the words of the manual, and mongomock is asked for one operator on one value. `$mul` and `$bit`, which it does
not know at all, are computed here.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import reduce
from operator import and_, or_, xor
from typing import Any, Final

import mongomock
from mongomock.filtering import filter_applies

from parquedb.documents.comparison import MISSING
from tests.support.updates import Case, Ops

_BSON_ORDER: Final = {type(None): 0, int: 1, float: 1, str: 2, dict: 3, list: 4, bool: 5}

NOW: Final = "now"
"""Stands for every moment."""

CREATING: Final = frozenset(["$set", "$inc", "$mul", "$min", "$max", "$bit", "$currentDate", "$push", "$addToSet"])
_ON_ARRAYS: Final = frozenset({"$push", "$addToSet", "$pop", "$pull", "$pullAll"})
_BITS: Final[dict[str, Callable[[int, int], int]]] = {"and": and_, "or": or_, "xor": xor}


class Refused(Exception):  # noqa: N818 - an answer
    """MongoDB refuses the update."""


class SetAside(Exception):  # noqa: N818 - an answer
    """mongomock's answer says nothing, for the reason given."""


class Oracle:
    """Says what an update comes to."""

    def __init__(self) -> None:
        self._collection = mongomock.MongoClient(tz_aware=True)["test"]["documents"]

    def result(self, case: Case) -> dict[str, Any]:
        """The changed document, moments as `NOW`.

        Raises:
            Refused: MongoDB refuses it.
            SetAside: nobody can be asked.
        """
        document = copy.deepcopy(case.document)
        chosen = _chooser(case)
        changes = [
            (op, place, operand)
            for op, fields in case.ops.items()
            if op != "$setOnInsert" or case.inserting
            for path, operand in fields.items()
            for place in _places(document, path.split("."), chosen)
        ]
        _check_apart([place for _, place, _ in changes])
        changes.sort(key=lambda change: _numeric_first(change[1]))
        for op, place, operand in changes:
            if op != "$rename":
                self._change(document, "$set" if op == "$setOnInsert" else op, place, operand)
        for source, target in case.ops.get("$rename", {}).items():
            if source in document:
                document[target] = document.pop(source)
        if _is_known_whole(case):
            theirs = self._whole(case)
            if exact(theirs) != exact(document):
                raise AssertionError(f"the words of the manual give {document}, mongomock {theirs}")
        return document

    def _whole(self, case: Case) -> dict[str, Any]:
        self._collection.delete_many({})
        if case.inserting:
            where = {"_id": 7, **case.document}
        else:
            where = {"_id": 7}
            self._collection.insert_one({"_id": 7, **copy.deepcopy(case.document)})
        self._collection.update_one(where, copy.deepcopy(_spelled(case.ops)), upsert=case.inserting)
        theirs = self._collection.find_one({"_id": 7}, {"_id": 0})
        return dict(timeless(theirs)) if "$currentDate" in case.ops else dict(theirs)

    def _change(self, document: dict[str, Any], op: str, place: list[str], operand: Any) -> None:
        holder = _holder(document, place, op)
        if holder is None:
            return
        name: Any = place[-1]
        if isinstance(holder, list):
            if not name.isdigit():
                if op in CREATING:
                    raise Refused
                return
            name = int(name)
            old = holder[name] if name < len(holder) else MISSING
        else:
            old = holder.get(name, MISSING)
        new = self._changed(op, old, operand)
        if isinstance(holder, list):
            if new is MISSING and old is MISSING:
                return
            holder.extend([None] * (name + 1 - len(holder)))
            holder[name] = None if new is MISSING else new
        elif new is not MISSING:
            holder[name] = new
        else:
            holder.pop(name, None)

    def _changed(self, op: str, old: Any, operand: Any) -> Any:
        """What one operator makes of one value."""
        if op in _ON_ARRAYS and old is not MISSING and not isinstance(old, list):
            raise Refused
        if op in {"$inc", "$mul"} and old is not MISSING and type(old) not in {int, float, Decimal}:
            raise Refused
        if op == "$bit":
            if old is not MISSING and type(old) is not int:
                raise Refused
            return reduce(
                lambda sofar, step: _BITS[step[0]](sofar, step[1]), operand.items(), 0 if old is MISSING else old
            )
        if op == "$mul":
            return type(operand)(0) if old is MISSING else old * operand
        if op == "$currentDate":
            return NOW
        if op == "$pop" and old is MISSING:
            return MISSING
        if op in {"$min", "$max"} and old is not MISSING and _rank(old) != _rank(operand):
            # mongomock orders types as Python does.
            return min(old, operand, key=_rank) if op == "$min" else max(old, operand, key=_rank)
        return self._asked(op, old, operand)

    def _asked(self, op: str, old: Any, operand: Any) -> Any:
        """Ask mongomock for one operator on one value."""
        items = old if isinstance(old, list) else []
        if op == "$pull" and isinstance(operand, dict):
            return MISSING if old is MISSING else _pulled(items, operand)
        if op == "$push" and isinstance(operand, dict) and "$sort" in operand:
            return self._sorted(old, operand)
        return self._once(op, old, operand)

    def _once(self, op: str, old: Any, operand: Any) -> Any:
        self._collection.delete_many({})
        self._collection.insert_one({"_id": 7} if old is MISSING else {"_id": 7, "v": copy.deepcopy(old)})
        spelled = _spelled({op: {"v": operand}})
        try:
            self._collection.update_one({"_id": 7}, copy.deepcopy(spelled))
        except mongomock.WriteError:
            raise Refused from None
        except (TypeError, KeyError, mongomock.OperationFailure) as error:
            raise SetAside(f"mongomock fails at {op}: {type(error).__name__}") from None
        theirs = self._collection.find_one({"_id": 7})
        return theirs.get("v", MISSING)

    def _sorted(self, old: Any, operand: dict[str, Any]) -> Any:
        """`$push` with `$sort`, one field after the other, for mongomock sorts by one only."""
        sort = operand["$sort"]
        items = self._asked("$push", old, {name: operand[name] for name in ("$each", "$position") if name in operand})
        if type(sort) is int and len(set(map(_rank, items))) > 1:
            raise SetAside("mongomock sorts types as Python does")
        for one in reversed([{name: way} for name, way in sort.items()] if isinstance(sort, dict) else [sort]):
            items = self._once("$push", items, {"$each": [], "$sort": one})
        return self._asked("$push", items, {"$each": [], "$slice": operand["$slice"]}) if "$slice" in operand else items


Chooser = Callable[[str, list[str], list[Any]], list[int]]


def _chooser(case: Case) -> Chooser:
    """Which elements a positional form means, by mongomock's filters."""
    filters = {_name_of(source): source for source in case.filters}

    def chosen(form: str, path: list[str], items: list[Any]) -> list[int]:
        if form == "$[]":
            return list(range(len(items)))
        if form == "$":
            assert case.query is not None
            one_by_one = [{**case.document, path[0]: [item]} for item in items]
            found = [at for at, document in enumerate(one_by_one) if filter_applies(case.query, document)]
            if not found:
                raise Refused
            return found[:1]
        name = form[2:-1]
        return [at for at, item in enumerate(items) if filter_applies(filters[name], {name: item})]

    return chosen


def _name_of(source: dict[str, Any]) -> str:
    key = next(iter(source))
    return _name_of(source[key][0]) if key.startswith("$") else key.split(".")[0]


def _places(document: Any, path: list[str], chosen: Chooser) -> list[list[str]]:
    """The paths without positional forms that a path means in a document."""
    for depth, name in enumerate(path):
        if name.startswith("$"):
            array = _at(document, path[:depth])
            if not isinstance(array, list):
                raise Refused
            return [
                place
                for at in chosen(name, path[:depth], array)
                for place in _places(document, [*path[:depth], str(at), *path[depth + 1 :]], chosen)
            ]
    return [path]


def _at(value: Any, path: list[str]) -> Any:
    for name in path:
        if isinstance(value, dict):
            value = value.get(name, MISSING)
        elif isinstance(value, list):
            value = value[int(name)] if name.isdigit() and int(name) < len(value) else MISSING
        else:
            return MISSING
    return value


def _holder(document: Any, place: list[str], op: str) -> Any:
    """What holds the last name of a place, made where it is missing; None where there is nothing to change."""
    node = document
    for name in place[:-1]:
        step: Any = name
        if isinstance(node, list):
            if not name.isdigit():
                if op in CREATING:
                    raise Refused
                return None
            step = int(name)
            there = step < len(node)
        else:
            there = name in node
        if not there:
            if op not in CREATING:
                return None
            if isinstance(node, list):
                node.extend([None] * (step + 1 - len(node)))
            node[step] = {}
        node = node[step]
        if not isinstance(node, dict | list):
            if op in CREATING:
                raise Refused
            return None
    return node


def _numeric_first(place: list[str]) -> list[tuple[int, str]]:
    """The order in which MongoDB changes places: those of numeric names in numeric order."""
    return [(int(name), "") if name.isdigit() else (-1, name) for name in place]


def _check_apart(places: list[list[str]]) -> None:
    """Refuse two changes of one place."""
    for number, place in enumerate(places):
        for other in places[number + 1 :]:
            length = min(len(place), len(other))
            if place[:length] == other[:length]:
                raise Refused


def _is_known_whole(case: Case) -> bool:
    """Whether mongomock knows every operator and path of an update."""
    known = {"$set", "$setOnInsert", "$inc", "$currentDate", "$rename", "$unset", "$push", "$addToSet"}
    plain = all(not re.search(r"\$|\.\d", path) for fields in case.ops.values() for path in fields)
    return plain and case.query is None and case.ops.keys() <= known and not _sorts_by_two(case.ops)


def _sorts_by_two(ops: Ops) -> bool:
    operands = [given for given in ops.get("$push", {}).values() if isinstance(given, dict)]
    sorts = [given["$sort"] for given in operands if "$sort" in given]
    return any(isinstance(sort, dict) and len(sort) > 1 for sort in sorts)


def _pulled(items: list[Any], operand: dict[str, Any]) -> list[Any]:
    """`$pull` with a condition, asked of each element: of values by operators, of documents as a filter.

    mongomock's `$pull` asks both of every element.
    """
    if any(key.startswith("$") and key not in {"$or", "$and"} for key in operand):
        return [item for item in items if not filter_applies({"v": operand}, {"v": item})]
    return [item for item in items if not (isinstance(item, dict) and filter_applies(operand, item))]


def _spelled(ops: Ops) -> Ops:
    """The same update as mongomock understands it."""
    spelled = {op: dict(fields) for op, fields in ops.items()}
    for path, operand in spelled.get("$pull", {}).items():
        if isinstance(operand, re.Pattern):
            spelled["$pull"][path] = {"$regex": operand}
    for path, operand in spelled.get("$addToSet", {}).items():
        if isinstance(operand, dict) and "$each" in operand:
            # mongomock adds what is named twice twice.
            given = operand["$each"]
            spelled["$addToSet"][path] = {"$each": [item for at, item in enumerate(given) if item not in given[:at]]}
    for path in spelled.get("$currentDate", {}):
        spelled["$currentDate"][path] = True  # It has no timestamps.
    return spelled


def _rank(value: Any) -> int:
    """The place of a type in BSON's order."""
    return _BSON_ORDER[type(value)]


def timeless(value: Any) -> Any:
    """A copy with `NOW` in the place of every moment."""
    if isinstance(value, dict):
        return {name: timeless(item) for name, item in value.items()}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return NOW if isinstance(value, datetime) else value


def exact(value: Any) -> Any:
    """A form that is equal only for values of the same types, whatever the order of keys."""
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    return [exact(item) for item in value] if isinstance(value, list) else (type(value), value)

"""The same calls over both ways to the same owners: the same answers, and the same refusals.

Only what each call makes anew, ids and times, is left out of the comparison. What differs on purpose is in
docs/http-client.md.
"""

import random
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import parquedb
from parquedb.cluster.client.database import Database
from parquedb.errors import ParqueDBError
from tests.cluster.http.test_wire import VALUES
from tests.support.filters import conditions
from tests.support.gateway_server import GatewayServer
from tests.support.updates import case

Pair = tuple[Database, Database]

_WAYS = ("near", "away")
_NEW = ("createdAt", "updatedAt", "deletedAt")
_ULID = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A database as its owners' neighbour has it, and the same one over HTTP."""
    with GatewayServer() as server, parquedb.connect(server.url) as far:
        yield Database(server.local), far


def shown(value: Any) -> Any:
    """Return a value with its types, without what is new in each call."""
    if isinstance(value, ParqueDBError):
        return [type(value).__name__, value.code.value, _ULID.sub("ID", value.message), shown(dict(value.context))]
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items() if key not in _NEW}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    if isinstance(value, str):
        return _ULID.sub("ID", value)
    # `$currentDate` is as new as what the database sets.
    new = isinstance(value, datetime) and value.year >= 2025 and value.microsecond
    return "now" if new else f"{type(value).__name__} {value!r}"


def told(call: Callable[[], Any]) -> Any:
    """Return what a call came to."""
    try:
        return shown(call())
    except ParqueDBError as error:
        return shown(error)


def same(pair: Pair, namespace: str, script: list[Callable[[Any], Any]]) -> list[Any]:
    """Run a script over both, each in a namespace of its own; return what it came to."""
    near, far = (_ran(database[f"{namespace}-{way}"], script) for database, way in zip(pair, _WAYS, strict=True))
    assert far == near
    return near


def _ran(collection: Any, script: list[Callable[[Any], Any]]) -> list[str]:
    found = [str(told(partial(step, collection))) for step in script]
    return [text.replace(collection.namespace, "it") for text in found]


SCRIPTS: dict[str, list[Callable[[Any], Any]]] = {
    "documents": [
        lambda c: c.create({"n": 1, "tags": ["a", "b"]}, id="a", actor="ada"),
        lambda c: c.create({"n": 1}, id="a"),
        lambda c: c.create({"version": 5}),
        lambda c: c.create({"$bad": 5}),
        lambda c: c.create({"name": 5}),
        lambda c: c.create({"n": object()}),
        lambda c: c.create([]),
        lambda c: c.create({}, id="x" * 2000),
        lambda c: c.create({}, id="../../etc/passwd"),
        lambda c: c.get("../../etc/passwd"),
        lambda c: c.get("%2e%2e/%00"),
        lambda c: c.get(f"{c.namespace}/a"),
        lambda c: c.get(5),
        lambda c: c.get("a", fields=["tags"]),
        lambda c: c.get("a", fields={"tags": 0, "n": 1}),
        lambda c: c.get_or_raise("b"),
        lambda c: c.exists("a"),
        lambda c: c.update("a", {"$inc": {"n": 1}}, expected_version=1, actor="bob"),
        lambda c: c.update("a", {"$inc": {"n": 1}}, expected_version=1),
        lambda c: c.update("b", {"$inc": {"n": 1}}, expected_version=1),
        lambda c: c.update("b", {"$inc": {"n": 1}}),
        lambda c: c.update("b", {"$inc": {"n": 1}}, upsert=True, return_document="before"),
        lambda c: c.update("a", {"$nope": 1}),
        lambda c: c.update("a", {"$inc": {"tags": 1}}),
        lambda c: c.update("a", {"$set": {"tags.$[t]": "c"}}, array_filters=[{"t": "b"}]),
        lambda c: c.replace("a", c.get("a") | {"n": 7}),
        lambda c: c.delete("a"),
        lambda c: c.delete("a"),
        lambda c: c.get("a"),
        lambda c: c.get("a", include_deleted=True),
        lambda c: c.restore("a"),
        lambda c: c.restore("nothing"),
        lambda c: c.delete("a", hard=True, expected_version=1),
        lambda c: c.delete("a", hard=True),
        lambda c: c.get("a", as_of=1),
        lambda c: c.get("a", as_of=10**6),
        lambda c: [(one.seq, one.action, one.document) for one in c.history("a")],
        lambda c: [(one.seq, one.action, one.id) for one in c.changes(follow=False)],
        lambda c: list(c.changes(after=10**6, follow=False)),
    ],
    "queries": [
        lambda c: c.create_many([{"$id": f"{n:03}", "n": n, "m": n % 3, "t": {"x": [n, -n]}} for n in range(100)]),
        lambda c: c.find({"m": 1}, limit=3).items,
        lambda c: list(c.find({"m": 1}, sort="-n", limit=7, fields=["n"])),
        lambda c: c.find({"m": 1}, limit=3, skip=30, total=True).total,
        lambda c: c.find({"n": {"$where": 1}}),
        lambda c: c.find(limit=10_001),
        lambda c: c.find(sort="$x"),
        lambda c: c.find(sort=[("m", 1), ("n", -1)], limit=4).items,
        lambda c: c.find(fields={"a": 1, "b": 0}),
        lambda c: c.find(cursor="nonsense"),
        lambda c: c.find({"t.x": {"$elemMatch": {"$gt": 97}}}).items,
        lambda c: c.find({"n": {"$in": []}}).items,
        lambda c: c.find({"n": re.compile("x")}).items,
        lambda c: c.find({"$id": {"$in": [re.compile("^00[12]"), 7]}}).items,
        lambda c: c.find({"$id": {"$not": re.compile("^0", re.IGNORECASE)}}).items,
        lambda c: c.find({"$id": re.compile("a(?=b)")}).items,
        lambda c: c.find(c, limit=1),
        lambda c: c.find_one({"n": {"$gt": 50}}, sort="n"),
        lambda c: c.find_one({"n": 1000}),
        lambda c: c.count({"$or": [{"n": 1}, {"n": {"$gte": 98}}]}),
        lambda c: c.distinct("m", {"n": {"$lt": 50}}),
        lambda c: c.distinct(""),
        lambda c: c.aggregate([{"$group": {"_id": "$m", "n": {"$avg": "$n"}}}, {"$sort": {"_id": 1}}]),
        lambda c: c.aggregate([{"$nope": 1}]),
        lambda c: c.aggregate({"$match": {}}),
        lambda c: (c.explain({"m": 1}).returned, c.explain({"m": 1}, verbosity="queryPlanner").plan),
        lambda c: c.explain({"m": 1}, operation="nope"),
        lambda c: c.update_many({"m": 2}, {"$set": {"two": True}}),
        lambda c: c.update_many({"n": 1000}, {"$set": {"x": 1}}, upsert=True).matched,
        lambda c: c.upsert({"n": 5}, {"$inc": {"m": 1}}),
        lambda c: c.delete_many({"m": 0}),
        lambda c: c.delete_many(None),
        lambda c: c.count(),
    ],
    "many": [
        lambda c: c.create_many([{"$id": "a"}, {"$id": "a"}, {"$id": "b"}]),
        lambda c: c.create_many([{"$id": "a"}, {"$id": "c"}], ordered=False),
        lambda c: c.create_many([{"x": object()}, {}], ordered=False),
        lambda c: c.create_many([]),
        lambda c: c.batch([{"op": "create", "data": {"n": 1}, "id": "d"}, {"op": "update", "id": "d", "ops": {}}]),
        lambda c: c.batch([{"op": "create", "data": {}, "id": "e"}, {"op": "create", "data": {}, "id": "a"}]),
        lambda c: c.batch([{"op": "find"}]),
        lambda c: c.batch([{"op": "create", "data": {}, "request_id": "x"}]),
        lambda c: c.create({"n": 1}, request_id="r"),
        lambda c: c.create({"n": 2}, request_id="r"),
        lambda c: c.create({"n": 2}, request_id=""),
        lambda c: c.count(),
    ],
    "schemas": [
        lambda c: c.schema(),
        lambda c: c.register({"email": "string!", "n": "int = 3", "d": "decimal(5,2)?"}),
        lambda c: c.register({"email": "int!"}),
        lambda c: c.register({"email": "nonsense!"}),
        lambda c: c.register({"email": "string!"}, mode="nope"),
        lambda c: c.create({"email": "a"}, id="a"),
        lambda c: c.create({"email": 1}),
        lambda c: c.create({}),
        lambda c: c.update("a", {"$set": {"email": None}}),
        lambda c: c.schema().schema,
    ],
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_comes_to_the_same_both_ways(name: str, pair: Pair) -> None:
    came_to = same(pair, name, SCRIPTS[name])
    # A script of which everything is refused would prove little.
    assert len(set(came_to)) > len(came_to) / 2


def test_updates_come_to_the_same_both_ways(pair: Pair) -> None:
    refused = 0
    for seed in range(200):
        one = case(random.Random(seed))
        script = [lambda c, one=one, seed=seed: c.create(one.document, id=str(seed))] if not one.inserting else []
        script.append(
            lambda c, one=one, seed=seed: c.update(
                str(seed), one.ops, array_filters=one.filters or None, upsert=one.inserting
            )
        )
        refused += "Error" in same(pair, "updates", script)[-1]
    assert 5 < refused < 150


# A filter with an int of thousands of digits is beyond what the owner makes a cursor of.
STORED = [value for name, value in VALUES.items() if not isinstance(value, dict) and name != "as large as they get"]


@pytest.fixture(scope="module")
def filtered(pair: Pair) -> Pair:
    near, _ = pair
    near["filters"].create_many([{"$id": f"{at:03}", "v": value, "l": [value]} for at, value in enumerate(STORED)])
    return pair


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_filters_come_to_the_same_both_ways(filtered: Pair, data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(STORED))
    condition = {data.draw(st.sampled_from(["v", "l"])): data.draw(conditions(value, st.sampled_from(STORED)))}
    near, far = (told(lambda db=db: db["filters"].find(condition, limit=1000).items) for db in filtered)
    assert far == near

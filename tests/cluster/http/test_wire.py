"""Operations on their way to a gateway, and values on their way back."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import Operation
from parquedb.cluster.http.answers import Answer, NoAnswer
from parquedb.cluster.http.wire import arguments_of, encode_operation, outcomes_of
from parquedb.documents import extended_json
from parquedb.errors import ErrorCode, ValidationError
from parquedb.schemas.model import Schema

VALUES: dict[str, Any] = {
    "microseconds": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    "first day": datetime(1, 1, 1, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "decimal": Decimal("1.10"),
    "decimal NaN": Decimal("NaN"),
    "bytes": bytes(range(256)),
    "uuid": UUID("3b241101-e2bb-4255-8caf-4136c566a962"),
    "infinity": -math.inf,
    "float": 1.0,
    "minus zero": -0.0,
    "int": 1,
    "beyond 64 bits": 2**64,
    "as large as they get": -(2**65_535),
    "text": "\u0000 é \U0001f600",
    "tag": {"$date": "not a date"},
    "operator": {"$gt": 5},
    "literal": {"$literal": {"$literal": 1}},
    "dollars": {"$a": 1, "$b": {"$c": []}},
    "empty": {"": None, "list": [], "dict": {}},
    "nested": [[{"x": [date(1, 1, 1), {"$y": b""}]}], None, True],
}


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down; NaN equals itself here, and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right) if isinstance(left, float | Decimal) else left == right


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_from_the_owner_as_it_was(name: str, posts: Any) -> None:
    document = posts.create({"value": VALUES[name]}, id="a")
    assert same(document["value"], VALUES[name])
    assert same(posts.get("a"), document)
    assert same(posts.find().items, [document])
    assert same([change.document for change in posts.history("a")], [document])


def test_a_lone_nan_comes_back_as_one(posts: Any) -> None:
    assert math.isnan(posts.create({"value": math.nan})["value"])


def test_a_datetime_keeps_its_instant_and_a_naive_one_is_utc(posts: Any) -> None:
    naive = datetime(2026, 7, 1)  # noqa: DTZ001 - what is this about
    there = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    document = posts.create({"there": there, "naive": naive})
    assert document["there"] == there
    assert document["there"].tzinfo is UTC
    assert document["naive"] == datetime(2026, 7, 1, tzinfo=UTC)
    assert posts.count({"naive": naive}) == 1


PARSED: list[dict[str, Any]] = [
    {"op": "create", "data": {"a": 1}, "id": "x", "actor": "ada"},
    {"op": "create_many", "docs": [{"a": 1}, {"$id": "b"}], "ordered": False},
    {"op": "update", "id": "x", "ops": {"$set": {"a.b": 1}}, "expected_version": 3, "return_document": "before"},
    {"op": "update", "id": "x", "ops": {"$inc": {"l.$[e].n": 1}}, "array_filters": [{"e.k": "v"}], "upsert": True},
    {"op": "replace", "id": "x", "data": {"$type": "Post"}, "expected_version": 1},
    {"op": "delete", "id": "x", "hard": True, "expected_version": 2},
    {"op": "restore", "id": "x", "actor": "ada"},
    {"op": "batch", "operations": [{"op": "create", "data": {}}, {"op": "delete", "id": "a"}], "actor": "ada"},
    {"op": "get", "id": "a/b", "include_deleted": True, "as_of": 4, "fields": ["a", "b.c"]},
    {"op": "exists", "id": "a", "as_of": datetime(2026, 1, 1, tzinfo=UTC)},
    {"op": "find", "filter": {"a": {"$in": [1, Decimal(2)]}}, "sort": "-a", "limit": 7, "skip": 2, "total": True},
    {"op": "find", "cursor": "abc", "fields": {"a": 0}},
    {"op": "find_one", "filter": {"$or": [{"a": 1}, {"b": None}]}, "sort": [("a", 1), ("b", -1)]},
    {"op": "count", "filter": {"a": {"$not": {"$gt": 1}}}, "include_deleted": True},
    {"op": "distinct", "field": "a.b", "filter": {"c": 1}},
    {"op": "aggregate", "pipeline": [{"$match": {"a": 1}}, {"$group": {"_id": "$a", "n": {"$sum": 1}}}]},
    {"op": "explain", "filter": {"a": 1}, "operation": "count", "verbosity": "queryPlanner"},
    {"op": "update_many", "filter": {"a": 1}, "ops": {"$set": {"b": 2}}, "upsert": True},
    {"op": "upsert", "filter": {"a": 1}, "ops": {"$setOnInsert": {"b": 2}}},
    {"op": "delete_many", "filter": None, "hard": True},
    {"op": "history", "id": "a", "after": 3, "limit": 5},
    {"op": "changes", "after": 9, "wait_s": 2.5},
    {"op": "schema"},
]


@pytest.mark.parametrize("item", PARSED, ids=lambda item: item["op"])
def test_an_operation_is_read_as_what_it_was(item: dict[str, Any]) -> None:
    operation = arguments.parse("posts", item)
    text = encode_operation(operation, None, {})
    again = arguments.parse("posts", extended_json.loads_request(text))
    assert again.to_wire() == operation.to_wire()


def test_every_method_that_a_gateway_knows_is_among_them() -> None:
    assert {item["op"] for item in PARSED} | {"register"} == set(arguments.BUILDERS)


def test_a_schema_travels_as_its_wire_form() -> None:
    operation = arguments.parse("posts", {"op": "register", "schema": {"a": "string!", "n": "int"}, "mode": "strict"})
    told = arguments_of(operation)
    assert told["mode"] == "strict"
    assert Schema.from_wire(told["schema"]).fields[0].required


def test_what_belongs_to_the_way_stands_beside_the_arguments() -> None:
    text = encode_operation(Operation("get", "a"), None, {"timeout_s": 1.5, "age_s": None, "traceparent": "00-x"})
    assert orjson.loads(text) == {"op": "get", "id": "a", "timeout_s": 1.5, "traceparent": "00-x"}


def test_a_value_that_no_document_holds_is_refused_before_anything_is_sent(posts: Any, server: Any) -> None:
    server.local.operations.clear()
    with pytest.raises(ValidationError):
        posts.count({"a": object()})
    assert server.local.operations == []


BROKEN = {
    "no JSON": b"<html>",
    "cut short": b'{"results":[{"ok":true',
    "a list": b"[]",
    "no results": b"{}",
    "too few": b'{"results":[]}',
    "no verdict": b'{"results":[{}]}',
    "no value": b'{"results":[{"ok":true}]}',
    "an unknown tag": b'{"results":[{"ok":true,"value":{"$what":1}}]}',
    "a text": b'{"results":["ok"]}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_cannot_be_read_leaves_open_what_was_applied(name: str) -> None:
    with pytest.raises(NoAnswer) as caught:
        outcomes_of(Answer(200, {}, BROKEN[name]), 1)
    assert caught.value.sent
    assert caught.value.why.code is ErrorCode.RPC_INVALID_RESPONSE

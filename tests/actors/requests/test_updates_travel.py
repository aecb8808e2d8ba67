"""Updates from the caller to the owner: what arrives is what was meant, and mistakes are named before they leave."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import Operation
from parquedb.actors.requests.packing import decode_operations, encode_operations
from parquedb.actors.writes.evaluate import Rules, prepare
from parquedb.documents.regex import Regex
from parquedb.documents.updates import compile_update
from parquedb.errors import InvalidFilterError, InvalidUpdateError, ValidationError

PULL = {"$pull": {"a": re.compile("^x", re.IGNORECASE), "b": {"$or": [{"n": re.compile("y")}, {"n": 1}]}}}
FILTERS = [{"i.n": {"$in": [re.compile("^x"), 5]}}]


def sent(operation: Operation) -> Operation:
    """An operation as it arrives."""
    [arrived] = decode_operations(encode_operations([operation]))
    return arrived


@pytest.mark.parametrize(
    "build",
    [
        lambda ops: arguments.update("n", "a", ops),
        lambda ops: arguments.update_many("n", None, ops),
        lambda ops: arguments.upsert("n", {"k": 1}, ops),
        lambda ops: Operation.from_wire(arguments.batch("n", [{"op": "update", "id": "a", "ops": ops}]).body[0]),
    ],
    ids=["update", "update_many", "upsert", "batch"],
)
def test_patterns_and_naive_datetimes_reach_the_owner(build: Any) -> None:
    naive = datetime(2024, 1, 1)  # noqa: DTZ001 - what is tested
    body = sent(build({**PULL, "$set": {"at": naive, "c": [{"at": naive}]}})).body

    instant = datetime(2024, 1, 1, tzinfo=UTC)
    assert body["$set"] == {"at": instant, "c": [{"at": instant}]}
    assert body["$pull"] == {"a": Regex("^x", "i"), "b": {"$or": [{"n": Regex("y")}, {"n": 1}]}}
    found = compile_update(body).apply({"a": ["Xa", "ax", 1], "b": [{"n": "xyz"}, {"n": 1}, {"n": 2}, "y"]})
    assert (found["a"], found["b"]) == (["ax", 1], [{"n": 2}, "y"])


def test_array_filters_reach_the_owner() -> None:
    ops = {"$set": {"a.$[i].m": 1}}
    operations = [
        arguments.update("n", "a", ops, array_filters=FILTERS),
        arguments.update_many("n", None, ops, array_filters=FILTERS),
        arguments.upsert("n", None, ops, array_filters=FILTERS),
        arguments.parse("n", {"op": "update", "id": "a", "ops": ops, "array_filters": FILTERS}),
    ]
    for operation in operations:
        arrived = sent(operation)
        assert arrived.options == {"array_filters": [{"i.n": {"$in": [Regex("^x"), 5]}}]}
        update = compile_update(arrived.body, array_filters=arrived.options["array_filters"])
        assert update.apply({"a": [{"n": "xy"}, {"n": 1}]}) == {"a": [{"n": "xy", "m": 1}, {"n": 1}]}


def test_no_array_filters_are_no_option() -> None:
    assert arguments.update("n", "a", {"$set": {"b": 1}}, array_filters=[]).options == {}


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: arguments.update("n", "a", {"$frob": {}}), InvalidUpdateError),
        (lambda: arguments.update("n", "a", {"$set": {"a.$": 1}}), InvalidUpdateError),
        (lambda: arguments.update("n", "a", {"$set": {"a.$[i]": 1}}), InvalidUpdateError),
        (lambda: arguments.update("n", "a", {"$set": {"a": 1}}, array_filters=FILTERS), InvalidUpdateError),
        (lambda: arguments.update("n", "a", {"$set": {"a": object()}}), ValidationError),
        (lambda: arguments.update("n", "a", {"$pull": {"a": re.compile(b"x")}}), InvalidUpdateError),
        (lambda: arguments.update_many("n", {"b": 1}, {"$set": {"a.$": 1}}), InvalidUpdateError),
        (lambda: arguments.update_many("n", {"$frob": 1}, {"$set": {"a": 1}}), InvalidFilterError),
        (lambda: arguments.upsert("n", None, {"$set": {"a.$[i]": 1}}), InvalidUpdateError),
        (lambda: arguments.batch("n", [{"op": "update", "id": "a", "ops": {"$frob": {}}}]), InvalidUpdateError),
    ],
)
def test_mistakes_are_named_before_anything_is_sent(build: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        build()


def test_an_int_too_long_to_be_printed_may_be_set() -> None:
    prepared = prepare(Operation("update", "a", {"$set": {"a": 10**19_500}}), Rules("n", 1 << 24, 100))

    assert prepared.size > 8_000

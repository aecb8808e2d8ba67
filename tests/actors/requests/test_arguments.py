from datetime import UTC, datetime
from typing import Any

import pytest

from parquedb.actors.requests import arguments, read_arguments
from parquedb.actors.requests.operations import Operation
from parquedb.errors import InvalidInputError, ParqueDBError, QueryError, ValidationError


def test_only_options_that_differ_from_their_defaults_travel() -> None:
    operation = arguments.update("n", "n/a", {"$set": {}}, upsert=False, expected_version=3)
    assert operation == Operation("update", "a", {"$set": {}}, {"expected_version": 3})
    assert read_arguments.find("n", {}, limit=5).options == {"limit": 5}


def test_exactly_one_namespace_prefix_is_taken_off_an_id() -> None:
    assert read_arguments.get("n", "n/n/a").id == "n/a"
    assert read_arguments.get("n", "a").id == "a"


def test_dict_form_means_the_same_as_the_method() -> None:
    item = {"op": "delete", "id": "n/a", "hard": True, "request_id": "r"}
    assert arguments.parse("n", item) == arguments.delete("n", "a", hard=True, request_id="r")


def test_an_operation_passes_as_it_is() -> None:
    operation = Operation("get", "a")
    assert arguments.parse("n", operation) is operation


def test_a_batch_holds_single_writes_in_their_order() -> None:
    operation = arguments.batch("n", [{"op": "create", "data": {"a": 1}}, {"op": "delete", "id": "b"}])
    assert [Operation.from_wire(wire).kind for wire in operation.body] == ["create", "delete"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: arguments.create("n", ["a"]), "data: expected a dict, got list"),
        (lambda: arguments.create("n", {}, id=5), "id: expected a str, got 5"),
        (lambda: arguments.create("n", {}, actor=5), "actor: expected a str that is not empty, got 5"),
        (
            lambda: arguments.create("n", {}, request_id=""),
            "request_id: expected a str of 1 to 512 characters, got an empty one",
        ),
        (lambda: arguments.create_many("n", {"a": 1}), "docs: expected a list, got dict"),
        (lambda: arguments.create_many("n", [{}], ordered=1), "ordered: expected True or False, got 1"),
        (lambda: read_arguments.get("n", b"a"), "id: expected a str, got bytes"),
        (lambda: read_arguments.find("n", "x"), "filter: expected a dict, got str"),
        (lambda: read_arguments.find("n", limit=0), "limit: expected an int from 1 to 10 000, got 0"),
        (lambda: read_arguments.find("n", limit=10_001), "limit: expected an int from 1 to 10 000, got 10001"),
        (lambda: read_arguments.find("n", limit=True), "limit: expected an int from 1 to 10 000, got bool"),
        (lambda: read_arguments.find("n", skip=-1), "skip: expected an int from 0 to 100 000, got -1"),
        (lambda: read_arguments.find("n", skip=1, cursor="x"), "skip: expected 0 beside a cursor"),
        (lambda: read_arguments.find("n", total=1), "total: expected True or False, got 1"),
        (lambda: read_arguments.aggregate("n", {"$match": {}}), "pipeline: expected a list of stages, got dict"),
        (lambda: read_arguments.aggregate("n", [{}] * 101), "pipeline: expected at most 100 stages, got 101"),
        (lambda: arguments.update("n", "a", []), "ops: expected a dict, got list"),
        (
            lambda: arguments.update("n", "a", {}, expected_version=0),
            "expected_version: expected an int of at least 1, got 0",
        ),
        (lambda: arguments.update("n", "a", {}, expected_version="1"), "expected_version: .* got str"),
        (lambda: arguments.update("n", "a", {}, return_document="x"), 'return_document: expected "after" or "before"'),
        (lambda: arguments.delete("n", "a", hard="yes"), "hard: expected True or False, got str"),
        (lambda: arguments.batch("n", [{"op": "get", "id": "a"}]), r"operations\[0\].op: expected one of .* got 'get'"),
        (lambda: arguments.batch("n", [5]), r"operations\[0\]: expected a dict such as .* got 5"),
        (
            lambda: arguments.batch("n", [{"op": "delete", "id": "a", "request_id": "r"}]),
            r"operations\[0\].request_id: expected no request_id inside a batch",
        ),
        (
            lambda: arguments.parse("n", {"op": "drop"}),
            "operation.op: expected one of aggregate, .* got 'drop'",
        ),
        (lambda: arguments.parse("n", {"id": "a"}), "operation.op: expected one of .* got NoneType"),
        (lambda: arguments.parse("n", {"op": "get"}), "operation: get: missing a required argument: 'id'"),
        (lambda: arguments.parse("n", {"op": "get", "id": "a", "x": 1}), "got an unexpected keyword argument 'x'"),
        (lambda: arguments.check_timeout(0, 1.0), "timeout_s: expected a positive number of seconds, got 0"),
        (lambda: arguments.check_timeout(float("nan"), 1.0), "timeout_s: expected a positive number"),
        (lambda: arguments.check_timeout("5", 1.0), "timeout_s: expected a positive number of seconds, got str"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named_with_what_was_expected(call: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as raised:
        call()
    assert raised.value.field
    assert raised.value.expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: read_arguments.get("n", "a", fields="title"), "fields: expected a list of fields or a dict, got str"),
        (lambda: read_arguments.get("n", "a", fields=["x", 1]), "fields: expected the name of a field, got int"),
        (lambda: read_arguments.find("n", sort="a..b"), "sort: 'a..b' is no path"),
        (lambda: read_arguments.distinct("n", 5), "distinct: expected the name of a field, got int"),
        (lambda: read_arguments.aggregate("n", [{"$x": 1}]), r"pipeline\[0\]: \$x is no stage here"),
    ],
)
def test_a_query_that_is_not_understood_is_refused_before_it_is_sent(call: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        call()


def test_what_a_query_carries_keeps_its_type_on_the_way() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the point of this test
    found = read_arguments.find("n", {"at": {"$in": (naive, 1)}}).options["filter"]
    assert found == {"at": {"$in": [naive.replace(tzinfo=UTC), 1]}}
    stages = read_arguments.aggregate("n", [{"$match": {"at": naive}}]).options["pipeline"]
    assert stages == [{"$match": {"at": naive.replace(tzinfo=UTC)}}]


@pytest.mark.parametrize("id_", ["", "a\0b", "x" * 513])
def test_an_id_that_cannot_be_stored_is_refused(id_: str) -> None:
    with pytest.raises((ValidationError, InvalidInputError)):
        read_arguments.get("n", id_)


def test_a_refusal_inside_a_batch_says_where() -> None:
    with pytest.raises(ParqueDBError) as raised:
        arguments.batch("n", [{"op": "delete", "id": "a"}, {"op": "create", "data": 1}])
    assert raised.value.__notes__ == ["in operations[1]"]

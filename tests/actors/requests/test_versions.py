"""Calls between different versions: what one does not know it refuses, and never passes over."""

import pytest

from parquedb.actors.requests import arguments, read_arguments
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.actors.requests.packing import decode_outcomes
from parquedb.documents.codec import encode
from parquedb.errors import InvalidInputError

UPDATE = arguments.update("posts", "a", {"$set": {"n": 1}}, expected_version=3).to_wire()


def changed(position: int, value: object) -> list[object]:
    return [value if at == position else item for at, item in enumerate(UPDATE)]


def test_an_operation_that_only_a_later_version_has_is_refused():
    with pytest.raises(InvalidInputError, match=r"unknown operation 'teleport'.*the owner has to follow first"):
        Operation.from_wire(changed(0, "teleport"))


def test_an_option_that_only_a_later_version_has_is_refused_instead_of_passed_over():
    with pytest.raises(InvalidInputError, match=r"unknown options of update: expected_etag\. Nothing was applied"):
        Operation.from_wire(changed(3, {"expected_version": 3, "expected_etag": "x"}))


def test_what_a_later_version_says_besides_of_a_call_is_left():
    assert Operation.from_wire([*UPDATE, 2, "later"]).attempt == 2


def test_every_option_of_this_version_is_known():
    asked = read_arguments.find("posts", {"a": 1}, sort="a", limit=3, skip=1, fields={"a": 1}, include_deleted=True)
    assert Operation.from_wire(asked.to_wire()).options == asked.options


def test_what_a_later_owner_counts_besides_is_left():
    reply = encode([0.0, [[[], None, 7, False, [*range(9)]]]])
    [outcome], _ = decode_outcomes(reply)
    assert isinstance(outcome, Outcome)
    assert list(outcome.cost or ()) == [*range(9)][: len(outcome.cost or ())]

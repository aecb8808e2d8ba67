"""Errors as problem details."""

import orjson
import pytest

from parquedb.cluster.gateway.problems import problem_response
from parquedb.errors import (
    BackpressureError,
    CircuitOpenError,
    ErrorCode,
    InvalidInputError,
    ParqueDBError,
    StorageError,
    VersionConflictError,
)
from parquedb.errors.convert import class_of


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_comes_back_as_itself(code: ErrorCode) -> None:
    error = class_of(code)(
        "what happened", code=code, context={"n": 1}, cause=VersionConflictError(expected=1, actual=2)
    )
    answer = problem_response(error, request_id="r1")
    told = orjson.loads(answer.body)
    assert (answer.status_code, told["status"], told["code"]) == (code.http_status, code.http_status, code.value)
    assert (told["type"], told["request_id"]) == (f"https://parquedb.dev/errors/{code.value}", "r1")
    again = ParqueDBError.from_json(told["error"])
    assert (type(again), again.code, again.message, again.context) == (type(error), code, "what happened", {"n": 1})
    assert isinstance(again.cause, VersionConflictError)


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [(BackpressureError(retry_after=0.2), "1"), (CircuitOpenError(retry_after=29.1), "30"), (BackpressureError(), "1")],
)
def test_who_has_to_wait_is_told_for_how_long_in_whole_seconds(error: ParqueDBError, retry_after: str) -> None:
    assert problem_response(error).headers["retry-after"] == retry_after


def test_secrets_are_taken_out_of_what_failed_here_and_what_the_caller_sent_is_told_as_it_was() -> None:
    words = "token: expected a str, see https://user:password@host"
    failed = problem_response(StorageError(words, url="https://user:password@host"))
    assert b"password@" not in failed.body
    refused = orjson.loads(problem_response(InvalidInputError(words)).body)
    assert (refused["detail"], refused["error"]["message"]) == (words, words)


def test_half_a_surrogate_pair_in_a_message_does_not_lose_the_answer() -> None:
    answer = problem_response(InvalidInputError("no text: \ud800"))
    assert orjson.loads(answer.body)["code"] == "INVALID_INPUT"

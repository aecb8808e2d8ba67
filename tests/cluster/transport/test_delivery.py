import random
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from parquedb.actors.requests.operations import Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import NewDocument, Part, decode_operations
from parquedb.cluster.transport.backlog import QueueFull
from parquedb.cluster.transport.calls import pack
from parquedb.cluster.transport.coalescer import DeadlinePassed
from parquedb.cluster.transport.delivery import BACKPRESSURE_RETRIES_MAX, Delivery, ReplyLost, encode_wire
from parquedb.documents.codec import decode
from parquedb.errors import (
    BackpressureError,
    CircuitOpenError,
    ConfigurationError,
    ConflictError,
    CorruptionError,
    EntityNotFoundError,
    ErrorCode,
    FencedError,
    InternalError,
    OutcomeUnknownError,
    ParqueDBError,
    QuotaExceededError,
    RpcError,
    TimeoutError,  # noqa: A004 - the public name of the error
    ValidationError,
)
from parquedb.storage.backends.retry import RetryBudget

REQUEST = SessionRequest(b"s" * 16, 3, 2, 9)


def write(timeout_s: float = 10.0) -> Delivery:
    delivery = Delivery(Operation("create", "a", {"n": 1}), now_s=0.0, timeout_s=timeout_s, uniform=random.Random(1))
    delivery.request = REQUEST
    return delivery


def read(timeout_s: float = 10.0) -> Delivery:
    return Delivery(Operation("get", "a"), now_s=0.0, timeout_s=timeout_s, uniform=random.Random(1))


def test_an_operation_arrives_as_it_was_sent_and_says_how_long_its_caller_waits() -> None:
    span = bytes(range(1, 26))
    delivery = Delivery(
        Operation("update", "a", {"$set": {"n": 1}}, {"expected_version": 3}),
        now_s=100.0,
        timeout_s=10.0,
        span=span,
    )
    assert delivery.needs_request
    delivery.request = REQUEST
    [operation] = decode_operations(pack([delivery.part(104.0)]))
    assert operation == Operation("update", "a", {"$set": {"n": 1}}, {"expected_version": 3}, REQUEST, span, 6.0, 0.0)


def test_a_repeat_carries_the_same_request_id_and_its_age() -> None:
    delivery = write()
    delivery.after(ReplyLost(), 1.0)
    [operation] = decode_operations(pack([delivery.part(2.5)]))
    assert operation.request == REQUEST
    assert operation.age_s == 2.5
    assert operation.timeout_s == 7.5
    assert operation.attempt == 2
    assert Operation.from_wire(operation.to_wire()) == operation


def test_an_outcome_says_how_often_its_operation_was_sent() -> None:
    delivery = write()
    assert delivery.whole(Outcome({"$id": "posts/a", "version": 1})).attempts == 1
    for _ in range(2):
        delivery.after(ReplyLost(), 1.0)
    again = delivery.whole(Outcome({"$id": "posts/a", "version": 1}))
    assert (again.attempts, again.value["n"]) == (3, 1)


def test_a_lost_reply_and_a_fenced_owner_ask_for_activation_and_the_first_repeat_leaves_at_once() -> None:
    assert write().after(ReplyLost(), 0.0) == (0.0, True)
    assert write().after(FencedError(namespace="n", epoch=1), 0.0) == (0.0, True)


def test_waits_grow_but_stay_bounded() -> None:
    delivery = read(timeout_s=1e6)
    delays = [delivery.after(ReplyLost(), 0.0).delay_s for _ in range(40)]
    assert delays[0] == 0
    assert 0.2 < max(delays) <= 1.0


def test_backpressure_is_waited_out_a_few_times_and_then_reported() -> None:
    delivery = write()
    refusal = BackpressureError(retry_after=0.1)
    for _ in range(BACKPRESSURE_RETRIES_MAX):
        step = delivery.after(refusal, 0.0)
        assert 0.1 <= step.delay_s <= 0.2
        assert not step.activate
    with pytest.raises(BackpressureError):
        delivery.after(refusal, 0.0)


def test_backpressure_that_lasts_longer_than_the_caller_waits_is_reported_at_once() -> None:
    with pytest.raises(BackpressureError):
        write(timeout_s=1.0).after(BackpressureError(retry_after=5.0), 0.0)


@pytest.mark.parametrize("error", [CircuitOpenError(circuit="w", retry_after=9.0), EntityNotFoundError(id="a")])
def test_a_refusal_is_the_callers_answer(error: ParqueDBError) -> None:
    with pytest.raises(type(error)) as raised:
        write().after(error, 0.0)
    assert raised.value is error


def test_that_something_changed_meanwhile_is_proof_enough() -> None:
    """Whoever says so has looked for the request id first."""
    delivery = write()
    delivery.after(ReplyLost(), 1.0)
    with pytest.raises(ConflictError, match="load again"):
        delivery.after(ConflictError("load again", code=ErrorCode.CONCURRENT_MODIFICATION), 2.0)


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpenError(circuit="w", retry_after=9.0),
        QuotaExceededError("no room for the next owner's first entry", key="log/1"),
        CorruptionError(key="log/1", reason="it cannot be opened"),
        ConfigurationError("the store refuses", setting="url"),
        InternalError("the owner failed"),
    ],
)
def test_a_refusal_after_a_lost_reply_is_no_proof_that_nothing_was_applied(error: ParqueDBError) -> None:
    delivery = write()
    delivery.after(ReplyLost(), 0.0)
    with pytest.raises(OutcomeUnknownError) as raised:
        delivery.after(error, 0.1)
    assert raised.value.request_id == f"pqs-{'73' * 16}-3-9"
    assert "may or may not have been applied" in str(raised.value)


def test_a_refusal_of_a_write_that_is_repeated_by_the_text_of_its_id_leaves_it_in_doubt() -> None:
    text = f"pqs-{'73' * 16}-3-9"
    delivery = Delivery(Operation("create", "a", {"n": 1}, request=text), now_s=0.0, timeout_s=10.0)
    with pytest.raises(OutcomeUnknownError) as raised:
        delivery.after(CircuitOpenError(circuit="w", retry_after=9.0), 0.1)
    assert raised.value.request_id == text
    own = Delivery(Operation("create", "a", {"n": 1}, request="my own"), now_s=0.0, timeout_s=10.0)
    with pytest.raises(CircuitOpenError):
        own.after(CircuitOpenError(circuit="w", retry_after=9.0), 0.1)


def test_a_write_whose_call_broke_down_is_an_unknown_outcome_and_a_read_is_not() -> None:
    with pytest.raises(OutcomeUnknownError) as raised:
        write().after(RpcError("KeyError: 'x'"), 0.0)
    assert "KeyError" in str(raised.value.__cause__)
    with pytest.raises(RpcError):
        read().after(RpcError("KeyError: 'x'"), 0.0)


def test_a_decision_after_a_lost_reply_is_final_because_the_owner_looked_the_request_up() -> None:
    delivery = write()
    delivery.after(ReplyLost(), 0.0)
    with pytest.raises(EntityNotFoundError):
        delivery.after(EntityNotFoundError(id="a"), 0.1)


def test_the_deadline_of_a_write_that_was_sent_is_an_unknown_outcome() -> None:
    with pytest.raises(OutcomeUnknownError):
        write().after(DeadlinePassed(sent=True), 10.0)


def test_the_deadline_of_a_write_that_never_left_is_a_timeout() -> None:
    with pytest.raises(TimeoutError, match="create had no answer within 10 s"):
        write().after(DeadlinePassed(sent=False), 10.0)
    delivery = write()
    delivery.after(ReplyLost(), 0.0, sent=False)
    with pytest.raises(TimeoutError):
        delivery.after(DeadlinePassed(sent=False), 10.0)


def test_the_deadline_of_a_read_is_a_timeout() -> None:
    with pytest.raises(TimeoutError, match="get had no answer within 10 s"):
        read().after(DeadlinePassed(sent=True), 10.0)


def test_an_owner_that_does_not_know_is_asked_again_a_few_times() -> None:
    delivery = write(timeout_s=100.0)
    asked = 0
    with pytest.raises(OutcomeUnknownError) as raised:
        while True:
            delivery.after(OutcomeUnknownError(request_id="theirs"), 0.0)
            asked += 1
    assert asked == 4
    assert raised.value.request_id == f"pqs-{'73' * 16}-3-9"


def test_a_foreign_error_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        write().after(ZeroDivisionError(), 0.0)


def test_the_text_of_an_unknown_request_is_accepted_as_request_id() -> None:
    operation = Operation("create", "a", {}, request=f"pqs-{'73' * 16}-3-9")
    assert Delivery(operation, now_s=0.0, timeout_s=1.0).request == SessionRequest(b"s" * 16, 3, 1, 9)


def test_a_value_no_document_can_hold_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValidationError):
        Delivery(Operation("create", "a", {"n": {1, 2}}), now_s=0.0, timeout_s=1.0).part(0.0)


NAIVE = datetime(2026, 1, 2, 3)  # noqa: DTZ001 - a naive one is what the test is about
AWARE = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": NAIVE}, {"a": NAIVE.replace(tzinfo=UTC)}),
        ({"a": [{"b": (1, NAIVE)}]}, {"a": [{"b": [1, NAIVE.replace(tzinfo=UTC)]}]}),
        ({"a": AWARE}, {"a": AWARE}),
        ({"a": [1, {"b": Decimal("1.50")}]}, {"a": [1, {"b": Decimal("1.50")}]}),
        ({"a": 2**80, "b": "\ud800", "c": (1.0, None, b"x")}, {"a": 2**80, "b": "\ud800", "c": [1.0, None, b"x"]}),
        (MappingProxyType({"a": MappingProxyType({"b": 1})}), {"a": {"b": 1}}),
    ],
)
def test_values_travel_exactly_and_naive_datetimes_as_utc(value: Any, expected: Any) -> None:
    assert decode(encode_wire([value])) == [expected]


def test_repeats_after_backpressure_are_paid_from_what_answers_have_earned() -> None:
    budget = RetryBudget(0.5, tokens_max=2)
    refusal = BackpressureError(retry_after=0.1)

    def refused() -> None:
        Delivery(Operation("get", "a"), now_s=0.0, timeout_s=10.0, budget=budget).after(refusal, 0.0)

    refused()
    refused()
    with pytest.raises(BackpressureError):
        refused()
    budget.earn()
    budget.earn()
    refused()


def test_where_this_process_has_no_room_the_caller_is_told_at_once() -> None:
    refusal = BackpressureError("full", retry_after=0.1)
    with pytest.raises(BackpressureError) as raised:
        write().after(QueueFull(refusal), 0.0)
    assert raised.value is refusal
    doubtful = write()
    doubtful.after(ReplyLost(), 0.0)
    with pytest.raises(OutcomeUnknownError):
        doubtful.after(QueueFull(refusal), 0.1)


def test_a_create_that_was_refused_for_want_of_room_leaves_with_others_again_and_a_doubtful_one_does_not() -> None:
    operation = Operation("create", None, {"n": 1}, size=10)

    def part_after(error: BaseException) -> Part:
        delivery = Delivery(operation, now_s=0.0, timeout_s=10.0)
        delivery.request = REQUEST
        delivery.after(error, 0.0)
        return delivery.part(0.1)

    assert isinstance(part_after(BackpressureError(retry_after=0.1)), NewDocument)
    assert isinstance(part_after(BackpressureError("some were sent before")), bytes)
    assert isinstance(part_after(ReplyLost()), bytes)


def test_what_a_client_of_a_gateway_sent_before_is_as_old_as_it_says_and_leaves_alone() -> None:
    delivery = Delivery(Operation("create", None, {}, {}, "r1", age_s=3.0, size=1), now_s=10.0, timeout_s=5.0)
    part = delivery.part(11.0)
    assert isinstance(part, bytes)
    assert Operation.from_wire(decode(part)).age_s == 4.0

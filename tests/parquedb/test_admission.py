"""What a queue refuses, and when it asks the refused to come back."""

import random

import pytest

from parquedb.admission import RETRY_AFTER_MAX_S, RETRY_AFTER_MIN_S, Admission, QueueBounds
from parquedb.errors import BackpressureError

BOUNDS = QueueBounds(ops_max=10, bytes_max=1000, age_max_s=5.0)


@pytest.fixture
def admission() -> Admission:
    return Admission("writes", BOUNDS, random.Random(1))


def asked(admission: Admission, **changes: float) -> BackpressureError | None:
    figures = {"ops": 1, "size": 10, "queued_ops": 3, "queued_bytes": 30, "oldest_s": 0.0, "left_s": 30.0} | changes
    return admission.refusal(**figures)


@pytest.mark.parametrize(
    ("reason", "inside", "outside"),
    [
        ("ops", {"queued_ops": 9}, {"queued_ops": 10}),
        ("ops", {"ops": 7}, {"ops": 8}),
        ("bytes", {"queued_bytes": 990}, {"queued_bytes": 991}),
        ("age", {"oldest_s": 5.0}, {"oldest_s": 5.1}),
        ("age", {"oldest_s": 2.0, "left_s": 2.0}, {"oldest_s": 2.0, "left_s": 1.9}),
    ],
)
def test_each_bound_admits_up_to_it_and_refuses_beyond(
    admission: Admission, reason: str, inside: dict[str, float], outside: dict[str, float]
) -> None:
    assert asked(admission, **inside) is None
    refusal = asked(admission, **outside)
    assert isinstance(refusal, BackpressureError)
    assert "writes" in str(refusal)
    refused = outside.get("ops", 1)
    assert admission.refused == {"ops": 0, "bytes": 0, "age": 0} | {reason: refused}


def test_the_refused_shall_come_back_when_what_waits_is_done(admission: Admission) -> None:
    for _ in range(50):
        admission.drained(100, 0.2)
    for queued, expected_s in ((1000, 2.0), (500, 1.0)):
        waits_s = [admission.retry_after_s(queued, 0.0) for _ in range(200)]
        assert 0.79 * expected_s <= min(waits_s) < max(waits_s) <= 1.21 * expected_s
        assert len(set(waits_s)) > 100, "a crowd must not come back together"


def test_the_wait_is_bounded_below_and_above(admission: Admission) -> None:
    admission.drained(1, 1.0)
    assert admission.retry_after_s(100_000, 0.0) <= 1.2 * RETRY_AFTER_MAX_S
    fast = Admission("writes", BOUNDS, random.Random(1))
    fast.drained(1000, 0.001)
    assert fast.retry_after_s(1, 0.0) >= 0.8 * RETRY_AFTER_MIN_S


def test_while_nothing_leaves_the_rate_of_better_days_does_not_count(admission: Admission) -> None:
    admission.drained(1000, 0.1)
    assert admission.retry_after_s(10, 6.0) >= 0.8 * 3.0

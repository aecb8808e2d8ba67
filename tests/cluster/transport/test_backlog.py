"""The operations of a process that wait for a call."""

import pytest

from parquedb.admission import QueueBounds
from parquedb.cluster.transport.backlog import Backlog, QueueFull


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


def backlog(time: Time, *, ops: int = 100, size: int = 1000, age_s: float = 5.0) -> Backlog[str]:
    return Backlog(QueueBounds(ops, size, age_s), time)


def nobody(_: str) -> bool:
    return False


def test_there_is_always_room_where_nobody_waits(time: Time) -> None:
    backlog(time, size=10).check(10_000, time.now_s + 1)


def test_it_is_bounded_by_count_and_by_bytes_and_gives_both_back(time: Time) -> None:
    queue = backlog(time, ops=3, size=100)
    for name in "abc":
        queue.push(name, 30)
    with pytest.raises(QueueFull, match="3 operations of this process"):
        queue.check(1, time.now_s + 30)
    assert queue.take(1, 1000, nobody) == ["a"]
    queue.check(40, time.now_s + 30)
    with pytest.raises(QueueFull, match="60 bytes"):
        queue.check(41, time.now_s + 30)


def test_what_would_come_too_late_is_not_begun(time: Time) -> None:
    queue = backlog(time)
    queue.push("a", 1)
    time.now_s += 2.0
    queue.check(1, time.now_s + 4.1)
    with pytest.raises(QueueFull, match=r"the oldest for 2\.0 s") as full:
        queue.check(1, time.now_s + 3.9)
    assert full.value.refusal.retry_after
    time.now_s += 3.1
    with pytest.raises(QueueFull):
        queue.check(1, time.now_s + 1000)


def test_a_call_takes_from_the_front_within_its_bounds_and_drops_those_nobody_waits_for(time: Time) -> None:
    queue = backlog(time)
    for name in "abcdef":
        queue.push(name, 10)
    assert queue.take(2, 1000, nobody) == ["a", "b"]
    assert queue.take(10, 25, lambda name: name == "d") == ["c", "e"]
    assert queue.take(10, 5, nobody) == ["f"], "a single one may be larger than the bound of a call"
    assert queue.take(10, 5, nobody) == []


def test_those_nobody_waits_for_do_not_tell_the_age_of_the_queue(time: Time) -> None:
    queue = backlog(time)
    queue.push("gone", 10)
    time.now_s += 6.0
    queue.push("new", 10)
    with pytest.raises(QueueFull):
        queue.check(1, time.now_s + 30)
    queue.sweep(lambda name: name == "gone")
    queue.check(990, time.now_s + 30)
    assert queue.remove("new")
    assert not queue.remove("new")
    assert len(queue) == 0

import threading

from parquedb.errors import EntityNotFoundError, ParqueDBError, StorageError, VersionConflictError
from parquedb.observability.metrics.highlights import (
    ERRORS_KEPT_S,
    ERRORS_MAX,
    MESSAGE_CHARS_MAX,
    SLOW_MAX,
    WINDOW_S,
    Highlights,
    SlowOperation,
)


class Clocks:
    """One time for both clocks."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self) -> float:
        return self.at_s


def measured(highlights: Highlights, clocks: Clocks, took_s: float) -> None:
    """Do what a meter does after each call."""
    if took_s > highlights.slow_from_s or clocks.now() >= highlights.renewed_s:
        highlights.slow(SlowOperation("posts", "find", 1, took_s, 0.0))


def started() -> tuple[Highlights, Clocks]:
    clocks = Clocks()
    return Highlights(now=clocks.now, wall=clocks.now), clocks


def durations(highlights: Highlights) -> list[float]:
    return [one.duration_s for one in highlights.slowest()]


def test_the_slowest_are_kept_in_order_and_quick_ones_are_not_even_noted() -> None:
    highlights, clocks = started()
    for took_s in range(1, 101):
        measured(highlights, clocks, took_s / 100)
    assert durations(highlights) == [took_s / 100 for took_s in range(100, 100 - SLOW_MAX, -1)]
    assert highlights.slow_from_s == 0.81
    measured(highlights, clocks, 0.5)
    assert min(durations(highlights)) == 0.81


def test_what_was_slow_long_ago_makes_room_for_what_is_slow_now() -> None:
    highlights, clocks = started()
    for _ in range(SLOW_MAX):
        measured(highlights, clocks, 9.0)
    clocks.at_s += WINDOW_S
    measured(highlights, clocks, 0.1)
    assert durations(highlights) == [9.0] * (SLOW_MAX - 1) + [9.0]
    clocks.at_s += WINDOW_S
    measured(highlights, clocks, 0.2)
    assert durations(highlights) == [0.2, 0.1]


def test_a_process_that_is_asked_nothing_any_more_shows_nothing_from_long_ago() -> None:
    highlights, clocks = started()
    measured(highlights, clocks, 9.0)
    highlights.failed("posts", "get", EntityNotFoundError(id="a", namespace="posts"))
    clocks.at_s += max(2 * WINDOW_S, ERRORS_KEPT_S) + 1
    assert (highlights.slowest(), highlights.errors()) == ((), ())


def test_a_storm_of_one_error_is_one_entry_and_drives_no_other_out() -> None:
    highlights, clocks = started()
    highlights.failed("posts", "flush", StorageError("the bucket is gone"), request_id="r1")
    for number in range(10 * ERRORS_MAX):
        clocks.at_s += 1
        highlights.failed("posts", "update", VersionConflictError(expected=number, actual=1), count=2)
    latest, other = highlights.errors()
    assert (latest.code, latest.operation, latest.count) == ("VERSION_CONFLICT", "update", 20 * ERRORS_MAX)
    assert str(10 * ERRORS_MAX - 1) in latest.message
    assert latest.time_s == clocks.at_s
    assert (other.code, other.request_id, other.count) == ("STORAGE_ERROR", "r1", 1)


def test_of_more_kinds_of_error_than_are_kept_the_oldest_goes() -> None:
    highlights, _ = started()
    for number in range(ERRORS_MAX + 1):
        highlights.failed(f"n{number}", "get", ParqueDBError("x"))
    assert [one.namespace for one in highlights.errors()] == [f"n{number}" for number in range(ERRORS_MAX, 0, -1)]


def test_messages_are_cut_and_without_secrets() -> None:
    highlights, _ = started()
    highlights.failed("posts", "get", StorageError("password=hunter2hunter2 " + "x" * 1000))
    [told] = highlights.errors()
    assert "hunter2" not in told.message
    assert len(told.message) <= MESSAGE_CHARS_MAX


def test_a_secret_that_the_cut_would_go_through_is_hidden_all_the_same() -> None:
    highlights, _ = started()
    key = "pq_0123456789abcdef_" + "S" * 40
    highlights.failed("posts", "get", StorageError("x" * (MESSAGE_CHARS_MAX - 29) + " " + key + " and more"))
    [told] = highlights.errors()
    assert "SS" not in told.message
    assert len(told.message) <= MESSAGE_CHARS_MAX


def test_an_error_that_comes_back_after_a_long_time_is_counted_from_then_on() -> None:
    highlights, clocks = started()
    highlights.failed("posts", "get", ParqueDBError("x"), count=1000)
    clocks.at_s += ERRORS_KEPT_S + 1
    highlights.failed("posts", "get", ParqueDBError("x"))
    assert [one.count for one in highlights.errors()] == [1]


def test_threads_that_note_at_the_same_time_lose_nothing() -> None:
    highlights, _ = started()

    def fail() -> None:
        for _ in range(500):
            highlights.failed("posts", "get", ParqueDBError("x"))

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert highlights.errors()[0].count == 2000

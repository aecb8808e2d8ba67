import threading

import pytest

from parquedb.observability.metrics.measures import BUCKETS_S
from parquedb.observability.metrics.series import ERROR_TYPES_MAX, OTHER, Series


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_operations_counted_one_by_one_are_all_there(clock: Clock) -> None:
    series = Series(clock, rows_each=1)
    for took_ms in range(1, 1301):  # More than are folded at once, and some that are not yet.
        series.finish(clock.now_s - took_ms / 1000)
    taken = series.taken()
    assert (taken.count, taken.rows, taken.error_count) == (1300, 1300, 0)
    assert taken.sum_s == pytest.approx(sum(range(1, 1301)) / 1000)
    assert (taken.min_s, taken.max_s) == (pytest.approx(0.001), pytest.approx(1.3))
    assert taken.p50_s == pytest.approx(0.65, rel=0.011)
    assert taken.sketch.count == 1300


def test_buckets_count_what_took_at_most_as_long_as_their_bounds(clock: Clock) -> None:
    clock.now_s = 0.0
    for series in (one_by_one := Series(clock), by_calls := Series(clock)):
        for bound in (*BUCKETS_S, 11.0):
            if series is one_by_one:
                series.finish(-bound)
            else:
                series.add_call(bound)
    assert one_by_one.taken().buckets == by_calls.taken().buckets == tuple(range(1, 13))
    assert one_by_one.taken().sketch == by_calls.taken().sketch


def test_a_call_counts_for_all_the_operations_it_carried(clock: Clock) -> None:
    series = Series(clock, rows_each=1)
    series.finish(clock.now_s - 1.0)
    series.add_call(0.5, count=64, errors={"ConflictError": 3}, rows=61, size=4096)
    taken = series.taken()
    assert (taken.count, taken.rows, taken.bytes) == (65, 62, 4096)
    assert taken.errors == {"ConflictError": 3}
    assert taken.sum_s == pytest.approx(1.0 + 64 * 0.5)
    assert taken.failures["ConflictError"].sum_s == pytest.approx(1.5)
    assert taken.failures["ConflictError"].buckets == (0, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3, 3)


def test_a_window_holds_what_happened_in_it_and_nothing_older(clock: Clock) -> None:
    series = Series(clock)
    series.add_call(0.1, count=7, errors={"TimeoutError": 7})
    clock.now_s += 100
    series.add_call(0.1, count=5, errors={"TimeoutError": 1})
    minute, five_minutes = series.taken().recent
    assert (minute.window_s, minute.requests, minute.errors) == (60, 5, 1)
    assert (five_minutes.window_s, five_minutes.requests, five_minutes.errors) == (300, 12, 8)
    clock.now_s += 70
    minute, five_minutes = series.taken().recent
    assert (minute.requests, five_minutes.requests) == (0, 12)
    clock.now_s += 300
    assert [recent.requests for recent in series.taken().recent] == [0, 0]
    assert series.taken().count == 12


def test_a_steady_rate_is_told_as_it_is_however_long_it_has_lasted(clock: Clock) -> None:
    series = Series(clock)
    for _ in range(4000):
        clock.now_s += 0.25
        series.finish(clock.now_s - 0.01)
    for recent in series.taken().recent:
        assert recent.request_rate == pytest.approx(4, rel=10 / recent.window_s)


def test_no_operation_is_lost_and_no_count_falls_while_threads_count(clock: Clock) -> None:
    series = Series(clock, rows_each=1)
    begin, counts = threading.Barrier(5), []

    def finish() -> None:
        begin.wait()
        for _ in range(5000):
            series.finish(clock.now_s - 0.01)

    def call() -> None:
        begin.wait()
        for _ in range(1000):
            series.add_call(0.01, count=3, errors={"E": 1}, rows=2)

    threads = [threading.Thread(target=target) for target in (finish, finish, call, call)]
    for thread in threads:
        thread.start()
    begin.wait()
    while any(thread.is_alive() for thread in threads):
        taken = series.taken()
        assert taken.sketch.count == taken.count == taken.buckets[-1]
        counts.append((taken.count, taken.errors.get("E", 0), taken.rows))
    for column in zip(*counts, strict=True):
        assert list(column) == sorted(column)
    taken = series.taken()
    assert (taken.count, taken.errors, taken.rows) == (16_000, {"E": 2000}, 14_000)


def test_what_is_added_while_others_are_sorted_in_is_not_lost(clock: Clock) -> None:
    series = Series(clock)

    class Interrupted:
        """A moment whose distance to now is looked at just when another thread counts."""

        def __rsub__(self, now_s: float) -> "Interrupted":
            return self

        def __float__(self) -> float:
            series.finish(clock.now_s - 0.5)
            return 0.25

    series.finish(Interrupted())
    series.finish(clock.now_s - 0.125)
    assert series.taken().count == 2
    taken = series.taken()
    assert (taken.count, taken.sum_s) == (3, 0.25 + 0.125 + 0.5)


def test_types_of_error_beyond_the_bound_are_summed(clock: Clock) -> None:
    series = Series(clock)
    for number in range(ERROR_TYPES_MAX + 20):
        series.add_call(0.1, errors={f"Error{number}": 1})
    errors = series.taken().errors
    assert len(errors) == ERROR_TYPES_MAX + 1
    assert errors[OTHER] == 20


def test_what_is_added_to_a_retired_series_goes_to_its_successor(clock: Clock) -> None:
    old, new = Series(clock), Series(clock)
    old.finish(clock.now_s - 1)
    assert old.retire(lambda: new).count == 1
    old.finish(clock.now_s - 1)
    old.add_call(1.0, count=2)
    assert new.taken().count == 3

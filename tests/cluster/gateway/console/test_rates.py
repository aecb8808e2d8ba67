"""What was done between two looks: of owners that stay, come, go, and begin anew."""

from parquedb.actors.reporting.survey import OwnerSurvey, Work
from parquedb.cluster.gateway.console.rates import STALE_S, WINDOW_S, Rates
from parquedb.observability.metrics.sketch import QuantileSketch
from parquedb.storage.breaker.monitor import CircuitBreakerMonitor

CIRCUITS = CircuitBreakerMonitor().get_health_status()
Owners = dict[str, OwnerSurvey]


def owner(reads: int, *, age_s: float = 1000.0, took_s: float = 0.1, errors: int = 0, pid: int = 1) -> Owners:
    sketch = QuantileSketch()
    if reads:
        sketch.add(took_s, reads)
    found = OwnerSurvey("posts", "host", "node", pid, age_s, {}, CIRCUITS, None, Work(reads, errors, sketch), Work())
    return {"posts": found}


def test_the_first_look_has_nothing_to_compare_with() -> None:
    flows = Rates().since(100.0, owner(5))
    assert (flows.interval_s, flows.owners) == (None, {})


def test_what_was_done_in_between_is_the_difference_and_so_are_its_durations() -> None:
    rates = Rates()
    rates.since(100.0, owner(1000, took_s=5.0))
    now = owner(1000, took_s=5.0)["posts"]
    sketch = now.reads.sketch + QuantileSketch()
    sketch.add(0.01, 20)
    later = OwnerSurvey("posts", "host", "node", 1, 1002.0, {}, CIRCUITS, None, Work(1020, 3, sketch), Work())
    flows = rates.since(102.0, {"posts": later})
    flow = flows.owners["posts"]
    assert (flows.interval_s, flow.reads.count, flow.reads.errors, flow.count) == (2.0, 20, 3, 20)
    p99_s = flow.reads.sketch.quantile(0.99)
    assert p99_s is not None
    assert p99_s < 0.011


def test_numbers_are_about_the_last_seconds_however_often_somebody_looks() -> None:
    rates = Rates()
    for second in range(100):
        flows = rates.since(float(second), owner(10 * second, age_s=1000.0 + second))
    assert flows.interval_s == WINDOW_S
    assert flows.owners["posts"].reads.count == 10 * WINDOW_S


def test_after_a_pause_there_is_no_rate_of_the_time_in_which_nobody_looked() -> None:
    rates = Rates()
    rates.since(0.0, owner(5))
    assert rates.since(STALE_S + 1, owner(5000)).interval_s is None
    assert rates.since(STALE_S + 3, owner(5010, age_s=1002.0)).owners["posts"].reads.count == 10


def test_a_rate_is_about_the_time_between_two_answers_however_long_the_looks_took() -> None:
    rates = Rates()
    # Another owner is silent, and the first look waits for it: this one had answered three seconds before its end.
    rates.since(3.0, owner(100, age_s=1000.0))
    flow = rates.since(5.0, owner(200, age_s=1005.0)).owners["posts"]
    assert (flow.interval_s, flow.count) == (5.0, 100)


def test_an_owner_that_was_silent_for_a_look_has_a_rate_as_soon_as_it_has_answered_twice() -> None:
    rates = Rates()
    rates.since(0.0, {})
    assert rates.since(2.0, owner(1000)).owners == {}
    flow = rates.since(4.0, owner(1010, age_s=1002.0)).owners["posts"]
    assert (flow.interval_s, flow.count) == (2.0, 10)


def test_an_owner_that_has_begun_anew_has_done_what_it_has_counted() -> None:
    rates = Rates()
    rates.since(0.0, owner(1000, pid=1))
    first = rates.since(5.0, owner(7, age_s=3.0, pid=2)).owners["posts"]
    assert (first.interval_s, first.count) == (5.0, 7)
    assert rates.since(8.0, owner(9, age_s=6.0, pid=2)).owners["posts"].count == 9
    assert rates.since(15.5, owner(12, age_s=13.5, pid=2)).owners["posts"].count == 5


def test_a_new_process_is_known_by_its_number_even_if_it_is_as_old_as_the_look_before() -> None:
    rates = Rates()
    rates.since(3.0, owner(1000, age_s=50.0, pid=1))
    flow = rates.since(5.0, owner(7, age_s=4.0, pid=2)).owners["posts"]
    assert (flow.interval_s, flow.count) == (4.0, 7)


def test_an_owner_that_came_into_sight_long_after_it_began_has_no_rate_yet() -> None:
    rates = Rates()
    rates.since(0.0, {})
    assert rates.since(2.0, owner(1000)).owners == {}
    assert rates.since(4.0, {}).owners == {}

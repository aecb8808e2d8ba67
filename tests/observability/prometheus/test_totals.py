"""Counters over processes that come and go: nothing counted is lost, counted twice, or taken back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.observability.metrics.snapshot import (
    OTHER,
    CacheMetrics,
    CircuitKey,
    CircuitMetrics,
    Durations,
    HookMetrics,
    MetricsSnapshot,
    OperationKey,
    OperationMetrics,
    OwnerGauges,
)
from parquedb.observability.prometheus.totals import RunningTotals


def key(namespace: str) -> OperationKey:
    return OperationKey("mutation", "execute", namespace, "actor")


def counted(namespace: str, count: int, started_s: float = 1.0) -> MetricsSnapshot:
    """Make an owner's snapshot; its numbers of calls, merges, misses and so on are all `count`."""
    return MetricsSnapshot(
        operations={key(namespace): OperationMetrics(count=count, sum_s=float(count), errors={"NetworkError": count})},
        owners={namespace: OwnerGauges(queue_depth=3, commit_lag_s=9.0, backpressure=count, flushes={"rows": count})},
        circuits={CircuitKey(namespace, "s3.write"): CircuitMetrics("open", {"open": count})},
        cold_starts={namespace: Durations(count=1, buckets=(0,) * 11 + (1,))},
        cache={namespace: CacheMetrics(misses=count)},
        hooks={"audit.Hook": HookMetrics(errors=count)},
        logs_dropped=count,
        spans_dropped=count,
        started_s=started_s,
    )


def silent(**why: str) -> dict[str, MetricsSnapshot]:
    """Make what this process itself says: nothing, but which owners did not answer."""
    return {"": MetricsSnapshot(unreachable=why, started_s=1.0)}


def test_an_owner_that_restarts_goes_on_from_where_it_was() -> None:
    totals = RunningTotals()
    totals.update({"posts": counted("posts", 100, started_s=1.0)})
    total = totals.update({"posts": counted("posts", 5, started_s=2.0)})
    assert total.operations[key("posts")].count == 105
    assert total.operations[key("posts")].errors == {"NetworkError": 105}
    # One start each: without the sum Prometheus would see 1 and 1, and no start.
    assert total.cold_starts["posts"].count == 2


def test_an_owner_that_ends_leaves_its_counts_but_neither_queue_nor_lag_nor_open_circuit() -> None:
    totals = RunningTotals()
    totals.update({**silent(), "posts": counted("posts", 100)})
    total = totals.update(silent())
    assert total.operations[key("posts")].count == 100
    assert total.owners["posts"] == OwnerGauges(backpressure=100, flushes={"rows": 100})
    assert total.circuits[CircuitKey("posts", "s3.write")] == CircuitMetrics("closed", {"open": 100})
    assert (total.logs_dropped, total.spans_dropped) == (100, 100)


def test_an_owner_that_does_not_answer_is_shown_as_it_was_last() -> None:
    totals = RunningTotals()
    totals.update({**silent(), "posts": counted("posts", 100)})
    total = totals.update(silent(posts="no answer within 5 s"))
    assert total.owners["posts"].commit_lag_s == 9.0
    assert total.unreachable == {"posts": "no answer within 5 s"}
    answered = totals.update({**silent(), "posts": counted("posts", 120)})
    assert answered.operations[key("posts")].count == 120
    assert answered.unreachable == {}


def test_where_the_owners_cannot_be_listed_none_of_them_has_ended() -> None:
    totals = RunningTotals()
    totals.update({**silent(), "posts": counted("posts", 100)})
    total = totals.update({"": MetricsSnapshot(unreachable={"": "the cluster did not say"}, started_s=1.0)})
    assert total.owners["posts"].queue_depth == 3


def test_an_owner_that_was_only_out_of_sight_is_not_counted_twice() -> None:
    totals = RunningTotals()
    totals.update({"posts": counted("posts", 100)})
    totals.update({})
    assert totals.update({"posts": counted("posts", 101)}).operations[key("posts")].count == 101


def test_processes_that_ended_long_ago_are_one_sum() -> None:
    totals = RunningTotals(returning_max=2)
    for start in range(10):
        total = totals.update({"posts": counted("posts", 1, started_s=float(start))})
    assert total.operations[key("posts")].count == 10


def test_beyond_the_bound_the_busiest_namespaces_stand_by_themselves_and_keep_their_place() -> None:
    totals = RunningTotals(namespaces_max=2)
    first = {name: counted(name, count) for name, count in {"a": 1, "b": 30, "c": 20, "d": 2}.items()}
    total = totals.update(first)
    assert {each.namespace: metrics.count for each, metrics in total.operations.items()} == {"b": 30, "c": 20, OTHER: 3}
    assert set(total.owners) == set(total.cache) == set(total.cold_starts) == {"b", "c", OTHER}
    assert total.merged_namespaces == 2
    # Busier than the others by now, but a series that changed its name would look like a reset and a rise.
    total = totals.update({**first, "a": counted("a", 1000)})
    assert {each.namespace: metrics.count for each, metrics in total.operations.items()} == {
        "b": 30,
        "c": 20,
        OTHER: 1002,
    }


def test_what_is_no_namespaces_keeps_its_empty_name() -> None:
    total = RunningTotals(namespaces_max=1).update({"": counted("", 4), "a": counted("a", 1), "b": counted("b", 1)})
    assert {each.namespace for each in total.operations} == {"", "a", OTHER}


Step = dict[str, tuple[str, int]]
STEPS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.sampled_from(["on", "silent", "new"]), st.integers(0, 50))),
    max_size=30,
)


@given(STEPS)
@settings(deadline=None)
def test_no_count_falls_and_their_sum_is_what_all_processes_counted(steps: list[Step]) -> None:
    totals = RunningTotals(namespaces_max=2, returning_max=3)
    counts: dict[str, tuple[float, int]] = {}  # Of each owner its start and its counter.
    ended = 0
    before: dict[OperationKey, OperationMetrics] = {}
    for number, step in enumerate(steps):
        for name in counts.keys() - step.keys():
            ended += counts.pop(name)[1]
        found, unreachable = {}, {}
        for name, (state, growth) in step.items():
            start, count = counts.get(name, (float(number), 0))
            if state == "new" and name in counts:
                ended, start, count = ended + count, float(number), 0
            if state == "silent" and name in counts:
                unreachable[name] = "no answer"
            else:
                counts[name] = start, count + growth
                found[name] = counted(name, count + growth, start)
        total = totals.update({**silent(**unreachable), **found})
        assert sum(metrics.count for metrics in total.operations.values()) == ended + sum(
            count for _, count in counts.values()
        )
        assert all(total.operations[each].count >= metrics.count for each, metrics in before.items())
        before = total.operations

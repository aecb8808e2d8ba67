import json
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.observability.metrics.sketch import QuantileSketch
from parquedb.observability.metrics.snapshot import (
    CIRCUIT_STATES,
    CacheMetrics,
    CircuitKey,
    CircuitMetrics,
    Durations,
    HookMetrics,
    MetricsSnapshot,
    OperationKey,
    OperationMetrics,
    OwnerGauges,
    Recent,
)

counts = st.integers(0, 1000)
names = st.sampled_from(["posts", "users", "_other"])
words = st.sampled_from(["flush", "age", "ConflictError"])
# Whole seconds add up exactly, whatever the order.
seconds = st.integers(1, 1000).map(float)
sketches = st.dictionaries(st.integers(-600, 500), counts, max_size=5).map(QuantileSketch)
timed = {
    "count": counts,
    "sum_s": seconds,
    "min_s": seconds,
    "max_s": seconds,
    "sketch": sketches,
    "buckets": st.lists(counts, min_size=12, max_size=12).map(lambda each: tuple(sorted(each))),
}
operations = st.builds(
    OperationMetrics,
    **timed,
    errors=st.dictionaries(words, counts, max_size=2),
    rows=counts,
    bytes=counts,
    recent=st.tuples(st.builds(Recent, st.just(60.0), counts, counts), st.builds(Recent, st.just(300.0), counts)),
)
snapshots = st.builds(
    MetricsSnapshot,
    operations=st.dictionaries(st.builds(OperationKey, *[names] * 4), operations, max_size=2),
    owners=st.dictionaries(names, st.builds(OwnerGauges, counts, counts, seconds, counts), max_size=2),
    circuits=st.dictionaries(
        st.builds(CircuitKey, names, names), st.builds(CircuitMetrics, st.sampled_from(CIRCUIT_STATES)), max_size=2
    ),
    cold_starts=st.dictionaries(names, st.builds(Durations, **timed), max_size=2),
    cache=st.dictionaries(names, st.builds(CacheMetrics, counts, counts), max_size=2),
    hooks=st.dictionaries(names, st.builds(HookMetrics, counts, counts), max_size=2),
    logs_dropped=counts,
    spans_dropped=counts,
    merged_namespaces=counts,
    started_s=seconds,
    taken_s=seconds,
)


@given(snapshots, snapshots, snapshots)
def test_snapshots_merge_to_the_same_in_any_order_and_grouping(
    one: MetricsSnapshot, two: MetricsSnapshot, three: MetricsSnapshot
) -> None:
    merge = MetricsSnapshot.merge
    together = merge(one, two, three)
    assert merge(merge(one, two), three) == merge(one, merge(two, three)) == together
    assert merge(three, one, two) == together
    assert merge(one, MetricsSnapshot()) == merge(one)


@given(snapshots)
def test_a_snapshot_survives_json_and_pickle(snapshot: MetricsSnapshot) -> None:
    assert MetricsSnapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot


def test_what_is_no_snapshot_is_refused_by_name() -> None:
    plain = MetricsSnapshot().to_json() | {"merged_namespaces": "many"}
    with pytest.raises(msgspec.ValidationError, match="merged_namespaces"):
        MetricsSnapshot.from_json(plain)


def test_merging_adds_counts_and_keeps_extremes() -> None:
    key = OperationKey("query", "find", "posts", "client")
    one = OperationMetrics(count=2, sum_s=3.0, min_s=1.0, max_s=2.0, errors={"TimeoutError": 1}, rows=5)
    two = OperationMetrics(count=1, sum_s=4.0, min_s=4.0, max_s=4.0, errors={"TimeoutError": 1, "QueryError": 1})
    merged = MetricsSnapshot.merge(MetricsSnapshot(operations={key: one}), MetricsSnapshot(operations={key: two}))
    found = merged.operations[key]
    assert (found.count, found.sum_s, found.min_s, found.max_s, found.rows) == (3, 7.0, 1.0, 4.0, 5)
    assert found.errors == {"TimeoutError": 2, "QueryError": 1}
    assert found.error_count == 3
    assert found.mean_s == pytest.approx(7 / 3)


def test_of_two_owners_lags_the_greater_counts_and_of_two_circuits_the_worse() -> None:
    one = MetricsSnapshot(
        owners={"a": OwnerGauges(3, 30, 1.0)}, circuits={CircuitKey("a", "r"): CircuitMetrics("open")}
    )
    two = MetricsSnapshot(owners={"a": OwnerGauges(4, 40, 0.5)}, circuits={CircuitKey("a", "r"): CircuitMetrics()})
    merged = MetricsSnapshot.merge(one, two)
    assert merged.owners["a"] == OwnerGauges(7, 70, 1.0)
    assert merged.circuits[CircuitKey("a", "r")].state == "open"


def test_a_quantile_lies_between_the_extremes() -> None:
    sketch = QuantileSketch()
    sketch.add(0.1)
    assert OperationMetrics(count=1, min_s=0.1, max_s=0.1, sketch=sketch).p99_s == 0.1
    assert OperationMetrics().p99_s is None


def test_rates_are_per_second_and_per_request() -> None:
    recent = Recent(60, requests=120, errors=6)
    assert recent.request_rate == 2.0
    assert recent.error_rate == 0.05
    assert Recent(60).error_rate == 0.0
    assert CacheMetrics(3, 1).hit_rate == 0.75
    assert CacheMetrics().hit_rate is None

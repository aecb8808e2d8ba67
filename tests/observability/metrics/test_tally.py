from parquedb.observability.metrics.measures import CacheMetrics, CircuitMetrics, OwnerGauges
from parquedb.observability.metrics.series import OTHER
from parquedb.observability.metrics.snapshot import CircuitKey, MetricsSnapshot, OperationKey
from parquedb.observability.metrics.tally import OPERATIONS_MAX, Tally


def creates(tally: Tally, namespace: str, count: int) -> None:
    tally.series("mutation", "create", namespace, "client").add_call(0.01, count=count)


def counts(snapshot: MetricsSnapshot) -> dict[str, int]:
    return {key.namespace: one.count for key, one in snapshot.operations.items()}


def test_each_kind_of_operation_has_numbers_of_its_own() -> None:
    tally = Tally()
    creates(tally, "posts", 2)
    tally.series("mutation", "create", "posts", "actor").add_call(0.01)
    tally.series("query", "get", "posts", "client").add_call(0.01)
    creates(tally, "posts", 1)
    found = {key: one.count for key, one in tally.taken().operations.items()}
    assert found == {
        OperationKey("mutation", "create", "posts", "client"): 3,
        OperationKey("mutation", "create", "posts", "actor"): 1,
        OperationKey("query", "get", "posts", "client"): 1,
    }


def test_of_many_namespaces_the_busiest_keep_their_numbers_and_nothing_is_lost() -> None:
    tally = Tally(namespaces_max=10)
    for number in range(1000):
        creates(tally, f"tenant{number}", 1)
        creates(tally, "busy", 5)
    found = counts(tally.taken())
    assert len(found) <= 11
    assert found["busy"] == 5000
    assert sum(found.values()) == 6000
    assert found[OTHER] >= 900
    assert tally.taken().merged_namespaces >= 990


def test_the_sum_of_the_merged_never_falls() -> None:
    tally, before = Tally(namespaces_max=4), 0
    for number in range(200):
        creates(tally, f"tenant{number % 23}", 1 + number % 3)
        tally.flush(f"tenant{number % 23}", "age")
        now = counts(tally.taken()).get(OTHER, 0)
        assert now >= before
        before = now
    taken = tally.taken()
    assert sum(one.flushes["age"] for one in taken.owners.values()) == 200


def test_who_keeps_the_series_of_a_merged_namespace_goes_on_counting() -> None:
    tally = Tally(namespaces_max=2)
    series = tally.series("mutation", "create", "quiet", "client", rows_each=1)
    series.finish(tally.now())
    for number in range(10):
        creates(tally, f"tenant{number}", 10)
    assert "quiet" not in counts(tally.taken())
    for _ in range(100):
        series.finish(tally.now())
    assert counts(tally.taken())["quiet"] == 100
    assert sum(counts(tally.taken()).values()) == 201


def test_kinds_of_operation_beyond_the_bound_are_summed() -> None:
    tally = Tally()
    for number in range(OPERATIONS_MAX + 50):
        tally.series("query", f"made up {number}", "posts", "client").add_call(0.01)
    operations = tally.taken().operations
    assert len(operations) == OPERATIONS_MAX + 1
    assert operations[OperationKey("query", OTHER, "posts", "client")].count == 50


def test_what_happens_to_owners_and_circuits_is_counted() -> None:
    tally = Tally()
    tally.cold_start("posts", 0.25)
    tally.flush("posts", "rows")
    tally.flush("posts", "rows")
    tally.compaction("posts")
    tally.refused("posts", 3)
    tally.cached("posts", hits=3, misses=1)
    tally.circuit("posts", "s3.read", "open")
    tally.circuit("posts", "s3.read", "half_open")
    tally.circuit("posts", "s3.read", "open")
    taken = tally.taken()
    assert taken.owners["posts"] == OwnerGauges(backpressure=3, flushes={"rows": 2}, compactions=1)
    assert taken.cold_starts["posts"].count == 1
    assert taken.cold_starts["posts"].p50_s == 0.25
    assert taken.cache["posts"] == CacheMetrics(3, 1)
    expected = CircuitMetrics("open", {"open": 2, "half_open": 1})
    assert taken.circuits == {CircuitKey("posts", "s3.read"): expected}


def test_a_limited_snapshot_sums_the_less_busy_and_says_how_many() -> None:
    tally = Tally()
    for number in range(10):
        creates(tally, f"tenant{number}", number + 1)
        tally.cold_start(f"tenant{number}", 0.1)
    limited = tally.taken().limited(3)
    assert counts(limited) == {"tenant9": 10, "tenant8": 9, "tenant7": 8, OTHER: 28}
    assert limited.cold_starts[OTHER].count == 7
    assert limited.merged_namespaces == 7
    assert limited.namespaces == ["tenant7", "tenant8", "tenant9"]
    taken = tally.taken()
    assert taken.limited(10) is taken


def test_what_was_shown_once_stays_when_others_grow() -> None:
    tally = Tally()
    for name in ("first", "second", "third"):
        creates(tally, name, 1)
    shown = tally.taken().limited(2).namespaces
    creates(tally, "fourth", 100)
    assert tally.taken().limited(2, keep=shown).namespaces == shown
    assert "fourth" in tally.taken().limited(2).namespaces

import pickle

import pytest

from parquedb.errors import NetworkError, VersionConflictError
from parquedb.observability.contexts import (
    CircuitContext,
    ColdStartContext,
    CommitContext,
    CommitResult,
    CompactionContext,
    FlushContext,
    MutationContext,
    MutationResult,
    QueryContext,
    QueryResult,
    StorageContext,
    StorageResult,
)
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.metrics.collector import MetricsCollector, UpkeepCollector
from parquedb.observability.metrics.measures import CacheMetrics, OwnerGauges
from parquedb.observability.metrics.series import OTHER
from parquedb.observability.metrics.snapshot import CircuitKey, OperationKey
from parquedb.observability.metrics.tally import Tally


@pytest.fixture
def registry() -> HookRegistry:
    return HookRegistry()


def test_a_hook_counts_operations_with_their_rows_bytes_and_errors(registry: HookRegistry) -> None:
    collector = MetricsCollector()
    registry.register_hook(collector)
    registry.start("query", QueryContext("find", "posts")).end(QueryResult(0.25, rows=7, bytes=900, cached=False))
    registry.start("query", QueryContext("find", "posts")).end(QueryResult(0.5, rows=2, cached=True))
    registry.start("mutation", MutationContext("batch", "posts", batch_size=64)).end(
        MutationResult(0.1, 60, 4096, errors=4)
    )
    conflict = VersionConflictError(expected=1, actual=2)
    registry.start("mutation", MutationContext("update", "posts", side="actor")).error(conflict)
    registry.start("storage", StorageContext("create", "posts/log/1", namespace="posts")).error(NetworkError("gone"))
    registry.start("storage", StorageContext("list", "")).end(StorageResult(0.2))
    registry.start("commit", CommitContext("posts", writes=60, bytes=4096)).end(CommitResult(0.05))
    found = collector.get_metrics()
    told = {key: (one.count, one.rows, one.bytes, one.errors) for key, one in found.operations.items()}
    assert told == {
        OperationKey("query", "find", "posts", "client"): (2, 9, 900, {}),
        OperationKey("mutation", "batch", "posts", "client"): (64, 60, 4096, {OTHER: 4}),
        OperationKey("mutation", "update", "posts", "actor"): (1, 0, 0, {"VersionConflictError": 1}),
        OperationKey("storage", "create", "posts", "actor"): (1, 0, 0, {"NetworkError": 1}),
        OperationKey("storage", "list", "", "actor"): (1, 0, 0, {}),
        OperationKey("commit", "write", "posts", "actor"): (1, 60, 4096, {}),
    }
    find = found.operations[OperationKey("query", "find", "posts", "client")]
    assert (find.min_s, find.max_s, find.sum_s) == (0.25, 0.5, 0.75)
    assert found.cache == {"posts": CacheMetrics(1, 1)}
    assert registry.stats()[0].errors == {}


def test_a_failed_operation_took_as_long_as_it_took(registry: HookRegistry) -> None:
    now_s = 50.0
    collector = MetricsCollector(Tally(now=lambda: now_s))
    registry.register_hook(collector)
    operation = registry.start("query", QueryContext("find", "posts"))
    now_s = 52.0
    operation.error(TimeoutError())
    [find] = collector.get_metrics().operations.values()
    assert (find.max_s, find.failures["TimeoutError"].sum_s) == (2.0, 2.0)


def test_what_happens_to_owners_is_counted_and_operations_are_left_to_others(registry: HookRegistry) -> None:
    collector = UpkeepCollector(Tally(), "posts")
    registry.register_hook(collector)
    registry.start("query", QueryContext("find", "posts")).end(QueryResult())
    registry.emit("flush", FlushContext("posts", reason="age"))
    registry.emit("compaction", CompactionContext("posts"))
    registry.emit("cold_start", ColdStartContext("posts", duration_s=0.5))
    registry.emit("circuit_change", CircuitContext("s3.read", "closed", "open"))
    found = collector.tally.taken()
    assert found.operations == {}
    assert found.owners == {"posts": OwnerGauges(flushes={"age": 1}, compactions=1)}
    assert found.cold_starts["posts"].max_s == 0.5
    assert found.circuits[CircuitKey("posts", "s3.read")].transitions == {"open": 1}


def test_operations_that_never_end_are_forgotten_in_the_end(registry: HookRegistry) -> None:
    collector = MetricsCollector()
    registry.register_hook(collector)
    for _ in range(11_000):
        registry.start("query", QueryContext("find", "posts"))
    assert len(collector._started) == 10_000


def test_a_pickled_collector_begins_at_zero() -> None:
    collector = MetricsCollector()
    collector.tally.flush("posts", "age")
    assert pickle.loads(pickle.dumps(collector)).get_metrics().owners == {}

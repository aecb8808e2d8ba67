"""A workload as it was counted: every kind of metric with values of its own."""

from parquedb.observability.metrics.snapshot import (
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

SNAPSHOT = MetricsSnapshot(
    operations={
        OperationKey("query", "find", "posts", "client"): OperationMetrics(
            count=7,
            sum_s=1.5,
            buckets=(0, 1, 2, 3, 3, 4, 5, 6, 6, 6, 7, 7),
            errors={"NetworkError": 2, "InvalidFilterError": 1},
            rows=41,
            bytes=4096,
        ),
        OperationKey("storage", "create", "posts", "actor"): OperationMetrics(
            count=4,
            sum_s=0.5,
            buckets=(0, 0, 0, 1, 4, 4, 4, 4, 4, 4, 4, 4),
            errors={"NetworkError": 1, "QuotaExceededError": 2},
            bytes=2048,
        ),
        OperationKey("mutation", "update", "posts", "client"): OperationMetrics(
            count=4,
            sum_s=0.5,
            buckets=(0, 0, 0, 1, 4, 4, 4, 4, 4, 4, 4, 4),
            errors={"VersionConflictError": 3, "QuotaExceededError": 1},
        ),
        OperationKey("commit", "write", "posts", "actor"): OperationMetrics(
            count=3, sum_s=0.25, buckets=(0, 0, 0, 1, 3, 3, 3, 3, 3, 3, 3, 3), rows=12, bytes=512
        ),
    },
    owners={
        "posts": OwnerGauges(
            queue_depth=5,
            queue_bytes=640,
            commit_lag_s=0.75,
            backpressure=9,
            flushes={"rows": 2, "age": 1},
            compactions=4,
        )
    },
    circuits={CircuitKey("posts", "s3.write"): CircuitMetrics("open", {"open": 2, "half_open": 1})},
    cold_starts={"posts": Durations(count=2, sum_s=0.5, buckets=(0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2))},
    cache={"posts": CacheMetrics(hits=30, misses=10)},
    hooks={"audit.Hook": HookMetrics(errors=1, dropped=2)},
    logs_dropped=11,
    spans_dropped=12,
    merged_namespaces=6,
    unreachable={"users": "no answer within 5 s"},
    nodes=3,
    started_s=1000.0,
    taken_s=1060.0,
)

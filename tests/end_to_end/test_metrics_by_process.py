"""`db.metrics_by_process()` on a real Ray: each owner's counts by themselves, and this process's own."""

from pathlib import Path

import parquedb
from parquedb.observability.metrics.snapshot import MetricsSnapshot, OperationKey


def creates(snapshot: MetricsSnapshot, namespace: str, side: str) -> int:
    found = snapshot.operations.get(OperationKey("mutation", "create", namespace, side))
    return 0 if found is None else found.count


async def test_each_process_tells_what_it_has_counted_and_together_they_are_the_metrics(
    ray_cluster: str, tmp_path: Path
) -> None:
    async with await parquedb.connect_async(tmp_path / "db") as db:
        for namespace in ("posts", "posts", "users"):
            await db.create(namespace, {"n": 1})
        parts = await db.metrics_by_process()
        assert set(parts) == {"", "posts", "users"}
        assert [creates(parts[""], namespace, "client") for namespace in ("posts", "users")] == [2, 1]
        assert [creates(parts[namespace], namespace, "actor") for namespace in ("posts", "users")] == [2, 1]
        whole = await db.metrics()
        assert [creates(whole, "posts", side) for side in ("client", "actor")] == [2, 2]


def test_this_process_alone_tells_of_its_calls_without_asking_anybody(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db") as db:
        db.create("posts", {"n": 1})
        parts = db.metrics_by_process(owners=False)
        assert list(parts) == [""]
        assert (creates(parts[""], "posts", "client"), parts[""].owners) == (1, {})

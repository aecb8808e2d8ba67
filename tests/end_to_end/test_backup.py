"""Backups on a real Ray, while writers are at work: what was acknowledged before is in it, and nothing is in halves."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import parquedb
from parquedb.errors import PermissionDeniedError

BUSY = {"flush_rows": 50, "checkpoint_entries_max": 4, "collect_interval_s": 0.2, "log_grace_s": 2.0}
PAIRS = 2


@pytest.mark.faults
def test_a_backup_beside_writers_holds_all_that_was_acknowledged_before_it(ray_cluster: str, tmp_path: Path) -> None:
    stop = threading.Event()
    acknowledged: list[int] = []

    def write(posts: Any) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            ids = [f"{number:06}-{at}" for at in range(PAIRS)]
            posts.batch([{"op": "create", "data": {"n": number}, "id": id_} for id_ in ids])
            acknowledged.append(number)

    engine = {**BUSY, "snapshot_grace_s": 2.0}
    with parquedb.connect(tmp_path / "db", ray_address=ray_cluster, engine=engine) as db:
        db["others"].create({"n": 0}, id="a")
        writer = threading.Thread(target=write, args=(db["posts"],))
        writer.start()
        try:
            while len(acknowledged) < 20 and writer.is_alive():
                stop.wait(0.01)
            points = []
            for _ in range(4):
                before = len(acknowledged)
                report = db.backup(tmp_path / "copies")
                points.append((report.point.point, before, len(acknowledged) + 1))
                while len(acknowledged) < before + 20 and writer.is_alive():
                    stop.wait(0.01)
        finally:
            stop.set()
            writer.join()
        assert acknowledged == list(range(1, len(acknowledged) + 1))
        again = asyncio.run(_again(tmp_path, ray_cluster))
        assert again.point.namespaces["posts"] == PAIRS * len(acknowledged)
    for point, before, after in points:
        place = tmp_path / point
        parquedb.restore(tmp_path / "copies", place, point=point)
        with parquedb.connect(place, ray_address=ray_cluster) as restored:
            assert restored.verify().ok
            documents = list(restored["posts"].find(limit=1000))
            numbers = sorted({document["n"] for document in documents})
            assert numbers == list(range(1, len(numbers) + 1)), "without gaps"
            assert before <= len(numbers) <= after
            assert len(documents) == PAIRS * len(numbers), "no batch in halves"
            assert [one.id for one in restored["posts"].changes(follow=False)][-1] == f"{numbers[-1]:06}-{PAIRS - 1}"
            assert restored["others"].get("a")["n"] == 0
            assert restored["posts"].create({"n": -1})["version"] == 1


def test_a_backup_has_to_be_allowed(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path / "db", ray_address=ray_cluster, permissions=["read:*", "write:*"]) as db:
        db["posts"].create({"n": 1})
        with pytest.raises(PermissionDeniedError, match="backup"):
            db.backup(tmp_path / "copies")
        with pytest.raises(PermissionDeniedError, match="backup on 'posts'"):
            db.backup(tmp_path / "copies", "posts")
    assert not (tmp_path / "copies").exists()


async def _again(folder: Path, address: str) -> parquedb.BackupReport:
    async with await parquedb.connect_async(folder / "db", ray_address=address) as db:
        return await db.backup(folder / "copies", "posts", keep=10)

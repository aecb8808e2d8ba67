"""kill -9 of a process that loads in bulk, between its file and the commit: nothing is stored."""

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import ray

import parquedb
from tests.support.places import on_disk

ROWS = 60_000
ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, signal, sys
import parquedb
from parquedb.observability.hooks import global_hook_registry
from tests.faults.test_loader_killed import documents, table

class Die:
    inline = True

    def on_storage_end(self, context, result):
        if context.operation == "create" and "/data/" in context.key:
            os.kill(os.getpid(), signal.SIGKILL)

global_hook_registry.register_hook(Die())
posts = parquedb.connect(sys.argv[2], ray_address=sys.argv[1])["posts"]
if sys.argv[3] == "insert_arrow":
    posts.insert_arrow(table(), request_id="mine")
else:
    posts.create_many(documents(), request_id="mine")
"""

pytestmark = pytest.mark.faults


def table() -> pa.Table:
    numbers = list(range(ROWS))
    return pa.table(
        {"$id": [f"r{number:08}" for number in numbers], "n": numbers, "text": [f"t{at}" for at in numbers]}
    )


def documents() -> list[dict[str, int]]:
    return [{"n": number} for number in range(ROWS)]


@pytest.mark.parametrize("method", ["insert_arrow", "create_many"])
def test_a_killed_loader_stores_nothing_and_the_same_call_again_stores_it_once(
    ray_cluster: str, tmp_path: Path, method: str
) -> None:
    place = on_disk(tmp_path)
    with parquedb.connect(**place) as db:
        posts = db["posts"]
        posts.create({}, id="first")
        arguments = [sys.executable, "-c", PROGRAM, ray_cluster, place["url"], method]
        ended = subprocess.run(arguments, cwd=ROOT, check=False, timeout=60)
        assert ended.returncode == -signal.SIGKILL
        [left] = (tmp_path / "db" / "posts" / "data").iterdir()
        assert posts.count() == 1
        for _ in range(2):
            if method == "insert_arrow":
                assert posts.insert_arrow(table(), request_id="mine") == ROWS
            else:
                assert len(set(posts.create_many(documents(), request_id="mine"))) == ROWS
        assert posts.count() == ROWS + 1
        assert left.exists(), "the owner of its epoch leaves it; the next one collects it"
        ray.kill(posts.actor)

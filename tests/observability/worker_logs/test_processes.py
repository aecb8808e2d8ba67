"""Several processes on one data set, and how they end: in order, by themselves, forked, or killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from parquedb.observability.worker_logs.view import START, WorkerLogsView
from parquedb.storage.worker_logs import open_worker_logs

# Children import the package from where this process does: a checkout or an installed wheel.
CHILD_ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

OPEN = """
import logging, os, sys
from parquedb.storage.worker_logs import open_worker_logs
view = open_worker_logs(sys.argv[1], script=sys.argv[2], flush_threshold=int(sys.argv[3]))
"""


def child(code: str, place: Path, script: str = "child", threshold: int = 1000) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN + code, str(place), script, str(threshold)]
    return subprocess.Popen(command, env=CHILD_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


def messages(place: Path, **wanted: str) -> Counter[str]:
    with open_worker_logs(str(place)) as view:
        return Counter(row["message"] for row in view.find(wanted or None, limit=100_000))


def test_a_process_that_just_ends_stores_what_it_logged(tmp_path: Path) -> None:
    replica = """
logger = logging.getLogger("replica")
logger.addHandler(view.handler())
for number in range(100):
    logger.warning("request %d", number, extra={"request_id": f"r{number}"})
"""
    ended(child(replica, tmp_path, "replica"))
    assert messages(tmp_path, script="replica") == Counter(f"request {number}" for number in range(100))


def test_of_a_process_killed_while_it_writes_all_that_was_flushed_is_there_once(tmp_path: Path) -> None:
    writer = """
for number in range(10**9):
    view.ingest([{"message": f"{number}"}])
    if number % 50 == 49:
        view.flush()
        print(number, flush=True)
"""
    process = child(writer, tmp_path, threshold=7)
    assert process.stdout is not None
    flushed = [int(process.stdout.readline()) for _ in range(4)][-1]
    process.send_signal(signal.SIGKILL)
    flushed = max([flushed, *map(int, process.communicate(timeout=60)[0].split())])
    with open_worker_logs(str(tmp_path)) as view:
        found = Counter(int(row["message"]) for row in view.find(limit=100_000))
        assert set(range(flushed + 1)) <= set(found)
        assert max(found.values()) == 1
        view.compact(files_min=2)
        assert Counter(int(row["message"]) for row in view.find(limit=100_000)) == found


def test_processes_that_flush_and_merge_at_once_lose_and_double_nothing_and_a_follower_sees_all(tmp_path: Path) -> None:
    writer = """
sys.stdin.readline()
for number in range(40):
    view.ingest([{"message": f"{sys.argv[2]}-{number}-{n}"} for n in range(25)])
    view.flush()
    if number % 10 == 9:
        view.compact(files_min=2)
"""
    names = ["a", "b", "c"]
    with open_worker_logs(str(tmp_path)) as view:
        feed = view.follow(after=START, poll_s=0.01)
        processes = [child(writer, tmp_path, name) for name in names]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        followed = Counter(next(feed)["message"] for _ in range(3000))
        for process in processes:
            ended(process)
        assert list(view.follow(after=feed.position, poll_s=0.01, idle_s=0)) == []
    expected = Counter(f"{name}-{number}-{n}" for name in names for number in range(40) for n in range(25))
    assert followed == expected
    assert messages(tmp_path) == expected


def test_processes_look_after_their_files_in_turn_and_whoever_is_killed_at_it_hides_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    writer = """
from parquedb.observability.worker_logs.upkeep import UpkeepOptions
view.close()
view = open_worker_logs(sys.argv[1], script=sys.argv[2], worker=str(os.getpid()), upkeep=UpkeepOptions(0.05))
for number in range(10**9):
    view.ingest([{"message": f"{sys.argv[2]}-{number}-{n}"} for n in range(20)])
    view.flush()
    print(number, flush=True)
    if number == 30 and sys.argv[2] == "last":
        break
while not view.stats().files_merged:
    view.flush()
"""
    turns = tmp_path / "upkeep"
    flushed: dict[str, int] = {}
    for round_ in range(4):
        names = [f"{round_}a", f"{round_}b"]
        processes = {name: child(writer, tmp_path, name) for name in names}
        by_pid = {str(process.pid): process for process in processes.values()}
        victim = None
        deadline_s = time.monotonic() + 60
        while victim is None:
            assert time.monotonic() < deadline_s, "nobody took a turn"
            # The newest turn is being worked on as long as its taker has not gone on flushing for long.
            with contextlib.suppress(OSError, ValueError):
                victim = by_pid.get(max(turns.iterdir()).read_text())
        victim.send_signal(signal.SIGKILL)
        for name, process in processes.items():
            if process is not victim:
                process.send_signal(signal.SIGKILL)
            flushed[name] = max([-1, *map(int, process.communicate(timeout=60)[0].split())])
    ended(child(writer, tmp_path, "last"))
    flushed["last"] = 30
    found = messages(tmp_path)
    assert {
        f"{name}-{number}-{n}" for name, last in flushed.items() for number in range(last + 1) for n in range(20)
    } <= set(found)
    assert max(found.values()) == 1
    with open_worker_logs(str(tmp_path)) as view:
        view.compact(files_min=2)
        assert Counter(row["message"] for row in view.find(limit=100_000)) == found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_stores_its_own_rows_and_not_its_parents(tmp_path: Path) -> None:
    forking = """
view.ingest({"message": "before"})
view.flush()
view.ingest({"message": "parent"})
pid = os.fork()
if pid == 0:
    view.ingest({"message": "child"})
    view.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    ended(child(forking, tmp_path))
    assert messages(tmp_path) == {"before": 1, "parent": 1, "child": 1}


def test_a_process_ends_in_time_though_its_logs_cannot_be_stored(tmp_path: Path) -> None:
    stuck = """
import asyncio
from parquedb.observability.worker_logs import view as worker_logs
from parquedb.storage.backends.memory import MemoryBackend
worker_logs.EXIT_S = 0.2
class Hanging(MemoryBackend):
    async def create(self, *arguments, **options):
        await asyncio.Event().wait()
view = worker_logs.WorkerLogsView(Hanging())
view.ingest({"message": "x"})
"""
    ended(child(stuck, tmp_path))


def test_a_view_is_of_the_place_its_url_names(tmp_path: Path) -> None:
    with open_worker_logs(f"file://{tmp_path}/logs", "workers") as view:
        assert isinstance(view, WorkerLogsView)
        view.ingest({"message": "x"})
        view.flush()
    [file] = (tmp_path / "logs" / "workers").rglob("*.parquet")
    assert file.parent.name.startswith("hour=")

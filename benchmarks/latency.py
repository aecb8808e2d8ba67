"""One durable write at a time, beside what it cannot do without: one PUT and one actor call."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

import parquedb
from benchmarks.bench import WHERE, Bench, end_actors, take_turns
from benchmarks.noop import start_noop
from benchmarks.table import Row, compared, percentile, quantity
from benchmarks.throughput import document
from parquedb.storage.open import open_backend

NAME = "latency"
BAR = ("<=", 1.25)
NAMESPACE = "lone"
NOTE = (
    "`create` of the sync client, one at a time, beside `create` of the storage backend called in this process with as "
    "many bytes as the log entry, plus `ray.get(noop.f.remote())`; all three take turns call by call."
)
NOTE_BARE = "The same, with bare system calls in place of the backend: write, fsync, link, fsync of the folder, unlink."


class BareDisk:
    """The fewest system calls that make a new file durable under a name that must not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._count = 0

    def create(self, data: bytes) -> None:
        """Store one object."""
        self._count += 1
        temporary, final = str(self._folder / f"t{self._count}"), str(self._folder / f"f{self._count}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
        os.link(temporary, final)
        os.fsync(self._descriptor)
        os.unlink(temporary)

    def close(self) -> None:
        """Close the folder."""
        os.close(self._descriptor)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    noop = start_noop()
    rows = []
    for store in ("local", "s3"):
        rows += _store(bench, store, noop)
    ray.kill(noop)
    return rows


def _store(bench: Bench, store: str, noop: Any) -> list[Row]:
    database = parquedb.connect(**bench.place(store))
    collection = database.collection(NAMESPACE)
    backend = open_backend(database.settings)
    bare = BareDisk(bench.scratch / "bare") if store == "local" else None
    collection.create(document())
    [newest] = bench.run(backend.list(f"{NAMESPACE}/log/", limit=1)).objects
    data = os.urandom(newest.size)
    made = 0

    def put() -> None:
        nonlocal made
        made += 1
        bench.run(backend.create(f"raw/{made:08d}", data))

    steps: dict[str, Callable[[], object]] = {
        "ours": lambda: collection.create(document()),
        "put": put,
        "call": lambda: ray.get(noop.f.remote()),
    }
    if bare is not None:
        steps["bare"] = lambda: bare.create(data)
    timed = {name: _timed_us(step) for name, step in steps.items()}
    take_turns(bench.choose(50, 10), timed)
    # Blocks, so that a spread can be told: one median each.
    blocks = [take_turns(bench.choose(60, 15), timed) for _ in range(bench.choose(7, 2))]
    medians = {name: [statistics.median(block[name]) for block in blocks] for name in timed}
    every = [value for block in blocks for value in block["ours"]]
    what = f"lone durable create, {WHERE[store]}, p99 {quantity(percentile(every, 0.99))} µs"
    rows = [_row(what, medians, "put")]
    if bare is not None:
        rows.append(_row(what, medians, "bare"))
        bare.close()
    bench.run(backend.close())
    end_actors(database.settings)
    database.close()
    return rows


def _row(what: str, medians: dict[str, list[float]], put: str) -> Row:
    limits = [one + other for one, other in zip(medians[put], medians["call"], strict=True)]
    parts = f"{'PUT' if put == 'put' else 'bare PUT'} {quantity(statistics.median(medians[put]))}"
    parts += f" + call {quantity(statistics.median(medians['call']))}"
    bar, note = (BAR, NOTE) if put == "put" else (None, NOTE_BARE)
    return compared(what, medians["ours"], limits, unit="µs", peer=parts, bar=bar, note=note)


def _timed_us(step: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        started_s = time.perf_counter()
        step()
        return (time.perf_counter() - started_s) * 1e6

    return timed

"""Worker logs: records into Parquet files by lists of dicts and one by one, and finding one of them again."""

import logging
import shutil
import statistics
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bench import Bench, take_turns
from benchmarks.table import Row, compared, quantity
from parquedb.observability.worker_logs.view import WorkerLogsView
from parquedb.storage.worker_logs import open_worker_logs

NAME = "logs"
BATCH = 1_000
BAR_RATE = 50_000

NOTE_INGEST = (
    "Records per second of one process: dicts of nine fields through `ingest` in lists of 1 000, until every row is in "
    "a synced file of a local data set (wall time; no row is dropped). The peer makes a table of the same dicts with "
    "`Table.from_pylist` and writes it with `write_table` and zstd to one file, unsynced; it adds no id, no time, no "
    "hour, and counts nothing. The bar is 50 000 records per second."
)
NOTE_HANDLER = (
    "Calls of `logger.info` with two fields in `extra` per second, one by one from one thread, while the view stores "
    "what comes; the time of the last flush counts too. The peer is `logging.FileHandler` with a plain format."
)
NOTE_FIND = (
    "One row by its `request_id` among all those of one hour, merged; nothing is kept in memory between the calls. The "
    "peer reads the same files with `pyarrow.parquet.read_table` and a filter."
)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    numbers = iter(range(1_000_000))
    batches = [list(_records(start, BATCH)) for start in range(0, bench.choose(200_000, 20_000), BATCH)]
    rows = sum(map(len, batches))
    rounds = bench.choose(5, 2)
    rates = take_turns(
        rounds,
        {"ours": lambda: _ingest(bench, batches), "peer": lambda: _table(bench, batches, next(numbers))},
    )
    what = f"ingest of dicts, {rows // 1000} k"
    ours = statistics.median(rates["ours"])
    spread = (min(rates["ours"]) / BAR_RATE, max(rates["ours"]) / BAR_RATE)
    calls = bench.choose(50_000, 5_000)
    handled = take_turns(
        rounds, {"ours": lambda: _handle(bench, calls), "peer": lambda: _log_to_file(bench, calls, next(numbers))}
    )
    return [
        Row(
            f"{what}, by the bar", f"{quantity(ours)} rows/s", f"{quantity(BAR_RATE)} rows/s", ours / BAR_RATE,
            (">=", 1.0), spread, NOTE_INGEST,
        ),
        compared(
            what, rates["ours"], rates["peer"], unit="rows/s", peer="from_pylist and write_table", note=NOTE_INGEST
        ),
        compared(
            "log handler, call by call", handled["ours"], handled["peer"], unit="calls/s", peer="FileHandler",
            note=NOTE_HANDLER,
        ),
        _find(bench, batches, rounds),
    ]  # fmt: skip


def _records(start: int, count: int) -> Iterator[dict[str, Any]]:
    for number in range(start, start + count):
        yield {
            "level": "info" if number % 50 else "error",
            "message": f"user {number % 977} fetched page {number} in a moment",
            "namespace": "posts",
            "operation": "find",
            "request_id": f"request-{number:012}",
            "trace_id": f"{number:032x}",
            "span_id": f"{number:016x}",
            "duration": number % 1000 / 1000,
            "http_status": 200,
        }


def _place(bench: Bench) -> WorkerLogsView:
    return open_worker_logs(str(bench.scratch / f"logs{uuid.uuid4().hex[:8]}"), script="bench")


def _ingest(bench: Bench, batches: list[list[dict[str, Any]]]) -> float:
    view = _place(bench)
    view.flush()
    started_s = time.perf_counter()
    for batch in batches:
        view.ingest(batch, wait_s=30)
    view.flush()
    elapsed_s = time.perf_counter() - started_s
    told = view.stats()
    assert (told.stored, told.dropped) == (len(batches) * BATCH, 0)
    view.close()
    return told.stored / elapsed_s


def _table(bench: Bench, batches: list[list[dict[str, Any]]], number: int) -> float:
    records = [record for batch in batches for record in batch]
    target = bench.scratch / f"peer{number}.parquet"
    started_s = time.perf_counter()
    pq.write_table(pa.Table.from_pylist(records), target, compression="zstd")
    elapsed_s = time.perf_counter() - started_s
    target.unlink()
    return len(records) / elapsed_s


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    return logger


def _handle(bench: Bench, calls: int) -> float:
    view = _place(bench)
    view.flush()
    rate = _calls(_logger(view.handler()), calls, view)
    view.close()
    return rate


def _log_to_file(bench: Bench, calls: int, number: int) -> float:
    handler = logging.FileHandler(bench.scratch / f"peer{number}.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(namespace)s %(duration)s %(message)s"))
    rate = _calls(_logger(handler), calls, None)
    handler.close()
    return rate


def _calls(logger: logging.Logger, calls: int, view: WorkerLogsView | None) -> float:
    started_s = time.perf_counter()
    for number in range(calls):
        logger.info("user %d fetched a page", number, extra={"namespace": "posts", "duration": 0.25})
    if view is not None:
        view.flush()
        assert view.stats().dropped == 0
    return calls / (time.perf_counter() - started_s)


def _find(bench: Bench, batches: list[list[dict[str, Any]]], rounds: int) -> Row:
    folder = bench.scratch / "found"
    with open_worker_logs(str(folder), "rows", script="bench") as view:
        for batch in batches:
            view.ingest(batch, wait_s=30)
        view.flush()
        view.compact(files_min=2)
    wanted = batches[len(batches) // 2][BATCH // 2]["request_id"]

    def ours() -> float:
        with open_worker_logs(str(folder), "rows") as view:
            started_s = time.perf_counter()
            assert len(view.find({"request_id": wanted})) == 1
            return 1000 * (time.perf_counter() - started_s)

    def peer() -> float:
        started_s = time.perf_counter()
        found = pq.read_table(folder / "rows", filters=[("request_id", "==", wanted)])
        assert found.num_rows == 1
        return 1000 * (time.perf_counter() - started_s)

    times = take_turns(rounds, {"ours": ours, "peer": peer})
    shutil.rmtree(folder)
    return compared(
        "find one of them", times["ours"], times["peer"], unit="ms", peer="read_table with a filter", note=NOTE_FIND
    )

"""AI usage: a refresh beside a rebuild, and a summary of a million requests beside DuckDB over the same Parquet."""

import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

import parquedb
from benchmarks.bench import Bench, end_actors, take_turns
from benchmarks.table import Row, compared, quantity
from parquedb.observability.ai import AIUsageView, PriceBook, create_ai_usage_view
from parquedb.observability.ai.prices import NoPrices
from parquedb.observability.ai.requests import NAMESPACE
from parquedb.observability.views.incremental import Refreshed

NAME = "ai_usage"
NOTE_REFRESH = (
    "One per cent more requests, of the last day, by the time and by the documents of a full refresh: rows and changes "
    "read, groups read and written. Both count in Python in this process; the owners of the requests and of the view "
    "are processes of their own."
)
NOTE_SUMMARY = (
    "Requests, errors, tokens, cost and the 95th percentile of latency by day and model, of thirty days: read from the "
    "view (one query of its groups, which a refresh has brought up to date), beside DuckDB's aggregation of the "
    "Parquet files of the requests on two threads, opened anew each time. Totals are compared and must be equal."
)
DAYS = 30
START = datetime(2026, 3, 1, tzinfo=UTC)
MODELS = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5"), ("gcp.gemini", "g-2.5")]
QUERY = """
    select date_trunc('day', time) as day, model, count(*) as requests, count_if(status = 'error') as errors,
           sum(input_tokens), sum(output_tokens), sum(cost) as cost, approx_quantile(latency_s, 0.95)
    from read_parquet($files, union_by_name = true) group by all order by all
"""


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    count = bench.choose(1_000_000, 20_000)
    database = parquedb.connect(**bench.place("local"))
    requests = database.collection(NAMESPACE)
    requests.insert_arrow(_requests(count, seed=1), timeout_s=300)
    view = create_ai_usage_view(database, prices=PriceBook((), NoPrices()))
    whole = view.refresh(full=True)
    bench.say(f"rebuilt in {whole.duration_s:.1f} s: {whole.rows_read:,} rows, {whole.groups_written:,} groups written")
    parts: list[Refreshed] = []
    for turn in range(bench.choose(5, 2)):
        requests.insert_arrow(_requests(count // 100, seed=2 + turn, day=DAYS - 1), timeout_s=300)
        parts.append(view.refresh())
    # Of few requests, what a refresh costs anyway is too large a part.
    rows = _refreshes(whole, parts, bar=None if bench.quick else ("<=", 0.03))
    with requests.snapshot() as snapshot:
        rows.append(_summaries(bench, view, [str(path) for path in snapshot.dataset().files]))
    end_actors(database.settings)
    database.close()
    return rows


def _refreshes(whole: Refreshed, parts: list[Refreshed], bar: tuple[str, float] | None) -> list[Row]:
    took_s = statistics.median(part.duration_s for part in parts)
    work = statistics.median(_work(part) for part in parts)
    facts = [("time", took_s, whole.duration_s, " s"), ("documents", work, _work(whole), "")]
    return [
        Row(
            f"refresh after 1 % more of {whole.rows_read // 1000} k requests, {what}",
            f"{quantity(ours)}{unit}",
            f"{quantity(peer)}{unit} (full refresh)",
            ours / peer,
            bar=bar,
            note=NOTE_REFRESH,
        )
        for what, ours, peer, unit in facts
    ]


def _work(done: Refreshed) -> int:
    return done.rows_read + done.groups_read + done.groups_written


def _summaries(bench: Bench, view: AIUsageView, files: list[str]) -> Row:
    ours: list[Any] = []
    theirs: list[Any] = []

    def from_view() -> float:
        started_s = time.perf_counter()
        ours[:] = view.get_usage(group_by=("period", "model"))
        _ = [row.usage.latency_s(0.95) for row in ours]
        return time.perf_counter() - started_s

    def from_duckdb() -> float:
        with duckdb.connect(config={"threads": 2}) as connection:
            started_s = time.perf_counter()
            theirs[:] = connection.execute(QUERY, {"files": files}).fetchall()
            return time.perf_counter() - started_s

    times = take_turns(bench.choose(9, 3), {"ours": from_view, "peer": from_duckdb})
    told = [(row.group.model, row.usage.requests, row.usage.errors, row.usage.cost) for row in ours]
    assert told == [(model, requests, errors, cost) for _, model, requests, errors, _, _, cost, _ in theirs]
    milliseconds = {name: [1000 * one for one in taken] for name, taken in times.items()}
    total = sum(row.usage.requests for row in ours)
    return compared(
        f"summary of {total // 1000} k requests by day and model",
        milliseconds["ours"],
        milliseconds["peer"],
        unit="ms",
        peer="DuckDB",
        bar=("<=", 2.0),
        note=NOTE_SUMMARY,
    )


def _requests(count: int, seed: int, day: int | None = None) -> pa.Table:
    """Make requests over thirty days, or on one of them."""
    rng = random.Random(seed)
    begin, length_s = (0, DAYS * 86_400) if day is None else (day * 86_400, 86_400)
    chosen = rng.choices(MODELS, [3, 5, 2, 1], k=count)
    tokens = [rng.randrange(100, 8_000) for _ in range(count)]
    return pa.table(
        {
            "$id": [f"{seed:02d}-{number:08d}" for number in range(count)],
            "time": pa.array(
                [START + timedelta(seconds=begin + rng.random() * length_s) for _ in range(count)],
                pa.timestamp("us", tz="UTC"),
            ),
            "provider": [provider for provider, _ in chosen],
            "model": [model for _, model in chosen],
            "type": ["chat"] * count,
            "status": ["error" if rng.random() < 0.02 else "ok" for _ in range(count)],
            "latency_s": [rng.lognormvariate(0, 0.6) for _ in range(count)],
            "input_tokens": tokens,
            "output_tokens": [one // 8 for one in tokens],
            "cached": [False] * count,
            "cost": pa.array([Decimal(one) / 400_000 for one in tokens], pa.decimal128(18, 8)),
            "saved": pa.array([Decimal(0)] * count, pa.decimal128(18, 8)),
            "price_version": ["bench"] * count,
        }
    )

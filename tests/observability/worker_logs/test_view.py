"""The worker logs as their users meet them: the same on every kind of store, sync and async, and for other readers."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars
import pytest

from parquedb.clock import ManualClock
from parquedb.documents.filters import compile_filter
from parquedb.errors import InvalidFilterError, InvalidInputError, VersionConflictError
from parquedb.observability.views import incremental
from parquedb.observability.worker_logs import flusher
from parquedb.observability.worker_logs.background import BackgroundLoop
from parquedb.observability.worker_logs.catalog import LogCatalog
from parquedb.observability.worker_logs.feed import FeedOptions, LogFeed, Position
from parquedb.observability.worker_logs.view import (
    START,
    WorkerLogsView,
    create_worker_logs_view,
    record_of_tail_event,
)
from parquedb.settings.environment import load_settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.open import open_backend
from tests.support.places import on_s3

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

Opener = Callable[[], StorageBackend]


@pytest.fixture(params=["memory", "local", "s3"])
def opener(request: pytest.FixtureRequest, tmp_path: Path, unique_prefix: str) -> Opener:
    """Opens one and the same place, as often as one likes."""
    if request.param == "memory":
        return lambda: MemoryBackend(unique_prefix)
    if request.param == "local":
        return lambda: LocalBackend(tmp_path / "place")
    settings = load_settings(**on_s3(request.getfixturevalue("weed"), unique_prefix))
    return lambda: open_backend(settings)


@pytest.fixture
def view(opener: Opener) -> Iterator[WorkerLogsView]:
    with create_worker_logs_view(opener, "logs/workers", clock=ManualClock(NOON), script="api", worker="w1") as view:
        yield view


def records(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"message": f"m{index}", "event_time": NOON + MINUTE * index, **fields} for index in range(count)]


def messages(rows: list[dict[str, Any]]) -> list[str]:
    return [row["message"] for row in rows]


def test_what_was_ingested_is_found_with_every_field(view: WorkerLogsView) -> None:
    record = {
        "message": "paid", "level": "warn", "event_time": NOON, "log_time": NOON + timedelta(microseconds=1),
        "http_method": "POST", "http_url": "https://x/pay?a=1", "http_status": 402, "request_id": "r1",
        "trace_id": "a" * 32, "span_id": "b" * 16, "namespace": "posts", "operation": "create", "duration": 0.25,
        "exception": "PaymentError", "basket": {"items": 3}, "tags": ["x"],
    }  # fmt: skip
    assert view.ingest(record) == 1
    view.flush()
    [row] = view.find()
    known = {name: value for name, value in record.items() if name not in {"basket", "tags", "level"}}
    assert row == known | {
        "id": row["id"], "kind": "log", "script": "api", "worker": "w1", "level": "WARNING", "outcome": "exception",
        "attributes": {"basket": {"items": 3}, "tags": ["x"]},
    }  # fmt: skip


def test_an_event_gives_a_row_for_each_line_and_exception_and_is_counted_when_it_has_none(view: WorkerLogsView) -> None:
    event = {
        "scriptName": "edge", "eventTimestamp": NOON.timestamp() * 1000, "outcome": "exception", "wallTime": 12,
        "event": {
            "request": {"method": "GET", "url": "https://x/", "headers": {"cf-ray": "ray1"}, "cf": {"colo": "AMS"}},
            "response": {"status": 500},
        },
        "logs": [{"level": "log", "message": ["hello", 1], "timestamp": NOON.timestamp() * 1000 + 5}],
        "exceptions": [{"name": "TypeError", "message": "x is null", "timestamp": NOON.timestamp() * 1000 + 6}],
    }  # fmt: skip
    assert (
        view.ingest([record_of_tail_event(event), record_of_tail_event({"scriptName": "edge", "outcome": "ok"})]) == 3
    )
    view.flush()
    rows = {row["kind"]: row for row in view.find({"script": "edge"})}
    assert set(rows) == {"log", "exception", "event"}
    assert (rows["log"]["message"], rows["log"]["level"], rows["log"]["request_id"]) == ("hello 1", "INFO", "ray1")
    assert rows["log"]["log_time"] - rows["log"]["event_time"] == timedelta(milliseconds=5)
    assert (rows["exception"]["exception"], rows["exception"]["message"]) == ("TypeError", "x is null")
    assert rows["exception"]["http_status"] == 500
    assert rows["exception"]["attributes"] == {"colo": "AMS"}
    assert view.statistics().by_outcome == {"exception": 2, "ok": 1}


def test_rows_lie_in_the_hour_of_their_event_at_every_kind_of_boundary(view: WorkerLogsView, opener: Opener) -> None:
    moments = {
        "2025-12-31T23:59:59.999999+00:00": "year=2025/month=12/day=31/hour=23",
        "2026-01-01T00:00:00+00:00": "year=2026/month=01/day=01/hour=00",
        "2026-03-01T00:30:00+01:00": "year=2026/month=02/day=28/hour=23",
        "1969-12-31T23:59:59.999999+00:00": "year=1969/month=12/day=31/hour=23",
        "0001-01-01T00:00:00+00:00": "year=0001/month=01/day=01/hour=00",
        "9999-12-31T23:59:59.999999+00:00": "year=9999/month=12/day=31/hour=23",
    }
    view.ingest([{"message": text, "event_time": text} for text in moments])
    view.flush()

    async def keys() -> list[str]:
        storage = opener()
        try:
            return [info.key for info in (await storage.list("logs/")).objects]
        finally:
            await storage.close()

    folders = [key.removeprefix("logs/workers/").rpartition("/")[0] for key in asyncio.run(keys())]
    assert folders == sorted(moments.values())
    assert messages(view.find(newest_first=False)) == sorted(moments, key=datetime.fromisoformat)
    assert messages(view.find({"event_time": {"$gte": datetime(2026, 1, 1, tzinfo=UTC)}})) == [
        "9999-12-31T23:59:59.999999+00:00", "2026-03-01T00:30:00+01:00", "2026-01-01T00:00:00+00:00",
    ]  # fmt: skip


def test_find_gives_the_newest_rows_tail_the_same_in_order_and_limits_hold(view: WorkerLogsView) -> None:
    view.ingest(records(200))
    view.flush()
    assert messages(view.find(limit=3)) == ["m199", "m198", "m197"]
    assert messages(view.find(limit=3, newest_first=False)) == ["m0", "m1", "m2"]
    assert messages(view.tail(3)) == ["m197", "m198", "m199"]
    assert messages(view.tail(2, {"message": {"$endsWith": "7"}})) == ["m187", "m197"]
    assert len(view.find(limit=100_000)) == 200
    assert messages(view.find({"event_time": {"$lt": NOON + MINUTE}})) == ["m0"]
    with pytest.raises(InvalidInputError, match="1 to 100000 rows, got 0"):
        view.find(limit=0)
    with pytest.raises(InvalidFilterError):
        view.find({"message": {"$like": "m"}})


def test_statistics_count_what_is_stored_in_a_range_of_time(view: WorkerLogsView) -> None:
    view.ingest([*records(60, level="ERROR", exception="OSError"), *records(120, script="job")])
    view.flush()
    told = view.statistics()
    assert (told.rows, told.by_level, told.by_script) == (180, {"INFO": 120, "ERROR": 60}, {"job": 120, "api": 60})
    assert (told.by_outcome, told.by_exception) == ({"ok": 120, "exception": 60}, {"OSError": 60})
    assert (told.first, told.last) == (NOON, NOON + 119 * MINUTE)
    assert view.statistics(NOON + 30 * MINUTE, NOON + 90 * MINUTE).by_level == {"INFO": 60, "ERROR": 30}
    assert view.statistics(NOON + 9 * HOUR).rows == 0
    assert view.statistics(NOON + 9 * HOUR).first is None


def test_compaction_and_retention_leave_the_rows_that_are_young(view: WorkerLogsView) -> None:
    for number in range(5):
        view.ingest(records(90, script=f"s{number}"))
        view.flush()
    before = view.find(limit=1000)
    assert view.compact().merged == 10
    assert view.find(limit=1000) == before
    view.delete_older_than(NOON + 30 * MINUTE)
    assert view.find(limit=1000) == [row for row in before if row["event_time"] >= NOON + 30 * MINUTE]
    view.delete_older_than(-10 * HOUR)
    assert view.find() == []


def test_a_feed_delivers_what_is_stored_from_now_on_each_row_once(view: WorkerLogsView) -> None:
    view.ingest(records(3))
    view.flush()
    feed = view.follow(poll_s=0.01)
    view.ingest(records(2, script="later"))
    view.flush()
    assert messages([next(feed), next(feed)]) == ["m0", "m1"]
    view.compact(files_min=2)
    view.ingest({"message": "last", "event_time": NOON})
    view.flush()
    assert next(feed)["message"] == "last"
    resumed = view.follow(after=feed.position, poll_s=0.01, idle_s=0)
    assert list(resumed) == []
    everything = view.follow({"script": "api"}, after=START, poll_s=0.01, idle_s=0)
    assert sorted(messages(list(everything))) == ["last", "m0", "m1", "m2"]


def test_a_feed_that_stopped_within_a_file_goes_on_behind_the_row_it_delivered(view: WorkerLogsView) -> None:
    view.ingest(records(10))
    view.flush()
    feed = view.follow(after=START, poll_s=0.01)
    seen = [next(feed)["message"] for _ in range(4)]
    view.compact(files_min=2)
    rest = view.follow(after=feed.position, poll_s=0.01, idle_s=0)
    assert seen + messages(list(rest)) == [f"m{index}" for index in range(10)]
    with pytest.raises(InvalidInputError, match="the position of a feed"):
        view.follow(after="nonsense")


async def test_everything_can_be_awaited(view: WorkerLogsView) -> None:
    feed = await view.aio.follow(poll_s=0.01)
    view.ingest(records(5))
    await view.aio.flush(30)
    delivered = [(await anext(feed))["message"] for _ in range(5)]
    assert delivered == [f"m{index}" for index in range(5)]
    assert messages(await view.aio.tail(2)) == ["m3", "m4"]
    assert len(await view.aio.find({"message": "m3"})) == 1
    assert (await view.aio.statistics()).rows == 5
    assert (await view.aio.compact()).merged == 0
    await view.aio.delete_older_than(NOON + HOUR)
    assert await view.aio.find() == []
    waiting = asyncio.ensure_future(anext(feed, None))
    await view.aio.close()
    assert await waiting is None


async def test_who_waits_for_a_row_of_a_view_whose_loop_ends_first_is_told_that_there_is_none() -> None:
    async def nothing() -> LogCatalog:
        raise AssertionError("this must not be asked for")

    loop, free = BackgroundLoop("test"), threading.Event()
    feed = LogFeed(loop, nothing, FeedOptions(compile_filter({}), 1, None), Position())
    loop.call(free.wait)  # Until then the loop comes to nothing else.
    waiting = asyncio.ensure_future(anext(feed, None))
    await asyncio.sleep(0)
    feed.close()
    loop.stop(0)
    free.set()
    assert await waiting is None
    assert await anext(feed, None) is None
    assert next(feed, None) is None


def test_two_views_on_one_place_share_the_rows_and_never_a_file(opener: Opener) -> None:
    clock = ManualClock(NOON)
    one, two = (create_worker_logs_view(opener, "logs", flush_threshold=50, clock=clock, worker=name) for name in "ab")

    def write(view: WorkerLogsView) -> None:
        for number in range(10):
            view.ingest(records(20, round=number))

    threads = [threading.Thread(target=write, args=(view,)) for view in (one, two, one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.flush()
    two.flush()
    assert {worker: len(one.find({"worker": worker}, limit=1000)) for worker in "ab"} == {"a": 400, "b": 400}
    assert len({row["id"] for row in two.find(limit=1000)}) == 800
    one.close()
    two.close()


class Test_a_handler:  # noqa: N801 - reads as a sentence
    """Python's records on their way into the view."""

    @pytest.fixture
    def logger(self, view: WorkerLogsView) -> logging.Logger:
        logger = logging.Logger("shop.cart", logging.DEBUG)
        logger.addHandler(view.handler("INFO"))
        return logger

    @pytest.mark.parametrize("opener", ["memory"], indirect=True)
    def test_takes_what_others_log_and_leaves_out_what_the_view_itself_does(self, view: WorkerLogsView) -> None:
        handler = view.handler()
        for name in (flusher.__name__, incremental.__name__):
            handler.handle(logging.makeLogRecord({"name": name, "msg": name}))
        view.flush()
        assert [row["message"] for row in view.find()] == [incremental.__name__]

    @pytest.mark.parametrize("opener", ["memory"], indirect=True)
    def test_keeps_message_fields_and_exceptions(self, view: WorkerLogsView, logger: logging.Logger) -> None:
        logger.debug("too quiet")
        logger.info("sold %d", 3, extra={"namespace": "posts", "duration": 0.5, "event": "cart.sold", "price": 9})
        try:
            int("no stock")
        except ValueError:
            logger.exception("failed")
        logger.warning("odd", extra={"error": OSError("gone")})
        logger.info("broken %d %d", 1)  # noqa: PLE1206 - that is the point
        view.flush()
        rows = {row["message"]: row for row in view.find()}
        assert "too quiet" not in rows
        sold = rows["sold 3"]
        assert (sold["logger"], sold["namespace"], sold["duration"]) == ("shop.cart", "posts", 0.5)
        assert (sold["event"], sold["attributes"]) == ("cart.sold", {"price": 9})
        assert (rows["failed"]["exception"], rows["failed"]["exception_message"]) == (
            "ValueError",
            "invalid literal for int() with base 10: 'no stock'",
        )
        assert "no stock" in rows["failed"]["stack"]
        assert (rows["failed"]["outcome"], rows["odd"]["exception"]) == ("exception", "OSError")
        assert any(message.startswith("broken %d %d (its arguments do not fit") for message in rows)

    @pytest.mark.parametrize("opener", ["memory"], indirect=True)
    def test_takes_an_error_that_was_prepared_and_not_the_exception_it_was_made_of(
        self, view: WorkerLogsView, logger: logging.Logger
    ) -> None:
        prepared = VersionConflictError(expected=1, actual=2).to_json() | {"stack": "..."}
        logger.error("refused", exc_info=OSError("canary"), extra={"error": prepared})
        view.flush()
        [row] = view.find()
        assert (row["exception"], row["outcome"], row["stack"]) == ("VersionConflictError", "exception", "...")
        assert row["attributes"]["error"]["code"] == "VERSION_CONFLICT"
        assert "canary" not in repr(row)

    @pytest.mark.parametrize("opener", ["memory"], indirect=True)
    def test_never_raises_and_counts_what_it_cannot_take(self, view: WorkerLogsView, logger: logging.Logger) -> None:
        class Hostile:
            def __str__(self) -> str:
                raise RuntimeError("no")

            __repr__ = __str__

        logger.info(Hostile())
        logger.info("x", extra={"what": Hostile()})
        view.close()
        logger.info("after the end")
        assert view.stats().rejected == 3


@pytest.mark.parametrize("opener", ["memory"], indirect=True)
def test_records_of_any_shape_become_rows_of_the_right_types(view: WorkerLogsView) -> None:
    odd = [
        {"message": 5, "level": 30, "http_status": "404", "duration": "soon", "event_time": "yesterday"},
        {"message": "a\ud800b", "level": "Fatal", "http_status": 404.5, "n": 2**70},
        {"message": "x" * 40_000, "attributes": {"text": "y" * 40_000}},
        {"message": None, "level": None, "timestamp": 1_772_366_400, "when": NOON, "what": {1: object()}},
    ]
    assert view.ingest(odd) == 4
    view.flush()
    five, surrogate, long, empty = view.find(newest_first=False, limit=9)
    assert (five["message"], five["level"], five["http_status"]) == ("5", "WARNING", 404)
    assert five["event_time"] == NOON
    assert five["attributes"] == {"event_time": "yesterday"}
    assert (surrogate["message"], surrogate["level"]) == ("a?b", "CRITICAL")
    assert len(long["message"]) == 32_768
    assert long["message"].endswith("...")
    assert set(long["attributes"]) == {"truncated"}
    assert empty["log_time"] == NOON
    assert "message" not in empty
    assert view.stats().rejected == 0


@pytest.mark.parametrize("opener", ["memory"], indirect=True)
def test_nothing_is_stored_before_it_was_redacted_and_nothing_that_could_not_be(opener: Opener) -> None:
    def redact(record: dict[str, Any]) -> dict[str, Any]:
        if record["message"] == "bad":
            raise ValueError(record["message"])
        return {name: "***" if name == "password" else value for name, value in record.items()}

    with create_worker_logs_view(opener, redact=redact) as view:
        view.ingest([{"message": "in", "password": "canary"}, {"message": "bad", "password": "canary"}])
        view.handler().emit(logging.makeLogRecord({"name": "x", "msg": "in", "password": "canary"}))
        view.flush()
        rows = view.find()
        assert [row["attributes"] for row in rows] == [{"password": "***"}] * 2
        assert view.stats().rejected == 1


@pytest.mark.parametrize("opener", ["local"], indirect=True)
def test_duckdb_and_polars_read_the_files_with_their_partitions(view: WorkerLogsView, tmp_path: Path) -> None:
    view.ingest([*records(90, level="ERROR", http_status=500), *records(30, exception="E")])
    view.flush()
    view.compact(files_min=2)
    pattern = str(tmp_path / "place" / "logs" / "workers" / "**" / "*.parquet")
    question = (
        f"select level, count(*) from read_parquet('{pattern}', hive_partitioning = true) where hour = 13 group by 1"
    )
    assert duckdb.sql(question).fetchall() == [("ERROR", 30)]
    frame = polars.scan_parquet(pattern, hive_partitioning=True)
    picked = frame.filter((polars.col("hour") == 12) & (polars.col("year") == 2026)).collect()
    assert picked.height == 90
    assert picked["event_time"].min() == NOON
    assert picked["http_status"].drop_nulls().to_list() == [500] * 60


@pytest.mark.parametrize("opener", ["memory"], indirect=True)
def test_live_counts_tell_what_came_and_do_not_grow_with_the_number_of_names(opener: Opener) -> None:
    with create_worker_logs_view(opener, flush_threshold=10_000) as view:
        view.ingest([{"message": "x", "script": f"s{number}", "level": "error"} for number in range(1200)])
        told = view.stats()
        assert (told.ingested, told.by_level, told.buffered) == (1200, {"ERROR": 1200}, 1200)
        assert len(told.by_script) == 1001
        assert told.by_script["_other"] == 200


def test_an_option_that_does_not_exist_or_fit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="got colour"):
        create_worker_logs_view(MemoryBackend(), colour="red")
    with pytest.raises(InvalidInputError, match="expected flush_threshold above 0, got 0"):
        create_worker_logs_view(MemoryBackend(), flush_threshold=0)

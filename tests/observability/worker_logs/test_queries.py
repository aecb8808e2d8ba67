"""Finding rows: every filter gives what its predicate says, and what cannot pass is not read."""

import asyncio
import itertools
import operator
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb.documents.filters import compile_filter
from parquedb.errors import CorruptionError, ObjectNotFoundError
from parquedb.observability.worker_logs import files as log_files
from parquedb.observability.worker_logs import reader as log_reader
from parquedb.observability.worker_logs.catalog import FOOTER_BYTES, LogCatalog
from parquedb.observability.worker_logs.conditions import ColumnTest, comparisons_of, hours_of
from parquedb.observability.worker_logs.queries import LogQueries
from parquedb.observability.worker_logs.reader import SparseFile
from parquedb.observability.worker_logs.rows import micros_of
from parquedb.storage.backends.delegating import Call, FunnelBackend
from tests.observability.worker_logs.logs_in_memory import NOON, LogsInMemory

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

MOMENTS = st.integers(-130, 130).map(lambda minutes: NOON + MINUTE * minutes)
WORDS = st.sampled_from(["", "a", "b", "ab", "é", "\U0001f600", "z"])
NUMBERS = st.sampled_from([0, 1, 200, 404, 500, 2**31 - 1])
SECONDS = st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.5, 1e300])
ODD = st.sampled_from(
    [None, True, 1, 0.5, "a", float("nan"), float("inf"), 2**70, b"a", date(2026, 3, 1), [], {}, NOON]
)
FIELDS = {"message": WORDS, "level": WORDS, "http_status": NUMBERS, "duration": SECONDS, "event_time": MOMENTS}
RECORDS = st.fixed_dictionaries(
    {"event_time": MOMENTS},
    optional={
        "message": WORDS,
        "http_status": NUMBERS,
        "duration": SECONDS,
        "n": st.integers(0, 3),
        "exception": WORDS,
    },
)


def conditions(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    operands = st.one_of(values, values, ODD)
    compare = st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte", "$ne"])
    return st.one_of(
        operands.filter(lambda value: not isinstance(value, dict)),
        st.dictionaries(compare, operands, min_size=1, max_size=2),
        st.lists(operands, max_size=3).map(lambda listed: {"$in": listed}),
        st.booleans().map(lambda there: {"$exists": there}),
    )


LEAVES = st.one_of(
    *(conditions(values).map(lambda condition, name=name: {name: condition}) for name, values in FIELDS.items()),
    conditions(st.integers(0, 3)).map(lambda condition: {"attributes.n": condition}),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda pair: {pair[0]: pair[1]}
    ),
    max_leaves=4,
)


async def store(logs: LogsInMemory, records: list[dict[str, Any]]) -> None:
    for record in records:
        await logs.flush(
            [record["event_time"]], **{name: each for name, each in record.items() if name != "event_time"}
        )


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of many row groups, read in parts."""
    monkeypatch.setattr(log_files, "ROW_GROUP_ROWS", 2)
    monkeypatch.setattr(log_reader, "WHOLE_BYTES_MAX", 0)
    monkeypatch.setattr(log_reader, "_WHOLE_SHARE", 0)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(RECORDS, max_size=8), FILTERS, st.booleans())
@pytest.mark.usefixtures("small_pieces")
def test_find_gives_exactly_what_the_predicate_accepts(
    records: list[dict[str, Any]], wanted: dict[str, Any], merged: bool
) -> None:
    async def check() -> None:
        logs = LogsInMemory()
        await store(logs, records)
        if merged:
            await logs.compactor().compact(2)
        now = micros_of(logs.clock.now()) or 0
        queries = LogQueries(logs.catalog)
        every = await queries.find(None, limit=1000, newest_first=False, now_micros=now)
        assert len(every) == len(records)
        matching = list(filter(compile_filter(wanted), every))
        for newest_first in (False, True):
            expected = matching[::-1] if newest_first else matching
            found = await queries.find(wanted, limit=1000, newest_first=newest_first, now_micros=now)
            assert found == expected
            assert await queries.find(wanted, limit=2, newest_first=newest_first, now_micros=now) == expected[:2]

    asyncio.run(check())


class Reading(FunnelBackend):
    """Notes what is read, and may do something before a read is answered."""

    def __init__(self, logs: LogsInMemory) -> None:
        super().__init__(logs.storage)
        self.read_keys: list[str] = []
        self.bytes = self.listed = 0
        self.before_read: Callable[[], Awaitable[object]] | None = None

    async def _pass(self, call: Call[Any]) -> Any:
        if call.operation.startswith("read"):
            before, self.before_read = self.before_read, None
            if before is not None:
                await before()
            self.read_keys.append(call.key)
        answer = await call.send(self.inner, call.timeout_s)
        if call.operation == "list":
            self.listed += len(answer.objects)
        if call.operation.startswith("read"):
            self.bytes += len(answer) if isinstance(answer, bytes) else sum(map(len, answer))
        return answer


def queries_on(storage: Reading) -> LogQueries:
    return LogQueries(LogCatalog(storage, "logs/"))


async def test_bounds_of_the_event_time_select_the_hours_that_are_read() -> None:
    logs = LogsInMemory()
    await logs.flush([NOON + HOUR * hours for hours in range(10)])
    reading = Reading(logs)
    wanted = {"event_time": {"$gte": NOON + 3 * HOUR, "$lt": NOON + 5 * HOUR}}
    found = await queries_on(reading).find(wanted, limit=10, newest_first=True, now_micros=0)
    assert [row["event_time"] for row in found] == [NOON + 4 * HOUR, NOON + 3 * HOUR]
    # The hour of an exclusive bound is looked at, for its statistics may say more.
    assert {key.rpartition("/")[0][-7:] for key in reading.read_keys} == {"hour=15", "hour=16", "hour=17"}


async def test_the_newest_rows_are_found_without_reading_the_past() -> None:
    logs = LogsInMemory()
    await logs.flush([NOON - HOUR * hours for hours in range(1_100)])
    reading = Reading(logs)
    now = micros_of(NOON + 30 * MINUTE) or 0
    found = await queries_on(reading).find(None, limit=2, newest_first=True, now_micros=now)
    assert [row["event_time"] for row in found] == [NOON, NOON - HOUR]
    assert len(reading.read_keys) == 2
    assert reading.listed == 1000 + 2  # The first page, which showed that there are more, and the last hours.
    oldest = {"event_time": {"$lt": datetime(1, 1, 1, 1, tzinfo=UTC)}}
    assert await queries_on(reading).find(oldest, limit=2, newest_first=True, now_micros=now) == []


async def test_of_a_large_file_only_the_row_groups_that_may_pass_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "ROW_GROUP_ROWS", 5_000)
    monkeypatch.setattr(log_reader, "WHOLE_BYTES_MAX", 0)
    logs = LogsInMemory()
    await logs.flush([NOON + timedelta(milliseconds=number) for number in range(60_000)], worker="w")
    [file] = (await logs.catalog.listing()).files
    reading = Reading(logs)
    wanted = {"event_time": NOON + timedelta(milliseconds=7_777)}
    found = await queries_on(reading).find(wanted, limit=10, newest_first=True, now_micros=0)
    assert len(found) == 1
    assert reading.bytes < FOOTER_BYTES + file.bytes / 10


async def test_a_file_that_is_merged_away_under_a_reader_is_found_in_its_successor() -> None:
    for reads in range(4):
        logs = LogsInMemory()
        for _ in range(4):
            await logs.flush([NOON, NOON + MINUTE])
        reading = Reading(logs)
        seen: list[str] = []
        queries = queries_on(reading)
        files = (await queries.catalog.listing()).files
        async for piece in queries.pieces(files, ()):
            seen += piece.table.column("id").to_pylist()
            if len(seen) == 2 * reads:
                await logs.compactor().compact(2)
        if not reads:
            reading.before_read = lambda logs=logs: logs.compactor().compact(2)  # type: ignore[misc]
            seen = [row["id"] for row in await queries.find(None, limit=99, newest_first=False, now_micros=0)]
        assert sorted(seen) == sorted(logs.rows)


async def test_a_reader_gives_up_when_files_vanish_faster_than_it_can_list_them() -> None:
    class Vanishing(Reading):
        async def _pass(self, call: Call[Any]) -> Any:
            if call.operation == "read":
                raise ObjectNotFoundError(key=call.key)
            return await super()._pass(call)

    logs = LogsInMemory()
    await logs.flush([NOON])
    with pytest.raises(ObjectNotFoundError, match="went away 20 times"):
        await queries_on(Vanishing(logs)).find(None, limit=1, newest_first=True, now_micros=0)


async def test_a_file_that_was_cut_or_changed_is_corruption_that_names_it_and_never_another_answer() -> None:
    logs = LogsInMemory()
    await logs.flush([NOON + timedelta(milliseconds=number) for number in range(500)])
    [key] = await logs.keys()
    data, rows = await logs.storage.inner.read(key), await logs.found()
    changed = [data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :] for at in range(0, len(data), 97)]
    noticed = 0
    for harmed in [data[:-20], data[:3], b"no parquet at all", *changed]:
        await logs.storage.inner.write(key, harmed)
        told: CorruptionError | None = None
        try:
            assert await logs.found() == rows  # Of a footer not every byte means something.
        except CorruptionError as error:
            told = error
        assert told is None or told.key == key
        noticed += told is not None
    assert noticed > 0.8 * len(changed)


def test_a_sparse_file_gives_what_is_there_and_refuses_the_rest() -> None:
    file = SparseFile(100, {10: b"abcdef", 50: b"xyz"})
    file.seek(12)
    assert file.read(3) == b"cde"
    assert file.tell() == 15
    file.seek(-50, 2)
    assert file.read(3) == b"xyz"
    for start, length in ((0, 1), (14, 5), (60, 1), (97, -1)):
        file.seek(start)
        with pytest.raises(OSError, match="were not read"):
            file.read(length)
    file.seek(100)
    assert file.read(5) == b""


@pytest.mark.parametrize("op", ["eq", "in", "gt", "gte", "lt", "lte"])
def test_statistics_never_rule_out_a_value_that_passes(op: str) -> None:
    passes = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
    for low, high, wanted in itertools.product(range(4), repeat=3):
        if low <= high:
            test = passes.get(op, operator.eq)
            some = any(test(value, wanted) for value in range(low, high + 1))
            assert ColumnTest("http_status", op, (wanted,)).may_pass(low, high) == some


def test_only_what_every_row_must_pass_narrows_the_hours() -> None:
    def hours(wanted: dict[str, Any]) -> tuple[int | None, int | None]:
        return hours_of(comparisons_of(compile_filter(wanted).filter))

    start = datetime(1970, 1, 1, 5, 30, tzinfo=UTC)
    assert hours({"event_time": start}) == (5, 5)
    assert hours({"event_time": {"$gte": start, "$lt": start + 3 * HOUR}}) == (5, 8)
    assert hours({"event_time": {"$in": [start + HOUR, start]}}) == (5, 6)
    assert hours({"$and": [{"event_time": {"$gt": start}}, {"event_time": {"$gt": start + HOUR}}]}) == (6, None)
    for open_filter in ({"$or": [{"event_time": start}]}, {"$nor": [{"event_time": start}]}, {"log_time": start}):
        expected = (5, 5) if "$or" in open_filter else (None, None)  # An alternative of one is none.
        assert hours(open_filter) == expected
    assert hours({"$or": [{"event_time": start}, {"message": "a"}]}) == (None, None)
    assert hours({"event_time": {"$ne": start}}) == (None, None)

"""`explain` tells the truth: its numbers are those of the footers, of the store, and of the query itself."""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests import read_arguments
from parquedb.cluster.client.explanation import Explanation
from parquedb.cluster.loads.bulk_loading import pieces
from parquedb.errors import InvalidFilterError, InvalidSortError, ValidationError
from parquedb.storage.backend import Range
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.keys import namespace_prefix
from tests.support.engines import NAMESPACE, opened, run

ROWS = 300_000
GROUP = 131_072


class Counting(DelegatingBackend):
    """Takes note of what is read."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.told: list[tuple[str, int]] = []

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        data = await self.inner.read(key, timeout_s=timeout_s)
        self.told.append((key, len(data)))
        return data

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        data = await self.inner.read_range(key, start, length, timeout_s=timeout_s)
        self.told.append((key, len(data)))
        return data

    async def read_ranges(self, ranges: Sequence[Range], *, timeout_s: float | None = None) -> Sequence[bytes]:
        parts = await self.inner.read_ranges(ranges, timeout_s=timeout_s)
        self.told += [(one.key, len(part)) for one, part in zip(ranges, parts, strict=True)]
        return parts

    def of(self, keys: Sequence[str]) -> tuple[int, int]:
        """Return how often, and how many bytes of, some data files were read."""
        sizes = [size for key, size in self.told if any(key.endswith(one) for one in keys)]
        return len(sizes), sum(sizes)


@pytest.fixture
def store() -> Counting:
    return Counting(MemoryBackend())


async def explained(owner: NamespaceEngine, filter_: Any = None, **options: Any) -> Explanation:
    asked = read_arguments.explain(NAMESPACE, filter_, **options)
    [outcome] = await owner.execute([asked])
    return Explanation.of(outcome.result())


async def load(owner: NamespaceEngine, *numbers: range) -> None:
    """Store a data file per range, with ids in the order of `n`; `w` is text that compresses badly."""
    for some in numbers:
        columns = {
            "$id": [f"{n:07}" for n in some],
            "n": list(some),
            "w": [f"{n * 2654435761 % 2**32:x}" for n in some],
        }
        for piece in pieces(pa.table(columns | {"k": [n % 5 for n in some]})):
            [outcome] = await owner.execute([piece.operation()])
            outcome.result()


async def footers(owner: NamespaceEngine, store: Counting) -> dict[str, Any]:
    return {
        file.key: pq.ParquetFile(io.BytesIO(await store.inner.read(namespace_prefix(NAMESPACE) + file.key))).metadata
        for file in owner._data.files.files
    }


def bytes_of(group: Any, columns: set[str] | None = None) -> int:
    chunks = [group.column(number) for number in range(group.num_columns)]
    return sum(
        one.total_compressed_size for one in chunks if columns is None or one.path_in_schema.split(".")[0] in columns
    )


def groups_with(metadata: Any, low: int, high: int) -> list[int]:
    """Return the row groups whose statistics leave values of `n` between two bounds."""
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        [chunk] = [one for at in range(group.num_columns) if (one := group.column(at)).path_in_schema == "n"]
        if chunk.statistics.min <= high and chunk.statistics.max >= low:
            found.append(number)
    return found


@pytest.mark.parametrize("verbosity", ["executionStats", "queryPlanner"])
@pytest.mark.parametrize(
    ("low", "high"), [(5, 10), (GROUP - 1, GROUP), (250_000, 310_000), (999_999, 10**6), (0, 10**6)]
)
async def test_numbers_of_a_count_are_those_of_the_footers(
    store: Counting, verbosity: str, low: int, high: int
) -> None:
    async with opened(store) as owner:
        await load(owner, range(ROWS), range(ROWS, ROWS + 20_000))
        told = await explained(
            owner, {"n": {"$gte": low, "$lte": high}, "k": 3}, operation="count", verbosity=verbosity
        )
        scanned = {key: groups_with(footer, low, high) for key, footer in (await footers(owner, store)).items()}
        every = [
            (number in scanned[key], footer.row_group(number))
            for key, footer in (await footers(owner, store)).items()
            for number in range(footer.num_row_groups)
        ]
        assert len(every) == 4
        assert told.row_groups_scanned == sum(inside for inside, _ in every)
        assert told.row_groups_skipped == sum(not inside for inside, _ in every)
        assert told.rows_scanned == sum(group.num_rows for inside, group in every if inside)
        assert told.rows_scanned + told.rows_skipped == ROWS + 20_000
        looked_at = sum(bytes_of(group, {"n", "k"}) for inside, group in every if inside)
        assert told.bytes_scanned == looked_at
        assert told.bytes_scanned + told.bytes_skipped == sum(bytes_of(group) for _, group in every)
        assert (told.files_scanned, told.files_skipped) == (
            sum(map(bool, scanned.values())),
            sum(not one for one in scanned.values()),
        )
        for file in told.files:
            assert file.row_groups_scanned == len(scanned[file.key])
            assert file.how == ("scanned" if scanned[file.key] else "ruled out")
        if verbosity == "executionStats":
            expected = sum(n % 5 == 3 for n in range(max(low, 0), min(high, ROWS + 19_999) + 1))
            assert told.returned == expected
            assert told.documents_tested == 0
            assert told.duration_s > 0


@pytest.mark.parametrize(
    "query", [{"operation": "count"}, {"limit": 20}, {"sort": "-w", "limit": 20}, {"sort": "k", "skip": 3}]
)
async def test_what_is_read_from_the_store_is_what_the_store_saw(store: Counting, query: dict[str, Any]) -> None:
    async with opened(store) as owner:
        await load(owner, range(ROWS), range(ROWS, ROWS + 20_000))
    async with opened(store) as owner:
        store.told.clear()
        told = await explained(owner, {"n": {"$lt": 140_000}}, **query)
        first, second = told.files
        assert (first.how, second.how) == ("scanned", "ruled out")
        assert (told.storage_reads, told.storage_bytes) == store.of([first.key])
        assert told.storage_reads > 0
        assert told.cached is False
        store.told.clear()
        again = await explained(owner, {"n": {"$lt": 140_000}}, **query)
        assert (again.storage_reads, again.storage_bytes, again.cached) == (0, 0, True)
        assert store.told == []
        assert again.bytes_scanned == told.bytes_scanned > 0
        kind = query.get("operation", "find")
        given = {name: value for name, value in query.items() if name != "operation"}
        if "sort" in given:
            given["sort"] = read_arguments.find(NAMESPACE, **given).options["sort"]
        answer = await run(owner, kind, filter={"n": {"$lt": 140_000}}, **given)
        assert again.returned == (answer if kind == "count" else len(answer["items"]))


async def test_a_plan_runs_nothing(store: Counting) -> None:
    async with opened(store) as owner:
        await load(owner, range(ROWS))
    async with opened(store) as owner:
        store.told.clear()
        told = await explained(owner, {"w": {"$gt": "8"}}, verbosity="queryPlanner")
        assert (told.returned, told.documents_tested, told.storage_reads, told.cached, told.duration_s) == (None,) * 5
        [file] = told.files
        assert store.of([file.key])[1] < file.bytes / 10
        ran = await explained(owner, {"w": {"$gt": "8"}})
        assert told.row_groups_scanned == 3 >= ran.row_groups_scanned


async def test_each_condition_tells_where_it_is_decided(store: Counting) -> None:
    async with opened(store) as owner:
        docs = [{"n": n, "odd": "x" if n % 10 == 0 else n, "tags": ["a"], "deep": [{"x": n}]} for n in range(100)]
        for number, document in enumerate(docs):
            await run(owner, "create", f"{number:03}", document)
        await owner.flush()
        await run(owner, "create", "new", {"n": 1})
        filter_ = {
            "n": {"$gte": 0},
            "odd": {"$gt": 50},
            "tags": "a",
            "deep.x": {"$gte": 0},
            "deep": {"$elemMatch": {"x": {"$gt": 1}}},
        }
        told = await explained(owner, filter_, operation="count")
        decided = {(one.path, one.operator): (one.by_columns, one.by_documents) for one in told.conditions}
        assert decided == {
            ("n", "$gte"): (1, 0),
            ("odd", "$gt"): (0, 1),
            ("tags", "$eq"): (1, 0),
            ("deep.x", "$gte"): (0, 1),
            ("deep", "$elemMatch"): (0, 1),
            ("deletedAt", "$exists"): (1, 0),
        }
        assert told.memory_rows == 1
        # All rows have a part of `deep` elsewhere; of `odd`, those that can be above 50 by their column.
        assert 1 < told.documents_tested <= 101
        only = await explained(owner, {"odd": "x"}, operation="count")
        assert only.returned == 10
        # Ten rows hold another type than their column; and one document is in memory.
        assert only.documents_tested == 11


async def test_limits_leave_files_unread(store: Counting) -> None:
    async with opened(store) as owner:
        await load(owner, range(1_000), range(1_000, 2_000), range(2_000, 3_000))
        told = await explained(owner, {"n": {"$gte": 0}}, limit=5)
        assert told.plan == "id_order"
        assert [file.how for file in told.files] == ["scanned", "not needed", "not needed"]
        assert (told.files_scanned, told.files_skipped, told.rows_scanned) == (1, 2, 1_000)
        told = await explained(owner, sort="n", limit=5)
        assert told.plan == "top_k"
        assert [file.how for file in told.files] == ["scanned", "not needed", "not needed"]
        assert told.returned == 5
        told = await explained(owner, {"n": {"$lt": 2_000}}, operation="count")
        assert told.plan == "count"
        assert [file.how for file in told.files] == ["counted", "counted", "ruled out"]
        assert (told.rows_scanned, told.storage_reads, told.returned) == (0, 0, 2_000)


async def test_rows_that_are_superseded_are_told(store: Counting) -> None:
    async with opened(store) as owner:
        await load(owner, range(100))
        for number in range(7):
            await run(owner, "update", f"{number:07}", {"$set": {"n": -1}})
        await run(owner, "delete", "0000050")
        told = await explained(owner, {"n": {"$gte": 0}})
        assert (told.dead_rows, told.files[0].dead_rows, told.memory_rows) == (8, 8, 8)
        assert told.returned == 92
        past = await explained(owner, {"n": {"$gte": 0}}, as_of=100, operation="count")
        assert past.returned == 100
        assert (await explained(owner, {}, operation="count", include_deleted=True)).returned == 100


async def test_files_told_of_are_bounded_and_totals_are_not(store: Counting) -> None:
    async with opened(store, compaction_interval_s=3600) as owner:
        await load(owner, *(range(n, n + 1) for n in range(105)))
        told = await explained(owner, {"n": {"$gte": 50}, "k": {"$gte": 0}}, operation="count")
        assert (len(told.files), told.files_left_out) == (100, 5)
        assert told.files_scanned + told.files_skipped == 105
        many = {"$or": [{"n": n} for n in range(200)]}
        assert len((await explained(owner, many)).conditions) == 100
        assert Explanation.of(told.to_dict()) == told


async def test_two_queries_at_once_count_for_themselves(store: Counting) -> None:
    async with opened(store) as owner:
        await load(owner, range(1_000))
    async with opened(store) as owner:
        asked = [read_arguments.explain(NAMESPACE, {"n": {"$gt": limit}}, operation="count") for limit in (10, 20)]
        answers = [Explanation.of(outcome.result()) for outcome in await owner.execute(asked)]
        assert [one.returned for one in answers] == [989, 979]
        reads = sum(one.storage_reads for one in answers)
        assert reads == store.of([answers[0].files[0].key])[0] == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"verbosity": "allPlans"},
            ValidationError,
            "verbosity: expected 'queryPlanner' or 'executionStats', got 'allPlans'",
        ),
        ({"operation": "distinct"}, ValidationError, "operation: expected 'find' or 'count', got 'distinct'"),
        (
            {"operation": "count", "sort": "n"},
            ValidationError,
            "operation: expected 'find' beside sort, limit, skip or fields",
        ),
        ({"filter": {"n": {"$nope": 1}}}, InvalidFilterError, "is no filter operator"),
        ({"sort": 5}, InvalidSortError, "sort"),
        ({"limit": 0}, ValidationError, "limit: expected an int from 1 to 10 000, got 0"),
    ],
)
async def test_arguments_are_checked(
    store: Counting, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with opened(store) as owner:
        with pytest.raises(error, match=message.replace(" (", " .")):
            await explained(owner, options.pop("filter", None), **options)
        assert (await explained(owner)).returned == 0


async def test_files_of_which_no_row_group_is_left_are_ruled_out(store: Counting) -> None:
    async with opened(store) as owner:
        numbers = [*range(GROUP), *range(10**6, 10**6 + 10)]
        table = pa.table({"$id": [f"{n:07}" for n in numbers], "n": numbers})
        for piece in pieces(table):
            await owner.execute([piece.operation()])
        told = await explained(owner, {"n": 500_000})
        assert told.files[0].how == "ruled out"
        assert (told.row_groups_scanned, told.row_groups_skipped, told.returned) == (0, 2, 0)


@pytest.mark.parametrize("sort", [None, "n"])
async def test_the_columns_of_what_is_returned_are_looked_at_too(store: Counting, sort: str | None) -> None:
    async with opened(store) as owner:
        await load(owner, range(1_000))
        [footer] = (await footers(owner, store)).values()
        group = footer.row_group(0)
        whole = await explained(owner, {"n": {"$gt": 5}}, sort=sort, limit=5)
        assert whole.bytes_scanned == bytes_of(group)
        assert whole.bytes_skipped == 0
        few = await explained(owner, {"n": {"$gt": 5}}, sort=sort, limit=5, fields={"n": 1, "$id": 0})
        assert few.bytes_scanned == bytes_of(group, {"n", "$id", "$residual"})
        assert (few.documents_tested, few.returned) == (0, 5)


@pytest.mark.parametrize("query", [{}, {"sort": "n"}, {"sort": "-n", "skip": 1}, {"operation": "count"}])
async def test_documents_asked_one_by_one_are_counted(store: Counting, query: dict[str, Any]) -> None:
    async with opened(store) as owner:
        for number in range(100):
            odd = {"odd": number} if number % 10 == 0 else {"odd": f"{number}"}
            await run(owner, "create", f"{number:03}", {"n": number, **odd})
        await owner.flush()
        await run(owner, "create", "new", {"n": 1})
        # Ten rows hold another type than their column; "11" is decided by it; one document is in memory.
        told = await explained(owner, {"odd": {"$in": ["11", 20]}}, **query)
        assert told.documents_tested == 11
        assert told.returned == 2 - query.get("skip", 0)

"""Queries through an engine: memtable, files and dead rows together; paging beside writes; limits and refusals."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from parquedb.actors.engine import NamespaceEngine
from parquedb.clock import SystemClock
from parquedb.documents.filters import compile_filter
from parquedb.documents.projection import parse_projection
from parquedb.documents.sorting import parse_sort
from parquedb.errors import (
    InvalidFilterError,
    InvalidInputError,
    InvalidPipelineError,
    InvalidProjectionError,
    InvalidSortError,
    QueryMemoryError,
    QueryTimeoutError,
    ValidationError,
)
from parquedb.observability.hooks import HookRegistry
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.columns import all_exactly, exactly
from tests.support.engines import opened, run, settings

Document = dict[str, Any]

small = st.sampled_from([None, 1, 2, 2.5, "x", "y", True, [1, 2], [], ["x"], {"b": 1}])
bodies = st.fixed_dictionaries({}, optional={"a": small, "b": small, "t": st.lists(st.sampled_from(["u", "v", 1]))})
steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 30), bodies),
        st.tuples(st.just("replace"), st.integers(0, 30), bodies),
        st.tuples(st.just("delete"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("flush"), st.just(0), st.none()),
    ),
    min_size=5,
    max_size=40,
)
sorts = st.lists(
    st.tuples(st.sampled_from(["a", "b", "t", "a.b", "version", "$id"]), st.sampled_from([1, -1])),
    max_size=2,
    unique_by=lambda one: one[0],
)
filters = st.sampled_from(
    [None, {"a": 1}, {"a": {"$gte": 1}}, {"t": "u"}, {"b": None}, {"$or": [{"a": "x"}, {"b": {"$exists": True}}]}]
)


async def change(owner: NamespaceEngine, truth: dict[str, Document], step: tuple[str, int, Any]) -> None:
    """Do one step to the engine and to a plain dict."""
    kind, number, more = step
    id_ = f"{number:02d}"
    if kind == "flush":
        await owner.flush()
    elif kind == "create":
        if id_ not in truth:
            truth[id_] = await run(owner, "create", id_, dict(more))
    elif id_ in truth:
        if kind == "replace":
            truth[id_] = await run(owner, "replace", id_, dict(more))
        else:
            await run(owner, "delete", id_, hard=True)
            del truth[id_]


@examples(max_examples=60, deadline=None)
@given(steps, sorts, filters, st.integers(1, 8), st.integers(0, 5))
async def test_every_query_answers_as_over_a_plain_list(
    script: list[Any], spec: list[Any], condition: Any, limit: int, skip: int
) -> None:
    truth: dict[str, Document] = {}
    async with opened(MemoryBackend()) as owner:
        for step in script:
            await change(owner, truth, step)
        matching = [one for one in truth.values() if compile_filter(condition)(one)]
        expected = sorted(matching, key=parse_sort(spec).key)
        query = {"filter": condition, "sort": spec}
        page = await run(owner, "find", **query, limit=limit, skip=skip, total=True)
        assert all_exactly(page["items"]) == all_exactly(expected[skip : skip + limit])
        assert page["total"] == len(expected)
        assert (page["next_cursor"] is None) == (len(expected) <= skip + limit)
        assert exactly(await run(owner, "find_one", **query)) == exactly(expected[0] if expected else None)
        assert await run(owner, "count", filter=condition) == len(expected)
        values = await run(owner, "distinct", field="t", filter=condition)
        assert set(values) == {item for one in matching for item in one.get("t", [])}
        stages = [{"$unwind": "$t"}, {"$group": {"_id": "$t", "n": {"$sum": 1}}}]
        counted = await run(owner, "aggregate", pipeline=[{"$match": condition or {}}, *stages])
        assert {one["_id"]: one["n"] for one in counted} == {
            value: sum(one.get("t", []).count(value) for one in matching) for value in values
        }
        top = [{"$match": condition or {}}, {"$sort": dict(spec) or {"$id": 1}}, {"$skip": skip}, {"$limit": limit}]
        shown = await run(owner, "aggregate", pipeline=[*top, {"$project": {"a": 1}}])
        project = parse_projection({"a": 1})
        assert project is not None
        assert all_exactly(shown) == all_exactly(list(map(project, expected[skip : skip + limit])))


@examples(max_examples=60, deadline=None)
@given(steps, steps, sorts, st.integers(1, 4), st.randoms(use_true_random=False))
async def test_paging_meets_what_stays_exactly_once_and_in_order(
    before: list[Any], during: list[Any], spec: list[Any], limit: int, rng: random.Random
) -> None:
    truth: dict[str, Document] = {}
    sort = parse_sort(spec)
    async with opened(MemoryBackend()) as owner:
        for step in before:
            await change(owner, truth, step)
        stayed = dict(truth)
        seen: list[Document] = []
        cursor = None
        while True:
            page = await run(owner, "find", sort=spec, limit=limit, cursor=cursor)
            seen += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            for step in during[: rng.randint(0, 3)]:
                await change(owner, truth, step)
                # A document that is written moves; one that is deleted and made anew is another one.
                stayed = {id_: one for id_, one in stayed.items() if truth.get(id_) is one}
            del during[:2]
    keys = [sort.key(one) for one in seen]
    assert keys == sorted(keys)
    assert all(one != other for one, other in itertools.pairwise(keys))
    met = [(one["$id"], one["version"], one["createdAt"]) for one in seen]
    for one in stayed.values():
        assert met.count((one["$id"], one["version"], one["createdAt"])) == 1


@pytest.fixture
async def owner() -> AsyncIterator[NamespaceEngine]:
    async with opened(MemoryBackend()) as made:
        for number in range(6):
            await run(made, "create", f"d{number}", {"n": number, "odd": number % 2, "tags": ["t", number % 3]})
            if number == 3:
                await made.flush()
        yield made


async def test_a_cursor_belongs_to_one_query(owner: NamespaceEngine) -> None:
    cursor = (await run(owner, "find", filter={"n": {"$gte": 0}}, sort="-n", limit=2))["next_cursor"]
    page = await run(owner, "find", filter={"n": {"$gte": 0}}, sort=[["n", -1]], limit=3, cursor=cursor, fields=["n"])
    assert [one["n"] for one in page["items"]] == [3, 2, 1]
    for other in (
        {"filter": {"n": {"$gte": 1}}, "sort": "-n"},
        {"filter": {"n": {"$gte": 0}}, "sort": "n"},
        {"filter": {"n": {"$gte": 0}}, "sort": "-n", "include_deleted": True},
        {},
    ):
        with pytest.raises(
            InvalidInputError, match="expected a cursor of this query, got one of another filter or sort"
        ):
            await run(owner, "find", cursor=cursor, **other)


@pytest.mark.parametrize("cursor", ["x", "", "d3", "AAAA", "é", "x" * 70_000, 7, "kwH_"])
async def test_what_is_no_cursor_is_refused(owner: NamespaceEngine, cursor: Any) -> None:
    with pytest.raises(InvalidInputError, match="cursor: expected the next_cursor of a page, got something else"):
        await run(owner, "find", cursor=cursor)


async def test_the_order_of_keys_in_a_filter_does_not_matter_to_a_cursor(owner: NamespaceEngine) -> None:
    first = await run(owner, "find", filter={"n": {"$gte": 1}, "tags": "t"}, limit=2)
    second = await run(owner, "find", filter={"tags": "t", "n": {"$gte": 1}}, limit=9, cursor=first["next_cursor"])
    assert [one["n"] for one in second["items"]] == [3, 4, 5]


async def test_a_sort_value_that_is_too_long_for_a_cursor_is_refused(owner: NamespaceEngine) -> None:
    for number in range(3):
        await run(owner, "create", f"long{number}", {"text": "x" * 60_000})
    assert len((await run(owner, "find", filter={"text": {"$exists": True}}, sort="text", limit=3))["items"]) == 3
    with pytest.raises(InvalidSortError, match="of document 'long0' are too long for a cursor"):
        await run(owner, "find", filter={"text": {"$exists": True}}, sort="text", limit=1)


async def test_pages_go_on_without_the_id_in_the_projection(owner: NamespaceEngine) -> None:
    options: Document = {"sort": "-odd", "fields": {"n": 1, "$id": 0}, "limit": 4}
    first = await run(owner, "find", **options)
    second = await run(owner, "find", **options, cursor=first["next_cursor"])
    assert first["items"] + second["items"] == [{"n": number} for number in (1, 3, 5, 0, 2, 4)]


async def test_what_is_deleted_is_hidden_unless_asked_for(owner: NamespaceEngine) -> None:
    await run(owner, "delete", "d1")
    assert await run(owner, "distinct", field="n") == [0, 2, 3, 4, 5]
    assert await run(owner, "distinct", field="n", include_deleted=True) == [0, 1, 2, 3, 4, 5]
    count = [{"$count": "n"}]
    assert await run(owner, "aggregate", pipeline=count) == [{"n": 5}]
    assert await run(owner, "aggregate", pipeline=count, include_deleted=True) == [{"n": 6}]
    assert await run(owner, "find_one", filter={"n": 1}) is None
    assert await run(owner, "exists", "d1") is False
    assert await run(owner, "exists", "d1", include_deleted=True) is True
    assert await run(owner, "exists", "d2") is True
    assert await run(owner, "exists", "nope") is False


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        ("find", {"sort": {"a": 3}}, InvalidSortError, "expected 1 or -1"),
        ("find", {"fields": {"a": 1, "b": 0}}, InvalidProjectionError, "got both: 'b' differs from the first"),
        ("find", {"limit": 0}, ValidationError, "limit"),
        ("find", {"skip": 100_001}, ValidationError, "skip"),
        ("find", {"skip": 1, "cursor": "x"}, ValidationError, "skip: expected 0 beside a cursor"),
        ("count", {"filter": {"a": {"$foo": 1}}}, InvalidFilterError, "foo"),
        ("find_one", {"filter": {"a": {"$foo": 1}}}, InvalidFilterError, "foo"),
        ("distinct", {"field": "a..b"}, InvalidProjectionError, "distinct: 'a..b' is no field"),
        ("distinct", {}, InvalidProjectionError, "distinct: expected the name of a field, got NoneType"),
        ("aggregate", {}, InvalidPipelineError, "pipeline: expected a list of stages, got NoneType"),
        (
            "aggregate",
            {"pipeline": [{"$set": {"x": {"$add": ["$tags", 1]}}}]},
            InvalidPipelineError,
            r"pipeline\[0\]: \$add: expected numbers",
        ),
    ],
)
async def test_what_is_not_understood_is_refused(
    owner: NamespaceEngine, kind: str, options: Document, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await run(owner, kind, **options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("find", {"limit": 200}),
        ("find", {"limit": 200, "sort": "-text"}),
        ("distinct", {"field": "text"}),
        ("aggregate", {"pipeline": [{"$sort": {"text": 1}}, {"$skip": 199}]}),
        ("aggregate", {"pipeline": [{"$group": {"_id": "$text"}}]}),
        ("aggregate", {"pipeline": []}),
    ],
)
@pytest.mark.parametrize("flushed", [True, False])
async def test_a_query_that_needs_too_much_memory_is_refused(kind: str, options: Document, flushed: bool) -> None:
    async with opened(MemoryBackend(), query_memory_max=64 * 1024) as small:
        await run(small, "create_many", None, [{"text": f"{number}" + "x" * 500} for number in range(200)])
        if flushed:
            await small.flush()
        with pytest.raises(QueryMemoryError, match="more memory than its limit 65,536 bytes"):
            await run(small, kind, **options)
        assert len((await run(small, "find", limit=10))["items"]) == 10


class Executor:
    """Runs work off the loop, as threads would; `held` work never comes back."""

    def __init__(self) -> None:
        self.held = False
        self.started = asyncio.Event()

    async def __call__(self, work: Callable[[], Any]) -> Any:
        if self.held:
            self.started.set()
            await asyncio.Event().wait()
        return work()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("find", {"sort": "n"}),
        ("count", {"filter": {"n": 1}}),
        ("distinct", {"field": "n"}),
        ("aggregate", {"pipeline": []}),
    ],
)
async def test_a_query_past_its_time_is_refused_and_writes_go_on_beside_it(kind: str, options: Document) -> None:
    executor = Executor()
    slow = NamespaceEngine(
        "posts",
        MemoryBackend(),
        settings(),
        clock=SystemClock(),
        rng=random.Random(1),
        hooks=HookRegistry(),
        run=executor,
    )
    await slow.open()
    await run(slow, "create", "a", {"n": 1})
    executor.held = True
    query = asyncio.ensure_future(run(slow, kind, timeout_s=0.2, **options))
    await executor.started.wait()
    assert (await run(slow, "create", "b", {"n": 2}))["n"] == 2
    with pytest.raises(QueryTimeoutError, match=r"the query took over 0\.2 s"):
        await query
    executor.held = False
    assert len(await run(slow, "distinct", field="n")) == 2
    await slow.close()

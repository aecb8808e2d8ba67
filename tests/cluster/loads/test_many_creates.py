"""`create_many` of many documents: the same answers and the same documents whichever way they go."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from parquedb.actors.requests import schema_arguments
from parquedb.actors.requests.operations import Operation
from parquedb.cluster.loads import bulk, many_creates
from parquedb.cluster.loads.many_creates import ManyCreates
from parquedb.errors import (
    AlreadyExistsError,
    CancelledError_,
    InvalidInputError,
    OutcomeUnknownError,
    ParqueDBError,
    ValidationError,
)
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import engine, opened, run
from tests.support.loads import Caller

BY_FILE = ["bulk_terms", "insert_arrow"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_creates, "CHUNK_DOCS_MAX", 10)
    monkeypatch.setattr(bulk, "CHUNK_DOCS_MAX", 10)


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
async def caller(store: MemoryBackend) -> AsyncIterator[Caller]:
    async with opened(store) as owner:
        made = Caller(owner, store)
        yield made
        made.owner.abandon()


async def create(
    caller: Caller,
    docs: list[Any],
    *,
    ordered: bool = True,
    request_id: str | None = None,
    actor: str | None = None,
) -> list[Any]:
    many = ManyCreates(caller.direct, "posts", ordered, actor, 60.0)
    answer: list[Any] = await caller.walk(many.steps(docs, request_id))
    assert len(answer) == len(docs)
    return answer


def documents(start: int, stop: int) -> list[dict[str, Any]]:
    return [{"$id": f"d{at:04}", "n": at, "deep": {"x": [at, None]}} for at in range(start, stop)]


async def test_documents_become_one_file_in_their_order(caller: Caller, store: MemoryBackend) -> None:
    docs = list(reversed(documents(0, 50)))
    answer = await create(caller, docs, actor="me")
    assert answer == [f"posts/{one['$id']}" for one in docs]
    assert caller.asked == BY_FILE
    found = await run(caller.owner, "get", "d0007")
    assert {name: found[name] for name in ("n", "deep", "version", "createdBy")} == {
        "n": 7,
        "deep": {"x": [7, None]},
        "version": 1,
        "createdBy": "me",
    }
    async with opened(store) as successor:
        assert await run(successor, "count") == 50


async def test_ids_are_made_where_there_are_none(caller: Caller) -> None:
    docs = [{"n": at} if at % 2 else {"$id": f"posts/d{at}", "n": at} for at in range(20)]
    answer = await create(caller, docs)
    assert caller.asked == BY_FILE
    assert answer[4] == "posts/d4"
    for at, id_ in enumerate(answer):
        assert (await run(caller.owner, "get", id_.partition("/")[2]))["n"] == at


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_taken_id_refuses_its_document_alone(caller: Caller, ordered: bool) -> None:
    await run(caller.owner, "create", "d0015", {})
    answer = await create(caller, documents(0, 30), ordered=ordered)
    assert isinstance(answer[15], AlreadyExistsError)
    assert answer[15].id == "d0015"
    assert answer[14] == "posts/d0014"
    if ordered:
        assert {type(one) for one in answer[16:]} == {CancelledError_}
    else:
        assert answer[16:] == [f"posts/d{at:04}" for at in range(16, 30)]
    assert await run(caller.owner, "count") == (16 if ordered else 30)


@pytest.mark.parametrize(
    ("odd", "error"),
    [
        ({"$id": "d0003"}, AlreadyExistsError),
        ({"$id": ""}, ValidationError),
        ({"version": 3}, ValidationError),
        ({"n": object()}, ValidationError),
        ({"n": "\ud800"}, ValidationError),
    ],
)
async def test_a_document_that_is_refused_is_told_as_ever(caller: Caller, odd: Any, error: type[ParqueDBError]) -> None:
    docs = [*documents(0, 20), odd, *documents(20, 30)]
    if error is ValidationError and type(odd.get("n")) is object:
        # The wire has no form for it; as without files, the call is refused before it is sent.
        with pytest.raises(ValidationError):
            await create(caller, docs, ordered=False)
        return
    answer = await create(caller, docs, ordered=False)
    assert isinstance(answer[20], error)
    assert [type(one) for one in answer].count(str) == 30
    assert await run(caller.owner, "count") == 30


async def test_a_schema_fills_in_and_refuses(caller: Caller) -> None:
    schema = {"n": "int!", "kind": "string = 'plain'"}
    (await caller.owner.execute([schema_arguments.register("posts", schema)]))[0].result()
    docs = [{"$id": f"a{at:02}", "n": at} for at in range(20)]
    await create(caller, docs)
    assert caller.asked == BY_FILE
    assert (await run(caller.owner, "get", "a03"))["kind"] == "plain"
    answer = await create(caller, [*({"n": at} for at in range(20)), {"n": "x"}], ordered=False)
    assert isinstance(answer[20], ValidationError)
    assert await run(caller.owner, "count") == 40


async def test_a_schema_that_only_warns_counts_what_it_let_through(caller: Caller) -> None:
    register = schema_arguments.register("posts", {"n": "int!"}, mode="warn")
    (await caller.owner.execute([register]))[0].result()
    answer = await create(caller, [{"n": "x"} for _ in range(12)])
    assert all(type(one) is str for one in answer)
    assert caller.owner._data.schemas.warned.count == 12


async def test_a_repeated_call_is_answered_by_the_first(caller: Caller, store: MemoryBackend) -> None:
    docs = [{"n": at} if at % 3 else {"$id": f"d{at}", "n": at} for at in range(30)]
    first = await create(caller, docs, request_id="mine")
    assert await create(caller, docs, request_id="mine") == first
    async with opened(store) as successor:
        caller.owner = successor
        assert await create(caller, docs, request_id="mine") == first
        assert await run(successor, "count") == 30
        with pytest.raises(InvalidInputError, match="a call with other documents"):
            await create(caller, [{"$id": f"e{at}"} for at in range(30)], request_id="mine")


async def test_a_call_that_went_the_other_way_before_is_answered_that_way(caller: Caller) -> None:
    """First without a way to the store, then with one: the documents have no ids, so only the request id tells."""
    docs = [{"n": at} for at in range(25)]
    away = Caller(caller.owner, MemoryBackend())
    away.direct.avoid("not reachable")
    first = await create(away, docs, request_id="mine")
    assert away.asked == ["bulk_terms", *["create_many"] * 3]
    assert await create(caller, docs, request_id="mine") == first
    assert await run(caller.owner, "count") == 25
    # And the other way round: the file was committed, and now the store cannot be reached.
    second = await create(caller, docs, request_id="yours")
    assert caller.asked[-2:] == BY_FILE
    assert await create(away, docs, request_id="yours") == second
    assert await run(caller.owner, "count") == 50


async def test_when_nobody_knows_the_error_names_the_id_that_finds_out(caller: Caller, store: MemoryBackend) -> None:
    docs = [{"n": at} for at in range(20)]

    async def land_and_go(operation: Operation) -> None:
        if caller.owner.state == "open":
            (await caller.owner.execute([operation]))[0].result()
            raise OutcomeUnknownError(request_id=operation.request)  # type: ignore[arg-type] # a text here

    many = ManyCreates(caller.direct, "posts", True, None, 60.0)
    steps = many.steps(docs, None)
    with pytest.raises(OutcomeUnknownError):
        await caller.walk(steps, land_and_go)
    sent = caller.owner._data.request_ids
    assert len(sent) == 1
    successor = engine(store)
    caller.owner.abandon()
    await successor.open()
    caller.owner = successor
    assert await run(successor, "count") == 20


async def test_times_keep_their_instant(caller: Caller) -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    await create(caller, [{"$id": f"t{at:02}", "at": noon.replace(tzinfo=None) if at else noon} for at in range(12)])
    assert {(await run(caller.owner, "get", f"t{at:02}"))["at"] for at in (0, 5)} == {noon}

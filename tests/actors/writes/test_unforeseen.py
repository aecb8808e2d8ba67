"""A bug of ours that a write brings out costs that write, and neither its neighbours nor the owner."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from parquedb.actors.requests import arguments, schema_arguments
from parquedb.actors.requests.operations import Operation, SessionRequest
from parquedb.actors.requests.packing import decode_operations, encode_operations
from parquedb.actors.writes import evaluate, update_run
from parquedb.errors import InternalError, ParqueDBError
from parquedb.schemas.guard import Guard
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, run


def failing(works: Callable[..., Any], where: int) -> Callable[..., Any]:
    """The same function with a bug: it divides by zero where its argument of that number holds a field `bug`."""

    def broken(*given: Any, **options: Any) -> Any:
        return 1 / 0 if "bug" in given[where] else works(*given, **options)

    return broken


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_born", failing(evaluate._born, 1))
    for module in (evaluate, update_run):
        monkeypatch.setattr(module, "next_version", failing(evaluate.next_version, 1))


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


def request(seq: int) -> SessionRequest:
    return SessionRequest(b"1" * 16, seq, 1, 0)


def refused(error: ParqueDBError | None) -> bool:
    return isinstance(error, InternalError) and "changed nothing: ZeroDivisionError: division by zero" in error.message


@pytest.mark.usefixtures("bug")
async def test_single_writes_beside_it_go_through(store: MemoryBackend, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(store) as owner:
        with caplog.at_level(logging.ERROR, "parquedb"):
            first, bad, last = await owner.execute(
                [Operation("create", id_, body) for id_, body in (("a", {"n": 1}), ("b", {"bug": 1}), ("c", {"n": 3}))]
            )
        assert (first.error, last.error) == (None, None)
        assert refused(bad.error)
        assert [record.message for record in caplog.records] == ["namespace posts: a bug: create could not be decided"]
        assert caplog.records[0].exc_info is not None
        assert (owner.state, await run(owner, "count")) == ("open", 2)
    async with opened(store) as owner:  # Nothing of it is in the log.
        assert await run(owner, "get", "b") is None


@pytest.mark.usefixtures("bug")
async def test_a_batch_that_meets_it_changes_nothing(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        batch = arguments.batch("posts", [{"op": "create", "data": {"n": 1}}, {"op": "create", "data": {"bug": 1}}])
        [bad] = await owner.execute([batch])
        assert refused(bad.error)
        assert await run(owner, "count") == 0


@pytest.mark.usefixtures("bug")
async def test_updates_of_one_run_are_refused_one_by_one(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        for id_ in ("a", "b", "c"):
            await run(owner, "create", id_, {"n": 0})
        updates = [
            arguments.update("posts", id_, {"$set": {name: 1}}, request_id=request(seq))
            for seq, (id_, name) in enumerate((("a", "n"), ("b", "bug"), ("c", "n")), 1)
        ]
        [joined] = decode_operations(encode_operations(updates))
        [answer] = await owner.execute([joined])
        answers = answer.result()
        assert list(answers.refused) == [1]
        assert refused(answers.refused[1])
        assert [(await run(owner, "get", id_))["n"] for id_ in "abc"] == [1, 0, 1]


async def test_creates_of_one_run_are_refused_one_by_one_where_a_schema_fails(
    store: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guard, "check", failing(Guard.check, 1))
    async with opened(store) as owner:
        await owner.execute([schema_arguments.register("posts", {"n": "int?"})])
        creates = [
            arguments.create("posts", body, request_id=request(seq))
            for seq, body in enumerate(({"n": 1}, {"bug": 1}, {"n": 3}), 1)
        ]
        [joined] = decode_operations(encode_operations(creates))
        [answer] = await owner.execute([joined])
        first, bad, last = answer.result()
        assert (first.error, last.error) == (None, None)
        assert refused(bad.error)
        assert await run(owner, "count") == 2

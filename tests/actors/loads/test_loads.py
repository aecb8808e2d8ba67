"""Loads whose files the caller makes and stores: all of it or nothing, whatever happens between its steps."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from parquedb.actors.loads.load import Load
from parquedb.actors.requests import schema_arguments
from parquedb.actors.requests.operations import Operation
from parquedb.cluster.loads import bulk_loading
from parquedb.cluster.loads.bulk_loading import Piece, arrow_steps, pieces
from parquedb.errors import AlreadyExistsError, InvalidInputError, ParqueDBError, PermissionDeniedError, ValidationError
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import engine, opened, outcome, run
from tests.support.loads import Caller, LoadersStore

SCHEMA = {"n": "int!"}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_loading, "DIRECT_BYTES_MIN", 1)


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
async def owner(store: MemoryBackend) -> AsyncIterator[Any]:
    async with opened(store) as made:
        yield made


def table(start: int, stop: int) -> pa.Table:
    numbers = list(range(start, stop))
    return pa.table({"$id": [f"r{number:05}" for number in numbers], "n": numbers, "tags": [["a"]] * len(numbers)})


def piece(data: pa.Table, request_id: str | None = None, **options: Any) -> Piece:
    [one] = pieces(data, request_id=request_id, **options)
    return one


async def load(caller: Caller, data: pa.Table, between: Any = None, **options: Any) -> int:
    steps = arrow_steps(caller.direct, "posts", piece(data, **options), time.monotonic() + 60)
    return await caller.walk(steps, between)  # type: ignore[no-any-return]


def data_keys(store: MemoryBackend) -> list[str]:
    return [key for key in store._store.keys if key.startswith("posts/data/")]


async def test_the_caller_stores_and_the_owner_commits(store: MemoryBackend, owner: Any) -> None:
    loaders = LoadersStore(store)
    caller = Caller(owner, loaders)
    assert await load(caller, table(0, 500), actor="me") == 500
    assert caller.asked == ["bulk_terms", "insert_arrow"]
    assert loaders.created == data_keys(store), "every file is the caller's"
    assert (await run(owner, "get", "r00007"))["createdBy"] == "me"
    assert await run(owner, "count", filter={"n": {"$gte": 400}}) == 100
    async with opened(store) as successor:
        assert await run(successor, "count") == 500
        assert (await run(successor, "update", "r00003", {"$inc": {"n": 1}}))["n"] == 4


async def test_what_the_owner_says_of_a_file_is_what_its_footer_says(store: MemoryBackend, owner: Any) -> None:
    """A loader that is wrong about statistics must not hide documents."""

    async def lie(operation: Operation) -> None:
        stats = operation.body["files"][0]["stats"]
        stats["n"] = ["int", 5000, 6000, 0]

    assert await load(Caller(owner, store), table(0, 50), lie) == 50
    assert await run(owner, "count", filter={"n": 7}) == 1


async def test_another_owner_between_terms_and_commit_means_load_again(store: MemoryBackend, owner: Any) -> None:
    caller = Caller(owner, LoadersStore(store))

    async def take_over(_: Operation) -> None:
        if caller.owner is owner:
            await owner.close()
            caller.owner = engine(store)
            await caller.owner.open()

    assert await load(caller, table(0, 20), take_over) == 20
    assert caller.asked == ["bulk_terms", "insert_arrow"] * 2
    assert await run(caller.owner, "count") == 20
    [file] = caller.owner._data.files.files
    assert file.key.startswith(f"data/{caller.owner.epoch}-")
    caller.owner.abandon()


async def test_a_schema_between_terms_and_commit_holds_the_load(store: MemoryBackend, owner: Any) -> None:
    caller, wrong = Caller(owner, store), table(0, 3).set_column(1, "n", [["x", "y", "z"]])

    async def register(_: Operation) -> None:
        (await owner.execute([schema_arguments.register("posts", SCHEMA)]))[0].result()

    with pytest.raises(ValidationError, match="row 0: invalid value of 'n': expected int"):
        await load(caller, wrong, register)
    assert await run(owner, "count") == 0
    assert await load(caller, table(0, 3)) == 3


async def test_a_file_that_the_owner_does_not_see_goes_through_the_owner(store: MemoryBackend, owner: Any) -> None:
    elsewhere = MemoryBackend()
    caller = Caller(owner, elsewhere)
    assert await load(caller, table(0, 20)) == 20
    assert caller.asked == ["bulk_terms", "insert_arrow", "insert_arrow"]
    assert await load(caller, table(20, 40)) == 20
    assert caller.asked[3:] == ["insert_arrow"], "and so does the next"
    assert await run(owner, "count") == 40


async def test_a_caller_whom_the_store_refuses_goes_through_the_owner(store: MemoryBackend, owner: Any) -> None:
    class Refusing(DelegatingBackend):
        async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> Any:
            raise PermissionDeniedError("no right to write")

    caller = Caller(owner, Refusing(store))
    assert await load(caller, table(0, 20)) == 20
    assert caller.asked == ["bulk_terms", "insert_arrow"]
    assert not caller.direct.usable


async def test_a_file_that_was_cut_short_is_refused(store: MemoryBackend, owner: Any) -> None:
    with pytest.raises(InvalidInputError, match="it is not of"):
        await load(Caller(owner, LoadersStore(store, cuts=1)), table(0, 20))
    assert await run(owner, "count") == 0


WRONG: dict[str, Any] = {
    "more bytes": (lambda file: replace(file, bytes=file.bytes - 1), "it is not of"),
    "another footer": (lambda file: replace(file, tail=file.tail._replace(checksum=1)), "footer has another checksum"),
    "more rows": (lambda file: replace(file, rows=21, seq_last=20), "20 rows instead of 21"),
    "other ids": (lambda file: replace(file, id_max="r00001"), "its ids are 'posts/r00000' to 'posts/r00019'"),
    "no footer": (lambda file: replace(file, tail=None), "other names, seqs or ends"),
    "a name of another epoch": (lambda file: replace(file, key="data/77-" + "0" * 32 + ".parquet"), "other names"),
    "a name elsewhere": (lambda file: replace(file, key="log/1"), "other names"),
    "seqs": (lambda file: replace(file, seq_first=5, seq_last=24), "other names, seqs"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_file_that_is_not_as_said_is_refused(store: MemoryBackend, owner: Any, what: str) -> None:
    change, message = WRONG[what]

    async def lie(operation: Operation) -> None:
        said = Load.from_wire(operation.body)
        operation.body["files"] = [change(file).to_wire() for file in said.files]

    with pytest.raises(InvalidInputError, match=message):
        await load(Caller(owner, store), table(0, 20), lie)
    assert await run(owner, "count") == 0


async def test_columns_of_other_types_than_said_are_refused(store: MemoryBackend, owner: Any) -> None:
    async def lie(operation: Operation) -> None:
        operation.body["columns"]["n"] = "str"

    with pytest.raises(InvalidInputError, match="its column 'n' is missing or of another type than said"):
        await load(Caller(owner, store), table(0, 20), lie)


async def test_a_taken_id_refuses_all_of_it(store: MemoryBackend, owner: Any) -> None:
    caller = Caller(owner, store)
    await load(caller, table(0, 50))

    async def overtake(_: Operation) -> None:
        await run(owner, "create", "r00060", {})

    for data, between in ((table(49, 55), None), (table(55, 65), overtake)):
        with pytest.raises(AlreadyExistsError, match="already exists"):
            await load(caller, data, between)
    assert await run(owner, "count") == 51


async def test_a_file_is_committed_once(store: MemoryBackend, owner: Any) -> None:
    sent: list[Operation] = []

    async def listen(operation: Operation) -> None:
        sent.append(operation)

    assert await load(Caller(owner, store), table(0, 20), listen) == 20
    again = await outcome(owner, "insert_arrow", body=sent[0].body)
    with pytest.raises(ParqueDBError):
        again.result()
    fresh = await outcome(owner, "insert_arrow", body={**sent[0].body, "fresh": True})
    with pytest.raises(InvalidInputError, match="part of the namespace already"):
        fresh.result()
    assert await run(owner, "count") == 20


async def test_a_repeated_request_is_answered_before_anything_is_made(store: MemoryBackend, owner: Any) -> None:
    caller = Caller(owner, LoadersStore(store))
    assert await load(caller, table(0, 20), request_id="mine") == 20
    files = data_keys(store)
    assert await load(caller, table(0, 20), request_id="mine") == 20
    assert data_keys(store) == files
    async with opened(store) as successor:
        caller.owner = successor
        assert await load(caller, table(0, 20), request_id="mine") == 20
        assert data_keys(store) == files
        assert await run(successor, "count") == 20


async def test_a_lost_reply_does_not_store_twice(store: MemoryBackend, owner: Any) -> None:
    """The load has landed, nobody heard of it, and another owner is asked again."""
    caller = Caller(owner, store)

    async def land_and_move(operation: Operation) -> None:
        if caller.owner is owner:
            (await owner.execute([operation]))[0].result()
            owner.abandon()
            caller.owner = engine(store)
            await caller.owner.open()

    assert await load(caller, table(0, 20), land_and_move) == 20
    assert await run(caller.owner, "count") == 20
    assert len(data_keys(store)) == 1
    caller.owner.abandon()


async def test_a_loader_killed_before_the_commit_stores_nothing_and_its_file_goes(store: MemoryBackend) -> None:
    """Its file belongs to the epoch of its owner, who never deletes such files; the next owner does."""

    class Killed(Exception):  # noqa: N818 - the end of a process
        pass

    async def die(_: Operation) -> None:
        raise Killed

    graces = {"log_grace_s": 1.0, "snapshot_grace_s": 1.0, "history_window_s": 0.0}
    async with opened(store, **graces) as owner:
        with pytest.raises(Killed):
            await load(Caller(owner, store), table(0, 20), die)
        await load(Caller(owner, store), table(20, 30))
        [left] = set(data_keys(store)) - {f"posts/{file.key}" for file in owner._data.files.files}
        await owner.flush()
        await asyncio.sleep(1.1)  # The grace counts by the store's clock.
        await owner.collect()
        assert left in data_keys(store)
    async with opened(store, **graces) as successor:
        assert await run(successor, "count") == 10
        await run(successor, "create", "x", {})
        await successor.flush()
        await asyncio.sleep(1.1)
        await run(successor, "create", "y", {})
        await successor.flush()
        await successor.collect()
        assert left not in data_keys(store)
        assert await run(successor, "count") == 12

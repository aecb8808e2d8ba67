"""Schemas in an engine: what they bind, how long they live, and what they make of columns."""

import asyncio
import logging
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests import schema_arguments
from parquedb.actors.requests.operations import Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import (
    decode_operations,
    decode_outcomes,
    encode_operations,
    encode_outcomes,
    whole,
)
from parquedb.errors import ConflictError, ErrorCode, SchemaMismatchError, ValidationError
from parquedb.storage.backend import ObjectInfo
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.memory import MemoryBackend
from tests.actors.test_engine import HOWS, Lives
from tests.support.engines import engine, opened, outcome, run

USER = {"email": "string!", "age": "int", "role": "enum(admin,user) = 'user'"}
SESSION = b"s" * 16


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
async def owner(store: MemoryBackend) -> AsyncIterator[NamespaceEngine]:
    async with opened(store) as made:
        yield made


@pytest.fixture
async def lives(store: MemoryBackend) -> AsyncIterator[Lives]:
    made = Lives(store)
    await made.start()
    yield made
    made.owner.abandon()


async def registering(owner: NamespaceEngine, schema: Any, **options: Any) -> Outcome:
    return (await owner.execute([schema_arguments.register("posts", schema, **options)]))[0]


async def register(owner: NamespaceEngine, schema: Any, **options: Any) -> Any:
    return (await registering(owner, schema, **options)).result()


async def refusal(owner: NamespaceEngine, *args: Any, **options: Any) -> ValidationError:
    error = (await outcome(owner, *args, **options)).error
    assert isinstance(error, ValidationError)
    return error


@pytest.mark.parametrize("how", HOWS)
async def test_a_schema_binds_every_kind_of_write_whatever_happened_since(lives: Lives, how: str) -> None:
    assert (await register(lives.owner, USER))["version"] == 1
    await run(lives.owner, "create", "a", {"email": "x"})
    owner = await lives.go(how)
    for kind, id_, body, options in [
        ("create", "b", {"email": 1}, {}),
        ("create", None, {"age": 1}, {}),
        ("update", "a", {"$set": {"email": 1}}, {}),
        ("update", "a", {"$unset": {"email": ""}}, {}),
        ("update", "b", {"$set": {"age": 1}}, {"upsert": True}),
        ("replace", "a", {"age": 1}, {}),
        ("batch", None, [Operation("create", "b", {"email": 1}).to_wire()], {}),
    ]:
        assert (await refusal(owner, kind, id_, body, **options)).field == "email", kind
    made = await run(owner, "create_many", None, [{"email": "y"}, {"email": 1}], ordered=False)
    assert [index for index, _ in made["errors"]] == [1]
    assert (await run(owner, "get", "a"))["version"] == 1
    assert await run(owner, "count") == 2


async def test_defaults_are_filled_in_on_every_way_in(owner: NamespaceEngine) -> None:
    await register(owner, USER)
    assert (await run(owner, "create", "a", {"email": "x"}))["role"] == "user"
    assert (await run(owner, "update", "b", {"$set": {"email": "x"}}, upsert=True))["role"] == "user"
    await run(owner, "update", "a", {"$unset": {"role": ""}})
    assert "role" not in await run(owner, "get", "a")
    assert (await run(owner, "replace", "a", {"email": "y"}))["role"] == "user"
    await run(owner, "create_many", None, [{"$id": "c", "email": "x"}])
    assert (await run(owner, "get", "c"))["role"] == "user"


@pytest.mark.parametrize("how", HOWS)
async def test_an_update_gives_an_old_document_the_required_field_it_lacks(lives: Lives, how: str) -> None:
    await run(lives.owner, "create", "a", {"x": 1})
    await register(lives.owner, {"x": "int", "kind": "string! = 'old'"})
    assert "kind" not in await run(lives.owner, "get", "a")
    # Asked for as a client asks: answered in the form that is kept for the next one who asks.
    gets = Operation("gets", None, ["a"])
    assert "kind" not in await first(lives.owner, gets)
    update = Operation("update", "a", {"$inc": {"x": 1}})
    assert (await first(lives.owner, update))["kind"] == "old"
    owner = await lives.go(how)
    assert (await first(owner, gets))["kind"] == (await run(owner, "get", "a"))["kind"] == "old"


async def first(owner: NamespaceEngine, operation: Operation) -> Any:
    """The value of an operation's first outcome, as it arrives at a client."""
    outcomes, _ = decode_outcomes(encode_outcomes([operation], await owner.execute([operation]), 0.0))
    return outcomes[0].value


async def test_a_registration_is_no_document(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await register(owner, USER)
        await owner.flush()
        assert owner.stats()["files"] == 0
        assert await run(owner, "count", include_deleted=True) == 0
        assert (await run(owner, "find"))["items"] == []
        assert await run(owner, "get", "m") is None
        await run(owner, "create", "a", {"email": "x"})
        await owner.flush()
        assert owner.stats()["file_rows"] == 1
        assert owner.stats()["seq"] == 2
    async with opened(store) as owner:
        assert (await run(owner, "schema"))["versions"] == [[1, 1, "permissive"]]
        assert await run(owner, "count") == 1


async def test_a_successor_of_a_dead_owner_holds_writes_to_the_schema(store: MemoryBackend) -> None:
    first = engine(store)
    await first.open()
    await register(first, USER, mode="strict")
    first.abandon()
    async with opened(store) as second:
        assert (await run(second, "schema"))["mode"] == "strict"
        assert (await refusal(second, "create", "a", {"email": "x", "z": 1})).field == "z"


async def test_nothing_is_registered_before_anything_is(owner: NamespaceEngine) -> None:
    assert await run(owner, "schema") is None


async def test_it_binds_from_its_place_among_the_writes(owner: NamespaceEngine) -> None:
    before, after = Operation("create", "a", {"email": 1}), Operation("create", "b", {"email": 1})
    made, registered, refused = await owner.execute([before, schema_arguments.register("posts", USER), after])
    assert (made.error, registered.seq) == (None, 2)
    assert refused.error is not None


@pytest.mark.parametrize("restart", [False, True])
async def test_a_repeated_registration_is_answered_not_repeated(lives: Lives, restart: bool) -> None:
    first = await registering(lives.owner, USER, request_id="r")
    await register(lives.owner, {**USER, "more": "int"})
    owner = await lives.go("restart") if restart else lives.owner
    again = await registering(owner, USER, request_id="r")
    assert (again.value, again.seq, again.duplicate) == (first.value, 1, True)
    assert (await run(owner, "schema"))["version"] == 2


async def test_the_schema_in_force_registered_again_is_no_write(owner: NamespaceEngine) -> None:
    first = await register(owner, USER)
    assert await register(owner, USER) == first
    assert owner.stats()["seq"] == 1


async def test_versions_are_listed_with_their_seq_and_a_refused_one_changes_nothing(lives: Lives) -> None:
    await register(lives.owner, USER)
    await run(lives.owner, "create", "a", {"email": "x", "age": 1})
    await register(lives.owner, {**USER, "age": "float"})
    error = (await registering(lives.owner, {"email": "int!", "age": "int"})).error
    assert isinstance(error, SchemaMismatchError)
    assert error.reasons == [
        "email: string cannot become int",
        "age: float or null cannot become int or null",
        "role: a declared field cannot be removed",
    ]
    for how in HOWS:
        owner = await lives.go(how)
        found = await run(owner, "schema")
        assert found["versions"] == [[1, 1, "permissive"], [2, 3, "permissive"]]
        assert await run(owner, "update", "a", {"$set": {"age": 1.5}})


async def test_warn_lets_through_counts_and_logs(owner: NamespaceEngine, caplog: pytest.LogCaptureFixture) -> None:
    await register(owner, USER, mode="warn")
    with caplog.at_level(logging.WARNING, "parquedb"):
        await owner.execute([Operation("create", id_, {"email": 1}) for id_ in "abc"])
    assert await run(owner, "count") == 3
    assert owner.stats()["schema_violations"] == 3
    [record] = caplog.records
    assert record.getMessage() == (
        "namespace posts: 3 documents are not as version 1 of the schema says; "
        "'a': invalid value of 'email': expected string, got int"
    )


async def test_validate_existing_names_the_document_in_the_way(lives: Lives) -> None:
    await run(lives.owner, "create", "a", {"email": "x"})
    await run(lives.owner, "create", "b", {"email": 1})
    for how in HOWS:
        owner = await lives.go(how)
        error = (await registering(owner, USER, validate_existing=True)).error
        assert isinstance(error, ValidationError)
        assert error.message == (
            "the existing document 'posts/b' is not as declared: invalid value of 'email': expected string, got int"
        )
        assert await run(owner, "schema") is None
    await run(owner, "delete", "b", hard=True)
    assert (await register(owner, USER, validate_existing=True))["version"] == 1


async def test_a_mode_becomes_stricter_only_when_the_documents_were_looked_at(owner: NamespaceEngine) -> None:
    await register(owner, USER)
    await run(owner, "create", "a", {"email": "x", "z": 1})
    error = (await registering(owner, USER, mode="strict")).error
    assert isinstance(error, SchemaMismatchError)
    assert "mode: permissive cannot become strict" in error.message
    checked = (await registering(owner, USER, mode="strict", validate_existing=True)).error
    assert isinstance(checked, ValidationError)
    assert checked.field == "z"
    await run(owner, "update", "a", {"$unset": {"z": ""}})
    assert (await register(owner, USER, mode="strict", validate_existing=True))["mode"] == "strict"


async def test_a_write_between_the_look_and_the_registration_is_noticed(owner: NamespaceEngine) -> None:
    looked = schema_arguments.register("posts", USER, validate_existing=True)
    write = Operation("create", "a", {"email": 1})
    made, registered = await owner.execute([write, looked])
    assert made.error is None
    assert isinstance(registered.error, ConflictError)
    assert registered.error.code is ErrorCode.CONCURRENT_MODIFICATION
    assert await run(owner, "schema") is None


async def test_documents_from_before_may_be_deleted_and_restored(owner: NamespaceEngine) -> None:
    await run(owner, "create", "a", {"email": 1})
    await register(owner, USER)
    assert await run(owner, "delete", "a") == 1
    assert (await run(owner, "restore", "a"))["email"] == 1
    assert (await refusal(owner, "update", "a", {"$set": {"age": 1}})).field == "email"


def creates(*bodies: dict[str, Any], first: int = 1) -> list[Operation]:
    return [
        Operation("create", None, body, {}, SessionRequest(SESSION, seq, 1, 0), None, 5.0, size=50)
        for seq, body in enumerate(bodies, first)
    ]


async def over_the_wire(owner: NamespaceEngine, operations: list[Operation]) -> list[Outcome]:
    """Return what a client makes of the answers to operations that it sends together."""
    received = decode_operations(encode_operations(operations))
    assert [operation.kind for operation in received] == ["creates"]
    answers = await owner.execute(received)
    outcomes, _ = decode_outcomes(encode_outcomes(received, answers, 0.0, echoes=not owner.fills_in))
    return [whole(operation, one) for operation, one in zip(operations, outcomes, strict=True)]


@pytest.mark.parametrize("restart", [False, True])
async def test_creates_that_travel_together_are_judged_one_by_one(lives: Lives, restart: bool) -> None:
    await register(lives.owner, USER)
    good, bad, other = await over_the_wire(
        lives.owner, creates({"email": "x"}, {"email": 1}, {"email": "y", "age": 3, "role": "admin"})
    )
    assert isinstance(bad.error, ValidationError)
    assert (good.value["role"], other.value["role"]) == ("user", "admin")
    assert (good.seq, other.seq) == (2, 3)
    owner = await lives.go("restart") if restart else lives.owner
    id_ = good.value["$id"].partition("/")[2]
    assert await run(owner, "get", id_) == good.value
    again = await outcome(owner, "create", None, {"email": "x"}, request=SessionRequest(SESSION, 1, 1, 0), age_s=1.0)
    assert (again.value, again.duplicate) == (good.value, True)
    assert await run(owner, "count") == 2


async def test_creates_with_nothing_to_fill_in_or_refuse_stay_as_they_came(owner: NamespaceEngine) -> None:
    await register(owner, {"email": "string!"})
    outcomes = await over_the_wire(owner, creates({"email": "x"}, {"email": "y"}))
    assert [one.value["email"] for one in outcomes] == ["x", "y"]
    assert len(owner._data.active.packed()) == 2


async def test_a_replace_over_the_wire_comes_back_with_what_was_filled_in(owner: NamespaceEngine) -> None:
    await register(owner, USER)
    await run(owner, "create", "a", {"email": "x"})
    operation = Operation("replace", "a", {"email": "y"}, {}, None, None, 5.0)
    answers = await owner.execute([operation])
    outcomes, _ = decode_outcomes(encode_outcomes([operation], answers, 0.0, echoes=not owner.fills_in))
    assert whole(operation, outcomes[0]).value["role"] == "user"


async def tables(store: MemoryBackend) -> list[pa.Table]:
    keys = [info.key for info in (await store.list("")).objects if info.key.endswith(".parquet")]
    return [pq.read_table(pa.BufferReader(await store.read(key))) for key in keys]


async def test_declared_fields_have_their_columns_and_odd_numbers_come_back_exactly(store: MemoryBackend) -> None:
    schema = {"price": "decimal(10,2)", "score": "float", "home": {"zip": "string"}, "tags": "string[]"}
    bodies: list[dict[str, Any]] = [
        {"price": Decimal("1.50"), "score": 1.5, "home": {"zip": "1"}, "tags": ["a"]},
        {"price": Decimal("2.5"), "score": 2},
        {"price": 3, "score": 2**60},
        {"price": Decimal("-0.00"), "score": None},
    ]
    async with opened(store) as owner:
        await register(owner, schema)
        made = [await run(owner, "create", str(at), body) for at, body in enumerate(bodies)]
        await owner.flush()
    [table] = await tables(store)
    assert table.schema.field("price").type == pa.decimal128(10, 2)
    assert table.schema.field("score").type == pa.float64()
    assert duckdb.sql("select price, score from table_ order by 1", connection=connected(table)).fetchall() == [
        (Decimal("0.00"), None),
        (Decimal("1.50"), 1.5),
        (Decimal("2.50"), 2.0),
        (Decimal("3.00"), None),
    ]
    async with opened(store) as owner:
        for at, document in enumerate(made):
            found = await run(owner, "get", str(at))
            assert found == document
            assert [(type(found[name]), str(found[name])) for name in ("price", "score")] == [
                (type(document[name]), str(document[name])) for name in ("price", "score")
            ]
        for filter_, count in [
            ({"price": {"$gt": Decimal("1.5")}}, 2),
            ({"price": {"$gte": 1.5}}, 3),
            ({"price": 2.5}, 1),
            ({"score": {"$gt": 1.9}}, 2),
            ({"score": 2}, 1),
        ]:
            assert await run(owner, "count", filter=filter_) == count, filter_


def connected(table: pa.Table) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.register("table_", table)
    return connection


async def test_files_from_before_and_after_a_widening_are_read_together(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await register(owner, {"n": "int", "d": "decimal(6,2)"})
        await run(owner, "create", "a", {"n": 1, "d": Decimal("1.50")})
        await owner.flush()
        await register(owner, {"n": "float", "d": "decimal(8,3)"})
        await run(owner, "create", "b", {"n": 2.5, "d": Decimal("1.125")})
        await owner.flush()
        assert await run(owner, "count", filter={"n": {"$gt": 0}}) == 2
        assert await run(owner, "count", filter={"d": {"$lt": Decimal("1.5")}}) == 1
        found = (await run(owner, "find"))["items"]
        assert [(type(one["n"]), one["n"], str(one["d"])) for one in found] == [(int, 1, "1.50"), (float, 2.5, "1.125")]
        await owner.compact()
        assert (await run(owner, "find"))["items"] == found
    older, newer, merged = sorted(await tables(store), key=len)
    together = pa.concat_tables([one.select(["n", "d"]) for one in (older, newer)], promote_options="permissive")
    for table in (together, merged):
        assert duckdb.sql("select n, d from table_ order by n", connection=connected(table)).fetchall() == [
            (1.0, Decimal("1.500")),
            (2.5, Decimal("1.125")),
        ]


class SlowFiles(DelegatingBackend):
    """Holds data files back until told to go on."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.waiting, self.go_on = asyncio.Event(), asyncio.Event()

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        if key.endswith(".parquet"):
            self.waiting.set()
            await self.go_on.wait()
        return await self.inner.create(key, data, timeout_s=timeout_s)


async def test_a_schema_registered_while_a_flush_runs_keeps_its_columns(store: MemoryBackend) -> None:
    slow = SlowFiles(store)
    async with opened(slow) as owner:
        await run(owner, "create", "a", {"n": 1})
        flushing = asyncio.ensure_future(owner.flush())
        await slow.waiting.wait()
        await register(owner, {"price": "decimal(5,2)"})
        slow.go_on.set()
        await flushing
        await run(owner, "create", "b", {"price": Decimal("1.5")})
        await owner.flush()
    [price] = [table.schema.field("price") for table in await tables(store) if "price" in table.schema.names]
    assert price.type == pa.decimal128(5, 2)

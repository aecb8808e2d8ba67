"""What an owner lets through: attacked at the actor itself, past everything that a client would check first."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from parquedb.access.grants import GrantKeys, narrow, put_before, sign
from parquedb.access.permissions import ALL, Permissions
from parquedb.actors.host.namespace_actor import NamespaceActor
from parquedb.actors.requests.operations import INSERT_ARROW, Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import decode_outcomes, encode_operations
from parquedb.errors import (
    AuthenticationRequiredError,
    ConfigurationError,
    EntityNotFoundError,
    PermissionDeniedError,
    TokenExpiredError,
)
from parquedb.observability.testing import RecordingHook
from parquedb.settings.environment import load_settings
from tests.support.chain import read_history

KEY = "k" * 32
KEYS = GrantKeys("db", (KEY,))
SESSION = b"s" * 16


def grant(*entries: str, database: str = "db", key: str = KEY, lasts_s: float = 60) -> str:
    return sign(key, database, Permissions(entries), time.time() + lasts_s)


# It is made when the tests are collected, which may be long before they run.
EVERYTHING = grant(ALL, lasts_s=86_400)


def settings_for(url: str, **access: Any) -> Any:
    return load_settings(url, access={"required": True} | access, engine={"read_lease_s": 0.05})


@pytest.fixture
async def actor() -> AsyncIterator[NamespaceActor]:
    host = NamespaceActor(settings_for(f"memory://{uuid.uuid4().hex}"), "posts", keys=KEYS)
    yield host
    await host.close()


def payload(operations: list[Operation], shown: str | None) -> bytes:
    encoded = encode_operations(operations)
    return encoded if shown is None else put_before(encoded, shown)


async def packed(host: NamespaceActor, operations: list[Operation], shown: str | None) -> list[Outcome]:
    return decode_outcomes(await host.execute_packed(payload(operations, shown)))[0]


def new(number: int) -> Operation:
    """A create that leaves joined with its neighbours."""
    return Operation("create", body={"n": number}, request=SessionRequest(SESSION, number, 1, 0), size=20)


BAD = {
    "none": (None, AuthenticationRequiredError),
    "forged": (grant(ALL, key="f" * 32), AuthenticationRequiredError),
    "truncated": (EVERYTHING[:-4], AuthenticationRequiredError),
    "of another database": (grant(ALL, database="other"), AuthenticationRequiredError),
    "longer than it says": (EVERYTHING + "A", AuthenticationRequiredError),
    "ended": (grant(ALL, lasts_s=-60), TokenExpiredError),
}


@pytest.mark.parametrize("why", BAD)
async def test_without_a_valid_grant_nothing_is_answered_and_nothing_is_opened(why: str, actor: NamespaceActor) -> None:
    shown, error = BAD[why]
    calls: list[Any] = [
        lambda: actor.execute_packed(payload([Operation("get", "a")], shown)),
        lambda: actor.execute([{"op": "get", "id": "a"}], grant=shown),
        lambda: actor.create({}, id="a", grant=shown),
        lambda: actor.schema(grant=shown),
        *(
            lambda method=method: getattr(actor, method)(grant=shown)
            for method in (
                "activate",
                "flush",
                "compact",
                "stats",
                "metrics",
                "hook_stats",
                "survey",
                "find",
                "changes",
            )
        ),
    ]
    for call in calls:
        with pytest.raises(error) as caught:
            await call()
        assert shown is None or str(shown) not in str(caught.value)
    assert (await actor.health())["state"] == "idle"


async def test_what_a_probe_asks_needs_no_grant(actor: NamespaceActor) -> None:
    assert await actor.ping() == "posts"
    assert (await actor.health())["grants_required"] is True
    assert (await actor.circuit_health()).healthy
    await actor.close()


METHODS: dict[str, Any] = {
    "create": lambda host, g: host.create({}, grant=g),
    "create_many": lambda host, g: host.create_many([{}], grant=g),
    "get": lambda host, g: host.get("a", grant=g),
    "exists": lambda host, g: host.exists("a", grant=g),
    "find": lambda host, g: host.find(grant=g),
    "count": lambda host, g: host.count(grant=g),
    "find_one": lambda host, g: host.find_one(grant=g),
    "distinct": lambda host, g: host.distinct("n", grant=g),
    "explain": lambda host, g: host.explain(grant=g),
    "aggregate": lambda host, g: host.aggregate([], grant=g),
    "update": lambda host, g: host.update("a", {"$set": {"n": 1}}, grant=g),
    "replace": lambda host, g: host.replace("a", {}, grant=g),
    "delete": lambda host, g: host.delete("a", grant=g),
    "restore": lambda host, g: host.restore("a", grant=g),
    "batch": lambda host, g: host.batch([], grant=g),
    "register": lambda host, g: host.register({"n": "int"}, grant=g),
    "schema": lambda host, g: host.schema(grant=g),
    "history": lambda host, g: host.history("a", grant=g),
    "changes": lambda host, g: host.changes(grant=g),
    "update_many": lambda host, g: host.update_many({}, {"$set": {"n": 1}}, grant=g),
    "upsert": lambda host, g: host.upsert({"n": 1}, {"$set": {"n": 1}}, grant=g),
    "delete_many": lambda host, g: host.delete_many({}, grant=g),
    "flush": lambda host, g: host.flush(grant=g),
    "compact": lambda host, g: host.compact(grant=g),
    "stats": lambda host, g: host.stats(grant=g),
    "metrics": lambda host, g: host.metrics(grant=g),
}
FREE = {"ping", "health", "circuit_health", "close"}
ELSEWHERE = {"execute", "execute_packed", "activate", "hook_stats", "survey"}


def test_every_method_of_the_actor_is_free_on_purpose_or_tested_here() -> None:
    public = {name for name in dir(NamespaceActor) if not name.startswith("_")}
    assert public == METHODS.keys() | FREE | ELSEWHERE


@pytest.mark.parametrize("method", METHODS)
async def test_each_method_needs_its_own_permission_on_this_namespace(method: str, actor: NamespaceActor) -> None:
    others = [f"{name}:posts" for name in METHODS if name != method]
    for shown in (grant(*others), grant(f"{method}:other"), narrow(grant(ALL), Permissions(others), time.time() + 60)):
        with pytest.raises(PermissionDeniedError, match=f"^{method} on 'posts' is not allowed$"):
            await METHODS[method](actor, shown)
    try:
        await METHODS[method](actor, grant(f"{method}:posts"))
    except EntityNotFoundError:
        assert method in {"update", "replace", "restore"}


async def test_a_denied_operation_is_refused_for_itself_and_the_others_of_its_call_go_on(actor: NamespaceActor) -> None:
    shown = grant("create:posts", "get:posts")
    outcomes = await packed(
        actor, [new(1), Operation("delete", "x", request="d"), new(2), Operation("get", "x"), Operation("find")], shown
    )
    assert [type(each.error).__name__ for each in outcomes] == [
        "NoneType",
        "PermissionDeniedError",
        "NoneType",
        "NoneType",
        "PermissionDeniedError",
    ]
    assert [each.seq for each in outcomes[:3:2]] == [1, 2]
    answers = await actor.execute(
        [{"op": "create", "data": {}}, {"op": "delete", "id": "x"}, {"op": "create", "data": {}}], grant=shown
    )
    assert [each["ok"] for each in answers] == [True, False, True]
    assert answers[1]["error"]["code"] == "PERMISSION_DENIED"
    assert await actor.count(grant=EVERYTHING) == 4


async def test_a_denied_run_leaves_nothing_behind_and_may_be_sent_again(actor: NamespaceActor) -> None:
    run = [new(number) for number in range(1, 6)]
    outcomes = await packed(actor, run, grant("read:posts"))
    assert [type(each.error) for each in outcomes] == [PermissionDeniedError] * 5
    assert await actor.count(grant=EVERYTHING) == 0
    outcomes = await packed(actor, run, grant("create:posts"))
    assert [each.seq for each in outcomes] == [1, 2, 3, 4, 5]


async def test_what_travels_in_a_batch_is_looked_at(actor: NamespaceActor) -> None:
    delete = Operation("delete", "a", options={"hard": True}).to_wire()
    register = Operation("register", body={}).to_wire()
    create = Operation("create", "a", {"n": 1}).to_wire()
    for hidden in (delete, register, "creates12", [["create"], 2, 3, 4, 5, 6, 7, 8, 9]):
        [outcome] = await packed(
            actor, [Operation("batch", body=[create, hidden], request="b")], grant("batch:*", "create:*")
        )
        assert isinstance(outcome.error, PermissionDeniedError)
    assert await actor.get("a", grant=EVERYTHING) is None


async def test_no_write_by_filter_or_load_inserts_for_who_may_not_create(actor: NamespaceActor) -> None:
    ops = {"$set": {"n": 1}}
    attacks = [
        Operation("update", "a", ops, {"upsert": True}, "r1"),
        Operation("update_many", None, ops, {"filter": {"n": 7}, "upsert": True}, "r2"),
        Operation("upsert", None, ops, {"filter": {"n": 7}}, "r3"),
        Operation(INSERT_ARROW, None, {"ipc": b""}, {}, "r4"),
        Operation(INSERT_ARROW, None, {"ipc": b""}, {"method": "create_many"}, "r5"),
    ]
    shown = grant("update:posts", "update_many:posts", "delete:posts", "read:posts")
    assert [type(each.error) for each in await packed(actor, attacks, shown)] == [PermissionDeniedError] * 5
    assert await actor.count(grant=EVERYTHING) == 0


async def test_the_pin_of_a_snapshot_needs_the_permission_to_take_one(actor: NamespaceActor) -> None:
    token = "0" * 32
    asked = [Operation("snapshot"), Operation("pin", body=[token, ["data/x"]]), Operation("unpin", body=token)]
    assert all(isinstance(each.error, PermissionDeniedError) for each in await packed(actor, asked, grant("get:posts")))
    assert not actor._engine or not actor._engine._past.pins.keys()
    assert all(each.error is None for each in await packed(actor, asked, grant("snapshot:posts")))


async def test_who_may_do_nothing_here_cannot_make_it_open(actor: NamespaceActor) -> None:
    for call in (
        actor.activate(grant("*:other")),
        actor.get("a", grant=grant("*:other")),
        actor.flush(grant=grant("read:posts")),
    ):
        with pytest.raises(PermissionDeniedError):
            await call
    assert (await actor.health())["state"] == "idle"
    assert (await actor.activate(grant("get:posts")))["epoch"] >= 0


async def test_hooks_hear_of_a_denied_operation_as_an_error_and_it_is_counted() -> None:
    heard = RecordingHook()
    host = NamespaceActor(settings_for(f"memory://{uuid.uuid4().hex}"), "posts", keys=KEYS)
    host._hooks.register_hook(heard)
    try:
        await packed(host, [new(1), new(2), Operation("delete", "x", request="d")], grant("delete:posts"))
        with pytest.raises(AuthenticationRequiredError):
            await host.get("a")
        await host._hooks.drain()
        errors = [record for record in heard.records if record.callback == "on_mutation_error"]
        assert len(errors) == 1
        assert "create on 'posts' is not allowed" in str(errors)
        counted = {
            key.operation: each.errors for key, each in (await host.metrics(grant=EVERYTHING)).operations.items()
        }
        assert counted["create"] == {"PermissionDeniedError": 2}
        assert not counted["delete"]
        assert counted["execute"] == {"AuthenticationRequiredError": 1}
    finally:
        await host.close()


async def test_a_grant_that_ends_while_it_is_in_use_is_refused(
    actor: NamespaceActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = grant("get:posts")
    assert await actor.get("a", grant=shown) is None
    now = time.time
    monkeypatch.setattr(actor._door._verifier, "_now", lambda: now() + 200)
    with pytest.raises(TokenExpiredError):
        await actor.get("a", grant=shown)


async def test_the_next_owner_asks_as_well(tmp_path: Path) -> None:
    settings = settings_for(str(tmp_path))
    first = NamespaceActor(settings, "posts", keys=KEYS)
    await first.create({}, id="a", grant=EVERYTHING)
    second = NamespaceActor(settings, "posts", keys=KEYS)
    for shown in (None, grant("*:other")):
        with pytest.raises((AuthenticationRequiredError, PermissionDeniedError)):
            await second.activate(shown)
    assert (await first.get("a", grant=EVERYTHING))["version"] == 1
    await second.activate(grant("get:posts"))
    assert (await second.get("a", grant=grant("get:posts")))["version"] == 1
    with pytest.raises(PermissionDeniedError):
        await second.delete("a", grant=grant("get:posts"))
    await second.close()
    kinds = [entry.header.kind for entry in (await read_history(settings, "posts")).entries]
    assert kinds == ["open", "write", "open", "close"]


async def test_an_owner_that_requires_nothing_looks_at_no_grant() -> None:
    host = NamespaceActor(load_settings("memory://open"), "posts")
    assert (await host.create({}, grant="rubbish"))["version"] == 1
    assert (await host.health())["grants_required"] is False
    await host.close()


def test_an_owner_without_a_key_does_not_start_where_grants_are_required() -> None:
    with pytest.raises(ConfigurationError, match="has a key of grants"):
        NamespaceActor(settings_for("memory://x"), "posts")


async def test_what_the_node_says_counts_for_more_than_the_client_that_starts_the_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    careless = load_settings("memory://careless")
    monkeypatch.setenv("PARQUEDB_ACCESS__REQUIRED", "true")
    monkeypatch.setenv("PARQUEDB_ACCESS__KEYS", "n" * 32)
    host = NamespaceActor(careless, "posts", keys=GrantKeys("db", ("client-key" * 4,)))
    for shown in (None, grant(ALL, key="client-key" * 4)):
        with pytest.raises(AuthenticationRequiredError):
            await host.create({}, grant=shown)
    assert (await host.create({}, grant=grant(ALL, key="n" * 32)))["version"] == 1
    await host.close()
    monkeypatch.setenv("PARQUEDB_ACCESS__KEYS", "short")
    with pytest.raises(ConfigurationError, match="of this node") as caught:
        NamespaceActor(careless, "posts")
    assert "short" not in repr(caught.value)
    assert caught.value.__context__ is None


async def test_grants_are_verified_in_many_calls_at_once(actor: NamespaceActor) -> None:
    shown = [grant(f"create:{'posts' if number % 2 else 'other'}") for number in range(100)]
    answers = await asyncio.gather(*(actor.create({}, grant=each) for each in shown), return_exceptions=True)
    assert [isinstance(each, PermissionDeniedError) for each in answers] == [True, False] * 50
    assert await actor.count(grant=EVERYTHING) == 50


@pytest.mark.parametrize("cut", [b"g", b"g\0", b"g\xff\xffpqg1.", b"g\0\0", b"g\0\x05pqg1.", b"g\0\2\xff\xfe", b""])
async def test_half_a_grant_in_front_of_a_call_is_none(cut: bytes, actor: NamespaceActor) -> None:
    for call in (cut, cut + encode_operations([Operation("get", "a")])):
        with pytest.raises(AuthenticationRequiredError):
            await actor.execute_packed(call)

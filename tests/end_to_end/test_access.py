"""Permissions on a real Ray: whoever calls, and whatever way, the owner asks for a grant."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

import parquedb
from parquedb.access.grants import put_before, sign
from parquedb.access.permissions import ALL, Permissions
from parquedb.actors.requests.operations import Operation
from parquedb.actors.requests.packing import decode_outcomes, encode_operations
from parquedb.cluster.client.views import VIEWS_MAX
from parquedb.cluster.runtime.naming import database_name
from parquedb.cluster.runtime.placement import find
from parquedb.cluster.transport.calls import wait_for
from parquedb.errors import (
    AuthenticationRequiredError,
    PermissionDeniedError,
    RpcUnavailableError,
    TokenExpiredError,
)

KEY, NEXT_KEY = "k" * 32, "n" * 32
REQUIRED = {"required": True, "keys": [KEY]}


@pytest.fixture
def db(ray_cluster: str, tmp_path: Path) -> Iterator[parquedb.Database]:
    with parquedb.connect(tmp_path / "data", access=REQUIRED) as database:
        yield database
        for namespace in database.namespaces():
            owner = find(database.settings, namespace)
            if owner is not None:
                ray.kill(owner)


def reply(call: Any) -> Any:
    return wait_for(call, "posts", 30)


def test_who_holds_the_key_needs_nothing_else(db: parquedb.Database) -> None:
    posts = db["posts"]
    assert posts.create({"n": 1}, id="a")["version"] == 1
    assert posts.insert_arrow(pa.table({"n": list(range(200_000))})) == 200_000
    assert len(posts.create_many([{"n": -1}] * 5_000)) == 5_000
    with posts.snapshot() as snapshot:
        assert snapshot.count() == 205_001
    posts.compact()
    assert posts.stats()["state"] == "open"
    assert db.metrics().unreachable == {}
    assert db.health().owners["posts"].report["grants_required"] is True


def test_who_has_neither_key_nor_grant_is_refused(db: parquedb.Database) -> None:
    db["posts"].create({}, id="a")
    with parquedb.connect(db.url) as stranger:
        for call in (
            lambda: stranger.get("posts", "a"),
            lambda: stranger.create("posts", {}),
            lambda: stranger.flush("posts"),
            lambda: stranger.snapshot("posts"),
            lambda: stranger.insert_arrow("posts", pa.table({"n": [1]})),
            lambda: reply(stranger["posts"].actor.get.remote("a")),
        ):
            with pytest.raises(AuthenticationRequiredError):
                call()
        assert "posts" in stranger.metrics().unreachable
        assert stranger.health().status == "healthy"
    assert db["posts"].count() == 1


def test_who_has_no_key_cannot_start_an_owner_where_grants_are_required(ray_cluster: str, tmp_path: Path) -> None:
    keyless = parquedb.connect(tmp_path, access={"required": True})
    with keyless, pytest.raises(RpcUnavailableError, match="has a key of grants"):
        keyless.get("posts", "a")
    with parquedb.connect(tmp_path, access=REQUIRED) as database:
        assert database.create("posts", {})["version"] == 1
        ray.kill(find(database.settings, "posts"))


def test_a_client_with_a_grant_may_do_what_it_says(db: parquedb.Database) -> None:
    db.create("posts", {}, id="a")
    with parquedb.connect(db.url, grant=db.issue_grant(["read:posts", "create:posts"])) as other:
        assert other.get("posts", "a")["version"] == 1
        assert other.create("posts", {})["version"] == 1
        with pytest.raises(PermissionDeniedError, match="delete on 'posts'"):
            other.delete("posts", "a")
        with pytest.raises(PermissionDeniedError):
            other.get("users", "a")
        with pytest.raises(PermissionDeniedError):
            other.namespaces()


def past_the_client(db: parquedb.Database, operation: Operation, grant: str) -> Any:
    """Ask the owner itself, as whoever can reach it may."""
    payload = put_before(encode_operations([operation]), grant)
    [outcome], _ = decode_outcomes(reply(db["posts"].actor.execute_packed.remote(payload)))
    return outcome.result()


def test_the_owner_counts_whatever_the_client_would_let_pass(db: parquedb.Database) -> None:
    db.create("posts", {}, id="a")
    shown = db.issue_grant(["read:*"])
    with pytest.raises(PermissionDeniedError):
        past_the_client(db, Operation("delete", "a", request="x"), shown)
    with pytest.raises(PermissionDeniedError):
        reply(db["posts"].actor.update.remote("a", {"$set": {"n": 1}}, grant=shown))
    with pytest.raises(PermissionDeniedError):
        reply(db["posts"].actor.flush.remote(shown))
    elsewhere = sign(KEY, "parquedb:0123:", Permissions([ALL]), time.time() + 60)
    with pytest.raises(AuthenticationRequiredError, match="another database"):
        past_the_client(db, Operation("get", "a"), elsewhere)
    ended = sign(KEY, database_name(db.settings), Permissions([ALL]), time.time() - 60)
    with pytest.raises(TokenExpiredError):
        past_the_client(db, Operation("get", "a"), ended)
    assert past_the_client(db, Operation("get", "a"), shown)["version"] == 1


def test_a_client_whose_own_checks_were_taken_out_is_refused_by_the_owner(db: parquedb.Database) -> None:
    db.create("posts", {}, id="a")
    view = db.acting_for(["read:posts"])
    view._link("posts")._permits = None
    with pytest.raises(PermissionDeniedError):
        view.delete("posts", "a")
    with pytest.raises(PermissionDeniedError):
        view.create("posts", {})
    assert view.get("posts", "a")["version"] == 1
    assert db["posts"].count() == 1


def test_a_denied_operation_does_not_travel(db: parquedb.Database) -> None:
    view = db.acting_for(["read:posts"])
    with pytest.raises(PermissionDeniedError):
        view.create("posts", {})
    assert find(db.settings, "posts") is None
    [counted] = [each for key, each in db.metrics().operations.items() if key.operation == "create"]
    assert counted.errors == {"PermissionDeniedError": 1}


def test_an_owner_that_comes_back_after_a_crash_still_asks(db: parquedb.Database) -> None:
    db.create("posts", {}, id="a")
    view = db.acting_for(["get:posts"])
    assert view.get("posts", "a")["version"] == 1
    os.kill(db["posts"].stats()["pid"], signal.SIGKILL)
    assert view.get("posts", "a")["version"] == 1
    with parquedb.connect(db.url) as stranger, pytest.raises(AuthenticationRequiredError):
        stranger.get("posts", "a")
    with pytest.raises(PermissionDeniedError):
        past_the_client(db, Operation("delete", "a", request="x"), view.issue_grant([ALL]))
    assert db.create("posts", {})["version"] == 1


@ray.remote(num_cpus=0)
def tried(database: parquedb.Database) -> list[str]:
    """What a task may do with the database it was given."""
    told = []
    for call in (lambda: database.get("posts", "a"), lambda: database.create("posts", {"by": "task"})):
        try:
            told.append(str(call()["version"]))
        except PermissionDeniedError:
            told.append("denied")
    return told


def test_a_database_that_was_pickled_may_do_no_more_than_before(db: parquedb.Database) -> None:
    db.create("posts", {}, id="a")
    grant = db.issue_grant(["get:posts"])
    with (
        parquedb.connect(db.url, grant=grant) as given,
        parquedb.connect(db.url, access=REQUIRED, permissions=["read:*"]) as limited,
    ):
        asked = [db, given, limited, db.acting_for(["read:posts"]), given.acting_for([ALL])]
        # One after the other, in whatever worker is free: what one brought along must not help the next.
        answers = [ray.get(tried.remote(database)) for database in asked]
    assert answers == [["1", "1"], *[["1", "denied"]] * 4]


def test_a_large_create_many_needs_that_permission_alone_and_stores_nothing_without_it(db: parquedb.Database) -> None:
    docs = [{"n": number} for number in range(5_000)]
    assert len(db.acting_for(["create_many:posts"]).create_many("posts", docs)) == 5_000
    stored = sorted(Path(db.url).rglob("*.parquet"))
    for call in (
        lambda: db.acting_for(["create:posts", "read:posts"]).create_many("posts", docs),
        lambda: db.acting_for(["create_many:posts"]).insert_arrow("posts", pa.table({"n": [1]})),
        lambda: db.acting_for(["read:posts"]).insert_arrow("posts", pa.table({"n": list(range(200_000))})),
    ):
        with pytest.raises(PermissionDeniedError):
            call()
    assert db["posts"].count() == 5_000
    assert sorted(Path(db.url).rglob("*.parquet")) == stored


def test_keys_are_changed_by_owners_that_take_both(db: parquedb.Database) -> None:
    db.create("posts", {}, id="a")
    ray.kill(find(db.settings, "posts"))
    with parquedb.connect(db.url, access={"required": True, "keys": [NEXT_KEY, KEY]}) as rotated:
        assert rotated.get("posts", "a")["version"] == 1
        assert db.get("posts", "a")["version"] == 1
        ray.kill(find(db.settings, "posts"))
    with parquedb.connect(db.url, access={"required": True, "keys": [NEXT_KEY]}) as rotated:
        assert rotated.get("posts", "a")["version"] == 1
        with pytest.raises(AuthenticationRequiredError):
            db.get("posts", "a")


async def test_views_act_for_many_and_the_owner_remembers_one_session(db: parquedb.Database) -> None:
    count = VIEWS_MAX + 50
    async with await parquedb.connect_async(db.url, access=REQUIRED) as adb:
        views = [adb.acting_for([f"create:p{number}", "create:posts"]) for number in range(count)]
        created = await asyncio.gather(*(view.create("posts", {}) for view in views))
        assert len({each["$id"] for each in created}) == count
        for view in views:
            await view.create("posts", {})
        assert await adb["posts"].count() == 2 * count
        assert (await adb.stats("posts"))["sessions"] <= 2
        assert len(adb._views) == VIEWS_MAX
        refused = await asyncio.gather(*(view.get("posts", "a") for view in views), return_exceptions=True)
        assert all(isinstance(each, PermissionDeniedError) for each in refused)


async def test_views_write_at_once_and_lose_nothing(db: parquedb.Database) -> None:
    async with await parquedb.connect_async(db.url, access=REQUIRED) as adb:
        await adb.create("posts", {"n": 0}, id="a")
        views = [adb.acting_for([f"write:{name}", "write:posts", "get:posts"]) for name in "abcdefgh"]
        work = [view.update("posts", "a", {"$inc": {"n": 1}}) for view in views for _ in range(50)]
        work += [view.create("posts", {}) for view in views for _ in range(50)]
        await asyncio.gather(*work)
        document = await views[0].get("posts", "a")
        assert document is not None
        assert (document["n"], document["version"]) == (400, 401)
        assert await adb["posts"].count() == 401


def test_without_grants_a_view_still_checks(ray_cluster: str, tmp_path: Path) -> None:
    with parquedb.connect(tmp_path) as database:
        view = database.acting_for(["read:posts"])
        with pytest.raises(PermissionDeniedError):
            view.create("posts", {})
        assert view.get("posts", "a") is None
        assert find(database.settings, "posts") is not None
        ray.kill(find(database.settings, "posts"))

"""The whole through Ray: client, actor, engine, store."""

import asyncio
import os
import pickle
import re
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import parquedb
from parquedb.errors import (
    AlreadyExistsError,
    EntityNotFoundError,
    FencedError,
    InvalidInputError,
    InvalidPathError,
    ParqueDBError,
    ValidationError,
    VersionConflictError,
)
from tests.support.chain import read_history
from tests.support.s3_servers import S3Server

QUICK = {"read_lease_s": 0.05}


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The arguments of `connect` for a new database."""
    if request.param == "local":
        return {"url": str(tmp_path / "db"), "engine": QUICK}
    weed: S3Server = request.getfixturevalue("weed")
    prefix = request.getfixturevalue("unique_prefix")
    credentials = {"endpoint_url": weed.endpoint_url, "key": weed.key, "secret": weed.secret}
    return {"url": f"s3://{weed.bucket}/{prefix}", "engine": QUICK, **credentials}


@pytest.fixture
def connect(ray_cluster: str) -> Iterator[Callable[..., parquedb.Database]]:
    """`parquedb.connect`; actors that the test started are ended after it."""
    opened: list[parquedb.Database] = []

    def open_(**arguments: Any) -> parquedb.Database:
        opened.append(parquedb.connect(**arguments))
        return opened[-1]

    yield open_
    for database in opened:
        end_actors(database.settings)
        database.close()


def end_actors(settings: parquedb.Settings) -> None:
    from parquedb.cluster.runtime.placement import find, served_namespaces  # noqa: PLC0415 - imports Ray's half

    for namespace in served_namespaces(settings):
        ray.kill(find(settings, namespace))


@pytest.fixture
def db(connect: Callable[..., parquedb.Database], tmp_path: Path) -> parquedb.Database:
    return connect(url=str(tmp_path / "db"), engine=QUICK)


def test_the_sync_client_does_everything_on_every_store(
    connect: Callable[..., parquedb.Database], place: dict[str, Any]
) -> None:
    db = connect(**place)
    posts = db["posts"]
    first = posts.create({"title": "One", "n": 1}, id="a", actor="me")
    assert (first["$id"], first["version"], first["createdBy"]) == ("posts/a", 1, "me")
    assert posts.get("a") == db.get("posts", "posts/a") == first
    assert posts.exists("a")
    assert not posts.exists("b")
    assert posts.update("a", {"$inc": {"n": 1}}, expected_version=1)["n"] == 2
    assert posts.update("a", {"$inc": {"n": 1}}, return_document="before")["n"] == 2
    assert posts.replace("a", {"n": 10})["version"] == 4
    created = posts.create_many([{"$id": f"m{index}", "n": index} for index in range(7)])
    assert created == [f"posts/m{index}" for index in range(7)]
    page = posts.find({"n": {"$gte": 2}}, limit=2, total=True)
    assert [each["n"] for each in page.items] == [10, 2]
    assert page.has_more
    assert page.total == 6
    assert [each["n"] for each in page] == [10, 2, 3, 4, 5, 6]
    assert posts.find_one({"n": 5})["$id"] == "posts/m5"
    assert posts.count() == 8
    assert posts.delete("m0") == 1
    assert posts.delete("m0") == 0
    assert posts.get("m0") is None
    assert posts.get("m0", include_deleted=True)["deletedAt"] is not None
    assert posts.restore("m0")["n"] == 0
    values = posts.batch(
        [{"op": "update", "id": "a", "ops": {"$set": {"n": 0}}}, {"op": "delete", "id": "m1", "hard": True}]
    )
    assert values[0]["n"] == 0
    assert values[1] == 1
    tagged = {"t": [{"k": 1}, {"k": 2}]}
    assert db.upsert("posts", {"n": 3}, {"$set": tagged}).modified == 1
    chosen = {"array_filters": [{"i.k": {"$gte": 2}}]}
    assert posts.update("m3", {"$inc": {"t.$[i].k": 5}}, **chosen)["t"] == [{"k": 1}, {"k": 7}]
    assert posts.update_many({"t.k": 7}, {"$set": {"t.$.k": 2}}).modified == 1
    assert posts.batch([{"op": "update", "id": "m3", "ops": {"$inc": {"t.$[i].k": 5}}, **chosen}])[0]["t"][1] == {
        "k": 7
    }
    posts.flush()
    assert posts.stats()["files"] == 1
    assert posts.compact()["compactions"] == 0
    assert posts.get("m6")["n"] == 6
    assert posts.count({"n": 0}) == 2
    assert db.namespaces() == ["posts"]
    assert db.health().status == "healthy"


async def test_the_async_client_does_everything_on_every_store(ray_cluster: str, place: dict[str, Any]) -> None:
    async with await parquedb.connect_async(**place) as db:
        posts = db.collection("posts")
        created = await asyncio.gather(*(posts.create({"n": n}, id=f"d{n:03d}") for n in range(100)))
        assert {document["version"] for document in created} == {1}
        assert await db.count("posts") == 100
        assert [each["n"] async for each in posts.find({"n": {"$lt": 25}}, limit=10)] == list(range(25))
        page = await posts.find(limit=3, total=True)
        assert (len(page.items), page.total, page.has_more) == (3, 100, True)
        assert (await posts.update("d000", {"$set": {"n": -1}}))["version"] == 2
        assert (await posts.update_many({"n": 50}, {"$set": {"t": ["x", "y"]}})).modified == 1
        named = {"array_filters": [{"i": re.compile("^y")}]}
        assert (await posts.update("d050", {"$set": {"t.$[i]": "z"}}, **named))["t"] == ["x", "z"]
        assert (await posts.upsert({"t": "z"}, {"$pull": {"t": re.compile("^z")}})).modified == 1
        pushed = await posts.actor.update.remote("d050", {"$set": {"t.$[i]": 1}}, array_filters=[{"i": "x"}])
        assert pushed["t"] == [1]
        assert (await posts.get_or_raise("d000"))["n"] == -1
        with pytest.raises(EntityNotFoundError):
            await posts.get_or_raise("zzz")
        assert await posts.delete("d000") == 1
        assert (await posts.restore("d000"))["version"] == 4
        assert (await posts.replace("d000", {"n": 5}))["n"] == 5
        assert len(await posts.batch([{"op": "create", "data": {}}])) == 1
        refused = await posts.create_many([{"$id": "d001"}, {"$id": "new"}], ordered=False)
        assert isinstance(refused[0], AlreadyExistsError)
        assert refused[1] == "posts/new"
        assert await posts.find_one({"n": 7}) is not None
        assert await posts.exists("d001")
        await posts.flush()
        assert (await posts.stats())["state"] == "open"
        assert await db.namespaces() == ["posts"]
        assert (await db.health()).owners["posts"].state == "open"
        end_actors(db.settings)


def test_the_raw_handle_follows_the_same_rules(db: parquedb.Database) -> None:
    actor = db["posts"].actor
    ray.get(actor.create.remote({"n": 1}, id="a"))
    with pytest.raises(VersionConflictError) as conflict:
        ray.get(actor.update.remote("a", {"$set": {"n": 2}}, expected_version=9))
    assert (conflict.value.expected, conflict.value.actual) == (9, 1)
    with pytest.raises(ValidationError, match="data: expected a dict, got str"):
        ray.get(actor.create.remote("x"))
    answers = ray.get(actor.execute.remote([{"op": "get", "id": "a"}, {"op": "create", "id": "a", "data": {}}]))
    assert answers[0]["value"]["n"] == 1
    assert answers[1]["error"]["code"] == "ALREADY_EXISTS"
    assert db.get("posts", "a")["n"] == 1


def test_a_collection_can_be_passed_to_a_ray_task(db: parquedb.Database) -> None:
    @ray.remote(num_cpus=0)
    def write(posts: parquedb.Collection, database: parquedb.Database) -> tuple[int, bool]:
        posts.create({"from": "task"}, id="t")
        return database.count("posts"), posts._database is database

    assert ray.get(write.remote(db["posts"], db)) == (1, True)
    assert db.get("posts", "t")["from"] == "task"


def test_a_database_unpickles_as_itself_and_shows_no_secret(db: parquedb.Database) -> None:
    copy = pickle.loads(pickle.dumps(db["posts"]))
    copy.create({"n": 1}, id="a")
    assert db.get("posts", "a") is not None
    assert repr(db) == f"Database({db.url!r})"
    assert repr(copy) == f"Collection('posts' of {db.url!r})"


def test_a_pickled_database_works_in_a_task_though_the_pickle_holds_no_secret(
    connect: Callable[..., parquedb.Database], weed: S3Server, unique_prefix: str
) -> None:
    credentials = {"endpoint_url": weed.endpoint_url, "key": weed.key, "secret": weed.secret}
    db = connect(url=f"s3://{weed.bucket}/{unique_prefix}", engine=QUICK, **credentials)
    assert weed.secret.encode() not in pickle.dumps(db)

    @ray.remote
    def write(database: parquedb.Database) -> list[str]:
        # No owner runs yet: this process has to start one, and that one needs the secret.
        database.create("notes", {"from": "task"}, id="t")
        return database.namespaces()

    assert ray.get(write.remote(db)) == ["notes"]
    assert db.get("notes", "t") is not None


def test_of_many_concurrent_updates_at_one_version_exactly_one_wins(db: parquedb.Database) -> None:
    posts = db["posts"]
    posts.create({"n": 0}, id="a")
    outcomes: list[str] = []

    def update(number: int) -> None:
        try:
            posts.update("a", {"$set": {"n": number}}, expected_version=1)
            outcomes.append(f"won {number}")
        except VersionConflictError as error:
            outcomes.append(f"expected {error.expected} actual {error.actual}")

    threads = [threading.Thread(target=update, args=(number,)) for number in range(1, 33)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [outcome for outcome in outcomes if outcome.startswith("won")]
    assert len(won) == 1
    assert outcomes.count("expected 1 actual 2") == 31
    assert f"won {posts.get_or_raise('a')['n']}" == won[0]


def test_after_kill_9_of_the_owner_nothing_acknowledged_is_missing_or_doubled(db: parquedb.Database) -> None:
    posts = db["posts"]
    posts.create({"n": 0}, id="counter")
    pid = posts.stats()["pid"]
    acknowledged: list[str] = []
    halfway = threading.Barrier(5)

    def write(writer: int) -> None:
        for index in range(40):
            if index == 20:
                halfway.wait()
            acknowledged.append(posts.create({"w": writer}, id=f"{writer}-{index}")["$id"])
            posts.update("counter", {"$inc": {"n": 1}})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    halfway.wait()
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert posts.stats()["pid"] != pid
    assert len(acknowledged) == 160
    assert all(posts.exists(id_) for id_ in acknowledged)
    assert posts.get_or_raise("counter")["n"] == 160
    assert posts.count() == 161


async def test_the_async_client_survives_kill_9_of_the_owner(ray_cluster: str, tmp_path: Path) -> None:
    async with await parquedb.connect_async(str(tmp_path / "db"), engine=QUICK) as db:
        posts = db["posts"]
        await posts.create({"n": 0}, id="counter")
        pid = (await posts.stats())["pid"]

        async def write(writer: int) -> None:
            for _ in range(10):
                await posts.update("counter", {"$inc": {"n": 1}})
                if writer == 7:
                    os.kill(pid, signal.SIGKILL) if pid_is_alive(pid) else None

        await asyncio.gather(*(write(writer) for writer in range(32)))
        assert (await posts.get_or_raise("counter"))["n"] == 320
        end_actors(db.settings)


def pid_is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for the end of a process that is no child")
@pytest.mark.parametrize("ending", ["SIGTERM", "__ray_terminate__"])
def test_an_owner_that_is_ended_in_order_spares_the_next_one_its_lease(
    ending: str, connect: Callable[..., parquedb.Database], tmp_path: Path
) -> None:
    db = connect(url=str(tmp_path / "db"), engine={"read_lease_s": 30.0})
    posts = db["posts"]
    posts.create({"n": 1}, id="a")
    process = os.pidfd_open(posts.stats()["pid"])
    if ending == "SIGTERM":
        signal.pidfd_send_signal(process, signal.SIGTERM)
    else:
        posts.actor.__ray_terminate__.remote()
    assert select.select([process], [], [], 30)[0], "it did not end"
    os.close(process)
    # The lease would have to be waited out for 37 s.
    assert posts.get_or_raise("a", timeout_s=30)["n"] == 1
    kinds = [entry.header.kind for entry in asyncio.run(read_history(db.settings, "posts")).entries]
    assert kinds == ["open", "write", "close", "open"]


def test_an_actor_that_was_killed_for_good_is_made_anew(db: parquedb.Database) -> None:
    posts = db["posts"]
    posts.create({"n": 1}, id="a")
    ray.kill(posts.actor)
    assert posts.get_or_raise("a")["n"] == 1
    posts.create({}, id="b")
    assert posts.count() == 2


def test_the_client_activates_an_owner_that_was_fenced(
    connect: Callable[..., parquedb.Database], tmp_path: Path
) -> None:
    # Two Ray namespaces stand for two clusters that do not know of each other.
    ours = connect(url=str(tmp_path / "db"), engine=QUICK)
    theirs = connect(url=str(tmp_path / "db"), engine=QUICK, ray_namespace="elsewhere")
    ours.create("posts", {"n": 1}, id="a")
    assert theirs.update("posts", "a", {"$set": {"n": 2}})["version"] == 2
    with pytest.raises(FencedError):
        ray.get(ours["posts"].actor.update.remote("a", {"$set": {"n": 3}}))
    assert ours.update("posts", "a", {"$set": {"n": 3}}, expected_version=2)["version"] == 3
    assert theirs.get("posts", "a")["n"] == 3


def test_an_idle_namespace_is_closed_and_opened_again_by_the_next_call(
    connect: Callable[..., parquedb.Database], tmp_path: Path
) -> None:
    db = connect(url=str(tmp_path / "db"), engine=QUICK | {"idle_timeout_s": 0.3})
    posts = db["posts"]
    posts.create({"n": 1}, id="a")
    pid, epoch = posts.stats()["pid"], posts.stats()["epoch"]
    deadline = threading.Event()
    for _ in range(200):
        if posts.stats()["state"] == "idle":
            break
        deadline.wait(0.05)
    assert posts.stats()["state"] == "idle"
    assert posts.get_or_raise("a")["n"] == 1
    assert posts.stats()["pid"] == pid
    assert posts.stats()["epoch"] > epoch


def test_a_request_id_is_applied_once(db: parquedb.Database) -> None:
    posts = db["posts"]
    posts.create({"n": 0}, id="a")
    first = posts.update("a", {"$inc": {"n": 1}}, request_id="once")
    assert posts.update("a", {"$inc": {"n": 1}}, request_id="once") == first
    assert posts.get_or_raise("a")["n"] == 1
    # A plain `$inc` goes through every time: each call has an id of its own.
    posts.update("a", {"$inc": {"n": 1}})
    assert posts.get_or_raise("a")["n"] == 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda db: db["a/b"], InvalidPathError, "cannot be a namespace"),
        (lambda db: db["posts"].create([]), ValidationError, "data: expected a dict, got list"),
        (lambda db: db["posts"].create({"x": {1}}), ValidationError, "set"),
        (lambda db: db["posts"].find(limit=0), ValidationError, "limit: expected an int from 1 to 10 000, got 0"),
        (lambda db: db["posts"].get("a", timeout_s=-1), ValidationError, "timeout_s: expected a positive number"),
    ],
)
def test_a_wrong_argument_is_refused_before_an_actor_starts(
    db: parquedb.Database, call: Callable[[parquedb.Database], Any], error: type[ParqueDBError], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(db)


def test_a_closed_database_says_so(db: parquedb.Database) -> None:
    posts = db["posts"]
    db.close()
    db.close()
    with pytest.raises(InvalidInputError, match="this database has been closed; call connect"):
        posts.get("a")
    assert ray.is_initialized(), "a Ray that somebody else started is left alone"


class Recorder:
    """A hook that counts; it travels to the actor, where it writes a line per commit."""

    inline = True

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen: list[str] = []

    def on_mutation_start(self, ctx: Any) -> None:
        self.seen.append(f"start {ctx.operation} {ctx.namespace}")

    def on_mutation_end(self, ctx: Any, result: Any) -> None:
        self.seen.append(f"end {ctx.operation} version {result.version} seq {result.seq}")

    def on_mutation_error(self, ctx: Any, error: Exception) -> None:
        self.seen.append(f"error {ctx.operation} {type(error).__name__}")

    def on_query_end(self, ctx: Any, result: Any) -> None:
        self.seen.append(f"end {ctx.operation} rows {result.rows}")

    def on_commit(self, ctx: Any, result: Any) -> None:
        with Path(self.path).open("a") as file:
            file.write(f"{ctx.kind} {os.getpid()}\n")


def test_hooks_hear_of_calls_here_and_of_commits_in_the_actor(
    connect: Callable[..., parquedb.Database], tmp_path: Path
) -> None:
    hook = Recorder(str(tmp_path / "commits"))
    db = connect(url=str(tmp_path / "db"), engine=QUICK, hooks=[hook])
    db.create("posts", {}, id="a")
    with pytest.raises(AlreadyExistsError):
        db.create("posts", {}, id="a")
    db.find("posts")
    assert hook.seen == [
        "start create posts",
        "end create version 1 seq 1",
        "start create posts",
        "error create AlreadyExistsError",
        "end find rows 1",
    ]
    commits = [line.split() for line in (tmp_path / "commits").read_text().splitlines()]
    assert ["write", str(db["posts"].stats()["pid"])] in commits

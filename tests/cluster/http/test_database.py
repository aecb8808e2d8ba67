"""The whole client over a gateway: the methods that are more than one operation, and life and death of a connection."""

import asyncio
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import parquedb
from parquedb.cluster.http.answers import Answer, NoAnswer
from parquedb.cluster.http.overview import health_of
from parquedb.errors import (
    AlreadyExistsError,
    ConfigurationError,
    EntityNotFoundError,
    InvalidInputError,
    ParqueDBError,
    ValidationError,
    VersionConflictError,
)
from tests.support.gateway_server import GatewayServer

ROOT = Path(__file__).resolve().parents[3]


def test_a_client_of_a_gateway_imports_no_ray(server: GatewayServer) -> None:
    program = f"""
import sys, parquedb
with parquedb.connect({server.url!r}) as db:
    document = db["no-ray"].create({{"n": 1}})
    db["no-ray"].insert_arrow(__import__("pyarrow").table({{"n": [2, 3]}}))
    assert db["no-ray"].count() == 3
    assert [change.action for change in db["no-ray"].changes(follow=False)] == ["create"] * 3
print(sorted({{"ray", "s3fs", "fastapi", "duckdb"}} & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_reads_and_writes_by_filter(posts: Any) -> None:
    posts.create_many([{"$id": str(n), "n": n, "tags": ["x"] * (n % 3)} for n in range(30)])
    assert posts.update_many({"n": {"$gte": 20}}, {"$set": {"big": True}}) == (10, 10, None)
    assert posts.upsert({"n": 99}, {"$set": {"made": True}}).upserted_id is not None
    assert posts.delete_many({"n": {"$lt": 5}}) == 5
    assert posts.count({"big": True}) == 10
    assert posts.distinct("tags") == ["x"]
    page = posts.find({"big": True}, sort="-n", limit=4, fields={"n": 1, "$id": 0}, total=True)
    assert (page.items, page.total, page.has_more) == ([{"n": 29}, {"n": 28}, {"n": 27}, {"n": 26}], 10, True)
    assert [one["n"] for one in page] == list(range(29, 19, -1))
    assert posts.find_one({"n": 7})["$id"].endswith("/7")
    assert posts.aggregate([{"$match": {"big": True}}, {"$group": {"_id": None, "sum": {"$sum": "$n"}}}]) == [
        {"_id": None, "sum": 245}
    ]
    explained = posts.explain({"big": True}, operation="count")
    assert (explained.returned, explained.memory_rows) == (10, 31)


def test_versions_and_conflicts(posts: Any) -> None:
    posts.create({"n": 1}, id="a/b $c")
    assert posts.update("a/b $c", {"$inc": {"n": 1}}, expected_version=1)["version"] == 2
    with pytest.raises(VersionConflictError) as caught:
        posts.replace("a/b $c", {"n": 9}, expected_version=1)
    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert posts.delete("a/b $c") == 1
    assert posts.get("a/b $c") is None
    assert posts.exists("a/b $c", include_deleted=True)
    assert posts.restore("a/b $c")["version"] == 4
    assert posts.get("a/b $c", as_of=1)["n"] == 1
    with pytest.raises(EntityNotFoundError):
        posts.get_or_raise("nothing")


def test_a_request_id_of_the_callers_own_counts_once(posts: Any) -> None:
    first = posts.create({"n": 1}, request_id="mine")
    assert posts.create({"n": 1}, request_id="mine") == first
    assert posts.count() == 1


def test_schemas(posts: Any) -> None:
    given = {"email": "string!", "born": "date?", "role": "string = 'user'"}
    version = posts.register(given, mode="strict")
    assert (version.version, version.mode) == (1, "strict")
    assert posts.schema() == version
    assert posts.create({"email": "a@b"})["role"] == "user"
    with pytest.raises(ValidationError, match="email"):
        posts.create({"email": 1})


def test_history_and_changes(posts: Any) -> None:
    posts.create({"n": 1}, id="a")
    posts.update("a", {"$set": {"n": 2}})
    posts.delete("a")
    assert [(one.action, one.version) for one in posts.history("a")] == [("create", 1), ("update", 2), ("delete", 3)]
    assert [one.seq for one in posts.changes(after=1, follow=False)] == [2, 3]


def test_a_feed_waits_for_what_comes(posts: Any) -> None:
    feed = posts.changes()
    posts.create({"n": 1})
    assert next(feed).document["n"] == 1
    later = threading.Timer(0.2, posts.create, args=({"n": 2},))
    later.start()
    assert next(feed).document["n"] == 2
    later.join()


def test_upkeep(posts: Any, db: parquedb.Database) -> None:
    posts.create({"n": 1})
    posts.flush()
    stats = posts.stats()
    assert (stats["seq"], stats["live_rows"], stats["tiers"]) == (1, 1, {0: 1})
    assert set(posts.compact()) >= {"compactions", "files_in"}
    assert posts.namespace in db.namespaces()


def test_health_and_metrics_tell_of_both_sides(posts: Any, db: parquedb.Database) -> None:
    posts.create({"n": 1})
    health = db.health()
    assert (health.status, health.owners[posts.namespace].state) == ("healthy", "open")
    parts = db.metrics_by_process()
    assert set(parts) == {"", "gateway"}
    created = [one for key, one in db.metrics().operations.items() if key[1:3] == ("create", posts.namespace)]
    assert sum(one.count for one in created) >= 1
    assert db.metrics_by_process(owners=False).keys() == {""}


def test_health_is_told_as_a_gateway_tells_it() -> None:
    told = {
        "status": "unhealthy",
        "checks": {"storage": {"status": "unhealthy", "reasons": ["it does not answer"]}, "owners": {}},
        "owners": {"posts": {"status": "degraded", "state": "open", "error": None}},
    }
    health = health_of(Answer(503, {}, json.dumps(told).encode()))
    assert (health.status, health.error) == ("unhealthy", "storage: it does not answer")
    assert (health.owners["posts"].status, health.owners["posts"].state) == ("degraded", "open")
    with pytest.raises(NoAnswer, match="healthy, degraded, unhealthy"):
        health_of(Answer(503, {}, b'{"status": "tired"}'))


def test_arrow_data(posts: Any) -> None:
    table = pa.table({"$id": [str(n) for n in range(5000)], "n": range(5000), "text": ["x" * 300] * 5000})
    told: list[int] = []
    assert posts.insert_arrow(table, request_id="load", on_progress=told.append) == 5000
    assert posts.insert_arrow(table, request_id="load") == 5000
    assert told == [5000]
    assert posts.count() == 5000
    with pytest.raises(AlreadyExistsError):
        posts.insert_arrow(pa.table({"$id": ["6000", "1"]}))
    assert posts.count() == 5000
    assert posts.insert_arrow(pa.table({"key": ["k"], "n": [1]}), id_column="key", actor="ada") == 1
    assert posts.get("k")["createdBy"] == "ada"


def test_many_documents_at_once(posts: Any) -> None:
    ids = posts.create_many([{"$id": str(n), "n": n} for n in range(4500)], request_id="many")
    assert ids == [f"{posts.namespace}/{n}" for n in range(4500)]
    assert posts.create_many([{"$id": str(n), "n": n} for n in range(4500)], request_id="many") == ids
    assert posts.count() == 4500


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl.gz", "all.parquet"])
def test_files_in_and_out(name: str, posts: Any, db: parquedb.Database, tmp_path: Path) -> None:
    posts.create_many([{"$id": f"{n:04}", "n": n, "text": f"line {n}"} for n in range(2500)])
    exported = posts.export_file(tmp_path / name, filter={"n": {"$lt": 2000}}, sort="n")
    assert exported.rows == 2000
    assert exported.seq == 2500
    again = db[f"{posts.namespace}-again"]
    imported = again.import_file(tmp_path / name, request_id="file")
    assert (imported.rows, imported.skipped) == (2000, 0)
    assert again.import_file(tmp_path / name, request_id="file").rows == 2000
    assert again.count() == 2000
    assert again.find_one({"n": 7})["text"] == "line 7"


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda posts: posts.snapshot(), "find"),
        (lambda posts: posts.verify(), "parquedb verify"),
        (lambda posts: posts._database.verify(), "parquedb verify"),
        (lambda posts: posts.actor, "methods of the collection"),
    ],
    ids=["snapshot", "verify", "verify all", "actor"],
)
def test_what_needs_the_storage_says_what_to_use_instead(call: Any, instead: str, posts: Any) -> None:
    with pytest.raises(ConfigurationError, match=instead):
        call(posts)


def test_coroutines_of_several_loops_share_a_database(server: GatewayServer) -> None:
    database = asyncio.run(parquedb.connect_async(server.url))

    async def work() -> int:
        await asyncio.gather(*(database["loops"].create({"n": n}) for n in range(20)))
        return await database["loops"].count()

    assert asyncio.run(work()) == 20
    assert asyncio.run(work()) == 40
    assert pickle.loads(pickle.dumps(database)).url == database.url
    asyncio.run(database.close())
    with pytest.raises(InvalidInputError, match="closed"):
        asyncio.run(work())


def test_coroutines_have_every_method_as_well(server: GatewayServer, tmp_path: Path) -> None:
    async def work() -> None:
        async with await parquedb.connect_async(server.url) as db:
            posts = db["coroutines"]
            await posts.create({"n": 1}, id="a")
            assert await posts.insert_arrow(pa.table({"n": [2]})) == 1
            assert [one["n"] async for one in posts.find(sort="n")] == [1, 2]
            assert [one.action async for one in posts.changes(follow=False)] == ["create", "create"]
            assert [one.seq async for one in await posts.history("a")] == [1]
            await posts.flush()
            assert (await posts.stats())["seq"] == 2
            assert (await posts.export_file(tmp_path / "a.jsonl")).rows == 2
            assert "coroutines" in await db.namespaces()
            assert (await db.health()).status == "healthy"
            assert (await db.metrics()).operations
            with pytest.raises(ConfigurationError):
                await posts.snapshot()
            with pytest.raises(ConfigurationError):
                await db.verify()

    asyncio.run(work())


def test_a_closed_database_says_so_and_leaves_no_thread(server: GatewayServer) -> None:
    before = set(threading.enumerate())
    db = parquedb.connect(server.url)
    db["closing"].create({})
    [thread] = [one for one in set(threading.enumerate()) - before if one.name == "parquedb-http"]
    db.close()
    db.close()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(InvalidInputError, match="closed"):
        db["closing"].create({})


class Heard:
    """Notes what it is told; a hook that pickles by name."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, int]] = []

    def on_mutation_end(self, context: Any, result: Any) -> None:
        self.told.append((context.side, context.operation, context.namespace, result.rows))

    def on_query_error(self, context: Any, error: ParqueDBError) -> None:
        self.told.append((context.side, context.operation, context.namespace, -1))


@pytest.fixture
def heard(server: GatewayServer) -> list[tuple[str, str, str, int]]:
    hook = Heard()
    with parquedb.connect(server.url, hooks=[hook]) as db:
        db["hooks"].create({"n": 1})
        with pytest.raises(ParqueDBError):
            db["hooks"].get("a", as_of=10**9)
    return hook.told


def test_hooks_hear_what_they_do_over_ray(heard: list[tuple[str, str, str, int]]) -> None:
    assert heard == [("client", "create", "hooks", 1), ("client", "get", "hooks", -1)]

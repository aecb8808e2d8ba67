"""The actor class without Ray's processes: a plain object with async methods, on the memory store."""

import asyncio
import errno
import os
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import ray

from parquedb.actors.host.namespace_actor import NamespaceActor
from parquedb.actors.requests.operations import Operation
from parquedb.actors.requests.packing import decode_outcomes, encode_operations, whole
from parquedb.errors import (
    AlreadyExistsError,
    BackpressureError,
    EntityNotFoundError,
    FencedError,
    OutcomeUnknownError,
    ParqueDBError,
    ValidationError,
    VersionConflictError,
)
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.backends.directory import System
from tests.support.chain import read_history


def settings_for(name: str, **engine: Any) -> Settings:
    return load_settings(f"memory://{name}", engine={"read_lease_s": 0.05} | engine)


@pytest.fixture
async def actor() -> AsyncIterator[NamespaceActor]:
    host = NamespaceActor(settings_for(uuid.uuid4().hex), "posts")
    yield host
    await host.close()


async def test_the_first_call_opens_the_namespace(actor: NamespaceActor) -> None:
    assert (await actor.stats())["state"] == "idle"
    document = await actor.create({"title": "Hello"}, id="a")
    assert document["$id"] == "posts/a"
    assert document["version"] == 1
    assert (await actor.stats())["state"] == "open"


async def test_the_circuits_of_its_storage_are_watched_from_the_start(actor: NamespaceActor) -> None:
    watched = (await actor.circuit_health()).circuits
    assert [watched[f"posts.{guards}"].state for guards in ("read", "write")] == ["closed", "closed"]


async def test_the_queries_answer_like_the_clients(actor: NamespaceActor) -> None:
    await actor.create_many([{"$id": f"d{number}", "n": number, "tags": ["t", number]} for number in range(4)])
    page = await actor.find({"n": {"$gt": 0}}, sort="-n", skip=1, limit=1, fields={"n": 1, "$id": 0}, total=True)
    assert (page["items"], page["total"]) == ([{"n": 2}], 3)
    assert (await actor.find_one(sort="-n"))["n"] == 3
    assert await actor.distinct("tags", {"n": 1}) == [1, "t"]
    assert await actor.aggregate([{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]) == [{"_id": None, "sum": 6}]
    assert [await actor.exists("d0"), await actor.exists("d9")] == [True, False]
    stages = [{"$count": "n"}]
    answers = await actor.execute(
        [
            {"op": "find_one", "filter": {"n": 1}, "fields": ["n"]},
            {"op": "distinct", "field": "n"},
            {"op": "aggregate", "pipeline": stages},
            {"op": "exists", "id": "d1"},
        ]
    )
    assert [answer["value"] for answer in answers] == [
        {"$id": "posts/d1", "version": 1, "n": 1},
        [0, 1, 2, 3],
        [{"n": 4}],
        True,
    ]


async def test_the_methods_answer_like_the_clients(actor: NamespaceActor) -> None:
    await actor.create({"n": 1}, id="a")
    assert (await actor.update("a", {"$inc": {"n": 1}}, expected_version=1))["n"] == 2
    assert (await actor.get("posts/a"))["version"] == 2
    assert (await actor.replace("a", {"n": 9}))["n"] == 9
    assert await actor.count({"n": 9}) == 1
    assert [each["$id"] for each in (await actor.find())["items"]] == ["posts/a"]
    assert await actor.delete("a") == 1
    assert await actor.get("a") is None
    assert (await actor.restore("a"))["n"] == 9
    assert len(await actor.batch([{"op": "create", "data": {}}, {"op": "delete", "id": "a"}])) == 2
    created = await actor.create_many([{"$id": "x"}, {"$id": "y"}])
    assert created["ids"] == ["posts/x", "posts/y"]


async def test_compaction_by_hand_says_what_it_did(actor: NamespaceActor) -> None:
    for number in range(3):
        await actor.create({"n": number})
        await actor.flush()
    done = await actor.compact()
    assert (done["compactions"], done["files_in"], done["files_out"], done["rows"]) == (1, 3, 1, 3)
    assert await actor.count() == 3
    assert (await actor.stats())["files"] == 1


async def test_refusals_are_raised_as_themselves(actor: NamespaceActor) -> None:
    await actor.create({}, id="a")
    with pytest.raises(AlreadyExistsError):
        await actor.create({}, id="a")
    with pytest.raises(VersionConflictError) as conflict:
        await actor.update("a", {"$set": {"n": 1}}, expected_version=7)
    assert (conflict.value.expected, conflict.value.actual) == (7, 1)
    with pytest.raises(EntityNotFoundError):
        await actor.update("b", {"$set": {"n": 1}})
    with pytest.raises(ValidationError, match="data: expected a dict, got str"):
        await actor.create("x")  # type: ignore[arg-type]


async def test_execute_answers_each_operation_for_itself(actor: NamespaceActor) -> None:
    answers = await actor.execute(
        [
            {"op": "create", "id": "a", "data": {"n": 1}},
            {"op": "create", "id": "a", "data": {}},
            {"op": "get", "id": "a"},
            Operation("count"),
        ]
    )
    assert [answer["ok"] for answer in answers] == [True, False, True, True]
    assert answers[0]["seq"] == 1
    assert isinstance(ParqueDBError.from_json(answers[1]["error"]), AlreadyExistsError)
    assert (answers[2]["value"]["n"], answers[3]["value"]) == (1, 1)


async def test_execute_keeps_writes_by_filter_in_their_place(actor: NamespaceActor) -> None:
    answers = await actor.execute(
        [
            {"op": "create", "id": "a", "data": {"n": 1}},
            {"op": "update_many", "filter": None, "ops": {"$inc": {"n": 1}}},
            {"op": "create", "id": "b", "data": {"n": 1}},
            {"op": "delete_many", "filter": {"n": 1}},
            {"op": "upsert", "filter": {"n": 1}, "ops": {"$set": {"m": 1}}},
            {"op": "count"},
        ]
    )
    assert [answer["value"] for answer in answers[1:4:2]] == [
        {"matched": 1, "modified": 1, "upserted_id": None},
        1,
    ]
    assert answers[4]["value"]["upserted_id"] is not None
    assert answers[5]["value"] == 2


async def test_execute_with_a_malformed_operation_executes_none(actor: NamespaceActor) -> None:
    with pytest.raises(ValidationError, match=r"operations\[1\].op: expected one of"):
        await actor.execute([{"op": "create", "id": "a", "data": {}}, {"op": "drop"}])
    assert await actor.get("a") is None


async def test_many_first_calls_open_the_namespace_once(actor: NamespaceActor) -> None:
    ray_ran = ray.is_initialized()
    documents = await asyncio.gather(*(actor.create({"n": n}) for n in range(50)))
    assert len({document["$id"] for document in documents}) == 50
    activation = await actor.activate()
    assert activation["epoch"] == (await actor.stats())["epoch"] == 1
    assert ray.is_initialized() == ray_ran, "the class itself needs no Ray"


async def test_a_packed_call_carries_operations_and_outcomes_as_bytes(actor: NamespaceActor) -> None:
    payload = encode_operations([Operation("create", "a", {"n": 1}), Operation("get", "b")])
    (created, absent), put_s = decode_outcomes(await actor.execute_packed(payload))
    assert put_s > 0
    assert created.result()["$id"] == "posts/a"
    assert absent.result() is None


async def test_after_an_idle_time_the_namespace_is_closed_and_the_next_call_opens_it_again() -> None:
    host = NamespaceActor(settings_for(uuid.uuid4().hex, idle_timeout_s=0.1), "posts")
    await host.create({"n": 1}, id="a")
    async with asyncio.timeout(10):
        while (await host.stats())["state"] != "idle":
            await asyncio.sleep(0.01)
    assert (await host.get("a"))["n"] == 1
    assert (await host.stats())["epoch"] > 1
    await host.close()


async def test_whoever_only_looks_keeps_no_owner_awake_and_wakes_none() -> None:
    host = NamespaceActor(settings_for(uuid.uuid4().hex, idle_timeout_s=0.1), "posts")
    assert (await host.survey()).health["state"] == "idle"
    await host.create({"n": 1}, id="a")
    assert (await host.survey()).health["state"] == "open"
    async with asyncio.timeout(10):
        while (survey := await host.survey()).health["state"] != "idle":
            await asyncio.sleep(0)
    assert survey.sizes is not None
    assert (survey.sizes.documents, survey.writes.count) == (1, 1)
    assert (await host.survey()).health["state"] == "idle"
    await host.close()


async def test_a_fenced_host_refuses_until_it_is_activated() -> None:
    name = uuid.uuid4().hex
    first, second = NamespaceActor(settings_for(name), "posts"), NamespaceActor(settings_for(name), "posts")
    await first.create({"n": 1}, id="a")
    await second.update("a", {"$set": {"n": 2}})
    with pytest.raises(FencedError):
        await first.update("a", {"$set": {"n": 3}}, expected_version=1)
    assert (await first.health())["status"] == "unhealthy"
    with pytest.raises(FencedError):
        await first.get("a")
    await first.activate()
    assert (await first.get("a"))["n"] == 2
    assert (await first.health())["status"] == "healthy"
    with pytest.raises(FencedError):
        await second.get("a")
    await first.close()


async def test_an_unusable_store_is_an_error_for_each_call_and_no_end(tmp_path: Any) -> None:
    root = tmp_path / "db"
    storage = {"retry_attempts_max": 1}
    host = NamespaceActor(load_settings(str(root), storage=storage, engine={"read_lease_s": 0.05}), "posts")
    root.rename(tmp_path / "away")
    with pytest.raises(ParqueDBError):
        await host.create({}, id="a")
    (tmp_path / "away").rename(root)
    assert (await host.create({}, id="a"))["version"] == 1
    await host.close()


async def test_closing_hands_over_cleanly_and_the_next_call_opens_again(actor: NamespaceActor) -> None:
    await actor.create({}, id="a")
    await actor.close()
    assert (await actor.stats())["state"] == "idle"
    assert await actor.get("a") is not None


@pytest.mark.parametrize("opened", [True, False])
def test_a_process_that_ends_in_order_says_goodbye_though_its_loop_has_stopped(opened: bool, tmp_path: Path) -> None:
    """As Ray does it: the loop's thread is gone, and the main thread calls the hook."""
    settings = load_settings(str(tmp_path), engine={"read_lease_s": 0.05})
    host = NamespaceActor(settings, "posts")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    if opened:
        asyncio.run_coroutine_threadsafe(host.create({}, id="a"), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    host.__ray_shutdown__()
    loop.close()
    host.__ray_shutdown__()
    kinds = [entry.header.kind for entry in asyncio.run(read_history(settings, "posts")).entries]
    assert kinds == (["open", "write", "close"] if opened else [])


async def test_a_request_id_used_again_with_another_document_answers_with_the_one_that_was_stored(
    actor: NamespaceActor,
) -> None:
    first = Operation("create", "a", {"n": 1}, request="mine")
    again = Operation("create", "a", {"n": 2}, request="mine")
    for operation in (first, again):
        (outcome,), _ = decode_outcomes(await actor.execute_packed(encode_operations([operation])))
        assert whole(operation, outcome).result()["n"] == 1


async def test_after_a_lost_write_the_owner_steps_down_and_the_next_one_goes_on(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [False]

    def sync(_: System, descriptor: int) -> None:
        if broken[0] and os.readlink(f"/proc/self/fd/{descriptor}").endswith("/log"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(descriptor)

    monkeypatch.setattr(System, "sync", sync)
    settings = load_settings(str(tmp_path), storage={"retry_attempts_max": 1}, engine={"read_lease_s": 0.05})
    host = NamespaceActor(settings, "posts")
    await host.create({}, id="a")
    broken[0] = True
    # The kernel reports a lost write once, so asking again would prove nothing: nobody can know, and this owner ends.
    with pytest.raises(OutcomeUnknownError):
        await asyncio.wait_for(host.create({}, id="b", request_id="mine"), 10)
    with pytest.raises(FencedError):
        await host.get("a")
    broken[0] = False
    await host.activate()
    assert (await host.create({}, id="b", request_id="mine"))["version"] == 1
    assert (await host.create({}, id="c"))["version"] == 1
    assert len(await host.execute([{"op": "get", "id": id_} for id_ in "abc"])) == 3
    await host.close()


async def test_calls_that_wait_for_the_opening_are_bounded_by_bytes() -> None:
    host = NamespaceActor(settings_for(uuid.uuid4().hex, calls_bytes_max=2500), "posts")
    large = {"text": "x" * 2000}
    first = asyncio.create_task(host.create(large, id="a"))
    await asyncio.sleep(0)
    with pytest.raises(BackpressureError, match="1 calls") as refused:
        await host.create(large, id="b")
    assert refused.value.retry_after
    with pytest.raises(BackpressureError):
        await host.execute_packed(encode_operations([Operation("create", "b", large)]))
    with pytest.raises(BackpressureError):
        await host.execute([{"op": "create", "id": "b", "data": large}])
    assert (await first)["version"] == 1
    assert await host.get("b") is None
    assert (await host.create(large, id="b"))["version"] == 1
    await host.close()


async def test_a_call_larger_than_the_bound_is_executed_when_it_is_alone() -> None:
    host = NamespaceActor(settings_for(uuid.uuid4().hex, calls_bytes_max=1024), "posts")
    assert (await host.create({"text": "x" * 2000}, id="a"))["version"] == 1
    await host.close()


async def test_health_gives_its_reasons_and_how_far_the_owner_is_behind(actor: NamespaceActor) -> None:
    assert (await actor.health())["lag"] == {}
    await actor.create({}, id="a")
    health = await actor.health()
    assert (health["status"], health["reasons"], health["state"]) == ("healthy", [], "open")
    assert (health["lag"]["commits"], health["lag"]["seq"]) == (1, 1)
    assert health["lag"].items() <= (await actor.stats() | {"unflushed_s": health["lag"]["unflushed_s"]}).items()
    actor._storage.write_circuit.trip("test")
    health = await actor.health()
    assert health["status"] == "degraded"
    assert health["reasons"] == ["circuit memory.write is open"]

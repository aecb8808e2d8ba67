"""Every method of a collection is told to the hooks, in the client and in the owner, with what is known of it."""

import asyncio
import inspect
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

import parquedb
from parquedb.actors.host.document_methods import DocumentMethods
from parquedb.cluster.client.async_collection import AsyncCollection
from parquedb.cluster.client.collection import Collection
from parquedb.errors import AlreadyExistsError, VersionConflictError
from parquedb.observability.testing import Record, RecordingHook
from tests.observability import sample_hooks
from tests.observability.sample_hooks import log_of

CLOSING_S = 10.0
"""Far more than the second that closing may take, on a machine however busy."""

OWNERS_HOOK = "tests.observability.sample_hooks:OwnersHook"


@dataclass
class Case:
    """A call, and what hooks shall hear of it.

    Attributes:
        method: Which method of a collection it is.
        call: Makes it.
        group: `query` or `mutation`.
        context: Fields of the context.
        result: Fields of the result; of those named in `some`, that they are above 0.
        owner: Whether the owner hears of the same operation, with the same fields.
        named: Whether one owner is asked, whose name the client tells.
    """

    method: str
    call: Callable[..., Any]
    group: str
    context: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    some: tuple[str, ...] = ()
    owner: bool = True
    named: bool = True


def table() -> pa.Table:
    return pa.table({"$id": ["t1", "t2"], "n": [10, 11]})


def cases(folder: Path, namespace: str) -> list[Case]:
    """List one call or more of every method; they follow each other in one namespace."""
    lines = folder / "in.jsonl"
    lines.write_text("".join(json.dumps({"$id": f"i{number}", "n": number}) + "\n" for number in range(3)))
    write = {"errors": 0}
    return [
        Case(
            "create",
            lambda c: c.create({"n": 1}, id="a", actor="me"),
            "mutation",
            {"ids": ("a",), "options": {"actor": "me"}, "batch_size": 1},
            {"rows": 1, "version": 1, "seq": 1, **write},
            ("bytes",),
        ),
        Case(
            "create",
            lambda c: c.create({"n": 2}),
            "mutation",
            {"ids": (), "options": {}},
            {"rows": 1, "version": 1, "seq": 2, **write},
            ("bytes",),
        ),
        Case(
            "create_many",
            lambda c: c.create_many([{"$id": "b", "n": 1}, {"n": 2}, {"$id": "a"}], ordered=False),
            "mutation",
            {"ids": ("b", "a"), "options": {"ordered": False}, "batch_size": 3},
            {"rows": 2, "seq": 4, "errors": 1, "version": None},
            ("bytes",),
        ),
        Case("get", lambda c: c.get("a"), "query", {"ids": ("a",), "options": {}}, {"rows": 1, "seq": 4}),
        Case(
            "get",
            lambda c: c.get("zz", fields=["n"]),
            "query",
            {"ids": ("zz",), "options": {"fields": ["n"]}},
            {"rows": 0},
        ),
        Case("get_or_raise", lambda c: c.get_or_raise("a"), "query", {"operation": "get", "ids": ("a",)}, {"rows": 1}),
        Case("exists", lambda c: c.exists("a"), "query", {"ids": ("a",)}, {"rows": 1}),
        Case(
            "update",
            lambda c: c.update("a", {"$inc": {"n": 1}}, expected_version=1),
            "mutation",
            {"ids": ("a",), "options": {"expected_version": 1}},
            {"rows": 1, "version": 2, "seq": 5, **write},
            ("bytes",),
        ),
        Case(
            "update",
            lambda c: c.update("a", {"$set": {"m": 1}}, return_document="before"),
            "mutation",
            {"options": {"return_document": "before"}},
            {"version": 3, "seq": 6},
        ),
        Case(
            "update",
            lambda c: c.update("new", {"$set": {"m": 1}}, upsert=True, return_document="before"),
            "mutation",
            {"ids": ("new",)},
            {"rows": 1, "version": 1, "seq": 7},
        ),
        Case(
            "replace",
            lambda c: c.replace("a", {"n": 5}),
            "mutation",
            {"ids": ("a",)},
            {"rows": 1, "version": 4, "seq": 8},
            ("bytes",),
        ),
        Case(
            "delete",
            lambda c: c.delete("b"),
            "mutation",
            {"ids": ("b",), "options": {}},
            {"rows": 1, "version": None, "seq": 9},
        ),
        Case("delete", lambda c: c.delete("b", hard=False), "mutation", {"ids": ("b",)}, {"rows": 0}),
        Case("restore", lambda c: c.restore("b"), "mutation", {"ids": ("b",)}, {"rows": 1, "version": 3, "seq": 10}),
        Case(
            "update_many",
            lambda c: c.update_many({"n": {"$gte": 2}}, {"$set": {"k": 1}}),
            "mutation",
            {"filter": {"n": {"$gte": 2}}, "ids": (), "options": {}},
            {"rows": 3, "seq": 13, "version": None},
            ("bytes",),
        ),
        Case(
            "upsert",
            lambda c: c.upsert({"n": 99}, {"$set": {"k": 1}}),
            "mutation",
            {"filter": {"n": 99}},
            {"rows": 1, "seq": 14},
        ),
        Case(
            "delete_many", lambda c: c.delete_many({"n": 99}), "mutation", {"filter": {"n": 99}}, {"rows": 1, "seq": 15}
        ),
        Case(
            "batch",
            lambda c: c.batch([{"op": "create", "id": "x", "data": {}}, {"op": "delete", "id": "nobody"}]),
            "mutation",
            {"ids": ("x", "nobody"), "batch_size": 2},
            {"rows": 1, "seq": 16, "version": None},
            ("bytes",),
        ),
        Case(
            "register",
            lambda c: c.register({"n": "int"}),
            "mutation",
            {"options": {}},
            {"rows": 0, "version": None, "seq": 17},
        ),
        Case("schema", lambda c: c.schema(), "query", {}, {"rows": 1, "cached": None}),
        Case(
            "insert_arrow",
            lambda c: c.insert_arrow(table()),
            "mutation",
            {"options": {}},
            {"rows": 2, "seq": 19, **write},
            ("bytes",),
        ),
        Case(
            "import_file",
            lambda c: c.import_file(lines),
            "mutation",
            {"options": {"path": str(lines), "format": "jsonl"}},
            {"rows": 3, "errors": 0, "bytes": lines.stat().st_size},
            owner=False,
            named=False,
        ),
        Case("flush", lambda c: c.flush(), "mutation", {}, {}),
        Case(
            "find",
            lambda c: c.find({"n": {"$gte": 10}}, limit=1),
            "query",
            {"filter": {"n": {"$gte": 10}}, "options": {"limit": 1}},
            {"rows": 1, "cached": False, "row_groups_scanned": 2, "seq": 22},
            ("bytes",),
        ),
        Case(
            "find_one",
            lambda c: c.find_one({"n": 10}),
            "query",
            {"filter": {"n": 10}, "options": {}},
            {"rows": 1, "row_groups_scanned": 2},
        ),
        Case(
            "count",
            lambda c: c.count({"n": 1_000_000}),
            "query",
            {"filter": {"n": 1_000_000}},
            {"rows": 0, "bytes": 0, "cached": True, "row_groups_scanned": 0},
            ("row_groups_skipped",),
        ),
        Case(
            "distinct",
            lambda c: c.distinct("n", {"n": {"$in": [10, 11]}}),
            "query",
            {"filter": {"n": {"$in": [10, 11]}}, "options": {"field": "n"}},
            {"rows": 2},
            ("row_groups_scanned",),
        ),
        Case(
            "aggregate",
            lambda c: c.aggregate([{"$count": "all"}]),
            "query",
            {"options": {"pipeline": [{"$count": "all"}]}},
            {"rows": 1},
            ("row_groups_scanned",),
        ),
        Case(
            "explain",
            lambda c: c.explain({"n": 10}, operation="count"),
            "query",
            {"filter": {"n": 10}, "options": {"operation": "count", "verbosity": "executionStats"}},
            {"rows": 1, "row_groups_scanned": 2},
        ),
        Case("history", lambda c: c.history("a"), "query", {"ids": ("a",)}, {"cached": None}, ("rows",)),
        Case("changes", lambda c: c.changes(follow=False), "query", {}, {"cached": None}, ("rows",)),
        Case("snapshot", lambda c: c.snapshot(), "query", {}, {"seq": 22, "rows": None}, owner=False),
        Case("compact", lambda c: c.compact(), "mutation", {}, {}),
        Case("stats", lambda c: c.stats(), "query", {}, {"rows": None}, owner=False),
        Case(
            "verify",
            lambda c: c.verify(full=False),
            "query",
            {"options": {"full": False}},
            {"cached": False, "seq": 22},
            ("bytes",),
            owner=False,
            named=False,
        ),
        Case(
            "export_file",
            lambda c: c.export_file(folder / f"{c.namespace}.jsonl", filter={"n": 10}),
            "query",
            {"filter": {"n": 10}, "options": {"path": str(folder / f"{namespace}.jsonl"), "format": "jsonl"}},
            {"rows": 1, "seq": 22},
            owner=False,
            named=False,
        ),
    ]


def public(kind: type) -> set[str]:
    return {name for name, member in inspect.getmembers(kind, inspect.isroutine) if not name.startswith("_")}


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"told{uuid.uuid4().hex[:8]}"
    yield name
    log_of(name).path.unlink(missing_ok=True)


def used(value: Any) -> Any:
    """Use a page, a feed or a snapshot up, as a caller would."""
    if hasattr(value, "__next__"):
        list(value)
    return value


async def used_async(value: Any) -> Any:
    value = await value if inspect.isawaitable(value) else value
    if hasattr(value, "__anext__"):
        async for _ in value:
            pass
    return value


def differing(wanted: dict[str, Any], some: tuple[str, ...], told: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are not as wanted, as they are."""
    wrong = {name: told[name] for name, value in wanted.items() if told[name] != value}
    return wrong | {name: told[name] for name in some if not (told[name] and told[name] > 0)}


def faults_of(case: Case, told: list[tuple[dict[str, Any], dict[str, Any]]], wanted: dict[str, Any]) -> list[Any]:
    """Return nothing where one of the contexts and results told is as wanted, else what is wrong with each."""
    wrong = [
        {**differing(wanted | case.context, (), context), **differing(case.result, ("duration_s", *case.some), result)}
        for context, result in told
    ]
    return [] if {} in wrong else [case.method, *wrong, "of", case.context, case.result]


def in_client(case: Case, hook: RecordingHook, namespace: str) -> list[Any]:
    wanted = {"operation": case.method, "namespace": namespace, "side": "client", "attempt": 1}
    ends = hook.of(f"on_{case.group}_end", case.context.get("operation", case.method))
    starts = hook.of(f"on_{case.group}_start")
    if hook.of(f"on_{case.group}_error") or not all(any(end.context is one.context for one in starts) for end in ends):
        return [case.method, "starts and ends do not fit together"]
    found = [(asdict(end.context), asdict(end.result)) for end in ends]
    if any(not (context["actor"] or "").endswith(f":{namespace}") for context, _ in found) and case.named:
        return [case.method, "no actor"]
    return faults_of(case, found, wanted)


def in_owner(case: Case, records: list[Record], namespace: str) -> list[Any]:
    wanted = {"operation": case.method, "namespace": namespace, "side": "actor", "attempt": 1}
    # As JSON has them.
    case = replace(case, context=json.loads(json.dumps(case.context)))
    operation = case.context.get("operation", case.method)
    ends = [
        (record.context, record.result)
        for record in records
        if record.callback == f"on_{case.group}_end" and record.context["operation"] == operation
    ]
    if any(not (context["actor"] or "").endswith(f":{namespace}") for context, _ in ends):
        return [case.method, "no actor"]
    return faults_of(case, ends, wanted)


@pytest.mark.parametrize("kind", [Collection, AsyncCollection])
def test_every_method_is_told_with_all_that_is_known_of_it(
    kind: type, ray_cluster: str, tmp_path: Path, namespace: str
) -> None:
    todo = cases(tmp_path, namespace)
    assert {case.method for case in todo} == public(kind), "a method that no hook is told of"
    hook = RecordingHook()

    faults: list[list[Any]] = []

    def told(case: Case) -> None:
        faults.append(in_client(case, hook, namespace))
        hook.clear()

    def run_sync() -> None:
        with parquedb.connect(str(tmp_path / "db"), hooks=[OWNERS_HOOK]) as db:
            db._connection.hooks.register_hook(hook)
            for case in todo:
                used(case.call(db[namespace]))
                told(case)

    async def run_async() -> None:
        async with await parquedb.connect_async(str(tmp_path / "db"), hooks=[OWNERS_HOOK]) as db:
            db._connection.hooks.register_hook(hook)
            for case in todo:
                await used_async(case.call(db[namespace]))
                told(case)

    run_sync() if kind is Collection else asyncio.run(run_async())
    records = log_of(namespace).records()
    faults += [in_owner(case, records, namespace) for case in todo if case.owner]
    assert not any(faults), "\n".join(str(each) for each in faults if each)
    heard = {record.callback for record in records}
    assert {"on_storage_end", "on_commit_end", "on_commit", "on_flush", "on_cold_start", "on_compaction"} <= heard
    [cold] = [record.context for record in records if record.callback == "on_cold_start"]
    assert (cold["epoch"], cold["entries"]) == (1, 1)
    assert cold["round_trips"] >= 3


def test_refusals_reach_the_error_callbacks_on_both_sides(ray_cluster: str, tmp_path: Path, namespace: str) -> None:
    hook = RecordingHook()
    with parquedb.connect(str(tmp_path / "db"), hooks=[OWNERS_HOOK]) as db:
        db._connection.hooks.register_hook(hook)
        posts = db[namespace]
        posts.create({}, id="a")
        with pytest.raises(AlreadyExistsError):
            posts.create({}, id="a")
        with pytest.raises(VersionConflictError):
            posts.update("a", {"$set": {"n": 1}}, expected_version=7)
    errors = ["AlreadyExistsError", "VersionConflictError"]
    assert [type(record.result).__name__ for record in hook.of("on_mutation_error")] == errors
    owner = [record.result["error"] for record in log_of(namespace).records() if record.callback == "on_mutation_error"]
    assert owner == errors


BARE = {
    "create": lambda h: h.create.remote({"n": 1}, id="a"),
    "create_many": lambda h: h.create_many.remote([{"n": 1}]),
    "get": lambda h: h.get.remote("a"),
    "exists": lambda h: h.exists.remote("a"),
    "find": lambda h: h.find.remote({"n": 1}),
    "count": lambda h: h.count.remote(),
    "find_one": lambda h: h.find_one.remote({"n": 1}),
    "distinct": lambda h: h.distinct.remote("n"),
    "explain": lambda h: h.explain.remote(),
    "aggregate": lambda h: h.aggregate.remote([{"$count": "all"}]),
    "update": lambda h: h.update.remote("a", {"$set": {"n": 2}}),
    "replace": lambda h: h.replace.remote("a", {"n": 3}),
    "delete": lambda h: h.delete.remote("a"),
    "restore": lambda h: h.restore.remote("a"),
    "batch": lambda h: h.batch.remote([{"op": "delete", "id": "a"}]),
    "register": lambda h: h.register.remote({"n": "int"}),
    "schema": lambda h: h.schema.remote(),
    "history": lambda h: h.history.remote("a"),
    "changes": lambda h: h.changes.remote(),
    "update_many": lambda h: h.update_many.remote({}, {"$set": {"k": 1}}),
    "upsert": lambda h: h.upsert.remote({"n": 7}, {"$set": {"k": 1}}),
    "delete_many": lambda h: h.delete_many.remote({"n": 7}),
}
READS = {
    "get",
    "exists",
    "find",
    "count",
    "find_one",
    "distinct",
    "explain",
    "aggregate",
    "schema",
    "history",
    "changes",
}


def test_methods_of_the_bare_handle_are_told_by_the_owner(ray_cluster: str, tmp_path: Path, namespace: str) -> None:
    assert set(BARE) == public(DocumentMethods)
    with parquedb.connect(str(tmp_path / "db"), hooks=[OWNERS_HOOK]) as db:
        handle = db[namespace].actor
        for call in BARE.values():
            ray.get(call(handle))
        operations = [
            {"op": "get", "id": "a"},
            {"op": "count"},
            {"op": "create", "data": {}},
            {"op": "delete", "id": "a"},
        ]
        ray.get(handle.execute.remote(operations))
        stats = ray.get(handle.hook_stats.remote())
    ends = [
        (record.callback, record.context["operation"])
        for record in log_of(namespace).records()
        if record.callback in {"on_query_end", "on_mutation_end"}
    ]
    wanted = [(f"on_{'query' if method in READS else 'mutation'}_end", method) for method in BARE]
    assert ends == [*wanted, ("on_query_end", "execute"), ("on_mutation_end", "execute")]
    assert stats[0].groups["query"].calls == 2 * (len(READS) + 1)
    assert stats[0].dropped == 0


HANGING = ["sleeping", "spinning", "deadlocked", "never_ending", "leaving"]


@pytest.mark.timeout(120)
def test_hooks_that_hang_on_both_sides_change_no_result_and_delay_closing_by_a_bound(
    ray_cluster: str, tmp_path: Path, namespace: str
) -> None:
    hanging = [f"tests.observability.sample_hooks:{name}" for name in HANGING]
    with parquedb.connect(str(tmp_path / "db"), hooks=hanging) as db:
        posts = db[namespace]
        for number in range(20):
            assert posts.create({"n": number}, id=f"d{number}")["version"] == 1
        assert posts.update("d1", {"$inc": {"n": 1}})["n"] == 2
        assert posts.count({"n": {"$gte": 10}}) == 10
        owner = ray.get(posts.actor.hook_stats.remote())
        # And the one behind `db.metrics()`.
        assert len(db.hook_stats()) == len(owner) == len(HANGING) + 1
        # Else the spinning one would take the interpreter from the tests to come.
        ray.kill(posts.actor)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < CLOSING_S
    sample_hooks.over.set()


def test_creates_at_once_still_travel_as_one_run_while_hooks_listen(
    ray_cluster: str, tmp_path: Path, namespace: str
) -> None:
    async def create_all() -> None:
        async with await parquedb.connect_async(str(tmp_path / "db"), hooks=[OWNERS_HOOK]) as db:
            await db[namespace].create({"n": -1})
            await asyncio.gather(*(db[namespace].create({"n": number}) for number in range(64)))

    asyncio.run(create_all())
    starts = [record.context for record in log_of(namespace).records() if record.callback == "on_mutation_start"]
    # A call of several operations has no options of its own; a run is one operation.
    assert max(context["batch_size"] for context in starts if context["options"] == {}) > 1

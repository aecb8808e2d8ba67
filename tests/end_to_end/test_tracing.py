"""One trace from the caller to the PUT: through a real Ray and a real OpenTelemetry collector."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

import parquedb
from parquedb.cluster.client.collection import Collection
from parquedb.errors import EntityNotFoundError, ParqueDBError
from parquedb.observability.otel.export import take_process_telemetry
from tests.support.collector import Collector, Received, attributes_of, rotel_binary, running_collector
from tests.support.conventions import kind_of, span_violations

pytestmark = pytest.mark.skipif(rotel_binary() is None, reason="the rotel wheel is not installed")

SERVICE = "traced end to end"
RECEIVED = " (received)"
INTERNAL, SERVER, CLIENT = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("caller")


class Traced:
    """A database whose spans go to a collector."""

    def __init__(self, db: parquedb.Database, collector: Collector) -> None:
        self.db = db
        self._collector = collector

    def received(self, *names: str, trace_id: int | None = None) -> list[Received]:
        """Return the spans of one trace, or all, once there is one of each name; `RECEIVED` asks for an owner's."""
        wanted = None if trace_id is None else trace_id.to_bytes(16, "big")

        def complete(spans: list[Any]) -> bool:
            # What an owner received is told by a span of the same name as what its client asked for.
            found = {(span.name, span.kind == SERVER) for span in spans if wanted in {None, span.trace_id}}
            return all((name.removesuffix(RECEIVED), name.endswith(RECEIVED)) in found for name in names)

        self._collector.spans(SERVICE, complete, 30.0)
        return [one for one in self._collector.all("traces", SERVICE) if wanted in {None, one.body.trace_id}]

    def wait_for_links(self, span_ids: Set[bytes]) -> None:
        """Wait until commits have come in that are linked to all these spans."""

        def complete(spans: list[Any]) -> bool:
            links = {link.span_id for span in spans if span.name.startswith("commit ") for link in span.links}
            return links.issuperset(span_ids)

        self._collector.spans(SERVICE, complete, 30.0)


@pytest.fixture(scope="module")
def traced(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("tracing")
    with running_collector(folder) as collector, pytest.MonkeyPatch.context() as patch:
        # A process makes its telemetry once, and an earlier test may have made it for another collector.
        take_process_telemetry()
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        patch.setenv("OTEL_SERVICE_NAME", SERVICE)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with parquedb.connect(str(folder / "db")) as db:
            yield Traced(db, collector)
        telemetry = take_process_telemetry()
        assert telemetry is not None
        telemetry.shutdown()


def trace_id_of(span: trace.Span) -> int:
    return span.get_span_context().trace_id


def test_a_write_is_one_trace_from_the_callers_span_to_the_put(traced: Traced) -> None:
    posts = traced.db["posts"]
    posts.create({"first": True})
    with TRACER.start_as_current_span("caller") as caller:
        posts.create({"n": 1}, id="a")
    received = traced.received(
        "create posts", "create posts" + RECEIVED, "commit posts", "storage.create", trace_id=trace_id_of(caller)
    )
    kinds = {"create posts": (CLIENT, SERVER), "commit posts": (INTERNAL,), "storage.create": (INTERNAL,)}
    wanted = [(name, kind) for name, each in kinds.items() for kind in each]
    client, execute, commit, put = (one for key in wanted for one in received if (one.body.name, one.body.kind) == key)
    assert client.body.parent_span_id.hex() == trace.format_span_id(caller.get_span_context().span_id)
    assert execute.body.parent_span_id == client.body.span_id
    assert commit.body.parent_span_id == execute.body.span_id
    assert put.body.parent_span_id == commit.body.span_id
    assert client.resource["parquedb.process.role"] == "client"
    assert client.resource["process.pid"] == os.getpid()
    owner = execute.resource
    assert (owner["parquedb.process.role"], owner["parquedb.namespace"]) == ("owner", "posts")
    assert owner["service.instance.id"] != client.resource["service.instance.id"]
    assert owner == commit.resource == put.resource


def test_a_commit_is_linked_to_all_the_writes_that_it_carries(traced: Traced) -> None:
    async def create_together() -> set[int]:
        async with await parquedb.connect_async(traced.db.url) as db:
            linked = db.collection("linked")
            await linked.create({"first": True})

            async def create(number: int) -> int:
                with TRACER.start_as_current_span(f"caller {number}") as caller:
                    await linked.create({"n": number})
                return trace_id_of(caller)

            return set(await asyncio.gather(*(create(number) for number in range(20))))

    callers = asyncio.run(create_together())
    for trace_id in callers:
        traced.received("create linked", trace_id=trace_id)
    clients = {
        one.body.span_id: one.body.trace_id
        for one in traced.received("commit linked")
        if one.body.kind == CLIENT
        and one.body.name == "create linked"
        and int.from_bytes(one.body.trace_id, "big") in callers
    }
    assert len(clients) == 20
    traced.wait_for_links(clients.keys())
    groups = [one.body for trace_id in callers for one in traced.received(trace_id=trace_id)]
    commits = [each for each in groups if each.name == "commit linked"]
    linked = {link.span_id: link.trace_id for commit in commits for link in commit.links}
    assert linked == clients
    # Twenty that leave at once travel in one or two calls.
    assert len(commits) <= 3


def test_an_owner_that_is_killed_leaves_one_trace_with_both_attempts(traced: Traced) -> None:
    posts = traced.db["killed"]
    posts.create({"n": 0}, id="a")
    pid = posts.stats()["pid"]
    os.kill(pid, signal.SIGSTOP)  # The call reaches an owner that does not answer any more.
    killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    with TRACER.start_as_current_span("caller") as caller:
        killer.start()
        assert posts.update("a", {"$inc": {"n": 1}})["n"] == 1
    received = traced.received(
        *("update killed", "update killed" + RECEIVED, "storage.create", "update killed attempt"),
        trace_id=trace_id_of(caller),
    )
    spans = {(one.body.name, one.body.kind): one for one in received}
    client, execute = spans["update killed", CLIENT].body, spans["update killed", SERVER]
    sent = [one.body for one in received if one.body.name == "update killed attempt"]
    sent.sort(key=lambda span: span.start_time_unix_nano)
    attempts = [attributes_of(span) for span in sent]
    assert [attempt["parquedb.attempt"] for attempt in attempts] == list(range(1, len(attempts) + 1))
    assert (attempts[0]["error.type"], attempts[-1].get("error.type")) == ("ReplyLost", None)
    assert {span.parent_span_id for span in sent} == {client.span_id}
    assert execute.body.parent_span_id == client.span_id
    assert execute.resource["process.pid"] != pid
    assert [violation for one in received for violation in span_violations(one)] == []


def use_everything(posts: Collection, folder: Path) -> None:
    """Call every public method of a collection, some so that they fail."""
    posts.register({"n": "int"})
    posts.create({"n": 1, "tags": ["x"]}, id="a")
    posts.create_many([{"$id": f"m{n}", "n": n} for n in range(5)])
    posts.insert_arrow(pa.table({"$id": ["t1", "t2"], "n": [1, 2]}))
    posts.update("a", {"$inc": {"n": 1}}, expected_version=1)
    posts.replace("a", {"n": 7})
    posts.delete("m1")
    posts.restore("m1")
    posts.batch([{"op": "create", "id": "b", "data": {"n": 3}}, {"op": "delete", "id": "m2"}])
    posts.update_many({"n": {"$gte": 3}}, {"$inc": {"n": 1}})
    posts.delete_many({"n": 400})
    posts.upsert({"n": 500}, {"$set": {"tags": []}})
    posts.flush()
    posts.compact()
    posts.get("a")
    assert posts.exists("a")
    posts.get_or_raise("a")
    assert len(list(posts.find({"n": {"$gte": 0}}, sort="-n", total=True))) > 3
    posts.find_one({"n": 1})
    posts.count()
    posts.distinct("n")
    posts.aggregate([{"$match": {"n": {"$gte": 1}}}, {"$count": "n"}])
    posts.explain({"n": 1})
    posts.history("a")
    assert next(iter(posts.changes(follow=False)))
    with posts.snapshot() as snapshot:
        snapshot.to_arrow()
    posts.export_file(folder / "out.jsonl")
    posts.import_file(folder / "out.jsonl", on_error="skip")
    posts.schema()
    posts.stats()
    assert posts.verify().ok
    for fails in (
        lambda: posts.create({"n": 1}, id="a"),
        lambda: posts.update("a", {"$inc": {"n": 1}}, expected_version=1),
        lambda: posts.replace("nobody", {"n": 1}),
        lambda: posts.batch([{"op": "delete", "id": "a"}, {"op": "create", "id": "b", "data": {}}]),
        lambda: posts.find({"$nonsense": 1}),
    ):
        with pytest.raises(ParqueDBError):
            fails()
    with pytest.raises(EntityNotFoundError):
        posts.get_or_raise("nobody")


def test_every_span_of_every_public_operation_keeps_to_the_conventions(traced: Traced, tmp_path: Path) -> None:
    used: set[str] = set()

    class Noted(Collection):
        def __getattribute__(self, name: str) -> Any:
            used.add(name)
            return super().__getattribute__(name)

    use_everything(Noted(traced.db, "everything"), tmp_path)
    public = {name for name in dir(Collection) if not name.startswith("_")}
    assert public - used <= {"namespace", "actor"}
    received = traced.received("find everything", "storage.create", "flush everything", "cold_start everything")
    # Attempts are there only if something had to be sent again, which another test sees to.
    assert {kind_of(one.body) for one in received} - {"attempt"} == {"call", "commit", "storage", "background"}
    methods = {attributes_of(one.body).get("db.operation.name") for one in received}
    assert methods >= {"create", "create_many", "batch", "update", "find", "count", "commit"}
    assert [violation for one in received for violation in span_violations(one)] == []

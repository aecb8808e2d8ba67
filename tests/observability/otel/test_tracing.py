"""Spans nest as the operations do, across tasks and processes, and say what the conventions want."""

import asyncio
import contextvars
import pickle
import threading

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.trace import SpanKind, StatusCode

from parquedb.errors import ObjectNotFoundError, VersionConflictError
from parquedb.observability.contexts import (
    CircuitContext,
    CommitContext,
    CommitResult,
    FlushContext,
    MutationContext,
    MutationResult,
    QueryResult,
    StorageResult,
    create_mutation_context,
    create_query_context,
    create_storage_context,
)
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.lean_tracer import LeanSpans
from parquedb.observability.otel.propagation import context_from, current_traceparent, span_context_of
from parquedb.observability.otel.span_provider import decide_by
from parquedb.observability.otel.span_sinks import readable
from parquedb.observability.otel.tracing import LINKS_MAX, OpenTelemetryHook

UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Traced:
    """A registry whose only hook makes spans, and the spans it has made, by an SDK provider or by our own."""

    def __init__(self, kind: str = "sdk", **options) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("application")
        self.registry = HookRegistry()
        spans = LeanSpans(self._keep, decide_by(DEFAULT_ON)) if kind == "lean" else None
        self.registry.register_hook(OpenTelemetryHook(provider, spans=spans, **options))

    def _keep(self, span) -> None:
        self._exporter.export([readable(span, Resource.get_empty())])

    def start(self, group, context):
        return self.registry.start(group, context)

    def spans(self) -> dict:
        """The finished spans by name; nothing a hook raised is hidden behind them."""
        assert self.registry.stats()[0].errors == {}
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture(params=["sdk", "lean"])
def traced(request):
    yield Traced(request.param)
    assert current_traceparent() is None, "a span stayed active"


def sampled(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def test_a_write_is_a_client_span_in_the_words_of_the_database_conventions(traced):
    traced.start("mutation", create_mutation_context("create", "posts", actor="posts-owner")).end(
        MutationResult(duration_s=0.1, version=1, seq=7)
    )
    span = traced.spans()["create posts"]
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "db.system.name": "parquedb",
        "db.namespace": "posts",
        "db.collection.name": "posts",
        "db.operation.name": "create",
        "parquedb.actor": "posts-owner",
        "parquedb.result.version": 1,
        "parquedb.result.seq": 7,
    }


@pytest.mark.parametrize(("batch_size", "attribute"), [(1, None), (2, 2)])
def test_a_batch_size_is_given_only_for_batches(traced, batch_size, attribute):
    context = create_query_context("execute", "posts", batch_size=batch_size, side="actor")
    traced.start("query", context).end(QueryResult(rows=5, row_groups_skipped=2))
    span = traced.spans()["execute posts"]
    assert span.kind is SpanKind.SERVER
    assert span.attributes.get("db.operation.batch.size") == attribute
    assert span.attributes["db.response.returned_rows"] == 5
    assert span.attributes["parquedb.result.row_groups_skipped"] == 2


def test_one_trace_runs_from_the_caller_through_the_actor_into_commit_and_storage(traced):
    with traced.tracer.start_as_current_span("request"):
        write = traced.start("mutation", create_mutation_context("create", "posts"))
        carried = current_traceparent()

        def in_the_actor() -> None:
            execute = traced.start(
                "mutation",
                MutationContext("execute", "posts", side="actor", traceparent=carried, traceparents=(carried,)),
            )
            call = current_traceparent()
            commit = traced.start("commit", CommitContext("posts", 3, 9, "write", 1, 120, (carried,), traceparent=call))
            put = traced.start("storage", create_storage_context("create", "posts/log/9", backend="s3", bytes=120))
            put.end(StorageResult(bytes=120))
            commit.end(CommitResult(first_seq=5, last_seq=5))
            execute.end(MutationResult())

        contextvars.Context().run(in_the_actor)
        write.end(MutationResult())
    spans = traced.spans()
    assert len({span.context.trace_id for span in spans.values()}) == 1
    parents = {name: span.parent and span.parent.span_id for name, span in spans.items()}
    ids = {name: span.context.span_id for name, span in spans.items()}
    assert parents == {
        "request": None,
        "create posts": ids["request"],
        "execute posts": ids["create posts"],
        "commit posts": ids["execute posts"],
        "storage.create": ids["commit posts"],
    }
    assert [spans[name].kind for name in ("execute posts", "commit posts", "storage.create")] == [
        SpanKind.SERVER,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
    ]
    assert not spans["execute posts"].links
    assert [link.context.span_id for link in spans["commit posts"].links] == [ids["create posts"]]
    assert spans["storage.create"].attributes["parquedb.storage.key"] == "posts/log/9"
    assert spans["storage.create"].attributes["parquedb.storage.request.bytes"] == 120
    commit = spans["commit posts"].attributes
    assert (commit["parquedb.commit.epoch"], commit["parquedb.commit.position"]) == (3, 9)
    assert (commit["parquedb.commit.kind"], commit["parquedb.commit.last_seq"]) == ("write", 5)


def test_a_commit_hangs_under_its_first_write_and_links_to_the_others(traced):
    writes = (sampled(1), sampled(2), sampled(1), sampled(3))
    traced.start("commit", CommitContext("posts", writes=4, traceparents=writes)).end(CommitResult())
    span = traced.spans()["commit posts"]
    assert span.parent.span_id == 1
    assert span.parent.is_remote
    assert [link.context.span_id for link in span.links] == [2, 3]
    assert span.attributes["db.operation.batch.size"] == 4


def test_a_commit_links_to_no_more_spans_than_the_sdk_keeps_and_keeps_the_first(traced):
    writes = tuple(sampled(number) for number in range(1, 2049))
    traced.start("commit", CommitContext("posts", writes=2048, traceparents=writes)).end(CommitResult())
    span = traced.spans()["commit posts"]
    assert [link.context.span_id for link in span.links] == list(range(2, LINKS_MAX + 2))
    assert span.dropped_links == 0


def test_a_commit_of_no_traced_write_is_a_trace_of_its_own(traced):
    with traced.tracer.start_as_current_span("the call that happened to start the writer task"):
        traced.start("commit", CommitContext("posts", writes=1)).end(CommitResult())
    assert traced.spans()["commit posts"].parent is None


def test_a_commit_follows_its_first_sampled_write(traced):
    traced.start("commit", CommitContext("posts", traceparents=(UNSAMPLED, sampled(2)))).end(CommitResult())
    span = traced.spans()["commit posts"]
    assert span.parent.span_id == 2
    assert not span.links


def test_the_callers_decision_not_to_sample_is_kept_and_passed_on(traced):
    context = create_mutation_context("execute", "posts", side="actor", traceparent=UNSAMPLED)
    execute = traced.start("mutation", context)
    passed_on = current_traceparent()
    put = traced.start("storage", create_storage_context("create", "k"))
    put.end(StorageResult())
    execute.end(MutationResult())
    assert traced.spans() == {}
    assert passed_on is not None
    assert passed_on.startswith(UNSAMPLED[:36])
    assert passed_on.endswith("-00")


def test_an_error_gives_its_type_and_code_but_not_its_words(traced):
    error = VersionConflictError("document 'secret-id' is at 4", expected=3, actual=4)
    traced.start("mutation", create_mutation_context("update", "posts", "secret-id")).error(error)
    span = traced.spans()["update posts"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "VersionConflictError"
    assert span.attributes["db.response.status_code"] == "VERSION_CONFLICT"
    assert "secret" not in span.to_json()


@pytest.mark.parametrize("kind", ["sdk", "lean"])
def test_exceptions_are_recorded_in_full_only_when_asked_for(kind):
    traced = Traced(kind, record_exceptions=True)
    traced.start("query", create_query_context("find", "posts")).error(OSError("disk on fire"))
    assert traced.spans()["find posts"].events[0].attributes["exception.message"] == "disk on fire"


def test_a_missing_object_is_an_answer_and_not_a_failed_span(traced):
    traced.start("storage", create_storage_context("read", "k", backend="s3")).error(ObjectNotFoundError(key="k"))
    span = traced.spans()["storage.read"]
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes
    assert span.attributes["parquedb.storage.answer"] == "not_found"


@pytest.mark.parametrize(("backend", "kind"), [("s3", SpanKind.CLIENT), ("local", SpanKind.INTERNAL)])
def test_only_a_remote_store_is_a_client_call(traced, backend, kind):
    traced.start("storage", create_storage_context("read", "k", backend=backend, attempt=2)).end(StorageResult())
    span = traced.spans()["storage.read"]
    assert span.kind is kind
    assert span.attributes["parquedb.attempt"] == 2


async def test_concurrent_operations_of_several_tasks_do_not_mix(traced):
    reached = [asyncio.Event() for _ in range(3)]

    async def one(number: int) -> None:
        commit = traced.start("commit", CommitContext(f"ns{number}"))
        reached[number].set()
        for event in reached:
            await event.wait()
        traced.start("storage", create_storage_context(f"create{number}", "k")).end(StorageResult())
        commit.end(CommitResult())

    await asyncio.gather(*(one(number) for number in range(3)))
    spans = traced.spans()
    for number in range(3):
        assert spans[f"storage.create{number}"].parent.span_id == spans[f"commit ns{number}"].context.span_id


async def test_an_operation_may_end_in_another_task_or_thread(traced, caplog):
    async def begin():
        return traced.start("query", create_query_context("find", "posts"))

    operation = await asyncio.create_task(begin())
    operation.end(QueryResult())
    operation = await asyncio.create_task(begin())
    thread = threading.Thread(target=operation.end, args=(QueryResult(),))
    thread.start()
    thread.join()
    assert "find posts" in traced.spans()
    assert caplog.records == []


def test_operations_of_one_task_may_end_out_of_order(traced):
    first = traced.start("query", create_query_context("first", "posts"))
    second = traced.start("query", create_query_context("second", "posts"))
    third = traced.start("query", create_query_context("third", "posts"))
    first.end(QueryResult())
    second.end(QueryResult())
    third.end(QueryResult())
    assert current_traceparent() is None
    assert set(traced.spans()) == {"first posts", "second posts", "third posts"}


def test_an_applications_own_span_inside_an_operation_survives_its_end(traced):
    operation = traced.start("query", create_query_context("find", "posts"))
    with traced.tracer.start_as_current_span("mine") as mine:
        operation.end(QueryResult())
        assert trace.get_current_span() is mine
    # What the application restored is the ended span; a later operation of ours takes it off.
    traced.start("query", create_query_context("count", "posts")).end(QueryResult())
    assert current_traceparent() is None


def test_a_flush_becomes_a_span_of_its_duration(traced):
    traced.registry.emit("flush", FlushContext("posts", duration_s=2.0, rows=50_000, reason="rows"))
    span = traced.spans()["flush posts"]
    assert span.end_time - span.start_time == 2_000_000_000
    assert span.attributes["parquedb.flush.rows"] == 50_000
    assert span.attributes["parquedb.flush.reason"] == "rows"


def test_a_circuit_change_is_an_event_of_the_span_that_caused_it(traced):
    operation = traced.start("storage", create_storage_context("read", "k", backend="s3"))
    traced.registry.emit("circuit_change", CircuitContext("read", "closed", "open"))
    operation.error(OSError())
    event = traced.spans()["storage.read"].events[0]
    assert event.name == "parquedb.circuit_change"
    assert event.attributes["parquedb.circuit.after"] == "open"


def test_the_hook_pickles_without_its_provider():
    provider = TracerProvider(shutdown_on_exit=False)
    copy = pickle.loads(pickle.dumps(OpenTelemetryHook(provider, record_exceptions=True)))
    registry = HookRegistry()
    registry.register_hook(copy)
    registry.start("query", create_query_context("find", "posts")).error(OSError())
    assert registry.stats()[0].errors == {}


def test_a_traceparent_survives_the_round_trip():
    span_context = span_context_of(sampled(255))
    assert (span_context.trace_id, span_context.span_id) == (255, 255)
    with trace.use_span(trace.get_current_span(context_from(sampled(255)))):
        assert current_traceparent() == sampled(255)
    assert current_traceparent() is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "garbage",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        "00-0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-é1",
    ],
)
def test_a_bad_traceparent_is_no_parent_and_no_error(text):
    assert span_context_of(text) is None
    assert trace.get_current_span(context_from(text)).get_span_context().is_valid is False


def test_a_later_version_of_traceparent_is_read_by_its_first_four_parts():
    assert span_context_of("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").trace_flags.sampled

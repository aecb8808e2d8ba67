"""Capturing requests from spans: of a real instrumented SDK, and by the conventions; without ever holding it up."""

import importlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import openai
import pytest
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode

from parquedb.errors import NetworkError, OutcomeUnknownError, StorageWriteError
from parquedb.observability.ai import AIRequest, AIRequestsView, AISpanProcessor, Tokens
from parquedb.observability.ai import spans as names
from parquedb.observability.ai.recorded import Recorded
from tests.support.model_server import MODEL, model_server
from tests.support.view_database import ViewDatabase


@pytest.fixture
def db() -> Iterator[ViewDatabase]:
    database = ViewDatabase()
    yield database
    database.close()


class Heard(AIRequestsView):
    """A view that remembers what it is given, and fails as told."""

    def __init__(self, db: ViewDatabase, *failures: Exception, **settings: Any) -> None:
        super().__init__(db, **settings)
        self.failures = list(failures)
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def record_many(self, requests: Sequence[AIRequest]) -> Recorded:
        self.gate.wait()
        self.batches.append([request.id for request in requests])
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, OutcomeUnknownError):
                super().record_many(requests)
            raise failure
        return super().record_many(requests)


def tracing(view: AIRequestsView, **settings: Any) -> tuple[TracerProvider, AISpanProcessor]:
    resource = Resource({"service.name": "shop", "deployment.environment.name": "test", "tenant.id": "acme"})
    provider, processor = TracerProvider(resource=resource), AISpanProcessor(view, interval_s=0.0, **settings)
    provider.add_span_processor(processor)
    return provider, processor


def make_span(provider: TracerProvider, name: str = "chat m", error: Exception | None = None, **facts: Any) -> str:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m"}
    attributes |= {f"gen_ai.{fact.replace('__', '.')}": value for fact, value in facts.items()}
    span = provider.get_tracer("t").start_span(name, attributes=attributes)
    if error is not None:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()
    context = span.get_span_context()
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def test_an_instrumented_sdk_is_captured_without_code(db: ViewDatabase) -> None:
    view = AIRequestsView(db, content=True, tenant="acme")
    provider, processor = tracing(view)
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with model_server() as url, openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
            said = [{"role": "user", "content": "Hi"}]
            client.chat.completions.create(model="gpt-4o-mini", messages=said)
            list(client.chat.completions.create(
                model="gpt-4o-mini", messages=said, stream=True, stream_options={"include_usage": True}
            ))  # fmt: skip
            client.embeddings.create(model="text-embedding-3-small", input="Hi")
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(model="busy", messages=said)
    finally:
        instrumentor.uninstrument()
    assert processor.force_flush()
    whole, streamed, embedded, failed = view.find(sort="time")
    assert (whole["provider"], whole["model"], whole["request_model"]) == ("openai", MODEL, "gpt-4o-mini")
    assert (whole["input_tokens"], whole["output_tokens"], whole["status"]) == (120, 30, "ok")
    assert whole["finish_reasons"] == ["stop"]
    assert whole["latency_s"] > 0
    assert isinstance(whole["cost"], Decimal)
    assert (whole["app"], whole["environment"], whole["tenant"]) == ("shop", "test", "acme")
    assert (streamed["input_tokens"], streamed["output_tokens"]) == (120, 30)
    assert (embedded["type"], embedded["model"], embedded["input_tokens"]) == ("embed", "text-embedding-3-small", 7)
    assert (failed["status"], failed["model"]) == ("error", "busy")
    assert failed["error"].endswith("RateLimitError")
    assert processor.stats.stored == 4
    processor.shutdown()


def test_all_facts_of_the_conventions_are_read(db: ViewDatabase) -> None:
    view = AIRequestsView(db, tenant="acme")
    provider, processor = tracing(view)
    id_ = make_span(
        provider,
        response__model="m-2026-01-01",
        response__id="resp-1",
        response__time_to_first_chunk=0.25,
        response__finish_reasons=("stop", "length"),
        usage__input_tokens=100,
        usage__output_tokens=50,
        usage__cache_read__input_tokens=40,
        usage__cache_creation__input_tokens=10,
        usage__reasoning__output_tokens=20,
    )
    assert processor.force_flush()
    [row] = view.find()
    assert row["$id"] == f"ai_requests/{id_}"
    assert id_ == f"{row['trace_id']}-{row['span_id']}"
    tokens = [row[f"{kind}_tokens"] for kind in ("input", "output", "cache_read", "cache_creation", "reasoning")]
    assert tokens == [100, 50, 40, 10, 20]
    assert (row["type"], row["first_chunk_s"], row["finish_reasons"]) == ("stream", 0.25, ["stop", "length"])
    assert (row["model"], row["request_model"], row["metadata"]) == ("m-2026-01-01", "m", {"response": "resp-1"})
    assert "content" not in row
    processor.shutdown()


def test_the_names_are_those_of_the_pinned_conventions() -> None:
    module = importlib.import_module("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {value for name, value in vars(module).items() if name.startswith("GEN_AI_") and isinstance(value, str)}
    ours = {name for group in vars(names).values() if isinstance(group, tuple) for name in group}
    ours = {name for name in ours if name.startswith("gen_ai.")}
    assert len(ours) >= 15
    assert ours <= known
    operations = {member.value for member in module.GenAiOperationNameValues}
    assert set(names._TYPES) <= operations


def test_spans_around_requests_do_not_count_their_tokens_again(db: ViewDatabase) -> None:
    view = AIRequestsView(db, tenant="acme")
    provider, processor = tracing(view)
    for operation in ("invoke_agent", "execute_tool", "invoke_workflow", "create_agent", "retrieval"):
        make_span(provider, operation__name=operation, usage__input_tokens=1000)
    provider.get_tracer("t").start_span("SELECT").end()
    make_span(provider, usage__input_tokens=10)
    assert processor.force_flush()
    assert view.statistics().tokens == Tokens(10)
    processor.shutdown()


@pytest.mark.parametrize("odd", ["many", -5, True, float("inf"), 10**15, (1, 2)])
def test_odd_attributes_are_left_out_and_never_reach_the_application(db: ViewDatabase, odd: Any) -> None:
    view = AIRequestsView(db, tenant="acme")
    provider, processor = tracing(view)
    make_span(provider, usage__input_tokens=odd, response__time_to_first_chunk=odd, response__finish_reasons=odd)
    assert processor.force_flush()
    [row] = view.find()
    assert row["input_tokens"] == 0
    processor.shutdown()


def test_an_error_is_named_after_its_exception(db: ViewDatabase) -> None:
    view = AIRequestsView(db, tenant="acme")
    provider, processor = tracing(view)
    make_span(provider, error=ValueError("my prompt"))
    assert processor.force_flush()
    [row] = view.find()
    assert (row["status"], row["error"]) == ("error", "ValueError")
    assert "my prompt" not in repr(row)
    processor.shutdown()


def test_a_span_told_twice_is_stored_once(db: ViewDatabase) -> None:
    view = AIRequestsView(db, tenant="acme")
    provider, processor = tracing(view)
    provider.add_span_processor(processor)
    make_span(provider)
    assert processor.force_flush()
    assert (processor.stats.stored, processor.stats.duplicates) == (1, 1)
    processor.shutdown()


def test_what_could_not_be_stored_is_sent_again_and_stored_once(db: ViewDatabase) -> None:
    view = Heard(db, OutcomeUnknownError(request_id="x"), NetworkError("gone"), tenant="acme")
    provider, processor = tracing(view)
    make_span(provider)
    assert processor.force_flush()
    assert len(view.batches) == 3
    assert (processor.stats.stored, processor.stats.duplicates, view.statistics().requests) == (0, 1, 1)
    processor.shutdown()


def test_what_the_database_refuses_is_counted_and_does_not_end_the_capture(db: ViewDatabase) -> None:
    refusals = [ValueError("a bug"), StorageWriteError("full", code=None)]
    view = Heard(db, refusals[0], tenant="acme")
    provider, processor = tracing(view)
    make_span(provider)
    assert processor.force_flush()
    make_span(provider)
    assert processor.force_flush()
    assert (processor.stats.failed, processor.stats.stored) == (1, 1)
    processor.shutdown()


def test_the_application_does_not_wait_and_a_full_queue_drops_and_counts(db: ViewDatabase) -> None:
    view = Heard(db, tenant="acme")
    provider, processor = tracing(view, queue_max=10, batch_max=5)
    view.gate.clear()
    started_s = time.monotonic()
    for _ in range(100):
        make_span(provider)
    assert time.monotonic() - started_s < 5
    assert not processor.force_flush(timeout_millis=10)
    # Ten wait, and up to five are in the hands of the thread that is held up.
    assert 85 <= processor.stats.dropped <= 90
    view.gate.set()
    assert processor.force_flush()
    assert processor.stats.stored == 100 - processor.stats.dropped
    assert max(map(len, view.batches)) <= 5
    processor.shutdown()


def test_a_shutdown_records_what_waits_and_takes_no_more(db: ViewDatabase) -> None:
    view = AIRequestsView(db, tenant="acme")
    provider, processor = tracing(view)
    make_span(provider)
    processor.shutdown()
    make_span(provider)
    processor.shutdown()
    assert (processor.stats.stored, processor.stats.dropped) == (1, 1)


def test_a_forked_child_waits_for_nothing_that_is_its_parents(db: ViewDatabase) -> None:
    view = Heard(db, tenant="acme")
    provider, processor = tracing(view)
    view.gate.clear()
    make_span(provider)
    child = os.fork()
    if not child:
        os._exit(0 if processor.force_flush(timeout_millis=5_000) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    view.gate.set()
    processor.shutdown()
    assert processor.stats.stored == 1

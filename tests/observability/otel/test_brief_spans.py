"""Brief spans are what whole ones would have been, at a fraction of their cost."""

import dataclasses
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from parquedb.observability.brief import UNKNOWN, Kind
from parquedb.observability.contexts import MutationResult
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.brief_encoding import encode_briefs
from parquedb.observability.otel.brief_spans import LOCAL, NO_PARENT, REMOTE, BriefSpans, whole
from parquedb.observability.otel.lean_span import LeanSpan
from parquedb.observability.otel.lean_tracer import SCHEMA_URL, SCOPE, LeanSpans
from parquedb.observability.otel.otlp_encoding import RequestEncoder, envelope
from parquedb.observability.otel.propagation import current_packed
from parquedb.observability.otel.span_provider import decide_by
from parquedb.observability.otel.span_sinks import ReadableSink
from parquedb.observability.otel.tail import Tail
from parquedb.observability.otel.tracing import OpenTelemetryHook
from parquedb.observability.otel.version import VERSION
from parquedb.observability.testing import RecordingHook

AROUND = envelope({"service.name": "shop"}, SCOPE, VERSION, SCHEMA_URL)
NAMES = ("rows", "bytes", "version", "seq", "errors", "attempts")
CREATES = Kind("mutation", "create", "posts", "owner", NAMES)
NUMBERS = (1, 212, 1, 70_000, 0, 1)
OFFSET_NS = 1_700_000_000_000_000_000

numbers = st.integers(0, 2**63 - 1) | st.just(UNKNOWN)
seconds = st.floats(0, 1e8)
parents = st.just(NO_PARENT) | st.builds(
    lambda span_id, place: span_id + place, st.binary(min_size=8, max_size=8), st.sampled_from((LOCAL, REMOTE))
)


def hooked(sampler: Any = ALWAYS_ON, tail: Tail | None = None, **options: Any) -> tuple[OpenTelemetryHook, list[Any]]:
    sent: list[Any] = []
    return OpenTelemetryHook(spans=LeanSpans(sent.append, decide_by(sampler), tail), **options), sent


def series(*names: str) -> list[BriefSpans]:
    hook = hooked()[0]
    made = [hook.brief(Kind("mutation", name, "posts", "owner", NAMES)) for name in names]
    return [one for one in made if one is not None]


def ended(kind: BriefSpans) -> list[Any]:
    """Return a span that has ended, as it is queued."""
    kept: list[Any] = []
    kind._finished = kept.append
    kind.end(*kind.begin(), 1.0, 2.0, NUMBERS)
    return kept


def under(sampled: bool) -> Any:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return trace.use_span(NonRecordingSpan(SpanContext(7, 8, False, flags)))


def decoded(spans: list[LeanSpan], encoded: Any = ()) -> list[Any]:
    request = ExportTraceServiceRequest.FromString(bytes(RequestEncoder(AROUND).encode(spans, encoded)))
    return sorted(request.resource_spans[0].scope_spans[0].spans, key=lambda span: (span.name, span.span_id))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("create", "update")),
            st.binary(min_size=24, max_size=24),
            parents,
            seconds,
            seconds,
            st.tuples(*[numbers] * len(NAMES)),
        ),
        max_size=20,
        unique_by=lambda one: one[1][16:],
    )
)
def test_many_at_a_time_are_encoded_as_each_would_be(facts: list[Any]) -> None:
    kinds = dict(zip(("create", "update"), series("create", "update"), strict=True))
    numbered, briefs = dict(enumerate(kinds.values())), []
    for name, ids, parent, began_s, ended_s, told in facts:
        # As if it had ended, and had been queued.
        kinds[name]._finished = briefs.append
        kinds[name].end(ids + b"\x01", parent, began_s, ended_s, told)
    apart = decoded([whole(brief, numbered, OFFSET_NS) for brief in briefs])
    together = decoded([], encode_briefs(briefs, numbered, OFFSET_NS))
    for one, other in zip(apart, together, strict=True):
        assert sorted(one.attributes, key=str) == sorted(other.attributes, key=str)
        for span in (one, other):
            del span.attributes[:]
        assert one == other


def test_a_brief_span_says_what_the_result_would_have_said() -> None:
    hook, sent = hooked()
    brief = hook.brief(CREATES)
    assert brief is not None
    brief.end(*brief.begin(), 1.0, 1.5, NUMBERS)
    subject = object()
    brief.open(subject, *brief.begin(), 1.0)
    brief.finish(subject, MutationResult(0.5, *NUMBERS))
    told, full = whole(sent[0], {0: brief}, 0), sent[1]
    assert told.attributes == full.attributes
    assert told.template is full.template
    assert (told.template.name, told.template.kind) == ("create posts", SpanKind.CLIENT)
    assert (told.start_ns, told.end_ns) == (1_000_000_000, 1_500_000_000)


def test_it_hangs_under_the_active_span_and_travels_as_itself() -> None:
    hook, sent = hooked(DEFAULT_ON)
    brief = hook.brief(CREATES)
    assert brief is not None
    with under(sampled=True):
        span, parent = brief.begin()
    assert (span[:16], span[24], parent) == ((7).to_bytes(16, "big"), 1, (8).to_bytes(8, "big") + LOCAL)
    brief.end(span, parent, 1.0, 2.0, NUMBERS)
    made = whole(sent[0], {0: brief}, 0)
    assert made.span_id.to_bytes(8, "big") == span[16:24]
    assert (made.parent.span_id, made.parent.is_remote) == (8, False)
    assert brief.begin()[1] == NO_PARENT, "nothing is active any more"


def test_under_a_span_that_is_not_sampled_nothing_is_sent() -> None:
    hook, sent = hooked(DEFAULT_ON)
    brief = hook.brief(CREATES)
    assert brief is not None
    with under(sampled=False):
        span, parent = brief.begin()
    assert span[24] == 0
    brief.end(span, parent, 1.0, 2.0, NUMBERS)
    brief.open(brief, span, parent, 1.0)
    brief.fail(brief, ValueError("no"))
    assert sent == []


def test_one_made_whole_is_active_until_it_ends() -> None:
    hook, sent = hooked()
    brief = hook.brief(Kind("query", "get", "posts", "owner", ("rows", "seq", "attempts")))
    assert brief is not None
    span, parent = brief.begin()
    brief.open("subject", span, parent, 1.0)
    assert current_packed() == span
    brief.fail("subject", ValueError("no"))
    assert current_packed() is None
    assert sent[0].attributes == {"error.type": "ValueError"}


def test_what_has_to_be_quoted_is_not_told_in_brief() -> None:
    assert hooked(record_exceptions=True)[0].brief(CREATES) is None


def test_a_hook_that_has_changed_what_is_told_is_told_as_ever() -> None:
    class Changed(OpenTelemetryHook):
        pass

    assert Changed(spans=hooked()[0]._spans).brief(CREATES) is None


def test_an_exporter_of_the_sdk_gets_whole_spans() -> None:
    exporter, [kind] = InMemorySpanExporter(), series("create")
    assert ReadableSink(exporter, Resource({}), {0: kind}).send(ended(kind))
    [span] = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["parquedb.result.seq"] == NUMBERS[3]


def test_a_registry_tells_in_brief_only_where_nobody_else_listens() -> None:
    hook, sent = hooked()
    hooks = HookRegistry()
    hooks.register_hook(hook)
    brief, before = hooks.brief(CREATES), hooks.generation
    assert brief is not None
    unregister = hooks.register_hook(RecordingHook("on_mutation_end"))
    assert hooks.brief(CREATES) is None
    assert hooks.generation > before
    unregister()
    assert hooks.brief(CREATES) is brief
    hooks.register_hook(RecordingHook("on_query_end"))
    assert hooks.brief(CREATES) is brief
    brief.end(*brief.begin(), 1.0, 2.0, NUMBERS)
    assert dataclasses.asdict(hooks.stats()[0].groups["mutation"])["calls"] == 2
    assert len(sent) == 1


def test_a_process_and_its_fork_draw_different_ids() -> None:
    hook, _ = hooked()
    brief = hook.brief(CREATES)
    assert brief is not None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, brief.begin()[0])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) != brief.begin()[0]
    os.close(reading)
    os.close(writing)

"""What we encode ourselves is what the published protobuf classes read, and what the SDK would have sent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from parquedb.observability.otel.lean_span import ATTRIBUTES_MAX, EVENTS_MAX, LeanSpan, SpanTemplate
from parquedb.observability.otel.lean_tracer import SCHEMA_URL, SCOPE
from parquedb.observability.otel.otlp_encoding import KEPT_BYTES_MAX, RequestEncoder, envelope, sized
from parquedb.observability.otel.span_sinks import readable
from parquedb.observability.otel.version import VERSION
from tests.support.collector import attributes_of

RESOURCE = Resource({"service.name": "shop", "process.pid": 7}, schema_url="")
AROUND = envelope(RESOURCE.attributes, SCOPE, VERSION, SCHEMA_URL)
TEMPLATE = SpanTemplate("create posts", SpanKind.CLIENT, {"db.namespace": "posts", "db.system.name": "parquedb"})

texts = st.text(max_size=300)
values = st.one_of(
    texts, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False), st.lists(texts, max_size=3)
)
attributes = st.dictionaries(st.text(min_size=1, max_size=40), values, max_size=8)
ids = st.integers(1, 2**64 - 1)


def span_of(
    trace_id: int = 1, span_id: int = 2, parent: SpanContext | None = None, links: tuple[bytes, ...] = ()
) -> LeanSpan:
    return LeanSpan(TEMPLATE, trace_id, span_id, parent, links, sampled=True, start_ns=10, ended=lambda _: None)


def decoded(*spans: LeanSpan) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(bytes(RequestEncoder(AROUND).encode(spans)))


parents = st.builds(SpanContext, st.integers(1, 2**128 - 1), ids, st.booleans(), st.just(TraceFlags(1)))


@given(attributes, attributes, ids, parents, st.binary(min_size=24, max_size=24))
def test_a_span_is_encoded_as_the_sdk_would(
    own: dict[str, Any], event: dict[str, Any], span_id: int, parent: SpanContext, link: bytes
) -> None:
    links = (link + b"\x01",) if any(link[:16]) and any(link[16:]) else ()
    span = span_of(parent.trace_id, span_id, parent, links)
    span.set_attributes(own)
    span.add_event("something", event, 15)
    span.set_status(Status(StatusCode.ERROR, "VersionConflictError"))
    span.end(2**63)
    assert decoded(span) == encode_spans([readable(span, RESOURCE)])


def test_a_root_span_without_anything_is_encoded_as_the_sdk_would() -> None:
    spans = [span_of(span_id=number) for number in range(1, 100)]
    for span in spans:
        span.end(20)
    assert decoded(*spans) == encode_spans([readable(span, RESOURCE) for span in spans])


@pytest.mark.parametrize(("value", "told"), [(2**70, str(2**70)), (-(2**70), str(-(2**70))), ("\ud800", "?")])
def test_values_that_otlp_cannot_hold_are_told_as_text(value: Any, told: str) -> None:
    span = span_of()
    span.set_attribute("odd", value)
    span.end(20)
    [sent] = decoded(span).resource_spans[0].scope_spans[0].spans
    assert attributes_of(sent)["odd"] == told


def test_a_span_is_bounded_and_says_what_it_left_out() -> None:
    span = span_of()
    span.set_attributes({f"a{number}": number for number in range(ATTRIBUTES_MAX + 3)})
    for _ in range(EVENTS_MAX + 5):
        span.add_event("again")
    span.end(20)
    [sent] = decoded(span).resource_spans[0].scope_spans[0].spans
    assert len(span.attributes) == ATTRIBUTES_MAX
    assert len(sent.events) == EVENTS_MAX
    assert (sent.dropped_attributes_count, sent.dropped_events_count) == (3, 5)


def test_nothing_changes_a_span_that_has_ended() -> None:
    ended: list[LeanSpan] = []
    span = LeanSpan(TEMPLATE, 1, 2, None, (), sampled=True, start_ns=10, ended=ended.append)
    span.end(20)
    span.end(30)
    span.set_attribute("late", 1)
    span.add_event("late")
    span.set_status(StatusCode.ERROR)
    assert ended == [span]
    assert (span.end_ns, span.attributes, span.events, span.status[0]) == (20, {}, (), StatusCode.UNSET)


def test_requests_of_any_size_follow_each_other_in_the_same_memory() -> None:
    encoder = RequestEncoder(AROUND)
    for count in (100, 3, 0, 50):
        spans = [span_of(span_id=number) for number in range(1, count + 1)]
        request = ExportTraceServiceRequest.FromString(bytes(encoder.encode(spans)))
        assert [len(scoped.spans) for scoped in request.resource_spans[0].scope_spans] == [count]
    kept = encoder.encode([])
    assert kept.obj is encoder.encode([]).obj
    large = encoder.encode([], [sized(0x12, bytes(KEPT_BYTES_MAX))])
    assert len(large) > KEPT_BYTES_MAX
    assert encoder.encode([]).obj is kept.obj, "what is seldom needed is not kept"

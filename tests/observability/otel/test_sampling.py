"""Samplers that we do not ask decide as if we did, for whole spans and for packed ones."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanKind

from parquedb.observability.otel.lean_span import SpanTemplate
from parquedb.observability.otel.lean_tracer import LeanSpans
from parquedb.observability.otel.propagation import unpacked
from parquedb.observability.otel.span_provider import decide_by

TEMPLATE = SpanTemplate("create posts", SpanKind.CLIENT, {})
rates = st.floats(0, 1) | st.sampled_from((0.0, 0.01, 0.5, 1.0))
usual = st.sampled_from((ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF))
shares = rates.map(TraceIdRatioBased) | rates.map(ParentBasedTraceIdRatio)
others = rates.map(lambda rate: ParentBased(TraceIdRatioBased(rate)))
samplers: st.SearchStrategy[Sampler] = usual | shares | others
parents = st.binary(min_size=24, max_size=24).filter(lambda ids: any(ids[:16]) and any(ids[16:])) | st.none()


@given(samplers, parents, st.booleans())
def test_a_packed_span_is_sampled_where_the_sampler_says_so(sampler: Sampler, ids: bytes | None, flag: bool) -> None:
    source = LeanSpans(lambda _: None, decide_by(sampler))
    context, asked = Context(), sampler.should_sample
    if ids is None:
        span = source.packed_root(TEMPLATE)
        whole: Any = source.begin(TEMPLATE, Context())
    else:
        above = ids + bytes((flag,))
        span = source.packed_child(above, TEMPLATE)
        context = trace.set_span_in_context(NonRecordingSpan(unpacked(above)))
        whole = source.begin(TEMPLATE, context)
        assert span[:16] == above[:16]
        assert span[16:24] != above[16:24]
    for trace_id, sampled in (
        (int.from_bytes(span[:16], "big"), bool(span[24])),
        (whole.get_span_context().trace_id, whole.get_span_context().trace_flags.sampled),
    ):
        decision = asked(context, trace_id, TEMPLATE.name, TEMPLATE.kind).decision
        assert sampled is (decision is Decision.RECORD_AND_SAMPLE)


@pytest.mark.parametrize("count", [10, 1000])
def test_no_two_spans_have_the_same_ids(count: int) -> None:
    source = LeanSpans(lambda _: None, decide_by(ALWAYS_ON))
    roots = [source.packed_root(TEMPLATE) for _ in range(count)]
    children = [source.packed_child(roots[0], TEMPLATE) for _ in range(count)]
    assert len({each[:16] for each in roots}) == count
    assert len({each[16:24] for each in roots + children}) == 2 * count

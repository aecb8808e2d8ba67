"""Sampling left most spans out; those that failed or took longest are kept nevertheless, in bounds."""

import random

import pytest
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind, StatusCode

from parquedb.observability.contexts import CommitContext, MutationContext, MutationResult, create_mutation_context
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.lean_span import LeanSpan, SpanTemplate
from parquedb.observability.otel.lean_tracer import LeanSpans
from parquedb.observability.otel.propagation import current_traceparent
from parquedb.observability.otel.span_provider import decide_by
from parquedb.observability.otel.tail import KEPT_AT_ONCE_MAX, KEPT_PER_S_MAX, NAMES_MAX, SPANS_MIN, Tail
from parquedb.observability.otel.tracing import OpenTelemetryHook


def ended(
    took_s: float = 0.001, *, name: str = "create posts", sampled: bool = False, failed: bool = False
) -> LeanSpan:
    template = SpanTemplate(name, SpanKind.CLIENT, {})
    span = LeanSpan(template, 1, 2, None, (), sampled=sampled, start_ns=1, ended=lambda _: None)
    if failed:
        span.set_status(StatusCode.ERROR)
    span.end(1 + int(took_s * 1e9))
    return span


class Seconds:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_an_operation_that_was_sampled_out_is_kept_when_it_fails_with_the_ids_it_handed_on() -> None:
    kept: list[LeanSpan] = []
    registry = HookRegistry()
    spans = LeanSpans(kept.append, decide_by(ParentBasedTraceIdRatio(0.0)), Tail())
    registry.register_hook(OpenTelemetryHook(spans=spans))
    registry.start("mutation", create_mutation_context("create", "posts")).end(MutationResult())
    assert kept == []
    write = registry.start("mutation", create_mutation_context("create", "posts"))
    handed_on = current_traceparent()
    write.error(OSError())
    [span] = kept
    assert handed_on == f"00-{span.trace_id:032x}-{span.span_id:016x}-00"
    assert span.attributes["parquedb.sampling.kept"] == "error"


@pytest.mark.parametrize("scale_s", [1e-5, 1e-3, 1.0])
def test_about_one_span_in_a_hundred_counts_as_slow_whatever_they_take(scale_s: float) -> None:
    clock, rng = Seconds(), random.Random(1)
    tail = Tail(clock)
    kept: list[float] = []
    for number in range(20_000):
        clock.now_s += 1.0
        took_s = scale_s * rng.lognormvariate(0, 0.5)
        why = tail.why_kept(ended(took_s))
        if why is not None and number > 5_000:
            assert why == "slow"
            kept.append(took_s)
    assert 75 < len(kept) < 300
    # The 0.97 quantile of that distribution is 2.56 times its median.
    assert min(kept) > 2.2 * scale_s


def test_nothing_is_slow_before_enough_is_known_and_sampled_spans_teach_too() -> None:
    tail = Tail()
    assert [tail.why_kept(ended(number / 1000)) for number in range(1, SPANS_MIN)] == [None] * (SPANS_MIN - 1)
    other = Tail()
    for _ in range(3 * SPANS_MIN):
        assert other.why_kept(ended(0.001, sampled=True)) is None
    assert other.why_kept(ended(0.5)) == "slow"
    assert other.why_kept(ended(0.0001)) is None


def test_a_storm_of_errors_keeps_no_more_than_the_bound() -> None:
    clock = Seconds()
    tail = Tail(clock)
    storm = [tail.why_kept(ended(failed=True)) for _ in range(1000)]
    assert storm.count("error") == KEPT_AT_ONCE_MAX
    clock.now_s += 2.0
    later = [tail.why_kept(ended(failed=True)) for _ in range(1000)]
    assert later.count("error") == 2 * KEPT_PER_S_MAX


def test_thresholds_are_kept_of_so_many_names_and_errors_of_any() -> None:
    tail = Tail()
    for number in range(NAMES_MAX + 50):
        tail.why_kept(ended(name=f"create n{number}"))
    assert len(tail._thresholds) == NAMES_MAX
    assert tail.why_kept(ended(name="create beyond", failed=True)) == "error"


def test_what_an_owner_keeps_hangs_under_the_span_that_its_client_had_left_out() -> None:
    kept: list[LeanSpan] = []
    registry = HookRegistry()
    spans = LeanSpans(kept.append, decide_by(ParentBasedTraceIdRatio(1.0)), Tail())
    registry.register_hook(OpenTelemetryHook(spans=spans))
    left_out = f"00-{7:032x}-{9:016x}-00"
    call = registry.start("mutation", MutationContext("execute", "posts", side="actor", traceparent=left_out))
    registry.start("commit", CommitContext("posts", traceparent=current_traceparent())).error(OSError())
    call.end(MutationResult())
    [commit] = kept
    assert commit.template.name == "commit posts"
    assert commit.trace_id == 7
    assert commit.parent is not None
    # Its own parent, the call, ended well and in time: it is missing, and the trace still leads to the client's.
    assert commit.parent.span_id != 9

"""Traces go through a gateway: each operation tells the span that it belongs to."""

import asyncio
from collections.abc import Iterator

import orjson
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import parquedb
from parquedb.observability.otel.propagation import traceparent_of
from tests.cluster.http.test_repeats import Between
from tests.support.gateway_server import AppServer, GatewayServer


@pytest.fixture
def front() -> Iterator[tuple[Between, str]]:
    gateway = GatewayServer()
    between = Between(gateway.app)
    with AppServer(between) as listening:
        yield between, listening.url
    gateway.local.leave()


def span(number: int, *, sampled: bool) -> SpanContext:
    return SpanContext(number, number, is_remote=False, trace_flags=TraceFlags(int(sampled)))


def test_operations_that_leave_together_keep_their_spans_and_the_request_has_the_first_sampled_one(
    front: tuple[Between, str],
) -> None:
    between, url = front
    spans = [span(number, sampled=number > 1) for number in range(1, 5)]

    async def create(posts: parquedb.AsyncCollection, context: SpanContext) -> None:
        with trace.use_span(NonRecordingSpan(context)):
            await posts.create({"span": context.span_id})

    async def work() -> None:
        async with await parquedb.connect_async(url) as db:
            await asyncio.gather(*(create(db["posts"], context) for context in spans))
            await db["posts"].count()

    asyncio.run(work())
    together, untraced = between.bodies
    told = {one["data"]["span"]: one["traceparent"] for one in orjson.loads(together)["operations"]}
    assert told == {context.span_id: traceparent_of(context) for context in spans}
    assert between.headers[0]["traceparent"] == traceparent_of(spans[1])
    assert "traceparent" not in between.headers[1]
    assert b"traceparent" not in untraced


def test_a_thread_tells_its_span_as_well(front: tuple[Between, str]) -> None:
    between, url = front
    context = span(7, sampled=True)
    with parquedb.connect(url) as db:
        with trace.use_span(NonRecordingSpan(context)):
            db["posts"].get("a")
            db["posts"].flush()
        db["posts"].stats()
    assert [headers.get("traceparent") for headers in between.headers] == [traceparent_of(context)] * 2 + [None]


def test_a_request_says_how_long_it_may_take(front: tuple[Between, str]) -> None:
    between, url = front
    with parquedb.connect(url) as db:
        db["posts"].get("a", timeout_s=7)
    assert 6 < float(between.headers[0]["request-timeout"]) <= 7
    assert 6 < orjson.loads(between.bodies[0])["operations"][0]["timeout_s"] <= 7

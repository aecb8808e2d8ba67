"""What an owner tells in brief makes the very spans that contexts and results would have made."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, ParentBasedTraceIdRatio, Sampler

from parquedb.actors.reporting.commit_watch import CommitListeners, CommitWatch
from parquedb.actors.requests import arguments, read_arguments
from parquedb.actors.requests.operations import Operation, SessionRequest
from parquedb.actors.requests.packing import decode_operations, encode_operations
from parquedb.actors.writes.calls import Origin, Write
from parquedb.actors.writes.evaluate import Rules, prepare
from parquedb.clock import SystemClock
from parquedb.errors import QuotaExceededError
from parquedb.observability.brief import Kind as ToldAlike
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.metrics.collector import MetricsCollector
from parquedb.observability.otel.brief_encoding import encode_briefs
from parquedb.observability.otel.brief_spans import BriefSpans
from parquedb.observability.otel.lean_span import LeanSpan
from parquedb.observability.otel.lean_tracer import LeanSpans
from parquedb.observability.otel.otlp_encoding import RequestEncoder
from parquedb.observability.otel.propagation import NO_SPAN, current_packed, current_traceparent
from parquedb.observability.otel.span_provider import decide_by
from parquedb.observability.otel.tail import Tail
from parquedb.observability.otel.tracing import OpenTelemetryHook
from parquedb.observability.testing import RecordingHook
from parquedb.settings import StorageSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import Call, FunnelBackend
from parquedb.storage.backends.layers import Owner, wrap_backend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.log.entry import Header, Kind, LogEntry
from tests.support.engines import NAMESPACE, opened

SESSION = b"1" * 16
VARYING = frozenset({"parquedb.storage.response.etag"})
"""Attributes whose values differ from one run to the next."""


def span(number: int, *, sampled: bool = True) -> bytes:
    return number.to_bytes(16, "big") + number.to_bytes(8, "big") + bytes((sampled,))


def create(seq: int, spans: bytes | None = None, id_: str | None = None) -> Operation:
    return Operation("create", id_, {"n": seq}, request=SessionRequest(SESSION, seq, 1, 0), spans=spans, size=50)


def get(id_: str, spans: bytes | None = None) -> Operation:
    return Operation("get", id_, spans=spans)


def batch(count: int, spans: bytes | None = None) -> Operation:
    items = [{"op": "create", "data": {"n": n}, "id": f"b{n}"} for n in range(count)]
    made = arguments.batch(NAMESPACE, items)
    return Operation(made.kind, None, made.body, made.options, spans=spans)


CALLS: dict[str, list[Operation]] = {
    "a create": [create(1, span(1))],
    "a create that nobody traces": [create(1)],
    "creates that leave joined": [create(1, span(1)), create(2, span(2)), create(3, span(3))],
    "creates of whom some are traced": [create(1, NO_SPAN), create(2, span(2)), create(3, NO_SPAN)],
    "creates under one span": [create(1, span(7)), create(2, span(7)), create(3, span(7))],
    "creates of whom the first is not sampled": [create(1, span(1, sampled=False)), create(2, span(2))],
    "a batch": [batch(5, span(4))],
    "a batch of one": [batch(1, span(4))],
    "many": [Operation("create_many", None, [{"n": 1}, {"n": 2, "$id": "given"}], spans=span(4))],
    "an update": [Operation("update", "given", {"$inc": {"n": 1}}, spans=span(5))],
    "an update of nothing": [Operation("update", "nobody", {"$inc": {"n": 1}}, spans=span(5))],
    "a delete": [Operation("delete", "given", spans=span(5))],
    "a get": [get("given", span(6))],
    "gets that leave joined": [get("given", span(6)), get("nobody", span(7))],
    "a find": [Operation("find", None, None, {"filter": {"n": 1}}, spans=span(8))],
    "a count that cannot be": [Operation("count", None, None, {"filter": {"$no": 1}}, spans=span(8))],
    "writes of two kinds": [create(1, span(1), "x"), Operation("delete", "x", spans=span(2))],
    "writes of whom one is refused": [create(1, span(1), "given"), Operation("delete", "given", spans=span(2))],
    "writes and reads": [create(1, span(1), "x"), get("x", span(2))],
    "a repeat": [Operation("delete", "given", spans=span(5), attempt=2)],
}


class Watched:
    """A registry, the spans that were made, and an owner's store that is told of."""

    def __init__(self, *others: object, sampler: Sampler = DEFAULT_ON, tail: Tail | None = None) -> None:
        self.sent: list[Any] = []
        self.hooks = HookRegistry()
        self.series: dict[int, BriefSpans] = {}
        source = LeanSpans(self.sent.append, decide_by(sampler), tail, self.series)
        self.hooks.register_hook(OpenTelemetryHook(spans=source))
        for other in others:
            self.hooks.register_hook(other)

    def storage(self, inner: StorageBackend) -> StorageBackend:
        owner = Owner(NAMESPACE, "owner")
        made = StorageSettings()
        return wrap_backend(inner, made, clock=SystemClock(), hooks=self.hooks, rng=random.Random(1), owner=owner)

    async def spans_of(self, operations: Sequence[Operation], *, inner: StorageBackend | None = None) -> list[Any]:
        """Return what was sent, decoded, of operations that reach an owner of a document as one call."""
        async with opened(self.storage(inner or MemoryBackend()), hooks=self.hooks, seed=1) as owner:
            await owner.execute([arguments.create(NAMESPACE, {"n": 1}, id="given")])
            self.sent.clear()
            await owner.execute(decode_operations(encode_operations(operations)))
            found = list(self.sent)
        assert self.hooks.stats()[0].errors == {}
        assert current_packed() is None, "a span stayed active"
        return self.decoded(found)

    def decoded(self, sent: Sequence[Any]) -> list[Any]:
        wholes = [each for each in sent if isinstance(each, LeanSpan)]
        encoded = RequestEncoder((b"", b"")).encode(wholes, encode_briefs(sent, self.series, 0))
        request = ExportTraceServiceRequest.FromString(bytes(encoded))
        return list(request.resource_spans[0].scope_spans[0].spans)


def tree(spans: Sequence[Any]) -> list[Any]:
    """Return what is to be the same of spans: all but ids that were drawn, and times."""
    names = {each.span_id: each.name for each in spans}
    return sorted(
        (
            each.name,
            each.kind,
            names.get(each.parent_span_id, each.parent_span_id.hex()),
            each.flags,
            each.trace_id if int.from_bytes(each.trace_id, "big") < 100 else b"",
            sorted((one.key, "" if one.key in VARYING else str(one.value)) for one in each.attributes),
            sorted((link.trace_id, link.span_id, link.flags) for link in each.links),
            str(each.status),
        )
        for each in spans
    )


@pytest.mark.parametrize("call", CALLS)
async def test_the_spans_are_those_of_contexts_and_results(call: str) -> None:
    told, announced = Watched(), Watched(RecordingHook())
    assert tree(await told.spans_of(CALLS[call])) == tree(await announced.spans_of(CALLS[call]))
    assert len(told.sent) >= 1


async def test_nothing_is_made_that_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: Any, **__: Any) -> None:
        raise AssertionError("a context that nobody wants")

    for name in ("reporting.descriptions.MutationContext", "reporting.commit_watch.CommitContext"):
        monkeypatch.setattr(f"parquedb.actors.{name}", unwanted)
    monkeypatch.setattr("parquedb.storage.backends.observed.StorageContext", unwanted)
    spans = await Watched().spans_of(CALLS["creates that leave joined"])
    assert sorted(each.name for each in spans) == ["BATCH create posts", "commit posts", "storage.create"]


async def test_the_store_s_call_hangs_under_the_commit_and_that_under_the_call() -> None:
    spans = {each.name: each for each in await Watched().spans_of(CALLS["creates that leave joined"])}
    call, commit, put = spans["BATCH create posts"], spans["commit posts"], spans["storage.create"]
    assert [each.trace_id for each in (call, commit, put)] == [span(1)[:16]] * 3
    assert call.parent_span_id == span(1)[16:24]
    assert commit.parent_span_id == call.span_id
    assert put.parent_span_id == commit.span_id
    assert [link.span_id for link in call.links] == [span(2)[16:24], span(3)[16:24]]
    assert [link.span_id for link in commit.links] == [span(number)[16:24] for number in (1, 2, 3)]
    times = [(each.start_time_unix_nano, each.end_time_unix_nano) for each in (call, commit, put)]
    assert times[0][0] <= times[1][0] <= times[2][0] <= times[2][1] <= times[1][1] <= times[0][1]


async def test_a_commit_that_fails_says_as_much_in_brief() -> None:
    class Full(FunnelBackend):
        full = False

        async def _pass(self, call: Call[Any]) -> Any:
            if self.full and call.operation == "create":
                raise QuotaExceededError("full")
            return await call.send(self.inner, call.timeout_s)

    made = []
    for others in ((), (RecordingHook(),)):
        watched, store = Watched(*others), Full(MemoryBackend())
        async with opened(watched.storage(store), hooks=watched.hooks, seed=1) as owner:
            store.full = True
            await owner.execute(decode_operations(encode_operations(CALLS["creates that leave joined"])))
            store.full = False
            made.append(tree(watched.decoded(watched.sent)))
    assert made[0] == made[1]
    assert "QuotaExceededError" in str(made[0])


@pytest.mark.parametrize("others", [(), (RecordingHook(),)], ids=["in brief", "by contexts"])
def test_a_commit_under_a_call_that_is_not_sampled_hangs_under_a_write_that_is(others: tuple[object, ...]) -> None:
    watched = Watched(*others)
    prepared = prepare(create(1, None, "x"), Rules(NAMESPACE, 1 << 20, 100))
    write = Write(prepared, None, 0, Origin(span(1, sampled=False), span(2)), [])
    header = Header(bytes(16), 9, bytes(16), bytes(16), 3, Kind.WRITE, 7, 1, 0, None)
    CommitWatch(CommitListeners(watched.hooks, NAMESPACE, "owner"), LogEntry(header, b""), 100, [write]).landed(1)
    [commit] = watched.decoded(watched.sent)
    assert (commit.trace_id, commit.parent_span_id) == (span(2)[:16], span(2)[16:24])
    assert list(commit.links) == []


async def test_counts_are_the_same_told_in_brief_and_by_contexts() -> None:
    told, announced = MetricsCollector(), MetricsCollector()
    await Watched(told).spans_of(CALLS["writes of two kinds"])
    await Watched(announced, RecordingHook()).spans_of(CALLS["writes of two kinds"])
    one, other = told.get_metrics().operations, announced.get_metrics().operations
    assert one.keys() == other.keys()
    for key in one:
        assert (one[key].count, one[key].rows, one[key].bytes) == (other[key].count, other[key].rows, other[key].bytes)


def test_kinds_beyond_a_bound_are_told_by_contexts() -> None:
    for hook in (OpenTelemetryHook(spans=LeanSpans(lambda _: None, decide_by(DEFAULT_ON))), MetricsCollector()):
        names = ("rows", "bytes")
        asked = [hook.brief(ToldAlike("storage", "read", f"n{number}", "", names)) for number in range(10_001)]
        assert all(asked[:-1])
        assert asked[-1] is None
        assert hook.brief(ToldAlike("storage", "read", "n1", "", names)) is asked[1]


async def test_hook_stats_count_what_is_told_in_brief() -> None:
    told, announced = Watched(), Watched(RecordingHook())
    for each in (told, announced):
        await each.spans_of(CALLS["creates that leave joined"])
    brief, whole = (each.hooks.stats()[0].groups for each in (told, announced))
    assert {name: group.calls for name, group in brief.items()} == {name: group.calls for name, group in whole.items()}


@pytest.mark.parametrize("rate", [0.0, 1.0])
async def test_a_sampler_of_shares_decides_alike_in_brief_and_whole(rate: float) -> None:
    sampler = ParentBasedTraceIdRatio(rate)
    spans = [create(1), create(2)]
    told, announced = Watched(sampler=sampler), Watched(RecordingHook(), sampler=sampler)
    assert tree(await told.spans_of(spans)) == tree(await announced.spans_of(spans))
    assert bool(told.sent) is bool(rate)


async def test_what_fails_is_kept_though_sampled_out_also_in_brief() -> None:
    unsampled = [Operation("update", "nobody", {"$inc": {"n": 1}}, spans=span(5, sampled=False))]
    told = Watched(sampler=ParentBasedTraceIdRatio(0.0), tail=Tail())
    [kept] = await told.spans_of(unsampled)
    assert {each.key: each.value.string_value for each in kept.attributes}["parquedb.sampling.kept"] == "error"
    assert kept.parent_span_id == span(5)[16:24]


class Curious(FunnelBackend):
    """A store whose library looks at the active span, and adds to it."""

    def __init__(self, inner: StorageBackend) -> None:
        super().__init__(inner)
        self.seen: list[str | None] = []

    async def _pass(self, call: Call[Any]) -> Any:
        active = trace.get_current_span()
        if call.operation == "create" and active.is_recording():
            self.seen.append(current_traceparent())
            active.add_event("looked")
            active.set_attribute("library", "curious")
        return await call.send(self.inner, call.timeout_s)


async def test_whoever_finds_the_span_active_can_add_to_it() -> None:
    store = Curious(MemoryBackend())
    spans = {each.name: each for each in await Watched().spans_of(CALLS["a create"], inner=store)}
    put = spans["storage.create"]
    assert [event.name for event in put.events] == ["looked"]
    added = {each.key for each in put.attributes}
    assert {"library", "parquedb.storage.key", "parquedb.storage.request.bytes"} <= added
    assert f"00-{put.trace_id.hex()}-{put.span_id.hex()}-01" in store.seen
    assert put.parent_span_id == spans["commit posts"].span_id


async def test_reads_of_the_store_hang_under_the_read_that_needs_them() -> None:
    watched, store = Watched(), MemoryBackend()
    async with opened(watched.storage(store), hooks=watched.hooks, seed=1) as owner:
        await owner.execute([arguments.create(NAMESPACE, {"n": 1}, id="given")])
        await owner.flush()
    async with opened(watched.storage(store), hooks=watched.hooks, seed=2) as owner:
        watched.sent.clear()
        await owner.execute([read_arguments.get(NAMESPACE, "given")])
        spans = watched.decoded(watched.sent)
    [call] = [each for each in spans if each.name == "get posts"]
    under = [each for each in spans if each.name.startswith("storage.read")]
    assert under
    assert {each.trace_id for each in under} == {call.trace_id}

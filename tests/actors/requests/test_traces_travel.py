"""Traced operations leave joined like others, and their commit is linked to each of them."""

from collections.abc import Sequence

from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import CREATES, GETS, UPDATES, Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import decode_operations, encode_operations
from parquedb.observability.contexts import CommitContext, MutationContext, QueryContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.propagation import NO_SPAN, Traceparents
from parquedb.observability.testing import RecordingHook
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import NAMESPACE, opened, run

SESSION = b"1" * 16


def span(number: int, *, sampled: bool = True) -> bytes:
    return number.to_bytes(16, "big") + number.to_bytes(8, "big") + bytes((sampled,))


def text(number: int, *, sampled: bool = True) -> str:
    return f"00-{number:032x}-{number:016x}-{sampled:02x}"


def create(seq: int, spans: bytes | None) -> Operation:
    return Operation("create", None, {"n": seq}, request=SessionRequest(SESSION, seq, 1, 0), spans=spans, size=50)


def update(seq: int, id_: str, spans: bytes | None) -> Operation:
    made = arguments.update(NAMESPACE, id_, {"$inc": {"n": 1}}, request_id=SessionRequest(SESSION, seq, 1, 0))
    return Operation(
        made.kind, made.id, made.body, made.options, made.request, spans, size=made.size, shaped=made.shaped
    )


async def told(
    operations: Sequence[Operation], ids: Sequence[str] = ()
) -> tuple[MutationContext | QueryContext, list[CommitContext]]:
    """Send operations as one call to an owner that holds documents `ids`; return what its hooks are told."""
    hooks, heard = HookRegistry(), RecordingHook("on_mutation_start", "on_query_start", "on_commit_start")
    async with opened(MemoryBackend(), hooks=hooks) as owner:
        for id_ in ids:
            await run(owner, "create", id_, {"n": 0})
        hooks.register_hook(heard)
        outcomes: list[Outcome] = await owner.execute(decode_operations(encode_operations(operations)))
        assert [each.error for each in outcomes] == [None] * len(outcomes)
        contexts = [record.context for record in heard.records]
    [call] = [each for each in contexts if isinstance(each, MutationContext | QueryContext)]
    return call, [each for each in contexts if isinstance(each, CommitContext) and each.kind == "write"]


async def test_traced_creates_leave_as_one_and_their_commit_names_each() -> None:
    operations = [create(1, span(1)), create(2, None), create(3, span(3))]
    assert [each.kind for each in decode_operations(encode_operations(operations))] == [CREATES]
    call, [commit] = await told(operations)
    assert call.traceparents == (text(1), text(3))
    assert commit.traceparents == (text(1), text(3))
    assert commit.writes == 3


async def test_traced_updates_leave_as_one_also_where_some_have_to_go_on_alone() -> None:
    operations = [update(1, "a", span(1)), update(2, "b", span(2)), update(3, "a", span(3))]
    assert [each.kind for each in decode_operations(encode_operations(operations))] == [UPDATES]
    call, commits = await told(operations, ["a", "b"])
    assert call.traceparents == (text(1), text(2), text(3))
    assert [each.traceparents for each in commits] == [(text(1), text(2), text(3))]


async def test_traced_gets_leave_as_one() -> None:
    operations = [Operation("get", "a", spans=span(1)), Operation("get", "b", spans=span(2))]
    assert [each.kind for each in decode_operations(encode_operations(operations))] == [GETS]
    call, commits = await told(operations)
    assert call.traceparents == (text(1), text(2))
    assert commits == []


def test_operations_without_a_trace_carry_nothing_for_it() -> None:
    [untraced] = decode_operations(encode_operations([create(1, None), create(2, None)]))
    assert untraced.spans is None
    [traced] = decode_operations(encode_operations([create(1, None), create(2, span(2))]))
    assert traced.spans == NO_SPAN + span(2)


async def test_a_call_belongs_to_its_first_sampled_trace() -> None:
    call, _ = await told([create(1, span(1, sampled=False)), create(2, span(2))])
    assert call.traceparent == text(2)
    call, _ = await told([create(1, span(1, sampled=False)), create(2, span(2, sampled=False))])
    assert call.traceparent == text(1, sampled=False)


async def test_what_is_no_packed_span_is_no_trace_and_fails_nothing() -> None:
    call, [commit] = await told([create(1, b"too short")])
    assert call.traceparents == commit.traceparents == ()
    assert call.traceparent is None


def test_packed_spans_are_a_sequence_of_traceparents() -> None:
    spans = Traceparents(span(1) + NO_SPAN + span(2, sampled=False) + span(1))
    assert list(spans) == [text(1), text(2, sampled=False), text(1)]
    assert (len(spans), spans[-1], spans[:2]) == (3, text(1), (text(1), text(2, sampled=False)))
    assert list(spans.sampled()) == [span(1)]
    assert list(spans.sampled(besides=text(1))) == []
    assert Traceparents.of(tuple(spans)) == spans
    assert repr(Traceparents.of(["garbage"])) == "()"

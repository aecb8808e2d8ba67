from collections.abc import Callable
from typing import Any

from parquedb.actors.reporting.metering import OwnerMeter
from parquedb.actors.reporting.survey import SIZES_KEPT_S, Sizes, Surveyor
from parquedb.actors.requests.operations import CREATES, GETS, Operation, Outcome, SessionRequest
from parquedb.clock import ManualClock
from parquedb.errors import VersionConflictError
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.metrics.tally import Tally
from parquedb.observability.otel.propagation import packed, span_context_of
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.breaker.monitor import CircuitBreakerMonitor
from tests.support.engines import opened, run

TRACE = "5" * 32
CIRCUITS = CircuitBreakerMonitor().get_health_status()


def health(state: str = "open") -> dict[str, Any]:
    return {"status": "healthy", "reasons": [], "state": state, "lag": {}}


async def done(meter: OwnerMeter, *operations: Operation, outcome: Callable[[Operation], Outcome]) -> None:
    async def executing() -> list[Outcome]:
        return [outcome(each) for each in operations]

    await meter.metered(operations, executing())


def metered() -> OwnerMeter:
    return OwnerMeter("posts", HookRegistry(), Tally())


async def test_reads_and_writes_are_counted_apart_and_what_travels_joined_counts_once() -> None:
    meter = metered()
    await done(meter, Operation("find"), outcome=lambda _: Outcome({"items": []}))
    await done(meter, Operation(GETS, body=["a", "b"]), Operation("get", "c"), outcome=lambda _: Outcome([b"", b""]))
    await done(meter, Operation("create", body={}), outcome=lambda _: Outcome({}))
    await done(meter, Operation(CREATES, body=[[1, 1, 1], b""]), outcome=lambda _: Outcome([]))
    conflict = VersionConflictError(expected=1, actual=2)
    await done(meter, Operation("update", "a"), outcome=lambda _: Outcome(error=conflict))
    told = Surveyor("posts", ManualClock()).survey(health(), CIRCUITS, meter, None)
    assert (told.reads.count, told.reads.errors, told.reads.sketch.count) == (4, 0, 4)
    assert (told.writes.count, told.writes.errors, told.writes.sketch.count) == (5, 1, 5)


async def test_what_stands_out_is_told_with_what_it_is_found_by() -> None:
    meter = metered()
    request = SessionRequest(b"s" * 16, 1, 1, 0)
    context = span_context_of(f"00-{TRACE}-{'6' * 16}-01")
    assert context is not None
    conflict = VersionConflictError(expected=1, actual=2)
    update = Operation("update", "a", request=request, spans=packed(context))
    await done(
        meter, update, Operation("get", "b"), outcome=lambda each: Outcome(error=conflict if each.is_write else None)
    )
    told = Surveyor("posts", ManualClock(), "node").survey(health(), CIRCUITS, meter, None)
    [slow], [error] = told.slowest, told.errors
    assert (slow.operation, slow.count, slow.trace_id) == ("execute", 2, TRACE)
    assert (error.operation, error.code, error.count, error.trace_id) == ("update", "VERSION_CONFLICT", 1, TRACE)
    assert slow.request_id == error.request_id
    assert error.request_id is not None
    assert told.node == "node"


async def test_who_follows_changes_does_no_work_and_is_slow_only_beyond_what_it_asked_to_wait() -> None:
    meter = metered()
    await done(meter, Operation("changes", options={"wait_s": 20.0}), outcome=lambda _: Outcome({"changes": []}))
    told = Surveyor("posts", ManualClock()).survey(health(), CIRCUITS, meter, None)
    assert (told.reads.count, told.reads.sketch.count, told.slowest) == (0, 0, ())
    await done(meter, Operation("changes"), outcome=lambda _: Outcome({"changes": []}))
    [slow] = Surveyor("posts", ManualClock()).survey(health(), CIRCUITS, meter, None).slowest
    assert slow.operation == "changes"


async def test_sizes_are_those_of_the_engine_looked_at_now_and_then_and_stay_while_it_sleeps() -> None:
    clock = ManualClock()
    surveyor = Surveyor("posts", clock)
    assert surveyor.survey(health("idle"), CIRCUITS, None, None).sizes is None
    async with opened(MemoryBackend()) as owner:
        assert surveyor.survey(health("opening"), CIRCUITS, None, owner).sizes is None
        await run(owner, "create", body={"n": 1})
        assert surveyor.survey(health(), CIRCUITS, None, owner).sizes == Sizes(1, 0, 0, 1)
        await run(owner, "create", body={"n": 2})
        assert surveyor.survey(health(), CIRCUITS, None, owner).sizes == Sizes(1, 0, 0, 1)
        clock.advance(SIZES_KEPT_S)
        await owner.flush()
        told = surveyor.survey(health(), CIRCUITS, None, owner).sizes
        assert told is not None
        assert (told.documents, told.files, told.seq) == (2, 1, 2)
        assert told.bytes > 100
    clock.advance(SIZES_KEPT_S)
    assert surveyor.survey(health("idle"), CIRCUITS, None, None).sizes == told

import time
from datetime import UTC, datetime

import pytest

from parquedb.actors.reporting.metering import OwnerMeter, rows_of
from parquedb.actors.reporting.read_counts import count_reads
from parquedb.actors.requests.operations import CREATES, GETS, UPDATES, Operation, Outcome
from parquedb.actors.writes.update_run import Answers
from parquedb.clock import ManualClock
from parquedb.errors import AlreadyExistsError, BackpressureError, VersionConflictError
from parquedb.observability.contexts import CircuitContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.metrics.measures import CacheMetrics, CircuitMetrics, OwnerGauges
from parquedb.observability.metrics.snapshot import CircuitKey, OperationKey
from parquedb.observability.metrics.tally import Tally
from parquedb.storage.breaker.circuit import CircuitBreaker, CircuitBreakerOptions
from parquedb.storage.log.events import Created

CREATED = Created("posts/", ["a", "b", "c"], datetime.now(UTC), [1, 1, 1], b"123", [b"", 1, 1, 1])
LAG = {"queued_ops": 5, "queued_bytes": 500, "queue_age_s": 0.25, "commit_pending_s": 0.5}


@pytest.fixture
def meter() -> OwnerMeter:
    return OwnerMeter("posts", HookRegistry(), Tally())


async def told(meter: OwnerMeter, *pairs: tuple[Operation, Outcome]) -> dict[tuple[str, str], tuple[int, int, dict]]:
    """Meter a call; return count, rows and errors by category and operation."""

    async def executing() -> list[Outcome]:
        count_reads(hits=2, misses=1)
        return [outcome for _, outcome in pairs]

    outcomes = [outcome for _, outcome in pairs]
    assert await meter.metered([operation for operation, _ in pairs], executing()) == outcomes
    found = meter.taken({}, ()).operations
    assert {(key.namespace, key.side) for key in found} == {("posts", "actor")}
    return {(key.category, key.operation): (one.count, one.rows, one.errors) for key, one in found.items()}


async def test_what_travels_joined_counts_for_each_under_its_callers_name(meter: OwnerMeter) -> None:
    conflict = VersionConflictError(expected=1, actual=2)
    exists = AlreadyExistsError(id="a")
    found = await told(
        meter,
        (Operation(CREATES, body=[[1, 1, 1], b""]), Outcome(CREATED)),
        (Operation(CREATES, body=[[1, 1], b""]), Outcome([Outcome({"$id": "d"}), Outcome(error=exists)])),
        (Operation(UPDATES, body=[[1, 1, 1, 1]]), Outcome(Answers(None, {0: conflict, 3: conflict}))),
        (Operation(GETS, body=["a", "b", "c"]), Outcome([b"", None, b""])),
        (Operation(GETS, body=["a", "b"]), Outcome(error=BackpressureError("full"))),
    )
    assert found == {
        ("mutation", "create"): (5, 4, {"AlreadyExistsError": 1}),
        ("mutation", "update"): (4, 2, {"VersionConflictError": 2}),
        ("query", "get"): (5, 2, {"BackpressureError": 2}),
    }
    taken = meter.taken(LAG, ())
    assert taken.owners["posts"] == OwnerGauges(5, 500, 0.5, backpressure=2)
    assert taken.cache["posts"] == CacheMetrics(2, 1)


async def test_single_operations_of_a_call_are_summed_by_kind_and_take_as_long_as_it(meter: OwnerMeter) -> None:
    began_s = time.monotonic()
    create = (Operation("create", body={"n": 1}, size=100), Outcome({"$id": "a"}))
    await told(meter, *[create] * 64, (Operation("find"), Outcome({"items": [1, 2, 3]})))
    taken = meter.taken({}, ()).operations
    creates = taken[OperationKey("mutation", "create", "posts", "actor")]
    assert (creates.count, creates.rows, creates.bytes) == (64, 64, 6400)
    assert creates.min_s == creates.max_s
    assert creates.max_s <= time.monotonic() - began_s


async def test_an_answer_that_cannot_be_counted_is_an_answer_all_the_same(meter: OwnerMeter) -> None:
    async def executing() -> list[Outcome]:
        return [Outcome(7)]

    assert await meter.metered([Operation(GETS, body=["a"])], executing()) == [Outcome(7)]


def test_a_circuit_is_told_as_it_is_with_the_changes_counted() -> None:
    hooks = HookRegistry()
    meter = OwnerMeter("posts", hooks, Tally())
    circuit = CircuitBreaker("s3.read", CircuitBreakerOptions(), clock=ManualClock())
    hooks.emit("circuit_change", CircuitContext("s3.read", "closed", "open"))
    hooks.emit("circuit_change", CircuitContext("s3.fallback", "closed", "open"))
    told = meter.taken({}, [circuit]).circuits
    assert told == {
        CircuitKey("posts", "s3.read"): CircuitMetrics("closed", {"open": 1}),
        CircuitKey("posts", "s3.fallback"): CircuitMetrics("open", {"open": 1}),
    }


def test_a_call_without_room_counts_as_backpressure(meter: OwnerMeter) -> None:
    meter.refused(BackpressureError("full"))
    assert meter.taken({}, ()).owners["posts"].backpressure == 1


@pytest.mark.parametrize(
    ("kind", "value", "rows"),
    [
        ("create", {"$id": "a"}, 1),
        ("get", None, 0),
        ("exists", True, 1),
        ("exists", False, 0),
        ("delete", 0, 0),
        ("count", 12, 12),
        ("find", {"items": [{}, {}], "next_cursor": None}, 2),
        ("find_one", None, 0),
        ("distinct", [1, 2, 3], 3),
        ("create_many", {"ids": ["a", "b"], "errors": [[1, {}]]}, 1),
        ("insert_arrow", {"rows": 9}, 9),
        ("history", {"changes": [1, 2]}, 2),
        ("update_many", {"matched": 3, "modified": 2, "upserted_id": None}, 2),
        ("upsert", {"matched": 0, "modified": 0, "upserted_id": "posts/a"}, 1),
        ("find", "what nobody foresaw", 0),
    ],
)
def test_an_answer_tells_of_so_many_documents(kind: str, value: object, rows: int) -> None:
    assert rows_of(kind, value) == rows

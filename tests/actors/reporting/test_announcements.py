"""What an owner tells hooks of the calls it receives, of its commits and of its opening."""

import asyncio
from typing import Any

import msgspec
import pytest

from parquedb.actors.requests import arguments, read_arguments
from parquedb.actors.requests.operations import CREATES, GETS, UPDATES, Operation, SessionRequest
from parquedb.actors.requests.packing import decode_operations, decode_outcomes, encode_operations, encode_outcomes
from parquedb.errors import AlreadyExistsError, FencedError, QueryError, RpcUnavailableError
from parquedb.observability.contexts import MutationContext, QueryContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.testing import Record, RecordingHook
from parquedb.storage.backends.delegating import Call, FunnelBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.round_trips import RoundTrips
from tests.support.engines import NAMESPACE, engine, opened, outcome, run


class Heard:
    """A registry with one hook, and what that heard."""

    def __init__(self, *only: str) -> None:
        self.hooks, self.hook = HookRegistry(), RecordingHook(*only)
        self.hooks.register_hook(self.hook)

    def ends(self, group: str) -> list[Record]:
        """Return how operations of a group ended."""
        endings = {f"on_{group}_end", f"on_{group}_error"}
        return [record for record in self.hook.records if record.callback in endings]


class Distant(FunnelBackend):
    """A store whose answers take a moment."""

    async def _pass(self, call: Call[Any]) -> Any:
        await asyncio.sleep(0)
        return await call.send(self.inner, call.timeout_s)


def create(id_: str | None = None, n: int = 1) -> Operation:
    return arguments.create(NAMESPACE, {"n": n}, id=id_)


def numbered(count: int) -> list[Operation]:
    """Creates of one session, which leave their client joined."""
    return [
        arguments.create(NAMESPACE, {"n": number}, request_id=SessionRequest(b"s" * 16, number, 1, 1))
        for number in range(1, count + 1)
    ]


async def test_a_call_of_several_kinds_is_one_mutation_and_one_query_each_with_its_own_operations() -> None:
    heard = Heard()
    async with opened(MemoryBackend(), hooks=heard.hooks) as owner:
        calls = [create("a"), read_arguments.get(NAMESPACE, "a"), arguments.delete(NAMESPACE, "b"), create("a")]
        await owner.execute(calls)
    [write], [read] = heard.ends("mutation"), heard.ends("query")
    assert isinstance(write.context, MutationContext)
    assert (write.context.operation, write.context.ids, write.context.batch_size) == ("execute", ("a", "b", "a"), 3)
    assert (write.context.filter, write.context.options, write.context.side) == (None, None, "actor")
    assert (write.result.rows, write.result.errors, write.result.seq, write.result.version) == (1, 1, 1, None)
    assert isinstance(read.context, QueryContext)
    assert (read.context.operation, read.context.ids, read.context.options) == ("get", ("a",), {})


async def test_a_run_is_told_as_what_its_callers_called() -> None:
    heard = Heard()
    async with opened(MemoryBackend(), hooks=heard.hooks) as owner:
        [run_] = decode_operations(encode_operations(numbered(3)))
        assert run_.kind == CREATES
        await owner.execute([run_])
        [gets] = decode_operations(encode_operations([read_arguments.get(NAMESPACE, id_) for id_ in "xyz"]))
        assert gets.kind == GETS
        await owner.execute([gets])
    [write], [read] = heard.ends("mutation"), heard.ends("query")
    assert (write.context.operation, write.context.batch_size, write.context.options) == ("create", 3, {})
    assert (write.result.rows, write.result.seq, write.result.errors) == (3, 3, 0)
    assert (read.context.operation, read.context.batch_size, read.context.ids) == ("get", 3, ("x", "y", "z"))
    assert (read.result.rows, read.result.cached, read.result.bytes) == (0, True, 0)


async def test_a_call_of_which_all_is_refused_ends_in_error_with_the_first_refusal() -> None:
    heard = Heard()
    async with opened(MemoryBackend(), hooks=heard.hooks) as owner:
        await owner.execute([create("a")])
        await owner.execute([create("a"), create("a")])
        await owner.execute([create("b"), create("a")])
        await outcome(owner, "find", filter={"$no": 1})
    assert [record.callback for record in heard.ends("mutation")] == [
        "on_mutation_end",
        "on_mutation_error",
        "on_mutation_end",
    ]
    assert isinstance(heard.ends("mutation")[1].result, AlreadyExistsError)
    assert heard.ends("mutation")[2].result.errors == 1
    assert isinstance(heard.ends("query")[0].result, QueryError)


async def test_what_an_owner_that_is_over_refuses_is_told_as_well() -> None:
    heard = Heard()
    async with opened(MemoryBackend(), hooks=heard.hooks) as owner:
        await owner.close()
        await outcome(owner, "count")
    assert isinstance(heard.ends("query")[0].result, RpcUnavailableError)


async def test_a_repeat_is_told_with_its_number() -> None:
    heard = Heard()
    async with opened(MemoryBackend(), hooks=heard.hooks) as owner:
        wire = create("a").to_wire()
        await owner.execute([Operation.from_wire([*wire, 3])])
        await owner.execute([Operation.from_wire(wire)])
    assert [record.context.attempt for record in heard.ends("mutation")] == [3, 1]


MALFORMED = [
    Operation(GETS),
    Operation(CREATES, body=[1]),
    Operation(UPDATES, body=[["a"], [1], 3]),
    Operation("create_many", body=7),
    Operation("create_many", body=[msgspec.Raw(b"\xc1"), 5]),
    Operation("batch", body=[3]),
    Operation("insert_arrow", body={"files": [1]}),
    Operation("find", options={"filter": 3}),
    Operation("update", "a", body=5),
]


@pytest.mark.parametrize("operation", MALFORMED, ids=lambda operation: operation.kind)
async def test_a_malformed_call_comes_to_the_same_with_hooks_as_without(operation: Operation) -> None:
    async def came_to(owner: Any) -> Any:
        try:
            [result] = await owner.execute([operation])
        except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
            return type(error)
        return type(result.error)

    heard = Heard()
    async with opened(MemoryBackend(), hooks=heard.hooks) as watched, opened(MemoryBackend()) as unwatched:
        assert await came_to(watched) == await came_to(unwatched)
    assert len(heard.ends("mutation") + heard.ends("query")) == 1


async def test_a_cancelled_call_ends_in_error() -> None:
    heard, gate = Heard(), asyncio.Event()

    class Held(MemoryBackend):
        async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> Any:
            if gate.is_set():
                await asyncio.Event().wait()
            return await super().create(key, data, timeout_s=timeout_s)

    async with opened(Held(), hooks=heard.hooks) as owner:
        gate.set()
        task = asyncio.create_task(owner.execute([create("a")]))
        while not heard.hook.of("on_commit_start"):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(heard.ends("mutation")[0].result, asyncio.CancelledError)
        owner.abandon()
        while not heard.ends("commit"):
            await asyncio.sleep(0)
    assert isinstance(heard.ends("commit")[0].result, asyncio.CancelledError)


async def test_a_commit_that_meets_a_rivals_entry_ends_in_error() -> None:
    heard, store = Heard("on_commit_start", "on_commit_end", "on_commit_error"), MemoryBackend()
    async with opened(store, hooks=heard.hooks) as owner:
        await run(owner, "create", "a", {})
        async with opened(store):
            await outcome(owner, "create", "b", {})
    assert [record.callback for record in heard.ends("commit")] == ["on_commit_end", "on_commit_error"]
    assert isinstance(heard.ends("commit")[1].result, FencedError)


async def test_a_commit_is_told_with_its_events_and_the_seqs_they_got() -> None:
    heard = Heard()
    async with opened(MemoryBackend(), hooks=heard.hooks) as owner:
        await run(owner, "create", "first", {})
        await owner.execute(decode_operations(encode_operations(numbered(3))))
        await owner.flush()
    commits = heard.hook.of("on_commit")
    told = [(record.context.kind, record.context.writes, record.result.last_seq) for record in commits]
    assert told == [("write", 1, 1), ("write", 3, 4), ("checkpoint", 0, 4), ("close", 0, 4)]
    first = commits[1]
    assert (first.result.first_seq, first.result.attempts, first.context.epoch) == (2, 1, 1)
    assert first.context.bytes > 0
    [flush] = [record.context for record in heard.hook.of("on_flush")]
    assert (flush.rows, flush.files, flush.reason, flush.seq) == (4, 1, "request", 4)
    assert flush.bytes > 0


async def test_an_opening_is_told_with_what_it_took() -> None:
    heard, store = Heard("on_cold_start"), Distant(MemoryBackend())
    async with opened(store) as first:
        await run(first, "create", "a", {})
    async with opened(store, hooks=heard.hooks):
        pass
    [cold] = [record.context for record in heard.hook.records]
    # The old owner's open, write and close entries, and our own open.
    assert (cold.epoch, cold.entries) == (4, 4)
    assert cold.round_trips == 4
    assert cold.duration_s > 0


async def test_round_trips_are_calls_that_begin_while_no_other_is_under_way() -> None:
    trips = RoundTrips(Distant(MemoryBackend()))
    await trips.create("posts/a", b"a")
    await asyncio.gather(*(trips.read("posts/a") for _ in range(3)))
    assert trips.count == 2


async def test_what_a_query_looked_at_travels_with_its_answer() -> None:
    async with opened(MemoryBackend()) as owner:
        await owner.execute([create(f"d{number}", number) for number in range(10)])
        await owner.flush()
        asked = [read_arguments.count(NAMESPACE, {"n": {"$gt": 5}}), read_arguments.count(NAMESPACE, {"n": 99})]
        outcomes = await owner.execute(asked)
        told = await run(owner, "explain", filter={"n": {"$gt": 5}}, operation="count")
    [scanned, ruled_out], _ = decode_outcomes(encode_outcomes(asked, outcomes, 0.0))
    assert scanned.cost is not None
    assert ruled_out.cost is not None
    assert (scanned.cost.row_groups_scanned, scanned.cost.row_groups_skipped) == (1, 0)
    assert (told["row_groups_scanned"], told["row_groups_skipped"]) == (1, 0)
    assert (ruled_out.cost.row_groups_scanned, ruled_out.cost.row_groups_skipped) == (0, 1)


async def test_nothing_is_made_for_groups_that_nobody_listens_to(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard("on_circuit_change", "on_compaction")

    def unwanted(*_: Any, **__: Any) -> None:
        raise AssertionError("a context that nobody wants")

    for name in ("MutationContext", "QueryContext"):
        monkeypatch.setattr(f"parquedb.actors.reporting.descriptions.{name}", unwanted)
    monkeypatch.setattr("parquedb.actors.reporting.commit_watch.CommitContext", unwanted)
    owner = engine(MemoryBackend(), hooks=heard.hooks)
    await owner.open()
    await owner.execute([create("a"), read_arguments.get(NAMESPACE, "a")])
    await owner.flush()
    await owner.close()
    assert heard.hook.records == []

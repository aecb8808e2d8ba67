"""Calls between the clients and hosts of the simulated cluster: lost, late and doubled like everything else."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from parquedb import errors
from parquedb.actors.requests.operations import Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import decode_outcomes, encode_operations, whole
from tests.support.sim_hosts import Host
from tests.support.virtual_loop import Process

if TYPE_CHECKING:
    from tests.support.sim_world import World

DECIDED = (
    errors.VersionConflictError,
    errors.AlreadyExistsError,
    errors.EntityNotFoundError,
    errors.ValidationError,
    errors.InvalidUpdateError,
    errors.SchemaMismatchError,
    errors.SnapshotNotFoundError,
    errors.EventNotFoundError,
)
"""Refusals that look at the documents or the log: they also settle what earlier attempts came to."""

_SLOW_MESSAGE_S = 0.1


@dataclass(slots=True, eq=False)
class Delivery:
    """One call on its way, or served.

    Attributes:
        served_by: The process that it has come to; None while it is on its way.
        task: Ends with the reply.
        within: The call that it travels in together with others.
    """

    served_by: Process | None = None
    task: "asyncio.Task[list[Outcome]] | None" = None
    within: "Delivery | None" = None

    @property
    def under_way(self) -> bool:
        """Whether somebody may still come to decide about it."""
        ended = self.task is not None and self.task.done()
        served_by = (self.within or self).served_by
        return not ended and not (served_by is not None and served_by.dead)

    def outcome(self) -> Outcome | None:
        """Return what came back, if anything did."""
        task = self.task
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()[0]


@dataclass(slots=True, eq=False)
class Op:
    """One operation of a client, and what it was told."""

    number: int
    operation: Operation
    start_s: float
    end_s: float = 0.0
    result: str = "running"
    """`ok`, `refused` (certainly not applied), `unknown`."""
    outcome: Outcome | None = None
    uncertain: bool = False
    """Whether another delivery of it was still under way when it was answered."""
    deliveries: list[Delivery] = field(default_factory=list)
    expected: Any = None
    """What its answer has to be: by the log, or the document that a page follows."""
    sent_s: float = 0.0
    """When the last attempt left."""

    @property
    def key(self) -> Any:
        request = self.operation.request
        return tuple(request[:2]) if isinstance(request, SessionRequest) else request

    def message_under_way(self) -> bool:
        """Whether some host may still come to decide about it."""
        return any(delivery.under_way for delivery in self.deliveries)

    def maybe_applied(self) -> bool:
        """Whether some delivery may have applied it, or may yet; refusals that decide nothing leave that open."""
        for outcome in (delivery.outcome() for delivery in self.deliveries):
            if outcome is None or outcome.error is None or isinstance(outcome.error, errors.OutcomeUnknownError):
                return True
        return False


class Run:
    """Operations whose first attempts travel in one call."""

    def __init__(self, sent: "asyncio.Future[asyncio.Task[list[Outcome]]]", size: int) -> None:
        self.size = size
        self.host: Host | None = None
        self._sent = sent
        self._joined: list[Operation] = []
        self._delivery = Delivery()

    async def join(self, caller: "Caller", host: Host, operation: Operation, delivery: Delivery) -> list[Outcome]:
        at = len(self._joined)
        self._joined.append(operation)
        if at == 0:
            # All that is asked of the client in one turn of its loop travels together.
            await asyncio.sleep(0)
            self._sent.set_result(asyncio.ensure_future(caller.deliver(host, self._joined, self._delivery)))
        task = await self._sent
        delivery.within = self._delivery
        return [(await asyncio.shield(task))[at]]


class Caller:
    """Somebody who calls owners, and looks for another one when they do not answer."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.rng: random.Random = world.rng_for(name)
        self.favourite = 0

    def new_op(self, operation: Operation) -> Op:
        """Return an operation that the checker will judge."""
        op = Op(len(self.world.ops), operation, asyncio.get_running_loop().time())
        self.world.ops.append(op)
        return op

    async def attempt(self, op: Op, operation: Operation, run: Run | None = None) -> str:
        """Ask once, and remember in `op` what was told.

        Returns:
            `ok`, `refused` (decided), `lost` (nobody knows), or `not now` (this attempt has certainly no effect).
        """
        world, rng = self.world, self.rng
        if rng.random() < world.plan.wander:
            self.favourite = rng.randrange(len(world.hosts))
        host = world.hosts[self.favourite]
        op.sent_s = asyncio.get_running_loop().time()
        timeout_s = rng.uniform(0.1, 1.2)
        age_s = op.sent_s - op.start_s if op.deliveries else 0.0
        operation = replace(operation, timeout_s=timeout_s * rng.choice([0.5, 2.0]), age_s=age_s)
        delivery = Delivery()
        if run is None:
            task = asyncio.ensure_future(self.deliver(host, [operation], delivery))
        else:
            host = run.host = run.host or host
            task = asyncio.ensure_future(run.join(self, host, operation, delivery))
        delivery.task = task
        op.deliveries.append(delivery)
        if rng.random() < world.weather.duplicate:
            again = Delivery()
            again.task = asyncio.ensure_future(self.deliver(host, [operation], again, delay_s=rng.uniform(0, 2.0)))
            op.deliveries.append(again)
        try:
            async with asyncio.timeout(timeout_s):
                outcome = (await asyncio.shield(task))[0]
        except TimeoutError:
            if rng.random() < 0.5:
                self.favourite = rng.randrange(len(world.hosts))
            return "lost"
        return await self._told(op, outcome, host)

    async def _told(self, op: Op, outcome: Outcome, host: Host) -> str:
        world, error = self.world, outcome.error
        if not (op.outcome is not None and error is not None and not isinstance(error, DECIDED)):
            op.outcome = outcome
        if error is None:
            return "ok"
        if isinstance(error, DECIDED):
            return "refused"
        if isinstance(error, errors.CorruptionError):
            world.corrupt(error, f"op {op.number} ({op.operation.kind})")
        elif isinstance(error, errors.InternalError):
            world.violate(f"op {op.number} ({op.operation.kind}) met {error!r}")
        if isinstance(error, errors.OutcomeUnknownError):
            return "lost"
        if isinstance(error, errors.FencedError | errors.RpcUnavailableError):
            await self._find_owner(host)
        return "not now"

    async def _find_owner(self, host: Host) -> None:
        alive = [number for number, other in enumerate(self.world.hosts) if other.is_open]
        if alive and self.rng.random() < 0.8:
            self.favourite = self.rng.choice(alive)
        else:
            activation = asyncio.ensure_future(host.activate())
            await asyncio.wait([activation], timeout=0.5)

    async def deliver(
        self, host: Host, operations: list[Operation], delivery: Delivery, *, delay_s: float = 0.0
    ) -> list[Outcome]:
        """Carry one call to a host and its reply back; a lost one never ends."""
        rng, weather, loop = self.rng, self.world.weather, asyncio.get_running_loop()
        lost_request, lost_reply = rng.random() < weather.lost_request, rng.random() < weather.lost_reply
        there_s, back_s = rng.uniform(0.001, 0.01), rng.uniform(0.001, 0.01)
        sent_s = loop.time()
        await asyncio.sleep(delay_s + there_s)
        if lost_request:
            await asyncio.sleep(60)
            raise errors.NetworkError("lost")
        # Whoever lives there now: it may have been another one when the call left.
        delivery.served_by = host.process
        await host.process.gate()
        travelled_s = loop.time() - sent_s
        if travelled_s > _SLOW_MESSAGE_S:
            # Beyond what the protocol promises for callers' own ids: a message that is itself older than their window.
            operations = [replace(operation, age_s=operation.age_s + travelled_s) for operation in operations]
        reply = await host.execute(encode_operations(operations))
        if lost_reply:
            await loop.create_future()
        await asyncio.sleep(back_s)
        return [whole(*pair) for pair in zip(operations, decode_outcomes(reply)[0], strict=True)]

"""The way of operations from one process to one namespace: lanes, sessions and retries put together.

Three lanes, so that nobody waits for a stranger's slow answer: single writes, reads by id, and everything that may be
long (queries, bulk writes), which travels alone.
"""

import asyncio
import builtins
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypeVar

from parquedb.actors.requests.operations import Operation, Outcome, Request
from parquedb.actors.requests.permits import Permits
from parquedb.admission import QueueBounds
from parquedb.cluster.reporting import journal
from parquedb.cluster.reporting.metering import ClientMeter
from parquedb.cluster.runtime.naming import actor_name
from parquedb.cluster.transport.calls import NamespaceCalls, reply_to, wait_for
from parquedb.cluster.transport.coalescer import DeadlinePassed, LoopCoalescer, NoReplyYet, ThreadCoalescer
from parquedb.cluster.transport.credentials import Credentials
from parquedb.cluster.transport.delivery import BACKPRESSURE_RETRIES_SAVED, BACKPRESSURE_RETRY_SHARE, Delivery
from parquedb.cluster.transport.sessions import SessionPool
from parquedb.errors import OutcomeUnknownError
from parquedb.observability.metrics.tally import Tally
from parquedb.observability.otel.propagation import current_packed
from parquedb.settings import ClientSettings, Settings
from parquedb.storage.backends.retry import RetryBudget

BULK_CALLS_MAX = 64
"""Long operations of one process that may be under way to one namespace (count); more of them queue."""

Sent = TypeVar("Sent")

_SINGLE_WRITES = frozenset({"create", "update", "replace", "delete", "restore"})


def _lanes(settings: ClientSettings) -> tuple[tuple[int, int], ...]:
    """Calls under way and operations per call of each lane: single writes, reads by id, everything else."""
    packed = (settings.calls_in_flight_max, settings.batch_ops_max)
    return packed, packed, (BULK_CALLS_MAX, 1)


class _Lane(NamedTuple, Generic[Sent]):
    """A way to the owner.

    Attributes:
        check: Raises `QueueFull` where there is no room. Asked before a write gets its number: one that is given to a
            refused write is missing between its neighbours, which could leave joined.
        send: Encodes and sends; raises `QueueFull` as well.
    """

    check: Callable[[float], None]
    send: Callable[[Delivery], Sent]


def _bounds(settings: ClientSettings) -> QueueBounds:
    return QueueBounds(settings.queue_ops_max, settings.queue_bytes_max, settings.queue_age_max_s)


def _is_quick(operation: Operation) -> bool:
    return operation.kind == "get" and "as_of" not in operation.options


class Destination(NamedTuple):
    """Where a link leads, and as whom.

    Attributes:
        settings: Of the database.
        namespace: Which.
        credentials: What is shown to its owner.
        hooks: Pickled hook objects, for an owner that has to be started.
        tally: Where operations are counted, if they are.
    """

    settings: Settings
    namespace: str
    credentials: Credentials
    hooks: bytes = b""
    tally: Tally | None = None


class _Link:
    """What both links share: the actor's calls and the request ids.

    Args:
        to: Where it leads.
        like: Another link of this process to the same owner. They number their requests together: every stream of
            numbers is something that the owner has to remember, and views come and go.

    Attributes:
        calls: The actor's.
        actor: Its name.
    """

    def __init__(self, to: Destination, like: "_Link | None") -> None:
        settings, namespace = to.settings, to.namespace
        self._meter = None if to.tally is None else ClientMeter(to.tally, namespace)
        self._pool: SessionPool = like._pool if like else SessionPool(window=settings.engine.session_window)
        self.calls = NamespaceCalls(
            settings, namespace, to.hooks, on_activated=self._pool.learn, credentials=to.credentials
        )
        if like is not None:
            self.calls.start_from(like.calls)
        self._namespace = namespace
        self._permits = to.credentials.permits(namespace)
        self.actor = actor_name(settings, namespace)
        self._slow_s = settings.log_slow_s
        budget = RetryBudget(BACKPRESSURE_RETRY_SHARE, tokens_max=BACKPRESSURE_RETRIES_SAVED)
        self._budget: RetryBudget = like._budget if like else budget

    def _begin(self, operation: Operation, timeout_s: float) -> Delivery:
        return Delivery(
            operation,
            now_s=time.monotonic(),
            timeout_s=timeout_s,
            span=current_packed(),
            budget=self._budget,
        )

    def _finish(
        self, delivery: Delivery, answer: Outcome | None, error: BaseException | None, counted: Operation | None
    ) -> None:
        """Settle or park the request id, count it, and tell the log what an operator should know."""
        request, now_s = delivery.request, time.monotonic()
        took_s = now_s - delivery.began_s
        if isinstance(error, OutcomeUnknownError):
            journal.outcome_unknown(self._namespace, delivery, took_s, error)
            if request is not None:
                self._pool.park(request)
        else:
            if request is not None:
                self._pool.settle(request)
            if took_s >= self._slow_s:
                journal.slow_operation(self._namespace, delivery, took_s, error)
        meter = self._meter
        if meter is not None and counted is not None:
            series = meter.single.get(counted.kind)
            if series is not None and answer is not None and answer.value:
                series.finish(delivery.began_s, now_s)
            else:
                meter.settled(counted, answer, error, delivery.began_s)

    def _left_s(self, delivery: Delivery) -> float:
        return max(0.0, delivery.deadline_s - time.monotonic())


def _check(permits: Permits, operation: Operation) -> None:
    """Return if an operation may be sent; the owner asks again.

    Raises:
        PermissionDeniedError: it may not.
    """
    denial = permits.denial(operation)
    if denial is not None:
        raise denial


def _any_time(_deadline_s: float) -> None:
    """Questions to the actor itself wait for nobody here, and have no numbers."""


class SyncLink(_Link):
    """For threads; the calling thread does all the work."""

    def __init__(self, to: Destination, like: "SyncLink | None" = None) -> None:
        """Prepare; nothing is sent yet."""
        super().__init__(to, like)
        client = to.settings.client
        self._write, self._read, self._alone = (
            self._lane(calls_max, ops_max, client) for calls_max, ops_max in _lanes(client)
        )

    def _lane(self, calls_max: int, ops_max: int, settings: ClientSettings) -> _Lane[Outcome]:
        bytes_max = settings.batch_bytes_max
        lane = ThreadCoalescer(
            self.calls, calls_max=calls_max, ops_max=ops_max, bytes_max=bytes_max, queue=_bounds(settings)
        )

        def send(delivery: Delivery) -> Outcome:
            return lane.submit(delivery.part(time.monotonic()), delivery.deadline_s)

        return _Lane(lane.check, send)

    def deliver(self, operation: Operation, timeout_s: float) -> Outcome:
        """Send an operation until it has an answer.

        Raises:
            ParqueDBError: the answer was a refusal, or there was none in time.
        """
        kind = operation.kind
        lane = self._write if kind in _SINGLE_WRITES else self._read if _is_quick(operation) else self._alone
        return self._insist(self._begin(operation, timeout_s), lane, operation)

    def ask(self, method: str, timeout_s: float) -> Any:
        """Call a method of the actor that takes no arguments and may run twice.

        Raises:
            ParqueDBError: it failed, or did not answer in time.
        """
        if self._permits is not None:
            self._permits.check_method(method)
        delivery = self._begin(Operation(method), timeout_s)

        def send(delivery: Delivery) -> Outcome:
            try:
                return Outcome(wait_for(self.calls.begin(method), self._namespace, self._left_s(delivery)))
            except NoReplyYet:
                raise DeadlinePassed(sent=True) from None

        return self._insist(delivery, _Lane(_any_time, send)).value

    def _insist(self, delivery: Delivery, lane: _Lane[Outcome], counted: Operation | None = None) -> Outcome:
        """Try until there is an answer; whatever it is, the request id is settled or parked, and `counted` counted."""
        seen, activate = self.calls.generation, False
        answer: Outcome | None = None
        final: BaseException | None = None
        try:
            if self._permits is not None and counted is not None:
                _check(self._permits, counted)
            while True:
                activating = activate
                try:
                    if activating:
                        self.calls.activate(seen, self._left_s(delivery))
                        activate = activating = False
                    seen = self.calls.generation
                    if delivery.needs_request:
                        lane.check(delivery.deadline_s)
                        delivery.request = self._pool.take() or self._first_request(delivery)
                    outcome = lane.send(delivery)
                    failure: BaseException | None = outcome.error
                    if failure is None:
                        self._budget.earn()
                        answer = delivery.whole(outcome)
                        return answer
                except Exception as error:  # noqa: BLE001 - `after` sorts them
                    failure = error
                sent = not (activating or delivery.needs_request)
                step = delivery.after(failure, time.monotonic(), sent=sent)
                activate = activate or step.activate
                time.sleep(step.delay_s)
        except BaseException as error:
            final = error
            raise
        finally:
            self._finish(delivery, answer, final, counted)

    def _first_request(self, delivery: Delivery) -> Request | None:
        self.calls.activate(self.calls.generation, self._left_s(delivery))
        return self._pool.take()


class AsyncLink(_Link):
    """For the coroutines of one event loop."""

    def __init__(self, to: Destination, like: "AsyncLink | None" = None) -> None:
        """Prepare on the running loop; nothing is sent yet."""
        super().__init__(to, like)
        client = to.settings.client
        self._write, self._read, self._alone = (
            self._lane(calls_max, ops_max, client) for calls_max, ops_max in _lanes(client)
        )

    def _lane(self, calls_max: int, ops_max: int, settings: ClientSettings) -> _Lane[Awaitable[Outcome]]:
        lane = LoopCoalescer(
            self.calls.send,
            calls_max=calls_max,
            ops_max=ops_max,
            bytes_max=settings.batch_bytes_max,
            queue=_bounds(settings),
            share=self.calls.store_is_quick,
        )

        def send(delivery: Delivery) -> Awaitable[Outcome]:
            return lane.submit(delivery.part(time.monotonic()), delivery.deadline_s)

        return _Lane(lane.check, send)

    def deliver(self, operation: Operation, timeout_s: float) -> Awaitable[Outcome]:
        """Send an operation until it has an answer.

        Raises:
            ParqueDBError: (when awaited) the answer was a refusal, or there was none in time.
        """
        kind = operation.kind
        lane = self._write if kind in _SINGLE_WRITES else self._read if _is_quick(operation) else self._alone
        return self._insist(self._begin(operation, timeout_s), lane, operation)

    async def ask(self, method: str, timeout_s: float) -> Any:
        """Call a method of the actor that takes no arguments and may run twice.

        Raises:
            ParqueDBError: it failed, or did not answer in time.
        """
        if self._permits is not None:
            self._permits.check_method(method)
        delivery = self._begin(Operation(method), timeout_s)

        async def send(delivery: Delivery) -> Outcome:
            await asyncio.to_thread(self.calls.handle)
            try:
                async with asyncio.timeout(self._left_s(delivery)):
                    return Outcome(await reply_to(self.calls.begin(method), self._namespace))
            except builtins.TimeoutError:
                raise DeadlinePassed(sent=True) from None

        return (await self._insist(delivery, _Lane(_any_time, send))).value

    async def _insist(
        self, delivery: Delivery, lane: _Lane[Awaitable[Outcome]], counted: Operation | None = None
    ) -> Outcome:
        """Try until there is an answer; whatever it is, the request id is settled or parked, and `counted` counted."""
        seen, activate = self.calls.generation, False
        answer: Outcome | None = None
        final: BaseException | None = None
        try:
            if self._permits is not None and counted is not None:
                _check(self._permits, counted)
            while True:
                activating = activate
                try:
                    if activating:
                        await self.calls.activate_async(seen, self._left_s(delivery))
                        activate = activating = False
                    seen = self.calls.generation
                    if delivery.needs_request:
                        lane.check(delivery.deadline_s)
                        delivery.request = self._pool.take() or await self._first_request(delivery)
                    outcome = await lane.send(delivery)
                    failure: BaseException | None = outcome.error
                    if failure is None:
                        self._budget.earn()
                        answer = delivery.whole(outcome)
                        return answer
                except Exception as error:  # noqa: BLE001 - `after` sorts them
                    failure = error
                sent = not (activating or delivery.needs_request)
                step = delivery.after(failure, time.monotonic(), sent=sent)
                activate = activate or step.activate
                await asyncio.sleep(step.delay_s)
        except BaseException as error:
            final = error
            raise
        finally:
            self._finish(delivery, answer, final, counted)

    async def _first_request(self, delivery: Delivery) -> Request | None:
        await self.calls.activate_async(self.calls.generation, self._left_s(delivery))
        return self._pool.take()

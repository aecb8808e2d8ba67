"""The way of operations from one process to the Ray actor of a namespace: lanes, sessions and retries put together."""

import asyncio
import builtins
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from parquedb.actors.reporting.pressure import Pressure
from parquedb.actors.requests.operations import Operation, Outcome, Request
from parquedb.admission import QueueBounds
from parquedb.cluster.reporting import journal
from parquedb.cluster.reporting.accounts import Accounts
from parquedb.cluster.reporting.attempts import Attempts
from parquedb.cluster.reporting.briefs import Briefs
from parquedb.cluster.runtime.naming import actor_name
from parquedb.cluster.transport.backlog import QueueFull
from parquedb.cluster.transport.calls import NamespaceCalls, reply_to, wait_for
from parquedb.cluster.transport.coalescer import DeadlinePassed, LoopCoalescer, NoReplyYet, ThreadCoalescer
from parquedb.cluster.transport.credentials import Credentials
from parquedb.cluster.transport.delivery import BACKPRESSURE_RETRIES_SAVED, BACKPRESSURE_RETRY_SHARE, Delivery
from parquedb.cluster.transport.lanes import SINGLE_WRITES, LaneBounds, is_quick, lane_bounds, queue_bounds
from parquedb.cluster.transport.sessions import SessionPool
from parquedb.errors import OutcomeUnknownError
from parquedb.observability.brief import Brief
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.metrics.tally import Tally
from parquedb.observability.otel.propagation import current_packed
from parquedb.settings import ClientSettings, Settings
from parquedb.storage.backends.retry import RetryBudget

Sent = TypeVar("Sent")


class _Lane(NamedTuple, Generic[Sent]):
    """A way to the owner.

    Attributes:
        check: Raises `QueueFull` where there is no room. Asked before a write gets its number: one that is given to a
            refused write is missing between its neighbours, which could leave joined.
        send: Encodes and sends; raises `QueueFull` as well.
        held: Tells how many operations wait, and their bytes.
        pressure: What has been refused; None where nothing is.
    """

    check: Callable[[float], None]
    send: Callable[[Delivery], Sent]
    held: Callable[[], tuple[int, int]]
    pressure: Pressure | None

    def ease(self) -> None:
        """Look whether there is room again, after an operation that came this way has ended."""
        if self.pressure is not None and self.pressure.lasts:
            self.pressure.eased(*self.held())

    def note(self, failure: BaseException) -> None:
        """Look whether an operation failed because there was no room here."""
        if self.pressure is not None and isinstance(failure, QueueFull):
            self.pressure.refused(1, failure.refusal)


class Destination(NamedTuple):
    """Where a link leads, and as whom.

    Attributes:
        settings: Of the database.
        namespace: Which.
        credentials: What is shown to its owner.
        hooks: Pickled hook objects, for an owner that has to be started.
        tally: Where operations are counted, if they are.
        heard_by: Hooks of this process.
    """

    settings: Settings
    namespace: str
    credentials: Credentials
    hooks: bytes = b""
    tally: Tally | None = None
    heard_by: HookRegistry | None = None


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
        self._accounts = Accounts(to.tally, namespace, settings.log_slow_s)
        self._pool: SessionPool = like._pool if like else SessionPool(window=settings.engine.session_window)
        self.calls = NamespaceCalls(
            settings, namespace, to.hooks, on_activated=self._pool.learn, credentials=to.credentials
        )
        if like is not None:
            self.calls.start_from(like.calls)
        self._namespace = namespace
        self._permits = to.credentials.permits(namespace)
        actor = actor_name(settings, namespace)
        self.actor: str | None = actor
        hooks = to.heard_by or HookRegistry()
        self._briefs = Briefs(hooks, namespace, actor)
        self._attempts = Attempts(hooks, namespace, actor)
        budget = RetryBudget(BACKPRESSURE_RETRY_SHARE, tokens_max=BACKPRESSURE_RETRIES_SAVED)
        self._budget: RetryBudget = like._budget if like else budget

    def brief_of(self, operation: Operation) -> Brief | None:
        """Return who is told of an operation in brief; None where hooks have to be told as ever.

        The first operation finds the owner, of which the log tells under the operation's span: so it needs one.
        """
        return self._briefs.of(operation) if self.calls.generation else None

    def handle(self) -> Any:
        """Return the actor's handle, starting the actor if there is none."""
        return self.calls.handle()

    def _begin(self, operation: Operation, timeout_s: float, brief: Brief | None = None) -> Delivery:
        return Delivery(
            operation,
            now_s=time.monotonic(),
            timeout_s=timeout_s,
            span=current_packed() if brief is None else None,
            budget=self._budget,
            brief=brief,
            attempts=self._attempts,
        )

    def _finish(
        self, delivery: Delivery, answer: Outcome | None, error: BaseException | None, counted: Operation | None
    ) -> None:
        """Settle or park the request id, and close the accounts."""
        request = delivery.request
        if request is not None and isinstance(error, OutcomeUnknownError):
            self._pool.park(request)
        elif request is not None:
            self._pool.settle(request)
        self._accounts.close(delivery, answer, error, counted)

    def _pressure(self, bounds: QueueBounds) -> Pressure:
        return Pressure(
            bounds,
            time.monotonic,
            began=partial(journal.backpressure_began, self._namespace),
            ended=partial(journal.backpressure_ended, self._namespace),
        )

    def _left_s(self, delivery: Delivery) -> float:
        return max(0.0, delivery.deadline_s - time.monotonic())


def _any_time(_deadline_s: float) -> None:
    """Questions to the actor itself wait for nobody here, and have no numbers."""


def _nothing() -> tuple[int, int]:
    return 0, 0


class RayLink(_Link):
    """For threads; the calling thread does all the work."""

    def __init__(self, to: Destination, like: "RayLink | None" = None) -> None:
        """Prepare; nothing is sent yet."""
        super().__init__(to, like)
        client = to.settings.client
        self._write, self._read, self._alone = (self._lane(bounds, client) for bounds in lane_bounds(client))

    def _lane(self, bounds: LaneBounds, settings: ClientSettings) -> _Lane[Outcome]:
        queue = queue_bounds(settings)
        lane = ThreadCoalescer(
            self.calls,
            calls_max=bounds.calls_max,
            ops_max=bounds.ops_max,
            bytes_max=settings.batch_bytes_max,
            queue=queue,
        )

        def send(delivery: Delivery) -> Outcome:
            return lane.submit(delivery.part(time.monotonic()), delivery.deadline_s)

        return _Lane(lane.check, send, lane.held, self._pressure(queue))

    def deliver(self, operation: Operation, timeout_s: float, brief: Brief | None = None) -> Outcome:
        """Send an operation until it has an answer.

        Raises:
            ParqueDBError: the answer was a refusal, or there was none in time.
        """
        kind = operation.kind
        lane = self._write if kind in SINGLE_WRITES else self._read if is_quick(operation) else self._alone
        return self._insist(self._begin(operation, timeout_s, brief), lane, operation)

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

        return self._insist(delivery, _Lane(_any_time, send, _nothing, None)).value

    def _insist(self, delivery: Delivery, lane: _Lane[Outcome], counted: Operation | None = None) -> Outcome:
        """Try until there is an answer; whatever it is, the request id is settled or parked, and `counted` counted."""
        seen, activate = self.calls.generation, False
        answer: Outcome | None = None
        final: BaseException | None = None
        try:
            if self._permits is not None and counted is not None:
                self._permits.check(counted)
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
                    if not self.calls.known:
                        self.calls.resolve(self._left_s(delivery))
                    outcome = lane.send(delivery)
                    failure: BaseException | None = outcome.error
                    if failure is None:
                        self._budget.earn()
                        answer = delivery.whole(outcome)
                        return answer
                except Exception as error:  # noqa: BLE001 - `after` sorts them
                    failure = error
                    lane.note(error)
                sent = not (activating or delivery.needs_request)
                step = delivery.after(failure, time.monotonic(), sent=sent)
                activate = activate or step.activate
                time.sleep(step.delay_s)
        except BaseException as error:
            final = error
            raise
        finally:
            lane.ease()
            self._finish(delivery, answer, final, counted)

    def _first_request(self, delivery: Delivery) -> Request | None:
        self.calls.activate(self.calls.generation, self._left_s(delivery))
        return self._pool.take()


class RayAsyncLink(_Link):
    """For the coroutines of one event loop."""

    def __init__(self, to: Destination, like: "RayAsyncLink | None" = None) -> None:
        """Prepare on the running loop; nothing is sent yet."""
        super().__init__(to, like)
        client = to.settings.client
        self._write, self._read, self._alone = (self._lane(bounds, client) for bounds in lane_bounds(client))

    def _lane(self, bounds: LaneBounds, settings: ClientSettings) -> _Lane[Awaitable[Outcome]]:
        queue = queue_bounds(settings)
        lane = LoopCoalescer(
            self.calls.send,
            calls_max=bounds.calls_max,
            ops_max=bounds.ops_max,
            bytes_max=settings.batch_bytes_max,
            queue=queue,
            share=self.calls.store_is_quick,
        )

        def send(delivery: Delivery) -> Awaitable[Outcome]:
            return lane.submit(delivery.part(time.monotonic()), delivery.deadline_s)

        return _Lane(lane.check, send, lane.held, self._pressure(queue))

    def deliver(self, operation: Operation, timeout_s: float, brief: Brief | None = None) -> Awaitable[Outcome]:
        """Send an operation until it has an answer.

        Raises:
            ParqueDBError: (when awaited) the answer was a refusal, or there was none in time.
        """
        kind = operation.kind
        lane = self._write if kind in SINGLE_WRITES else self._read if is_quick(operation) else self._alone
        return self._insist(self._begin(operation, timeout_s, brief), lane, operation)

    async def ask(self, method: str, timeout_s: float) -> Any:
        """Call a method of the actor that takes no arguments and may run twice.

        Raises:
            ParqueDBError: it failed, or did not answer in time.
        """
        if self._permits is not None:
            self._permits.check_method(method)
        delivery = self._begin(Operation(method), timeout_s)

        async def send(delivery: Delivery) -> Outcome:
            try:
                async with asyncio.timeout(self._left_s(delivery)):
                    return Outcome(await reply_to(self.calls.begin(method), self._namespace))
            except builtins.TimeoutError:
                raise DeadlinePassed(sent=True) from None

        return (await self._insist(delivery, _Lane(_any_time, send, _nothing, None))).value

    async def _insist(
        self, delivery: Delivery, lane: _Lane[Awaitable[Outcome]], counted: Operation | None = None
    ) -> Outcome:
        """Try until there is an answer; whatever it is, the request id is settled or parked, and `counted` counted."""
        seen, activate = self.calls.generation, False
        answer: Outcome | None = None
        final: BaseException | None = None
        try:
            if self._permits is not None and counted is not None:
                self._permits.check(counted)
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
                    if not self.calls.known:
                        await self.calls.resolve_async(self._left_s(delivery))
                    outcome = await lane.send(delivery)
                    failure: BaseException | None = outcome.error
                    if failure is None:
                        self._budget.earn()
                        answer = delivery.whole(outcome)
                        return answer
                except Exception as error:  # noqa: BLE001 - `after` sorts them
                    failure = error
                    lane.note(error)
                sent = not (activating or delivery.needs_request)
                step = delivery.after(failure, time.monotonic(), sent=sent)
                activate = activate or step.activate
                await asyncio.sleep(step.delay_s)
        except BaseException as error:
            final = error
            raise
        finally:
            lane.ease()
            self._finish(delivery, answer, final, counted)

    async def _first_request(self, delivery: Delivery) -> Request | None:
        await self.calls.activate_async(self.calls.generation, self._left_s(delivery))
        return self._pool.take()

"""One operation on its way to a gateway: what to do after each failure.

    no answer         may have been applied: the same request id again, until the deadline
    not sent          again, `http.attempts_max` times in all
    backpressure      of the gateway itself: again after `retry_after`, as `Delivery` does
    anything else     the caller's answer, unless an earlier attempt may have been applied and this one decided nothing

What the gateway answers for an operation is final: it has repeated already what is worth repeating. Repeated requests,
which carry many operations, are paid from a budget besides.
"""

import asyncio
import builtins
import time
from collections.abc import Awaitable

import msgspec

from parquedb.actors.requests.operations import Outcome
from parquedb.cluster.http.answers import UNFORESEEN, NoAnswer
from parquedb.cluster.http.wire import GatewayPart, encode_operation
from parquedb.cluster.transport.coalescer import DeadlinePassed
from parquedb.cluster.transport.delivery import Delivery, Step
from parquedb.errors import OutcomeUnknownError, ParqueDBError
from parquedb.observability.otel.propagation import traceparent_of, unpacked


class GatewayDelivery(Delivery):
    """The state of one operation between its first attempt and its answer."""

    __slots__ = ()

    def encoded(self) -> GatewayPart:
        """Return the operation as it is to be sent now.

        Raises:
            ValidationError: a value is of a type that documents cannot hold.
        """
        traceparent = None if self.span is None else traceparent_of(unpacked(self.span))
        envelope = {
            "timeout_s": round(self.left_s, 3),
            "age_s": (round(self.age_s(time.monotonic()), 3) or None) if self.operation.is_write else None,
            "traceparent": traceparent,
        }
        return GatewayPart(encode_operation(self.operation, self.request, envelope), self.deadline_s, traceparent)

    @property
    def left_s(self) -> float:
        """Seconds that its caller still waits, a little at least."""
        return max(0.001, self.deadline_s - time.monotonic())

    def trace_headers(self) -> dict[str, str]:
        """Return what tells a gateway of the span that a request belongs to."""
        return {} if self.span is None else {"traceparent": traceparent_of(unpacked(self.span))}

    async def within_time(self, sending: Awaitable[Outcome]) -> Outcome:
        """Await an attempt until the deadline.

        Raises:
            DeadlinePassed: there is no outcome by then.
        """
        try:
            async with asyncio.timeout(self.left_s):
                return await sending
        except builtins.TimeoutError:
            raise DeadlinePassed(sent=True) from None

    def answered(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the number of attempts that it took."""
        return msgspec.structs.replace(outcome, attempts=self._failures + 1) if self._failures else outcome

    def final(self, error: ParqueDBError) -> BaseException:
        """Return the answer for the caller of a refusal that the gateway gave for this operation alone."""
        # What nobody foresaw may have come as far as the log.
        self._in_doubt |= error.code in UNFORESEEN
        return error if isinstance(error, OutcomeUnknownError) else self._final(error)

    def after_request(self, error: BaseException, now_s: float, *, attempts_max: int) -> Step:
        """Decide what follows a request that failed as a whole.

        Args:
            error: What it came to.
            now_s: Monotonic seconds.
            attempts_max: Attempts where nothing can have been applied.

        Raises:
            ParqueDBError: the answer for the caller.
        """
        if not isinstance(error, NoAnswer):
            return self.after(error, now_s)
        self._in_doubt |= error.sent
        persistent = self._in_doubt and self.operation.is_write
        if not error.repeatable or (self._failures + 1 >= attempts_max and not persistent):
            self._failures += 1
            raise self._final(error.why)
        step = self.after(error, now_s, sent=error.sent)
        wait_s = error.why.retry_after
        if wait_s is None or wait_s <= step.delay_s:
            return step
        if now_s + wait_s >= self.deadline_s:
            raise self._expired(error)
        step = Step(wait_s * (1 + 0.1 * self._random.random()), activate=False)
        self._attempt_s = now_s + step.delay_s
        return step

    def _expired(self, error: BaseException | None) -> ParqueDBError:
        return super()._expired(error.why if isinstance(error, NoAnswer) else error)

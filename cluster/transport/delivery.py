"""One operation on its way to the owner: its request id, its deadline, and what to do after each failure.

No I/O and no waiting here; the two clients ask `Delivery.after` and act on the answer.

    reply lost        may have been applied: the same request id again, at whoever owns the namespace now
    fenced            not applied: activate the owner the name leads to, then again
    backpressure      not applied: again after `retry_after`, at most `BACKPRESSURE_RETRIES_MAX` times, and only while
                      refusals are few: each answer earns a fraction of a repeat, for the process as a whole
    no room here      not applied, and the caller's answer: waiting to be queued would be one more queue
    outcome unknown   the owner does not know either: again, the new owner's log decides
    anything else     the caller's answer, unless an earlier attempt may have been applied and this one decided nothing
"""

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from parquedb.actors.requests.operations import Operation, Outcome, Request, SessionRequest
from parquedb.actors.requests.packing import ECHOES, Part, part_of, whole
from parquedb.cluster.reporting.attempts import Attempts
from parquedb.cluster.transport.backlog import QueueFull
from parquedb.cluster.transport.coalescer import DeadlinePassed
from parquedb.cluster.transport.sessions import parse_request_id, request_id_text
from parquedb.documents.codec import encode, encode_plain, is_plain
from parquedb.errors import (
    BackpressureError,
    ErrorCode,
    FencedError,
    OutcomeUnknownError,
    ParqueDBError,
    RateLimitedError,
    RpcError,
    TimeoutError,  # noqa: A004 - the public name of the error
)
from parquedb.observability.brief import Brief
from parquedb.storage.backends.retry import RetryBudget

BACKPRESSURE_RETRIES_MAX = 3
BACKPRESSURE_RETRY_SHARE = 0.1
"""Repeats after backpressure that one answer earns: under lasting overload they add no more than this to the load."""

BACKPRESSURE_RETRIES_SAVED = 256.0
"""Such repeats that a process may have saved up; what it begins with."""

UNKNOWN_RETRIES_MAX = 4
BACKOFF_BASE_S = 0.05
BACKOFF_MAX_S = 1.0

_SINGLE_WRITES = frozenset({"create", "update", "replace", "delete", "restore"})
_SCALARS = frozenset({type(None), bool, int, float, str, bytes, msgspec.Raw})
_SCALARS_AND_CONTAINERS = _SCALARS | {dict, list, tuple}

_DECISIONS = range(2, 7)
"""Categories of codes that judge the operation itself: validation, not found, conflict, relationship, query."""


class ReplyLost(Exception):  # noqa: N818 - a turn of control that never reaches a user
    """A call got no reply and never will; it may have run."""


class Step(NamedTuple):
    """What to do next: wait, then send again, perhaps after making sure who the owner is.

    Attributes:
        delay_s: Seconds to wait.
        activate: Whether to resolve the name and activate the owner first.
    """

    delay_s: float
    activate: bool


class Delivery:
    """The state of one operation between its first attempt and its answer.

    Attributes:
        request: The request id of a write, once it has one.
        began_s: When the caller began to wait (monotonic seconds).
        deadline_s: When the caller stops waiting (monotonic seconds).
        operation: What it wants.
        span: The span that it belongs to, packed (`otel.propagation`), if there is one.
        brief: Who is told of it in brief, if anybody is; the span is its own one then.
        parent: What `brief` wants to have back at the end.
        is_whole: Whether `brief` has a span of it that is active.
        repeats: Times that it was sent again (count).
    """

    __slots__ = (
        "_attempt_s",
        "_attempts",
        "_budget",
        "_failures",
        "_in_doubt",
        "_random",
        "_refusals",
        "began_s",
        "brief",
        "deadline_s",
        "is_whole",
        "operation",
        "parent",
        "repeats",
        "request",
        "span",
    )

    def __init__(  # noqa: PLR0913 - one operation and what it shares with others
        self,
        operation: Operation,
        *,
        now_s: float,
        timeout_s: float,
        span: bytes | None = None,
        uniform: "random.Random | None" = None,
        budget: RetryBudget | None = None,
        brief: Brief | None = None,
        attempts: Attempts | None = None,
    ) -> None:
        """Start with an operation that has not been sent.

        Args:
            operation: What the caller wants.
            now_s: Monotonic seconds.
            timeout_s: Seconds that the caller waits.
            span: The span that it belongs to, packed (`otel.propagation`), if there is one.
            uniform: Spreads the repeats.
            budget: Pays for repeats after backpressure, shared by all operations to one owner; None pays for all.
            brief: Told that it begins now; gives it its span.
            attempts: Told of each attempt, once there is more than one.
        """
        request = operation.request
        self.request: Request | None = parse_request_id(request) if isinstance(request, str) else request
        self.deadline_s = now_s + timeout_s
        self.operation = operation
        self.began_s = now_s
        self.brief = brief
        self.is_whole = False
        self.span: bytes | None = span
        self.parent: Any = None
        if brief is not None:
            self.span, self.parent = brief.begin()
        # The text of such an id has come out of an unknown outcome: the first attempt was an earlier call's.
        self._in_doubt = isinstance(request, str) and isinstance(self.request, SessionRequest)
        self._failures = 0
        self._refusals = 0
        self.repeats = 0
        self._attempts = attempts
        self._budget = budget
        self._random = uniform or _random

    @property
    def needs_request(self) -> bool:
        """Whether this write still lacks its request id."""
        return self.request is None and self.operation.is_write

    def age_s(self, now_s: float) -> float:
        """Return the seconds since its request id was first sent; 0.0 the first time."""
        before_s = self.operation.age_s
        # What somebody else sent before, a client of a gateway, is as old as he says.
        return before_s + now_s - self.began_s if self._failures or before_s else 0.0

    def part(self, now_s: float) -> Part:
        """Return the operation as it is to be sent now.

        Raises:
            ValidationError: a value is of a type that documents cannot hold.
        """
        operation, request = self.operation, self.request
        left_s = max(0.0, self.deadline_s - now_s)
        # What was refused for want of room is as new as ever, and leaves with others again.
        if self._failures == self._refusals and not operation.age_s:
            joinable = part_of(operation, request, left_s, self.span)
            if joinable is not None:
                return joinable
        wire = [
            operation.kind,
            operation.id,
            operation.body,
            operation.options or None,
            request if request is None or type(request) is str else list(request),
            self.span,
            left_s,
            self.age_s(now_s),
            operation.size,
        ]
        if self._failures:
            wire.append(self._failures + 1)
        if operation.kind in _SINGLE_WRITES and _is_plain(operation.options.values()):
            body = operation.body
            # A normalized document needs no second look at its datetimes.
            if is_plain(body) if operation.size else body is None or _is_plain(body.values()):
                return encode_plain(wire)
        return encode_wire(wire)

    def whole(self, outcome: Outcome) -> Outcome:
        """Complete the outcome as it came back: what the caller has sent itself does not travel twice."""
        operation = self.operation
        if self._failures:
            outcome = msgspec.structs.replace(outcome, attempts=self._failures + 1)
        return whole(operation, outcome) if operation.kind in ECHOES else outcome

    def make_whole(self) -> None:
        """Have a span that is active from now on, where it was told in brief so far."""
        if self.brief is not None and self.span is not None and not self.is_whole:
            self.is_whole = True
            self.brief.open(self, self.span, self.parent, self.began_s)

    def after(self, error: BaseException, now_s: float, *, sent: bool = True) -> Step:
        """Decide what follows a failed attempt.

        Args:
            error: What the attempt came to.
            now_s: Monotonic seconds.
            sent: Whether the operation itself was on its way, not only the question who owns the namespace.

        Raises:
            ParqueDBError: the answer for the caller.
            BaseException: `error` itself, when it is none of ours.
        """
        self._failures += 1
        if isinstance(error, DeadlinePassed):
            self._in_doubt |= error.sent
            raise self._expired(None)
        if isinstance(error, QueueFull):
            raise self._final(error.refusal)
        if isinstance(error, ReplyLost):
            self._in_doubt |= sent
            step = Step(self._backoff_s(), activate=True)
        elif isinstance(error, FencedError):
            step = Step(self._backoff_s(), activate=True)
        elif isinstance(error, OutcomeUnknownError):
            self._in_doubt = True
            if self._failures > UNKNOWN_RETRIES_MAX:
                raise self._unknown(error)
            step = Step(self._backoff_s(), activate=False)
        elif isinstance(error, BackpressureError | RateLimitedError) and self._may_repeat():
            # Whoever names no time means that this one has to come alone.
            self._refusals += error.retry_after is not None
            # Never earlier than asked, and spread: a crowd told "in a second" must not come back as one.
            step = Step((error.retry_after or BACKOFF_BASE_S) * (1 + self._random.random()), activate=False)
        else:
            # A call that failed in a way nobody foresaw may have come as far as the log.
            self._in_doubt |= sent and type(error) is RpcError
            raise self._final(error)
        if now_s + step.delay_s >= self.deadline_s:
            raise self._expired(error)
        self.make_whole()
        self.attempt_over(now_s, error)
        self.repeats += 1
        self._attempt_s = now_s + step.delay_s
        return step

    def attempt_over(self, now_s: float, error: BaseException | None) -> None:
        """Tell what one of several attempts came to: an answer, or `error`."""
        if self._attempts is not None:
            began_s = self._attempt_s if self.repeats else self.began_s
            self._attempts.over(self.operation, self.repeats + 1, now_s - began_s, error)

    def _may_repeat(self) -> bool:
        if self._failures > BACKPRESSURE_RETRIES_MAX:
            return False
        return self._budget is None or self._budget.spend()

    def _backoff_s(self) -> float:
        # The first retry leaves at once: most failures are an owner that has just moved.
        if self._failures == 1:
            return 0.0
        return self._random.uniform(0.0, min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** min(self._failures, 16)))

    def _expired(self, error: BaseException | None) -> ParqueDBError:
        if self._in_doubt and self.operation.is_write:
            return self._unknown(error)
        if isinstance(error, ParqueDBError) and not isinstance(error, OutcomeUnknownError):
            return error
        timeout_s = self.deadline_s - self.began_s
        return TimeoutError(
            f"{self.operation.kind} had no answer within {timeout_s:.3g} s",
            timeout_s=timeout_s,
            cause=error,
        )

    def _final(self, error: BaseException) -> BaseException:
        """The answer of an attempt that was refused: an earlier one may still have been applied."""
        undecided = isinstance(error, ParqueDBError) and not _decides(error)
        return self._unknown(error) if self._in_doubt and undecided and self.operation.is_write else error

    def _unknown(self, error: BaseException | None) -> OutcomeUnknownError:
        text = request_id_text(self.request) if self.request is not None else None
        return OutcomeUnknownError(
            f"{self.operation.kind} may or may not have been applied; the same call with request_id={text!r} "
            "finds out and never applies it twice",
            request_id=text,
            cause=error,
        )


def _decides(error: ParqueDBError) -> bool:
    """Whether only an owner says so that has looked for the request id, or that never would have applied it.

    Everything else may come from one that got nowhere near: a new owner which the disk has no room for, say.
    """
    if error.code is ErrorCode.CONCURRENT_MODIFICATION:
        return True
    return error.code.category in _DECISIONS and not error.retryable


def encode_wire(value: list[Any] | dict[str, Any]) -> bytes:
    """Encode what travels, with naive datetimes as UTC: MessagePack has no other kind.

    Raises:
        ValidationError: a value is of a type that documents cannot hold.
    """
    # One look at the types decides for nearly all operations, where `codec.encode` after `utc` would take two.
    if _is_plain(value.values() if type(value) is dict else value):
        return encode_plain(value)
    return encode(utc(value))


def utc(value: Any) -> Any:
    """Return `value` with naive datetimes as UTC, tuples as lists and mappings as dicts."""
    if isinstance(value, Mapping):
        return {key: utc(item) for key, item in value.items()}
    kind = type(value)
    if kind is list or kind is tuple:
        return [utc(item) for item in value]
    if kind is datetime and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _is_plain(values: Iterable[Any]) -> bool:
    kinds = set(map(type, values))
    if kinds <= _SCALARS:
        return True
    if not kinds <= _SCALARS_AND_CONTAINERS:
        return False
    for value in values:
        kind = type(value)
        if kind is dict:
            if not _is_plain(value.values()):
                return False
        elif (kind is list or kind is tuple) and not _is_plain(value):
            return False
    return True


# Retries of many processes must not fall together; nothing here is secret.
_random = random.Random()  # noqa: S311 - jitter

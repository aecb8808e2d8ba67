"""A store that misbehaves on demand, the same way for the same seed: for tests and simulations.

It knows what a network does to a request: lose it, lose its answer after it was applied, delay it, or apply it long
after the sender gave up. It draws from its own `random.Random`, waits on the clock it was given and starts no tasks, so
a single-threaded run repeats exactly.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

from parquedb import errors
from parquedb.clock import Clock
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import READ_OPERATIONS, WRITE_OPERATIONS, Call, FunnelBackend

T = TypeVar("T")

_JOURNAL_MAX = 10_000

ERRORS: Mapping[str, Callable[[str], errors.ParqueDBError]] = MappingProxyType(
    {
        "network": lambda key: errors.NetworkError(key=key),
        "timeout": lambda key: errors.TimeoutError(key=key),
        "unknown": lambda key: errors.OutcomeUnknownError(key=key),
        "read": lambda key: errors.StorageReadError(key=key),
        "write": lambda key: errors.StorageWriteError(key=key),
        "quota": lambda key: errors.QuotaExceededError(key=key),
        "slow_down": lambda key: errors.RateLimitedError(key=key),
        "conflict": lambda key: errors.ConcurrentModificationError(key=key),
        "missing": lambda key: errors.ObjectNotFoundError(key=key),
        "exists": lambda key: errors.AlreadyExistsError(key=key),
        "etag": lambda key: errors.ETagMismatchError(key=key),
        "denied": lambda key: errors.PermissionDeniedError(key=key),
        "corrupt": lambda key: errors.CorruptionError(key=key, reason="injected"),
    }
)
"""One error of each class that a store may raise, by a short name, made for a key."""


class Fault(StrEnum):
    """What can happen to a call.

    Attributes:
        LOST_REQUEST: Never arrives: `OutcomeUnknownError` for a write, `NetworkError` for a read.
        LOST_REPLY: Applied, then the same errors.
        LATE: Writes only: the same error now, applied later (a "zombie").
        DELAY: Arrives after `delay_s`, on the injected clock. Where that is past the caller's limit, a read ends with
            `TimeoutError` at the limit, a write with `OutcomeUnknownError`, and is applied late.
        ERROR: Refused with `error`, not applied.
        TRUNCATED: Reads only: a random proper prefix of the bytes.
    """

    LOST_REQUEST = "lost_request"
    LOST_REPLY = "lost_reply"
    LATE = "late"
    DELAY = "delay"
    ERROR = "error"
    TRUNCATED = "truncated"


_OPERATIONS_OF = {Fault.LATE: WRITE_OPERATIONS, Fault.TRUNCATED: frozenset({"read", "read_range", "read_ranges"})}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """When a fault happens.

    Attributes:
        fault: What happens.
        operations: To which methods; None: to all that can have it.
        key_part: Only to keys that contain this.
        probability: To which share of these calls, 0 to 1.
        skip: Matching calls let through first.
        count: Times it happens, at most; None: no limit.
        delay_s: For DELAY and LATE: seconds, drawn evenly from this range.
        after_calls: For LATE: it lands before the so-manieth later call at the earliest.
        error: For ERROR: makes it from the key; a name in `ERRORS` will do.
    """

    fault: Fault
    operations: frozenset[str] | None = None
    key_part: str = ""
    probability: float = 1.0
    skip: int = 0
    count: int | None = None
    delay_s: tuple[float, float] = (0.0, 0.0)
    after_calls: int = 1
    error: str | Callable[[str], BaseException] | None = None

    def __post_init__(self) -> None:
        possible = _OPERATIONS_OF.get(self.fault, READ_OPERATIONS | WRITE_OPERATIONS)
        if self.operations is not None and (wrong := self.operations - possible):
            raise errors.ConfigurationError(
                f"fault {self.fault.value} cannot happen to {', '.join(sorted(wrong))}; only to "
                f"{', '.join(sorted(possible))}",
                setting="operations",
            )
        if self.fault is Fault.ERROR and (not self.error or (isinstance(self.error, str) and self.error not in ERRORS)):
            raise errors.ConfigurationError(
                f"fault error needs `error`: a function of the key, or one of {', '.join(ERRORS)}; not {self.error!r}",
                setting="error",
            )

    def matches(self, operation: str, key: str) -> bool:
        """Whether it may happen to this call."""
        operations = _OPERATIONS_OF.get(self.fault) if self.operations is None else self.operations
        return (operations is None or operation in operations) and self.key_part in key


class JournalEntry(NamedTuple):
    """One fault that happened, or one late write that arrived.

    Attributes:
        number: Number of the call, from 1, during which it happened.
        operation: The method.
        key: Key or prefix.
        event: The fault's name; `outage`; or `landed` or the name of the error that met a late write.
    """

    number: int
    operation: str
    key: str
    event: str


class _Armed:
    """A rule with its counters."""

    __slots__ = ("fired", "rule", "seen")

    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self.seen = self.fired = 0

    def fires(self, operation: str, key: str, rng: random.Random) -> bool:
        rule = self.rule
        if (rule.count is not None and self.fired >= rule.count) or not rule.matches(operation, key):
            return False
        self.seen += 1
        if self.seen <= rule.skip or (rule.probability < 1 and rng.random() >= rule.probability):
            return False
        self.fired += 1
        return True


class _Late(NamedTuple):
    call: Call[Any]
    due_number: int
    due_s: float


class FaultyBackend(FunnelBackend):
    """Applies fault rules, in the order they were added, in front of a store.

    DELAY adds to whatever follows it; of the other faults the first that fires is the one that happens.

    Attributes:
        calls: Calls by operation, those that failed included.
        journal: The last 10 000 faults and late arrivals, oldest first.
    """

    def __init__(self, inner: StorageBackend, *, rng: random.Random, clock: Clock) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self.journal: deque[JournalEntry] = deque(maxlen=_JOURNAL_MAX)
        self._rng = rng
        self._clock = clock
        self._rules: list[_Armed] = []
        self._late: list[_Late] = []
        self._outage = False
        self._outage_definite = False
        self._number = 0

    @property
    def late_writes(self) -> int:
        """Return the late writes still on their way."""
        return len(self._late)

    def add(self, rule: FaultRule) -> Callable[[], None]:
        """Let the rule work from now on; return how to take it back."""
        armed = _Armed(rule)
        self._rules.append(armed)

        def remove() -> None:
            self._rules = [other for other in self._rules if other is not armed]

        return remove

    def clear(self) -> None:
        """Take every rule back and end an outage; late writes stay on their way."""
        self._rules.clear()
        self._outage = False

    def outage(self, on: bool, *, definite: bool = False) -> None:
        """Begin or end a time in which nothing arrives.

        Args:
            on: Whether it begins.
            definite: Writes fail with `NetworkError` (refused connections) instead of `OutcomeUnknownError`.
        """
        self._outage, self._outage_definite = on, definite

    async def deliver_late(self) -> int:
        """Apply every late write now, in the order they were due; return how many."""
        return await self._deliver(self._late)

    async def _pass(self, call: Call[T]) -> T:
        self._number += 1
        self.calls[call.operation] += 1
        if self._outage:
            self._note(call, "outage")
            raise errors.NetworkError(key=call.key) if self._outage_definite else _lost(call)
        now_s = self._clock.boot_s()
        await self._deliver([late for late in self._late if late.due_number <= self._number and late.due_s <= now_s])
        delay_s, rule = self._draw(call)
        limit_s = call.timeout_s
        if delay_s > 0:
            await self._delay(call, delay_s)
            limit_s = None if limit_s is None else limit_s - delay_s
        if rule is None:
            return await call.send(self.inner, limit_s)
        return await self._happen(call, rule, limit_s)

    def _draw(self, call: Call[Any]) -> tuple[float, FaultRule | None]:
        delay_s = 0.0
        for armed in self._rules:
            if armed.fires(call.operation, call.key, self._rng):
                self._note(call, armed.rule.fault.value)
                if armed.rule.fault is not Fault.DELAY:
                    return delay_s, armed.rule
                delay_s += self._rng.uniform(*armed.rule.delay_s)
        return delay_s, None

    async def _delay(self, call: Call[Any], delay_s: float) -> None:
        if call.timeout_s is None or delay_s < call.timeout_s:
            await self._clock.sleep(delay_s)
            return
        if call.operation in WRITE_OPERATIONS:
            # On its way from now on, whether or not its sender is still there.
            self._late.append(_Late(call, self._number + 1, self._clock.boot_s() + delay_s))
        await self._clock.sleep(call.timeout_s)
        raise _lost(call, timeout_s=call.timeout_s)

    async def _happen(self, call: Call[T], rule: FaultRule, limit_s: float | None) -> T:
        if rule.fault is Fault.ERROR:
            make = (
                ERRORS[rule.error] if isinstance(rule.error, str) else cast(Callable[[str], BaseException], rule.error)
            )
            raise make(call.key)
        if rule.fault is Fault.TRUNCATED:
            data = await call.send(self.inner, limit_s)
            if isinstance(data, list):
                return cast(T, [*data[:-1], *map(self._cut, data[-1:])])
            return cast(T, self._cut(cast(bytes, data)))
        cause: errors.ParqueDBError | None = None
        if rule.fault is Fault.LATE:
            due_s = self._clock.boot_s() + self._rng.uniform(*rule.delay_s)
            self._late.append(_Late(call, self._number + rule.after_calls, due_s))
        elif rule.fault is Fault.LOST_REPLY:
            try:
                await call.send(self.inner, limit_s)
            except errors.ParqueDBError as error:  # The refusal was lost like any other answer.
                cause = error
        raise _lost(call) from cause

    def _cut(self, whole: bytes) -> bytes:
        return whole[: self._rng.randrange(len(whole))] if whole else whole

    async def _deliver(self, due: list[_Late]) -> int:
        due = sorted(due, key=lambda late: (late.due_s, late.due_number))
        # Taken off first: another task may come by while the store is at work.
        self._late = [late for late in self._late if late not in due]
        for late in due:
            try:
                await late.call.send(self.inner, None)
            except errors.ParqueDBError as error:
                self._note(late.call, type(error).__name__)
            else:
                self._note(late.call, "landed")
        return len(due)

    def _note(self, call: Call[Any], event: str) -> None:
        self.journal.append(JournalEntry(self._number, call.operation, call.key, event))


def _lost(call: Call[Any], *, timeout_s: float | None = None) -> errors.ParqueDBError:
    if call.operation in WRITE_OPERATIONS:
        return errors.OutcomeUnknownError(key=call.key)
    if timeout_s is not None:
        return errors.TimeoutError(timeout_s=timeout_s, key=call.key)
    return errors.NetworkError(key=call.key)

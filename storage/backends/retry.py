"""Trying again, with restraint: full-jitter backoff under a cap of tries, a deadline and a shared budget.

One layer of the whole stack retries (this one, in `parquedb.storage.backends.layers`); the libraries below it are set
not to.

Source: "Exponential Backoff and Jitter" (AWS architecture blog), full jitter; the budget follows Finagle's.
"""

import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from parquedb.clock import Clock
from parquedb.errors import CircuitOpenError, ConfigurationError, OutcomeUnknownError, ParqueDBError
from parquedb.observability.logs import get_logger

T = TypeVar("T")

_DOUBLINGS_MAX = 60
_attempt: ContextVar[int] = ContextVar("parquedb_attempt", default=1)


def attempt_number() -> int:
    """Return which try of its call is under way, from 1, for those who are told of it."""
    return _attempt.get()


@contextmanager
def attempt(number: int) -> Iterator[None]:
    """Say that a call is being tried for this time."""
    token = _attempt.set(number)
    try:
        yield
    finally:
        # A coroutine that nobody wants any more is closed wherever it is collected, which is another context.
        with suppress(ValueError):
            _attempt.reset(token)


_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """How often and how long to try.

    Attributes:
        attempts_max: Tries in all, the first included, from 1.
        base_s: Upper bound of the first wait, in seconds, from 0.
        max_s: Upper bound of every wait, in seconds, from 0.
        total_s: Seconds for all tries and waits of a call that brings no limit of its own, above 0.
        attempt_s: Seconds for one try, above 0, so that one which hangs leaves time for another; None: all there are.
    """

    attempts_max: int = 4
    base_s: float = 0.05
    max_s: float = 2.0
    total_s: float = 10.0
    attempt_s: float | None = None

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise ConfigurationError(
                f"retry option attempts_max must be at least 1, not {self.attempts_max!r}", setting="attempts_max"
            )
        for name in ("base_s", "max_s"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(
                    f"retry option {name} must be 0 seconds or more, not {getattr(self, name)!r}", setting=name
                )
        for name in ("total_s", "attempt_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"retry option {name} must be above 0 seconds, not {value!r}", setting=name)


class RetryBudget:
    """A token bucket that keeps retries a small share of the successes; thread-safe.

    Every success adds `ratio` tokens, every retry takes one. When a store fails for everyone the bucket is soon empty,
    and the load on it falls to the first attempts alone.

    Args:
        ratio: Retries earned by one success, 0 to 1.
        tokens_max: Most tokens it holds; it begins full, so that a fresh process may retry too.
    """

    def __init__(self, ratio: float = 0.2, *, tokens_max: float = 10.0) -> None:
        if not 0 <= ratio <= 1:
            raise ConfigurationError(f"retry budget ratio must be 0 to 1, not {ratio!r}", setting="ratio")
        if tokens_max < 0:
            raise ConfigurationError(
                f"retry budget tokens_max must be 0 or more, not {tokens_max!r}", setting="tokens_max"
            )
        self._lock = threading.Lock()
        self._ratio = ratio
        self._tokens_max = tokens_max
        self._tokens = float(tokens_max)

    @property
    def tokens(self) -> float:
        """Return the retries now affordable."""
        return self._tokens

    def earn(self) -> None:
        """Note a success."""
        if self._tokens >= self._tokens_max:
            return  # As nearly always; a retry paid at this very moment may miss what this one would have earned.
        with self._lock:
            self._tokens = min(self._tokens_max, self._tokens + self._ratio)

    def spend(self) -> bool:
        """Take one token for a retry; False: there is none, do not retry."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def backoff_s(failures: int, options: RetryOptions, rng: random.Random) -> float:
    """Return the wait after `failures` failed tries (from 1): uniform in [0, min(max_s, base_s * 2^(failures - 1))]."""
    return rng.uniform(0, min(options.max_s, options.base_s * 2 ** min(failures - 1, _DOUBLINGS_MAX)))


def is_retryable(error: BaseException) -> bool:
    """Whether an *idempotent* storage call that raised this may be sent again.

    Every code marked retryable except an open circuit, which would only refuse again; and an unknown outcome, because
    an idempotent call may be applied twice.
    """
    if isinstance(error, CircuitOpenError):
        return False
    return isinstance(error, OutcomeUnknownError) or (isinstance(error, ParqueDBError) and error.retryable)


class Retrier:
    """Runs idempotent calls until one succeeds, the error is final, or a limit is reached.

    Args:
        options: The caps.
        budget: Shared by all calls to one store, so that it sees what all of them do to it.
        clock: Measures the deadline and waits.
        rng: Draws the waits.
    """

    def __init__(self, options: RetryOptions, budget: RetryBudget, *, clock: Clock, rng: random.Random) -> None:
        self.options = options
        self.budget = budget
        self._clock = clock
        self._rng = rng

    async def run(self, send: Callable[[float], Awaitable[T]], *, timeout_s: float | None = None) -> T:
        """Return the result of the first `send(limit_s)` that succeeds.

        Args:
            send: One try; gets the seconds it may take and must keep to them.
            timeout_s: Seconds for everything; None: `options.total_s`.

        Raises:
            Exception: what the last try raised; where more tries were possible, with a note on why there were none.
        """
        deadline_s = self._clock.boot_s() + (self.options.total_s if timeout_s is None else timeout_s)
        longest_s = float("inf") if self.options.attempt_s is None else self.options.attempt_s
        failures = 0
        while True:
            left_s = max(0.0, deadline_s - self._clock.boot_s())
            try:
                with attempt(failures + 1):
                    result = await send(min(longest_s, left_s))
            except ParqueDBError as error:
                failures += 1
                wait_s = max(backoff_s(failures, self.options, self._rng), error.retry_after or 0.0)
                if reason := self._reason_to_stop(error, failures, wait_s, deadline_s):
                    if failures > 1 or is_retryable(error):
                        error.add_note(f"gave up after {failures} of {self.options.attempts_max} tries: {reason}")
                        _logger.warning(
                            "gave up after %d of %d tries, %s: %s",
                            failures,
                            self.options.attempts_max,
                            reason,
                            error,
                            extra={"event": "storage.gave_up", "attempts": failures, "error": error},
                        )
                    raise
            else:
                self.budget.earn()
                return result
            await self._clock.sleep(wait_s)

    def _reason_to_stop(self, error: ParqueDBError, failures: int, wait_s: float, deadline_s: float) -> str | None:
        if not is_retryable(error):
            return "this error is final"
        if failures >= self.options.attempts_max:
            return "no tries left"
        if self._clock.boot_s() + wait_s >= deadline_s:
            return "no time left"
        # Last, because asking spends.
        return None if self.budget.spend() else "the retry budget is spent"

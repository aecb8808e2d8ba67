"""Circuit breakers: stop asking a store that does not answer, and find out gently when it does again.

    CLOSED     every call passes and is judged
      -> OPEN       `failures` in a row; or the failure rate, or the slow-call rate, of the last `window_s` seconds
                    reached its limit with at least `calls_min` calls; or `trip()`
    OPEN       every call is refused with `CircuitOpenError`
      -> HALF_OPEN  the first call after `open_s` seconds, never while isolated
    HALF_OPEN  at most `probes_max` calls at once, the rest refused
      -> CLOSED     `successes` good answers
      -> OPEN       one failure, or one slow call where slow calls are judged
    any        -> OPEN, isolated, by `isolate()`, until -> CLOSED by `reset()`

Every change begins a new *generation*; a result that began in an older one says nothing about now and is not counted.

Source: "Release It!" (Nygard); generations and "did it fail / does it count" as two questions from sony/gobreaker.
"""

import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

from parquedb.clock import Clock, SystemClock
from parquedb.errors import CircuitOpenError
from parquedb.observability.logs import get_logger
from parquedb.storage.breaker.changes import CircuitState, StateCallback, StateChanges
from parquedb.storage.breaker.options import CallCounts, CircuitBreakerOptions, CircuitMetrics
from parquedb.storage.breaker.verdict import counts_as_failure
from parquedb.storage.breaker.window import CallWindow

__all__ = [
    "CircuitBreaker",
    "CircuitBreakerOptions",
    "CircuitMetrics",
    "CircuitState",
    "Guard",
    "Permit",
    "StateCallback",
    "counts_as_failure",
    "create_conservative_circuit_breaker",
    "create_fast_fail_circuit_breaker",
    "create_storage_circuit_breaker",
]

PROBE_WAIT_S = 1.0
"""What a caller refused for want of a probe's place is told to wait, at most; a probe is one storage call."""

_log = get_logger("storage.breaker")

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Permit:
    """Leave to make one call; whoever holds it settles or releases it, and only the first time counts."""

    generation: int
    started_s: float
    settled: bool = False


class Guard(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """One guarded block, sync or async; asks for leave on entry and settles on exit."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: "CircuitBreaker") -> None:
        self._breaker = breaker

    def __enter__(self) -> None:
        self._permit = self._breaker.acquire()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._breaker.settle(self._permit, error)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


class CircuitBreaker:
    """A thread-safe breaker; no lock is held while a call, a classifier or a callback runs.

    Args:
        name: Names the circuit in errors, metrics and callbacks.
        options: When it opens and closes.
        clock: Its only source of time.
        on_change: First callback; see `on_change()`.
    """

    def __init__(
        self,
        name: str,
        options: CircuitBreakerOptions | None = None,
        *,
        clock: Clock | None = None,
        on_change: StateCallback | None = None,
    ) -> None:
        self.name = name
        self.options = options or CircuitBreakerOptions()
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._window = CallWindow(self.options.window_s)
        self._counts = CallCounts()
        self._state = CircuitState.CLOSED
        self._isolated = False
        self._generation = 0
        self._since_s = self._probe_s = self._clock.boot_s()
        self._consecutive = self._probes = self._good_probes = 0
        self._changes = StateChanges(name)
        if on_change is not None:
            self.on_change(on_change)

    @property
    def state(self) -> CircuitState:
        """Return the state; asking never changes it."""
        return self._state

    def execute(self, call: Callable[[], T]) -> T:
        """Return what `call` returns.

        Raises:
            CircuitOpenError: refused; `call` was not made.
        """
        with Guard(self):
            return call()

    async def execute_async(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()` and return its result; a cancelled call gives its leave back uncounted.

        Raises:
            CircuitOpenError: refused; `call` was not made.
        """
        with Guard(self):
            return await call()

    def guard(self) -> Guard:
        """Return a context manager, for `with` or `async with`, around one call."""
        return Guard(self)

    def __call__(self, function: F) -> F:
        """Decorate a function or coroutine function, so that each of its calls is guarded."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:
                with Guard(self):
                    return await function(*args, **kwargs)

            return cast(F, guarded_async)

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            with Guard(self):
                return function(*args, **kwargs)

        return cast(F, guarded)

    def acquire(self) -> Permit:
        """Ask for leave to make one call, to be settled by the caller.

        Raises:
            CircuitOpenError: refused; `retry_after` is in seconds, 0 or more.
        """
        now_s = self._clock.boot_s()
        with self._lock:
            wait_s = self._wait_s(now_s)
            if wait_s > 0:
                self._counts.rejected += 1
                raise CircuitOpenError(circuit=self.name, retry_after=wait_s)
            if self._state is CircuitState.OPEN:
                self._move(CircuitState.HALF_OPEN, now_s, f"open for {self.options.open_s:g} s")
            elif self._probes >= self.options.probes_max:
                # These probes hang; without new places a few lost calls would refuse everyone for ever.
                self._move(CircuitState.HALF_OPEN, now_s, "probes lost")
            if self._state is CircuitState.HALF_OPEN:
                self._probes += 1
                self._probe_s = now_s
            permit = Permit(self._generation, now_s)
        self._changes.announce()
        return permit

    def settle(self, permit: Permit, error: BaseException | None = None) -> None:
        """Report how a permitted call ended: `None` for an answer, else what it raised."""
        self._settle(permit, self._judge(error))

    def release(self, permit: Permit) -> None:
        """Report that a permitted call says nothing about the store."""
        self._settle(permit, None)

    def trip(self, reason: str = "tripped") -> None:
        """Open now, as failures would; an open circuit starts its `open_s` again, an isolated one stays so."""
        now_s = self._clock.boot_s()
        with self._lock:
            if not self._isolated:
                self._move(CircuitState.OPEN, now_s, reason)
        self._changes.announce()

    def isolate(self, reason: str = "isolated") -> None:
        """Refuse every call until `reset()`."""
        now_s = self._clock.boot_s()
        with self._lock:
            self._move(CircuitState.OPEN, now_s, reason, isolated=True)
        self._changes.announce()

    def reset(self, reason: str = "reset") -> None:
        """Close, whatever the state, and forget the window; calls under way no longer count."""
        now_s = self._clock.boot_s()
        with self._lock:
            self._move(CircuitState.CLOSED, now_s, reason)
        self._changes.announce()

    def on_change(self, callback: StateCallback) -> Callable[[], None]:
        """Call `callback(name, before, after, reason)` after each change, in their order; return how to stop it.

        It runs in the thread whose call made the change, or in one that made another change meanwhile, and may use
        the breaker. What it raises is logged and goes no further.
        """
        return self._changes.subscribe(callback)

    def metrics(self) -> CircuitMetrics:
        """Return one consistent reading."""
        now_s = self._clock.boot_s()
        with self._lock:
            return CircuitMetrics(
                name=self.name,
                state=self._state,
                isolated=self._isolated,
                generation=self._generation,
                state_s=max(0.0, now_s - self._since_s),
                retry_after_s=self._wait_s(now_s),
                consecutive_failures=self._consecutive,
                probes=self._probes,
                window=self._window.totals(now_s),
                **asdict(self._counts),
            )

    def would_refuse(self) -> float | None:
        """Return the seconds for which a call is refused without a try, or None: one may be admitted now.

        A circuit that has waited long enough is None here: somebody must be let through to probe it.
        """
        with self._lock:
            if self._state is not CircuitState.OPEN:
                return None
            return self._wait_s(self._clock.boot_s()) or None

    def _wait_s(self, now_s: float) -> float:
        """Return seconds until a call may be admitted; 0: now. The lock is held."""
        open_s = self.options.open_s
        if self._state is CircuitState.CLOSED:
            return 0.0
        if self._isolated:
            return open_s
        if self._state is CircuitState.OPEN:
            return max(0.0, open_s - (now_s - self._since_s))
        full = self._probes >= self.options.probes_max and now_s - self._probe_s < open_s
        return min(PROBE_WAIT_S, open_s) if full else 0.0

    def _judge(self, error: BaseException | None) -> bool | None:
        if error is None:
            return False
        try:
            return self.options.classify(error)
        except Exception:  # noqa: BLE001 - a caller's classifier must not leak the permit or hide the call's error
            _log.exception("circuit %s: its classifier failed; the call counts as a failure", self.name)
            return True

    def _settle(self, permit: Permit, failed: bool | None) -> None:
        now_s = self._clock.boot_s()
        with self._lock:
            if permit.settled:
                return
            permit.settled = True
            if permit.generation != self._generation:
                self._counts.late += 1
                return
            if self._state is CircuitState.HALF_OPEN:
                self._probes -= 1
            if failed is None:
                self._counts.ignored += 1
            else:
                slow_s = self.options.slow_call_s
                self._record(now_s, failed=failed, slow=slow_s is not None and now_s - permit.started_s >= slow_s)
        self._changes.announce()

    def _record(self, now_s: float, *, failed: bool, slow: bool) -> None:
        if failed:
            self._counts.failures += 1
            self._consecutive += 1
        else:
            self._counts.successes += 1
            self._consecutive = 0
        if self._state is CircuitState.HALF_OPEN:
            if failed or slow:
                self._move(CircuitState.OPEN, now_s, "probe failed" if failed else "probe slow")
                return
            self._good_probes += 1
            if self._good_probes >= self.options.successes:
                self._move(CircuitState.CLOSED, now_s, f"{self._good_probes} probes succeeded")
            return
        self._window.add(now_s, failed=failed, slow=slow)
        if reason := self.options.reason_to_open(self._consecutive, self._window.totals(now_s)):
            self._move(CircuitState.OPEN, now_s, reason)

    def _move(self, after: CircuitState, now_s: float, reason: str, *, isolated: bool = False) -> None:
        """Begin a new generation. The lock is held."""
        before, was_isolated = self._state, self._isolated
        self._state, self._isolated = after, isolated
        self._generation += 1
        self._since_s = now_s
        self._probes = self._good_probes = 0
        if after is CircuitState.CLOSED:
            self._window.clear()
            self._consecutive = 0
        if after is CircuitState.OPEN and before is not after:
            self._counts.opened += 1
        if before is not after or isolated != was_isolated:
            self._changes.add(before, after, reason)


def create_storage_circuit_breaker(
    name: str = "storage", *, clock: Clock | None = None, on_change: StateCallback | None = None
) -> CircuitBreaker:
    """For a store one can wait for: opens at 5 failures in a row or half of 20 and more in 60 s; 30 s; 2 to close."""
    return CircuitBreaker(name, CircuitBreakerOptions(), clock=clock, on_change=on_change)


def create_fast_fail_circuit_breaker(
    name: str = "fast-fail", *, clock: Clock | None = None, on_change: StateCallback | None = None
) -> CircuitBreaker:
    """For a call with an alternative: opens at 3 failures in a row or half of 20 and more in 30 s; 10 s; 1 to close."""
    options = CircuitBreakerOptions(failures=3, successes=1, open_s=10.0, window_s=30.0, probes_max=1)
    return CircuitBreaker(name, options, clock=clock, on_change=on_change)


def create_conservative_circuit_breaker(
    name: str = "conservative", *, clock: Clock | None = None, on_change: StateCallback | None = None
) -> CircuitBreaker:
    """For a call without one: opens at 10 failures in a row or half of 20 and more in 120 s; 60 s; 5 to close."""
    options = CircuitBreakerOptions(failures=10, successes=5, open_s=60.0, window_s=120.0)
    return CircuitBreaker(name, options, clock=clock, on_change=on_change)

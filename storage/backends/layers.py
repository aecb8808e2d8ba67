"""The layers around a store: retry(observed(breaker(store))).

The breaker sees every single try, so it learns fastest; the hooks see every try as well, with its number and whether it
was let through; the retry layer sees the breaker's refusal and stops at once. Reads and writes have circuits of their
own, since one may be ill without the other (a full disk, a lost quorum).

`create` and `write(if_match=...)` pass the retry layer untouched: a second try may meet the first one's success and
report it as a refusal. `parquedb.storage.log.commit` sends those again, because it can tell.
"""

import logging
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from parquedb.clock import Clock
from parquedb.errors import CircuitOpenError, ParqueDBError
from parquedb.observability.contexts import CircuitContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.logs import get_logger
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import (
    READ_OPERATIONS,
    WRITE_OPERATIONS,
    Call,
    DelegatingBackend,
    FunnelBackend,
)
from parquedb.storage.backends.observed import ObservedBackend
from parquedb.storage.backends.retry import Retrier, RetryBudget, RetryOptions
from parquedb.storage.breaker.circuit import CircuitBreaker, CircuitBreakerOptions, CircuitState, StateCallback

if TYPE_CHECKING:
    from parquedb.settings import StorageSettings

__all__ = [
    "READ_OPERATIONS",
    "WRITE_OPERATIONS",
    "BreakerBackend",
    "DelegatingBackend",
    "ObservedBackend",
    "RetryingBackend",
    "wrap_backend",
]

T = TypeVar("T")

_logger = get_logger("storage.breaker")

_STAT_OPERATIONS = frozenset({"stat", "exists"})
_CONTENT_OPERATIONS = frozenset({"read", "read_range", "read_ranges"})


class Owner(NamedTuple):
    """The owner of a namespace, as hooks are told of it.

    Attributes:
        namespace: What it owns; None in a process that is none.
        actor: Name of its actor, if it has one.
    """

    namespace: str | None = None
    actor: str | None = None


NOBODY: Final = Owner()
"""For the storage of a client."""


class BreakerBackend(FunnelBackend):
    """Refuses calls while their circuit is open.

    Args:
        inner: The store.
        read_circuit: Guards `READ_OPERATIONS`.
        write_circuit: Guards `WRITE_OPERATIONS`.
        stat_bypass: `stat` and `exists` always reach the store and never count.
        read_fallback: Answers `read`, `read_range` and `read_ranges` that the open circuit refuses, such as a replica
            of objects that are never rewritten; what it does not have stays refused. Has a circuit of its own.

    Attributes:
        fallback_reads: Reads that the fallback answered.
    """

    def __init__(
        self,
        inner: StorageBackend,
        read_circuit: CircuitBreaker,
        write_circuit: CircuitBreaker,
        *,
        stat_bypass: bool = False,
        read_fallback: StorageBackend | None = None,
    ) -> None:
        super().__init__(inner)
        self.read_circuit = read_circuit
        self.write_circuit = write_circuit
        self.fallback_reads = 0
        self._bypass = _STAT_OPERATIONS if stat_bypass else frozenset()
        self._read_fallback = read_fallback

    @property
    def circuits(self) -> Mapping[str, CircuitBreaker]:
        """The circuits by what they guard: `read`, `write`, and `fallback` where there is a guarded one."""
        own = {"read": self.read_circuit, "write": self.write_circuit}
        if isinstance(self._read_fallback, BreakerBackend):
            own["fallback"] = self._read_fallback.read_circuit
        return own

    async def close(self) -> None:
        """Close the store, and the fallback."""
        try:
            await self.inner.close()
        finally:
            if self._read_fallback is not None:
                await self._read_fallback.close()

    async def _pass(self, call: Call[T]) -> T:
        if call.operation in self._bypass:
            return await call.send(self.inner, call.timeout_s)
        circuit = self.read_circuit if call.operation in READ_OPERATIONS else self.write_circuit
        try:
            permit = circuit.acquire()
        except CircuitOpenError as refusal:
            if self._read_fallback is None or call.operation not in _CONTENT_OPERATIONS:
                raise
            return await self._fall_back(call, self._read_fallback, refusal)
        try:
            result = await call.send(self.inner, call.timeout_s)
        except BaseException as error:
            circuit.settle(permit, error)
            raise
        circuit.settle(permit)
        return result

    async def _fall_back(self, call: Call[T], fallback: StorageBackend, refusal: CircuitOpenError) -> T:
        try:
            answer = await call.send(fallback, call.timeout_s)
        except ParqueDBError as error:
            # "Not found" in a replica would be read as "not found" in the store.
            raise refusal from error
        self.fallback_reads += 1
        return answer


class RetryingBackend(FunnelBackend):
    """Sends idempotent calls again while that may help; conditional writes pass untouched.

    A plain `write` or `delete` may land once more after it returned, when a lost try arrives late: a key that is
    written this way must only ever get one content.
    """

    def __init__(self, inner: StorageBackend, retrier: Retrier) -> None:
        super().__init__(inner)
        self.retrier = retrier

    async def _pass(self, call: Call[T]) -> T:
        if call.conditional:
            return await call.send(self.inner, call.timeout_s)
        return await self.retrier.run(lambda left_s: call.send(self.inner, left_s), timeout_s=call.timeout_s)


def wrap_backend(  # noqa: PLR0913 - the one place where a store meets everything it is used with
    backend: StorageBackend,
    settings: "StorageSettings",
    *,
    clock: Clock,
    hooks: HookRegistry,
    rng: random.Random,
    on_circuit_change: StateCallback | None = None,
    read_fallback: StorageBackend | None = None,
    owner: Owner = NOBODY,
) -> RetryingBackend:
    """Put all layers around a store; their circuits are its `circuits`, by `read`, `write` and perhaps `fallback`.

    Args:
        backend: The bare store.
        settings: Limits of retries and breakers.
        clock: Measures windows, waits and deadlines.
        hooks: Hear of every call and every change of a circuit.
        rng: Draws the waits between tries.
        on_circuit_change: Receives circuit, state before, state after and reason.
        read_fallback: Another bare store with the same objects; see `BreakerBackend`.
        owner: Whose process this is, for the hooks.
    """
    options = CircuitBreakerOptions(
        failures=settings.breaker_failures,
        failure_rate=settings.breaker_failure_rate,
        calls_min=settings.breaker_calls_min,
        window_s=settings.breaker_window_s,
        slow_call_s=settings.breaker_slow_call_s,
        slow_call_rate=settings.breaker_slow_call_rate,
        open_s=settings.breaker_open_s,
        successes=settings.breaker_successes,
        probes_max=settings.breaker_probes_max,
    )

    def announce(circuit: str, before: CircuitState, after: CircuitState, reason: str) -> None:
        level = logging.WARNING if after is CircuitState.OPEN else logging.INFO
        extra = {"event": "circuit.changed", "circuit": circuit, "before": before.value, "after": after.value}
        _logger.log(level, "circuit %s is %s, it was %s: %s", circuit, after, before, reason, extra=extra)
        retry_after_s = options.open_s if after is CircuitState.OPEN else None
        told = CircuitContext(circuit, before.value, after.value, retry_after_s, reason, owner.namespace)
        hooks.emit("circuit_change", told)

    def circuit(guards: str) -> CircuitBreaker:
        made = CircuitBreaker(f"{backend.name}.{guards}", options, clock=clock, on_change=announce)
        if on_circuit_change is not None:
            made.on_change(on_circuit_change)
        return made

    if read_fallback is not None:
        fallback_circuit = circuit("fallback")
        read_fallback = BreakerBackend(read_fallback, fallback_circuit, fallback_circuit)
    guarded = BreakerBackend(
        backend,
        circuit("read"),
        circuit("write"),
        stat_bypass=settings.breaker_stat_bypass,
        read_fallback=read_fallback,
    )
    retry_options = RetryOptions(
        attempts_max=settings.retry_attempts_max,
        base_s=settings.retry_base_s,
        max_s=settings.retry_max_s,
        total_s=settings.total_s,
        attempt_s=settings.timeout_s,
    )
    retrier = Retrier(retry_options, RetryBudget(settings.retry_budget_ratio), clock=clock, rng=rng)
    observed = ObservedBackend(guarded, hooks, side="client" if owner is NOBODY else "actor", actor=owner.actor)
    return RetryingBackend(observed, retrier)

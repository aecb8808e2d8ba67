"""The layers around a store: retry(observed(breaker(store))).

The breaker sees every single try, so it learns fastest; the hooks see every try as well, with its number and whether it
was let through; the retry layer sees the breaker's refusal and stops at once. Reads and writes have circuits of their
own, since one may be ill without the other (a full disk, a lost quorum).

`create` and `write(if_match=...)` pass the retry layer untouched: a second try may meet the first one's success and
report it as a refusal. `parquedb.storage.log.commit` sends those again, because it can tell.
"""

import logging
import random
from collections.abc import Awaitable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from parquedb.clock import Clock
from parquedb.errors import CircuitOpenError, ParqueDBError
from parquedb.observability.contexts import CircuitContext, Side, StorageContext, StorageResult
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.logs import get_logger
from parquedb.storage.backend import ListPage, ObjectInfo, Range, StorageBackend
from parquedb.storage.backends.delegating import (
    READ_OPERATIONS,
    WRITE_OPERATIONS,
    Call,
    DelegatingBackend,
    FunnelBackend,
)
from parquedb.storage.backends.retry import Retrier, RetryBudget, RetryOptions, attempt_number
from parquedb.storage.breaker.circuit import CircuitBreaker, CircuitBreakerOptions, CircuitState, StateCallback
from parquedb.storage.keys import decode_segment

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


class ObservedBackend(DelegatingBackend):
    """Announces every try of every call to the hooks; where none listens it costs one look.

    Args:
        inner: The next layer.
        hooks: Whom to tell.
        side: Whose process this is.
        actor: Name of the actor, where it is one.
    """

    def __init__(
        self, inner: StorageBackend, hooks: HookRegistry, *, side: Side = "actor", actor: str | None = None
    ) -> None:
        super().__init__(inner)
        self._hooks = hooks
        self._side: Side = side
        self._actor = actor

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Read, announced."""
        call = self.inner.read(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("read", key), call)

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Read a part, announced."""
        call = self.inner.read_range(key, start, length, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("read_range", key, start=start, length=length), call)

    async def read_ranges(self, ranges: Sequence[Range], *, timeout_s: float | None = None) -> Sequence[bytes]:
        """Read parts, announced as one call."""
        call = self.inner.read_ranges(ranges, timeout_s=timeout_s)
        if not ranges or not self._hooks.hears("storage"):
            return await call
        total = sum(one.length for one in ranges)
        return await self._announced(self._context("read_ranges", ranges[0].key, length=total), call)

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        """Create, announced."""
        call = self.inner.create(key, data, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("create", key, size=len(data)), call)

    async def create_file(self, key: str, path: Path, *, timeout_s: float | None = None) -> ObjectInfo:
        """Create from a file, announced."""
        call = self.inner.create_file(key, path, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("create_file", key, size=path.stat().st_size), call)

    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        """Write, announced."""
        call = self.inner.write(key, data, if_match=if_match, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("write", key, size=len(data)), call)

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Delete, announced."""
        call = self.inner.delete(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("delete", key), call)

    async def abort_uploads(self, prefix: str, older_than_s: float, *, timeout_s: float | None = None) -> int:
        """Give up multipart uploads, announced."""
        call = self.inner.abort_uploads(prefix, older_than_s, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("abort_uploads", prefix), call)

    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Forward, announced."""
        call = self.inner.verifies_uploads(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("verifies_uploads", key), call)

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """List, announced."""
        call = self.inner.list(prefix, after=after, limit=limit, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("list", prefix), call)

    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """List folders, announced."""
        call = self.inner.list_folders(prefix, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("list_folders", prefix), call)

    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        """Describe, announced."""
        call = self.inner.stat(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("stat", key), call)

    async def exists(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Ask for existence, announced."""
        call = self.inner.exists(key, timeout_s=timeout_s)
        if not self._hooks.hears("storage"):
            return await call
        return await self._announced(self._context("exists", key), call)

    def _context(
        self, operation: str, key: str, *, size: int | None = None, start: int | None = None, length: int | None = None
    ) -> StorageContext:
        return StorageContext(
            operation,
            key,
            self.name,
            namespace=_namespace_of(key.partition("/")[0]) if "/" in key else None,
            bytes=size,
            start=start,
            length=length,
            side=self._side,
            attempt=attempt_number(),
            actor=self._actor,
        )

    async def _announced(self, context: StorageContext, call: Awaitable[T]) -> T:
        operation = self._hooks.start("storage", context)
        try:
            result = await call
        except BaseException as error:
            operation.error(error)
            raise
        operation.end(_result_of(context, result, operation.elapsed_s()))
        return result


def _result_of(context: StorageContext, result: Any, duration_s: float) -> StorageResult:
    if isinstance(result, bytes):
        return StorageResult(duration_s, bytes=len(result), cached=False)
    if isinstance(result, ObjectInfo):
        return StorageResult(duration_s, bytes=context.bytes, etag=result.etag)
    if context.operation == "read_ranges":
        return StorageResult(duration_s, bytes=sum(map(len, result)), cached=False)
    if isinstance(result, ListPage):
        return StorageResult(duration_s, rows=len(result.objects))
    if context.operation == "list_folders":
        return StorageResult(duration_s, rows=len(result))
    return StorageResult(duration_s)


@lru_cache(maxsize=1024)
def _namespace_of(segment: str) -> str | None:
    try:
        return decode_segment(segment)
    except ParqueDBError:
        return None


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

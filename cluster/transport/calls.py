"""Calls to the actor of one namespace. Ray's errors stop here: above are only ours.

A call has three endings: a reply, an error of ours, or `ReplyLost`. Ray raises the same classes for calls that never
ran, that ran, and that ran and were finished, so every loss counts as "may have run".
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import ray
from ray.exceptions import (
    ActorDiedError,
    GetTimeoutError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    PendingCallsLimitExceeded,
    RayActorError,
    RayError,
    RaySystemError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

from parquedb.access.grants import put_before
from parquedb.actors.requests.operations import Outcome
from parquedb.actors.requests.packing import Part, decode_outcomes, pack
from parquedb.cluster.reporting import journal
from parquedb.cluster.runtime.lookup import Lookup
from parquedb.cluster.runtime.placement import find_or_create
from parquedb.cluster.transport.coalescer import DeadlinePassed, NoReplyYet
from parquedb.cluster.transport.credentials import Credentials
from parquedb.cluster.transport.delivery import ReplyLost
from parquedb.errors import BackpressureError, ParqueDBError, RpcError, RpcUnavailableError
from parquedb.settings import Settings

T = TypeVar("T")

OPERATION_CPU_S = 25e-6
"""What one operation takes of the processors of caller and owner together, seconds; measured, and not critical."""

_LOOKUP_SLACK_S = 0.05
"""By how much a caller's time may run over, so that a silent cluster is named as such."""

_LOST = (
    RayActorError,
    WorkerCrashedError,
    NodeDiedError,
    LocalRayletDiedError,
    ObjectLostError,
    TaskCancelledError,
)


class Activation(TypedDict):
    """What an owner says of itself: epoch and tail of the log, process id, Ray node."""

    epoch: int
    tail: int
    pid: int
    node: str


def translate(error: BaseException, namespace: str) -> BaseException:  # noqa: PLR0911 - one return per meaning
    """Return what an error of Ray means to us: an error of ours, or `ReplyLost`. Others come back as they are."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, ParqueDBError):
            return cause
        return RpcError(f"the actor of {namespace!r} failed: {type(cause).__name__}: {cause}", cause=cause)
    if isinstance(error, ActorDiedError) and error.actor_init_failed:
        return RpcUnavailableError(f"the actor of {namespace!r} could not start: {error}", cause=error)
    if isinstance(error, _LOST):
        return ReplyLost(f"{type(error).__name__}: {error}")
    if isinstance(error, PendingCallsLimitExceeded):
        return BackpressureError(f"too many calls to {namespace!r} wait in this process", retry_after=0.1)
    if isinstance(error, RaySystemError):
        return RpcUnavailableError(f"Ray is not running in this process: {error}", cause=error)
    if isinstance(error, RayError):
        return RpcError(f"the call to {namespace!r} failed: {type(error).__name__}: {error}", cause=error)
    return error


def wait_for(reply: Any, namespace: str, timeout_s: float) -> Any:
    """Wait for a reply.

    Raises:
        NoReplyYet: none within `timeout_s`.
        ReplyLost: there will be none.
        ParqueDBError: what the actor raised, as itself, or what kept the call from it.
    """
    try:
        return ray.get(reply, timeout=timeout_s)
    except GetTimeoutError as error:
        raise NoReplyYet from error
    except Exception as error:
        raise translate(error, namespace) from error


async def reply_to(reply: Any, namespace: str) -> Any:
    """Await a reply; raises like `wait_for`, without a time limit."""
    try:
        return await reply
    except asyncio.CancelledError:
        raise
    except Exception as error:
        raise translate(error, namespace) from error


class NamespaceCalls:
    """The actor of one namespace, as one process sees it. Safe to share between threads.

    Attributes:
        known: Whether the actor is known, or was before it moved.
        generation: Rises with every activation; who meets a failure says which one it had seen, so that of many that
            met the same failure only the first resolves the name again.
    """

    def __init__(
        self,
        settings: Settings,
        namespace: str,
        hooks: bytes = b"",
        *,
        on_activated: Callable[[int], None] = lambda _tail: None,
        credentials: Credentials | None = None,
    ) -> None:
        """Remember where to call and what to show there; nothing is started yet."""
        self.known = False
        self.generation = 0
        self._settings = settings
        self._namespace = namespace
        self._on_activated = on_activated
        self._credentials = credentials or Credentials(settings)
        self._handle: Any = None
        self._execute: Callable[[bytes], Any] | None = None
        self._put_s = 0.0
        self._lock = threading.Lock()
        self._loop_lock: asyncio.Lock | None = None
        self._lookup = Lookup(f"which actor serves {namespace!r}", lambda: find_or_create(settings, namespace, hooks))

    def handle(self) -> Any:
        """Return the actor's handle, starting the actor if there is none.

        Raises:
            RpcUnavailableError: Ray is not running, or its head does not answer.
        """
        self.resolve(self._settings.client.timeout_s)
        return self._handle

    def resolve(self, timeout_s: float) -> None:
        """Make sure that the actor is known, or started if there is none.

        Raises:
            RpcUnavailableError: the cluster did not say within `timeout_s`, or Ray is not running.
        """
        if not self.known:
            self._resolve(timeout_s)

    async def resolve_async(self, timeout_s: float) -> None:
        """Do what `resolve` does, without blocking the loop."""
        if not self.known:
            await self._resolve_async(timeout_s)

    def start_from(self, other: "NamespaceCalls") -> None:
        """Call the actor that another one calls, if it knows it already: asking for the name takes a millisecond."""
        self._handle, self._execute, self.known = other._handle, other._execute, other.known

    def begin(self, method: str) -> Any:
        """Call a method that takes no arguments but a grant; returns the reply to come.

        Raises:
            BackpressureError: this process has left too many calls with the actor already.
            ParqueDBError: the call could not leave.
        """
        try:
            grant = self._credentials.grant()
            return getattr(self.handle(), method).remote(*(() if grant is None else (grant,)))
        except RayError as error:
            raise translate(error, self._namespace) from error

    def start(self, parts: Sequence[Part]) -> Any:
        """Send operations; returns the reply to come."""
        try:
            self.resolve(self._settings.client.timeout_s)
            payload, grant = pack(parts), self._credentials.grant()
            # One for all operations of a call, so that runs of them stay joined.
            return self._execute(payload if grant is None else put_before(payload, grant))  # type: ignore[misc]
        except (RayError, ValueError) as error:
            raise translate(error, self._namespace) from error

    def wait(self, call: Any, timeout_s: float) -> list[Outcome]:
        """Wait for the outcomes of a call; see `wait_for`."""
        return self._outcomes(wait_for(call, self._namespace, timeout_s))

    async def send(self, parts: Sequence[Part]) -> list[Outcome]:
        """Send operations and await their outcomes."""
        await self.resolve_async(self._settings.client.timeout_s)
        return self._outcomes(await reply_to(self.start(parts), self._namespace))

    def store_is_quick(self, operations: int) -> bool:
        """Whether so many operations keep processors busy for longer than one commit keeps the store."""
        return 0 < self._put_s < operations * OPERATION_CPU_S

    def _outcomes(self, payload: bytes) -> list[Outcome]:
        outcomes, self._put_s = decode_outcomes(payload)
        return outcomes

    def activate(self, seen: int, timeout_s: float) -> None:
        """Make sure that the actor the name leads to is the owner, unless that was done since `seen`.

        Raises:
            DeadlinePassed: not within `timeout_s`.
            RpcUnavailableError: within that the cluster did not say who the actor is.
            ReplyLost: the actor did not answer.
            ParqueDBError: it could not become the owner.
        """
        deadline_s = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise self._too_late(timeout_s)
        try:
            if self.generation == seen:
                self._resolve(max(0.0, deadline_s - time.monotonic()))
                try:
                    left_s = max(0.0, deadline_s - time.monotonic())
                    self._activated(wait_for(self.begin("activate"), self._namespace, left_s))
                except NoReplyYet:
                    raise DeadlinePassed(sent=False) from None
        finally:
            self._lock.release()

    async def activate_async(self, seen: int, timeout_s: float) -> None:
        """Do what `activate` does, without blocking the loop."""
        self._loop_lock = self._loop_lock or asyncio.Lock()
        deadline_s = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s + _LOOKUP_SLACK_S), self._loop_lock:
                if self.generation == seen:
                    await self._resolve_async(max(0.0, deadline_s - time.monotonic()))
                    self._activated(await reply_to(self.begin("activate"), self._namespace))
        except TimeoutError:
            raise self._too_late(timeout_s) from None

    def _too_late(self, timeout_s: float) -> Exception:
        """What to tell whom time ran out before anything was sent: he may have waited for another one's lookup."""
        return self._lookup.unanswered(timeout_s) if self._lookup.under_way else DeadlinePassed(sent=False)

    def _resolve(self, timeout_s: float) -> None:
        try:
            self._found(self._lookup.result(timeout_s))
        except (RayError, ValueError) as error:
            raise translate(error, self._namespace) from error

    async def _resolve_async(self, timeout_s: float) -> None:
        try:
            self._found(await self._lookup.result_async(timeout_s))
        except (RayError, ValueError) as error:
            raise translate(error, self._namespace) from error

    def _found(self, handle: Any) -> None:
        self._handle, self._execute, self.known = handle, handle.execute_packed.remote, True

    def _activated(self, answer: Activation) -> None:
        journal.owner_found(self._namespace, answer["epoch"], answer["pid"], answer["node"])
        self._on_activated(answer["tail"])
        self.generation += 1

"""Calls to the actor of one namespace. Ray's errors stop here: above are only ours.

A call has three endings: a reply, an error of ours, or `ReplyLost`. Ray raises the same classes for calls that never
ran, that ran, and that ran and were finished, so every loss counts as "may have run".
"""

import asyncio
import threading
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
from parquedb.cluster.runtime.placement import find_or_create
from parquedb.cluster.transport.coalescer import DeadlinePassed, NoReplyYet
from parquedb.cluster.transport.credentials import Credentials
from parquedb.cluster.transport.delivery import ReplyLost
from parquedb.errors import BackpressureError, ParqueDBError, RpcError, RpcUnavailableError
from parquedb.settings import Settings

T = TypeVar("T")

OPERATION_CPU_S = 25e-6
"""What one operation takes of the processors of caller and owner together, seconds; measured, and not critical."""

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
        self.generation = 0
        self._settings = settings
        self._namespace = namespace
        self._hooks = hooks
        self._on_activated = on_activated
        self._credentials = credentials or Credentials(settings)
        self._handle: Any = None
        self._execute: Callable[[bytes], Any] | None = None
        self._put_s = 0.0
        self._lock = threading.Lock()
        self._loop_lock: asyncio.Lock | None = None

    def handle(self) -> Any:
        """Return the actor's handle, starting the actor if there is none.

        Raises:
            RpcUnavailableError: Ray is not running.
        """
        if self._handle is None:
            self._resolve()
        return self._handle

    def start_from(self, other: "NamespaceCalls") -> None:
        """Call the actor that another one calls, if it knows it already: asking for the name takes a millisecond."""
        self._handle, self._execute = other._handle, other._execute

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
            if self._execute is None:
                self._resolve()
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
        if self._execute is None:
            # Asking the cluster for a name, or starting an actor, takes milliseconds: too long for a loop.
            await asyncio.to_thread(self._resolve)
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
            ReplyLost: the actor did not answer.
            ParqueDBError: it could not become the owner.
        """
        if not self._lock.acquire(timeout=timeout_s):
            raise DeadlinePassed(sent=False)
        try:
            if self.generation == seen:
                self._resolve()
                try:
                    self._activated(wait_for(self.begin("activate"), self._namespace, timeout_s))
                except NoReplyYet:
                    raise DeadlinePassed(sent=False) from None
        finally:
            self._lock.release()

    async def activate_async(self, seen: int, timeout_s: float) -> None:
        """Do what `activate` does, without blocking the loop."""
        self._loop_lock = self._loop_lock or asyncio.Lock()
        try:
            async with asyncio.timeout(timeout_s), self._loop_lock:
                if self.generation == seen:
                    await asyncio.to_thread(self._resolve)
                    self._activated(await reply_to(self.begin("activate"), self._namespace))
        except TimeoutError:
            raise DeadlinePassed(sent=False) from None

    def _resolve(self) -> None:
        try:
            handle = find_or_create(self._settings, self._namespace, self._hooks)
        except (RayError, ValueError) as error:
            raise translate(error, self._namespace) from error
        self._handle, self._execute = handle, handle.execute_packed.remote

    def _activated(self, answer: Activation) -> None:
        journal.owner_found(self._namespace, answer["epoch"], answer["pid"], answer["node"])
        self._on_activated(answer["tail"])
        self.generation += 1

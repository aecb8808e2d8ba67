"""The Ray actor that hosts one namespace: it receives calls, keeps the engine open while used, and decides nothing.

    idle --first call--> open --idle for `idle_timeout_s`--> idle
                          open --a rival owns the log--> fenced --activate()--> open

A fenced host stays fenced until somebody who has resolved the name says `activate()`: by itself it would fight the
rival for ownership (rule 18 of the commit protocol, `docs/architecture.md`).
"""

import asyncio
import builtins
import contextlib
import gc
import itertools
import os
import random
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import ray

from parquedb.access.grants import GrantKeys
from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.host.call_room import CallRoom
from parquedb.actors.host.document_methods import Build, DocumentMethods
from parquedb.actors.host.doorkeeper import Doorkeeper, keys_in_force
from parquedb.actors.host.health_methods import HealthMethods
from parquedb.actors.host.process import finish_process, prepare_process
from parquedb.actors.reporting import journal
from parquedb.actors.reporting.announcements import Announcer, announced_upkeep
from parquedb.actors.reporting.metering import OwnerMeter
from parquedb.actors.reporting.survey import Surveyor
from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import MANY, Operation, Outcome
from parquedb.actors.requests.packing import decode_operations, encode_outcomes
from parquedb.actors.requests.permits import Permits
from parquedb.clock import SystemClock
from parquedb.errors import (
    ParqueDBError,
    TimeoutError,  # noqa: A004 - the public name of the error
)
from parquedb.observability.otel.metric_export import export_metrics
from parquedb.observability.otel.version import VERSION
from parquedb.settings import Settings
from parquedb.storage.backends.layers import Owner, RetryingBackend, wrap_backend
from parquedb.storage.breaker.monitor import global_circuit_breaker_monitor
from parquedb.storage.files.data_file import warm_up
from parquedb.storage.open import open_backend, open_fallback

SHUTDOWN_S = 5.0
"""Seconds a dying process spends on handing over cleanly; without a clean end the next owner only waits a lease."""

WARM_UP_AFTER_S = 0.5
"""Seconds between opening and warming up."""

_IDLE_CHECK_S = 1.0
_TIMEOUT_MIN_S = 0.001
_OPENING, _CLOSING = "opening", "closing"


class NamespaceActor(DocumentMethods, HealthMethods):
    """Serve one namespace. Every method is one message; writes answer when they are durable.

    The methods named like the client's take the same arguments and raise the same errors, so that any Ray code may
    use the bare handle. Health methods answer from a thread of their own while the engine is busy.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all that another process needs is given to it
        self,
        settings: Settings,
        namespace: str,
        hooks: bytes = b"",
        secret: str | None = None,
        variables: Mapping[str, str] | None = None,
        keys: GrantKeys | None = None,
    ) -> None:
        """Prepare to host `namespace`; storage is met by the first call, not here.

        Args:
            settings: All of them, as the client resolved them: this process does not see the client's environment.
            namespace: A checked name.
            hooks: Pickled hook objects, besides those `settings.hooks` names.
            secret: The storage secret, which settings lose on their way through a pickle.
            variables: Environment variables of the client that this process lacks: where its telemetry goes.
            keys: Of grants; see `keys_in_force`.
        """
        keys = keys_in_force(settings.access, keys)
        self._settings = settings = settings.with_secret(secret)
        self._namespace = namespace
        self._clock = SystemClock()
        self._random = random.Random()  # noqa: S311 - jitter and file names, nothing secret
        # Asked without Ray, `get_runtime_context` would start one.
        context = ray.get_runtime_context() if ray.is_initialized() else None
        self._actor_name = None if context is None else context.get_actor_name()
        own = None if context is None or context.get_actor_id() is None else namespace
        self._hooks = prepare_process(settings, hooks, variables or {}, _identity(namespace), own_namespace=own)
        self._meter = OwnerMeter.wanted(settings, namespace, self._hooks)
        self._door = Doorkeeper(keys, namespace, Announcer(self._hooks, namespace, self._actor_name), self._meter)
        self._storage = self._open_storage()
        self._engine: NamespaceEngine | None = None
        self._change: asyncio.Task[None] | None = None
        self._idle_watch: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changing_since_s = 0.0
        self._room = CallRoom(namespace, settings.engine.calls_bytes_max, self._clock, self._random)
        self._started_s = self._clock.boot_s()
        self._surveyor = Surveyor(namespace, self._clock, "" if context is None else context.get_node_id())
        if self._meter is not None:
            export_metrics(self._counted)

    async def execute_packed(self, payload: bytes) -> bytes:
        """Execute the encoded operations of a client and return their encoded outcomes, in the same order.

        Args:
            payload: See `parquedb.actors.requests.packing`; where the database requires a grant, with one in front.
                What that does not allow is answered for itself.

        Raises:
            BackpressureError: too much is being executed already; nothing of this is.
            AuthenticationRequiredError: the grant is missing, or not valid here.
        """
        permits, payload = self._door.admitted_with(payload)
        self._check_room(len(payload))
        operations = decode_operations(payload)
        outcomes = await self._execute(operations, len(payload), permits)
        engine = self._engine
        if engine is None:
            return encode_outcomes(operations, outcomes, 0.0)
        return encode_outcomes(operations, outcomes, engine.put_s, echoes=not engine.fills_in)

    async def execute(
        self, operations: Sequence[Mapping[str, Any] | Operation], *, grant: str | None = None
    ) -> list[dict[str, Any]]:
        """Execute several operations in dict form, each for itself; a read sees the writes in front of it.

        Args:
            operations: For example `[{"op": "create", "data": {...}}, {"op": "get", "id": "a"}]`.
            grant: Where the database requires one.

        Returns:
            In the same order `{"ok": True, "value": ..., "seq": ...}` or `{"ok": False, "error": {...}}`.

        Raises:
            ValidationError: one is malformed; none has been executed.
            BackpressureError: too much is being executed already; nothing of this is.
            AuthenticationRequiredError: the grant is missing, or not valid here.
        """
        permits = self._door.admitted(grant)
        parsed = [
            arguments.parse(self._namespace, item, at=f"operations[{index}]") for index, item in enumerate(operations)
        ]
        size = sum(each.size for each in parsed)
        self._check_room(size)
        outcomes: list[Outcome] = []
        for _, alike in itertools.groupby(enumerate(parsed), key=_together):
            outcomes += await self._execute([operation for _, operation in alike], size, permits)
        return [
            {"ok": False, "error": each.error.to_json()}
            if each.error is not None
            else {"ok": True, "value": each.value, "seq": each.seq}
            for each in outcomes
        ]

    async def activate(self, grant: str | None = None) -> dict[str, Any]:
        """Become the owner of the namespace, also after having been fenced.

        Returns:
            `epoch` and `tail` of the log; `pid`, Ray `node` and `version` of ParqueDB of this process.
        """
        self._door.check("activate", grant)
        self._room.enter()
        try:
            engine = await self._ready(reopen=True)
        finally:
            self._room.leave()
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        return {
            "epoch": engine.epoch,
            "tail": engine.tail,
            "pid": os.getpid(),
            "node": node,
            "version": VERSION,
        }

    async def flush(self, grant: str | None = None) -> None:
        """Fold everything acknowledged so far into Parquet files."""
        async with self._upkeep("flush", grant) as engine:
            await engine.flush()

    async def compact(self, grant: str | None = None) -> dict[str, int]:
        """Merge data files; see `Collection.compact`."""
        async with self._upkeep("compact", grant) as engine:
            return await engine.compact()

    async def close(self) -> None:
        """Give the namespace up cleanly; the next call opens it again."""
        while self._change is not None:
            await asyncio.wait({self._change})
        if self._engine is not None:
            await self._changing(self._close_engine("on request"), _CLOSING)
        await self._hooks.drain()

    def __ray_shutdown__(self) -> None:
        """Hand over cleanly when Ray ends this process in order, SIGTERM included; called in the main thread.

        Ray 2.60 has stopped the event loop by then, in a thread that is gone, but has not closed it: it runs once more,
        here, with everything that lives on it.
        """
        loop = self._loop
        # Whatever goes wrong: the process ends, and the next owner copes with one that vanished.
        with contextlib.suppress(Exception):
            if loop is not None and loop.is_running():
                asyncio.run_coroutine_threadsafe(self.close(), loop).result(SHUTDOWN_S)
            elif loop is not None and not loop.is_closed():
                loop.run_until_complete(asyncio.wait_for(self.close(), SHUTDOWN_S))
        # Last, for giving up the namespace is logged too.
        finish_process()

    def _open_storage(self) -> RetryingBackend:
        settings = self._settings
        storage = wrap_backend(
            open_backend(settings),
            settings.storage,
            clock=self._clock,
            hooks=self._hooks,
            rng=self._random,
            read_fallback=open_fallback(settings),
            owner=Owner(self._namespace, self._actor_name),
        )
        global_circuit_breaker_monitor.register(self._namespace, storage)
        return storage

    def _check_room(self, size: int) -> None:
        refusal = self._room.refusal(size)
        if refusal is not None:
            if self._meter is not None:
                self._meter.refused(refusal)
            raise refusal

    async def _one(self, build: Build, /, *given: Any, grant: str | None = None, **options: Any) -> Any:
        permits = self._door.admitted(grant)
        operation = build(self._namespace, *given, **options)
        self._check_room(operation.size)
        [outcome] = await self._execute([operation], operation.size, permits)
        return outcome.result()

    async def _execute(self, operations: Sequence[Operation], size: int, permits: Permits | None) -> list[Outcome]:
        """Execute operations that take so many bytes while they last; of them what is permitted, None permits all."""
        execute = partial(self._executed, size=size)
        executing = execute(operations) if permits is None else self._door.carried_out(operations, permits, execute)
        return await (executing if self._meter is None else self._meter.metered(operations, executing))

    async def _executed(self, operations: Sequence[Operation], size: int) -> list[Outcome]:
        self._room.enter(size)
        began_s = self._clock.boot_s()
        try:
            engine = self._engine
            if engine is None or self._change is not None or engine.state != "open":
                default_s = self._settings.engine.request_timeout_s
                wait_s = max((each.timeout_s or default_s for each in operations), default=default_s)
                try:
                    engine = await asyncio.wait_for(self._ready(), wait_s)
                except ParqueDBError as error:
                    return [Outcome(error=error) for _ in operations]
                except builtins.TimeoutError:
                    late = TimeoutError(f"{self._namespace!r} did not open within {wait_s:.3g} s", timeout_s=wait_s)
                    return [Outcome(error=late) for _ in operations]
                # Their callers have waited all the while; for those whose time is up each write is taken back.
                waited_s = self._clock.boot_s() - began_s
                operations = [
                    msgspec.structs.replace(
                        each, timeout_s=max(_TIMEOUT_MIN_S, (each.timeout_s or default_s) - waited_s)
                    )
                    for each in operations
                ]
            return await engine.execute(operations)
        finally:
            self._room.leave(size)
            took_s = self._room.used_s - began_s
            if took_s >= self._settings.log_slow_s:
                journal.slow_call(self._namespace, operations, took_s, self._settings.log_slow_s)

    @contextlib.asynccontextmanager
    async def _upkeep(self, what: str, grant: str | None) -> AsyncIterator[NamespaceEngine]:
        self._room.enter()
        try:
            with announced_upkeep(self._hooks, what, self._namespace, self._actor_name):
                self._door.check(what, grant)
                yield await self._ready()
        finally:
            self._room.leave()

    async def _ready(self, *, reopen: bool = False) -> NamespaceEngine:
        """Return the engine, opened; a fenced one only `reopen` replaces, everyone else shall meet its refusal."""
        while True:
            change = self._change
            if change is not None:
                await asyncio.wait({change})
                # All that waited for one opening share its failure: one attempt each would queue up for minutes.
                if change.get_name() == _OPENING and (error := change.exception()) is not None:
                    raise error
                continue
            engine = self._engine
            if engine is not None and (engine.state == "open" or (engine.state == "fenced" and not reopen)):
                return engine
            await self._changing(self._open_engine(), _OPENING)

    async def _changing(self, change: Coroutine[Any, Any, None], name: str) -> None:
        """Run a change of the engine as the only one; it goes on when the caller goes away."""
        task = asyncio.get_running_loop().create_task(change, name=name)
        self._change, self._changing_since_s = task, self._clock.boot_s()

        def changed(_: asyncio.Task[None]) -> None:
            self._change = None

        task.add_done_callback(changed)
        await asyncio.shield(task)

    async def _open_engine(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._engine is not None:
            self._engine.abandon()
            # It did not end well: a disk that lost a write takes no more from the handle that met it.
            old, self._storage = self._storage, self._open_storage()
            await old.close()
        self._engine = engine = NamespaceEngine(
            self._namespace,
            self._storage,
            self._settings.engine,
            clock=self._clock,
            rng=self._random,
            hooks=self._hooks,
            actor=self._actor_name,
        )
        began_s = self._clock.boot_s()
        try:
            await engine.open()
        except BaseException as error:
            engine.abandon()
            self._engine = None
            journal.open_failed(self._namespace, error, self._clock.boot_s() - began_s)
            raise
        journal.opened(self._namespace, engine.epoch, engine.tail, self._clock.boot_s() - began_s)
        # What lives by now lives for long: the collector of garbage need not look at it again.
        gc.freeze()
        # The first file of a process costs some 0.3 s more than the next: better soon than in the middle of writes, but
        # not at once, where it would slow down the first answer.
        self._loop.call_later(WARM_UP_AFTER_S, self._loop.run_in_executor, None, warm_up)
        if self._idle_watch is None or self._idle_watch.done():
            self._idle_watch = self._loop.create_task(self._watch_idle())

    async def _close_engine(self, why: str) -> None:
        engine, self._engine = self._engine, None
        if engine is not None and engine.state == "open":
            await engine.close()
            journal.closed(self._namespace, engine.epoch, why)
        elif engine is not None:
            engine.abandon()

    async def _watch_idle(self) -> None:
        while self._engine is not None:
            left_s = self._room.used_s + self._settings.engine.idle_timeout_s - self._clock.boot_s()
            if left_s <= 0 and self._room.calls == 0 and self._change is None:
                await self._changing(self._close_engine("idle"), _CLOSING)
                return
            await self._clock.sleep(left_s if left_s > 0 else _IDLE_CHECK_S)


def _identity(namespace: str) -> dict[str, str]:
    """Return what telemetry says of this process as a whole."""
    identity = {"parquedb.process.role": "owner", "parquedb.namespace": namespace}
    # Asked without Ray, `get_runtime_context` would start one.
    if ray.is_initialized():
        context = ray.get_runtime_context()
        identity |= {"parquedb.node.id": context.get_node_id(), "parquedb.actor.id": context.get_actor_id() or ""}
    return identity


def _together(numbered: tuple[int, Operation]) -> tuple[bool, int | None]:
    """Return what is the same for operations that go to the engine at once; a write by filter goes alone."""
    number, operation = numbered
    return operation.is_write, number if operation.kind in MANY else None

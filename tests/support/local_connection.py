"""A database whose owners are engines in this process: everything of the client, and nothing of Ray.

    database = AsyncDatabase(LocalConnection(load_settings(str(tmp_path))))

Owners live on a loop of their own and open with their first call; `memory://` works as well as a directory.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.host.condition import condition
from parquedb.actors.reporting.metering import OwnerMeter
from parquedb.actors.reporting.survey import OwnerSurvey, Surveyor
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.clock import SystemClock
from parquedb.cluster.client.connection import Connection
from parquedb.cluster.loads.direct_storage import open_storage
from parquedb.cluster.overview.health import DatabaseHealth, OwnerHealth
from parquedb.cluster.overview.survey import DatabaseSurvey
from parquedb.cluster.transport.delivery import Delivery, encode_wire
from parquedb.documents.codec import decode
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.metrics.tally import Tally
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.breaker.monitor import CircuitBreakerMonitor
from tests.support.engines import engine


class LocalConnection(Connection):
    """A connection to engines of this process.

    Attributes:
        operations: All that reached an owner, in order, with their namespaces.
        refuse: Raised instead of executing an operation, as often as there are some.
        stored: Namespaces besides that nobody has opened.
        surveyed: How often owners were asked for their surveys.
    """

    def __init__(self, settings: Settings, hook_objects: Any = (), **engine_settings: Any) -> None:
        super().__init__(settings, hook_objects)
        self.operations: list[tuple[str, Operation]] = []
        self.refuse: list[Exception] = []
        self._engine_settings = engine_settings
        self.stored: set[str] = set()
        self.surveyed = 0
        self._watched: dict[str, tuple[OwnerMeter, Surveyor]] = {}
        self._monitor = CircuitBreakerMonitor()
        self._memory = MemoryBackend()
        self._owners: dict[str, asyncio.Task[NamespaceEngine]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Any) -> Any:
        """Run something on the owners' loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def owner(self, namespace: str) -> NamespaceEngine:
        """Return the owner of a namespace; on the owners' loop."""
        opening = self._owners.get(namespace)
        if opening is None:
            storage = self._memory if self.settings.url.startswith("memory:") else self.open_storage(namespace)
            made = engine(storage, namespace=namespace, **self._engine_settings)
            opening = self._owners[namespace] = self._loop.create_task(_opened(made))
            surveyor = Surveyor(namespace, SystemClock(), "node-1")
            self._watched[namespace] = (OwnerMeter(namespace, HookRegistry(), Tally()), surveyor)
            if not self.settings.url.startswith("memory:"):
                self._monitor.register(namespace, storage)
        return await asyncio.shield(opening)

    async def execute(self, namespace: str, operation: Operation, timeout_s: float) -> Outcome:
        """Have an operation executed as if it had come over a wire; on the owners' loop."""
        delivery = Delivery(operation, now_s=0.0, timeout_s=timeout_s)
        request = delivery.request
        wire = msgspec.structs.replace(operation, request=request, timeout_s=timeout_s, shaped=None).to_wire()
        sent = Operation.from_wire(decode(encode_wire(wire)))
        self.operations.append((namespace, sent))
        if self.refuse:
            raise self.refuse.pop()
        owner = await self.owner(namespace)
        [outcome] = await self._watched[namespace][0].metered([sent], owner.execute([sent]))
        outcome.result()
        if outcome.encoded is not None:
            return msgspec.structs.replace(outcome, value=decode(outcome.encoded), encoded=None)
        return outcome

    async def ask(self, namespace: str, method: str) -> Any:
        """Ask an owner for `flush`, `compact` or `stats`; on the owners' loop."""
        found = getattr(await self.owner(namespace), method)()
        return await found if asyncio.iscoroutine(found) else found

    def join(self) -> None:
        pass

    def leave(self) -> None:
        super().leave()
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    async def _close(self) -> None:
        for opening in self._owners.values():
            owner = await opening
            if owner.state == "open":
                await owner.close()
        self._owners.clear()

    def recipe(self) -> tuple[Callable[..., Connection], tuple[Any, ...]]:
        raise NotImplementedError("its owners are in this process")

    def link(self, namespace: str, credentials: object = None, like: object = None) -> "LocalLink":
        return LocalLink(self, namespace)

    def async_link(self, namespace: str, credentials: object = None, like: object = None) -> "LocalAsyncLink":
        return LocalAsyncLink(self, namespace)

    def namespaces(self) -> list[str]:
        return sorted({*self._owners, *self.stored})

    def survey(self, timeout_s: float, grant: object = None) -> DatabaseSurvey:
        self.surveyed += 1
        return self.do(self._survey())

    async def _survey(self) -> DatabaseSurvey:
        return DatabaseSurvey({name: self._surveyed(name) for name, task in self._owners.items() if task.done()})

    def _surveyed(self, namespace: str) -> OwnerSurvey:
        owner, (meter, surveyor) = self._owners[namespace].result(), self._watched[namespace]
        lag = owner.lag()
        circuits = self._monitor.get_health_status()
        own = {name: one for name, one in circuits.circuits.items() if name.rpartition(".")[0] == namespace}
        states = {name: str(one.state) for name, one in own.items()}
        status, reasons = condition(owner.state, lag, states, owner._settings, ("", 0.0))
        health = {"status": status, "reasons": reasons, "state": owner.state, "lag": lag}
        return surveyor.survey(health, replace(circuits, circuits=own), meter, owner)

    def health(self, timeout_s: float | None = None) -> DatabaseHealth:
        owners = {name: OwnerHealth(name, "healthy", "open") for name in self._owners}
        return DatabaseHealth("healthy", owners, {})

    def metrics(self, timeout_s: float | None, namespaces_max: int, grant: object = None) -> MetricsSnapshot:
        return self.counted()

    def metrics_by_process(
        self, timeout_s: float | None, owners: bool, grant: object = None
    ) -> dict[str, MetricsSnapshot]:
        return {"": self.counted()}

    def open_storage(self, purpose: str) -> StorageBackend:
        return open_storage(self.settings, self.hooks)

    def require_storage(self, method: str) -> None:
        pass


class LocalLink:
    """A way to an owner for threads."""

    actor = None

    def __init__(self, connection: LocalConnection, namespace: str) -> None:
        self._connection, self._namespace = connection, namespace

    def brief_of(self, operation: Operation) -> None:
        return None

    def deliver(self, operation: Operation, timeout_s: float, brief: object = None) -> Outcome:
        return self._connection.do(self._connection.execute(self._namespace, operation, timeout_s))

    def ask(self, method: str, timeout_s: float) -> Any:
        return self._connection.do(self._connection.ask(self._namespace, method))

    def handle(self) -> Any:
        raise NotImplementedError("there are no actors")


class LocalAsyncLink:
    """A way to an owner for coroutines of any loop."""

    actor = None

    def __init__(self, connection: LocalConnection, namespace: str) -> None:
        self._connection, self._namespace = connection, namespace

    def brief_of(self, operation: Operation) -> None:
        return None

    async def deliver(self, operation: Operation, timeout_s: float, brief: object = None) -> Outcome:
        work = self._connection.execute(self._namespace, operation, timeout_s)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._connection._loop))

    async def ask(self, method: str, timeout_s: float) -> Any:
        work = self._connection.ask(self._namespace, method)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._connection._loop))

    def handle(self) -> Any:
        raise NotImplementedError("there are no actors")


async def _opened(owner: NamespaceEngine) -> NamespaceEngine:
    await owner.open()
    return owner

"""The questions about an owner that are answered while it is busy: from a thread of their own, without I/O."""

import asyncio
import os
from typing import Any

import ray

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.host.call_room import CallRoom
from parquedb.actors.host.condition import condition
from parquedb.actors.host.doorkeeper import Doorkeeper
from parquedb.actors.reporting.metering import OwnerMeter
from parquedb.actors.reporting.survey import OwnerSurvey, Surveyor
from parquedb.clock import Clock
from parquedb.observability.callbacks import HookStats
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.otel.version import VERSION
from parquedb.settings import Settings
from parquedb.storage.backends.layers import RetryingBackend
from parquedb.storage.breaker.monitor import CircuitHealthStatus, global_circuit_breaker_monitor


class HealthMethods:
    """What `NamespaceActor` answers in its concurrency group `health`."""

    _settings: Settings
    _namespace: str
    _clock: Clock
    _storage: RetryingBackend
    _hooks: HookRegistry
    _meter: OwnerMeter | None
    _door: Doorkeeper
    _engine: NamespaceEngine | None
    _change: "asyncio.Task[None] | None"
    _changing_since_s: float
    _room: CallRoom
    _started_s: float
    _surveyor: Surveyor

    @ray.method(concurrency_group="health")
    async def ping(self) -> str:
        """Return the namespace."""
        return self._namespace

    @ray.method(concurrency_group="health")
    async def stats(self, grant: str | None = None) -> dict[str, Any]:
        """Return counters and sizes; no I/O."""
        self._door.check("stats", grant)
        return self._stats()

    @ray.method(concurrency_group="health")
    async def health(self) -> dict[str, Any]:
        """Return how the owner is; no I/O, and little work however much there is to do.

        Returns:
            `status` (`healthy`, `degraded`, `unhealthy`) and `reasons`, sentences that say why; `state` of the engine,
            `circuits` by name, `lag` (see `parquedb.actors.reporting.statistics.lag`; empty while idle), `calls` under
            way, the `pid`, the `version` of ParqueDB, and whether calls need a grant (`grants_required`).
        """
        return self._health()

    @ray.method(concurrency_group="health")
    async def survey(self, grant: str | None = None) -> OwnerSurvey:
        """Return all that a look at the whole database shows of this owner; no I/O."""
        self._door.check("survey", grant)
        circuits = global_circuit_breaker_monitor.get_health_status()
        return self._surveyor.survey(self._health(), circuits, self._meter, self._engine)

    @ray.method(concurrency_group="health")
    async def metrics(self, grant: str | None = None) -> MetricsSnapshot:
        """Return what this owner has counted since its process began, and what waits in it now; no I/O."""
        self._door.check("metrics", grant)
        return self._counted()

    @ray.method(concurrency_group="health")
    async def hook_stats(self, grant: str | None = None) -> list[HookStats]:
        """Return what the hooks of this process have done so far, and what was dropped; no I/O."""
        self._door.check("hook_stats", grant)
        return self._hooks.stats()

    @ray.method(concurrency_group="health")
    async def circuit_health(self) -> CircuitHealthStatus:
        """Return how the circuits of this process are and what changed lately; no I/O."""
        return global_circuit_breaker_monitor.get_health_status()

    def _health(self) -> dict[str, Any]:
        engine, change = self._engine, self._change
        state, lag = ("idle", {}) if engine is None else (engine.state, engine.lag())
        circuits = {circuit.name: str(circuit.state) for circuit in self._circuits()}
        since_s = self._clock.boot_s() - self._changing_since_s
        changing = ("", 0.0) if change is None else (change.get_name(), since_s)
        status, reasons = condition(state, lag, circuits, self._settings.engine, changing)
        return {
            "status": status,
            "reasons": reasons,
            "state": state,
            "circuits": circuits,
            "lag": lag,
            "calls": self._room.calls,
            "pid": os.getpid(),
            "version": VERSION,
            "grants_required": self._door.required,
        }

    def _counted(self) -> MetricsSnapshot:
        engine = self._engine
        lag = {} if engine is None else engine.lag()
        return MetricsSnapshot() if self._meter is None else self._meter.taken(lag, self._circuits())

    def _circuits(self) -> list[Any]:
        return [self._storage.read_circuit, self._storage.write_circuit]

    def _stats(self) -> dict[str, Any]:
        engine = self._engine
        stats = {"namespace": self._namespace, "state": "idle"} if engine is None else dict(engine.stats())
        return stats | {"calls": self._room.calls, "pid": os.getpid(), "age_s": self._clock.boot_s() - self._started_s}

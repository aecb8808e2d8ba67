"""What a sync and an async database have in common: settings, hooks, Ray, and questions about the whole database."""

import asyncio
import hashlib
import pickle
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import ray
from ray import cloudpickle

from parquedb.actors import arguments
from parquedb.cluster import ray_runtime, secrets
from parquedb.cluster.direct_storage import DirectStorage, open_storage, stored_namespaces
from parquedb.cluster.health import HEALTH_TIMEOUT_S, DatabaseHealth, database_health
from parquedb.cluster.placement import served_namespaces
from parquedb.errors import ConfigurationError, InvalidInputError
from parquedb.observability.hooks import HookRegistry, global_hook_registry, load_hooks
from parquedb.observability.otel.export import process_telemetry
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.probe import probe
from parquedb.storage.breaker.monitor import CircuitBreakerMonitor, global_circuit_breaker_monitor
from parquedb.storage.open import open_backend
from parquedb.storage.worker_logs import attach_worker_logs

T = TypeVar("T")

_probed: set[str] = set()
_probe_lock = threading.Lock()


class Connection:
    """One database as this process uses it. Holds no sockets itself; safe to share between threads.

    Attributes:
        settings: With an absolute URL.
        hooks: The process's hooks and this connection's.
        hooks_pickle: The hook objects, for actors and for other processes.
        direct: The storage, for loads that this process makes by itself.
    """

    def __init__(self, settings: Settings, hook_objects: Iterable[object] = ()) -> None:
        """Register the hooks; Ray and storage are not touched yet.

        Raises:
            ConfigurationError: a hook cannot be loaded, or cannot travel to an actor.
        """
        self.settings = settings
        objects = list(hook_objects)
        self.hooks = HookRegistry(global_hook_registry)
        for hook in load_hooks([*settings.hooks, *objects]):
            self.hooks.register_hook(hook)
        telemetry = process_telemetry()
        if telemetry is not None:
            self.hooks.register_hook(telemetry.hook)
        self.hooks_pickle = _pickle_hooks(objects) if objects else b""
        self.closed = False
        self._monitor = CircuitBreakerMonitor()
        self.direct = DirectStorage(
            lambda: self.open_storage("loads"), reachable=not settings.url.startswith("memory:")
        )
        self._joined = False
        self._detach_logs: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def join(self) -> None:
        """Make sure that Ray runs in this process.

        Raises:
            InvalidInputError: the database has been closed.
            RpcUnavailableError: the Ray cluster cannot be joined.
        """
        if self.closed:
            raise InvalidInputError("this database has been closed; call connect() again")
        with self._lock:
            if not self._joined or not ray.is_initialized():
                ray_runtime.join(self.settings, counted=not self._joined)
                self._joined = True
                self.settings = secrets.recover(self.settings)
                if self._detach_logs is None:
                    self._detach_logs = attach_worker_logs(self.settings)

    def pickled(self) -> tuple[Settings, bytes]:
        """Return what another process needs to make this connection again; the secret goes another way."""
        secrets.keep(self.settings)
        return self.settings, self.hooks_pickle

    def leave(self) -> None:
        """Let go of Ray; the last user of a Ray that we started ends it."""
        self.closed = True
        self.direct.close()
        with self._lock:
            if self._joined:
                self._joined = False
                ray_runtime.leave()
            detach, self._detach_logs = self._detach_logs, None
        if detach is not None:
            detach()

    def probe_storage(self) -> None:
        """Try the store once per process and database (`memory://` lives inside the actors and is not tried).

        Raises:
            ConfigurationError: the store cannot hold a database.
        """
        settings = self.settings
        # The digest also tells credentials and endpoints apart, without keeping them.
        secret = (settings.reveal_secret() or "").encode()
        identity = hashlib.sha256(pickle.dumps(settings) + secret).hexdigest()
        with _probe_lock:
            if settings.url.startswith("memory:") or identity in _probed:
                return
            run_blocking(self._probe())
            _probed.add(identity)

    async def _probe(self) -> None:
        backend = open_backend(self.settings)
        try:
            await probe(backend)
        finally:
            await backend.close()

    def namespaces(self) -> list[str]:
        """List the namespaces that are stored, and those that an actor here serves already; sorted."""
        found = set(served_namespaces(self.settings)) if ray.is_initialized() else set()
        if not self.settings.url.startswith("memory:"):
            found.update(run_blocking(self._stored_namespaces()))
        return sorted(found)

    def open_storage(self, purpose: str) -> StorageBackend:
        """Open the storage for use on one event loop; `health` shows its circuits, named after the purpose."""
        storage = open_storage(self.settings, self.hooks)
        self._monitor.register(purpose, storage)
        global_circuit_breaker_monitor.register(f"{self.settings.url} {purpose}", storage)
        return storage

    async def _stored_namespaces(self) -> list[str]:
        storage = open_storage(self.settings, self.hooks)
        try:
            return await stored_namespaces(storage)
        finally:
            await storage.close()

    def health(self, timeout_s: float | None = None) -> DatabaseHealth:
        """Ask every owner in this cluster how it is; see `database_health`."""
        limit_s = arguments.check_timeout(timeout_s, HEALTH_TIMEOUT_S)
        self.join()
        return database_health(self.settings, self._monitor.get_health_status(), limit_s)


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own; works inside and outside of a running loop."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="parquedb-blocking", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _pickle_hooks(objects: list[object]) -> bytes:
    try:
        pickled: bytes = cloudpickle.dumps(objects)  # type: ignore[no-untyped-call] # Ray's own copy has no types
    except Exception as error:
        message = (
            f"the hooks cannot travel to an actor: {type(error).__name__}: {error}; give them as 'module:attribute'"
        )
        raise ConfigurationError(message, setting="hooks") from error
    return pickled


def unpickle_hooks(pickled: bytes) -> list[object]:
    """Return the hook objects of a connection that was pickled."""
    objects: list[object] = cloudpickle.loads(pickled) if pickled else []
    return objects

"""A database whose owners are Ray actors of a cluster that this process belongs to."""

import hashlib
import pickle
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

import ray
from ray import cloudpickle

from parquedb.actors.requests import arguments
from parquedb.cluster.client.connection import AsyncLink, Connection, Link, run_blocking
from parquedb.cluster.loads.direct_storage import DirectStorage, names_in_storage, open_storage
from parquedb.cluster.overview.health import DatabaseHealth
from parquedb.cluster.overview.metrics import metrics_by_process, sum_of
from parquedb.cluster.overview.owners_health import database_health
from parquedb.cluster.overview.roll_call import ASK_TIMEOUT_S, ask_owners
from parquedb.cluster.overview.survey import DatabaseSurvey
from parquedb.cluster.runtime import ray_runtime, secrets
from parquedb.cluster.runtime.lookup import Lookup
from parquedb.cluster.runtime.naming import resolve
from parquedb.cluster.runtime.placement import known_owners, served_namespaces
from parquedb.cluster.transport.credentials import Credentials
from parquedb.cluster.transport.link import Destination, RayAsyncLink, RayLink
from parquedb.errors import ConfigurationError, InvalidInputError, RpcUnavailableError
from parquedb.observability.logs.redaction import redactor
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.probe import probe
from parquedb.storage.breaker.monitor import CircuitBreakerMonitor, global_circuit_breaker_monitor
from parquedb.storage.open import open_backend

_probed: set[str] = set()
_probe_lock = threading.Lock()


class RayConnection(Connection):
    """One database as this process uses it. Holds no sockets itself.

    Attributes:
        hooks_pickle: The hook objects, for actors and for other processes.
    """

    direct: DirectStorage

    def __init__(self, settings: Settings, hook_objects: Iterable[object] = (), access_keeper: str = "") -> None:
        """Register the hooks; Ray and storage are not touched yet.

        Args:
            settings: Of the database.
            hook_objects: Hooks besides those that the settings name.
            access_keeper: Who knows the credentials of a database that was pickled; see `secrets.keep`.

        Raises:
            ConfigurationError: a hook cannot be loaded, or cannot travel to an actor; or the grant is none.
        """
        objects = list(hook_objects)
        super().__init__(settings, objects)
        self._access_keeper = access_keeper
        self.hooks_pickle = _pickle_hooks(objects) if objects else b""
        self._namespaces_shown: frozenset[str] = frozenset()
        self._monitor = CircuitBreakerMonitor()
        self.direct = DirectStorage(
            lambda: self.open_storage("loads"), reachable=not settings.url.startswith("memory:")
        )
        self._joined = False
        self._detach_logs: Callable[[], None] | None = None
        self._lock = threading.Lock()

    @classmethod
    def opened(cls, settings: Settings, hook_objects: Iterable[object], token_provider: object = None) -> Self:
        """Return a connection that has found its store sound and its Ray running.

        Raises:
            ConfigurationError: a setting cannot be used, or the store fails its probe.
            RpcUnavailableError: the Ray cluster cannot be joined.
        """
        if token_provider is not None:
            raise ConfigurationError("token_provider: only a gateway (https://) takes tokens", setting="token_provider")
        connection = cls(resolve(settings), hook_objects)
        connection.probe_storage()
        connection.join()
        return connection

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
                self.settings = secrets.recover(self.settings, self._access_keeper)
                self.credentials.adopt(self.settings)
                redactor.hide(*self.settings.access.reveal_keys(), self.settings.access.reveal_grant())
                if self._detach_logs is None and self.settings.worker_logs is not None:
                    from parquedb.storage.worker_logs import attach_worker_logs  # noqa: PLC0415 - few processes do this

                    self._detach_logs = attach_worker_logs(self.settings, redact=redactor.value)

    def recipe(self) -> tuple[Callable[..., Connection], tuple[Any, ...]]:
        """Return what another process makes this connection of; the secrets go another way."""
        keeper = secrets.keep(self.settings) or self._access_keeper
        return rebuilt_connection, (self.settings, self.hooks_pickle, keeper)

    def link(self, namespace: str, credentials: Credentials, like: Link | None = None) -> RayLink:
        """Return a way to the actor of a namespace for threads."""
        return RayLink(self._destination(namespace, credentials), like if isinstance(like, RayLink) else None)

    def async_link(self, namespace: str, credentials: Credentials, like: AsyncLink | None = None) -> RayAsyncLink:
        """Return a way to the actor of a namespace for the running event loop."""
        base = like if isinstance(like, RayAsyncLink) else None
        return RayAsyncLink(self._destination(namespace, credentials), base)

    def _destination(self, namespace: str, credentials: Credentials) -> Destination:
        return Destination(self.settings, namespace, credentials, self.hooks_pickle, self.tally, self.hooks)

    def give_signals_back(self) -> None:
        """Let SIGTERM go to the program's own handler, in front of which Ray has put one."""
        ray_runtime.take_sigterm_back()

    def leave(self) -> None:
        """Let go of Ray; the last user of a Ray that we started ends it."""
        self.direct.close()
        super().leave()
        with self._lock:
            if self._joined:
                self._joined = False
                ray_runtime.leave()
            detach, self._detach_logs = self._detach_logs, None
        if detach is not None:
            detach()

    def require_storage(self, method: str) -> None:
        """Return: whoever asks the owners has the credentials of the storage as well."""

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
        """List the namespaces that are stored, and those that an actor here serves already; sorted.

        While the head of the cluster does not answer, of the latter only those that this process knows.
        """
        found = set(self._served()) if ray.is_initialized() else set()
        if not self.settings.url.startswith("memory:"):
            found.update(run_blocking(names_in_storage(self.settings, self.hooks)))
        return sorted(found)

    def _served(self) -> Iterable[str]:
        try:
            served: list[str] = Lookup("which owners it has", lambda: served_namespaces(self.settings)).result(
                ASK_TIMEOUT_S
            )
        except RpcUnavailableError:
            return known_owners(self.settings)
        return served

    def open_storage(self, purpose: str) -> StorageBackend:
        """Open the storage for use on one event loop; `health` shows its circuits, named after the purpose."""
        storage = open_storage(self.settings, self.hooks)
        self._monitor.register(purpose, storage)
        global_circuit_breaker_monitor.register(f"{self.settings.url} {purpose}", storage)
        return storage

    def health(self, timeout_s: float | None = None) -> DatabaseHealth:
        """Ask every owner in this cluster how it is; see `database_health`."""
        limit_s = arguments.check_timeout(timeout_s, ASK_TIMEOUT_S)
        self.join()
        return database_health(self.settings, self._monitor.get_health_status(), limit_s)

    def survey(self, timeout_s: float, grant: str | None = None) -> DatabaseSurvey:
        """Ask every owner in this cluster for its survey, within about `timeout_s` seconds; starts none."""
        self.join()
        called = ask_owners(self.settings, ["survey"], timeout_s, grant=grant)
        owners = {namespace: answer for namespace, [answer] in called.answers.items()}
        return DatabaseSurvey(owners, called.silent, self._monitor.get_health_status().circuits, called.error)

    def metrics(self, timeout_s: float | None, namespaces_max: int, grant: str | None = None) -> MetricsSnapshot:
        """Ask every owner in this cluster what it has counted, and add what this process has; see `sum_of`.

        Raises:
            InvalidInputError: `namespaces_max` is not at least 1.
        """
        if namespaces_max < 1:
            raise InvalidInputError(f"namespaces_max must be at least 1, not {namespaces_max!r}")
        parts = self.metrics_by_process(timeout_s, True, grant)
        found = sum_of(parts, namespaces_max=namespaces_max, keep=self._namespaces_shown)
        self._namespaces_shown = frozenset(found.namespaces)
        return found

    def metrics_by_process(
        self, timeout_s: float | None, owners: bool, grant: str | None = None
    ) -> dict[str, MetricsSnapshot]:
        """Ask as `metrics` does, and return what each process has counted; see `metrics_by_process`."""
        limit_s = arguments.check_timeout(timeout_s, ASK_TIMEOUT_S)
        self.join()
        if not owners:
            return {"": self.counted()}
        return metrics_by_process(self.settings, self.counted(), limit_s, grant=grant)


def rebuilt_connection(settings: Settings, hooks_pickle: bytes, access_keeper: str) -> RayConnection:
    """Make a connection again from what `recipe` gave; a function of the module, so that it pickles by its name."""
    return RayConnection(settings, unpickle_hooks(hooks_pickle), access_keeper)


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

"""What stands between a database and whoever serves it.

    Database -> Connection -> Link -> ...
                RayConnection        the owners themselves, as Ray actors (`ray_connection.py`)
                HttpConnection       a gateway that asks the owners (`parquedb.cluster.http`)

Databases and collections build operations and read outcomes; what they stand on is only known here. Nothing above this
module, and nothing it imports, imports Ray.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Protocol, TypeVar

from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.loads.direct_storage import DirectStorage
from parquedb.cluster.overview.health import DatabaseHealth
from parquedb.cluster.overview.survey import DatabaseSurvey
from parquedb.cluster.transport.credentials import Credentials
from parquedb.observability.brief import Brief
from parquedb.observability.hooks import HookRegistry, global_hook_registry, load_hooks
from parquedb.observability.logs.redaction import redactor
from parquedb.observability.losses import LOG_RECORDS, SPANS
from parquedb.observability.metrics.collector import UpkeepCollector
from parquedb.observability.metrics.snapshot import MetricsSnapshot, hooks_of
from parquedb.observability.metrics.tally import Tally
from parquedb.observability.otel.export import process_telemetry
from parquedb.observability.otel.log_records import process_log_export
from parquedb.observability.otel.metric_export import export_metrics
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend

T = TypeVar("T")

HOOKS_S: Final = 1.0
"""Seconds that closing waits for hooks that have not heard everything yet."""


class Link(Protocol):
    """The way of operations to one namespace, for threads.

    Attributes:
        actor: Name of the Ray actor that is asked; None where that is somebody else's business.
    """

    actor: str | None

    def brief_of(self, operation: Operation) -> Brief | None:
        """Return who is told of an operation in brief; None where hooks have to be told as ever."""

    def deliver(self, operation: Operation, timeout_s: float, brief: Brief | None = None) -> Outcome:
        """Send an operation until it has an answer, and return it; `brief` is told.

        Raises:
            ParqueDBError: the answer was a refusal, or there was none in time.
        """

    def ask(self, method: str, timeout_s: float) -> Any:
        """Ask for `flush`, `compact` or `stats`; raises like `deliver`."""

    def handle(self) -> Any:
        """Return the Ray actor handle.

        Raises:
            ConfigurationError: this connection has none to give.
        """


class AsyncLink(Protocol):
    """The same for the coroutines of one event loop."""

    actor: str | None

    def brief_of(self, operation: Operation) -> Brief | None:
        """Return what `Link.brief_of` does."""

    def deliver(self, operation: Operation, timeout_s: float, brief: Brief | None = None) -> Awaitable[Outcome]:
        """Send an operation until it has an answer; raises, when awaited, like `Link.deliver`."""

    def ask(self, method: str, timeout_s: float) -> Awaitable[Any]:
        """Ask as `Link.ask` does."""

    def handle(self) -> Any:
        """Return what `Link.handle` does."""


class Connection(ABC):
    """One database as this process uses it; safe to share between threads.

    Attributes:
        settings: With a URL that means the same in every process.
        hooks: The process's hooks and this connection's.
        tally: Where this process counts what it asks; None where the settings want no metrics.
        direct: The storage, for loads that this process makes by itself; None where it is out of reach.
        credentials: What owners are shown.
        closed: Whether `leave` has been called.
    """

    direct: DirectStorage | None = None

    def __init__(self, settings: Settings, hook_objects: Iterable[object] = ()) -> None:
        """Register the hooks; nothing is reached for yet.

        Raises:
            ConfigurationError: a hook cannot be loaded, or the grant is none.
        """
        self.settings = settings
        self.credentials = Credentials(settings)
        redactor.hide(*settings.access.reveal_keys(), settings.access.reveal_grant())
        self.hooks = HookRegistry(global_hook_registry)
        self.tally = Tally() if settings.metrics else None
        if self.tally is not None:
            self.hooks.register_hook(UpkeepCollector(self.tally))
        for hook in load_hooks([*settings.hooks, *hook_objects]):
            self.hooks.register_hook(hook)
        process_log_export()
        telemetry = process_telemetry()
        if telemetry is not None:
            self.hooks.register_hook(telemetry.hook)
        self._end_export: Callable[[], None] = lambda: None
        if self.tally is not None:
            self._end_export = export_metrics(self.tally.taken)
        self.closed = False

    @abstractmethod
    def join(self) -> None:
        """Make sure that whatever is needed to reach the database is there.

        Raises:
            InvalidInputError: the database has been closed.
            ParqueDBError: it cannot be reached.
        """

    def give_signals_back(self) -> None:  # noqa: B027 - most have taken none
        """Let signals go to the program's own handlers, after `join` in another thread; for the main thread."""

    def leave(self) -> None:
        """Let go of the database."""
        self.closed = True
        self._end_export()
        self.hooks.settle(HOOKS_S)

    @abstractmethod
    def recipe(self) -> tuple[Callable[..., "Connection"], tuple[Any, ...]]:
        """Return what another process makes this connection of: a function and its arguments, without secrets."""

    @abstractmethod
    def link(self, namespace: str, credentials: Credentials, like: Link | None = None) -> Link:
        """Return a way to a namespace for threads.

        Args:
            namespace: Which.
            credentials: What its owner is shown: those of the connection, or of a view of it.
            like: Of a view: the way of what it is a view of, whose request ids it shares.
        """

    @abstractmethod
    def async_link(self, namespace: str, credentials: Credentials, like: AsyncLink | None = None) -> AsyncLink:
        """Return a way to a namespace for the running event loop; see `link`."""

    def require_grants(self, method: str) -> None:  # noqa: B027 - most can
        """Return if calls can show grants, of which `method` makes use.

        Raises:
            ConfigurationError: they cannot; says what to use instead.
        """

    @abstractmethod
    def namespaces(self) -> list[str]:
        """List the namespaces of the database, sorted."""

    @abstractmethod
    def health(self, timeout_s: float | None = None) -> DatabaseHealth:
        """Ask how every owner is; see `Database.health`."""

    @abstractmethod
    def metrics(self, timeout_s: float | None, namespaces_max: int, grant: str | None = None) -> MetricsSnapshot:
        """Ask what every owner has counted, showing a grant, and add what this process has; see `Database.metrics`."""

    @abstractmethod
    def metrics_by_process(
        self, timeout_s: float | None, owners: bool, grant: str | None = None
    ) -> dict[str, MetricsSnapshot]:
        """Ask as `metrics` does, and return what each process has counted."""

    @abstractmethod
    def survey(self, timeout_s: float, grant: str | None = None) -> DatabaseSurvey:
        """Look at all owners within about `timeout_s` seconds, showing a grant; starts none.

        Raises:
            ConfigurationError: they are behind a gateway, which looks at them itself.
        """

    @abstractmethod
    def open_storage(self, purpose: str) -> StorageBackend:
        """Open the storage for one event loop, where `require_storage` allows it; `health` shows its circuits."""

    @abstractmethod
    def require_storage(self, method: str) -> None:
        """Return if this process may read the storage by itself, which `method` does.

        Raises:
            ConfigurationError: it may not; says what to use instead.
        """

    def counted(self) -> MetricsSnapshot:
        """Return what this process has counted."""
        hooks = hooks_of(self.hooks.stats())
        own = MetricsSnapshot(hooks=hooks, logs_dropped=LOG_RECORDS.lost(), spans_dropped=SPANS.lost())
        return own if self.tally is None else MetricsSnapshot.merge(own, self.tally.taken())


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

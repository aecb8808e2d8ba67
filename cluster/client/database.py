"""A database, for synchronous use. Any number of threads may share it."""

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from parquedb.access.permissions import Permissions
from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.backup.backups import OnProgress as OnBackup
from parquedb.cluster.backup.backups import backup_database
from parquedb.cluster.backup.reports import BackupReport
from parquedb.cluster.client.collection import Collection
from parquedb.cluster.client.connection import Connection, Link, run_blocking
from parquedb.cluster.client.views import ViewMethods, Views, make_room
from parquedb.cluster.overview.health import DatabaseHealth
from parquedb.cluster.overview.verifying import OnProgress, verify_database
from parquedb.cluster.reporting.watching import Watch, watched_ask, watches
from parquedb.cluster.transport.credentials import Credentials
from parquedb.observability.callbacks import HookStats
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.metrics.tally import NAMESPACES_MAX
from parquedb.settings import Settings
from parquedb.storage.verification.report import DatabaseReport

__all__ = ["Collection", "Database"]

P = ParamSpec("P")
T = TypeVar("T")

_REBUILT_MAX = 64


def _on_collection(method: Callable[Concatenate[Collection, P], T]) -> Callable[Concatenate["Database", str, P], T]:
    """Make `db.create("posts", ...)` of `posts.create(...)`."""

    @functools.wraps(method)
    def call(self: "Database", namespace: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(self.collection(namespace), *args, **kwargs)

    return call


class Database(ViewMethods["Database"]):
    """A database. Every method of `Collection` is here as well, with the namespace in front. Pickles."""

    def __init__(
        self, connection: Connection, base: "Database | None" = None, permissions: Permissions | None = None
    ) -> None:
        """Take over a connection, or share it as a view; use `parquedb.connect` and `acting_for`.

        Args:
            connection: To take or share.
            base: What this is a view of, if it is one.
            permissions: Of the view.
        """
        self._connection, self._base, self._permissions = connection, base, permissions
        self._credentials: Credentials = connection.credentials
        if base is not None and permissions is not None:
            self._credentials = base._credentials.narrowed(permissions)
        self._views = Views(self._view)
        self._links: dict[str, Link] = {}
        self._lock = threading.Lock()
        _databases.add(self)

    @property
    def url(self) -> str:
        """Where the database is."""
        return self._connection.settings.url

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._connection.settings

    def collection(self, namespace: str) -> Collection:
        """Return a namespace; nothing is opened or created by this.

        Raises:
            InvalidPathError: a namespace cannot have this name.
        """
        return Collection(self, namespace)

    __getitem__ = collection
    # The old protocol of sequences would call `db[0]`, `db[1]`, ... for ever.
    __iter__ = None

    create = _on_collection(Collection.create)
    create_many = _on_collection(Collection.create_many)
    insert_arrow = _on_collection(Collection.insert_arrow)
    import_file = _on_collection(Collection.import_file)
    export_file = _on_collection(Collection.export_file)
    get = _on_collection(Collection.get)
    get_or_raise = _on_collection(Collection.get_or_raise)
    exists = _on_collection(Collection.exists)
    find = _on_collection(Collection.find)
    find_one = _on_collection(Collection.find_one)
    count = _on_collection(Collection.count)
    explain = _on_collection(Collection.explain)
    distinct = _on_collection(Collection.distinct)
    aggregate = _on_collection(Collection.aggregate)
    update = _on_collection(Collection.update)
    replace = _on_collection(Collection.replace)
    delete = _on_collection(Collection.delete)
    update_many = _on_collection(Collection.update_many)
    upsert = _on_collection(Collection.upsert)
    delete_many = _on_collection(Collection.delete_many)
    restore = _on_collection(Collection.restore)
    batch = _on_collection(Collection.batch)
    register = _on_collection(Collection.register)
    schema = _on_collection(Collection.schema)
    history = _on_collection(Collection.history)
    changes = _on_collection(Collection.changes)
    snapshot = _on_collection(Collection.snapshot)
    flush = _on_collection(Collection.flush)
    compact = _on_collection(Collection.compact)
    stats = _on_collection(Collection.stats)

    def _view(self, permissions: Permissions) -> "Database":
        return Database(self._connection, self, permissions)

    def namespaces(self) -> list[str]:
        """List the namespaces of the database, sorted."""
        self._credentials.check("namespaces")
        self._connection.join()
        return self._connection.namespaces()

    def health(self, *, timeout_s: float | None = None) -> DatabaseHealth:
        """Ask every owner in this cluster how it is, within `timeout_s` seconds (5); starts none of them."""
        self._credentials.check("health")
        return self._connection.health(timeout_s)

    def metrics(self, *, timeout_s: float | None = None, namespaces_max: int = NAMESPACES_MAX) -> MetricsSnapshot:
        """Return what every owner in this cluster has counted, and this process as their client.

        Args:
            timeout_s: For all of them (5); owners that have not answered by then are named as `unreachable`.
            namespaces_max: Namespaces that keep numbers of their own; the less busy ones are summed as `_other`.

        Raises:
            InvalidInputError: `namespaces_max` is not at least 1.
        """
        self._credentials.check("metrics")
        return self._connection.metrics(timeout_s, namespaces_max, self._credentials.grant())

    def metrics_by_process(self, *, timeout_s: float | None = None, owners: bool = True) -> dict[str, MetricsSnapshot]:
        """Return the parts of `metrics`: of each owner by its namespace, and under the empty name of this process.

        What an owner has counted ends with it; `parquedb.observability.prometheus.RunningTotals` makes sums of it that
        never fall.

        Args:
            timeout_s: For all owners (5); those that have not answered by then are named as `unreachable`.
            owners: Whether to ask them; without them this returns at once.
        """
        self._credentials.check("metrics")
        return self._connection.metrics_by_process(timeout_s, owners, self._credentials.grant())

    def hook_stats(self) -> list[HookStats]:
        """Return what the hooks of this connection, in this process, have done so far, and what was dropped."""
        return self._connection.hooks.stats()

    def verify(
        self,
        *namespaces: str,
        full: bool = True,
        progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> DatabaseReport:
        """Check all that is stored of namespaces, of every one when none is named; see `Collection.verify`."""
        for namespace in namespaces or ("",):
            self._credentials.check("verify", namespace)
        connection = self._connection
        connection.require_storage("verify")
        connection.join()
        return run_blocking(
            verify_database(
                connection.settings, connection.hooks, namespaces, full=full, progress=progress, timeout_s=timeout_s
            )
        )

    def backup(
        self,
        target: str | os.PathLike[str],
        *namespaces: str,
        keep: int | None = None,
        progress: OnBackup | None = None,
        timeout_s: float | None = None,
    ) -> BackupReport:
        """Copy namespaces as they are now, all of them when none is named; owners go on meanwhile.

        What an earlier backup has copied to the same target is not copied again. See `docs/backup.md`; the other way
        is `parquedb.restore`.

        Args:
            target: A directory or `s3://bucket/prefix` that lies apart from the database.
            *namespaces: Their names.
            keep: Then remove older points but so many for each namespace; None removes nothing.
            progress: Told how far it is, in another thread.
            timeout_s: None: as long as it takes.

        Raises:
            CorruptionError: an object is missing or damaged; names it, and makes no point.
            CollectionNotFoundError: nothing is stored under one of the names.
            ConfigurationError: the target cannot be used, or the database is behind a gateway.
            TimeoutError: time was up.
        """
        for namespace in namespaces or ("",):
            self._credentials.check("backup", namespace)
        connection = self._connection
        connection.require_storage("backup")
        connection.join()
        made = backup_database(
            connection.settings,
            connection.hooks,
            os.fspath(target),
            namespaces,
            keep=keep,
            progress=progress,
            timeout_s=timeout_s,
        )
        return run_blocking(made)

    def close(self) -> None:
        """Let go of the database; a Ray that `connect` started ends with its last user. Again does nothing."""
        self._views.clear()
        self._links.clear()
        if self._base is None and not self._connection.closed:
            self._connection.leave()

    def _link(self, namespace: str) -> Link:
        link = self._links.get(namespace)
        if link is None:
            self._connection.join()
            like = None if self._base is None else self._base._link(namespace)
            with self._lock:
                link = self._links.get(namespace)
                if link is None:
                    if self._base is not None:
                        make_room(self._links)
                    link = self._links[namespace] = self._connection.link(namespace, self._credentials, like)
        return link

    def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Outcome:
        link = self._links.get(namespace) or self._link(namespace)
        connection = self._connection
        limit_s = arguments.check_timeout(timeout_s, connection.settings.client.timeout_s)
        if not connection.hooks.active:
            return link.deliver(operation, limit_s)
        brief = link.brief_of(operation)
        if brief is not None:
            return link.deliver(operation, limit_s, brief)
        if not watches(connection.hooks, operation):
            return link.deliver(operation, limit_s)
        watch = Watch(connection.hooks, namespace, operation, actor=link.actor)
        try:
            outcome = link.deliver(operation, limit_s)
        except BaseException as error:
            watch.error(error)
            raise
        watch.end(outcome)
        return outcome

    def _ask(self, namespace: str, method: str, timeout_s: float | None) -> Any:
        limit_s = arguments.check_timeout(timeout_s, self._connection.settings.client.timeout_s)
        link = self._link(namespace)
        with watched_ask(self._connection.hooks, namespace, method, link.actor):
            return link.ask(method, limit_s)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._base is not None:
            return Database.acting_for, (self._base, self._permissions)
        return _rebuild, self._connection.recipe()

    def __repr__(self) -> str:
        return f"Database({self.url!r})"


_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()
_rebuilt: dict[tuple[Any, ...], Database] = {}


def _rebuild(make: Callable[..., Connection], parts: tuple[Any, ...]) -> Database:
    """Unpickle: a process that receives many copies uses one database, and so one session per namespace."""
    key = (make, *parts)
    database = _rebuilt.get(key)
    if database is None or database._connection.closed:
        while len(_rebuilt) >= _REBUILT_MAX:
            del _rebuilt[next(iter(_rebuilt))]
        database = _rebuilt[key] = Database(make(*parts))
    return database


def _forget_links() -> None:
    for database in _databases:
        database._links = {}
        database._lock = threading.Lock()


# A forked child must make sessions of its own: two processes numbering one session would answer for each other.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_links)

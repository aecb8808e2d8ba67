"""A database, for use in coroutines. Each event loop that uses it gets calls of its own."""

import asyncio
import functools
import os
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from parquedb.access.permissions import Permissions
from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.backup.backups import OnProgress as OnBackup
from parquedb.cluster.backup.backups import backup_database
from parquedb.cluster.backup.reports import BackupReport
from parquedb.cluster.client.async_collection import AsyncCollection
from parquedb.cluster.client.connection import AsyncLink, Connection
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

__all__ = ["AsyncCollection", "AsyncDatabase"]

P = ParamSpec("P")
T = TypeVar("T")

_Links = dict[str, AsyncLink]
_REBUILT_MAX = 64


def _on_collection(
    method: Callable[Concatenate[AsyncCollection, P], T],
) -> Callable[Concatenate["AsyncDatabase", str, P], T]:
    """Make `await db.create("posts", ...)` of `await posts.create(...)`."""

    @functools.wraps(method)
    def call(self: "AsyncDatabase", namespace: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(self.collection(namespace), *args, **kwargs)

    return call


class AsyncDatabase(ViewMethods["AsyncDatabase"]):
    """A database. Every method of `AsyncCollection` is here as well, with the namespace in front. Pickles."""

    def __init__(
        self, connection: Connection, base: "AsyncDatabase | None" = None, permissions: Permissions | None = None
    ) -> None:
        """Take over a connection, or share it as a view; use `parquedb.connect_async` and `acting_for`.

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
        # A future belongs to one loop, and so does everything that waits for one.
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Links] = weakref.WeakKeyDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: _Links = {}

    @property
    def url(self) -> str:
        """Where the database is."""
        return self._connection.settings.url

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._connection.settings

    def collection(self, namespace: str) -> AsyncCollection:
        """Return a namespace; nothing is opened or created by this.

        Raises:
            InvalidPathError: a namespace cannot have this name.
        """
        return AsyncCollection(self, namespace)

    __getitem__ = collection
    # The old protocol of sequences would call `db[0]`, `db[1]`, ... for ever.
    __iter__ = None

    create = _on_collection(AsyncCollection.create)
    create_many = _on_collection(AsyncCollection.create_many)
    insert_arrow = _on_collection(AsyncCollection.insert_arrow)
    import_file = _on_collection(AsyncCollection.import_file)
    export_file = _on_collection(AsyncCollection.export_file)
    get = _on_collection(AsyncCollection.get)
    get_or_raise = _on_collection(AsyncCollection.get_or_raise)
    exists = _on_collection(AsyncCollection.exists)
    find = _on_collection(AsyncCollection.find)
    find_one = _on_collection(AsyncCollection.find_one)
    count = _on_collection(AsyncCollection.count)
    explain = _on_collection(AsyncCollection.explain)
    distinct = _on_collection(AsyncCollection.distinct)
    aggregate = _on_collection(AsyncCollection.aggregate)
    update = _on_collection(AsyncCollection.update)
    replace = _on_collection(AsyncCollection.replace)
    delete = _on_collection(AsyncCollection.delete)
    update_many = _on_collection(AsyncCollection.update_many)
    upsert = _on_collection(AsyncCollection.upsert)
    delete_many = _on_collection(AsyncCollection.delete_many)
    restore = _on_collection(AsyncCollection.restore)
    batch = _on_collection(AsyncCollection.batch)
    register = _on_collection(AsyncCollection.register)
    schema = _on_collection(AsyncCollection.schema)
    history = _on_collection(AsyncCollection.history)
    changes = _on_collection(AsyncCollection.changes)
    snapshot = _on_collection(AsyncCollection.snapshot)
    flush = _on_collection(AsyncCollection.flush)
    compact = _on_collection(AsyncCollection.compact)
    stats = _on_collection(AsyncCollection.stats)

    def _view(self, permissions: Permissions) -> "AsyncDatabase":
        return AsyncDatabase(self._connection, self, permissions)

    async def namespaces(self) -> list[str]:
        """List the namespaces of the database, sorted."""
        self._credentials.check("namespaces")
        await asyncio.to_thread(self._connection.join)
        return await asyncio.to_thread(self._connection.namespaces)

    async def health(self, *, timeout_s: float | None = None) -> DatabaseHealth:
        """Ask every owner in this cluster how it is, within `timeout_s` seconds (5); starts none of them."""
        self._credentials.check("health")
        return await asyncio.to_thread(self._connection.health, timeout_s)

    async def metrics(self, *, timeout_s: float | None = None, namespaces_max: int = NAMESPACES_MAX) -> MetricsSnapshot:
        """Return what every owner in this cluster has counted, and this process as their client.

        Args:
            timeout_s: For all of them (5); owners that have not answered by then are named as `unreachable`.
            namespaces_max: Namespaces that keep numbers of their own; the less busy ones are summed as `_other`.

        Raises:
            InvalidInputError: `namespaces_max` is not at least 1.
        """
        self._credentials.check("metrics")
        grant = self._credentials.grant()
        return await asyncio.to_thread(self._connection.metrics, timeout_s, namespaces_max, grant)

    async def metrics_by_process(
        self, *, timeout_s: float | None = None, owners: bool = True
    ) -> dict[str, MetricsSnapshot]:
        """Return the parts of `metrics`; see `Database.metrics_by_process`."""
        self._credentials.check("metrics")
        grant = self._credentials.grant()
        return await asyncio.to_thread(self._connection.metrics_by_process, timeout_s, owners, grant)

    def hook_stats(self) -> list[HookStats]:
        """Return what the hooks of this connection, in this process, have done so far, and what was dropped."""
        return self._connection.hooks.stats()

    async def verify(
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
        await asyncio.to_thread(connection.join)
        return await verify_database(
            connection.settings, connection.hooks, namespaces, full=full, progress=progress, timeout_s=timeout_s
        )

    async def backup(
        self,
        target: str | os.PathLike[str],
        *namespaces: str,
        keep: int | None = None,
        progress: OnBackup | None = None,
        timeout_s: float | None = None,
    ) -> BackupReport:
        """Copy namespaces as they are now; see `Database.backup`."""
        for namespace in namespaces or ("",):
            self._credentials.check("backup", namespace)
        connection = self._connection
        connection.require_storage("backup")
        await asyncio.to_thread(connection.join)
        return await backup_database(
            connection.settings,
            connection.hooks,
            os.fspath(target),
            namespaces,
            keep=keep,
            progress=progress,
            timeout_s=timeout_s,
        )

    async def close(self) -> None:
        """Let go of the database; a Ray that `connect` started ends with its last user. Again does nothing."""
        self._views.clear()
        self._loops.clear()
        self._loop, self._links = None, {}
        if self._base is None and not self._connection.closed:
            await asyncio.to_thread(self._connection.leave)

    def _link(self, namespace: str) -> AsyncLink:
        loop = asyncio.get_running_loop()
        links = self._links if loop is self._loop else self._links_of(loop)
        link = links.get(namespace)
        if link is None:
            connection = self._connection
            connection.join()
            like = None
            if self._base is not None:
                like = self._base._link(namespace)
                make_room(links)
            link = links[namespace] = connection.async_link(namespace, self._credentials, like)
        return link

    def _links_of(self, loop: asyncio.AbstractEventLoop) -> _Links:
        links = self._loops.get(loop)
        if links is None:
            links = self._loops[loop] = {}
        self._loop, self._links = loop, links
        return links

    def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Awaitable[Outcome]:
        link = self._link(namespace)
        connection = self._connection
        limit_s = arguments.check_timeout(timeout_s, connection.settings.client.timeout_s)
        if not connection.hooks.active:
            return link.deliver(operation, limit_s)
        brief = link.brief_of(operation)
        if brief is not None:
            return link.deliver(operation, limit_s, brief)
        if not watches(connection.hooks, operation):
            return link.deliver(operation, limit_s)
        return self._watched(link, namespace, operation, limit_s)

    async def _watched(self, link: AsyncLink, namespace: str, operation: Operation, limit_s: float) -> Outcome:
        watch = Watch(self._connection.hooks, namespace, operation, actor=link.actor)
        try:
            outcome = await link.deliver(operation, limit_s)
        except BaseException as error:
            watch.error(error)
            raise
        watch.end(outcome)
        return outcome

    async def _ask(self, namespace: str, method: str, timeout_s: float | None) -> Any:
        limit_s = arguments.check_timeout(timeout_s, self._connection.settings.client.timeout_s)
        link = self._link(namespace)
        with watched_ask(self._connection.hooks, namespace, method, link.actor):
            return await link.ask(method, limit_s)

    async def __aenter__(self) -> "AsyncDatabase":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._base is not None:
            return AsyncDatabase.acting_for, (self._base, self._permissions)
        return _rebuild, self._connection.recipe()

    def __repr__(self) -> str:
        return f"AsyncDatabase({self.url!r})"


_rebuilt: dict[tuple[Any, ...], AsyncDatabase] = {}


def _rebuild(make: Callable[..., Connection], parts: tuple[Any, ...]) -> AsyncDatabase:
    """Unpickle: a process that receives many copies uses one database, and so one session per namespace."""
    key = (make, *parts)
    database = _rebuilt.get(key)
    if database is None or database._connection.closed:
        while len(_rebuilt) >= _REBUILT_MAX:
            del _rebuilt[next(iter(_rebuilt))]
        database = _rebuilt[key] = AsyncDatabase(make(*parts))
    return database

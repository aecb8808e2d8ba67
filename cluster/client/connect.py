"""`connect` and `connect_async`: from a URL to a database."""

import asyncio
import os
from collections.abc import Iterable
from typing import Any

from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.client.connection import Connection
from parquedb.cluster.client.database import Database
from parquedb.cluster.runtime import ray_runtime
from parquedb.cluster.runtime.naming import canonical_url
from parquedb.settings import Settings
from parquedb.settings_environment import load_settings


def connect(
    url: str | os.PathLike[str] | None = None, *, hooks: Iterable[object] | None = None, **settings: Any
) -> Database:
    """Open a database for synchronous use; any number of threads may share it.

    Args:
        url: A directory, `file://`, `s3://bucket/prefix`, or `memory://name` (for tests: it lives and dies with the
            actor); `PARQUEDB_URL` when None.
        hooks: Hook objects (they must pickle) and `"module:attribute"` strings; they also run in the actors.
        **settings: Fields of `parquedb.settings.Settings`; the environment's `PARQUEDB_*` and defaults fill the rest.

    Returns:
        The database. Actors start when their namespace is first used.

    Raises:
        ConfigurationError: a setting cannot be used, or the store fails its probe.
        RpcUnavailableError: the Ray cluster of `ray_address` cannot be reached.
    """
    return Database(_connection(url, hooks, settings))


async def connect_async(
    url: str | os.PathLike[str] | None = None, *, hooks: Iterable[object] | None = None, **settings: Any
) -> AsyncDatabase:
    """Open a database for use in coroutines; see `connect` for arguments and errors."""
    connection = await asyncio.to_thread(_connection, url, hooks, settings)
    ray_runtime.take_sigterm_back()  # Here, for that thread cannot.
    return AsyncDatabase(connection)


def _connection(
    url: str | os.PathLike[str] | None, hooks: Iterable[object] | None, arguments: dict[str, Any]
) -> Connection:
    given = None if hooks is None else list(hooks)
    names = None if given is None else tuple(hook for hook in given if isinstance(hook, str))
    resolved = resolve(load_settings(url, hooks=names, **arguments))
    connection = Connection(resolved, [hook for hook in given or () if not isinstance(hook, str)])
    connection.probe_storage()
    connection.join()
    return connection


def resolve(settings: Settings) -> Settings:
    """Return settings that mean the same in every process: an actor has another working directory.

    Raises:
        ConfigurationError: a URL is none, or the worker logs and the database lie in each other.
    """
    storage = settings.storage
    if storage.read_fallback_url is not None:
        storage = storage.model_copy(update={"read_fallback_url": canonical_url(storage.read_fallback_url)})
    url, logs = canonical_url(settings.url), settings.worker_logs
    if logs is not None:
        from parquedb.storage.worker_logs import check_worker_logs  # noqa: PLC0415 - few processes store their logs

        logs = canonical_url(logs)
        check_worker_logs(logs, url)
    return settings.model_copy(update={"url": url, "storage": storage, "worker_logs": logs})

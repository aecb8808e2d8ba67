"""`connect` and `connect_async`: from a URL to a database."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from typing import Any

from parquedb.access.permissions import Permissions
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.client.connection import Connection
from parquedb.cluster.client.database import Database
from parquedb.cluster.runtime.naming import canonical_url
from parquedb.errors import ConfigurationError
from parquedb.settings import Settings
from parquedb.settings_environment import load_settings


def connect(
    url: str | os.PathLike[str] | None = None,
    *,
    hooks: Iterable[object] | None = None,
    grant: str | None = None,
    permissions: Iterable[str] | None = None,
    **settings: Any,
) -> Database:
    """Open a database for synchronous use; any number of threads may share it.

    Args:
        url: A directory, `file://`, `s3://bucket/prefix`, or `memory://name` (for tests: it lives and dies with the
            actor); `PARQUEDB_URL` when None.
        hooks: Hook objects (they must pickle) and `"module:attribute"` strings; they also run in the actors.
        grant: Shown to owners that ask for one; a process that holds the keys signs its own (`docs/security.md`).
        permissions: All that may be done through this database, whatever its keys or grant allow.
        **settings: Fields of `parquedb.settings.Settings`; the environment's `PARQUEDB_*` and defaults fill the rest.

    Returns:
        The database. Actors start when their namespace is first used.

    Raises:
        ConfigurationError: a setting cannot be used, or the store fails its probe.
        RpcUnavailableError: the Ray cluster of `ray_address` cannot be reached.
    """
    return Database(_connection(url, hooks, with_access(settings, grant, permissions)))


async def connect_async(
    url: str | os.PathLike[str] | None = None,
    *,
    hooks: Iterable[object] | None = None,
    grant: str | None = None,
    permissions: Iterable[str] | None = None,
    **settings: Any,
) -> AsyncDatabase:
    """Open a database for use in coroutines; see `connect` for arguments and errors."""
    return AsyncDatabase(await asyncio.to_thread(_connection, url, hooks, with_access(settings, grant, permissions)))


def with_access(settings: dict[str, Any], grant: str | None, permissions: Iterable[str] | None) -> dict[str, Any]:
    """Return arguments for settings with what is shown to owners in their group.

    Raises:
        ConfigurationError: the group is there already, as a whole.
    """
    # Whoever is given a grant is meant by it, whatever keys the environment holds.
    given: dict[str, Any] = {} if grant is None else {"grant": grant, "keys": ()}
    if permissions is not None:
        given["permissions"] = list(permissions) if not isinstance(permissions, Permissions) else permissions
    if not given:
        return settings
    group = settings.get("access") or {}
    if not isinstance(group, Mapping):
        raise ConfigurationError("access: expected grant and permissions in it, or no whole group", setting="access")
    return {**settings, "access": {**group, **given}}


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

"""`connect` and `connect_async`: from a URL to a database."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from parquedb.access.permissions import Permissions
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.client.connection import Connection
from parquedb.cluster.client.database import Database
from parquedb.errors import ConfigurationError
from parquedb.settings.environment import load_settings

TokenProvider = Callable[[], str] | str


def connect(
    url: str | os.PathLike[str] | None = None,
    *,
    hooks: Iterable[object] | None = None,
    token_provider: TokenProvider | None = None,
    grant: str | None = None,
    permissions: Iterable[str] | None = None,
    **settings: Any,
) -> Database:
    """Open a database for synchronous use; any number of threads may share it.

    Args:
        url: A directory, `file://`, `s3://bucket/prefix`, `memory://name` (for tests: it lives and dies with the
            actor), or `https://host` of a gateway, for which no Ray is needed; `PARQUEDB_URL` when None.
        hooks: Hook objects and `"module:attribute"` strings; they also run in the actors, to which they must pickle,
            but not behind a gateway.
        token_provider: Of a gateway: a function that returns a fresh token, or its name as `"module:attribute"`; asked
            again when a token has expired.
        grant: Shown to owners that ask for one; a process that holds the keys signs its own (`docs/security.md`).
        permissions: All that may be done through this database, whatever its keys or grant allow.
        **settings: Fields of `parquedb.settings.Settings`, such as `token` or `api_key` of a gateway; the environment's
            `PARQUEDB_*` and defaults fill the rest.

    Returns:
        The database. Actors start when their namespace is first used.

    Raises:
        ConfigurationError: a setting cannot be used, or the store fails its probe.
        RpcUnavailableError: the Ray cluster of `ray_address` cannot be reached.
    """
    return Database(_connection(url, hooks, token_provider, with_access(settings, grant, permissions)))


async def connect_async(
    url: str | os.PathLike[str] | None = None,
    *,
    hooks: Iterable[object] | None = None,
    token_provider: TokenProvider | None = None,
    grant: str | None = None,
    permissions: Iterable[str] | None = None,
    **settings: Any,
) -> AsyncDatabase:
    """Open a database for use in coroutines; see `connect` for arguments and errors."""
    arguments = with_access(settings, grant, permissions)
    connection = await asyncio.to_thread(_connection, url, hooks, token_provider, arguments)
    connection.give_signals_back()  # Here, for that thread cannot.
    return AsyncDatabase(connection)


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
    url: str | os.PathLike[str] | None,
    hooks: Iterable[object] | None,
    token_provider: TokenProvider | None,
    arguments: dict[str, Any],
) -> Connection:
    given = None if hooks is None else list(hooks)
    names = None if given is None else tuple(hook for hook in given if isinstance(hook, str))
    objects = [hook for hook in given or () if not isinstance(hook, str)]
    settings = load_settings(url, hooks=names, **arguments)
    # Each side is imported by those who use it: a client of a gateway has no Ray, and others need no HTTP.
    if settings.is_gateway:
        from parquedb.cluster.http.connection import HttpConnection  # noqa: PLC0415

        return HttpConnection.opened(settings, objects, token_provider, arguments)
    from parquedb.cluster.client.ray_connection import RayConnection  # noqa: PLC0415

    return RayConnection.opened(settings, objects, token_provider)

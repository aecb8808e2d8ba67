"""Where a database and its backups lie, and that they do not lie in each other."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from parquedb.clock import SystemClock
from parquedb.cluster.loads.direct_storage import open_storage
from parquedb.cluster.runtime.naming import canonical_url, server_of
from parquedb.errors import ConfigurationError
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backup.archive import Archive
from parquedb.storage.backup.transfer import Transfers


def archive_settings(settings: Settings, url: str) -> Settings:
    """Return the settings by which an archive is reached.

    Args:
        settings: Of the database; its group `backup` says what is different.
        url: Of the archive, a directory or `s3://bucket/prefix`.

    Raises:
        ConfigurationError: the URL is none of a store, or one half of the credentials is missing.
    """
    own, given = settings.backup, {}
    if (own.key is None) != (own.secret is None):
        missing = "key" if own.key is None else "secret"
        raise ConfigurationError(f"backup.{missing} is missing: S3 credentials need both", setting=f"backup.{missing}")
    if own.key is not None:
        given = {"key": own.key, "secret": own.secret}
    for name in ("endpoint_url", "region"):
        if getattr(own, name) is not None:
            given[name] = getattr(own, name)
    return settings.model_copy(update={"url": canonical_url(_stored(url, "the backup")), **given})


def check_apart(database: Settings, archive: Settings) -> None:
    """Accept a database and an archive of which none lies in the other.

    Raises:
        ConfigurationError: one does: it would be lost with the other, and its folders would be taken for namespaces.
    """
    if database.url.startswith("s3:") and server_of(database) != server_of(archive):
        return
    one, other = database.url.rstrip("/") + "/", archive.url.rstrip("/") + "/"
    if one.startswith(other) or other.startswith(one):
        message = f"the database {database.url!r} and its backup {archive.url!r} must not lie in each other"
        raise ConfigurationError(message, setting="url")


def _stored(url: str, what: str) -> str:
    if url.startswith(("http://", "https://")):
        message = (
            f"{what} has to be a directory or s3://bucket/prefix: a gateway hands out documents, not what is stored"
        )
        raise ConfigurationError(message, setting="url")
    if url.startswith("memory:"):
        message = f"{what} has to be a directory or s3://bucket/prefix: what memory:// holds lives in its owners alone"
        raise ConfigurationError(message, setting="url")
    return url


def check_stored(settings: Settings) -> None:
    """Accept a database that is in a store that this process reaches by itself.

    Raises:
        ConfigurationError: it is behind a gateway, or in memory.
    """
    _stored(settings.url, "the database")


@asynccontextmanager
async def opened(settings: Settings, hooks: HookRegistry, *, read_only: bool) -> AsyncIterator[StorageBackend]:
    """Open a store and close it at the end."""
    storage = open_storage(settings, hooks, read_only=read_only)
    try:
        yield storage
    finally:
        await storage.close()


@asynccontextmanager
async def opened_archive(
    settings: Settings, url: str, hooks: HookRegistry, *, read_only: bool
) -> AsyncIterator[tuple[Archive, Transfers]]:
    """Open an archive, and what moves objects to and from it."""
    moves = Transfers(SystemClock(), random.Random(), settings.backup.parallel)  # noqa: S311 - jitter
    async with opened(archive_settings(settings, url), hooks, read_only=read_only) as storage:
        yield Archive(storage, moves), moves

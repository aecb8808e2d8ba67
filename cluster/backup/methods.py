"""`parquedb.restore`, `parquedb.backup_points` and `parquedb.verify_backup`: what concerns no open database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from parquedb.cluster.backup.backups import OnProgress, list_backup, restore_database
from parquedb.cluster.backup.backups import verify_backup as inspected
from parquedb.cluster.client.connection import run_blocking
from parquedb.cluster.runtime.naming import resolve
from parquedb.observability.hooks import global_hook_registry
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.backup.archive import LATEST

if TYPE_CHECKING:
    from parquedb.cluster.backup.reports import BackupPoint, RestoreReport
    from parquedb.storage.backup.inspection import Inspection


async def restore_async(  # noqa: PLR0913 - the public arguments
    source: str | os.PathLike[str],
    url: str | os.PathLike[str] | None = None,
    *namespaces: str,
    point: str = LATEST,
    as_name: str | None = None,
    progress: OnProgress | None = None,
    timeout_s: float | None = None,
    **settings: Any,
) -> RestoreReport:
    """Restore namespaces from a backup; see `restore`."""
    made = _settings(url, settings)
    return await restore_database(
        made,
        global_hook_registry,
        os.fspath(source),
        namespaces,
        point=point,
        as_name=as_name,
        progress=progress,
        timeout_s=timeout_s,
    )


def restore(  # noqa: PLR0913 - as above
    source: str | os.PathLike[str],
    url: str | os.PathLike[str] | None = None,
    *namespaces: str,
    point: str = LATEST,
    as_name: str | None = None,
    progress: OnProgress | None = None,
    timeout_s: float | None = None,
    **settings: Any,
) -> RestoreReport:
    """Restore namespaces from a backup, all that a point holds when none is named, where nothing of them is.

    No Ray is needed. Nobody can open a namespace before all of them are whole; a restore that was killed goes on when
    it is run again.

    Args:
        source: Where the backup is: a directory or `s3://bucket/prefix`.
        url: Where the database shall be; `PARQUEDB_URL` when None.
        *namespaces: Their names.
        point: Which point, by its name or the beginning of it.
        as_name: The one namespace that is restored gets this name.
        progress: Told how far it is, in another thread.
        timeout_s: Seconds for all of it; None: as long as it takes.
        **settings: As of `connect`; the group `backup` says how the backup is reached.

    Raises:
        ConflictError: something is stored already of one of them; nothing is changed.
        CorruptionError: a copy is missing or damaged; names it.
        SnapshotNotFoundError: there is no such point.
        CollectionNotFoundError, ConfigurationError, TimeoutError, ParqueDBError: as `docs/backup.md` says.
    """
    return run_blocking(
        restore_async(
            source, url, *namespaces, point=point, as_name=as_name, progress=progress, timeout_s=timeout_s, **settings
        )
    )


def backup_points(
    source: str | os.PathLike[str], *, timeout_s: float | None = None, **settings: Any
) -> list[BackupPoint]:
    """Return the points of a backup, the oldest first.

    Args:
        source: Where it is.
        timeout_s: Seconds for all of it; None: as long as it takes.
        **settings: As of `restore`.

    Raises:
        ConfigurationError: there is no such place.
        CorruptionError: a catalogue is damaged; names it.
        NewerFormatError: a later version of this library wrote one.
    """
    made = _settings(source, settings)
    listing = run_blocking(list_backup(made, global_hook_registry, os.fspath(source), timeout_s=timeout_s))
    for error in listing.unreadable:
        raise error
    return list(listing.points)


def verify_backup(
    source: str | os.PathLike[str],
    *,
    point: str | None = None,
    progress: OnProgress | None = None,
    timeout_s: float | None = None,
    **settings: Any,
) -> Inspection:
    """Read all that a point of a backup needs, or that all points need, and compare checksums.

    Args:
        source: Where it is.
        point: Which one, by its name or the beginning of it; None for all.
        progress: Told how far it is, in another thread.
        timeout_s: Seconds for all of it; None: as long as it takes.
        **settings: As of `restore`.

    Returns:
        What was found; `ok` says whether each of them can be restored.

    Raises:
        SnapshotNotFoundError: there is no such point, or none at all.
        ConfigurationError: there is no such place.
    """
    made = _settings(source, settings)
    return run_blocking(
        inspected(made, global_hook_registry, os.fspath(source), point=point, progress=progress, timeout_s=timeout_s)
    )


def _settings(url: str | os.PathLike[str] | None, arguments: dict[str, Any]) -> Settings:
    return resolve(load_settings(url, **arguments))

"""Taking, listing, inspecting and restoring backups of a database, from the process that asks.

Like `verify` this goes past the owners, over storage of its own: it disturbs none, and needs none to be alive.
"""

from __future__ import annotations

import asyncio
import builtins
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from parquedb.actors.requests.arguments import check_timeout
from parquedb.clock import SystemClock
from parquedb.cluster.backup.places import archive_settings, check_apart, check_stored, opened, opened_archive
from parquedb.cluster.backup.reports import BackupListing, BackupPoint, BackupReport, RestoreReport
from parquedb.cluster.loads.direct_storage import stored_namespaces
from parquedb.cluster.reporting import journal
from parquedb.errors import (
    ConflictError,
    CorruptionError,
    InvalidInputError,
    NewerFormatError,
    ParqueDBError,
    StorageError,
)
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.errors.base import retold
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.backends.probe import probe
from parquedb.storage.backup.archive import LATEST, Archive
from parquedb.storage.backup.backup import Backup, Progress
from parquedb.storage.backup.catalogue import Catalogue
from parquedb.storage.backup.inspection import Inspection, inspect
from parquedb.storage.backup.pruning import Pruned, prune
from parquedb.storage.backup.renaming import Renaming
from parquedb.storage.backup.restore import Restore, chosen
from parquedb.storage.backup.transfer import Transfers, temporary_folder
from parquedb.storage.keys import check_namespace

T = TypeVar("T")

OnProgress = Callable[[Progress], None]


async def backup_database(  # noqa: PLR0913 - the public arguments, and what a connection knows
    settings: Settings,
    hooks: HookRegistry,
    target: str,
    namespaces: Sequence[str] = (),
    *,
    keep: int | None = None,
    progress: OnProgress | None = None,
    timeout_s: float | None = None,
) -> BackupReport:
    """Copy namespaces, all of them when none is named, and make a point of them.

    Args:
        settings: Where the database is, and how its backups are reached.
        hooks: Told about reads and writes.
        target: URL of the archive; a directory is made if it does not exist.
        namespaces: Their names.
        keep: Then remove older points but so many for each namespace; None removes nothing.
        progress: Told how far it is, on the event loop.
        timeout_s: Seconds for all of it; None: as long as it takes.

    Raises:
        CollectionNotFoundError: nothing is stored under one of the names, or in the database at all.
        ConfigurationError: there is no such database, or it and the archive lie in each other.
        ConflictError: old points of the archive are being removed by somebody, and that does not end.
        CorruptionError: an object is missing or damaged, in the database or the archive; names it.
        InvalidInputError: `keep` is not at least 1.
        TimeoutError: time was up, or a namespace changes faster than it can be copied.
        ParqueDBError: a store refused, or did not answer.
    """
    names = [check_namespace(name) for name in dict.fromkeys(namespaces)]
    if keep is not None and keep < 1:
        raise InvalidInputError(f"keep: expected at least 1 point, not {keep}")
    check_stored(settings)
    check_apart(settings, archive_settings(settings, target))

    async def work() -> BackupReport:
        began_s = time.monotonic()
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(opened(settings, hooks, read_only=True))
            archive, moves = await stack.enter_async_context(opened_archive(settings, target, hooks, read_only=False))
            made = Backup(source, settings.engine, archive, moves, clock=SystemClock(), rng=_rng(), progress=progress)
            wanted = names or await stored_namespaces(source)
            catalogue = await made.take(wanted, settings.url, required=bool(names))
            pruned, refused = await _pruned(archive, keep, catalogue.point)
        copied, took_s = made.copied, time.monotonic() - began_s
        point = BackupPoint.of(catalogue)
        return BackupReport(point, copied.objects, copied.bytes, pruned, refused, took_s)

    report = await _within(timeout_s, "the backup", work())
    journal.backed_up(report.point.point, target, report.point.namespaces, report.duration_s)
    return report


async def _pruned(archive: Archive, keep: int | None, made: str) -> tuple[Pruned | None, str | None]:
    if keep is None:
        return None, None
    try:
        return await prune(archive, keep, made=made), None
    except ConflictError as error:
        # The backup is good; old points can go when whoever is at work has ended.
        return None, error.message
    except ParqueDBError as error:
        # Here somebody has to act, but not to take the backup again.
        message = f"the backup is good, as point {made}, but old points stay: {error.message}"
        raise retold(error, message, {"point": made}) from error.cause


async def restore_database(  # noqa: PLR0913 - as above
    settings: Settings,
    hooks: HookRegistry,
    source: str,
    namespaces: Sequence[str] = (),
    *,
    point: str = LATEST,
    as_name: str | None = None,
    progress: OnProgress | None = None,
    timeout_s: float | None = None,
) -> RestoreReport:
    """Restore namespaces of a point, all that it holds when none is named, where nothing of them is.

    Args:
        settings: Where the database shall be, and how its backups are reached.
        hooks: Told about reads and writes.
        source: URL of the archive.
        namespaces: Their names.
        point: Which one, by its name or the beginning of it.
        as_name: The one namespace that is restored gets this name; it is made anew in the system's folder for temporary
            files first.
        progress: Told how far it is, on the event loop.
        timeout_s: Seconds for all of it; None: as long as it takes. Run again, it goes on.

    Raises:
        CollectionNotFoundError: the point does not hold one of the namespaces.
        ConfigurationError: no such archive, or the store is not fit for a database.
        ConflictError: something is stored already of one of them; nothing is changed.
        CorruptionError: a copy is missing or damaged; names it.
        InvalidInputError: `as_name` is given for several namespaces.
        SnapshotNotFoundError: there is no such point.
        TimeoutError: time was up.
        ParqueDBError: a store refused, or did not answer.
    """
    names = [check_namespace(name) for name in dict.fromkeys(namespaces)]
    if as_name is not None:
        check_namespace(as_name)
    check_stored(settings)
    check_apart(settings, archive_settings(settings, source))

    async def work() -> RestoreReport:
        began_s = time.monotonic()
        async with AsyncExitStack() as stack:
            opening = opened_archive(settings, source, hooks, read_only=True)
            archive, moves = await stack.enter_async_context(opening)
            catalogue, wanted = await archive.catalogue(await archive.find(point)), names
            if as_name is not None:
                renaming = _renamed(archive, catalogue, names, as_name, moves)
                archive, catalogue = await stack.enter_async_context(renaming)
                wanted = [as_name]
            target = await stack.enter_async_context(opened(settings, hooks, read_only=False))
            made = Restore(archive, target, moves, progress=progress)
            restored = await made.check(catalogue, wanted)
            await probe(target)
            await made.restore()
        took_s = time.monotonic() - began_s
        return RestoreReport.of(catalogue.point, settings.url, restored, made.copied.objects, took_s)

    report = await _within(timeout_s, "the restore", work())
    journal.restored(report.point, settings.url, report.namespaces, report.duration_s)
    return report


@asynccontextmanager
async def _renamed(
    archive: Archive, catalogue: Catalogue, names: Sequence[str], name: str, moves: Transfers
) -> AsyncIterator[tuple[Archive, Catalogue]]:
    """Make one namespace of a point anew under another name, in an archive that is gone afterwards."""
    wanted = chosen(catalogue, names)
    if len(wanted) != 1:
        held = ", ".join(one.namespace for one in wanted)
        raise InvalidInputError(f"one namespace can be restored as {name!r}, not {len(wanted)} ({held}): name it")
    with temporary_folder() as folder:
        storage = LocalBackend(folder)
        try:
            staged = Archive(storage, moves)
            made = await Renaming(archive, wanted[0], name, staged, moves).run()
            yield staged, replace(catalogue, namespaces=(made,))
        finally:
            await storage.close()


async def list_backup(
    settings: Settings, hooks: HookRegistry, source: str, *, timeout_s: float | None = None
) -> BackupListing:
    """Return the points of an archive; one that cannot be read hides no other.

    Raises:
        ConfigurationError: there is no such archive.
        ParqueDBError: the store refused, or did not answer.
    """

    async def work() -> BackupListing:
        found: list[BackupPoint] = []
        unreadable: list[StorageError] = []
        async with opened_archive(settings, source, hooks, read_only=True) as (archive, _):
            for point in await archive.points():
                try:
                    found.append(BackupPoint.of(await archive.catalogue(point)))
                except (CorruptionError, NewerFormatError) as error:
                    unreadable.append(error)
        return BackupListing(tuple(found), tuple(unreadable))

    return await _within(timeout_s, "the listing", work())


async def verify_backup(  # noqa: PLR0913 - as above
    settings: Settings,
    hooks: HookRegistry,
    source: str,
    *,
    point: str | None = None,
    progress: OnProgress | None = None,
    timeout_s: float | None = None,
) -> Inspection:
    """Read every copy that a point needs, or that all points need, and compare checksums.

    Raises:
        ConfigurationError: there is no such archive.
        SnapshotNotFoundError: there is no such point, or none at all.
        ParqueDBError: the store refused, or did not answer.
    """

    async def work() -> Inspection:
        async with opened_archive(settings, source, hooks, read_only=True) as (archive, moves):
            newest = await archive.find(point or LATEST)
            points = [newest] if point is not None else await archive.points()
            return await inspect(archive, moves, points, progress)

    return await _within(timeout_s, "the inspection", work())


async def _within(timeout_s: float | None, what: str, work: Coroutine[Any, Any, T]) -> T:
    limit_s = None if timeout_s is None else check_timeout(timeout_s, timeout_s)
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except builtins.TimeoutError as error:
        if limit_s is None:
            raise
        raise NoAnswerError(f"{what} did not end within {limit_s:g} s", timeout_s=limit_s) from error


def _rng() -> random.Random:
    return random.Random()  # noqa: S311 - jitter

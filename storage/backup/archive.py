"""The place where backups lie: objects by content, catalogues by time, and marks of those who are at work.

    parquedb_backup=1/points/<point>                                   a catalogue; a point exists when it does
    parquedb_backup=1/objects/<namespace>/<folder>/<checksum>-<name>   a copy, shared by all points that need it
    parquedb_backup=1/at-work/backup-<point>                           a backup is being taken
    parquedb_backup=1/at-work/prune-<random>                           old points are being removed

No namespace can have the name of the outermost folder, so an archive never shows up as part of a database.

Taking a backup relies on copies that it finds, and pruning removes copies that no point refers to. Each first sets its
own mark, then looks for one of the other: of two that begin at the same time at least one sees the other and steps
back. A mark counts for `WORK_MAX_S`, which is also the longest that a backup may take, so one left by a killed process
stops counting when nobody can rely on it any more.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from parquedb.errors import CorruptionError, ObjectNotFoundError, ParqueDBError, SnapshotNotFoundError
from parquedb.observability.logs import get_logger
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backup.catalogue import Catalogue, Reference, decode_catalogue, encode_catalogue
from parquedb.storage.backup.transfer import Transfers
from parquedb.storage.keys import encode_segment

_logger = get_logger(__name__)

ROOT: Final = "parquedb_backup=1/"
POINTS: Final = f"{ROOT}points/"
OBJECTS: Final = f"{ROOT}objects/"
MARKS: Final = f"{ROOT}at-work/"
LATEST: Final = "latest"
BACKUP, PRUNE = "backup", "prune"
WORK_MAX_S: Final = 24 * 3600.0
_PAGE: Final = 1000


def point_name(time: datetime) -> str:
    """Return a new name for a point; later ones sort after earlier ones, also within a second."""
    return f"{time:%Y%m%dt%H%M%S.%fz}-{secrets.token_hex(4)}"


def folder_of(namespace: str) -> str:
    """Return the folder that holds the copies of a namespace's objects."""
    return f"{OBJECTS}{encode_segment(namespace)}/"


class Archive:
    """One of them.

    Args:
        storage: Where it is.
        transfers: Writes there.
    """

    def __init__(self, storage: StorageBackend, transfers: Transfers) -> None:
        self.storage = storage
        self._transfers = transfers

    async def points(self) -> list[str]:
        """Return the names of all points, the oldest first."""
        return sorted(key.removeprefix(POINTS) for key in await self._listed(POINTS))

    async def find(self, point: str = LATEST) -> str:
        """Return the whole name of a point, given its beginning, or `latest`.

        Raises:
            SnapshotNotFoundError: there is none, or more than one begins so.
        """
        points = await self.points()
        wanted = point.lower()
        found = points[-1:] if wanted == LATEST else [name for name in points if name.startswith(wanted)]
        if wanted in found:
            return wanted
        if len(found) == 1:
            return found[0]
        if not points:
            raise SnapshotNotFoundError("no backup is stored here")
        what = "no point of this backup begins" if not found else f"{len(found)} points of this backup begin"
        raise SnapshotNotFoundError(f"{what} with {point!r}; the newest is {points[-1]}")

    async def catalogue(self, point: str) -> Catalogue:
        """Return what a point holds.

        Raises:
            CorruptionError: its catalogue is damaged.
            SnapshotNotFoundError: it has been removed.
        """
        key = POINTS + point
        try:
            catalogue = decode_catalogue(key, await self.storage.read(key))
        except ObjectNotFoundError as error:
            raise SnapshotNotFoundError(f"the point {point} has been removed", cause=error) from error
        if catalogue.point != point:
            raise CorruptionError(key=key, reason=f"it is the catalogue of {catalogue.point}")
        return catalogue

    async def add(self, catalogue: Catalogue) -> None:
        """Make a point; everything that it refers to has been stored."""
        await self._transfers.create(self.storage, POINTS + catalogue.point, encode_catalogue(catalogue))

    async def remove(self, point: str) -> None:
        """Make a point vanish; what only it refers to stays until the next pruning."""
        await self.storage.delete(POINTS + point)

    async def copies(self, namespace: str) -> dict[str, int]:
        """Return the size of every copy, by name, that is stored of a namespace's objects."""
        folder = folder_of(namespace)
        return {key.removeprefix(folder): size for key, size in (await self._listed(folder)).items()}

    async def everything(self) -> dict[str, int]:
        """Return the size of every copy by its whole key."""
        return await self._listed(OBJECTS)

    @staticmethod
    def key_of(namespace: str, reference: Reference) -> str:
        """Return the whole key of a copy."""
        return folder_of(namespace) + reference.name

    async def mark(self, kind: str, name: str) -> str:
        """Say that somebody is at work; return the mark."""
        key = f"{MARKS}{kind}-{name}"
        await self._transfers.create(self.storage, key, b"{}")
        return key

    async def unmark(self, key: str) -> None:
        """Say that the work has ended; where nothing may be deleted, time will tell."""
        try:
            await self.storage.delete(key)
        except ParqueDBError as error:
            _logger.warning("the mark %s stays for a day, and keeps old points from being removed: %s", key, error)

    async def is_marked(self, key: str) -> bool:
        """Whether nobody has taken a mark away."""
        return await self.storage.exists(key)

    async def marks(self, kind: str) -> list[str]:
        """Return the marks of a kind that count, and remove those that do not any more."""
        after, found = None, list[str]()
        while True:
            page = await self.storage.list(f"{MARKS}{kind}-", after=after, limit=_PAGE)
            for info in page.objects:
                if page.server_s - (info.modified_s or page.server_s) < WORK_MAX_S:
                    found.append(info.key)
                else:
                    await self.unmark(info.key)
            if not page.more or not page.objects:
                return found
            after = page.objects[-1].key

    async def _listed(self, prefix: str) -> dict[str, int]:
        found: dict[str, int] = {}
        after = None
        while True:
            page = await self.storage.list(prefix, after=after, limit=_PAGE)
            found.update((info.key, info.size) for info in page.objects)
            if not page.more or not page.objects:
                return found
            after = page.objects[-1].key


def missing_copies(namespace: str, objects: tuple[Reference, ...], copies: Mapping[str, int]) -> CorruptionError | None:
    """Return the first fault of copies by their names and sizes alone; None where there is none."""
    for one in objects:
        size = copies.get(one.name)
        if size != one.size:
            reason = "missing" if size is None else f"{size} bytes instead of {one.size}"
            return CorruptionError(key=Archive.key_of(namespace, one), reason=f"{reason}, though the backup needs it")
    return None

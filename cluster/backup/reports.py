"""What callers of backups are told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from parquedb.errors import StorageError
    from parquedb.storage.backup.catalogue import Catalogue, NamespacePoint
    from parquedb.storage.backup.inspection import Inspection
    from parquedb.storage.backup.pruning import Pruned


@dataclass(frozen=True, slots=True)
class BackupPoint:
    """One point in time that can be restored.

    Attributes:
        point: Its name.
        time: When it was begun, UTC.
        source: URL of the database.
        namespaces: Seq of the last change that it holds, by namespace.
        objects: How many objects it is.
        bytes: Size of them; points share what they have in common.
    """

    point: str
    time: datetime
    source: str
    namespaces: dict[str, int]
    objects: int
    bytes: int

    @classmethod
    def of(cls, catalogue: Catalogue) -> BackupPoint:
        """Sum up a catalogue."""
        seqs = {one.namespace: one.seq for one in catalogue.namespaces}
        return cls(catalogue.point, catalogue.time, catalogue.source, seqs, catalogue.objects, catalogue.bytes)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "time": self.time.isoformat()}


@dataclass(frozen=True, slots=True)
class BackupListing:
    """What an archive holds.

    Attributes:
        points: Those whose catalogues can be read, the oldest first.
        unreadable: Why the others cannot: damaged, or of a later version.
    """

    points: tuple[BackupPoint, ...]
    unreadable: tuple[StorageError, ...]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """A backup that was taken.

    Attributes:
        point: What it is.
        objects_copied: How many objects were not there before.
        bytes_copied: Size of those.
        pruned: Old points that were removed, where that was asked for.
        not_pruned: Why none could be removed at this time; the next backup tries again.
        duration_s: Seconds for all of it.
    """

    point: BackupPoint
    objects_copied: int
    bytes_copied: int
    pruned: Pruned | None
    not_pruned: str | None
    duration_s: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "point": self.point.to_json()}


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """A restore that has ended.

    Attributes:
        point: Name of the point.
        url: Of the database.
        namespaces: Seq of the last change, by namespace as it is called now.
        objects: How many objects they are.
        bytes: Size of those.
        objects_copied: How many were not there from an earlier attempt.
        duration_s: Seconds for all of it.
    """

    point: str
    url: str
    namespaces: dict[str, int]
    objects: int
    bytes: int
    objects_copied: int
    duration_s: float

    @classmethod
    def of(
        cls, point: str, url: str, restored: tuple[NamespacePoint, ...], copied: int, took_s: float
    ) -> RestoreReport:
        """Sum up what was restored."""
        objects, size = sum(len(one.objects) for one in restored), sum(one.bytes for one in restored)
        return cls(point, url, {one.namespace: one.seq for one in restored}, objects, size, copied, took_s)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def inspection_json(inspection: Inspection) -> dict[str, Any]:
    """Return plain data of what an inspection found."""
    return {**asdict(inspection), "ok": inspection.ok}

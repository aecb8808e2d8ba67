"""Reading a whole archive: whether every copy that a point needs is there, and still what it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from parquedb.errors import CorruptionError, ObjectNotFoundError, SnapshotNotFoundError, StorageError
from parquedb.storage.backup.archive import POINTS, Archive
from parquedb.storage.backup.backup import Progress
from parquedb.storage.backup.catalogue import Reference
from parquedb.storage.backup.transfer import Transfers, each

FAULTS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Fault:
    """One object of an archive that is not what it should be.

    Attributes:
        key: Of it.
        reason: What is wrong.
        points: Which points cannot be restored because of it.
    """

    key: str
    reason: str
    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    Attributes:
        points: Those that were looked at.
        objects: Copies that were read.
        bytes: Size of those.
        faults: At most `FAULTS_MAX`.
    """

    points: tuple[str, ...]
    objects: int
    bytes: int
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether every point can be restored."""
        return not self.faults


async def inspect(
    archive: Archive,
    transfers: Transfers,
    points: Sequence[str],
    progress: Callable[[Progress], None] | None = None,
) -> Inspection:
    """Read every copy that some points need, each once, and compare checksums.

    Raises:
        ParqueDBError: the store refused, or did not answer.
    """
    needed: dict[str, tuple[Reference, list[str]]] = {}
    faults: list[Fault] = []
    for point in points:
        try:
            catalogue = await archive.catalogue(point)
        except (StorageError, SnapshotNotFoundError) as error:
            if isinstance(error, StorageError) and not isinstance(error, CorruptionError):
                raise
            faults.append(Fault(POINTS + point, getattr(error, "reason", None) or error.message, (point,)))
            continue
        for one in catalogue.namespaces:
            for reference in one.objects:
                needed.setdefault(archive.key_of(one.namespace, reference), (reference, []))[1].append(point)
    meter = Progress("", 0, len(needed), 0, sum(reference.size for reference, _ in needed.values()))

    async def look(key: str) -> None:
        reference, holders = needed[key]
        reason = await _fault(archive, transfers, key, reference)
        if reason is not None and len(faults) < FAULTS_MAX:
            faults.append(Fault(key, reason, tuple(holders)))
        meter.count(reference.size, reference.size)
        if progress is not None:
            progress(replace(meter))

    await each(look, needed, transfers.parallel)
    return Inspection(tuple(points), meter.objects_done, meter.bytes_done, tuple(sorted(faults, key=lambda f: f.key)))


async def _fault(archive: Archive, transfers: Transfers, key: str, reference: Reference) -> str | None:
    try:
        found = await transfers.checksum(archive.storage, key)
    except ObjectNotFoundError:
        return "missing"
    if found.size != reference.size:
        return f"{found.size} bytes instead of {reference.size}"
    if found.checksum != reference.checksum:
        return f"checksum differs: expected {reference.checksum:016x}, found {found.checksum:016x}"
    return None

"""Removing old points, and copies that no point refers to any more."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parquedb.errors import ConflictError, InvalidInputError
from parquedb.storage.backup.archive import BACKUP, PRUNE, Archive
from parquedb.storage.backup.transfer import each

_DELETES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed.

    Attributes:
        points: Names of points, the oldest first.
        objects: Number of copies that only they referred to, or nobody.
        bytes: Size of those.
    """

    points: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0


def kept_points(held: Mapping[str, Sequence[str]], keep: int) -> set[str]:
    """Return the points to keep: of each namespace the newest `keep` that hold it.

    So a backup of one namespace, taken every hour, does not drive out last night's of all of them.

    Args:
        held: Names of namespaces by point.
        keep: At least 1.
    """
    counts: Counter[str] = Counter()
    kept = set()
    for point in sorted(held, reverse=True):
        if any(counts[name] < keep for name in held[point]):
            kept.add(point)
        counts.update(held[point])
    return kept


async def prune(archive: Archive, keep: int, *, made: str | None = None) -> Pruned:
    """Remove all but the newest points, then every copy that none of the others refers to.

    The catalogues go first: a pruning that was killed leaves copies that nobody refers to, which the next one removes,
    and never a point that lacks something.

    Args:
        archive: Where they are.
        keep: How many of each namespace stay.
        made: A point that stays as well, though others may have later names: who took them may have had a clock that
            was ahead.

    Raises:
        ConflictError: a backup is being taken, or somebody else prunes; nothing has been removed.
        CorruptionError: a catalogue is damaged, so nobody knows what it refers to; nothing has been removed.
        InvalidInputError: `keep` is not at least 1.
    """
    if keep < 1:
        raise InvalidInputError(f"at least one point has to be kept, not {keep}")
    mark = await archive.mark(PRUNE, secrets.token_hex(8))
    try:
        others = [one for one in await archive.marks(PRUNE) if one != mark]
        if others or await archive.marks(BACKUP):
            message = "a backup is being taken or pruned here at this moment, or was killed within the last day"
            raise ConflictError(f"{message}; nothing is removed before that has ended")
        return await _prune(archive, keep, made)
    finally:
        await archive.unmark(mark)


async def _prune(archive: Archive, keep: int, made: str | None) -> Pruned:
    # One catalogue at a time: each may name many objects.
    held = {point: (await archive.catalogue(point)).names for point in await archive.points()}
    kept = kept_points(held, keep) | {point for point in held if point == made}
    needed: set[str] = set()
    for point in kept:
        for one in (await archive.catalogue(point)).namespaces:
            needed.update(archive.key_of(one.namespace, reference) for reference in one.objects)
    gone = [point for point in held if point not in kept]
    await each(archive.remove, gone, _DELETES_AT_ONCE)
    doomed = {key: size for key, size in (await archive.everything()).items() if key not in needed}
    await each(archive.storage.delete, doomed, _DELETES_AT_ONCE)
    return Pruned(tuple(gone), len(doomed), sum(doomed.values()))

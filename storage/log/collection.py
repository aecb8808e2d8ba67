"""Removing what nothing needs any more: old log entries, manifests, data files and segments.

What goes is decided by a pure function from a listing and the checkpoints known to have landed; grace counts from when
something was *superseded*, by the store's clock (rules 19 to 21). Deleting late, twice or by a stale owner is harmless:
nothing below a landed checkpoint comes back, and names are never used again.

An owner knows what itself made and superseded. Of what its predecessors left it knows what the manifest it started from
tells (`Manifest.past`): some of their checkpoints, each of which superseded everything older.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from parquedb.errors import CorruptionError, ParqueDBError
from parquedb.observability.logs import get_logger
from parquedb.storage.backend import ObjectInfo, StorageBackend
from parquedb.storage.log.entry import entry_key, position_of
from parquedb.storage.log.manifest import object_epoch
from parquedb.storage.log.predecessors import Inherited, Predecessors

FOLDERS: Final = ("log", "manifest", "data", "tail", "history", "dedupe")
_PAGE: Final = 1000
_DELETES_AT_ONCE: Final = 16
UPLOAD_GRACE_S: Final = 3600.0
"""Seconds a multipart upload may take at least, for whoever copies a large file."""

_logger = get_logger(__name__)


class LandedCheckpoint(Protocol):
    """What the plan needs to know of a checkpoint."""

    @property
    def position(self) -> int:
        """Position of its entry."""

    @property
    def through(self) -> int:
        """Last position it folds."""

    @property
    def manifest(self) -> str:
        """Key of its manifest, relative to the namespace."""

    @property
    def objects(self) -> frozenset[str]:
        """Keys its manifest refers to, relative to the namespace."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything stored for a namespace, and the store's time.

    Attributes:
        objects: Keys relative to the namespace.
        server_s: Unix seconds by the store's clock, from before the listing began.
    """

    objects: tuple[ObjectInfo, ...]
    server_s: float


@dataclass(frozen=True, slots=True)
class Graces:
    """How long superseded things stay, in seconds: log entries for openers, the rest for snapshot readers."""

    log_s: float
    snapshot_s: float


async def list_namespace(storage: StorageBackend, prefix: str) -> Listing:
    """List every object of a namespace."""
    objects: list[ObjectInfo] = []
    server_s = float("inf")
    for folder in FOLDERS:
        after, more = None, True
        while more:
            page = await storage.list(f"{prefix}{folder}/", after=after, limit=_PAGE)
            server_s = min(server_s, page.server_s)
            objects.extend(
                ObjectInfo(info.key.removeprefix(prefix), info.size, info.etag, info.modified_s)
                for info in page.objects
            )
            more = page.more
            after = page.objects[-1].key if page.objects else None
    return Listing(tuple(objects), server_s)


@dataclass(frozen=True, slots=True)
class Known:
    """What the owner knows about its namespace, taken at one moment.

    Attributes:
        checkpoints: Those known to have landed, oldest first, the newest included.
        fences: Positions of the `open` entries of the chain.
        epoch: The owner's.
        past: Manifests of checkpoints that landed before the first of `checkpoints`, oldest first.
        pins: Keys of objects that stay, whatever superseded them: somebody here still reads them.
    """

    checkpoints: tuple[LandedCheckpoint, ...]
    fences: frozenset[int]
    epoch: int
    past: tuple[str, ...] = ()
    pins: frozenset[str] = frozenset()


class Collector:
    """Collects one namespace, again and again.

    Args:
        storage: Where it lives.
        prefix: Its encoded prefix, ending in `/`.
        graces: See `Graces`.
    """

    def __init__(self, storage: StorageBackend, prefix: str, graces: Graces) -> None:
        self._storage = storage
        self._prefix = prefix
        self._graces = graces
        self._landed_s: dict[int, float] = {}
        self._predecessors = Predecessors(storage, prefix)
        self._pinned: set[str] = set()
        self._uploads_looked_at_s = float("-inf")
        self.base = 0
        """Position of the oldest checkpoint that still matters: what older ones alone referred to is deleted."""
        self.deleted = 0
        """Objects deleted so far."""

    async def collect(self, known: Callable[[], Known], confirm: Callable[[], Awaitable[None]]) -> int:
        """Delete what may go; return how many objects that were.

        Args:
            known: Asked after the listing, so that nothing listed can have become needed unnoticed.
            confirm: Returns once it is certain that nobody else owns the namespace, or raises. Asked after that: what a
                successor has promised to keep, its predecessor does not know.
        """
        listing = await list_namespace(self._storage, self._prefix)
        self._note(listing, known().checkpoints)
        old_s = listing.server_s - self._graces.snapshot_s
        inherited: list[tuple[Inherited, float]] = []
        if _superseding(known().checkpoints, self._landed_s, old_s) is None:
            inherited = await self._predecessors.checkpoints(listing, known(), self._graces)
        # From here to the plan nothing awaits: what is doomed and what is needed are of one moment.
        now = known()
        self._note(listing, now.checkpoints)
        landed_s = {**{checkpoint.position: at_s for checkpoint, at_s in inherited}, **self._landed_s}
        everyone = replace(now, checkpoints=(*(checkpoint for checkpoint, _ in inherited), *now.checkpoints))
        # What was pinned the last time may have been forgotten as superseded meanwhile, or have come to be needed.
        referred = {key for one in everyone.checkpoints for key in (one.manifest, *one.objects)}
        doomed = sorted({*plan(listing, everyone, landed_s, self._graces), *(self._pinned - referred)})
        self._pinned = {key for key in doomed if key in now.pins}
        doomed = [key for key in doomed if key not in now.pins]
        if doomed:
            await confirm()
        for start in range(0, len(doomed), _DELETES_AT_ONCE):
            keys = doomed[start : start + _DELETES_AT_ONCE]
            await asyncio.gather(*(self._storage.delete(self._prefix + key) for key in keys))
            self.deleted += len(keys)
        base = _superseding(now.checkpoints, self._landed_s, old_s)
        if base is not None:
            self.base = base.position
            self._landed_s = {position: at_s for position, at_s in self._landed_s.items() if position >= self.base}
        await self._abort_uploads(listing.server_s)
        return len(doomed)

    async def _abort_uploads(self, server_s: float) -> None:
        """Give up old multipart uploads, at the pace at which they can become old."""
        grace_s = max(self._graces.snapshot_s, UPLOAD_GRACE_S)
        if server_s - self._uploads_looked_at_s < grace_s / 2:
            return
        self._uploads_looked_at_s = server_s
        try:
            self.deleted += await self._storage.abort_uploads(self._prefix, grace_s)
        except ParqueDBError as error:
            # Credentials may well lack the right to list uploads; everything else is collected all the same.
            _logger.warning("old uploads below %s could not be given up: %s", self._prefix, error)

    def _note(self, listing: Listing, checkpoints: Sequence[LandedCheckpoint]) -> None:
        """Remember when each checkpoint landed: its entry may be collected long before the snapshot grace ends."""
        modified_s = {info.key: info.modified_s for info in listing.objects}
        listed = [c.through for c in checkpoints if entry_key(c.position) in modified_s]
        folded = max(listed, default=0)
        for checkpoint in checkpoints:
            seen_s = modified_s.get(entry_key(checkpoint.position))
            if seen_s is None and checkpoint.position <= folded:
                # Its entry is gone already, so it landed at some time before this listing: that is the safe answer.
                seen_s = listing.server_s
            if seen_s is not None:
                self._landed_s.setdefault(checkpoint.position, seen_s)


def least_needed(times_us: Sequence[int]) -> int:
    """Return which of at least three ascending times can best be done without: not the first and not the last."""
    return min(range(1, len(times_us) - 1), key=lambda at: times_us[at + 1] - times_us[at - 1])


def plan(listing: Listing, known: Known, landed_s: Mapping[int, float], graces: Graces) -> list[str]:
    """Return the keys, relative to the namespace, that may be deleted now.

    Args:
        listing: What is stored.
        known: See `Known`. Fences stay for ever, for a stale owner's first wrong create meets one of them. An object of
            a higher epoch means that the caller is stale: then nothing is deleted.
        landed_s: When each checkpoint landed, by position, Unix seconds by the store's clock.
        graces: See `Graces`.
    """
    epoch, checkpoints = known.epoch, known.checkpoints
    logs = {position_of(info.key): info for info in listing.objects if info.key.startswith("log/")}
    others = [info.key for info in listing.objects if not info.key.startswith("log/")]
    try:
        epochs = {key: object_epoch(key) for key in others}
    except CorruptionError:
        return []  # A name we do not write: leave everything to whoever put it there.
    if any(found > epoch for found in epochs.values()):
        return []
    doomed: list[str] = []
    log_base = _superseding(checkpoints, landed_s, listing.server_s - graces.log_s)
    if log_base is not None:
        through = log_base.through
        doomed += [info.key for position, info in logs.items() if position <= through and position not in known.fences]
    snapshot_base = _superseding(checkpoints, landed_s, listing.server_s - graces.snapshot_s)
    if snapshot_base is not None:
        roots: set[str] = set()
        superseded: set[str] = set()
        for checkpoint in checkpoints:
            keep = checkpoint.position >= snapshot_base.position
            (roots if keep else superseded).update({checkpoint.manifest, *checkpoint.objects})
        doomed += [key for key in others if key not in roots and (epochs[key] < epoch or key in superseded)]
    return sorted(doomed)


def _superseding(
    checkpoints: Sequence[LandedCheckpoint], landed_s: Mapping[int, float], latest_s: float
) -> LandedCheckpoint | None:
    """Return the newest checkpoint that landed at `latest_s` or before; it superseded everything older."""
    return next((c for c in reversed(checkpoints) if landed_s.get(c.position, float("inf")) <= latest_s), None)

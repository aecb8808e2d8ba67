"""What earlier owners of a namespace superseded, for an owner whose own checkpoints are too young to tell.

The manifest it started from names some checkpoints that landed before (`Manifest.past`). Each of them superseded
everything older, and had landed when the manifest of the next one was stored: that time the store knows. Every manifest
above the newest of them that is old enough may belong to a checkpoint that somebody still reads, so what it refers to
stays, whether it ever became real or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parquedb.errors import ObjectNotFoundError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.log.manifest import decode_manifest, through_of

if TYPE_CHECKING:
    from parquedb.storage.log.collection import Graces, Known, Listing

MANIFESTS_MAX = 256
"""Manifests read for one collection; where more would be needed, the wait is for our own checkpoints to be old."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """A checkpoint of an earlier owner, as the collector's plan wants it.

    Attributes:
        through: Last position it folds.
        manifest: Key of its manifest, relative to the namespace.
        objects: What this or any later checkpoint of the earlier owners refers to, their manifests included; nothing
            where only the log is to be judged by it.
    """

    through: int
    manifest: str
    objects: frozenset[str] = frozenset()

    @property
    def position(self) -> int:
        """A position below every later checkpoint's; the true one is not known."""
        return self.through


class Predecessors:
    """The checkpoints that one owner inherited.

    Args:
        storage: Where the namespace lives.
        prefix: Its encoded prefix, ending in `/`.
    """

    def __init__(self, storage: StorageBackend, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix
        self._objects: dict[str, frozenset[str]] = {}

    async def checkpoints(self, listing: Listing, known: Known, graces: Graces) -> list[tuple[Inherited, float]]:
        """Return those that count now, oldest first, with the time by which each had landed.

        Args:
            listing: What is stored.
            known: `past`, and `checkpoints`, of which the first is the one that the owner started from.
            graces: How long superseded things stay.

        Raises:
            CorruptionError: a manifest cannot be read.
        """
        if not known.past or not known.checkpoints:
            return []
        stored_s = {info.key: info.modified_s for info in listing.objects if info.key.startswith("manifest/")}
        # One that is not there any more was superseded so long ago that it was collected.
        later = [*known.past[1:], known.checkpoints[0].manifest]
        landed = [(key, stored_s.get(after) or float("-inf")) for key, after in zip(known.past, later, strict=True)]
        found: list[tuple[Inherited, float]] = []
        old = [one for one in landed if one[1] <= listing.server_s - graces.snapshot_s]
        if old:
            objects = await self._referred(stored_s, through_of(old[-1][0]), known)
            if objects is not None:
                found.append((Inherited(through_of(old[-1][0]), old[-1][0], objects), old[-1][1]))
        old = [one for one in landed if one[1] <= listing.server_s - graces.log_s]
        if old and (not found or old[-1][0] != found[0][0].manifest):
            found.append((Inherited(through_of(old[-1][0]), old[-1][0]), old[-1][1]))
        return found

    async def _referred(self, stored: Mapping[str, object], through: int, known: Known) -> frozenset[str] | None:
        """Return what the stored manifests from `through` on refer to, and they themselves; None: too many."""
        ours = {checkpoint.manifest for checkpoint in known.checkpoints}
        keys = [key for key in stored if key not in ours and through_of(key) >= through]
        if len(keys) > MANIFESTS_MAX:
            return None
        read = [key for key in keys if key not in self._objects]
        self._objects |= dict(zip(read, await asyncio.gather(*map(self._objects_of, read)), strict=True))
        return frozenset(keys).union(*(self._objects[key] for key in keys))

    async def _objects_of(self, key: str) -> frozenset[str]:
        try:
            data = await self._storage.read(self._prefix + key)
        except ObjectNotFoundError:
            return frozenset()  # Collected since the listing, by somebody who was sure.
        return decode_manifest(self._prefix + key, data).objects

"""Restoring a point into a place where nothing is: the copies get their names back, byte for byte.

The order of the writes is what keeps a restore that was killed from being taken for a database:

1. Into each namespace goes first an object that is no log entry and sorts before all of them (`UNFINISHED`). While it
   is there nobody can open the namespace: an owner lists the log, meets it and stops. Without it parts would do harm
   in any order: a log that lacks its newest entries is a valid shorter one, entry 1 alone is a valid empty namespace,
   and where only data files are, the next owner would begin a new log beside them.
2. Then comes everything else, in any order, each object by a create that overwrites nothing. Log entry 1, which is
   part of every point, is the first: should an owner have opened the empty place in the same moment, its entry has that
   name, and one of the two creates is refused.
3. When all is there, and nothing else, the object of step 1 is deleted; of several namespaces only when all are whole.
   That delete is the restore.

A restore that was killed goes on when it is run again: it finds its own object, and what has been copied. Owners of
the original are in no danger: what is restored lies under another root, so nobody ever writes to both; over an existing
namespace nothing is restored at all. The log's next `open` entry makes the next epoch there, as after any owner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from parquedb.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    ConflictError,
    CorruptionError,
    ObjectNotFoundError,
)
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backup.archive import Archive, missing_copies
from parquedb.storage.backup.backup import Copied, Progress
from parquedb.storage.backup.catalogue import Catalogue, NamespacePoint, Reference
from parquedb.storage.backup.transfer import Transfers, each
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log.entry import UNFINISHED, entry_key

NAMESPACES_AT_ONCE: Final = 4
_PAGE: Final = 1000


@dataclass(slots=True)
class NamespaceRestore:
    """Restores one namespace.

    Args:
        archive: Where the copies are.
        target: The database's storage.
        transfers: Moves them.
        point: Name of the point.
        content: What it holds of the namespace.
        copied: Counts what is really copied.
        progress: Told how far it is.

    Attributes:
        is_begun: Whether a restore of this point was at work here when this was last looked at.
        is_whole: Whether one has ended, and nobody has opened the namespace since.
    """

    archive: Archive
    target: StorageBackend
    transfers: Transfers
    point: str
    content: NamespacePoint
    copied: Copied
    progress: Callable[[Progress], None] | None = None
    is_begun: bool = False
    is_whole: bool = False
    _there: dict[str, int] = field(default_factory=dict)

    @property
    def _prefix(self) -> str:
        return namespace_prefix(self.content.namespace)

    @property
    def _mark(self) -> bytes:
        return orjson.dumps({"point": self.point, "namespace": self.content.namespace})

    async def check(self) -> None:
        """See that every copy is there, and that nothing is in the way; changes nothing.

        Raises:
            CorruptionError: the archive lacks a copy, or part of it.
            ConflictError: something is stored where the namespace shall be.
        """
        name = self.content.namespace
        fault = missing_copies(name, self.content.objects, await self.archive.copies(name))
        if fault is not None:
            raise fault
        if entry_key(1) not in {one.key for one in self.content.objects}:
            raise CorruptionError(
                key=self.archive.key_of(name, self.content.objects[0]), reason="without a first entry"
            )
        await self._look()

    async def begin(self) -> None:
        """Keep owners away; from here on the namespace cannot be opened.

        Raises:
            ConflictError: somebody has stored something in the meantime.
        """
        ours = await self.transfers.create(self.target, self._prefix + UNFINISHED, self._mark)
        try:
            await self._look()
        except ConflictError:
            if ours:
                await self.target.delete(self._prefix + UNFINISHED)
            raise

    async def copy(self) -> None:
        """Copy everything.

        Raises:
            CorruptionError: a copy is damaged; names it.
            ConflictError: an object is in the way.
        """
        objects = self.content.objects
        meter = Progress(self.content.namespace, 0, len(objects), 0, self.content.bytes)

        async def put(one: Reference) -> None:
            await self._put(one)
            meter.count(one.size, one.size)
            if self.progress is not None:
                self.progress(replace(meter))

        first = [one for one in objects if one.key == entry_key(1)]
        await each(put, first, 1)
        await each(put, (one for one in objects if one.key != entry_key(1)), self.transfers.parallel)
        await self._look()
        lacking = [one.key for one in objects if one.key not in self._there]
        if lacking:
            raise CorruptionError(key=self._prefix + lacking[0], reason="it was stored and is not there")

    async def end(self) -> None:
        """Let owners open it."""
        await self.target.delete(self._prefix + UNFINISHED)

    async def _put(self, one: Reference) -> None:
        # An owner that has seen the place empty makes entry 1, and one `open` is as large as another.
        if self._there.get(one.key) == one.size and one.key != entry_key(1):
            return
        source, key = self.archive.key_of(self.content.namespace, one), self._prefix + one.key
        try:
            await self.transfers.copy(self.archive.storage, source, self.target, key, one.checksum)
        except AlreadyExistsError:
            raise self.in_the_way(key) from None
        self.copied.objects += 1
        self.copied.bytes += one.size

    async def _look(self) -> None:
        """List what is stored of the namespace; all of it has to be ours."""
        wanted = {one.key: one.size for one in self.content.objects}
        found: dict[str, int] = {}
        after, more = None, True
        while more:
            page = await self.target.list(self._prefix, after=after, limit=_PAGE)
            for info in page.objects:
                key = info.key.removeprefix(self._prefix)
                if key != UNFINISHED and wanted.get(key) != info.size:
                    raise self.in_the_way(info.key)
                found[key] = info.size
            more = page.more and bool(page.objects)
            after = page.objects[-1].key if page.objects else None
        self.is_begun = UNFINISHED in found
        self.is_whole = not self.is_begun and found.keys() == wanted.keys()
        if self.is_begun:
            await self._check_mark()
        elif found and not self.is_whole:
            raise self.in_the_way(self._prefix + next(iter(found)))
        self._there = found

    async def _check_mark(self) -> None:
        try:
            found = await self.target.read(self._prefix + UNFINISHED)
        except ObjectNotFoundError:
            return  # Whoever was at work has just ended; the next look sees what it has made.
        if found != self._mark:
            message = f"another restore has begun in namespace {self.content.namespace!r}: {found[:200]!r}"
            raise ConflictError(f"{message}; end that one, or remove all that is stored of the namespace")

    def in_the_way(self, key: str) -> ConflictError:
        """Return the refusal that an object is the reason for."""
        message = f"something is stored of namespace {self.content.namespace!r} already ({key!r})"
        return ConflictError(f"{message}; a restore overwrites nothing: choose an empty place, or another name")


class Restore:
    """Restores namespaces of one point.

    Args:
        archive: Where it is.
        target: The database's storage.
        transfers: Moves objects.
        progress: Told how far it is.
    """

    def __init__(
        self,
        archive: Archive,
        target: StorageBackend,
        transfers: Transfers,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._archive = archive
        self._target = target
        self._transfers = transfers
        self._progress = progress
        self._parts: list[NamespaceRestore] = []
        self.copied = Copied()

    async def check(self, catalogue: Catalogue, namespaces: Sequence[str] = ()) -> tuple[NamespacePoint, ...]:
        """See whether namespaces can be restored, all of the point when none is named; return what they would be.

        Changes nothing; `restore` comes next.

        Raises:
            CollectionNotFoundError: the point does not hold one of them.
            ConflictError: something is stored where one of them shall be.
            CorruptionError: the archive lacks a copy, or part of it; names it.
            ParqueDBError: a store refused, or did not answer.
        """
        wanted = chosen(catalogue, namespaces)
        parts = [
            NamespaceRestore(
                self._archive, self._target, self._transfers, catalogue.point, one, self.copied, self._progress
            )
            for one in wanted
        ]
        await each(NamespaceRestore.check, parts, NAMESPACES_AT_ONCE)
        # A restore that was killed at its very end has let go of some namespaces. Without one that it still holds, what
        # is there may as well be the original.
        if any(part.is_whole for part in parts) and not any(part.is_begun for part in parts):
            part = next(part for part in parts if part.is_whole)
            raise part.in_the_way(namespace_prefix(part.content.namespace) + "log/")
        self._parts = [part for part in parts if not part.is_whole]
        return tuple(wanted)

    async def restore(self) -> None:
        """Restore what has been checked.

        Raises:
            ConflictError: somebody has stored something there in the meantime.
            CorruptionError: a copy is damaged; names it. The namespaces stay as they are then, and cannot be opened.
            ParqueDBError: a store refused, or did not answer.
        """
        # All are begun before any is copied, and all are whole before any can be opened: who finds one of several
        # missing would take it for empty.
        await each(NamespaceRestore.begin, self._parts, NAMESPACES_AT_ONCE)
        await each(NamespaceRestore.copy, self._parts, NAMESPACES_AT_ONCE)
        await each(NamespaceRestore.end, self._parts, NAMESPACES_AT_ONCE)


def chosen(catalogue: Catalogue, namespaces: Sequence[str]) -> list[NamespacePoint]:
    """Return what a point holds of some namespaces, of all when none is named.

    Raises:
        CollectionNotFoundError: it does not hold one of them.
    """
    held: Mapping[str, NamespacePoint] = {one.namespace: one for one in catalogue.namespaces}
    for name in namespaces:
        if name not in held:
            message = f"the point {catalogue.point} holds no namespace {name!r}; it holds {', '.join(held)}"
            raise CollectionNotFoundError(message, namespace=name)
    return [held[name] for name in dict.fromkeys(namespaces)] or list(held.values())

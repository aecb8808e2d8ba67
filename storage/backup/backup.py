"""Taking a backup: a bystander copies what one state of each namespace refers to, and writes that down last.

Objects are never overwritten and their names never used again, so a copy needs no lock and no owner: what a chain
(`parquedb.storage.log.opening`) refers to is one consistent state for as long as it is there. Where an owner collects
something of it meanwhile, a newer state does without it, and the copy goes on from that one; what has been copied
stays.

The catalogue is written when everything that it refers to is durable. A backup that was killed is therefore none, and
the next one finds its copies and does not make them again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from parquedb.clock import Clock
from parquedb.errors import CollectionNotFoundError, ConflictError, CorruptionError, ObjectNotFoundError
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backup.archive import BACKUP, PRUNE, WORK_MAX_S, Archive, point_name
from parquedb.storage.backup.catalogue import Catalogue, NamespacePoint, Reference, stored_name
from parquedb.storage.backup.state import Piece, State
from parquedb.storage.backup.transfer import Transfers, each
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log.manifest import checksum
from parquedb.storage.log.opening import Opener
from parquedb.storage.verification.source import ReadOnlyBackend

REBASES_MAX: Final = 50
NAMESPACES_AT_ONCE: Final = 4
_PAUSE_S: Final = 1.0
_PAUSES_MAX: Final = 60


@dataclass(slots=True)
class Progress:
    """How far a backup or a restore has come.

    Attributes:
        namespace: Which part of it.
        objects_done: Copied, or found to be there.
        objects_total: All of them.
        bytes_done: The same in bytes.
        bytes_total: As far as sizes are known.
    """

    namespace: str
    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_total: int

    def count(self, size: int, known: int | None) -> None:
        """Note that an object is there."""
        self.objects_done += 1
        self.bytes_done += size
        self.bytes_total += size - (known or 0)


@dataclass(slots=True)
class Copied:
    """What was really copied, as opposed to found: numbers of objects and bytes."""

    objects: int = 0
    bytes: int = 0


class _Moved(Exception):  # noqa: N818 - control flow inside `take`, never seen outside
    """The state that is being copied has been superseded, and an object of it collected."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state


@dataclass(slots=True)
class NamespaceBackup:
    """Copies one namespace, once.

    Args:
        source: Where it is.
        namespace: Its name.
        settings: Of its owners.
        archive: Where the copies go.
        transfers: Moves them.
        clock: Measures how fresh a listing is.
        rng: Asked by nobody; loading a chain wants one.
        progress: Told how far it is.
    """

    source: StorageBackend
    namespace: str
    settings: EngineSettings
    archive: Archive
    transfers: Transfers
    clock: Clock
    rng: random.Random
    progress: Callable[[Progress], None] | None = None
    copied: Copied = field(default_factory=Copied)

    async def take(self) -> NamespacePoint | None:
        """Copy everything; return what it is, None where no log is stored.

        Raises:
            CorruptionError: an object is missing or damaged; names it.
            TimeoutError: the namespace changes faster than it can be copied.
            ParqueDBError: a store refused, or did not answer.
        """
        state: State | None = await self._state()
        copies = await self.archive.copies(self.namespace)
        for _ in range(REBASES_MAX):
            if state is None:
                return None
            try:
                return state.point(await self._copy(state, copies))
            except _Moved as moved:
                state = moved.state
        raise NoAnswerError(f"namespace {self.namespace!r} changes faster than it can be copied")

    async def _state(self) -> State | None:
        prefix = namespace_prefix(self.namespace)
        opener = Opener(self.source, self.namespace, prefix, self.settings, clock=self.clock, rng=self.rng)
        chain = await opener.load()
        return State.of(self.namespace, chain) if chain.tail else None

    async def _copy(self, state: State, copies: dict[str, int]) -> list[Reference]:
        pieces = state.pieces.values()
        sizes = sum(piece.size or 0 for piece in pieces)
        meter = Progress(self.namespace, 0, len(pieces), 0, sizes)
        found: list[Reference] = []

        async def take(piece: Piece) -> None:
            reference = await self._take(state, piece, copies)
            found.append(reference)
            meter.count(reference.size, piece.size)
            if self.progress is not None:
                self.progress(replace(meter))

        await each(take, pieces, self.transfers.parallel)
        return found

    async def _take(self, state: State, piece: Piece, copies: dict[str, int]) -> Reference:
        """Copy one object, unless its copy is there."""
        key = namespace_prefix(self.namespace) + piece.key
        data, expected = piece.data, piece.checksum
        try:
            if expected is None:
                data = await self.transfers.read(self.source, key)
                state.check_fence(piece.key, key, data)
                expected = checksum(data)
            name = stored_name(piece.key, expected)
            if name in copies:
                reference = Reference(piece.key, copies[name], expected)
                self._check_size(reference, piece.size)
                return reference
            at = self.archive.key_of(self.namespace, Reference(piece.key, 0, expected))
            if data is None:
                size = await self.transfers.copy(self.source, key, self.archive.storage, at, expected)
            else:
                size = len(data)
                await self.transfers.create(self.archive.storage, at, data)
        except ObjectNotFoundError as error:
            raise await self._explained(piece, error) from error
        self.copied.objects += 1
        self.copied.bytes += size
        copies[name] = size
        return Reference(piece.key, size, expected)

    def _check_size(self, reference: Reference, size: int | None) -> None:
        if size is not None and reference.size != size:
            key = self.archive.key_of(self.namespace, reference)
            raise CorruptionError(key=key, reason=f"{reference.size} bytes instead of {size}; remove it and go on")

    async def _explained(self, piece: Piece, error: ObjectNotFoundError) -> Exception:
        """Return why an object is not there: the state has moved on without it, or it is lost."""
        if error.key is None or not error.key.startswith(namespace_prefix(self.namespace)):
            return error  # It is the archive that lacks something.
        state = await self._state()
        if state is None:
            return CollectionNotFoundError(namespace=self.namespace)
        if piece.key not in state.pieces:
            return _Moved(state)
        return CorruptionError(key=error.key, reason="missing, though the state of the namespace needs it")


class Backup:
    """Takes one backup of some namespaces.

    Args:
        source: The database's storage.
        settings: Of its owners.
        archive: Where the backup goes.
        transfers: Moves objects.
        clock: Tells and measures time, waits.
        rng: See `NamespaceBackup`.
        progress: Told how far it is.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        source: StorageBackend,
        settings: EngineSettings,
        archive: Archive,
        transfers: Transfers,
        *,
        clock: Clock,
        rng: random.Random,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._source = ReadOnlyBackend(source)
        self._settings = settings
        self._archive = archive
        self._transfers = transfers
        self._clock = clock
        self._rng = rng
        self._progress = progress
        self.copied = Copied()

    async def take(self, namespaces: Sequence[str], source: str, *, required: bool = True) -> Catalogue:
        """Copy namespaces and make a point of them.

        Args:
            namespaces: Their names.
            source: URL of the database, for the catalogue.
            required: Whether it is an error that nothing is stored of one of them.

        Raises:
            CollectionNotFoundError: nothing is stored of one of them, or of all.
            CorruptionError: an object is missing or damaged; names it.
            ConflictError: somebody removes old points at this moment.
            TimeoutError: it took longer than `WORK_MAX_S`, or a namespace changes too fast.
            ParqueDBError: a store refused, or did not answer.
        """
        begun = self._clock.now()
        point, began_s = point_name(begun), self._clock.boot_s()
        mark = await self._archive.mark(BACKUP, point)
        try:
            await self._wait_for_pruning()
            taken: list[NamespacePoint] = []

            async def take(name: str) -> None:
                one = await self._take(name)
                if one is not None:
                    taken.append(one)
                elif required:
                    raise CollectionNotFoundError(namespace=name)

            await each(take, dict.fromkeys(namespaces), NAMESPACES_AT_ONCE)
            if not taken:
                raise CollectionNotFoundError("no namespace is stored in this database")
            taken.sort(key=lambda one: one.namespace)
            catalogue = Catalogue(point, begun, self._clock.now(), source, tuple(taken))
            await self._check_mark(mark, began_s)
            await self._archive.add(catalogue)
            try:
                await self._check_mark(mark, began_s)
            except NoAnswerError:
                await self._archive.remove(point)
                raise
            return catalogue
        finally:
            await asyncio.shield(self._archive.unmark(mark))

    async def _take(self, namespace: str) -> NamespacePoint | None:
        one = NamespaceBackup(
            self._source,
            namespace,
            self._settings,
            self._archive,
            self._transfers,
            self._clock,
            self._rng,
            self._progress,
            self.copied,
        )
        return await one.take()

    async def _wait_for_pruning(self) -> None:
        """Wait until nobody prunes who has not seen our mark: what is being removed must not be relied upon."""
        for _ in range(_PAUSES_MAX):
            if not await self._archive.marks(PRUNE):
                return
            await self._clock.sleep(_PAUSE_S)
        raise ConflictError("old points of this backup are being removed by somebody; try again later")

    async def _check_mark(self, mark: str, began_s: float) -> None:
        if self._clock.boot_s() - began_s >= WORK_MAX_S or not await self._archive.is_marked(mark):
            message = f"the backup took longer than {WORK_MAX_S / 3600:.0f} hours; what was copied is kept, begin anew"
            raise NoAnswerError(message, timeout_s=WORK_MAX_S)

"""Backups of namespaces in stores that tests choose, and what a namespace tells of itself, to compare."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.clock import Clock, SystemClock
from parquedb.errors import EventNotFoundError, ObjectNotFoundError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.backup.archive import Archive
from parquedb.storage.backup.backup import Backup
from parquedb.storage.backup.catalogue import Catalogue, NamespacePoint
from parquedb.storage.backup.inspection import Inspection, inspect
from parquedb.storage.backup.renaming import Renaming
from parquedb.storage.backup.restore import Restore
from parquedb.storage.backup.transfer import Transfers
from tests.support.engines import NAMESPACE, inline, opened, run, settings

SOURCE = "/data"


def transfers(clock: Clock | None = None, parallel: int = 4) -> Transfers:
    return Transfers(clock or SystemClock(), random.Random(1), parallel)


def archive(store: StorageBackend, clock: Clock | None = None, parallel: int = 4) -> Archive:
    return Archive(store, transfers(clock, parallel))


async def take(  # noqa: PLR0913 - what a test may want to choose
    source: StorageBackend,
    store: StorageBackend,
    *,
    clock: Clock | None = None,
    namespaces: Sequence[str] = (NAMESPACE,),
    parallel: int = 4,
    progress: Any = None,
    **changes: Any,
) -> tuple[Catalogue, Backup]:
    """Take a backup; return its catalogue, and who made it."""
    clock = clock or SystemClock()
    moves = transfers(clock, parallel)
    made = Backup(
        source,
        settings(**changes),
        Archive(store, moves),
        moves,
        clock=clock,
        rng=random.Random(2),
        progress=progress,
    )
    return await made.take(namespaces, SOURCE), made


async def put_back(  # noqa: PLR0913 - as above
    store: StorageBackend,
    target: StorageBackend,
    *,
    point: str = "latest",
    namespaces: Sequence[str] = (),
    clock: Clock | None = None,
    parallel: int = 4,
    progress: Any = None,
) -> tuple[NamespacePoint, ...]:
    """Restore a point."""
    moves = transfers(clock, parallel)
    place = Archive(store, moves)
    catalogue = await place.catalogue(await place.find(point))
    made = Restore(place, target, moves, progress=progress)
    restored = await made.check(catalogue, namespaces)
    await made.restore()
    return restored


async def put_back_as(
    store: StorageBackend, target: StorageBackend, name: str, *, point: str = "latest", clock: Clock | None = None
) -> NamespacePoint:
    """Restore the one namespace of a point under another name."""
    moves = transfers(clock)
    place, staged = Archive(store, moves), Archive(MemoryBackend(), moves)
    catalogue = await place.catalogue(await place.find(point))
    [namespace] = catalogue.namespaces
    made = await Renaming(place, namespace, name, staged, moves, inline).run()
    restore = Restore(staged, target, moves)
    await restore.check(replace(catalogue, namespaces=(made,)))
    await restore.restore()
    return made


async def inspected(store: StorageBackend) -> Inspection:
    """Look at every point of an archive."""
    place = archive(store)
    return await inspect(place, transfers(), await place.points())


async def contents(store: StorageBackend, prefix: str = "") -> dict[str, bytes]:
    """Return everything that is stored, by key."""
    found: dict[str, bytes] = {}
    after, more = None, True
    while more:
        page = await store.list(prefix, after=after)
        for info in page.objects:
            found[info.key] = await store.read(info.key)
        more, after = page.more, page.objects[-1].key if page.objects else None
    return found


async def told(
    store: StorageBackend, ids: Sequence[str], *, clock: Clock | None = None, namespace: str = NAMESPACE, **changes: Any
) -> dict[str, Any]:
    """Open a namespace and return its documents, its feed and the history of some documents."""
    async with opened(store, clock=clock, seed=99, namespace=namespace, **changes) as owner:
        items = (await run(owner, "find", include_deleted=True, limit=1000))["items"]
        feed = await _feed(owner)
        histories = {id_: (await run(owner, "history", id_))["changes"] for id_ in ids}
        return {
            "documents": {one["$id"].partition("/")[2]: one for one in items},
            "feed": feed,
            "histories": histories,
        }


async def _feed(owner: NamespaceEngine) -> list[Any]:
    feed: list[Any] = []
    after = 0
    while True:
        try:
            found = (await run(owner, "changes", after=after, limit=1000))["changes"]
        except EventNotFoundError as error:
            after = error.oldest - 1  # What is older is not kept any more.
            continue
        if not found:
            return feed
        feed.extend(found)
        after = found[-1][0]


class Slow(DelegatingBackend):
    """A store whose answers take long, so that a backup sees the namespace change below its hands.

    Attributes:
        vanished: Reads of objects that were collected on the way.
    """

    def __init__(self, inner: StorageBackend, clock: Clock, rng: random.Random) -> None:
        super().__init__(inner)
        self._clock = clock
        self._rng = rng
        self.vanished: list[str] = []

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        await self._clock.sleep(self._rng.uniform(0.1, 0.5))
        return await super().read(key, timeout_s=timeout_s)

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        await self._clock.sleep(self._rng.uniform(5, 40))
        try:
            return await super().read_range(key, start, length, timeout_s=timeout_s)
        except ObjectNotFoundError:
            self.vanished.append(key)
            raise

    async def list(self, prefix: str, **more: Any) -> Any:
        await self._clock.sleep(self._rng.uniform(0.1, 0.5))
        page = await super().list(prefix, **more)
        await self._clock.sleep(self._rng.uniform(0.1, 0.5))
        return page

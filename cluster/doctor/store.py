"""Checks of a store, with objects of a scratch folder: may we, and does it keep what the commit protocol rests on?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from parquedb.cluster.doctor.checks import Check, Patient, failed, ok, skipped, warning
from parquedb.errors import AlreadyExistsError, ParqueDBError
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.keys import PROBE_FOLDER
from parquedb.storage.open import open_backend

NAMES: Final = (
    *("disk-space", "store-open", "store-list", "store-create", "store-read", "store-conditions"),
    *("store-listing", "clock-store", "store-checksum", "store-delete"),
)
RACES: Final = 4
OFFSET_FINE_S: Final = 5.0
OFFSET_MAX_S: Final = 60.0
GIB: Final = 1 << 30
SPACE_LEAST: Final = GIB // 4
SPACE_ENOUGH: Final = 2 * GIB
SPACE_SHARE: Final = 0.05


def store(patient: Patient) -> Iterator[Check]:
    """Check the store of the database; leaves nothing behind."""
    settings = patient.settings
    if settings is None or settings.is_gateway or settings.url.startswith("memory:"):
        why = "its settings cannot be read" if settings is None else "the database is behind a gateway"
        if settings is not None and not settings.is_gateway:
            why = "memory:// is stored nowhere" if patient.has_url else "no URL is given"
        yield from (skipped(name, why) for name in NAMES)
        return
    folder = local_folder(settings.url)
    yield skipped("disk-space", "the store keeps that to itself") if folder is None else disk_space(folder)
    made = StoreChecks(patient, settings)
    with _as_it_was(folder, made.scratch):
        # A loop of our own, and each check asked for by itself: whoever waits for one of them may stop waiting.
        loop = asyncio.new_event_loop()
        checks = made.run()
        try:
            while (check := loop.run_until_complete(_next(checks))) is not None:
                yield check
        finally:
            loop.run_until_complete(checks.aclose())
            loop.close()


async def _next(checks: AsyncIterator[Check]) -> Check | None:
    return await anext(checks, None)


class StoreChecks:
    """The checks that need the store opened.

    Args:
        patient: What is looked at.
        settings: Of the database.
        open_: Opens its store.

    Attributes:
        scratch: The folder, relative to the database, below which everything goes.
    """

    def __init__(
        self, patient: Patient, settings: Settings, open_: Callable[[Settings], StorageBackend] = open_backend
    ) -> None:
        self._patient = patient
        self._settings = settings
        self._open = open_
        self.scratch = f"{PROBE_FOLDER}/{uuid.uuid4().hex}"
        self._made: list[str] = []

    async def run(self) -> AsyncGenerator[Check, None]:
        """Yield the checks; after the first that fails for good the others are skipped."""
        left = list(NAMES[1:])
        backend = None
        try:
            try:
                backend = self._open(self._settings)
            except ParqueDBError as error:
                yield failed(left.pop(0), str(error))
            else:
                yield ok(left.pop(0), self._settings.url)
                async for check in self._steps(backend):
                    left.remove(check.name)
                    yield check
            for name in left:
                yield skipped(name, "what comes before it does not work")
        finally:
            if backend is not None:
                await self._tidy(backend)

    async def _steps(self, backend: StorageBackend) -> AsyncIterator[Check]:
        limit_s = self._patient.timeout_s
        steps = (
            ("store-list", self._list),
            ("store-create", self._create),
            ("store-read", self._read),
            ("store-conditions", self._race),
            ("store-listing", self._listing),
            ("clock-store", self._clock),
            ("store-checksum", self._checksum),
            ("store-delete", self._delete),
        )
        for name, step in steps:
            try:
                async with asyncio.timeout(limit_s):
                    yield await step(backend)
            except TimeoutError:
                yield failed(name, f"no answer within {limit_s:g} s")
                return
            except ParqueDBError as error:
                yield failed(name, str(error))
                if name in {"store-list", "store-create", "store-read"}:
                    return

    async def _list(self, backend: StorageBackend) -> Check:
        page = await backend.list("", limit=1)
        return ok("store-list", "something is stored" if page.objects else "it is empty")

    async def _create(self, backend: StorageBackend) -> Check:
        key = self._key("a")
        await backend.create(key, key.encode())
        return ok("store-create", "an object can be stored")

    async def _read(self, backend: StorageBackend) -> Check:
        key = f"{self.scratch}/a"
        if await backend.read(key) != key.encode():
            return failed("store-read", "what was read is not what was stored")
        return ok("store-read", "it comes back as it was stored")

    async def _race(self, backend: StorageBackend) -> Check:
        for turn in range(RACES):
            key = self._key(f"race{turn}")
            rivals = [key.encode() + str(number).encode() for number in range(2)]
            answers = await asyncio.gather(*(backend.create(key, rival) for rival in rivals), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, AlreadyExistsError):
                    raise answer
            won = [
                rival for rival, answer in zip(rivals, answers, strict=True) if not isinstance(answer, BaseException)
            ]
            if len(won) != 1:
                word = "both were told that they had made it" if won else "none was told that it had made it"
                return failed("store-conditions", f"of two creates of one object at the same time {word}")
            if await backend.read(key) != won[0]:
                return failed("store-conditions", "the create that was refused has overwritten the other one")
        return ok("store-conditions", f"of two creates at the same time one wins ({RACES} tries)")

    async def _listing(self, backend: StorageBackend) -> Check:
        keys = sorted(self._key(name) for name in ("b", "a-2", "a-1"))
        for key in keys:
            await backend.create(key, b"doctor")
        page = await backend.list(f"{self.scratch}/")
        found = [info.key for info in page.objects]
        if missing := [key for key in sorted(self._made) if key not in found]:
            return failed("store-listing", f"{len(missing)} of {len(self._made)} objects are not in it")
        if found != sorted(found):
            return failed("store-listing", "it is not in order")
        return ok("store-listing", "it shows what was just stored, in order")

    async def _clock(self, backend: StorageBackend) -> Check:
        if backend.name == "local":
            key = self._key("clock")
            info = await backend.create(key, b"doctor")
            theirs_s = info.modified_s or 0.0
        else:
            theirs_s = (await backend.list(f"{self.scratch}/", limit=1)).server_s
        return judge_offset(self._patient.clock.now().timestamp() - theirs_s)

    async def _checksum(self, backend: StorageBackend) -> Check:
        if await backend.verifies_uploads(self._key("damaged")):
            return ok("store-checksum", "what was damaged on its way is refused")
        return failed("store-checksum", "what was damaged on its way was stored")

    async def _delete(self, backend: StorageBackend) -> Check:
        for key in self._made:
            await backend.delete(key)
        left = (await backend.list(f"{self.scratch}/")).objects
        if left:
            return failed("store-delete", f"{len(left)} objects are still there")
        self._made.clear()
        return ok("store-delete", "what was stored is gone again")

    def _key(self, name: str) -> str:
        key = f"{self.scratch}/{name}"
        self._made.append(key)
        return key

    async def _tidy(self, backend: StorageBackend) -> None:
        with contextlib.suppress(ParqueDBError, TimeoutError):
            async with asyncio.timeout(self._patient.timeout_s):
                for key in self._made:
                    with contextlib.suppress(ParqueDBError):
                        await backend.delete(key)
        await backend.close()


def judge_offset(offset_s: float) -> Check:
    """Judge by how much this machine's clock is ahead of the store's, in seconds."""
    way = "ahead of" if offset_s > 0 else "behind"
    found = f"this machine is {abs(offset_s):.1f} s {way} the store"
    if abs(offset_s) > OFFSET_MAX_S:
        return failed("clock-store", found)
    return warning("clock-store", found) if abs(offset_s) > OFFSET_FINE_S else ok("clock-store", found)


def local_folder(url: str) -> Path | None:
    """Return the directory that a URL names; None for another kind of store."""
    if url.startswith("s3:"):
        return None
    path = unquote(urlsplit(url).path) if url.startswith("file:") else url
    return Path(path).expanduser().absolute()


def disk_space(folder: Path) -> Check:
    """Judge the space of the disk on which a directory lies, or would."""
    there = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    try:
        usage = shutil.disk_usage(there)
    except OSError as error:
        return failed("disk-space", f"{there}: {error.strerror}")
    return judge_space(usage.total, usage.free)


def judge_space(total: int, free: int) -> Check:
    """Judge what is left of a disk, in bytes."""
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB are free"
    if free < SPACE_LEAST:
        return failed("disk-space", found)
    return ok("disk-space", found) if free >= min(SPACE_ENOUGH, total * SPACE_SHARE) else warning("disk-space", found)


@contextlib.contextmanager
def _as_it_was(folder: Path | None, scratch: str) -> Iterator[None]:
    """Remove what opening a directory makes in it, where it was not there, and the emptied scratch folder.

    The lock file stays where a database is: somebody may hold it by now.
    """
    missing: list[Path] = []
    before: set[str] = set()
    if folder is not None:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        with contextlib.suppress(OSError):
            before = set(os.listdir(folder))
    try:
        yield
    finally:
        if folder is not None:
            if not before:
                with contextlib.suppress(OSError):
                    (folder / "~lock").unlink()
            own = [folder / name for name in ("~tmp", PROBE_FOLDER) if name not in before]
            for made in (folder / scratch, *own, *missing):
                with contextlib.suppress(OSError):
                    made.rmdir()

"""Which files there are, and which rows of each count (rules L1 and L2 of `observability.worker_logs.files`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import CorruptionError, ObjectNotFoundError
from parquedb.observability.worker_logs.files import Leaf, LogFile, hour_folder, leaves_of, parse_key
from parquedb.observability.worker_logs.storage import LogStorage

FOOTER_BYTES: Final = 65_536
"""Read from the end of a file at first; a longer footer takes a second read."""

FOOTERS_KEPT: Final = 512
READS_AT_ONCE: Final = 8

RELISTS_MAX: Final = 20
"""Times that an hour is listed because merges went on while it was read."""

_LISTINGS_MAX: Final = 8
_TRAILER_BYTES: Final = 8
_MAGIC: Final = b"PAR1"


@dataclass(frozen=True, slots=True)
class Part:
    """A run of rows in a file that belong to one leaf.

    Attributes:
        leaf: The leaf.
        start: Its first row in the file, from 0.
    """

    leaf: Leaf
    start: int


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of which some rows count.

    Attributes:
        file: The file.
        parts: The leaves of it that count, in the order of their rows.
        leaves: All leaves of it.
    """

    file: LogFile
    parts: tuple[Part, ...]
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class Hour:
    """The files of one hour.

    Attributes:
        live: Those that count, by name.
        superseded: Those that may be deleted, by name.
    """

    live: tuple[LiveFile, ...]
    superseded: tuple[LogFile, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of some hours, by hour and name.

    Attributes:
        files: The files.
        server_s: When the listing began, Unix seconds by the store's clock.
    """

    files: tuple[LogFile, ...]
    server_s: float

    def by_hour(self) -> dict[int, list[LogFile]]:
        """Return the files of each hour, hours ascending."""
        return {hour: list(files) for hour, files in groupby(self.files, attrgetter("hour"))}


class LogCatalog:
    """Lists the files of a data set and reads their footers. Lives on one event loop.

    Args:
        storage: Where they are.
        folder: Of the data set, empty or ending in `/`.
    """

    def __init__(self, storage: LogStorage, folder: str) -> None:
        self.storage = storage
        self.folder = folder
        self._footers: OrderedDict[str, pq.FileMetaData] = OrderedDict()

    async def listing(self, first: int | None = None, last: int | None = None) -> Listing:
        """List the files of the hours from `first` to `last`, both inclusive; None is open."""
        found = await self._list(first, last)
        if self.storage.name != "local":
            # In ascending order a merged file comes behind its sources: if they went before the listing came to them,
            # it shows the file that they went for.
            return found
        # A directory is read in no order: sources may be gone already and their merged file not be there yet. Nothing
        # was missed if the next listing shows no merged file that this one does not.
        for _ in range(_LISTINGS_MAX):
            later = await self._list(first, last)
            known = {file.name for file in found.files}
            if all(file.name in known for file in later.files if file.generation):
                break
            found = later
        return found

    async def is_short(self) -> bool:
        """Whether one page of a listing shows all files."""
        return not (await self.storage.list(self.folder)).more

    async def _list(self, first: int | None, last: int | None) -> Listing:
        files: list[LogFile] = []
        # "/" sorts before everything in the folder.
        after = None if first is None else f"{self.folder}{hour_folder(first)}/"
        began_s: float | None = None
        while True:
            page = await self.storage.list(self.folder, after=after)
            began_s = page.server_s if began_s is None else began_s
            for info in page.objects:
                file = parse_key(info.key, info.size, info.modified_s or 0.0)
                if file is None or not info.key.startswith(f"{self.folder}{hour_folder(file.hour)}/"):
                    continue
                if last is not None and file.hour > last:
                    return Listing(tuple(sorted(files)), began_s)
                files.append(file)
            if not page.more or not page.objects:
                return Listing(tuple(sorted(files)), began_s)
            after = page.objects[-1].key

    async def resolve(self, files: Sequence[LogFile]) -> Hour:
        """Return which files of one hour count, and with which rows.

        Raises:
            ObjectNotFoundError: one has been superseded and deleted since the listing; list again.
            CorruptionError: the footer of one cannot be read.
        """
        merged = [file for file in files if file.generation]
        footers = dict(zip(merged, await self._each(merged), strict=True))
        claimed: set[str] = set()
        live: list[LiveFile] = []
        superseded: list[LogFile] = []
        for file in sorted(files, reverse=True):
            # The rows of a flushed file are known when it is read; it is one leaf whatever they are.
            leaves = leaves_of(file, footers[file]) if file.generation else (Leaf(file.name, -1, file.stored_s),)
            parts, start = [], 0
            for leaf in leaves:
                if leaf.name not in claimed:
                    parts.append(Part(leaf, start))
                start += leaf.rows
            claimed.update(leaf.name for leaf in leaves)
            if parts:
                live.append(LiveFile(file, tuple(parts), leaves))
            else:
                superseded.append(file)
        return Hour(tuple(reversed(live)), tuple(reversed(superseded)))

    async def attempts(self, files: Sequence[LogFile]) -> AsyncIterator[Hour]:
        """Yield what counts of one hour, and again as long as the caller asks for more because a file had gone.

        Args:
            files: Of the hour, as listed.

        Raises:
            ObjectNotFoundError: files went away faster than they could be listed.
            CorruptionError: the footer of one cannot be read.
        """
        for _ in range(RELISTS_MAX):
            with contextlib.suppress(ObjectNotFoundError):
                yield await self.resolve(files)
            hour = files[0].hour
            files = (await self.listing(hour, hour)).files
            if not files:
                return  # Expired.
        raise ObjectNotFoundError(
            f"the files of {hour_folder(hour)} went away {RELISTS_MAX} times while they were read"
        )

    async def _each(self, files: Iterable[LogFile]) -> list[pq.FileMetaData]:
        free = asyncio.Semaphore(READS_AT_ONCE)

        async def one(file: LogFile) -> pq.FileMetaData:
            async with free:
                return await self.footer(file)

        return list(await asyncio.gather(*map(one, files)))

    async def footer(self, file: LogFile) -> pq.FileMetaData:
        """Return the metadata of a file; those used last are kept.

        Raises:
            ObjectNotFoundError: it is not there any more.
            CorruptionError: it is no Parquet file.
        """
        kept = self._footers.get(file.key)
        if kept is None:
            kept = await self._read_footer(file)
            self.keep(file, kept)
        self._footers.move_to_end(file.key)
        return kept

    def keep(self, file: LogFile, metadata: pq.FileMetaData) -> None:
        """Remember the metadata of a file that was read whole."""
        self._footers[file.key] = metadata
        while len(self._footers) > FOOTERS_KEPT:
            self._footers.popitem(last=False)

    async def _read_footer(self, file: LogFile) -> pq.FileMetaData:
        length = min(file.bytes, FOOTER_BYTES)
        tail = await self.storage.read_range(file.key, file.bytes - length, length)
        if len(tail) < _TRAILER_BYTES or tail[-4:] != _MAGIC:
            raise CorruptionError(key=file.key, reason="it does not end like a Parquet file")
        wanted = int.from_bytes(tail[-_TRAILER_BYTES:-4], "little") + _TRAILER_BYTES
        if wanted > len(tail):
            if wanted > file.bytes:
                raise CorruptionError(key=file.key, reason="its footer is longer than the file")
            tail = await self.storage.read_range(file.key, file.bytes - wanted, wanted)
        return read_metadata(file, tail)


def read_metadata(file: LogFile, tail: bytes) -> pq.FileMetaData:
    """Return the metadata at the end of a file, of which `tail` holds at least the whole footer.

    Raises:
        CorruptionError: it is none.
    """
    try:
        return pq.read_metadata(pa.BufferReader(tail))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptionError(key=file.key, reason="its footer cannot be read", cause=error) from error

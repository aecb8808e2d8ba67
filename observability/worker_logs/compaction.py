"""Merging the many small files of an hour, and letting go of old rows. Safe to kill, and to run in several processes.

A merge stores one new file that holds the leaves of its sources; from that moment on it counts for them (rule L1). Then
the sources are deleted, as rule L2 allows. Whatever step it is killed at, readers see each row once, and the next run
deletes what is left over. Rows that are too old go by the same way, in a merge that leaves them out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from parquedb.errors import CorruptionError, InvalidInputError, ObjectNotFoundError
from parquedb.ids import UlidSource
from parquedb.observability.worker_logs.catalog import LiveFile, LogCatalog
from parquedb.observability.worker_logs.files import (
    GENERATION_MAX,
    HOUR_MICROS,
    SCHEMA,
    Leaf,
    LogFile,
    encode_table,
    file_name,
    hour_folder,
    hour_of,
)
from parquedb.observability.worker_logs.reader import LogReader

MERGED_BYTES_MAX: Final = 4 << 20
"""A file of more bytes is not merged any more, and the sources of one merge have no more together: owners merge as
well, and a merge holds some fifteen times as much in memory."""

MERGED_LEAVES_MAX: Final = 4_096
FILES_MIN: Final = 4

PUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """What a compaction, or a retention, did.

    Attributes:
        merged: Files that were replaced.
        made: Files that replace them.
        deleted: Files deleted: the replaced ones, left-overs of killed runs, and those of expired hours.
    """

    merged: int = 0
    made: int = 0
    deleted: int = 0

    def __add__(self, other: CompactionResult) -> CompactionResult:
        """Return what both did."""
        return CompactionResult(self.merged + other.merged, self.made + other.made, self.deleted + other.deleted)


class LogCompactor:
    """Merges and expires. Lives on one event loop.

    Args:
        catalog: The files.
        ids: Makes the names of new ones.
    """

    def __init__(self, catalog: LogCatalog, ids: UlidSource) -> None:
        self._catalog = catalog
        self._reader = LogReader(catalog)
        self._ids = ids

    async def compact(self, files_min: int = FILES_MIN) -> CompactionResult:
        """Merge the files of every hour that has at least `files_min` small ones.

        Raises:
            InvalidInputError: `files_min` is below 2.
            StorageError, OutcomeUnknownError: what failed; the next run goes on from there.
            CorruptionError: a file cannot be read; all hours but its own have been merged.
        """
        if files_min < 2:  # noqa: PLR2004 - one file is merged already
            raise InvalidInputError(f"expected files_min of at least 2, got {files_min}")
        done, broken = CompactionResult(), None
        for hour, files in (await self._catalog.listing()).by_hour().items():
            # Said by names alone: footers of a long past are not read each time.
            if len(files) < files_min and not (len(files) > 1 and any(file.generation for file in files)):
                continue
            try:
                done += await self._compact_hour(hour, files, files_min)
            except CorruptionError as error:
                broken = broken or error
        if broken is not None:
            raise broken
        return done

    async def _compact_hour(self, hour: int, files: Sequence[LogFile], files_min: int) -> CompactionResult:
        merged = made = deleted = 0
        async for found in self._catalog.attempts(files):
            try:
                batches = list(_batches(found.live, files_min))
                for batch in batches:
                    made += await self._merge(batch)
                    merged += len(batch)
            except ObjectNotFoundError:
                continue  # Another process is at this hour.
            if batches or found.superseded:
                deleted += await self._clean(hour)
            break
        return CompactionResult(merged, made, deleted)

    async def delete_before(self, cutoff: int) -> CompactionResult:
        """Delete the rows of events before `cutoff`, microseconds since 1970.

        Raises:
            StorageError, OutcomeUnknownError: what failed; the next run goes on from there.
        """
        merged = made = deleted = 0
        whole = cutoff // HOUR_MICROS - 1
        for hour, files in (await self._catalog.listing(None, hour_of(cutoff - 1))).by_hour().items():
            if hour <= whole:
                deleted += await self._delete(files)
                continue
            async for found in self._catalog.attempts(files):
                try:
                    for live in found.live:
                        if await self._begins_before(live, cutoff):
                            made += await self._merge([live], cutoff)
                            merged += 1
                except ObjectNotFoundError:
                    continue  # Another process is at this hour.
                deleted += await self._clean(hour)
                break
        return CompactionResult(merged, made, deleted)

    async def _merge(self, sources: Sequence[LiveFile], cutoff: int | None = None) -> int:
        """Store one file with the leaves of the sources; return how many were made: 1."""
        rows: dict[str, list[pa.Table]] = {}
        leaves: dict[str, Leaf] = {}
        for source in sources:
            leaves |= {part.leaf.name: part.leaf for part in source.parts}
            async for pieces in self._reader.pieces(source):
                for piece in pieces:
                    rows.setdefault(piece.part.leaf.name, []).append(piece.table)
        generation = 1 + max(source.file.generation for source in sources)
        key = f"{self._catalog.folder}{hour_folder(sources[0].file.hour)}/{file_name(generation, self._ids.next())}"
        data = await asyncio.to_thread(_merged, leaves, rows, cutoff)
        await self._catalog.storage.create(f"{key}.parquet", data, timeout_s=PUT_S)
        return 1

    async def _begins_before(self, live: LiveFile, cutoff: int) -> bool:
        moment = pa.scalar(cutoff, SCHEMA.field("event_time").type)
        async for pieces in self._reader.pieces(live, columns=["event_time"]):
            for piece in pieces:
                if pc.any(pc.less(piece.table.column("event_time"), moment)).as_py():
                    return True
        return False

    async def _clean(self, hour: int) -> int:
        async for found in self._catalog.attempts((await self._catalog.listing(hour, hour)).files):
            return await self._delete(found.superseded)
        return 0

    async def _delete(self, files: Sequence[LogFile]) -> int:
        for file in files:
            await self._catalog.storage.delete(file.key)
        return len(files)


def _batches(live: Sequence[LiveFile], files_min: int) -> Iterator[list[LiveFile]]:
    """Yield files to be merged with each other: small ones, within the limits of one merge."""
    batch: list[LiveFile] = []
    size = leaves = 0
    for each in live:
        if each.file.bytes >= MERGED_BYTES_MAX or each.file.generation >= GENERATION_MAX:
            continue
        if batch and (size + each.file.bytes > MERGED_BYTES_MAX or leaves + len(each.parts) > MERGED_LEAVES_MAX):
            if len(batch) >= files_min:
                yield batch
            batch, size, leaves = [], 0, 0
        batch.append(each)
        size += each.file.bytes
        leaves += len(each.parts)
    if len(batch) >= files_min:
        yield batch


def _merged(leaves: dict[str, Leaf], rows: dict[str, list[pa.Table]], cutoff: int | None) -> bytes:
    """Return the merged file, its leaves in the order of their names, which is that of their flushes."""
    tables, kept = [SCHEMA.empty_table()], []
    for name in sorted(leaves):
        table = pa.concat_tables(rows[name]) if name in rows else SCHEMA.empty_table()
        if cutoff is not None:
            moment = pa.scalar(cutoff, SCHEMA.field("event_time").type)
            table = table.filter(pc.greater_equal(table.column("event_time"), moment))
        tables.append(table)
        kept.append(Leaf(name, table.num_rows, leaves[name].stored_s))
    return encode_table(pa.concat_tables(tables).combine_chunks(), kept)

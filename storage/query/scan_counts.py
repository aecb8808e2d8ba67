"""What one query looked at: row groups and columns, documents asked one by one, and what was read from the store.

A snapshot carries the counts (`ScanSnapshot.counts`), so the scan adds to them where it looks; other queries pay for
one comparison. Reads of the store happen in tasks that several queries may share: they are counted for the query
that began them, by a context variable that such tasks inherit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from parquedb.storage.backend import Range, StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.files.data_file import ROW_GROUP_ROWS, DataFile

GroupName = tuple[str, int]
"""Key of a data file and number of a row group in it."""


@dataclass(slots=True)
class ScanCounts:
    """The counts of one query, added up while it runs.

    Attributes:
        looked_at: Row groups of which columns were decoded or found in memory, and the names of those columns.
        ruled_out: Row groups that their statistics ruled out.
        documents_tested: Documents that the filter was applied to one by one, those in memory included.
        storage_reads: Calls to the store.
        storage_bytes: Bytes that they returned.
    """

    looked_at: dict[GroupName, set[str]] = field(default_factory=dict)
    ruled_out: set[GroupName] = field(default_factory=set)
    documents_tested: int = 0
    storage_reads: int = 0
    storage_bytes: int = 0

    def look(self, key: str, group: int, columns: Iterable[str]) -> None:
        """Take note of columns of a row group that the query looks at."""
        self.looked_at.setdefault((key, group), set()).update(columns)


class ScanCost(NamedTuple):
    """What one query came to.

    Attributes:
        storage_reads: Calls to the store that it began.
        storage_bytes: Bytes that they returned.
        row_groups_scanned: Row groups of which it looked at columns.
        row_groups_skipped: Row groups that it did not have to look at; of files that it did not open, as many as their
            rows make.
    """

    storage_reads: int
    storage_bytes: int
    row_groups_scanned: int
    row_groups_skipped: int

    @classmethod
    def of(cls, counts: ScanCounts, files: Iterable[DataFile]) -> ScanCost:
        """Sum up the counts of a query that saw these files."""
        # Groups are numbered from 0.
        known: dict[str, int] = {}
        for key, number in (*counts.looked_at, *counts.ruled_out):
            known[key] = max(known.get(key, 0), number + 1)
        groups = sum(max(-(-file.rows // ROW_GROUP_ROWS), known.get(file.key, 0)) for file in files)
        scanned = len(counts.looked_at)
        return cls(counts.storage_reads, counts.storage_bytes, scanned, groups - scanned)

    @classmethod
    def sum(cls, costs: Iterable[ScanCost]) -> ScanCost:
        """Add up the costs of several queries."""
        return cls(*map(sum, zip(*costs, strict=True)))


_counting: ContextVar[ScanCounts | None] = ContextVar("parquedb_scan_counts", default=None)


@contextlib.contextmanager
def counting_reads(counts: ScanCounts) -> Iterator[ScanCounts]:
    """Count reads of the store that this task, or one that it starts, begins."""
    token = _counting.set(counts)
    try:
        yield counts
    finally:
        # A coroutine that nobody wants any more is closed wherever it is collected, which is another context.
        with contextlib.suppress(ValueError):
            _counting.reset(token)


class CountedReads(DelegatingBackend):
    """Counts what is read for the query under way."""

    def __init__(self, inner: StorageBackend) -> None:
        self.inner = inner  # And nothing else is asked of it: whoever can read will do.

    async def read(self, key: str, **limits: Any) -> bytes:
        """Forward and count."""
        return _counted(await self.inner.read(key, **limits))

    async def read_range(self, key: str, start: int, length: int, **limits: Any) -> bytes:
        """Forward and count."""
        return _counted(await self.inner.read_range(key, start, length, **limits))

    async def read_ranges(self, ranges: Sequence[Range], **limits: Any) -> Sequence[bytes]:
        """Forward and count, each part as a read."""
        return [_counted(part) for part in await self.inner.read_ranges(ranges, **limits)]


def _counted(data: bytes) -> bytes:
    counts = _counting.get()
    if counts is not None:
        counts.storage_reads += 1
        counts.storage_bytes += len(data)
    return data

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
from typing import Any

from parquedb.storage.backend import Range, StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend

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


_counting: ContextVar[ScanCounts | None] = ContextVar("parquedb_scan_counts", default=None)


@contextlib.contextmanager
def counting_reads(counts: ScanCounts) -> Iterator[ScanCounts]:
    """Count reads of the store that this task, or one that it starts, begins."""
    token = _counting.set(counts)
    try:
        yield counts
    finally:
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

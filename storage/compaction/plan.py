"""Which data files to merge next: decided from what the manifest says of them, without I/O.

Size-tiered: files of about one size are merged once there are enough of them, so that each row is rewritten about once
per tier, whatever the number of flushes. A file with many dead rows, or one that was loaded unsorted, is rewritten for
its own sake.

Source: O'Neil et al., "The Log-Structured Merge-Tree" (1996); Apache Cassandra, SizeTieredCompactionStrategy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

from pyroaring import BitMap

from parquedb.storage.files.data_file import DataFile

TIER_FACTOR = 4
"""How much larger the files of one tier are than those of the tier below."""

TIER_BYTES = 1 << 20
"""Files of fewer bytes are all of one tier."""

FILES_MAX = 64
"""Files merged at once; each keeps a decoded row group in memory."""

TIDY_DEAD_SHARE = 0.1
"""Share of dead rows from which a file is rewritten when somebody asked for compaction."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When files are worth merging.

    Attributes:
        files: So many of one tier are merged.
        dead_share: A larger share of dead rows makes a file worth rewriting.
        file_bytes: Wanted size of files; those of half of it are large enough.
        bytes_max: Files merged at once have at most so many bytes together, unless one alone has more.
    """

    files: int
    dead_share: float
    file_bytes: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be merged, and how many of its rows are live."""

    file: DataFile
    live: int

    @property
    def live_bytes(self) -> float:
        """Bytes of the file that its live rows account for."""
        return self.file.bytes * self.live / self.file.rows

    @property
    def dead_share(self) -> float:
        """Share of its rows that are dead."""
        return (self.file.rows - self.live) / self.file.rows


def candidates(files: Sequence[DataFile], dead: Mapping[str, BitMap]) -> list[Candidate]:
    """Return the files with the number of their live rows."""
    return [Candidate(file, file.rows - len(dead.get(file.key, ()))) for file in files]


def tier(live_bytes: float) -> int:
    """Return the tier of a file; 0 is the lowest."""
    return 0 if live_bytes <= TIER_BYTES else int(log(live_bytes / TIER_BYTES, TIER_FACTOR)) + 1


def tiers(found: Sequence[Candidate]) -> dict[int, int]:
    """Return the number of files in each tier, lowest first."""
    numbers = [tier(one.live_bytes) for one in found]
    return {number: numbers.count(number) for number in sorted(set(numbers))}


def choose(found: Sequence[Candidate], limits: Limits, *, thorough: bool = False) -> list[DataFile]:
    """Return the files to merge next; empty when it is not worth while.

    Args:
        found: What there is.
        limits: See `Limits`.
        thorough: Merge whatever makes fewer or tidier files; otherwise only what pays.
    """
    share = min(limits.dead_share, TIDY_DEAD_SHARE) if thorough else limits.dead_share
    spoiled = [one for one in found if one.dead_share > share or not one.file.sorted]
    small = sorted((one for one in found if one.live_bytes < limits.file_bytes / 2), key=lambda one: one.live_bytes)
    if spoiled:
        return _within([*spoiled, *(one for one in small if one not in spoiled)] if thorough else spoiled, limits)
    by_tier: dict[int, list[Candidate]] = {}
    for one in small:
        by_tier.setdefault(0 if thorough else tier(one.live_bytes), []).append(one)
    wanted = 2 if thorough else limits.files
    group = next((_within(group, limits) for group in by_tier.values() if len(group) >= wanted), [])
    return group if len(group) > 1 else []


def _within(wanted: Sequence[Candidate], limits: Limits) -> list[DataFile]:
    """Return the first of the files that may be merged at once."""
    taken: list[DataFile] = []
    size = 0
    for one in wanted[:FILES_MAX]:
        if taken and size + one.file.bytes > limits.bytes_max:
            break
        taken.append(one.file)
        size += one.file.bytes
    return taken

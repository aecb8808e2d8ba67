"""What a query has to look at: the snapshot, the row groups that statistics leave, their columns and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap

from parquedb.documents.filters import Predicate
from parquedb.storage.files.column_stats import ColumnStats
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.files.deletions import live_mask
from parquedb.storage.files.file_cache import Portion
from parquedb.storage.files.shred import Columns
from parquedb.storage.query.bits import Mask, to_mask
from parquedb.storage.query.pushdown import Facts, Rows, Verdict, bit_masks, masks, paths_of, texts_of, verdict
from parquedb.storage.query.scan_counts import ScanCounts
from parquedb.storage.together import together

_NO_ROWS: Final = np.zeros(0, np.int64)

_TEXT_THREADS: Final = 2
"""Threads that look at text, which takes long calls; numbers take short ones, and two would only wake each other."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScanSnapshot:
    """What one query sees. Taken without awaiting, so that its parts belong together.

    Attributes:
        files: The data files.
        dead: Dead rows by file key; never changed afterwards.
        memory: Documents that are in no live row of a file; never changed afterwards.
        source: Reads the files.
        counts: Takes note of what the query looks at; None where nobody asks.
    """

    files: tuple[DataFile, ...]
    dead: Mapping[str, BitMap]
    memory: Sequence[dict[str, Any]]
    source: DataFiles
    counts: ScanCounts | None = None

    @classmethod
    def of(cls, source: DataFiles, memory: Sequence[dict[str, Any]] = ()) -> ScanSnapshot:
        """Take the state as of now."""
        return cls(source.files, source.frozen_dead(), memory, source)


@dataclass(frozen=True, slots=True)
class Group:
    """One row group that has to be looked at."""

    file: DataFile
    number: int
    start: int
    stop: int


async def groups(snapshot: ScanSnapshot, predicate: Predicate, file: DataFile) -> list[Group]:
    """Return the row groups of a file that statistics do not rule out, in file order."""
    footer = await snapshot.source.cache.footer(file)
    tree, whole = predicate.filter, id_stats(snapshot, file)
    found = []
    for number in range(footer.groups):
        start, stop = footer.starts[number], footer.starts[number + 1]
        if footer.groups > 1:
            stats = {**footer.stats[number], ID_COLUMN: whole}
            if verdict(tree, Facts(stats, stop - start, file.residual_paths)) is Verdict.NONE:
                if snapshot.counts is not None:
                    snapshot.counts.ruled_out.add((file.key, number))
                continue
        found.append(Group(file, number, start, stop))
    return found


def id_stats(snapshot: ScanSnapshot, file: DataFile) -> ColumnStats:
    """Return the statistics of the `$id` column, full ids."""
    namespace = snapshot.source.namespace
    return ColumnStats("str", f"{namespace}/{file.id_min}", f"{namespace}/{file.id_max}", 0)


def file_verdict(snapshot: ScanSnapshot, predicate: Predicate, file: DataFile) -> Verdict:
    """Return how many rows of a file can pass."""
    stats = {**file.stats, ID_COLUMN: id_stats(snapshot, file)}
    return verdict(predicate.filter, Facts(stats, file.rows, file.residual_paths))


async def filter_columns(
    snapshot: ScanSnapshot, predicate: Predicate, group: Group, *more: str
) -> tuple[dict[str, pa.Array], list[str]] | None:
    """Return the columns that the filter needs and `more`, and the names of those it needs; None where no row passes.

    Text of few values may come as dictionary arrays, and a struct with those children only that the filter looks at,
    but for `more`; `shred.plain` makes dictionaries plain.
    """
    cache = snapshot.source.cache
    [found] = await cache.each(_portions(predicate, [group]))
    if found is None:
        return None
    columns, names = dict(found), list(found)
    if more:
        columns |= await cache.columns(group.file, group.number, dict.fromkeys(more))
    if snapshot.counts is not None:
        snapshot.counts.look(group.file.key, group.number, columns)
    return columns, names


async def each_group(
    snapshot: ScanSnapshot, predicate: Predicate, wanted: Sequence[Group], look: Callable[[Group, Columns], T]
) -> list[T | None]:
    """Return what `look` makes of each row group and the columns that the filter needs of it.

    All are read and decoded together. None stands for a row group without a passing row.
    """
    found = await snapshot.source.cache.each(_portions(predicate, wanted))

    def looked(part: slice) -> list[T | None]:
        pairs = zip(wanted[part], found[part], strict=True)
        return [None if columns is None else look(group, columns) for group, columns in pairs]

    some: Columns = next((columns for columns in found if columns is not None), {})
    threads = _TEXT_THREADS if any(_is_text(array.type) for array in some.values()) else 1
    size = max(1, -(-len(found) // threads))
    parts = [slice(first, first + size) for first in range(0, len(found), size)]
    looks = await together([snapshot.source.run(partial(looked, part)) for part in parts])
    return [one for part in looks for one in part]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_is_text(kind.field(at).type) for at in range(kind.num_fields))
    return bool(pa.types.is_string(kind))


def _portions(predicate: Predicate, wanted: Iterable[Group]) -> list[Portion]:
    """Return what the filter looks at in each row group."""
    paths, texts = paths_of(predicate.filter), texts_of(predicate.filter)
    typed, found = tuple(sorted(paths.values())), []
    for group in wanted:
        elsewhere = group.file.residual_paths
        residual = () if elsewhere.isdisjoint(paths) else (RESIDUAL_COLUMN,)
        certain = tuple((name, some) for name, some in texts.items() if name not in elsewhere)
        found.append(Portion(group.file, group.number, (*typed, *residual), certain))
    return found


def live_masks(predicate: Predicate, columns: Columns, group: Group, dead: BitMap | None) -> tuple[Mask, Mask]:
    """Return (may, must) of the live rows of a group; the same array twice where the columns tell all."""
    rows = Rows(columns, group.stop - group.start, group.file.residual_paths)
    may, must = masks(predicate.filter, rows)
    if not dead:
        return may, must
    live = live_mask(dead, group.start, group.stop)
    both = may & live
    return both, both if must is may else must & live


def count_live(
    snapshot: ScanSnapshot, predicate: Predicate, columns: Columns, group: Group
) -> tuple[int, npt.NDArray[np.int64]]:
    """Return how many live rows of a group surely pass, and the rows that the columns leave in doubt."""
    if snapshot.counts is not None:
        snapshot.counts.look(group.file.key, group.number, columns)
    rows = Rows(columns, group.stop - group.start, group.file.residual_paths)
    may, must = bit_masks(predicate.filter, rows)
    dead = snapshot.dead.get(group.file.key)
    doubt = None if must is may else pc.and_not(may, must)
    if dead:
        live = snapshot.source.live.bits(dead, group.start, group.stop)
        must, doubt = pc.and_(must, live), None if doubt is None else pc.and_(doubt, live)
    return must.true_count, _NO_ROWS if doubt is None else np.flatnonzero(to_mask(doubt))

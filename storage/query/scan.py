"""Queries over one consistent view: data files without their dead rows, and the documents not yet in a file.

Files and row groups are pruned by statistics, the filter is pushed down to decoded columns, dead rows are masked out,
and only rows that the columns leave in doubt become documents before they are counted. All CPU work goes through `run`,
at most `STEP_ROWS` rows at a time where rows become Python objects, so that the event loop keeps turning.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap

from parquedb.documents.budget import Budget
from parquedb.documents.filters import Predicate
from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.files.shred import Columns, plain
from parquedb.storage.query.pushdown import Verdict
from parquedb.storage.query.scan_plan import (
    Group,
    ScanSnapshot,
    count_live,
    each_group,
    file_verdict,
    filter_columns,
    groups,
    id_stats,
    live_masks,
)
from parquedb.storage.query.scan_rows import columns_for, passing, passing_in_memory, rows_of, steps

_GROUPS_AT_ONCE = 32
"""Row groups whose columns a count holds at the same time."""
_FIRST_ROUND_ROWS = 256

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Hits:
    """Rows of one group that may pass, with their full ids; `sure` ones need no predicate."""

    group: Group
    rows: npt.NDArray[np.int64]
    ids: pa.Array
    sure: Mask


@dataclass(frozen=True, slots=True)
class _Reader:
    """Makes hits into documents."""

    snapshot: ScanSnapshot
    predicate: Predicate
    fields: Iterable[str] | None
    budget: Budget

    async def passing(self, hits: _Hits, where: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return those at some positions of the hits that pass."""
        columns = await columns_for(self.snapshot, self.predicate, hits.group, self.fields)
        found: list[dict[str, Any]] = []
        for step in steps(where):
            documents = await rows_of(self.snapshot, hits.group, columns, hits.rows[step].tolist())
            kept = await passing(self.snapshot, self.predicate, documents, hits.sure[step])
            await self.hold(kept)
            found += kept
        return found

    async def hold(self, documents: Sequence[dict[str, Any]]) -> None:
        """Take note of documents that are kept for the answer."""
        for step in steps(documents):
            await self.snapshot.source.run(partial(self.budget.hold, step))


async def count(snapshot: ScanSnapshot, predicate: Predicate) -> int:
    """Return how many documents pass.

    Raises:
        CorruptionError: an object is missing, altered or not what the manifest says.
    """
    total = len(await passing_in_memory(snapshot, predicate, snapshot.memory))
    undecided = []
    for file in snapshot.files:
        whole = file_verdict(snapshot, predicate, file)
        if whole is Verdict.ALL:
            total += file.rows - len(snapshot.dead.get(file.key, ()))
        elif whole is Verdict.SOME:
            undecided.append(file)
    batch: list[Group] = []
    for file in undecided:
        batch += await groups(snapshot, predicate, file)
        while len(batch) >= _GROUPS_AT_ONCE:
            total += await _count_groups(snapshot, predicate, batch[:_GROUPS_AT_ONCE])
            batch = batch[_GROUPS_AT_ONCE:]
    return total + await _count_groups(snapshot, predicate, batch)


async def _count_groups(snapshot: ScanSnapshot, predicate: Predicate, wanted: Sequence[Group]) -> int:
    """Count in row groups: their columns come in together, and two threads look at them."""
    counted = await each_group(snapshot, predicate, wanted, partial(_counted, snapshot, predicate))
    total = 0
    for group, found in zip(wanted, counted, strict=True):
        if found is None:
            continue
        sure, doubt, columns = found
        total += sure
        # Only the columns that the filter looks at: the predicate asks for nothing else.
        if len(doubt):
            asked = {name: plain(array) for name, array in columns.items()}
            for step in steps(doubt.tolist()):
                total += len(await passing(snapshot, predicate, await rows_of(snapshot, group, asked, step)))
    return total


def _counted(
    snapshot: ScanSnapshot, predicate: Predicate, group: Group, columns: Columns
) -> tuple[int, npt.NDArray[np.int64], Columns]:
    sure, doubt = count_live(snapshot, predicate, columns, group)
    return sure, doubt, columns if len(doubt) else {}


async def find(  # noqa: PLR0913 - a query has this many parts
    snapshot: ScanSnapshot,
    predicate: Predicate,
    *,
    limit: int | None,
    after_id: str | None = None,
    fields: Iterable[str] | None = None,
    budget: Budget | None = None,
) -> list[dict[str, Any]]:
    """Return passing documents in ascending order of `$id`.

    Args:
        snapshot: What to look at. Documents of its memory are returned as they are, not copied.
        predicate: The filter.
        limit: At most so many; None for all.
        after_id: Only documents whose full `$id` is greater.
        fields: Top-level fields that the caller looks at; documents may come with more. None for all.
        budget: Bounds the documents returned; None for no bound.

    Raises:
        CorruptionError: an object is missing, altered or not what the manifest says.
        QueryMemoryError: the documents take more memory than allowed.
    """
    if limit is not None and limit <= 0:
        return []
    later = [one for one in snapshot.memory if after_id is None or one[ID_COLUMN] > after_id]
    memory = sorted(await passing_in_memory(snapshot, predicate, later), key=_id_of)[:limit]
    hits = await _hits(snapshot, predicate, limit, after_id, [_id_of(document) for document in memory])
    names = None if fields is None else (*fields, ID_COLUMN)
    reader = _Reader(snapshot, predicate, names, budget or Budget(sys.maxsize))
    await reader.hold(memory)
    stored = await _documents(reader, hits, limit)
    return list(heapq.merge(memory, stored, key=_id_of))[:limit]


async def _hits(
    snapshot: ScanSnapshot, predicate: Predicate, limit: int | None, after_id: str | None, best: list[str]
) -> list[_Hits]:
    """Return, per row group, the rows that may be among the first `limit`.

    Args:
        snapshot: What to look at.
        predicate: The filter.
        limit: As `find`.
        after_id: As `find`.
        best: Ids of passing documents, ascending, at most `limit`.
    """
    found: list[_Hits] = []
    for file in sorted(snapshot.files, key=lambda file: file.id_min):
        bounds = id_stats(snapshot, file)
        if after_id is not None and bounds.high <= after_id:
            continue
        if file_verdict(snapshot, predicate, file) is Verdict.NONE:
            continue
        # Once `limit` passing ids are known, none above the greatest of them can be in the answer.
        if limit is not None and len(best) >= limit and bounds.low > best[-1]:
            break
        for group in await groups(snapshot, predicate, file):
            until = best[-1] if limit is not None and len(best) >= limit else None
            needed = await filter_columns(snapshot, predicate, group, ID_COLUMN)
            if needed is None:
                continue
            dead = snapshot.dead.get(file.key)
            hits = await snapshot.source.run(
                partial(_group_hits, predicate, needed[0], group, dead, (after_id, until), limit)
            )
            if not len(hits.rows):
                continue
            found.append(hits)
            if limit is not None:
                sure = hits.ids.filter(pa.array(hits.sure)).to_pylist()
                best = heapq.nsmallest(limit, [*best, *sure])
                # A sorted file has nothing smaller in its later groups.
                if file.sorted and len(best) == limit and best[-1] <= hits.ids[len(hits.ids) - 1].as_py():
                    break
    return found


def _group_hits(  # noqa: PLR0913, PLR0917 - one unit of work for the executor
    predicate: Predicate,
    columns: Columns,
    group: Group,
    dead: BitMap | None,
    between: tuple[str | None, str | None],
    limit: int | None,
) -> _Hits:
    may, must = live_masks(predicate, columns, group, dead)
    ids, (after_id, until) = columns[ID_COLUMN], between
    if after_id is not None:
        may = may & pc.greater(ids, after_id).to_numpy(zero_copy_only=False)
    if until is not None:
        may = may & pc.less_equal(ids, until).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(may)
    if not group.file.sorted:
        rows = rows[pc.sort_indices(ids.take(pa.array(rows))).to_numpy()]
    sure = must[rows]
    if limit is not None:
        enough = int(np.searchsorted(np.cumsum(sure), limit))
        rows, sure = rows[: enough + 1], sure[: enough + 1]
    return _Hits(group, rows, ids.take(pa.array(rows)), sure)


async def _documents(reader: _Reader, hits: Sequence[_Hits], limit: int | None) -> list[dict[str, Any]]:
    """Return the passing documents of the hits, the first `limit` in order of `$id`."""
    if not hits:
        return []
    owner, at = await reader.snapshot.source.run(partial(_in_id_order, hits))
    found: list[dict[str, Any]] = []
    if limit is None or all(one.sure.all() for one in hits):
        owner, at = owner[:limit], at[:limit]
    begin, size = 0, len(owner) if limit is None else max(2 * limit, _FIRST_ROUND_ROWS)
    while begin < len(owner) and (limit is None or len(found) < limit):
        batch: list[dict[str, Any]] = []
        mine, where = owner[begin : begin + size], at[begin : begin + size]
        for number in np.unique(mine).tolist():
            batch += await reader.passing(hits[number], where[mine == number])
        found += sorted(batch, key=_id_of)
        # Each round decodes every file again if the cache is small, so there must not be many.
        begin, size = begin + size, size * 2
    return found[:limit]


def _in_id_order(hits: Sequence[_Hits]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return all hits in order of `$id`: which element of `hits`, and the position in it."""
    owner = np.repeat(np.arange(len(hits)), [len(one.rows) for one in hits])
    at = np.concatenate([np.arange(len(one.rows)) for one in hits])
    order = pc.sort_indices(pa.chunked_array([one.ids for one in hits])).to_numpy()
    return owner[order], at[order]


def _id_of(document: Mapping[str, Any]) -> str:
    return document[ID_COLUMN]  # type: ignore[no-any-return]  # `$id` of a document is text.

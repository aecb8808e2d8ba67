"""Queries over one consistent view: data files without their dead rows, and the documents not yet in a file.

Files and row groups are pruned by statistics, the filter is pushed down to decoded columns, dead rows are masked out,
and only rows that the columns leave in doubt become documents before they are counted. All CPU work goes through `run`,
at most `STEP_ROWS` rows at a time where rows become Python objects, so that the event loop keeps turning.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap

from parquedb.documents.filters import Predicate
from parquedb.storage.columns import ID_COLUMN, RESIDUAL_COLUMN
from parquedb.storage.data_file import DataFile
from parquedb.storage.pushdown import Verdict, fields_of
from parquedb.storage.scan_plan import Group, ScanSnapshot, file_verdict, filter_columns, groups, id_stats, live_masks
from parquedb.storage.select import Selection, select_fields
from parquedb.storage.shred import Columns

STEP_ROWS = 1_000
"""Rows made into documents, or documents asked one by one, per step."""

_FILES_AT_ONCE = 4
_FIRST_ROUND_ROWS = 256

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Hits:
    """Rows of one group that may pass, with their full ids; `sure` ones need no predicate."""

    group: Group
    rows: npt.NDArray[np.int64]
    ids: pa.Array
    sure: Mask


async def count(snapshot: ScanSnapshot, predicate: Predicate) -> int:
    """Return how many documents pass.

    Raises:
        CorruptionError: an object is missing, altered or not what the manifest says.
    """
    total = len(await _matching(snapshot, predicate, snapshot.memory))
    gate = asyncio.Semaphore(_FILES_AT_ONCE)

    async def one(file: DataFile) -> int:
        async with gate:
            return await _count_file(snapshot, predicate, file)

    tasks = [asyncio.ensure_future(one(file)) for file in snapshot.files]
    try:
        return total + sum(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()  # After the first error, or when the caller gives up, nobody wants the others.


async def find(
    snapshot: ScanSnapshot,
    predicate: Predicate,
    *,
    limit: int | None,
    after_id: str | None = None,
    fields: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Return passing documents in ascending order of `$id`.

    Args:
        snapshot: What to look at. Documents of its memory are returned as they are, not copied.
        predicate: The filter.
        limit: At most so many; None for all.
        after_id: Only documents whose full `$id` is greater.
        fields: Names or dotted paths to include, `$id` and `version` always; None for whole documents.

    Raises:
        CorruptionError: an object is missing, altered or not what the manifest says.
    """
    if limit is not None and limit <= 0:
        return []
    selection = None if fields is None else select_fields(fields)
    later = [one for one in snapshot.memory if after_id is None or one[ID_COLUMN] > after_id]
    memory = sorted(await _matching(snapshot, predicate, later), key=_id_of)[:limit]
    hits = await _hits(snapshot, predicate, limit, after_id, [_id_of(document) for document in memory])
    stored = await _documents(snapshot, predicate, hits, limit, selection)
    if selection is not None:
        memory = [selection(document) for document in memory]
    return list(heapq.merge(memory, stored, key=_id_of))[:limit]


async def _matching(
    snapshot: ScanSnapshot, predicate: Predicate, documents: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in _steps(documents):
        found += await snapshot.source.run(partial(_filtered, predicate, step))
    return found


def _filtered(predicate: Predicate, documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(filter(predicate.matches, documents))


async def _count_file(snapshot: ScanSnapshot, predicate: Predicate, file: DataFile) -> int:
    whole = file_verdict(snapshot, predicate, file)
    dead = snapshot.dead.get(file.key)
    if whole is Verdict.NONE:
        return 0
    if whole is Verdict.ALL:
        return file.rows - (len(dead) if dead else 0)
    total, source = 0, snapshot.source
    for group in await groups(snapshot, predicate, file):
        columns, names = await filter_columns(snapshot, predicate, group)
        may, must = await source.run(partial(live_masks, predicate, columns, group, dead))
        total += int(np.count_nonzero(must))
        # Only the columns that the filter looks at: the predicate asks for nothing else.
        for step in _steps(np.flatnonzero(may & ~must).tolist()):
            documents = await _rows(snapshot, group, {name: columns[name] for name in names if name in columns}, step)
            total += len(await source.run(partial(_filtered, predicate, documents)))
    return total


async def _rows(snapshot: ScanSnapshot, group: Group, columns: Columns, rows: Sequence[int]) -> list[dict[str, Any]]:
    return await snapshot.source.rows(group.file, columns, group.stop - group.start, rows)


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
            columns, _ = await filter_columns(snapshot, predicate, group, ID_COLUMN)
            dead = snapshot.dead.get(file.key)
            hits = await snapshot.source.run(
                partial(_group_hits, predicate, columns, group, dead, (after_id, until), limit)
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


async def _documents(
    snapshot: ScanSnapshot,
    predicate: Predicate,
    hits: Sequence[_Hits],
    limit: int | None,
    selection: Selection | None,
) -> list[dict[str, Any]]:
    """Return the passing documents of the hits, the first `limit` in order of `$id`."""
    if not hits:
        return []
    owner, at = await snapshot.source.run(partial(_in_id_order, hits))
    found: list[dict[str, Any]] = []
    begin, size = 0, len(owner) if limit is None else max(2 * limit, _FIRST_ROUND_ROWS)
    while begin < len(owner) and (limit is None or len(found) < limit):
        batch: list[dict[str, Any]] = []
        mine, where = owner[begin : begin + size], at[begin : begin + size]
        for number in np.unique(mine).tolist():
            batch += await _passing(snapshot, predicate, hits[number], where[mine == number], selection)
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


async def _passing(
    snapshot: ScanSnapshot,
    predicate: Predicate,
    hits: _Hits,
    where: npt.NDArray[np.int64],
    selection: Selection | None,
) -> list[dict[str, Any]]:
    names = None
    if selection is not None:
        names = dict.fromkeys([*selection.columns, *fields_of(predicate.filter), RESIDUAL_COLUMN])
    columns = await snapshot.source.cache.columns(hits.group.file, hits.group.number, names)
    found: list[dict[str, Any]] = []
    for step in _steps(where):
        documents = await _rows(snapshot, hits.group, columns, hits.rows[step].tolist())
        sure = hits.sure[step]
        if not sure.all():
            documents = await snapshot.source.run(partial(_checked, predicate, documents, sure.tolist()))
        found += documents if selection is None else await snapshot.source.run(partial(_selected, selection, documents))
    return found


def _checked(predicate: Predicate, documents: Sequence[dict[str, Any]], sure: Sequence[bool]) -> list[dict[str, Any]]:
    return [one for one, known in zip(documents, sure, strict=True) if known or predicate.matches(one)]


def _selected(selection: Selection, documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(map(selection, documents))


def _steps(items: Any) -> Iterator[Any]:
    for start in range(0, len(items), STEP_ROWS):
        yield items[start : start + STEP_ROWS]


def _id_of(document: Mapping[str, Any]) -> str:
    return document[ID_COLUMN]  # type: ignore[no-any-return]  # `$id` of a document is text.

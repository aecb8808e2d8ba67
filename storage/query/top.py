"""Sort and limit in one: the first documents of a sort order, without making a document of every row.

Each row group is put in order by its typed columns alone. Then only the rows that can still be among the first are
made into documents of the sort fields, asked where the filter left them in doubt, and held in a list of bounded length.
Rows whose sort fields are not in typed columns (arrays, documents, values of an unusual type) are looked at one by one.
The documents themselves are read when the winners are known.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquedb.documents.budget import Budget
from parquedb.documents.filters import Predicate
from parquedb.documents.sorting import Key, Sort
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN
from parquedb.storage.files.shred import Columns, plain
from parquedb.storage.query.pushdown import Rows, Verdict
from parquedb.storage.query.row_order import cannot_precede, leading, row_order, typed_columns
from parquedb.storage.query.scan_plan import (
    Group,
    ScanSnapshot,
    file_verdict,
    filter_columns,
    groups,
    id_stats,
    live_masks,
)
from parquedb.storage.query.scan_rows import STEP_ROWS, Document, passing, rows_of, steps

_FIRST_ROUND_ROWS = 128


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a candidate is: a row of a group, or a document in memory."""

    group: Group | None
    row: int
    document: Document | None = None


@dataclass(slots=True)
class _Best:
    """The first candidates so far, in order.

    Attributes:
        sort: The order.
        limit: How many are kept.
        after: Only candidates after this key count; None for all.
    """

    sort: Sort
    limit: int
    after: Key | None
    found: list[tuple[Key, _Place]] = field(default_factory=list)

    @property
    def worst(self) -> Key | None:
        """The key that a further candidate has to precede; None while there is room."""
        return self.found[-1][0] if len(self.found) >= self.limit else None

    def offer(self, group: Group | None, rows: Iterable[int], documents: Sequence[Document]) -> None:
        """Take in candidates; `documents` need only the sort fields unless they are from memory."""
        fresh = []
        worst = self.worst
        for row, document in zip(rows, documents, strict=True):
            key = self.sort.key(document)
            if (worst is None or key < worst) and (self.after is None or key > self.after):
                fresh.append((key, _Place(group, row, document if group is None else None)))
        if fresh:
            # Keys are never equal, so places are never compared. To the sort these are two runs to merge.
            self.found = sorted([*self.found, *sorted(fresh)])[: self.limit]


async def find_sorted(  # noqa: PLR0913 - a query has this many parts
    snapshot: ScanSnapshot,
    predicate: Predicate,
    sort: Sort,
    *,
    limit: int,
    skip: int = 0,
    after: Key | None = None,
    fields: Iterable[str] | None = None,
    budget: Budget | None = None,
) -> list[Document]:
    """Return passing documents in the order of `sort`.

    Args:
        snapshot: What to look at. Documents of its memory are returned as they are, not copied.
        predicate: The filter.
        sort: The order.
        limit: At most so many.
        skip: Leave out so many of the first; these are held in memory as well.
        after: Only documents whose sort key is greater.
        fields: Top-level fields that the caller looks at; documents may come with more. None for all.
        budget: Bounds the documents returned; None for no bound.

    Raises:
        CorruptionError: an object is missing, altered or not what the manifest says.
        QueryMemoryError: the documents take more memory than allowed.
    """
    best = _Best(sort, skip + limit, after)
    for step in steps(snapshot.memory):
        documents = await passing(snapshot, predicate, step)
        await snapshot.source.run(partial(best.offer, None, range(len(documents)), documents))
    for file in snapshot.files:
        if file_verdict(snapshot, predicate, file) is Verdict.NONE:
            continue
        ids = {ID_COLUMN: id_stats(snapshot, file)}
        if cannot_precede(sort, best.worst, {**file.stats, **ids}, file.residual_paths):
            continue
        stats = (await snapshot.source.cache.footer(file)).stats
        for group in await groups(snapshot, predicate, file):
            if not cannot_precede(sort, best.worst, {**stats[group.number], **ids}, file.residual_paths):
                await _offer_group(snapshot, predicate, group, best)
    names = None if fields is None else (*fields, *sort.columns)
    return await _documents(snapshot, [place for _, place in best.found[skip:]], names, budget)


async def _offer_group(snapshot: ScanSnapshot, predicate: Predicate, group: Group, best: _Best) -> None:
    """Take in the candidates of one row group."""
    run, sort = snapshot.source.run, best.sort
    residual = () if group.file.residual_paths.isdisjoint(sort.columns) else (RESIDUAL_COLUMN,)
    needed = await filter_columns(snapshot, predicate, group, *sort.columns, *residual)
    if needed is None:
        return
    columns, asked = needed
    dead = snapshot.dead.get(group.file.key)
    may, must = await run(partial(live_masks, predicate, columns, group, dead))
    if not may.any():
        return
    names = {*sort.columns, *residual}
    if must is not may:
        names |= set(asked)
    reader = _Candidates(
        snapshot, predicate, group, {name: plain(columns[name]) for name in names if name in columns}, must
    )
    # Where every row passes, no more than the first that fit in can count.
    first = best.limit if must is may and best.after is None else None
    typed, odd = await run(partial(_in_order, sort, columns, group, may, first))
    for step in steps(odd):
        rows, documents = await reader.passing(step)
        await run(partial(best.offer, group, rows, documents))
    begin = 0 if best.after is None else await reader.first_after(typed, sort, best.after)
    size, offered = min(max(best.limit, _FIRST_ROUND_ROWS), STEP_ROWS), 0
    while begin < len(typed) and offered < best.limit:
        rows, documents = await reader.passing(typed[begin : begin + size])
        worst = best.worst
        await run(partial(best.offer, group, rows, documents))
        # Rows come in order: once one is too late, all that follow are.
        if worst is not None and documents and sort.key(documents[-1]) > worst:
            return
        begin, size, offered = begin + size, STEP_ROWS, offered + len(documents)


def _in_order(
    sort: Sort, columns: Columns, group: Group, may: npt.NDArray[np.bool_], first: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows in order by their typed columns, and in any order those that these do not tell of.

    With `first`, rows that cannot be among so many of the ordered ones may be left out.
    """
    rows = Rows(columns, group.stop - group.start, group.file.residual_paths)
    arrays, odd = typed_columns(sort, rows)
    typed = np.flatnonzero(may & ~odd)
    if first is not None:
        typed = leading(sort, arrays, typed, first)
    return typed[row_order(sort, arrays, columns[ID_COLUMN], typed)], np.flatnonzero(may & odd)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Makes rows of one group into documents of the sort fields."""

    snapshot: ScanSnapshot
    predicate: Predicate
    group: Group
    columns: dict[str, pa.Array]
    must: npt.NDArray[np.bool_]

    async def passing(self, rows: npt.NDArray[np.int64]) -> tuple[list[int], Sequence[Document]]:
        """Return those of at most `STEP_ROWS` rows that pass."""
        documents = await rows_of(self.snapshot, self.group, self.columns, rows.tolist())
        sure = self.must[rows]
        if sure.all():
            return rows.tolist(), documents
        if self.snapshot.counts is not None:
            self.snapshot.counts.documents_tested += int(np.count_nonzero(~sure))
        matches = self.predicate.matches
        kept = await self.snapshot.source.run(
            lambda: [
                (row, one)
                for row, one, known in zip(rows.tolist(), documents, sure.tolist(), strict=True)
                if known or matches(one)
            ]
        )
        return [row for row, _ in kept], [one for _, one in kept]

    async def first_after(self, ordered: npt.NDArray[np.int64], sort: Sort, after: Key) -> int:
        """Return the position of the first of the ordered rows whose key is greater."""
        low, high = 0, len(ordered)
        while low < high:
            middle = (low + high) // 2
            [document] = await rows_of(self.snapshot, self.group, self.columns, [int(ordered[middle])])
            if sort.key(document) > after:
                high = middle
            else:
                low = middle + 1
        return low


async def _documents(
    snapshot: ScanSnapshot, places: Sequence[_Place], fields: Iterable[str] | None, budget: Budget | None
) -> list[Document]:
    """Return the documents at places, in their order."""
    documents: list[Document] = [place.document or {} for place in places]
    hold = (budget or Budget(sys.maxsize)).hold
    for step in steps([place.document for place in places if place.document is not None]):
        await snapshot.source.run(partial(hold, step))
    names = None if fields is None else dict.fromkeys([*fields, RESIDUAL_COLUMN])
    for group, members in _by_group(places):
        columns = await snapshot.source.cache.columns(group.file, group.number, names)
        if snapshot.counts is not None:
            snapshot.counts.look(group.file.key, group.number, columns)
        for step in steps(members):
            found = await rows_of(snapshot, group, columns, [places[at].row for at in step])
            await snapshot.source.run(partial(hold, found))
            for at, document in zip(step, found, strict=True):
                documents[at] = document
    return documents


def _by_group(places: Sequence[_Place]) -> Iterator[tuple[Group, list[int]]]:
    members: dict[tuple[str, int], tuple[Group, list[int]]] = {}
    for at, place in enumerate(places):
        if place.group is not None:
            members.setdefault((place.group.file.key, place.group.number), (place.group, []))[1].append(at)
    yield from members.values()

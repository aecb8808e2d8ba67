"""The last steps of a query: rows become documents, and those in doubt are asked.

At most `STEP_ROWS` at a time, off the event loop, so that it keeps turning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquedb.documents.filters import Predicate
from parquedb.storage.files.columns import RESIDUAL_COLUMN
from parquedb.storage.files.shred import Columns
from parquedb.storage.query.pushdown import Verdict, fields_of
from parquedb.storage.query.scan_plan import Group, ScanSnapshot, file_verdict, filter_columns, groups, live_masks

STEP_ROWS = 1_000
"""Rows made into documents, or documents asked one by one, per step."""

Document = dict[str, Any]


def steps(items: Any) -> Iterator[Any]:
    """Cut anything that can be sliced into pieces of `STEP_ROWS`."""
    for start in range(0, len(items), STEP_ROWS):
        yield items[start : start + STEP_ROWS]


async def passing_in_memory(
    snapshot: ScanSnapshot, predicate: Predicate, documents: Sequence[Document]
) -> list[Document]:
    """Return the documents that pass, however many are given."""
    found: list[Document] = []
    for step in steps(documents):
        found += await passing(snapshot, predicate, step)
    return found


async def passing(
    snapshot: ScanSnapshot,
    predicate: Predicate,
    documents: Sequence[Document],
    sure: npt.NDArray[np.bool_] | None = None,
) -> Sequence[Document]:
    """Return the documents of one step that pass; those that are `sure` to are not asked."""
    if snapshot.counts is not None:
        snapshot.counts.documents_tested += len(documents) if sure is None else int(np.count_nonzero(~sure))
    if sure is None:
        return await snapshot.source.run(lambda: list(filter(predicate.matches, documents)))
    if sure.all():
        return documents
    return await snapshot.source.run(partial(_checked, predicate, documents, sure.tolist()))


def _checked(predicate: Predicate, documents: Sequence[Document], sure: Sequence[bool]) -> list[Document]:
    return [one for one, known in zip(documents, sure, strict=True) if known or predicate.matches(one)]


async def stream(
    snapshot: ScanSnapshot, predicate: Predicate, fields: Iterable[str] | None
) -> AsyncIterator[Sequence[Document]]:
    """Yield all passing documents, a step at a time, in no particular order.

    Args:
        snapshot: What to look at. Documents of its memory are yielded as they are, not copied.
        predicate: The filter.
        fields: Top-level fields that the caller looks at; documents may come with more. None for all.

    Raises:
        CorruptionError: an object is missing, altered or not what the manifest says.
    """
    for step in steps(snapshot.memory):
        yield await passing(snapshot, predicate, step)
    for file in snapshot.files:
        if file_verdict(snapshot, predicate, file) is Verdict.NONE:
            continue
        dead = snapshot.dead.get(file.key)
        for group in await groups(snapshot, predicate, file):
            needed = await filter_columns(snapshot, predicate, group)
            if needed is None:
                continue
            may, must = await snapshot.source.run(partial(live_masks, predicate, needed[0], group, dead))
            rows = np.flatnonzero(may)
            if not len(rows):
                continue
            columns = await columns_for(snapshot, predicate, group, fields)
            for step in steps(rows):
                documents = await rows_of(snapshot, group, columns, step.tolist())
                yield await passing(snapshot, predicate, documents, must[step])


async def columns_for(
    snapshot: ScanSnapshot, predicate: Predicate, group: Group, fields: Iterable[str] | None
) -> dict[str, pa.Array]:
    """Return the columns that documents of a group are made of: top-level `fields`, None for all, and the filter's."""
    names = None if fields is None else dict.fromkeys([*fields, *fields_of(predicate.filter), RESIDUAL_COLUMN])
    columns = await snapshot.source.cache.columns(group.file, group.number, names)
    if snapshot.counts is not None:
        snapshot.counts.look(group.file.key, group.number, columns)
    return columns


async def rows_of(snapshot: ScanSnapshot, group: Group, columns: Columns, rows: Sequence[int]) -> list[Document]:
    """Return rows of a group as documents."""
    return await snapshot.source.rows(group.file, columns, group.stop - group.start, rows)

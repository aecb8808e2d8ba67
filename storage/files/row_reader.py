"""Reading some rows of a data file as documents, from columns in memory or from storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final

from parquedb.documents.budget import Budget, size_of
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.file_cache import FileCache, Portion
from parquedb.storage.files.object_cache import Run
from parquedb.storage.files.shred import Columns, unshred_columns

_INLINE_ROWS: Final = 32
_GROUPS_AT_ONCE: Final = 4
_STEP_ROWS: Final = 64

_Wanted = tuple[Portion, int, int, list[int]]
"""Columns of a row group, its first row and its end, and which of its rows."""


class RowReader:
    """Makes documents of rows.

    Args:
        cache: Where columns are.
        run: Runs CPU work off the event loop.
    """

    def __init__(self, cache: FileCache, run: Run) -> None:
        self._cache = cache
        self._run = run

    async def read(
        self, file: DataFile, rows: Sequence[int], names: Sequence[str] | None, budget: Budget | None
    ) -> dict[int, dict[str, Any]]:
        """Return the documents of some rows by their position.

        Args:
            file: Where they are.
            rows: Ascending.
            names: Top-level columns; None for all.
            budget: What the documents may take in memory, if that is bounded. It is passed by one step at most.

        Raises:
            CorruptionError: the file is missing or damaged.
            QueryMemoryError: the budget is spent.
        """
        if budget is not None:
            return await self._read_within(file, rows, names, budget)
        footer = await self._cache.footer(file)
        documents: dict[int, dict[str, Any]] = {}
        absent: list[_Wanted] = []
        for group, start, stop, inside in _by_group(rows, footer.starts):
            portion = Portion(file, group, footer.names if names is None else names)
            # Text may be at hand in either form, from queries of either kind.
            columns = self._cache.now(portion, dictionaries=True) or self._cache.now(portion, dictionaries=False)
            if columns is None:
                absent.append((portion, start, stop, inside))
                continue
            found = await self.documents(file, columns, stop - start, [row - start for row in inside])
            documents |= zip(inside, found, strict=True)
        # Few at once: a decoded group is large.
        for first in range(0, len(absent), _GROUPS_AT_ONCE):
            some = absent[first : first + _GROUPS_AT_ONCE]
            for (_, _, _, inside), found in zip(some, await self._decoded(file, some), strict=True):
                documents |= zip(inside, found, strict=True)
        return documents

    async def _read_within(
        self, file: DataFile, rows: Sequence[int], names: Sequence[str] | None, budget: Budget
    ) -> dict[int, dict[str, Any]]:
        documents: dict[int, dict[str, Any]] = {}
        for group, start, stop, inside in _by_group(rows, (await self._cache.footer(file)).starts):
            columns = await self._cache.columns(file, group, names)
            for at in range(0, len(inside), _STEP_ROWS):
                wanted = inside[at : at + _STEP_ROWS]
                found = await self.documents(file, columns, stop - start, [row - start for row in wanted])
                # Off the loop like the rows themselves; one document may have a million values.
                budget.spend(await self._run(partial(_size_of_all, found)))
                documents |= zip(wanted, found, strict=True)
        return documents

    async def _decoded(self, file: DataFile, wanted: Sequence[_Wanted]) -> list[list[dict[str, Any]]]:
        """Return rows of row groups that are not in memory."""
        columns = await self._cache.each([portion for portion, *_ in wanted])

        def made() -> list[list[dict[str, Any]]]:
            return [
                unshred_columns(found or {}, stop - start, [row - start for row in inside])
                for found, (_, start, stop, inside) in zip(columns, wanted, strict=True)
            ]

        try:
            return await self._run(made)
        except ValueError as error:
            raise self._cache.corruption(file.key, f"a residual cannot be read: {error}", error) from error

    async def documents(
        self, file: DataFile, columns: Columns, length: int, positions: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Return rows of decoded columns as documents; few at once here, many off the loop.

        Raises:
            CorruptionError: a residual of `file` cannot be read.
        """
        try:
            if len(positions) <= _INLINE_ROWS:
                return unshred_columns(columns, length, positions)
            return await self._run(lambda: unshred_columns(columns, length, positions))
        except ValueError as error:
            raise self._cache.corruption(file.key, f"a residual cannot be read: {error}", error) from error


def _by_group(rows: Sequence[int], starts: Sequence[int]) -> Iterator[tuple[int, int, int, list[int]]]:
    """Yield the row groups that hold some of `rows`: number, first row, end, and which."""
    for group, (start, stop) in enumerate(pairwise(starts)):
        inside = [row for row in rows if start <= row < stop]
        if inside:
            yield group, start, stop, inside


def _size_of_all(documents: Iterable[dict[str, Any]]) -> int:
    return sum(map(size_of, documents))

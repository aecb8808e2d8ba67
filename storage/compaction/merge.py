"""Merging data files column by column: live rows of several files, in order of `$id`, into files of a wanted size.

Nothing becomes a Python document unless files disagree about a column's type. Memory holds the objects as stored, the
ids once, and a bounded number of decoded row groups; each step makes one row group, so that the caller's executor is
never taken for long.

    begin       read the objects, drop what is dead, sort the ids
    next_file   row group by row group: gather, bring into one schema, write
    moved       where each row went
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.storage.compaction.merge_schema import Schema, common_schema, conform, full_columns
from parquedb.storage.compaction.moved import LEFT_OUT, Moved
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN, ColumnRegistry
from parquedb.storage.files.data_file import ROW_GROUP_ROWS, Built, DataFile
from parquedb.storage.files.data_files import DataFiles, bare_ids
from parquedb.storage.files.deletions import live_mask
from parquedb.storage.files.file_writer import FileWriter
from parquedb.storage.files.id_index import Hashes, IdIndex, hash_ids
from parquedb.storage.files.row_groups import Footer, decode_group, stored_schema

T = TypeVar("T")
Rows = npt.NDArray[np.int64]

GROUP_BYTES_MAX = 128 << 20
"""Decoded bytes of one row group, about: rows of large documents come in smaller groups."""

DECODED_BYTES_MAX = 256 << 20
"""Decoded row groups of the sources kept at the same time."""


@dataclass(slots=True)
class _Source:
    """One file to be merged.

    Attributes:
        live: Rows that are merged, ascending.
        index: The index of its ids, where it was in memory.
        hashes: Otherwise XXH3-64 of the bare id of each live row, one array for each row group.
    """

    file: DataFile
    data: bytes
    footer: Footer
    live: Rows
    index: IdIndex | None
    hashes: Sequence[Hashes] = ()

    def live_hashes(self) -> Hashes:
        """Return XXH3-64 of the bare id of each live row."""
        return np.concatenate(self.hashes) if self.index is None else self.index.by_row()[self.live]


class Merge:
    """One merge.

    Args:
        files: Where the sources are. Which of their rows are dead is taken now; who dies later is the caller's care.
        sources: At least one of its files.
        registry: The namespace's columns.
        file_bytes: Wanted size of the new files.
        group_rows: Rows of a row group at most.
    """

    def __init__(
        self,
        files: DataFiles,
        sources: Sequence[DataFile],
        registry: ColumnRegistry,
        *,
        file_bytes: int,
        group_rows: int = ROW_GROUP_ROWS,
    ) -> None:
        self._files = files
        self._wanted = tuple(sources)
        dead = files.frozen_dead()
        self._dead = {file.key: dead.get(file.key) for file in sources}
        self._registry = registry
        self._file_bytes = file_bytes
        self._group_rows = group_rows
        self._sources: list[_Source] = []
        self._owner: npt.NDArray[np.int16] = np.empty(0, np.int16)
        self._row: Rows = np.empty(0, np.int64)
        self._hashes: Hashes = np.empty(0, np.uint64)
        self._schema: Schema = {}
        self._full: frozenset[str] = frozenset()
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._group_bytes = 0
        self._residual_fields: set[str] = set()
        self._keys: list[str] = []
        self._starts = [0]

    @property
    def rows(self) -> int:
        """Rows that are merged; known after `begin`."""
        return len(self._row)

    @property
    def moved(self) -> Moved:
        """Where the rows went; complete when there is no next file."""
        ranks = {file.key: np.full(file.rows, LEFT_OUT, np.int32) for file in self._wanted}
        for number, source in enumerate(self._sources):
            mine = np.flatnonzero(self._owner == number)
            ranks[source.file.key][self._row[mine]] = mine
        return Moved(ranks, tuple(self._keys), tuple(self._starts))

    async def begin(self) -> None:
        """Read the sources and decide the order of their rows.

        Raises:
            CorruptionError: an object is missing, altered or not what the manifest says.
        """
        ids: list[pa.Array] = []
        for file in self._wanted:
            mask = await self._files.run(partial(live_mask, self._dead[file.key], 0, file.rows))
            live = np.flatnonzero(mask)
            if not len(live):
                continue
            data, footer = await self._files.cache.borrow(file)
            source = _Source(file, data, footer, live, self._files.index(file.key))
            parts = [await self._files.run(partial(self._ids, source, group)) for group in range(footer.groups)]
            ids += [column for column, _ in parts]
            source.hashes = [hashes for _, hashes in parts]
            self._sources.append(source)
        if ids:
            await self._files.run(partial(self._order, ids))

    async def next_file(self, key: str) -> Built | None:
        """Make the next new file under `key`; None when every row is in one.

        Raises:
            CorruptionError: a source cannot be decoded, or two live rows have one id.
        """
        first = self._starts[-1]
        if first == self.rows:
            return None
        per_file, per_group = self._sizes()
        last = min(first + per_file, self.rows)
        writer = FileWriter(key, self._full)
        for start in range(first, last, per_group):
            await self._files.run(partial(self._write, writer, start, min(start + per_group, last)))
        # Of the fields that any row so far had to leave there: more than this file's own do no harm.
        residual_paths = frozenset(self._residual_fields)
        built = await self._files.run(partial(writer.finish, self._registry, residual_paths))
        self._keys.append(key)
        self._starts.append(last)
        return built

    def _ids(self, source: _Source, group: int) -> tuple[pa.Array, Hashes]:
        """Return the live ids of a row group, and their hashes unless the index has them."""
        file, (start, stop) = source.file, source.footer.starts[group : group + 2]
        columns = self._decoded(file, lambda: decode_group(source.data, source.footer, group, [ID_COLUMN]))
        ids = columns[ID_COLUMN].filter(pa.array(live_mask(self._dead[file.key], start, stop)))
        if source.index is not None:
            return ids, np.empty(0, np.uint64)
        bare = bare_ids(ids, f"{self._files.namespace}/")
        if len(bare) != len(ids):
            reason = f"$id of a row is not of namespace {self._files.namespace!r}"
            raise self._files.cache.corruption(file.key, reason)
        return ids, hash_ids(bare)

    def _order(self, ids: Sequence[pa.Array]) -> None:
        schemas = [stored_schema(source.data, source.footer) for source in self._sources]
        self._schema = common_schema(schemas, self._registry)
        self._full = full_columns(schemas, self._schema)
        order = pc.sort_indices(pa.chunked_array(ids)).to_numpy()
        numbers = np.arange(len(self._sources), dtype=np.int16)
        self._owner = np.repeat(numbers, [len(source.live) for source in self._sources])[order]
        self._row = np.concatenate([source.live for source in self._sources])[order]
        self._hashes = np.concatenate([source.live_hashes() for source in self._sources])[order]

    def _sizes(self) -> tuple[int, int]:
        """Return the rows of a new file and of a row group in it."""
        stored = sum(source.file.bytes * len(source.live) / source.file.rows for source in self._sources)
        decoded = sum(source.footer.decoded_bytes * len(source.live) / source.file.rows for source in self._sources)
        number = max(1, round(stored / self._file_bytes))
        group = int(GROUP_BYTES_MAX // max(1.0, decoded / self.rows))
        return -(-self.rows // number), max(1, min(self._group_rows, group))

    def _write(self, writer: FileWriter, start: int, stop: int) -> None:
        """Gather the rows of one new row group and write them."""
        owner, row = self._owner[start:stop], self._row[start:stop]
        pieces: list[pa.Table] = []
        places: list[Rows] = []
        for number in np.unique(owner).tolist():
            mine = np.flatnonzero(owner == number)
            starts = np.asarray(self._sources[number].footer.starts)
            groups = np.searchsorted(starts, row[mine], side="right") - 1
            for group in np.unique(groups).tolist():
                here = mine[groups == group]
                pieces.append(self._group(number, group).take(pa.array(row[here] - starts[group])))
                places.append(here)
                if pieces[-1].column(RESIDUAL_COLUMN).null_count < len(here):
                    self._residual_fields |= self._sources[number].file.residual_paths
        table = pa.concat_tables(pieces).combine_chunks()
        # Piece by piece the rows are where they came from; this brings each to its place.
        order = np.argsort(np.concatenate(places), kind="stable")
        if len(pieces) > 1:
            table = table.take(pa.array(order))
        try:
            writer.write(table, self._hashes[start:stop])
        except ValueError as error:
            raise self._files.cache.corruption(self._wanted[0].key, f"cannot be merged: {error}", error) from error

    def _group(self, number: int, group: int) -> pa.Table:
        """Return a row group of a source in the common schema."""
        found = self._groups.get((number, group))
        if found is not None:
            self._groups.move_to_end((number, group))
            return found
        source = self._sources[number]
        footer = source.footer

        def decode() -> tuple[pa.Table, frozenset[str]]:
            columns = decode_group(source.data, footer, group, footer.names)
            return conform(columns, self._schema, footer.starts[group + 1] - footer.starts[group])

        table, misfits = self._decoded(source.file, decode)
        self._residual_fields |= misfits
        self._groups[number, group] = table
        self._group_bytes += table.nbytes
        while self._group_bytes > DECODED_BYTES_MAX and len(self._groups) > 1:
            self._group_bytes -= self._groups.popitem(last=False)[1].nbytes
        return table

    def _decoded(self, file: DataFile, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._files.cache.corruption(file.key, f"cannot be decoded: {error}", error) from error

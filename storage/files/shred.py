"""Documents to typed columns and back, exactly.

Rules: a null in a column means *missing*; an explicit null, and every value whose type is not its column's, goes to
`$residual`; a number of another type than its numeric column's goes to both (see `nearest`); a dict becomes a struct
whose validity tells `{}` from missing; a list becomes a list column when all its items have one type. The order of keys
is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain, compress
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from parquedb.storage.files import residual
from parquedb.storage.files.cells import document_at, documents_of
from parquedb.storage.files.columns import (
    EPOCH,
    RESIDUAL_COLUMN,
    SEQ_COLUMN,
    TIME_TYPE,
    TYPE_OF_KIND,
    Column,
    ColumnRegistry,
    RegistryGrowth,
    column_type,
    settle,
)
from parquedb.storage.files.fields import Field, by_name, types_of
from parquedb.storage.files.nearest import as_held, is_numeric

Row = tuple[dict[str, Any], int]
"""A complete document, `$id` and system fields included, and the seq of its last change."""

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1

Columns = Mapping[str, pa.Array]
"""Top-level columns of some rows, by name."""

_OWN_COLUMNS = frozenset({SEQ_COLUMN, RESIDUAL_COLUMN})
_FEW_ROWS = 8

Leftovers = dict[int, dict[str, Any]]
"""Row number to the part of its document that no column holds."""


def shred(rows: Sequence[Row], registry: ColumnRegistry) -> tuple[pa.Table, ColumnRegistry]:
    """Turn rows into columns, in the given order.

    Args:
        rows: Normalised documents; all text of one column together below 2 GiB.
        registry: The namespace's columns so far.

    Returns:
        len(rows) rows by `$id`, `$seq`, the columns some row has a value for, and `$residual`; and the registry,
        grown by what the batch showed first.
    """
    table, registry, _ = shred_with_leftovers(rows, registry)
    return table, registry


def shred_with_leftovers(
    rows: Sequence[Row], registry: ColumnRegistry
) -> tuple[pa.Table, ColumnRegistry, frozenset[str]]:
    """`shred`, and which top-level fields have a part in `$residual`."""
    documents = [document for document, _ in rows]
    columns = shred_columns(by_name(documents), len(documents), registry)
    names, arrays = list(columns.arrays), list(columns.arrays.values())
    names.insert(1, SEQ_COLUMN)
    arrays.insert(1, pa.array([seq for _, seq in rows], pa.int64()))
    names.append(RESIDUAL_COLUMN)
    arrays.append(residuals(columns.leftovers, len(documents)))
    residual_paths = frozenset(chain.from_iterable(columns.leftovers.values()))
    return pa.Table.from_arrays(arrays, names=names), columns.registry, residual_paths


class Shredded(NamedTuple):
    """The fields of some documents as columns.

    Attributes:
        arrays: By name, in the registry's order.
        leftovers: What no column holds, by row.
        registry: The columns, grown by what the documents showed first.
    """

    arrays: dict[str, pa.Array]
    leftovers: Leftovers
    registry: ColumnRegistry


def shred_columns(fields: Iterable[Field], length: int, registry: ColumnRegistry) -> Shredded:
    """Turn the fields of `length` documents into columns."""
    growth = RegistryGrowth(registry)
    leftovers: Leftovers = {}
    found: dict[str, pa.Array] = {}
    for name, values, at in fields:
        column = growth.columns.get(name)
        settled = settle(name, column, growth.columns, values, growth.room, 0)
        if settled is not None and settled is not column:
            (growth.add if column is None else growth.replace)(name, settled)
        array = _Shredder(leftovers, (name,), None).array(settled, values, at, length)
        if array is not None:
            found[name] = array
    return Shredded({name: found[name] for name in growth.columns if name in found}, leftovers, growth.finish())


def unshred(table: pa.Table) -> list[dict[str, Any]]:
    """Turn columns back into documents; the inverse of `shred`, whichever columns `table` has.

    Raises:
        ValueError: a residual is not what `shred` writes.
    """
    columns = zip(table.column_names, table.itercolumns(), strict=True)
    return unshred_columns({name: one_chunk(column) for name, column in columns}, table.num_rows)


def unshred_rows(table: pa.Table) -> list[Row]:
    """Turn a complete table back into rows: document and seq."""
    return list(zip(unshred(table), table.column(SEQ_COLUMN).to_pylist(), strict=True))


def unshred_columns(columns: Columns, length: int, positions: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Turn columns of `length` rows into documents: all of them, or those at `positions`, in that order.

    Raises:
        ValueError: a residual is not what `shred` writes.
    """
    typed = [(name, array) for name, array in columns.items() if name not in _OWN_COLUMNS]
    leftovers = columns.get(RESIDUAL_COLUMN)
    if positions is not None and len(positions) <= _FEW_ROWS:
        # One by one costs 1 µs a value, a `take` 4 µs a column however few the rows.
        documents = [document_at(typed, position) for position in positions]
        texts = [None] * len(documents) if leftovers is None else [leftovers[at].as_py() for at in positions]
    else:
        if positions is not None:
            rows, length = pa.array(positions, pa.int64()), len(positions)
            typed = [(name, array.take(rows)) for name, array in typed]
            leftovers = None if leftovers is None else leftovers.take(rows)
        documents = documents_of([name for name, _ in typed], [array for _, array in typed], length)
        texts = [] if leftovers is None or leftovers.null_count == length else leftovers.to_pylist()
    for document, text in zip(documents, texts, strict=False):
        if text is not None:
            residual.merge(document, residual.decode(text))
    return documents


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a table's column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def plain(array: pa.Array) -> pa.Array:
    """Return an array without a dictionary."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


class _Shredder:
    """One path of one batch: fits values into its column, the rest into the leftovers."""

    __slots__ = ("_leftovers", "_path", "_rows")

    def __init__(self, leftovers: Leftovers, path: tuple[str, ...], rows: Sequence[int] | None) -> None:
        self._leftovers = leftovers
        self._path = path
        self._rows = rows  # Position at this level to row of the batch; None where they are the same.

    def array(self, column: Column | None, values: Sequence[Any], at: Sequence[int] | None, length: int) -> Any:
        """Return the column's array of `length`, null where no value fits; None if none does.

        Args:
            column: What the path is registered as, None for nothing.
            values: What the path holds, where it holds something.
            at: Position of each value; None: value i is at position i.
            length: Positions of this level.
        """
        if column is None:
            self._set_aside(values, at)
            return None
        if not isinstance(column, str):
            values, at = self._sift(values, at, [type(value) is dict for value in values])
            array = self._struct(column, values, at) if values else None
        elif column.startswith("list<"):
            python = {TYPE_OF_KIND[column[5:-1]]}
            # All together first: a look into each list by itself costs five times as much.
            if types_of(values) != {list} or not set(map(type, chain.from_iterable(values))) <= python:
                fits = [type(value) is list and set(map(type, value)) <= python for value in values]
                values, at = self._sift(values, at, fits)
            array, values, at = self._leaf(column, values, at)
        else:
            wanted = TYPE_OF_KIND.get(column)
            if types_of(values) != {wanted}:
                if is_numeric(column):
                    values, at = self._held(column, values, at)
                else:
                    values, at = self._sift(values, at, [type(value) is wanted for value in values])
            array, values, at = self._leaf(column, values, at)
        return None if array is None else _scattered(array, at, length)

    def _held(
        self, column: str, values: Sequence[Any], at: Sequence[int] | None
    ) -> tuple[Sequence[Any], Sequence[int] | None]:
        """Return the values as a numeric column holds them; what it holds nearly, or not, is set aside."""
        held = as_held(column, values)
        inexact = [one is None or one is not value for one, value in zip(held, values, strict=True)]
        if not any(inexact):
            return values, at
        positions = range(len(values)) if at is None else at
        self._set_aside(list(compress(values, inexact)), list(compress(positions, inexact)))
        fits = [one is not None for one in held]
        return list(compress(held, fits)), list(compress(positions, fits))

    def _leaf(self, column: str, values: Sequence[Any], at: Sequence[int] | None) -> tuple[Any, Any, Any]:
        if not values:
            return None, values, at
        try:
            return _leaf_array(column, values), values, at
        except (OverflowError, UnicodeEncodeError) as error:
            # An int past 64 bit or a lone surrogate; asking each value beforehand would cost more than a second try.
            fit = _is_64_bit if isinstance(error, OverflowError) else residual.is_text
            lists = column.startswith("list<")
            fits = [all(map(fit, value)) if lists else fit(value) for value in values]
            values, at = self._sift(values, at, fits)
            return (_leaf_array(column, values) if values else None), values, at

    def _struct(self, columns: Mapping[str, Column], values: Sequence[dict[str, Any]], at: Sequence[int] | None) -> Any:
        rows = self._rows_of(range(len(values)), at)
        found: dict[str, pa.Array] = {}
        for name, items, positions in by_name(values):
            child = _Shredder(self._leftovers, (*self._path, name), rows)
            array = child.array(columns.get(name), items, positions, len(values))
            if array is not None:
                found[name] = array
        # A struct must have a child to carry its validity, even when every dict here is empty.
        names = [name for name in columns if name in found] or [next(iter(columns))]
        arrays = [found[name] if name in found else pa.nulls(len(values), column_type(columns[name])) for name in names]
        return pa.StructArray.from_arrays(arrays, names)

    def _sift(
        self, values: Sequence[Any], at: Sequence[int] | None, fits: list[bool]
    ) -> tuple[Sequence[Any], Sequence[int] | None]:
        if all(fits):
            return values, at
        positions = range(len(values)) if at is None else at
        misfits = [not fit for fit in fits]
        self._set_aside(list(compress(values, misfits)), list(compress(positions, misfits)))
        return list(compress(values, fits)), list(compress(positions, fits))

    def _set_aside(self, values: Sequence[Any], at: Sequence[int] | None) -> None:
        *above, name = self._path
        for row, value in zip(self._rows_of(range(len(values)), at), values, strict=True):
            leftover = self._leftovers.setdefault(row, {})
            for step in above:
                leftover = leftover.setdefault(step, {})
            leftover[name] = value

    def _rows_of(self, positions: Sequence[int], at: Sequence[int] | None) -> Sequence[int]:
        positions = positions if at is None else at
        rows = self._rows
        return positions if rows is None else [rows[position] for position in positions]


def _leaf_array(column: str, values: Sequence[Any]) -> pa.Array:
    if column == "time":
        return _times(values)
    if column == "uuid":
        return pa.array([value.bytes for value in values], pa.binary(16))
    if column == "list<time>":
        return _lists(_times([item for value in values for item in value]), values)
    if column == "list<uuid>":
        return _lists(pa.array([item.bytes for value in values for item in value], pa.binary(16)), values)
    return pa.array(values, column_type(column))


def _times(values: Sequence[datetime]) -> pa.Array:
    # A subtraction per value and a duration array take a quarter of the time of Arrow's own conversion.
    durations = pa.array([value - EPOCH for value in values], pa.duration("us"))
    return durations.view(pa.int64()).view(TIME_TYPE)


def _lists(items: pa.Array, values: Sequence[Sequence[Any]]) -> pa.Array:
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), items)


def _scattered(array: pa.Array, at: Sequence[int] | None, length: int) -> pa.Array:
    if at is None or len(array) == length:
        return array
    positions = np.asarray(at, np.int64)
    sources = np.zeros(length, np.int64)
    sources[positions] = np.arange(len(positions))
    empty = np.ones(length, np.bool_)
    empty[positions] = False
    return array.take(pa.array(sources, mask=empty))


def residuals(leftovers: Leftovers, length: int) -> pa.Array:
    """Return the `$residual` column of `length` rows."""
    if not leftovers:
        return pa.nulls(length, pa.string())
    texts: list[str | None] = [None] * length
    for row, leftover in leftovers.items():
        texts[row] = residual.encode(leftover)
    return pa.array(texts, pa.string())


def _is_64_bit(value: Any) -> bool:
    return bool(_INT_MIN <= value <= _INT_MAX)

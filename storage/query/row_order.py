"""The order of rows by typed columns alone, and whether rows can come before a given key at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents.paths import Path
from parquedb.documents.sorting import ID, Key, Sort, order_key, reverse_key
from parquedb.storage.files.column_stats import ColumnStats
from parquedb.storage.files.columns import EPOCH
from parquedb.storage.query.pushdown import Rows

Mask = npt.NDArray[np.bool_]


def typed_columns(sort: Sort, rows: Rows) -> tuple[list[pa.Array | None], Mask]:
    """Return what the rows sort by, and the rows of which the columns do not tell.

    Returns:
        For each field a scalar column, null where a row has no value, or None where no row has one.
    """
    odd = np.zeros(rows.length, np.bool_)
    arrays = []
    for part in sort.fields:
        array = _column_at(part.path, rows)
        if array is not None and (pa.types.is_list(array.type) or pa.types.is_struct(array.type)):
            odd |= array.is_valid().to_numpy(zero_copy_only=False)
            array = None
        flagged = rows.flagged(part.path[0])
        if flagged is not None:
            odd |= flagged
        arrays.append(array)
    return arrays, odd


def _column_at(path: Path, rows: Rows) -> pa.Array | None:
    """Return the column at a path, or the list that the path goes through; None where nothing can be."""
    array: pa.Array | None = rows.columns.get(path[0])
    for name in path[1:]:
        if array is None or pa.types.is_list(array.type):
            return array
        if not pa.types.is_struct(array.type):
            return None  # Nothing lies below a scalar.
        at = array.type.get_field_index(name)
        array = None if at < 0 else pc.struct_field(array, [at])
    return array


def leading(sort: Sort, arrays: Sequence[pa.Array | None], rows: npt.NDArray[np.int64], count: int) -> Any:
    """Return those of `rows` that can be among the first `count` by the first field, ties included; perhaps all.

    Sorting them all would cost far more than finding the value of the last that counts.
    """
    array, descending = arrays[0] if arrays else None, sort.fields[0].descending if sort.fields else False
    if array is None or len(rows) <= count or not _is_number_or_time(array.type):
        return rows
    if pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    taken = array.take(pa.array(rows))
    # Null sorts before NaN, and that before numbers; the other way round they come last.
    told = taken.is_valid().to_numpy(zero_copy_only=False)
    values = taken.fill_null(0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        told &= ~np.isnan(values)
    if int(np.count_nonzero(told)) < (count if descending else len(rows)):
        return rows
    numbers = values[told]
    if descending:
        last = np.partition(numbers, len(numbers) - count)[len(numbers) - count]
        return rows[told & (values >= last)]
    return rows[values <= np.partition(numbers, count - 1)[count - 1]]


def _is_number_or_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_int64(kind) or pa.types.is_float64(kind) or pa.types.is_timestamp(kind))


def row_order(
    sort: Sort, arrays: Sequence[pa.Array | None], ids: pa.Array, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the positions in `rows` that put them in order; equal ones by `$id`."""
    taken = pa.array(rows)
    names: list[str] = []
    columns: list[pa.Array] = []
    keys: list[tuple[str, str]] = []
    for number, (part, array) in enumerate(zip(sort.fields, arrays, strict=True)):
        if array is None:
            continue
        direction = "descending" if part.descending else "ascending"
        for column in _sortable(array.take(taken)):
            names.append(f"{number}.{len(names)}")
            columns.append(column)
            keys.append((names[-1], direction))
    names.append("id")
    columns.append(ids.take(taken))
    keys.append(("id", "ascending"))
    table = pa.Table.from_arrays(columns, names=names)
    return pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)  # type: ignore[no-any-return]  # pyarrow carries no types.


def _sortable(array: pa.Array) -> list[pa.Array]:
    """Return columns without nulls that order as the values do: null first, then NaN, then the rest."""
    nans = pc.is_nan(array).fill_null(False) if pa.types.is_floating(array.type) else None
    if not array.null_count and (nans is None or not pc.any(nans).as_py()):
        return [array]
    rank = pc.if_else(array.is_valid(), pa.scalar(2, pa.int8()), pa.scalar(0, pa.int8()))
    if nans is not None:
        rank = pc.if_else(nans, pa.scalar(1, pa.int8()), rank)
        array = pc.if_else(nans, pa.scalar(None, array.type), array)
    # Among equal ranks only values are compared, or nulls, which are all equal.
    return [rank, array]


def cannot_precede(
    sort: Sort, worst: Key | None, stats: Mapping[str, ColumnStats], residual_paths: frozenset[str]
) -> bool:
    """Return whether statistics say that no row sorts before the key `worst` (None: anything does)."""
    if worst is None:
        return False
    if not sort.fields:
        return bool(stats[ID].low > worst[-1])
    part = sort.fields[0]
    one = stats.get(".".join(part.path))
    if one is None or part.path[0] in residual_paths or one.nulls < 0 or one.low is None or one.high is None:
        return False
    if part.descending:
        first = reverse_key(_value(one.kind, one.high))
    elif one.nulls or one.kind == "float":
        return False  # Null and NaN come before every value.
    else:
        first = order_key(_value(one.kind, one.low))
    return first > worst[:2]


def _value(kind: str, bound: Any) -> Any:
    if kind == "time":
        return EPOCH + timedelta(microseconds=bound)
    return EPOCH.date() + timedelta(days=bound) if kind == "date" else bound

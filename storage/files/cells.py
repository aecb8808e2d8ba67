"""Values of Arrow arrays as Python values, as `columns` beside it pairs the types: in bulk, and one row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from parquedb.storage.files.columns import EPOCH


def documents_of(names: Sequence[str], arrays: Sequence[pa.Array], length: int) -> list[dict[str, Any]]:
    """Return the dicts that columns of `length` rows make; a null is a key left out."""
    full = [(name, array) for name, array in zip(names, arrays, strict=True) if array.null_count == 0]
    if full:
        full_names = [name for name, _ in full]
        columns = [_values(array) for _, array in full]
        documents = [dict(zip(full_names, values, strict=True)) for values in zip(*columns, strict=True)]
    else:
        documents = [{} for _ in range(length)]
    for name, array in zip(names, arrays, strict=True):
        if array.null_count:
            valid = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False)).tolist()
            for position, value in zip(valid, _values(array.drop_null()), strict=True):
                documents[position][name] = value
    return documents


def _values(array: pa.Array) -> list[Any]:
    """Return the Python values of an array without nulls."""
    kind = array.type
    if pa.types.is_struct(kind):
        return documents_of([field.name for field in kind], array.flatten(), len(array))
    if pa.types.is_list(kind):
        items = _values(array.flatten())
        ends = np.cumsum(array.value_lengths().to_numpy(zero_copy_only=False)).tolist()
        return [items[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if pa.types.is_timestamp(kind):
        micros = array.cast(pa.int64()).to_numpy(zero_copy_only=False).view("m8[us]").tolist()
        return [EPOCH + delta for delta in micros]
    if pa.types.is_fixed_size_binary(kind):
        return [UUID(bytes=value) for value in array.to_pylist()]
    return array.to_pylist()  # type: ignore[no-any-return]  # pyarrow carries no types.


def document_at(columns: Iterable[tuple[str, pa.Array]], position: int) -> dict[str, Any]:
    """Return the dict that one row of the columns makes; a null is a key left out."""
    document: dict[str, Any] = {}
    for name, array in columns:
        cell = _CELLS.get(array.type.id)
        value = array[position].as_py() if cell is None else cell(array, position)
        if value is not None:
            document[name] = value
    return document


def _time_at(array: pa.Array, position: int) -> Any:
    micros = array[position].value
    return None if micros is None else EPOCH + timedelta(microseconds=micros)


def _uuid_at(array: pa.Array, position: int) -> Any:
    value = array[position].as_py()
    return None if value is None else UUID(bytes=value)


def _list_at(array: pa.Array, position: int) -> Any:
    items = array[position].values
    return None if items is None else _values(items)


def _struct_at(array: pa.Array, position: int) -> Any:
    if not array[position].is_valid:
        return None
    # `field` ignores this array's own nulls, which were just looked at.
    return document_at([(field.name, array.field(at)) for at, field in enumerate(array.type)], position)


_CELLS: Mapping[int, Callable[[pa.Array, int], Any]] = {
    pa.timestamp("us", "UTC").id: _time_at,
    pa.binary(16).id: _uuid_at,
    pa.list_(pa.int64()).id: _list_at,
    pa.struct([]).id: _struct_at,
}

"""Many new documents given as dicts, checked and turned into columns together.

Looking at a whole column at a time takes a fraction of what normalizing each document takes. It can say that all is
well, or that something is unusual; what exactly, and of which document, whoever goes through them one by one finds out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain, islice
from operator import attrgetter
from types import NoneType
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents.values import MANAGED_FIELDS, TEXT_FIELDS, normalize, normalize_value
from parquedb.errors import ConflictError, ValidationError
from parquedb.storage.bulk.column_ids import ascend, bare_ids, check_distinct, ulids
from parquedb.storage.bulk.load_file import Plan, Rows
from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.files.fields import Field, Typed, by_name, no_collection, types_of
from parquedb.storage.files.shred import residuals, shred_columns

_PLAIN: Final = frozenset({NoneType, bool, int, float, str, bytes, date, UUID, datetime, Decimal, list, dict})
"""Types of values that `normalize` leaves as they are, mostly; text is checked when it is encoded."""

_LEVELS: Final = 8
"""Containers in containers that are looked into together; deeper ones are normalized one by one."""

_ITEMS_MAX: Final = 64
"""Values in containers for each value of a column; more are normalized one by one, which has a budget."""

_VALUE_BYTES: Final = 9
_RESIDUAL_FACTOR: Final = 9
"""JSON takes a character for a value that the estimate of a document's size charges nine bytes."""


class UnusualError(Exception):
    """The documents have to go one by one: one may have to be refused, or needs what columns do not do."""


def documents_as_rows(documents: Sequence[Mapping[str, Any]], plan: Plan, first_ulid: int) -> Rows:
    """Return documents as columns, ids made for those that have none.

    Args:
        documents: At least one; not changed.
        plan: See there; what `hold` refuses is unusual.
        first_ulid: Number of the first id to make.

    Raises:
        UnusualError: see there.
    """
    if set(map(type, documents)) != {dict}:
        raise UnusualError("not all documents are plain dicts")
    try:
        with no_collection():
            if plan.hold is not None:
                documents = _held(documents, plan)
            fields = {name: (values, at) for name, values, at in by_name(documents)}
            _check_names(fields)
            ids = _ids(fields.pop(ID_COLUMN, None), len(documents), plan.namespace, first_ulid)
            return _rows(ids, [_checked(name, *field) for name, field in fields.items()], plan)
    except (ValidationError, ConflictError) as error:
        raise UnusualError(str(error)) from error


def _check_names(names: Iterable[str]) -> None:
    if not frozenset(MANAGED_FIELDS).isdisjoint(names):
        raise UnusualError("a field that only the database writes")
    normalize(dict.fromkeys(names, ""))


def _rows(ids: pa.Array, fields: Sequence[Field], plan: Plan) -> Rows:
    length = len(ids)
    shredded = shred_columns(fields, length, plan.registry)
    for leftover in shredded.leftovers.values():
        # Text that could not be encoded has come here, among values that are fine.
        normalize_value(leftover)
    left = residuals(shredded.leftovers, length)
    largest = sum(_VALUE_BYTES + len(name) + _largest(array) for name, array in shredded.arrays.items())
    if largest + _RESIDUAL_FACTOR * _longest(left) > plan.bytes_max:
        raise UnusualError("a document may be too large")
    sorted_ = ascend(ids)
    if not sorted_:
        check_distinct(ids, plan.namespace)
    paths = frozenset(chain.from_iterable(shredded.leftovers.values()))
    return Rows(ids, sorted_, shredded.arrays, residuals=left, residual_paths=paths)


def _held(documents: Sequence[Mapping[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """Return the documents as the schema completes them."""
    held = []
    for document in documents:
        one = normalize(document, bytes_max=plan.bytes_max, depth_max=plan.depth_max)
        if plan.hold is not None:
            plan.hold(one)
        held.append(one)
    return held


def ids_of(documents: Sequence[Mapping[str, Any]], namespace: str, first_ulid: int) -> pa.Array:
    """Return the bare id of each document, made for those that have none.

    Raises:
        UnusualError: one cannot be an id.
    """
    at = [position for position, document in enumerate(documents) if ID_COLUMN in document]
    values = [documents[position][ID_COLUMN] for position in at]
    try:
        return _ids((values, at) if at else None, len(documents), namespace, first_ulid)
    except ValidationError as error:
        raise UnusualError(str(error)) from error


def _ids(
    field: tuple[Sequence[Any], Sequence[int] | None] | None, rows: int, namespace: str, first_ulid: int
) -> pa.Array:
    if field is None:
        return ulids(first_ulid, rows)
    values, at = field
    if set(map(type, values)) != {str}:
        raise UnusualError("an id that is no text")
    try:
        given = bare_ids(ID_COLUMN, pa.array(values, pa.string()), namespace)
    except UnicodeEncodeError as error:
        raise UnusualError("an id that is no valid text") from error
    if at is None or len(values) == rows:
        return given
    has_none = np.ones(rows, np.bool_)
    has_none[np.asarray(at, np.int64)] = False
    spread = given.take(pa.array(np.cumsum(~has_none) - 1, mask=has_none))
    return pc.replace_with_mask(spread, pa.array(has_none), ulids(first_ulid, rows - len(values)))


def _checked(name: str, values: Sequence[Any], at: Sequence[int] | None) -> Field:
    """Return a field with the values that `normalize` would give it."""
    types = types_of(values)
    if name in TEXT_FIELDS and types != {str}:
        raise UnusualError(f"{name} is not text everywhere")
    if _is_plain(values, types, _LEVELS, len(values) * _ITEMS_MAX):
        return name, Typed(values, types), at
    return name, _in_utc(values, types) or [normalize_value(value, name) for value in values], at


def _in_utc(values: Sequence[Any], types: AbstractSet[type]) -> Sequence[Any] | None:
    """Return times of other zones than our UTC object as `normalize` does; None where that takes a closer look."""
    if types != {datetime} or None in set(map(attrgetter("tzinfo"), values)):
        return None
    try:
        return [value.astimezone(UTC) for value in values]
    except (ValueError, TypeError, OverflowError):
        return None


def _is_plain(values: Sequence[Any], types: AbstractSet[type], levels: int, items_max: int) -> bool:
    """Whether normalizing would return every value as it is; containers are looked into."""
    if not types <= _PLAIN:
        return False
    if datetime in types and not all(value.tzinfo is UTC for value in values if type(value) is datetime):
        return False
    if Decimal in types and any(value.is_snan() for value in values if type(value) is Decimal):
        return False
    if not types & {list, dict}:
        return True
    dicts, lists = _of_type(dict, values, types), _of_type(list, values, types)
    items = chain(chain.from_iterable(map(dict.values, dicts)), chain.from_iterable(lists))
    below = list(islice(items, items_max + 1))
    if levels == 0 or len(below) > items_max or not _are_names(set(chain.from_iterable(dicts))):
        return False
    return _is_plain(below, types_of(below), levels - 1, items_max)


def _of_type(wanted: type, values: Sequence[Any], types: AbstractSet[type]) -> Sequence[Any]:
    if types == {wanted}:
        return values
    return [value for value in values if type(value) is wanted] if wanted in types else ()


def _are_names(names: AbstractSet[Any]) -> bool:
    """Whether all keys of some dicts are such that fields can have; some that can are left to a closer look."""
    return all(type(name) is str and "\0" not in name and name.isascii() for name in names)


def _largest(array: pa.Array) -> int:
    """Return what a value of a column costs at most of the size of its document, as `normalize` estimates it."""
    kind = array.type
    if pa.types.is_struct(kind):
        children = zip(kind, array.flatten(), strict=True)
        return sum(_VALUE_BYTES + len(one.name) + 1 + _largest(child) for one, child in children)
    if pa.types.is_list(kind):
        return (pc.max(pc.list_value_length(array)).as_py() or 0) * (_VALUE_BYTES + _largest(array.flatten()))
    if kind in {pa.string(), pa.binary()}:
        return _longest(array)
    return 4 * _VALUE_BYTES  # A UUID, a Decimal of 38 digits.


def _longest(array: pa.Array) -> int:
    return pc.max(pc.binary_length(array)).as_py() or 0

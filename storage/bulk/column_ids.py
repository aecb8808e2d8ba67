"""The ids of documents that come as Arrow data: checked or made for a whole column at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.errors import AlreadyExistsError, ValidationError
from parquedb.ids import ALPHABET, ULID_CHARS
from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.keys import ID_LENGTH_MAX, check_id

_CONTROL = r"\p{Cc}"
_LETTERS = np.frombuffer(ALPHABET.encode(), np.uint8)
_BITS = 5
_TAIL_BITS = 20


def bare_ids(path: str, column: pa.Array, namespace: str) -> pa.Array:
    """Return the ids of a column without the namespace that may stand in front of them.

    Args:
        path: Name of the column, for errors.
        column: Text; whole numbers too where the column is not called `$id`.
        namespace: Whose documents they are.

    Raises:
        ValidationError: one is missing or cannot be an id; says which row.
    """
    if pa.types.is_integer(column.type) and path != ID_COLUMN:
        column = column.cast(pa.string())
    if column.type != pa.string():
        raise ValidationError(field=path, expected="a column of text", actual=f"a column of type {column.type}")
    if column.null_count:
        row = pc.index(column.is_null(), value=True).as_py()
        raise ValidationError(field=path, expected="an id in every row", actual=f"none in row {row}")
    prefix = f"{namespace}/"
    led = pc.starts_with(column, prefix)
    if pc.any(led, min_count=0).as_py():
        # By bytes: the prefix ends with an ASCII character, so no character is torn where it stands; elsewhere the cut
        # is not used. By replacing: `binary_slice` fails on values that are shorter.
        cut = _as_text(pc.binary_replace_slice(column.cast(pa.binary()), 0, len(prefix.encode()), b""))
        column = pc.if_else(led, cut, column)
    _check(path, column)
    return column


def with_prefix(prefix: str, ids: pa.Array) -> pa.Array:
    """Return ids with some text in front of each."""
    # By bytes, at a third of the price of joining texts: what is put between whole texts tears no character.
    return _as_text(pc.binary_replace_slice(ids.cast(pa.binary()), 0, 0, prefix.encode()))


def _as_text(values: pa.Array) -> pa.Array:
    """Return bytes without nulls as text, unchecked."""
    return pa.StringArray.from_buffers(len(values), *values.buffers()[1:], offset=values.offset)


def _check(path: str, ids: pa.Array) -> None:
    lengths = pc.utf8_length(ids)
    wrong = pc.or_(pc.equal(lengths, 0), pc.greater(lengths, ID_LENGTH_MAX))
    # Printable ASCII is the common case, and a tenth of the price of looking for every control character.
    if not pc.all(pc.or_(pc.ascii_is_printable(ids), pc.equal(lengths, 0)), min_count=0).as_py():
        wrong = pc.or_(wrong, pc.match_substring_regex(ids, _CONTROL))
    if not pc.any(wrong, min_count=0).as_py():
        return
    row = pc.index(wrong, value=True).as_py()
    try:
        check_id(ids[row].as_py())
    except ValidationError as error:
        actual = f"{error.actual} in row {row}"
        raise ValidationError(field=path, expected=error.expected, actual=actual) from None


def ascend(ids: pa.Array) -> bool:
    """Whether each id is greater than the one before, so that none comes twice."""
    return bool(pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py())


def check_distinct(ids: pa.Array, namespace: str) -> None:
    """Accept ids that are all different.

    Raises:
        AlreadyExistsError: some are not; names the first of them.
    """
    distinct = len(pc.unique(ids))
    if distinct == len(ids):
        return
    counts = pc.value_counts(ids)
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    raise taken(repeated[0].as_py(), namespace, len(repeated), "more than once in the data")


def taken(id_: str, namespace: str, count: int, where: str) -> AlreadyExistsError:
    """Return the error for ids that are taken; `id_` is one of `count`."""
    which = f"{namespace}/{id_}" if count == 1 else f"{namespace}/{id_} and {count - 1:,} other ids"
    return AlreadyExistsError(f"{which}: {where}; nothing of this was stored", id=id_, namespace=namespace)


def ulids(first: int, count: int) -> pa.Array:
    """Return `count` ULIDs that follow each other, as text; `first` is the number of the first one."""
    columns = np.empty((count, ULID_CHARS), np.uint8)
    tail_chars = _TAIL_BITS // _BITS
    numbers = (first & ((1 << _TAIL_BITS) - 1)) + np.arange(count, dtype=np.int64)
    for at in range(tail_chars):
        columns[:, ULID_CHARS - 1 - at] = _LETTERS[numbers >> (_BITS * at) & 31]
    heads = numbers >> _TAIL_BITS
    head = first >> _TAIL_BITS
    # The head changes once in a million ids.
    for step in range(int(heads[-1]) + 1):
        text = [ALPHABET[(head + step) >> (_BITS * at) & 31] for at in reversed(range(ULID_CHARS - tail_chars))]
        columns[heads == step, : ULID_CHARS - tail_chars] = np.frombuffer("".join(text).encode(), np.uint8)
    offsets = np.arange(0, ULID_CHARS * count + 1, ULID_CHARS, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(columns))

"""Operators that ask for more than an interval, on typed scalar columns: `$mod`, `$type`, `$regex` and the text ones.

Source: `parquedb.documents.value_tests`, whose answers on single values these must equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents.regex import Regex
from parquedb.documents.type_names import INT_MAX, INT_MIN, NAMES_OF
from parquedb.documents.value_tests import LONG_MAX, LONG_MIN
from parquedb.storage.files.columns import TYPE_OF_KIND
from parquedb.storage.files.residual import is_text
from parquedb.storage.query.bits import packed

_PROGRAM_MAX: Final = 300
"""Larger patterns are for the documents one by one: nothing can stop Arrow in the middle of a row group."""


def operator_bits(op: str, operand: Any, kind: str, array: pa.Array) -> pa.BooleanArray | None:
    """Return which values pass, null (or False) where there is none; None if the column can't tell.

    Args:
        op: One of `OPERATORS`.
        operand: As `Compare` describes it.
        kind: Of the column.
        array: A scalar column.
    """
    return OPERATORS[op](operand, kind, array)


def names_of_kind(kind: str) -> frozenset[str]:
    """Return the names that `$type` knows the values of a scalar column by."""
    return frozenset({"decimal"}) if kind.startswith("decimal") else NAMES_OF[TYPE_OF_KIND[kind]]


def _nowhere(array: pa.Array) -> pa.BooleanArray:
    return pa.repeat(pa.scalar(value=False), len(array))


def _modulo(operand: tuple[int, int], kind: str, array: pa.Array) -> pa.BooleanArray | None:
    divisor, remainder = abs(operand[0]), operand[1]
    if kind.startswith("decimal") or divisor > LONG_MAX:
        return None
    if kind not in {"int", "float"}:
        return _nowhere(array)
    if kind == "float":
        numbers = array.fill_null(np.nan).to_numpy(zero_copy_only=False)
        # NaN is neither above nor below.
        valid = (numbers >= LONG_MIN) & (numbers < LONG_MAX + 1)
        whole = np.where(valid, numbers, 0.0).astype(np.int64)
    else:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        whole = array.fill_null(0).to_numpy(zero_copy_only=False)
    # `fmod` rounds to 0, as MongoDB does; `%` would round down.
    return packed(valid & (np.fmod(whole, np.int64(divisor)) == remainder))


def _type(names: frozenset[str], kind: str, array: pa.Array) -> pa.BooleanArray | None:
    wanted = names & names_of_kind(kind)
    if not wanted:
        return _nowhere(array)
    if kind != "int" or len(wanted) > 1:
        return array.is_valid()
    small = pc.and_(pc.greater_equal(array, INT_MIN), pc.less_equal(array, INT_MAX))
    return small if "int" in wanted else pc.invert(small)


def _regex(regex: Regex, kind: str, array: pa.Array) -> pa.BooleanArray | None:
    if kind != "str":
        return _nowhere(array)
    # Arrow's engine is RE2 too.
    return pc.match_substring_regex(array, regex.source()) if regex.program_size() <= _PROGRAM_MAX else None


def _text(kernel: Callable[..., pa.BooleanArray]) -> Callable[[str, str, pa.Array], pa.BooleanArray | None]:
    return lambda operand, kind, array: (
        kernel(array, operand) if kind == "str" and is_text(operand) else _nowhere(array)
    )


OPERATORS: Final[Mapping[str, Callable[[Any, str, pa.Array], pa.BooleanArray | None]]] = {
    "mod": _modulo,
    "type": _type,
    "regex": _regex,
    "startsWith": _text(pc.starts_with),
    "endsWith": _text(pc.ends_with),
    "contains": _text(pc.match_substring),
    "size": lambda _operand, _kind, array: _nowhere(array),
}

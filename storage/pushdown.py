"""A filter against typed columns: which rows surely pass, which may, and which files need not be opened.

Every node of a filter gives two masks, `may` (no passing row is outside) and `must` (every row inside passes); negation
swaps them. Rows between the two are for the exact predicate. They arise where a field of the row has a part in
`$residual`, and where a path meets an array.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import reduce

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents.filters import And, Compare, Filter, Nor, Not, Or
from parquedb.storage.bounds import Wanted, wanted
from parquedb.storage.column_stats import ColumnStats
from parquedb.storage.columns import RESIDUAL_COLUMN, kind_of_type
from parquedb.storage.shred import Columns

Mask = npt.NDArray[np.bool_]

_POINTS_ONE_BY_ONE = 4
_NEGATIONS = {"ne": "eq", "nin": "in"}


class Verdict(Enum):
    """How many rows of a file or row group can pass."""

    NONE = "none"
    SOME = "some"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of some rows without reading them.

    Attributes:
        stats: By dotted path of each leaf column, `$id` included.
        rows: Their number.
        residual_paths: Top-level fields with a part in `$residual`.
    """

    stats: Mapping[str, ColumnStats]
    rows: int
    residual_paths: frozenset[str]


@dataclass(slots=True)
class Rows:
    """Decoded rows: the columns of `fields_of` the filter, and `$residual` where one of those has a part in it."""

    columns: Columns
    length: int
    residual_paths: frozenset[str]
    _flags: dict[str, Mask | None] = field(default_factory=dict)

    def flagged(self, name: str) -> Mask | None:
        """Return the rows where a top-level field may have a part in `$residual`; None for none."""
        if name not in self.residual_paths:
            return None
        if name not in self._flags:
            # The field is a key of the JSON object, so its quoted name must occur in the text.
            quoted = orjson.dumps(name).decode()
            self._flags[name] = _true(pc.match_substring(self.columns[RESIDUAL_COLUMN], quoted))
        return self._flags[name]


def fields_of(tree: Filter) -> frozenset[str]:
    """Return the top-level fields that a filter looks at."""
    if isinstance(tree, Compare):
        return frozenset(tree.path[:1])
    return frozenset().union(*map(fields_of, _parts(tree)))


def verdict(tree: Filter, facts: Facts) -> Verdict:
    """Return how many rows can pass, by statistics alone."""
    if isinstance(tree, Compare):
        if tree.op in _NEGATIONS:
            return _opposite(verdict(_positive(tree), facts))
        return _leaf_verdict(tree, facts)
    found = {verdict(part, facts) for part in _parts(tree)}
    if isinstance(tree, Not):
        return _opposite(found.pop())
    # An Or is an And with all and none exchanged.
    winner, loser = (Verdict.NONE, Verdict.ALL) if isinstance(tree, And) else (Verdict.ALL, Verdict.NONE)
    outcome = winner if winner in found else Verdict.SOME if Verdict.SOME in found else loser
    return _opposite(outcome) if isinstance(tree, Nor) else outcome


def masks(tree: Filter, rows: Rows) -> tuple[Mask, Mask]:
    """Return (may, must) of the rows."""
    if isinstance(tree, Compare):
        if tree.op not in _NEGATIONS:
            return _leaf_masks(tree, rows)
        may, must = _leaf_masks(_positive(tree), rows)
        return ~must, ~may
    found = [masks(part, rows) for part in _parts(tree)]
    if isinstance(tree, Not):
        ((may, must),) = found
        return ~must, ~may
    start = np.full(rows.length, isinstance(tree, And))
    combine = np.logical_and if isinstance(tree, And) else np.logical_or
    may = reduce(combine, [one for one, _ in found], start)
    must = reduce(combine, [one for _, one in found], start)
    return (~must, ~may) if isinstance(tree, Nor) else (may, must)


def _parts(tree: And | Or | Nor | Not) -> Iterable[Filter]:
    return (tree.part,) if isinstance(tree, Not) else tree.parts


def _positive(leaf: Compare) -> Compare:
    return Compare(leaf.path, "eq" if leaf.op == "ne" else "in", leaf.value)


def _opposite(outcome: Verdict) -> Verdict:
    return {Verdict.NONE: Verdict.ALL, Verdict.ALL: Verdict.NONE}.get(outcome, Verdict.SOME)


def _passes_missing(leaf: Compare) -> bool:
    """Whether a document without a value at the path passes."""
    if leaf.op == "exists":
        return not leaf.value
    if leaf.op == "in":
        return any(value is None for value in leaf.value)
    return leaf.value is None and leaf.op in {"eq", "gte", "lte"}


def _leaf_verdict(leaf: Compare, facts: Facts) -> Verdict:  # noqa: PLR0911 - one return per state of the column
    if leaf.path[0] in facts.residual_paths:
        return Verdict.SOME
    key = ".".join(leaf.path)
    missing = _passes_missing(leaf)
    stats = facts.stats.get(key)
    if stats is None:
        above = (facts.stats.get(".".join(leaf.path[:depth])) for depth in range(1, len(leaf.path)))
        # A list has no kind; what lies below its elements has no statistics. Nothing lies below a scalar.
        if any(stats is not None and not stats.kind for stats in above):
            return Verdict.SOME
        if any(path.startswith(f"{key}.") for path in facts.stats):
            return Verdict.SOME
        return Verdict.ALL if missing else Verdict.NONE
    if stats.nulls == facts.rows:
        return Verdict.ALL if missing else Verdict.NONE
    if not stats.kind or stats.nulls < 0:
        return Verdict.SOME
    if leaf.op == "exists":
        some = every = bool(leaf.value)
    else:
        some, every = wanted(stats.kind, leaf.op, leaf.value).reach(stats)
    if not some and not (missing and stats.nulls):
        return Verdict.NONE
    return Verdict.ALL if every and (missing or not stats.nulls) else Verdict.SOME


def _leaf_masks(leaf: Compare, rows: Rows) -> tuple[Mask, Mask]:
    passing, doubtful = _typed_masks(leaf, rows)
    flagged = rows.flagged(leaf.path[0])
    for doubt in (doubtful, flagged):
        if doubt is not None:
            passing = passing & ~doubt
    if doubtful is None and flagged is None:
        return passing, passing
    may = passing.copy()
    for doubt in (doubtful, flagged):
        if doubt is not None:
            may |= doubt
    return may, passing


def _typed_masks(leaf: Compare, rows: Rows) -> tuple[Mask, Mask | None]:
    """Return which rows pass by their typed values, and those of which the types do not tell."""
    array: pa.Array | None = rows.columns.get(leaf.path[0])
    rest = leaf.path[1:]
    while array is not None and rest and pa.types.is_struct(array.type):
        at = array.type.get_field_index(rest[0])
        array, rest = (None if at < 0 else pc.struct_field(array, [at])), rest[1:]
    missing = _passes_missing(leaf)
    if array is None:
        return np.full(rows.length, missing), None
    listed = pa.types.is_list(array.type)
    if rest and not listed:
        # Nothing lies below a scalar: missing there, whether the scalar is or not.
        return np.full(rows.length, missing), None
    valid = _true(array.is_valid())
    absent = ~valid if missing else np.zeros(rows.length, np.bool_)
    if leaf.op == "exists" and not rest:
        return (valid if leaf.value else absent), None
    if listed or pa.types.is_struct(array.type):
        return absent, valid
    test = wanted(kind_of_type(array.type), leaf.op, leaf.value)
    if test.unknown:
        return absent, valid
    return absent | _passing(test, array), None


def _passing(test: Wanted, array: pa.Array) -> Mask:
    values = array
    if pa.types.is_timestamp(array.type):
        values = array.view(pa.int64())
    elif pa.types.is_date32(array.type):
        values = array.view(pa.int32())
    found = np.zeros(len(array), np.bool_)
    if test.points is None:
        found = _within(test, values)
    elif len(test.points) <= _POINTS_ONE_BY_ONE:
        for point in test.points:
            found |= _true(pc.equal(values, pa.scalar(point, values.type)))
    elif test.points:
        # `is_in` compares bits: 0.0 would not find -0.0.
        zeros = [-point for point in test.points if pa.types.is_floating(values.type) and point == 0]
        found = _true(pc.is_in(values, value_set=pa.array([*test.points, *zeros], values.type)))
    return found | _true(pc.is_nan(values)) if test.nan else found


def _within(test: Wanted, values: pa.Array) -> Mask:
    above = below = None
    if test.low is not None:
        compare = pc.greater if test.low_open else pc.greater_equal
        above = _true(compare(values, pa.scalar(test.low, values.type)))
    if test.high is not None:
        compare = pc.less if test.high_open else pc.less_equal
        below = _true(compare(values, pa.scalar(test.high, values.type)))
    if above is None or below is None:
        return below if above is None else above  # type: ignore[return-value]  # an interval has one end at least.
    return above & below


def _true(mask: pa.Array) -> Mask:
    """Return a boolean array as a numpy mask, null as False."""
    filled = mask.fill_null(False) if mask.null_count else mask
    return filled.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]  # pyarrow carries no types.

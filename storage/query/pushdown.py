"""A filter against typed columns: which rows surely pass, which may, and which files need not be opened.

Every node of a filter gives two masks, `may` (no passing row is outside) and `must` (every row inside passes); negation
swaps them. Rows between the two are for the exact predicate. They arise where a field of the row has a part in
`$residual`, where a path goes on below an array, and where an operator asks what a column can't tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import reduce

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents.filters import And, Compare, ElemMatch, Filter, Leaf, Nor, Not, Or
from parquedb.storage.files.column_stats import ColumnStats
from parquedb.storage.files.columns import RESIDUAL_COLUMN, kind_of_type
from parquedb.storage.files.residual import is_text
from parquedb.storage.files.shred import Columns
from parquedb.storage.query.bits import Bits, Mask, compared, constant, no_nulls, packed, to_mask
from parquedb.storage.query.bounds import NEVER, Wanted, wanted
from parquedb.storage.query.operator_masks import OPERATORS, operator_bits

_ELEMENTS = ""
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
    """Decoded rows: the columns of `paths_of` the filter, and `$residual` where one of those has a part in it."""

    columns: Columns
    length: int
    residual_paths: frozenset[str]
    _flags: dict[str, Bits | None] = field(default_factory=dict)

    def flagged_bits(self, name: str) -> Bits | None:
        """Return the rows where a top-level field may have a part in `$residual`; None for none."""
        if name not in self.residual_paths:
            return None
        if name not in self._flags:
            # The field is a key of the JSON object, so its quoted name must occur in the text.
            quoted = orjson.dumps(name).decode()
            self._flags[name] = no_nulls(pc.match_substring(self.columns[RESIDUAL_COLUMN], quoted))
        return self._flags[name]

    def flagged(self, name: str) -> Mask | None:
        """Return the same as a numpy mask."""
        bits = self.flagged_bits(name)
        return None if bits is None else to_mask(bits)


def fields_of(tree: Filter) -> frozenset[str]:
    """Return the top-level fields that a filter looks at."""
    return frozenset(name for leaf in _leaves(tree) for name in leaf.path[:1])


def paths_of(tree: Filter) -> dict[str, str]:
    """Return what of each top-level field a filter looks at: the one dotted path, or the field where there are more."""
    found: dict[str, str] = {}
    for leaf in _leaves(tree):
        for name in leaf.path[:1]:
            path = ".".join(leaf.path)
            found[name] = path if found.get(name, path) == path else name
    return found


def texts_of(tree: Filter) -> dict[str, frozenset[str]]:
    """Return top-level fields of which every passing row has one of some texts, where the field holds texts only."""
    if isinstance(tree, And):
        found: dict[str, frozenset[str]] = {}
        for part in tree.parts:
            for name, texts in texts_of(part).items():
                found[name] = found.get(name, texts) & texts
        return found
    if not isinstance(tree, Compare) or len(tree.path) != 1 or tree.op not in {"eq", "in"}:
        return {}
    operands = tree.value if tree.op == "in" else [tree.value]
    if not all(type(operand) is str and is_text(operand) for operand in operands):
        return {}
    return {tree.path[0]: frozenset(operands)}


def _leaves(tree: Filter) -> Iterator[Leaf]:
    if isinstance(tree, Leaf):
        yield tree
        return
    for part in _parts(tree):
        yield from _leaves(part)


def verdict(tree: Filter, facts: Facts) -> Verdict:
    """Return how many rows can pass, by statistics alone."""
    if isinstance(tree, Leaf):
        if isinstance(tree, Compare) and tree.op in _NEGATIONS:
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
    """Return (may, must) of the rows; the same array twice where the columns tell all."""
    may, must = bit_masks(tree, rows)
    mask = to_mask(may)
    return mask, mask if must is may else to_mask(must)


def bit_masks(tree: Filter, rows: Rows) -> tuple[Bits, Bits]:
    """Return (may, must) of the rows; the same array twice where the columns tell all."""
    if isinstance(tree, Leaf):
        if isinstance(tree, Compare) and tree.op in _NEGATIONS:
            return _negated(*_leaf_masks(_positive(tree), rows))
        return _leaf_masks(tree, rows)
    found = [bit_masks(part, rows) for part in _parts(tree)]
    if isinstance(tree, Not):
        return _negated(*found[0])
    if not found:
        everything = constant(isinstance(tree, And), rows.length)
        return everything, everything
    combine = pc.and_ if isinstance(tree, And) else pc.or_
    may = reduce(combine, [one for one, _ in found])
    must = may if all(one is other for one, other in found) else reduce(combine, [one for _, one in found])
    return _negated(may, must) if isinstance(tree, Nor) else (may, must)


def _negated(may: Bits, must: Bits) -> tuple[Bits, Bits]:
    inverse = pc.invert(must)
    return inverse, inverse if may is must else pc.invert(may)


def _parts(tree: And | Or | Nor | Not) -> Iterable[Filter]:
    return (tree.part,) if isinstance(tree, Not) else tree.parts


def _positive(leaf: Compare) -> Compare:
    return Compare(leaf.path, "eq" if leaf.op == "ne" else "in", leaf.value)


def _opposite(outcome: Verdict) -> Verdict:
    return {Verdict.NONE: Verdict.ALL, Verdict.ALL: Verdict.NONE}.get(outcome, Verdict.SOME)


def _passes_missing(leaf: Leaf) -> bool:
    """Whether a document without a value at the path passes."""
    if isinstance(leaf, ElemMatch):
        return False
    if leaf.op == "exists":
        return not leaf.value
    if leaf.op == "in":
        return any(value is None for value in leaf.value)
    return leaf.value is None and leaf.op in {"eq", "gte", "lte"}


def _leaf_verdict(leaf: Leaf, facts: Facts) -> Verdict:  # noqa: PLR0911 - one return per state of the column
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
    if isinstance(leaf, Compare) and leaf.op == "exists":
        some = every = bool(leaf.value)
    else:
        # No element is in a scalar.
        test = NEVER if isinstance(leaf, ElemMatch) else wanted(stats.kind, leaf.op, leaf.value)
        some, every = test.reach(stats)
    if not some and not (missing and stats.nulls):
        return Verdict.NONE
    return Verdict.ALL if every and (missing or not stats.nulls) else Verdict.SOME


def _leaf_masks(leaf: Leaf, rows: Rows) -> tuple[Bits, Bits]:
    passing, doubtful = _typed_masks(leaf, rows)
    flagged = rows.flagged_bits(_column(leaf))
    doubts = [doubt for doubt in (doubtful, flagged) if doubt is not None]
    if not doubts:
        return passing, passing
    doubt = reduce(pc.or_, doubts)
    must = pc.and_not(passing, doubt)
    return pc.or_(must, doubt), must


def _column(leaf: Leaf) -> str:
    """Return the name of the column that a path begins in; elements are a column without a name."""
    return leaf.path[0] if leaf.path else _ELEMENTS


def _typed_masks(leaf: Leaf, rows: Rows) -> tuple[Bits, Bits | None]:
    """Return which rows pass by their typed values, and those of which the types do not tell."""
    array: pa.Array | None = rows.columns.get(_column(leaf))
    rest = leaf.path[1:]
    while array is not None and rest and pa.types.is_struct(array.type):
        at = array.type.get_field_index(rest[0])
        array, rest = (None if at < 0 else pc.struct_field(array, [at])), rest[1:]
    missing = _passes_missing(leaf)
    if array is None:
        return constant(missing, rows.length), None
    listed = pa.types.is_list(array.type)
    if rest and not listed:
        # Nothing lies below a scalar: missing there, whether the scalar is or not.
        return constant(missing, rows.length), None
    absent = array.is_null() if missing else None
    if isinstance(leaf, Compare) and leaf.op == "exists" and not rest:
        return absent if absent is not None else array.is_valid(), None
    passing: Bits | None
    if rest:
        passing = doubtful = None
    elif listed:
        passing, doubtful = _list_masks(leaf, array)
    else:
        passing = _struct_bits(leaf, array) if pa.types.is_struct(array.type) else _scalar_bits(leaf, array)
        doubtful = None
    if passing is None:
        return constant(value=False, length=rows.length) if absent is None else absent, array.is_valid()
    return passing if absent is None else pc.or_(absent, passing), doubtful


def _struct_bits(leaf: Leaf, array: pa.Array) -> Bits | None:
    """Return which documents pass; None if their types don't tell."""
    if isinstance(leaf, Compare):
        if leaf.op == "type" and "object" in leaf.value:
            return array.is_valid()
        if leaf.op not in OPERATORS:
            return None
    return constant(value=False, length=len(array))


def _scalar_bits(leaf: Leaf, array: pa.Array) -> Bits | None:
    """Return which values of a scalar column pass; None if their type doesn't tell."""
    if isinstance(leaf, ElemMatch):
        return constant(value=False, length=len(array))
    if pa.types.is_dictionary(array.type):
        entries = _scalar_bits(leaf, array.dictionary)
        return None if entries is None else _by_dictionary(entries, array.indices)
    kind = kind_of_type(array.type)
    if leaf.op in OPERATORS:
        found = operator_bits(leaf.op, leaf.value, kind, array)
        return None if found is None else no_nulls(found)
    test = wanted(kind, leaf.op, leaf.value)
    return None if test.unknown else _passing(test, array)


def _list_masks(leaf: Leaf, array: pa.Array) -> tuple[Bits | None, Bits | None]:
    """Return which lists of scalars pass, None if their type doesn't tell; and those in doubt, if not all tell."""
    if isinstance(leaf, ElemMatch):
        if leaf.documents:
            return constant(value=False, length=len(array)), None
        elements = array.flatten()
        may, must = bit_masks(leaf.part, Rows({_ELEMENTS: elements}, len(elements), frozenset()))
        found = _any_of(must, array)
        return found, None if must is may else pc.and_not(_any_of(may, array), found)
    if leaf.op == "size":
        return no_nulls(pc.equal(pc.list_value_length(array), leaf.value)), None
    if leaf.op == "type" and "array" in leaf.value:
        return array.is_valid(), None
    operands = leaf.value if leaf.op == "in" else (leaf.value,)
    if any(type(operand) is list for operand in operands):
        return None, None
    # Nothing else is equal to, or ordered with, the list as a whole.
    elements = _scalar_bits(leaf, array.flatten())
    return None if elements is None else _any_of(elements, array), None


def _any_of(elements: Bits, array: pa.Array) -> Bits:
    """Return the lists of which an element is marked."""
    found = np.zeros(len(array), np.bool_)
    found[pc.list_parent_indices(array).filter(elements).to_numpy()] = True
    return packed(found)


def _passing(test: Wanted, array: pa.Array) -> Bits:
    values = array
    if pa.types.is_timestamp(array.type):
        values = array.view(pa.int64())
    elif pa.types.is_date32(array.type):
        values = array.view(pa.int32())
    if test.points is None:
        found = _within(test, values)
    elif not test.points:
        found = constant(value=False, length=len(array))
    elif len(test.points) <= _POINTS_ONE_BY_ONE:
        found = reduce(pc.or_, [compared("eq", values, point) for point in test.points])
    else:
        # `is_in` compares bits: 0.0 would not find -0.0.
        zeros = [-point for point in test.points if pa.types.is_floating(values.type) and point == 0]
        found = pc.is_in(values, value_set=pa.array([*test.points, *zeros], values.type))
    return no_nulls(pc.or_(found, pc.is_nan(values)) if test.nan else found)


def _by_dictionary(entries: Bits, indices: pa.Array) -> Bits:
    """Return the rows whose dictionary entry is among those marked."""
    marked = np.flatnonzero(to_mask(entries))
    if not len(marked):
        return constant(value=False, length=len(indices))
    if len(marked) == 1:
        return compared("eq", indices, int(marked[0]))
    return no_nulls(entries.take(indices))


def _within(test: Wanted, values: pa.Array) -> Bits:
    above = below = None
    if test.low is not None:
        above = compared("gt" if test.low_open else "gte", values, test.low)
    if test.high is not None:
        below = compared("lt" if test.high_open else "lte", values, test.high)
    if above is None or below is None:
        return below if above is None else above  # an interval has one end at least.
    return pc.and_(above, below)

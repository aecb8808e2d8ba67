"""The filter language: parse a filter, refuse what is not understood, and compile the rest to closures.

A filter becomes a small tree (`And`, `Or`, `Nor`, `Not`, `Compare`, `ElemMatch`) that a scan can push down to columns,
and a `Predicate` that decides about one document. The predicate is the truth; push-down may only skip what it would
refuse.

How a path meets arrays: a field that holds an array is matched by any of its elements or by the whole; on the way, the
path continues in every element that is a dict, and a segment of digits also selects the element at that index. An
element selected by the last segment is matched as it is, not element by element. `$ne`, `$nin` and
`{"$exists": False}` are the negations of `$eq`, `$in` and `{"$exists": True}`, so they hold only if no element matches.
`$size` and `$elemMatch` ask the array itself.

Source: MongoDB manual, "Query and Projection Operators"; docs/differences.md lists where we differ.
"""

from parquedb.documents.filters.operands import is_pattern
from parquedb.documents.filters.parser import (
    FILTER_DEPTH_MAX,
    FILTER_OPERANDS_MAX,
    INDEXES_MAX,
    PATTERNS_MAX,
    has_value_operators,
)
from parquedb.documents.filters.plain import plain
from parquedb.documents.filters.predicate import Predicate, compile_filter
from parquedb.documents.filters.tree import (
    EVERYTHING,
    NOTHING,
    And,
    Compare,
    CompareOp,
    ElemMatch,
    Filter,
    Leaf,
    Nor,
    Not,
    Or,
    count_operands,
)

__all__ = [
    "EVERYTHING",
    "FILTER_DEPTH_MAX",
    "FILTER_OPERANDS_MAX",
    "INDEXES_MAX",
    "NOTHING",
    "PATTERNS_MAX",
    "And",
    "Compare",
    "CompareOp",
    "ElemMatch",
    "Filter",
    "Leaf",
    "Nor",
    "Not",
    "Or",
    "Predicate",
    "compile_filter",
    "count_operands",
    "has_value_operators",
    "is_pattern",
    "plain",
]

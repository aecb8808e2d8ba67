"""Random conditions in MongoDB's language that ask for something that a value has, or nearly has."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from parquedb.documents.type_names import NAMES_OF

Conditions = st.SearchStrategy[Any]

NAMES = ["double", "string", "object", "array", "binData", "bool", "date", "int", "long", "decimal", "number", "null"]
PATTERNS = ["^a", "a$", "x|b", "[^x]", "^x.?$", "é", "^$", "B", "a.*b", "^[a-x]", "2.2"]


def conditions(value: Any, values: Conditions) -> Conditions:
    """Return conditions on a path: about `value`, which a document may have there, and about drawn `values`."""
    plain = operators(value, values)
    negated = plain.map(lambda condition: {"$not": condition})
    both = st.tuples(plain, plain).map(lambda pair: {**pair[0], **pair[1]})
    # A bare {} is an empty operator object to mongomock.
    return st.one_of(plain, plain, negated, both, plain if value == {} else st.just(value))


def operators(value: Any, values: Conditions, depth: int = 0) -> Conditions:
    """Return operator objects, each with one operator."""
    kinds: list[Callable[[], Conditions]] = [
        lambda: st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]).map(lambda op: {op: value}),
        lambda: st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(values, max_size=2), st.booleans()).map(
            lambda drawn: {drawn[0]: [value, *drawn[1]] if drawn[2] else drawn[1]}
        ),
        lambda: st.booleans().map(lambda exists: {"$exists": exists}),
        lambda: st.tuples(st.sampled_from([2, 3, -3, 4, 2.5]), st.sampled_from([0, 1, 2, -1, -2])).map(
            lambda pair: {"$mod": list(pair)}
        ),
        lambda: _regexes(value),
        lambda: st.sampled_from(["$startsWith", "$endsWith", "$contains"]).flatmap(
            lambda op: _pieces(value).map(lambda piece: {op: piece})
        ),
        lambda: st.sampled_from([0, 1, 2, len(value) if isinstance(value, list) else 3]).map(
            lambda size: {"$size": size}
        ),
        lambda: _types(value),
        lambda: st.lists(st.sampled_from(value) if isinstance(value, list) and value else values, max_size=2).map(
            lambda items: {"$all": items}
        ),
    ]
    if depth < 2:
        kinds += [
            lambda: _elem_match(value, values, depth).map(lambda part: {"$elemMatch": part}),
            lambda: st.lists(_elem_match(value, values, depth), min_size=1, max_size=2).map(
                lambda parts: {"$all": [{"$elemMatch": part} for part in parts]}
            ),
        ]
    return st.sampled_from(kinds).flatmap(lambda make: make())


def _regexes(value: Any) -> Conditions:
    own = _pieces(value).flatmap(lambda piece: st.sampled_from([f"^{re.escape(piece)}", re.escape(piece)]))
    patterns = st.sampled_from(PATTERNS) | own
    spelled = st.tuples(patterns, st.sampled_from(["", "i", "s", "ms", "i"])).map(
        lambda drawn: {"$regex": drawn[0], **({"$options": drawn[1]} if drawn[1] else {})}
    )
    compiled = patterns.flatmap(lambda text: st.sampled_from([re.compile(text), re.compile(text, re.IGNORECASE)]))
    listed = st.tuples(st.sampled_from(["$in", "$nin"]), compiled, st.booleans()).map(
        lambda drawn: {drawn[0]: [drawn[1], value] if drawn[2] else [drawn[1]]}
    )
    return st.one_of(spelled, spelled, compiled.map(lambda pattern: {"$not": pattern}), listed)


def _pieces(value: Any) -> Conditions:
    text = next((item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)), "x")
    if not text.isprintable():
        text = "x"
    return st.sampled_from([text, text[:1], text[:2], text[-1:], "a", "x", "", "é", "aa"])


def _types(value: Any) -> Conditions:
    own = sorted(NAMES_OF[type(value)])
    names = st.sampled_from([*own, *own, *NAMES])
    return (names | st.lists(names, min_size=1, max_size=2) | st.sampled_from([1, 2, 4, 16, 18])).map(
        lambda given: {"$type": given}
    )


def _elem_match(value: Any, values: Conditions, depth: int) -> Conditions:
    elements = st.sampled_from(value) if isinstance(value, list) and value else values
    return elements.flatmap(lambda element: _of_element(element, values, depth + 1))


def _of_element(element: Any, values: Conditions, depth: int) -> Conditions:
    if isinstance(element, dict) and element and all(name and "." not in name for name in element):
        names = st.sampled_from(sorted(name for name in element if name.isalnum()) or ["a"])
        return names.flatmap(
            lambda name: operators(element.get(name), values, depth).map(lambda condition: {name: condition})
        )
    return operators(element, values, depth)

"""What a document inserted by an upsert starts with: the equalities of its filter.

Source: MongoDB manual, "Upsert with Operator Expressions" and "Upsert with Dotted `_id` Query".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from parquedb.documents.paths import Path, split_path
from parquedb.documents.regex import Regex
from parquedb.documents.values import MANAGED_FIELDS, normalize_value
from parquedb.errors import InvalidFilterError


def seed_from_filter(filter: Mapping[str, Any] | None) -> dict[str, Any]:  # noqa: A002 - MongoDB's name for it
    """Return the fields that a filter says are equal to a value: plain values and `$eq`, also inside `$and`.

    The filter is one that `compile_filter` has accepted. Fields that only the database writes are left out, and so are
    all other conditions.

    Raises:
        InvalidFilterError: a path is given two values, or one inside a value.
    """
    seed: dict[str, Any] = {}
    for text, value in _equalities(filter or {}):
        path = split_path(text)
        if path[0] not in MANAGED_FIELDS:
            _put(seed, path, value, text)
    return seed


def _equalities(filter: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:  # noqa: A002 - as above
    for key, condition in filter.items():
        if key == "$and":
            for part in condition:
                yield from _equalities(part)
        elif key == "$or" and len(condition) == 1:
            yield from _equalities(condition[0])
        elif not key.startswith("$") or key in {"$id", "$type"}:
            if type(condition) is Regex or isinstance(condition, re.Pattern):
                continue  # A pattern is no value.
            if not _has_operators(condition):
                yield key, normalize_value(condition)
            elif "$eq" in condition:
                yield key, normalize_value(condition["$eq"])


def _has_operators(condition: Any) -> bool:
    return isinstance(condition, Mapping) and any(str(key).startswith("$") for key in condition)


def _put(seed: dict[str, Any], path: Path, value: Any, text: str) -> None:
    node = seed
    for name in path[:-1]:
        node = node.setdefault(name, {})
        if type(node) is not dict:
            raise InvalidFilterError(f"an upsert cannot make {text!r}: the filter gives a value above it", path=text)
    if path[-1] in node:
        raise InvalidFilterError(f"an upsert cannot make {text!r}: the filter gives it twice", path=text)
    node[path[-1]] = value

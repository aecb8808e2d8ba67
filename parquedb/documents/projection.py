"""Projections: which parts of a document a query gives back.

Including or excluding, never both, `$id` aside. A path goes through the documents in an array, at any depth of arrays.

    ["title", "author.name"]          these; `$id` and `version` always
    {"title": 1, "author.name": 1}    these and `$id`
    {"title": 1, "$id": 0}            these alone
    {"body": 0}                       everything else

Source: MongoDB manual, "Project Fields to Return from Query"; docs/differences.md lists where we differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parquedb.documents.paths import Path, PathError, split_path
from parquedb.documents.values import type_name
from parquedb.errors import InvalidProjectionError

FIELDS_MAX = 1_000

ID: Final = "$id"
ALWAYS: Final = (ID, "version")

Tree = dict[str, "Tree | None"]
"""Names at one level; None for a whole field, a tree for parts of it."""


class Projection:
    """Call it with a document for a new one that has the wanted parts; what is inside is shared, not copied.

    Attributes:
        columns: Top-level fields that it needs; None for all.
        hidden: Top-level fields that it leaves out as a whole, by name.
    """

    __slots__ = ("_tree", "columns", "hidden")

    def __init__(self, tree: Tree, *, excluding: bool) -> None:
        self._tree = tree
        self.columns = None if excluding else tuple(tree)
        self.hidden = frozenset(name for name, below in tree.items() if below is None) if excluding else frozenset()

    def __call__(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the projected document."""
        return excluded(document, self._tree) if self.columns is None else included(document, self._tree)


def parse_projection(spec: Any) -> Projection | None:
    """Read a projection: a list of fields to include, or a dict of fields to include (1) or to exclude (0).

    Returns:
        None for whole documents: no `spec`, or an empty dict.

    Raises:
        InvalidProjectionError: a field is no path, or the form is none of these.
    """
    if spec is None:
        return None
    if isinstance(spec, Mapping):
        return _of_mapping(spec)
    if isinstance(spec, str) or not isinstance(spec, Sequence):
        raise InvalidProjectionError(f"fields: expected a list of fields or a dict, got {type_name(spec)}")
    _check_count(spec)
    tree: Tree = dict.fromkeys(ALWAYS)
    for name in spec:
        add(tree, field_path(name))
    return Projection(tree, excluding=False)


def _of_mapping(spec: Mapping[Any, Any]) -> Projection | None:
    _check_count(spec)
    wanted = {field_path(name): _is_wanted(name, choice) for name, choice in spec.items()}
    with_id = wanted.pop((ID,), None)
    kinds = set(wanted.values())
    if len(kinds) > 1:
        names = [".".join(path) for path, include in wanted.items() if include is not next(iter(wanted.values()))]
        raise InvalidProjectionError(
            f"fields: expected to include fields or to exclude them, got both: {names[0]!r} differs from the first"
        )
    excluding = not kinds.pop() if kinds else with_id is False
    tree: Tree = {}
    if excluding and with_id:
        raise InvalidProjectionError("fields: '$id' cannot be included by a list of what is excluded")
    if (with_id is False) if excluding else (with_id is not False):
        tree[ID] = None
    for path in wanted:
        if not add(tree, path):
            raise InvalidProjectionError(f"fields: {'.'.join(path)!r} is named together with a part of it")
    return Projection(tree, excluding=excluding) if spec else None


def field_path(name: Any) -> Path:
    """Return the path of a field to project.

    Raises:
        InvalidProjectionError: it is none.
    """
    if not isinstance(name, str):
        raise InvalidProjectionError(f"fields: expected the name of a field, got {type_name(name)}")
    try:
        return split_path(name)
    except PathError as error:
        raise InvalidProjectionError(f"fields: {name[:80]!r} is no field: {error}") from None


def add(tree: Tree, path: Path) -> bool:
    """Add a path to a tree, the wider of two that overlap; return whether it overlapped none."""
    *above, last = path
    node = tree
    for step in above:
        below = node.setdefault(step, {})
        if below is None:
            return False
        node = below
    clear = last not in node
    node[last] = None
    return clear


def included(document: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """Return the part of a document that a tree names."""
    result: dict[str, Any] = {}
    for name, below in tree.items():
        if name in document:
            value = document[name]
            if below is None:
                result[name] = value
            elif type(value) is dict:
                result[name] = included(value, below)
            elif type(value) is list:
                result[name] = _included_items(value, below)
    return result


def _included_items(items: list[Any], tree: Tree) -> list[Any]:
    # Nothing lies below an element that is neither a document nor a list, so it is left out.
    return [
        included(item, tree) if isinstance(item, dict) else _included_items(item, tree)
        for item in items
        if isinstance(item, dict | list)
    ]


def excluded(document: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """Return a document without the parts that a tree names."""
    result = dict(document)
    for name, below in tree.items():
        if name in result:
            if below is None:
                del result[name]
            else:
                result[name] = _excluded_below(result[name], below)
    return result


def _excluded_below(value: Any, tree: Tree) -> Any:
    if type(value) is dict:
        return excluded(value, tree)
    return [_excluded_below(item, tree) for item in value] if type(value) is list else value


def _is_wanted(name: Any, choice: Any) -> bool:
    if isinstance(choice, bool | int | float):
        return bool(choice)
    detail = ""
    if isinstance(choice, Mapping) and choice:
        detail = f" with {next(iter(choice))!s:.40}; computed fields are for $project of aggregate()"
    raise InvalidProjectionError(f"fields: expected 1 or 0 for {name[:80]!r}, got {type_name(choice)}{detail}")


def _check_count(spec: Sequence[Any] | Mapping[Any, Any]) -> None:
    if len(spec) > FIELDS_MAX:
        raise InvalidProjectionError(f"fields: expected at most {FIELDS_MAX:,} fields, got {len(spec):,}")

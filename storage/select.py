"""Which parts of a document a query gives back: the `fields` of a find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parquedb.documents.paths import PathError, split_path
from parquedb.errors import InvalidProjectionError
from parquedb.storage.columns import ID_COLUMN

ALWAYS = (ID_COLUMN, "version")

Tree = dict[str, "Tree | None"]


class Selection:
    """Included fields. Call it with a document for a new one that has only these.

    Attributes:
        columns: Top-level fields needed.
    """

    __slots__ = ("_tree", "columns")

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.columns = tuple(tree)

    def __call__(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the included part; what is inside is shared, not copied."""
        return _included(document, self._tree)


def select_fields(fields: Sequence[str]) -> Selection:
    """Return the selection of names and dotted paths, `$id` and `version` always among them.

    A path through a list includes that part of each dict in the list, as in MongoDB; the rest of the list is left out.

    Raises:
        InvalidProjectionError: a field is no path.
    """
    tree: Tree = dict.fromkeys(ALWAYS)
    for name in fields:
        try:
            *above, last = split_path(name)
        except (PathError, AttributeError, TypeError) as error:
            raise InvalidProjectionError(f"{name!r} is no field to include: {error}") from None
        node: Tree | None = tree
        for step in above:
            node = node.setdefault(step, {}) if node is not None else None
        if node is not None:
            node[last] = None  # The whole field; parts of it asked for before are inside.
    return Selection(tree)


def _included(document: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, below in tree.items():
        if name in document:
            value = document[name]
            if below is None:
                result[name] = value
            elif type(value) is dict:
                result[name] = _included(value, below)
            elif type(value) is list:
                result[name] = [_included(item, below) for item in value if type(item) is dict]
    return result

"""`$project`, `$addFields` and `$unset`: documents with other fields. What is inside is shared, never changed.

Source: MongoDB manual, "$project" and "$addFields".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from parquedb.documents.aggregation.expressions import Compiler, Evaluate
from parquedb.documents.budget import Budget
from parquedb.documents.comparison import MISSING
from parquedb.documents.paths import PathError, split_path
from parquedb.documents.projection import excluded
from parquedb.documents.values import DOCUMENT_BYTES_MAX, type_name
from parquedb.errors import InvalidPipelineError, QueryMemoryError

Document = dict[str, Any]
Node = Any
"""True for a field as it is, None for one left out, a closure that computes it, or a dict of the names below."""

KEYS: Final = ("$id", "_id")
"""Always kept unless excluded: the id of a document, and the key of a group."""

_BOUNDED: Final = frozenset({str, list, dict})


def project(compiler: Compiler, spec: Any) -> tuple[Callable[[Iterable[Document]], Iterator[Document]], bool]:
    """Compile `$project`; also return whether it includes (and so bounds what earlier stages must deliver).

    Raises:
        InvalidPipelineError: it is not understood.
    """
    wanted = {".".join(path): (path, value) for path, value in _flat("$project", spec)}
    choices = {name: _choice(value) for name, (_, value) in wanted.items()}
    plain = {name: choice for name, choice in choices.items() if name not in KEYS}
    excluding = bool(plain) and all(choice is False for choice in plain.values())
    excluding |= not plain and all(choice is False for choice in choices.values())
    mixed = [name for name, choice in plain.items() if choice is False]
    if not excluding and mixed:
        raise InvalidPipelineError(f"$project: expected to include or to exclude fields, got both ({mixed[0]!r})")
    tree: dict[str, Node] = {}
    if excluding:
        for name, (path, _) in wanted.items():
            if choices[name] is not False:
                raise InvalidPipelineError(f"$project: {name!r} cannot be included by a list of what is excluded")
            _place("$project", tree, path, None)
        return (lambda documents: (excluded(document, tree) for document in documents)), False
    for name in KEYS:
        if name not in wanted:
            tree[name] = True
            compiler.fields.add(name)
    for name, (path, value) in wanted.items():
        if choices[name] is False:
            continue
        if choices[name] is True:
            compiler.fields.add(path[0])
        _place("$project", tree, path, True if choices[name] is True else compiler.compile(value))
        if choices[name] is None:
            compiler.fields.add(path[0])  # A computed field inside an array needs the array.
    return (lambda documents: (_included(document, tree, document) for document in documents)), True


def add_fields(compiler: Compiler, spec: Any) -> Callable[[Iterable[Document]], Iterator[Document]]:
    """Compile `$addFields`.

    Raises:
        InvalidPipelineError: it is not understood.
    """
    tree: dict[str, Node] = {}
    for path, value in _flat("$addFields", spec):
        _place("$addFields", tree, path, compiler.compile(value))
    return lambda documents: (_extended(document, tree, document) for document in documents)


def unset(spec: Any) -> Callable[[Iterable[Document]], Iterator[Document]]:
    """Compile `$unset`.

    Raises:
        InvalidPipelineError: it is not understood.
    """
    names = [spec] if isinstance(spec, str) else spec
    if not isinstance(names, list | tuple) or not names:
        raise InvalidPipelineError(f"$unset: expected a field or a list of fields, got {type_name(spec)}")
    tree: dict[str, Node] = {}
    for name in names:
        _place("$unset", tree, _path("$unset", name), None)
    return lambda documents: (excluded(document, tree) for document in documents)


def _flat(stage: str, spec: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each path and what is said of it; a dict without operators says something of what is below."""
    if not isinstance(spec, Mapping) or not spec:
        got = "an empty dict" if isinstance(spec, Mapping) else type_name(spec)
        raise InvalidPipelineError(f"{stage}: expected a dict of fields, got {got}")
    for name, value in spec.items():
        path = (*above, *_path(stage, name, nested=bool(above)))
        if isinstance(value, Mapping) and not any(isinstance(key, str) and key.startswith("$") for key in value):
            yield from _flat(stage, value, path)
        else:
            yield path, value


def _path(stage: str, name: Any, *, nested: bool = False) -> tuple[str, ...]:
    if not isinstance(name, str):
        raise InvalidPipelineError(f"{stage}: expected the name of a field, got {type_name(name)}")
    try:
        # Only a first segment may not start with `$`.
        return split_path(f"x.{name}")[1:] if nested else split_path(name)
    except PathError as error:
        raise InvalidPipelineError(f"{stage}: {name[:80]!r} is no field: {error}") from None


def _choice(value: Any) -> bool | None:
    """Whether a field is included or excluded; None for a computed one."""
    return bool(value) if isinstance(value, bool | int | float) else None


def _place(stage: str, tree: dict[str, Node], path: tuple[str, ...], node: Node) -> None:
    *above, last = path
    for name in above:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise InvalidPipelineError(f"{stage}: {'.'.join(path)!r} is named together with a part of it")
    if last in tree:
        raise InvalidPipelineError(f"{stage}: {'.'.join(path)!r} is named together with a part of it")
    tree[last] = node


def _included(value: Mapping[str, Any], tree: dict[str, Node], root: Document) -> Document:
    result: Document = {}
    for name, node in tree.items():
        if node is True:
            if name in value:
                result[name] = value[name]
        elif type(node) is dict:
            found = _included_below(value.get(name, MISSING), node, root)
            if found is not MISSING:
                result[name] = found
        else:
            computed = _computed(node, root)
            if computed is not MISSING:
                result[name] = computed
    return result


def _included_below(value: Any, tree: dict[str, Node], root: Document) -> Any:
    kind = type(value)
    if kind is dict:
        return _included(value, tree, root)
    if kind is list:
        found = (_included_below(item, tree, root) for item in value)
        return [item for item in found if item is not MISSING]
    # What is no document gives way to one where something is computed below it.
    return _included({}, tree, root) if _computes(tree) else MISSING


def _computes(tree: dict[str, Node]) -> bool:
    return any(_computes(node) if type(node) is dict else node is not True for node in tree.values())


def _extended(value: Mapping[str, Any], tree: dict[str, Node], root: Document) -> Document:
    result = dict(value)
    for name, node in tree.items():
        if type(node) is dict:
            result[name] = _extended_below(value.get(name), node, root)
            continue
        computed = _computed(node, root)
        if computed is not MISSING:
            result[name] = computed
        else:
            result.pop(name, None)
    return result


def _extended_below(value: Any, tree: dict[str, Node], root: Document) -> Any:
    if type(value) is list:
        return [_extended_below(item, tree, root) for item in value]
    return _extended(value if type(value) is dict else {}, tree, root)


def _computed(node: Evaluate, root: Document) -> Any:
    value = node(root)
    if type(value) in _BOUNDED:
        # Stages that double a value would make one that nothing could hold or walk through.
        try:
            Budget(DOCUMENT_BYTES_MAX * 4).hold((value,))
        except QueryMemoryError:
            raise InvalidPipelineError("a computed value is larger than a document may be") from None
    return value

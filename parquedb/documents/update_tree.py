"""The changes of an update as a tree of names, which finds conflicts while it grows and copies each container once.

A name leads to a change, or to the node of a longer path. Where a name is `$[]` or `$[<identifier>]`, what is below it
is applied to every element of an array, or to those that pass the array filter of that identifier; `$` is the element
through which the document matched the filter of the write.

Source: MongoDB manual, "$[<identifier>]", "$[]" and "$ (update)".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple

from parquedb.documents.comparison import MISSING
from parquedb.documents.paths import Path, array_index
from parquedb.documents.update_errors import cannot_create, conflict, dotted, no_array, too_much
from parquedb.documents.values import type_name
from parquedb.errors import InvalidUpdateError

PADDING_MAX: Final = 1_500_000
"""The most nulls that one update adds to the arrays of one document to reach an index."""

ELEMENT_STEPS_MAX: Final = 5_000_000
"""The most steps that one update takes over the elements of one document's arrays; a second's work.

A step is one change of an element by `$[]` or `$[<identifier>]`, one operand of a condition asked of it, or one
comparison of it in a sort.
"""

EACH: Final = "$[]"
FIRST: Final = "$"

Change = Callable[[Any], Any]
"""From the old value to the new one; `MISSING` stands for no value on both sides."""


class ElementTest(NamedTuple):
    """A condition on the elements of an array.

    Attributes:
        matches: Whether an element passes.
        operands: How many operands that takes.
    """

    matches: Callable[[Any], bool]
    operands: int


_PLAIN, _SPREAD, _FIRST = 0, 1, 2


def removed(_: Any) -> Any:
    """The change that leaves nothing."""
    return MISSING


class Run:
    """What the nodes of one update share, and the state of the `apply` that is under way.

    Attributes:
        filters: The array filters, by `$[<identifier>]`: of an element under its identifier.
        firsts: By the path of each array that `$` stands in, what the element has to pass.
        moment: What `$currentDate` sets.
        operands: Of an update whose operands are given when it is applied (see `update_shapes`); empty otherwise.
        inserting: Whether a document is being made, so that `$` means nothing.
    """

    __slots__ = ("_element_steps", "_padding", "filters", "firsts", "inserting", "moment", "operands")

    def __init__(self, filters: Mapping[str, ElementTest]) -> None:
        self.filters = filters
        self.firsts: dict[Path, ElementTest] = {}
        self.operands: Sequence[Any] = ()

    def start(self, moment: datetime | None, *, inserting: bool) -> None:
        """Begin with another document."""
        self.moment = moment
        self.inserting = inserting
        self._padding = 0
        self._element_steps = 0

    def pad(self, array: list[Any], index: int, at: Path) -> None:
        """Fill an array with null up to an index.

        Raises:
            InvalidUpdateError: more of it than one update may do.
        """
        missing = index - len(array)
        self._padding += missing
        if self._padding > PADDING_MAX:
            what = f"pad the array with {missing:,} nulls to reach index {index}"
            raise too_much((*at, str(index)), what, PADDING_MAX, self._padding)
        array.extend([None] * missing)

    def step(self, count: int, at: Path) -> None:
        """Take note of steps over the elements of an array.

        Raises:
            InvalidUpdateError: more than one update may take.
        """
        self._element_steps += count
        if self._element_steps > ELEMENT_STEPS_MAX:
            raise too_much(at, f"take {count:,} steps over the elements", ELEMENT_STEPS_MAX, self._element_steps)


class Node:
    """The changes below one path.

    Args:
        path: Where it is.
        run: Shared with all nodes of the update.

    Attributes:
        children: By name.
    """

    __slots__ = ("_creates", "_kind", "_path", "_run", "_size", "children")

    def __init__(self, path: Path, run: Run) -> None:
        self._path = path
        self._run = run
        self.children: dict[str, Node | Change] = {}
        self._kind = _PLAIN
        self._size = 0
        """How many changes there are below."""
        self._creates = False
        """Whether anything below needs what it names; `$unset` alone creates no parents and minds no scalar."""

    def add(self, op: str, path: Path, change: Change, *, creates: bool) -> None:
        """Add a change.

        Args:
            op: The operator, for the error.
            path: Where, from the root, which this node has to be.
            change: What happens there.
            creates: Whether it makes something where nothing is.

        Raises:
            InvalidUpdateError: something else is changed there, above or below.
        """
        last = len(path) - 1
        # Arrays that are asked for their elements have to be there, whatever the operator.
        asked = max((at for at, name in enumerate(path) if _kind_of(name)), default=-1) if last else -1
        node = self
        for depth in range(len(self._path), last + 1):
            name = path[depth]
            kind = _kind_of(name) if asked >= 0 else _PLAIN
            children = node.children
            if not children:
                node._kind = kind
            elif node._kind != kind:
                # Elements by index and elements by condition may be the same ones.
                raise conflict(op, path, path[: depth + 1])
            node._creates |= creates or depth <= asked
            node._size += 1
            child = children.get(name)
            if depth == last:
                if child is not None:
                    raise conflict(op, path, path)
                children[name] = change
            elif child is None:
                node = children[name] = Node(path[: depth + 1], self._run)
            elif isinstance(child, Node):
                node = child
            else:
                raise conflict(op, path, path[: depth + 1])

    def apply(self, value: Any) -> Any:
        """Return a value with the changes made; the value itself is left as it is.

        Raises:
            InvalidUpdateError: it is not of a kind that can take them.
        """
        kind = type(value)
        if kind is dict:
            return self.apply_to_dict(value)
        if kind is list:
            return self._apply_to_list(value)
        if not self._creates:
            return value
        if self._kind:
            raise no_array(next(iter(self.children)), self._path, value)
        if value is MISSING:
            return self.apply_to_dict({})
        raise cannot_create(self._path, next(iter(self.children)), type_name(value))

    def apply_to_dict(self, value: dict[str, Any]) -> dict[str, Any]:
        """`apply` to a dict."""
        if self._kind:
            raise no_array(next(iter(self.children)), self._path, value)
        result = value.copy()
        for name, child in self.children.items():
            old = result.get(name, MISSING)
            new = child.apply(old) if isinstance(child, Node) else child(old)
            if new is not MISSING:
                result[name] = new
            elif old is not MISSING:
                del result[name]
        return result

    def _apply_to_list(self, value: list[Any]) -> list[Any]:
        if self._kind == _SPREAD:
            return self._apply_to_elements(value)
        result = value.copy()
        places = [
            (self._first(value) if name == FIRST else array_index(name), name, child)
            for name, child in self.children.items()
        ]
        # As in MongoDB, whatever the order of keys: an element is made before a later one pads its place with null.
        places.sort(key=itemgetter(0))
        for index, name, child in places:
            there = 0 <= index < len(result)
            old = result[index] if there else MISSING
            new = child.apply(old) if isinstance(child, Node) else child(old)
            if there:
                result[index] = None if new is MISSING else new
            elif new is not MISSING:
                if index < 0:
                    raise cannot_create(self._path, name, "an array")
                self._run.pad(result, index, self._path)
                result.append(new)
        return result

    def _apply_to_elements(self, value: list[Any]) -> list[Any]:
        filters = self._run.filters
        asked = [filters[name] for name in self.children if name != EACH]
        self._run.step(len(value) * (self._size + sum(one.operands for one in asked)), self._path)
        choices = [(None if name == EACH else filters[name].matches, child) for name, child in self.children.items()]
        result = value.copy()
        for index, old in enumerate(value):
            chosen = [child for passes, child in choices if passes is None or passes(old)]
            if chosen:
                change = chosen[0] if len(chosen) == 1 else self._joined(chosen, (*self._path, str(index)))
                new = change.apply(old) if isinstance(change, Node) else change(old)
                result[index] = None if new is MISSING else new
        return result

    def _first(self, value: list[Any]) -> int:
        test = self._run.firsts[self._path]
        self._run.step(len(value) * test.operands, self._path)
        index = next((at for at, item in enumerate(value) if test.matches(item)), -1)
        if index < 0 or self._run.inserting:
            at = dotted(self._path)
            message = f"{FIRST} at {at!r}: the filter matched no single element of the array"
            raise InvalidUpdateError(
                message, operator=FIRST, path=at, expected="an element that matches", actual="none"
            )
        return index

    def _joined(self, found: Sequence[Node | Change], path: Path) -> Node | Change:
        """Return one tree of those that meet at one element."""
        if len(found) == 1:
            return found[0]
        nodes = [one for one in found if isinstance(one, Node)]
        if len(nodes) < len(found) or len({node._kind for node in nodes}) > 1:
            raise conflict(EACH, path, path)
        below: dict[str, list[Node | Change]] = {}
        for node in nodes:
            for name, child in node.children.items():
                below.setdefault(name, []).append(child)
        whole = Node(path, self._run)
        whole._kind = nodes[0]._kind
        whole._size = sum(node._size for node in nodes)
        whole._creates = any(node._creates for node in nodes)
        whole.children = {name: self._joined(children, (*path, name)) for name, children in below.items()}
        return whole


def _kind_of(name: str) -> int:
    if name == FIRST:
        return _FIRST
    return _SPREAD if name.startswith("$[") else _PLAIN

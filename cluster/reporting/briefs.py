"""What the client tells hooks of operations on single documents, where in brief will do: see `observability.brief`."""

from typing import Final

from parquedb.actors.reporting.descriptions import batch_size, bytes_of, mutation_numbers, mutation_result, query_result
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.transport.delivery import Delivery
from parquedb.observability.brief import UNKNOWN, Brief, Kind
from parquedb.observability.hooks import HookRegistry

_VERSIONED: Final = frozenset({"create", "update", "replace", "restore"})
_GET: Final = ("rows", "seq", "attempts")
_DELETE: Final = ("rows", "bytes", "seq", "errors", "attempts")
_CHANGE: Final = ("rows", "bytes", "version", "seq", "errors", "attempts")
_SEVERAL: Final = ("batch_size", "rows", "bytes", "version", "seq", "errors", "attempts")
_OF_SEVERAL: Final = frozenset({"batch", "create_many"})
_NAMES: Final = {
    "get": _GET,
    "delete": _DELETE,
    **dict.fromkeys(_VERSIONED, _CHANGE),
    **dict.fromkeys(_OF_SEVERAL, _SEVERAL),
}
"""What is told of each, as fields of results."""


class Briefs:
    """Who is told of the operations of one link.

    Args:
        hooks: The hooks.
        namespace: Where it happens.
        actor: Name of the actor that is asked.
    """

    __slots__ = ("_actor", "_found", "_generation", "_hooks", "_namespace")

    def __init__(self, hooks: HookRegistry, namespace: str, actor: str) -> None:
        self._hooks = hooks
        self._namespace = namespace
        self._actor = actor
        self._found: dict[str, Brief | None] = {}
        self._generation = hooks.generation

    def of(self, operation: Operation) -> Brief | None:
        """Return who is told of an operation in brief; None where it is to be announced like any other."""
        if self._generation != self._hooks.generation:
            self._generation, self._found = self._hooks.generation, {}
        kind, found = operation.kind, self._found
        if kind in found:
            brief = found[kind]
        else:
            names = _NAMES.get(kind)
            group = "query" if kind == "get" else "mutation"
            brief = self._hooks.brief(Kind(group, kind, self._namespace, self._actor, names)) if names else None
            found[kind] = brief
        # A part of a load goes by the name of the method that it belongs to.
        return None if kind in _OF_SEVERAL and "method" in operation.options else brief


def told_in_brief(delivery: Delivery, answer: Outcome | None, error: BaseException | None, ended_s: float) -> None:
    """Tell how an operation ended.

    Args:
        delivery: It; it has a `brief`.
        answer: What it came to; None where it failed.
        error: Why it failed.
        ended_s: Monotonic seconds.
    """
    brief, span, operation = delivery.brief, delivery.span, delivery.operation
    if brief is None or span is None:
        return
    if answer is not None and not delivery.is_whole and (numbers := _numbers(operation, answer)) is not None:
        brief.end(span, delivery.parent, delivery.began_s, ended_s, numbers)
        return
    delivery.make_whole()
    if answer is None:
        brief.fail(delivery, error or RuntimeError("the operation was given up"))
    elif operation.is_write:
        brief.finish(delivery, mutation_result([operation], [answer], ended_s - delivery.began_s, answer.attempts))
    else:
        brief.finish(
            delivery, query_result([operation], [answer], ended_s - delivery.began_s, attempts=answer.attempts)
        )


def _numbers(operation: Operation, answer: Outcome) -> tuple[int, ...] | None:
    """Return what there is to tell, by `_NAMES`; None where a result has to say it."""
    value, seq, kind = answer.value, answer.seq, operation.kind
    if kind in _VERSIONED and type(value) is dict:
        version = value.get("version")
        if not seq or type(version) is not int or "return_document" in operation.options:
            return None
        return (1, operation.size or bytes_of(operation), version, seq, 0, 1)
    if kind == "get":
        return None if answer.cost is not None or not seq else (0 if value is None else 1, seq, 1)
    if kind in _OF_SEVERAL:
        size = batch_size(operation)
        return (size if size > 1 else UNKNOWN, *mutation_numbers([operation], [answer]), 1)
    if type(value) is not int or not seq:
        return None
    return (value, operation.size or bytes_of(operation), seq, 0, 1)

"""What the client tells hooks of its methods, where any listens: a context before, a result or the error after."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from parquedb.actors.reporting.announcements import UNANNOUNCED
from parquedb.actors.reporting.descriptions import context_of, mutation_result, query_result
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.observability.contexts import MutationResult, QueryResult
from parquedb.observability.hooks import Group, HookRegistry
from parquedb.observability.otel.propagation import current_traceparent

_QUESTIONS: Final = frozenset({"stats"})
"""Methods of the actor that only look; the others that are asked for by name do something."""


def watches(hooks: HookRegistry, operation: Operation) -> bool:
    """Whether anybody listens to such an operation."""
    if not hooks.active:
        return False
    return hooks.hears("mutation" if operation.is_write else "query") and operation.kind not in UNANNOUNCED


class Watch:
    """One announced call of the client."""

    __slots__ = ("_announced", "_group", "_operation")

    def __init__(
        self,
        hooks: HookRegistry,
        namespace: str,
        operation: Operation,
        *,
        actor: str | None = None,
        group: Group | None = None,
    ) -> None:
        """Announce that `operation` starts.

        Args:
            hooks: Whom to tell.
            namespace: Where it happens.
            operation: What it is.
            actor: Name of the actor that is asked, if one is.
            group: `query` or `mutation`, where the operation's kind does not say it.
        """
        self._operation = operation
        self._group: Group = group or ("mutation" if operation.is_write else "query")
        context = context_of(
            self._group,
            [operation],
            namespace,
            side="client",
            actor=actor,
            traceparent=current_traceparent(),
            details=hooks.wants_details(self._group),
        )
        self._announced = hooks.start(self._group, context)

    def end(self, outcome: Outcome) -> None:
        """Announce that it went well."""
        took_s, attempts = self._announced.elapsed_s(), outcome.attempts
        if self._group == "mutation":
            self._announced.end(mutation_result([self._operation], [outcome], took_s, attempts))
        else:
            self._announced.end(query_result([self._operation], [outcome], took_s, attempts=attempts))

    def end_with(self, facts: Mapping[str, Any]) -> None:
        """Announce that it went well, with fields of the result that no outcome says."""
        result = MutationResult if self._group == "mutation" else QueryResult
        self._announced.end(result(self._announced.elapsed_s(), **facts))

    def error(self, error: BaseException) -> None:
        """Announce that it failed."""
        self._announced.error(error)


@contextmanager
def watched_ask(hooks: HookRegistry, namespace: str, method: str, actor: str | None) -> Iterator[dict[str, Any]]:
    """Announce a question to the actor itself; what the caller puts into the dict are fields of the result."""
    with watched_method(
        hooks, "query" if method in _QUESTIONS else "mutation", namespace, method, actor=actor
    ) as facts:
        yield facts


@contextmanager
def watched_method(
    hooks: HookRegistry, group: Group, namespace: str, method: str, *, actor: str | None = None, **options: Any
) -> Iterator[dict[str, Any]]:
    """Announce a method that is no single operation: it may enclose several, or ask no owner at all.

    Args:
        hooks: Whom to tell.
        group: `query` or `mutation`.
        namespace: Where it happens.
        method: Its name.
        actor: Name of the actor that is asked, if one is.
        options: Its arguments.

    Yields:
        A dict, for fields of the result.
    """
    facts: dict[str, Any] = {}
    if not hooks.hears(group):
        yield facts
        return
    given = {name: value for name, value in options.items() if value is not None}
    watch = Watch(hooks, namespace, Operation(method, None, None, given), actor=actor, group=group)
    try:
        yield facts
    except BaseException as error:
        watch.error(error)
        raise
    watch.end_with(facts)

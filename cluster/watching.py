"""What the client tells hooks of a call: a context before, a result or the error after. Used only when hooks listen."""

from typing import Any

from parquedb.actors.operations import INSERT_ARROW, Operation, Outcome
from parquedb.observability.contexts import MutationContext, MutationResult, QueryContext, QueryResult
from parquedb.observability.hooks import HookRegistry


class Watch:
    """One announced call of the client."""

    __slots__ = ("_announced", "_operation")

    def __init__(self, hooks: HookRegistry, namespace: str, operation: Operation) -> None:
        """Announce that `operation` starts."""
        self._operation = operation
        ids = () if operation.id is None else (operation.id,)
        options = dict(operation.options)
        if operation.is_write:
            size = len(operation.body) if operation.kind in {"create_many", "batch"} else 1
            # A load may be what another method came to.
            context = MutationContext(
                options.pop("method", operation.kind), namespace, ids=ids, options=options, batch_size=max(1, size)
            )
            self._announced = hooks.start("mutation", context)
        else:
            filter_ = options.pop("filter", None)
            self._announced = hooks.start(
                "query", QueryContext(operation.kind, namespace, filter=filter_, options=options, ids=ids)
            )

    def end(self, outcome: Outcome) -> None:
        """Announce that it went well."""
        took_s, value = self._announced.elapsed_s(), outcome.value
        if self._operation.is_write:
            version = value.get("version") if isinstance(value, dict) else None
            rows, errors = self._written(value)
            self._announced.end(MutationResult(took_s, rows=rows, version=version, seq=outcome.seq, errors=errors))
        else:
            self._announced.end(QueryResult(took_s, rows=self._read(value), seq=outcome.seq))

    def error(self, error: BaseException) -> None:
        """Announce that it failed."""
        self._announced.error(error)

    def _written(self, value: Any) -> tuple[int, int]:
        if self._operation.kind == "create_many":
            return len(value["ids"]) - len(value["errors"]), len(value["errors"])
        if self._operation.kind == INSERT_ARROW:
            return value["rows"], 0
        if isinstance(value, list):
            return len(value), 0
        return value if isinstance(value, int) else 1, 0

    def _read(self, value: Any) -> int:
        if self._operation.kind == "find":
            return len(value["items"])
        if self._operation.kind in {"history", "changes"}:
            return len(value["changes"])
        if isinstance(value, list):
            return len(value)
        return int(value) if isinstance(value, int) else int(value is not None)

"""Counting what this process asks of one namespace. Always on, so single operations get no more than a timestamp."""

from typing import Final

from parquedb.actors.reporting.metering import rows_of
from parquedb.actors.requests.operations import BULK_TERMS, READS, Operation, Outcome
from parquedb.observability.metrics.series import Series
from parquedb.observability.metrics.tally import Tally

_SINGLE: Final = frozenset({"create", "update", "replace", "delete", "restore", "get"})
"""Operations on one document; all others are rare enough to be looked at."""


class ClientMeter:
    """Counts the operations of one link.

    Args:
        tally: Where.
        namespace: Whom they are for.

    Attributes:
        single: Where operations on one document that go well are counted, by their kind, once there was one.
    """

    __slots__ = ("_namespace", "_tally", "single")

    def __init__(self, tally: Tally, namespace: str) -> None:
        self._tally = tally
        self._namespace = namespace
        self.single: dict[str, Series] = {}

    def settled(
        self, operation: Operation, answer: Outcome | None, error: BaseException | None, began_s: float
    ) -> None:
        """Count an operation that is over now.

        Args:
            operation: What was asked.
            answer: The answer, if there is one.
            error: Why there is none; what its caller gave up failed with no `Exception`, and does not count.
            began_s: When it was asked, monotonic seconds.
        """
        kind = operation.kind
        if kind == BULK_TERMS:
            return  # A question of ours, not of a caller.
        took_s = self._tally.now() - began_s
        if answer is not None:
            series = self._series(operation)
            if kind in _SINGLE:
                self.single[kind] = series
            series.add_call(took_s, rows=rows_of(kind, answer.value))
        elif isinstance(error, Exception):
            self._series(operation).add_call(took_s, errors={type(error).__name__: 1})

    def _series(self, operation: Operation) -> Series:
        category = "query" if operation.kind in READS else "mutation"
        # A load may be what another method came to.
        name = operation.options.get("method", operation.kind) if operation.is_write else operation.kind
        rows_each = int(operation.kind in _SINGLE)
        return self._tally.series(category, name, self._namespace, "client", rows_each=rows_each)

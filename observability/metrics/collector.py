"""Counting out of hooks: each operation by its context and its result, and what happens to owners and circuits.

    UpkeepCollector    commits, calls to the store, flushes, compactions, cold starts, circuits
    MetricsCollector   that, and the queries and mutations of callers

Give `MetricsCollector` to `connect(hooks=[...])` or `register_hook` for numbers of your own. Behind `db.metrics()`,
which is always on, is an `UpkeepCollector`; the operations of callers are counted there without contexts and hooks.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from parquedb.observability.brief import UNKNOWN, Kind
from parquedb.observability.contexts import (
    CircuitContext,
    ColdStartContext,
    CommitContext,
    CommitResult,
    CompactionContext,
    FlushContext,
    MutationContext,
    MutationResult,
    QueryContext,
    QueryResult,
    StorageContext,
    StorageResult,
)
from parquedb.observability.metrics.series import OTHER, Series
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.metrics.tally import Tally

_UNDER_WAY_MAX: Final = 10_000
_KINDS_MAX: Final = 10_000
_BRIEF: Final = {"commit": ("writes", "bytes"), "storage": ("rows", "bytes")}
"""Which of the numbers are counted as rows and bytes."""

_Call = QueryContext | MutationContext


class UpkeepCollector:
    """A hook that counts what owners and storage do for the operations of callers.

    Attributes:
        inline: It is quick, and is called in place.
        tally: Where it counts.
    """

    inline = True

    def __init__(self, tally: Tally, namespace: str = "") -> None:
        """Count in `tally`; circuits are those of `namespace`."""
        self.tally = tally
        self._namespace = namespace
        # A failed operation is told without its duration.
        self._started: dict[str, float] = {}
        self._briefs: dict[Kind, _Counted] = {}

    def brief(self, kind: Kind) -> "_Counted | None":
        """Count commits and calls to the store in brief (`parquedb.observability.brief`)."""
        found = self._briefs.get(kind)
        # Whoever has changed what is counted wants to be told as ever.
        if found is None and kind.group in _BRIEF and type(self) in _WHOLE and len(self._briefs) < _KINDS_MAX:
            found = self._briefs[kind] = _Counted(self.tally, kind)
        return found

    def on_flush(self, ctx: FlushContext) -> None:
        """Count a flush by its reason."""
        self.tally.flush(ctx.namespace, ctx.reason)

    def on_compaction(self, ctx: CompactionContext) -> None:
        """Count a compaction."""
        self.tally.compaction(ctx.namespace)

    def on_cold_start(self, ctx: ColdStartContext) -> None:
        """Count an opening and how long it took."""
        self.tally.cold_start(ctx.namespace, ctx.duration_s)

    def on_circuit_change(self, ctx: CircuitContext) -> None:
        """Count a change of a circuit."""
        self.tally.circuit(self._namespace, ctx.circuit, ctx.after)

    def on_storage_start(self, ctx: StorageContext) -> None:
        """Note when a call to the store began."""
        self._start(ctx.operation_id)

    def on_storage_end(self, ctx: StorageContext, result: StorageResult) -> None:
        """Count a call to the store."""
        self._end(self._of_storage(ctx), ctx, result, size=result.bytes)

    def on_storage_error(self, ctx: StorageContext, error: BaseException) -> None:
        """Count a call to the store that failed, or was answered with a no."""
        self._fail(self._of_storage(ctx), ctx, error)

    def on_commit_start(self, ctx: CommitContext) -> None:
        """Note when a commit began."""
        self._start(ctx.operation_id)

    def on_commit_end(self, ctx: CommitContext, result: CommitResult) -> None:
        """Count a commit and the changes in it."""
        series = self.tally.series("commit", str(ctx.kind), ctx.namespace, "actor")
        self._started.pop(ctx.operation_id, None)
        series.add_call(result.duration_s, rows=ctx.writes, size=ctx.bytes)

    def on_commit_error(self, ctx: CommitContext, error: BaseException) -> None:
        """Count a commit that did not land, or may not have."""
        self._fail(self.tally.series("commit", str(ctx.kind), ctx.namespace, "actor"), ctx, error)

    def _of_storage(self, ctx: StorageContext) -> Series:
        return self.tally.series("storage", ctx.operation, ctx.namespace or "", ctx.side)

    def _start(self, operation_id: str) -> None:
        started = self._started
        if len(started) >= _UNDER_WAY_MAX:
            # Of operations that were never ended the first are the oldest.
            started.pop(next(iter(started)), None)
        started[operation_id] = self.tally.now()

    def _end(  # noqa: PLR0913 - what is known of an operation at its end
        self,
        series: Series,
        ctx: _Call | StorageContext,
        result: QueryResult | MutationResult | StorageResult,
        *,
        size: int | None,
        count: int = 1,
        errors: dict[str, int] | None = None,
    ) -> None:
        self._started.pop(ctx.operation_id, None)
        series.add_call(result.duration_s, count=count, errors=errors, rows=result.rows or 0, size=size or 0)

    def _fail(
        self, series: Series, ctx: _Call | StorageContext | CommitContext, error: BaseException, *, count: int = 1
    ) -> None:
        now_s = self.tally.now()
        took_s = now_s - self._started.pop(ctx.operation_id, now_s)
        series.add_call(took_s, count=count, errors={type(error).__name__: count})


class MetricsCollector(UpkeepCollector):
    """A hook that counts operations of every category, with their durations, errors, rows and bytes.

    A pickled one begins at zero where it arrives: each process counts for itself, and `MetricsSnapshot.merge` adds up.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        """Begin to count, in a tally of its own unless one is given."""
        super().__init__(tally or Tally())

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return MetricsCollector, ()

    def get_metrics(self) -> MetricsSnapshot:
        """Return everything counted so far."""
        return self.tally.taken()

    def on_query_start(self, ctx: QueryContext) -> None:
        """Note when a read began."""
        self._start(ctx.operation_id)

    def on_query_end(self, ctx: QueryContext, result: QueryResult) -> None:
        """Count a read."""
        self._end(self._of_call("query", ctx), ctx, result, count=ctx.batch_size, size=result.bytes)
        if result.cached is not None:
            self.tally.cached(ctx.namespace, hits=int(result.cached), misses=int(not result.cached))

    def on_query_error(self, ctx: QueryContext, error: BaseException) -> None:
        """Count a read that failed."""
        self._fail(self._of_call("query", ctx), ctx, error, count=ctx.batch_size)

    def on_mutation_start(self, ctx: MutationContext) -> None:
        """Note when a write began."""
        self._start(ctx.operation_id)

    def on_mutation_end(self, ctx: MutationContext, result: MutationResult) -> None:
        """Count a write; of those it carried, what was refused is told by number alone."""
        refused = {OTHER: result.errors} if result.errors else None
        self._end(self._of_call("mutation", ctx), ctx, result, count=ctx.batch_size, size=result.bytes, errors=refused)

    def on_mutation_error(self, ctx: MutationContext, error: BaseException) -> None:
        """Count a write that failed."""
        self._fail(self._of_call("mutation", ctx), ctx, error, count=ctx.batch_size)

    def _of_call(self, category: str, ctx: _Call) -> Series:
        return self.tally.series(category, ctx.operation, ctx.namespace, ctx.side)


_WHOLE: Final = frozenset({UpkeepCollector, MetricsCollector})


class _Counted:
    """Counts the operations of one kind; see `parquedb.observability.brief.Works`."""

    __slots__ = ("_bytes", "_kind", "_rows", "_tally", "told")

    def __init__(self, tally: Tally, kind: Kind) -> None:
        rows, size = _BRIEF[kind.group]
        self._tally = tally
        self._kind = (kind.group, kind.operation, kind.namespace, kind.side)
        self._rows, self._bytes = kind.names.index(rows), kind.names.index(size)
        self.told = 0

    def start(self, began_s: float, above: bytes | None, callers: bytes) -> "_Counting":  # noqa: ARG002 - a protocol's
        self.told += 1
        return _Counting(self, began_s)

    def count(self, took_s: float, rows: int, size: int, errors: dict[str, int] | None = None) -> None:
        self.told += 1
        self._tally.series(*self._kind).add_call(took_s, errors=errors, rows=rows, size=size)

    def well(self, took_s: float, numbers: Sequence[int]) -> None:
        rows, size = numbers[self._rows], numbers[self._bytes]
        self.count(took_s, 0 if rows == UNKNOWN else rows, 0 if size == UNKNOWN else size)


class _Counting:
    """One operation that is under way."""

    __slots__ = ("_began_s", "_counted")

    def __init__(self, counted: _Counted, began_s: float) -> None:
        self._counted = counted
        self._began_s = began_s

    def finish(self, ended_s: float, numbers: Sequence[int], words: Sequence[str | None]) -> None:  # noqa: ARG002 - a protocol's
        self._counted.well(ended_s - self._began_s, numbers)

    def fail(self, ended_s: float, error: BaseException, *_: object) -> None:
        self._counted.count(ended_s - self._began_s, 0, 0, {type(error).__name__: 1})

"""Counting what an owner is asked, by the call: a call of many operations costs little more than one of one."""

import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from parquedb.actors.reporting.read_counts import ReadCounts, count_reads_in
from parquedb.actors.reporting.survey import Work
from parquedb.actors.requests.operations import (
    CHANGES,
    GETS,
    INSERT_ARROW,
    JOINED,
    READS,
    Operation,
    Outcome,
    SessionRequest,
    patience_s,
)
from parquedb.actors.state.sessions import request_id
from parquedb.actors.writes.update_run import Answers
from parquedb.errors import ParqueDBError
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.logs import get_logger
from parquedb.observability.losses import LOG_RECORDS, SPANS
from parquedb.observability.metrics.collector import UpkeepCollector
from parquedb.observability.metrics.highlights import Highlights, RecentError, SlowOperation
from parquedb.observability.metrics.series import Series
from parquedb.observability.metrics.snapshot import (
    CacheMetrics,
    CircuitKey,
    CircuitMetrics,
    MetricsSnapshot,
    OwnerGauges,
    hooks_of,
)
from parquedb.observability.metrics.tally import Tally
from parquedb.observability.otel.propagation import Traceparents
from parquedb.settings import Settings
from parquedb.storage.breaker.circuit import CircuitBreaker

_LISTED: Final[Mapping[str, str]] = {"find": "items", "history": "changes", "changes": "changes"}
_REFUSED: Final = "BackpressureError"

_logger = get_logger(__name__)


class OwnerMeter:
    """Counts for one owner: its calls by itself, all else as a hook.

    Args:
        namespace: Whose owner.
        hooks: Of its process.
        tally: Where to count.
    """

    def __init__(self, namespace: str, hooks: HookRegistry, tally: Tally) -> None:
        self._namespace = namespace
        self._hooks = hooks
        self._tally = tally
        self._reads = ReadCounts()
        self._series: dict[str, Series] = {}
        self._highlights = Highlights()
        hooks.register_hook(UpkeepCollector(tally, namespace))

    @staticmethod
    def wanted(settings: Settings, namespace: str, hooks: HookRegistry) -> "OwnerMeter | None":
        """Return a meter where the settings want one."""
        return OwnerMeter(namespace, hooks, Tally()) if settings.metrics else None

    async def metered(self, operations: Sequence[Operation], executing: Awaitable[list[Outcome]]) -> list[Outcome]:
        """Await the outcomes of a call and count it."""
        began_s = time.monotonic()
        count_reads_in(self._reads)
        outcomes = await executing
        try:
            self._answered(operations, outcomes, began_s)
        except Exception:  # What has been done must be answered, whether it can be counted or not.
            _logger.exception("namespace %s: a call could not be counted", self._namespace)
        return outcomes

    def refused(self, error: ParqueDBError) -> None:
        """Count a call that found no room; nobody has looked yet how much it carries."""
        self._tally.refused(self._namespace)
        self._highlights.failed(self._namespace, "execute", error)

    def turned_away(self, error: ParqueDBError) -> None:
        """Count a call without a valid grant; nobody has looked what it carries."""
        series = self._tally.series("query", "execute", self._namespace, "actor")
        series.add_call(0.0, errors={type(error).__name__: 1})
        self._highlights.failed(self._namespace, "execute", error)

    def work(self) -> tuple[Work, Work]:
        """Return the reads and the writes of callers so far, without those that follow changes: waiting is no work."""
        # A copy, made in one step; what travels joined shares the series of what it stands for.
        counted = self._series.copy().items()
        found = {id(each): (kind in READS, each) for kind, each in counted if kind != CHANGES}.values()
        reads, writes = ([each.taken() for reads, each in found if reads is wanted] for wanted in (True, False))
        return Work.of(reads), Work.of(writes)

    def slowest(self) -> tuple[SlowOperation, ...]:
        """Return the calls that took longest of late."""
        return self._highlights.slowest()

    def errors(self) -> tuple[RecentError, ...]:
        """Return what failed of late."""
        return self._highlights.errors()

    def taken(self, lag: Mapping[str, Any], circuits: Iterable[CircuitBreaker]) -> MetricsSnapshot:
        """Return everything counted so far, and how the owner is now.

        Args:
            lag: See `parquedb.actors.reporting.statistics.lag`; empty while idle.
            circuits: Of its storage.
        """
        namespace = self._namespace
        counted = self._tally.taken()
        waiting = OwnerGauges()
        if lag:
            waiting = OwnerGauges(
                lag["queued_ops"], lag["queued_bytes"], max(lag["queue_age_s"], lag["commit_pending_s"])
            )
        here = MetricsSnapshot(
            owners={namespace: waiting},
            cache={namespace: CacheMetrics(self._reads.hits, self._reads.misses)},
            hooks=hooks_of(self._hooks.stats()),
            logs_dropped=LOG_RECORDS.lost(),
            spans_dropped=SPANS.lost(),
        )
        # A circuit may become half open without a change that hooks are told of.
        states = {CircuitKey(namespace, one.name): one.state.value for one in circuits}
        now = {
            key: CircuitMetrics(state, counted.circuits.get(key, CircuitMetrics()).transitions)
            for key, state in states.items()
        }
        return replace(MetricsSnapshot.merge(counted, here), circuits={**counted.circuits, **now})

    def _answered(self, operations: Sequence[Operation], outcomes: Sequence[Outcome], began_s: float) -> None:
        """Count a call that is over.

        Args:
            operations: What it asked.
            outcomes: The answers, in the same order.
            began_s: When it came in, monotonic seconds.
        """
        now_s = time.monotonic()
        took_s, highlights = now_s - began_s, self._highlights
        if took_s > highlights.slow_from_s or now_s >= highlights.renewed_s:
            worked_s = max(0.0, took_s - patience_s(operations))
            if worked_s > highlights.slow_from_s or now_s >= highlights.renewed_s:
                highlights.slow(_slow(self._namespace, operations, worked_s))
        if len(operations) == 1:
            one = _Sum()
            one.add(operations[0], outcomes[0])
            self._count(operations[0].kind, one, took_s)
            return
        sums: dict[str, _Sum] = {}
        for operation, outcome in zip(operations, outcomes, strict=True):
            found = sums.get(operation.kind)
            if found is None:
                found = sums[operation.kind] = _Sum()
            found.add(operation, outcome)
        for kind, one in sums.items():
            self._count(kind, one, took_s)

    def _count(self, kind: str, one: "_Sum", took_s: float) -> None:
        series = self._series.get(kind)
        if series is None:
            category = "query" if kind in READS else "mutation"
            series = self._tally.series(category, JOINED.get(kind, kind), self._namespace, "actor")
            self._series[kind] = series
        series.add_call(took_s, count=one.count, errors=one.errors, rows=one.rows, size=one.size)
        if not one.errors:
            return
        if _REFUSED in one.errors:
            self._tally.refused(self._namespace, one.errors[_REFUSED])
        for operation, error, count in one.failed.values():
            self._highlights.failed(self._namespace, JOINED.get(kind, kind), error, count=count, **_origin([operation]))


class _Sum:
    """What the operations of one kind in one call came to."""

    __slots__ = ("count", "errors", "failed", "rows", "size")

    def __init__(self) -> None:
        self.count = self.rows = self.size = 0
        self.errors: dict[str, int] = {}
        self.failed: dict[str, tuple[Operation, ParqueDBError, int]] = {}

    def add(self, operation: Operation, outcome: Outcome) -> None:
        """Add one, which may stand for several."""
        kind, value, count = operation.kind, outcome.value, operation.count
        self.count += count
        self.size += operation.size
        if outcome.error is not None:
            self._refuse(operation, outcome.error, count)
        elif kind == GETS:
            self.rows += count - value.count(None)
        elif kind in JOINED:
            refused = refusals_of(value)
            for error in refused:
                self._refuse(operation, error, 1)
            self.rows += count - len(refused)
        else:
            self.rows += rows_of(kind, value)

    def _refuse(self, operation: Operation, error: ParqueDBError, count: int) -> None:
        name = type(error).__name__
        total = self.errors[name] = self.errors.get(name, 0) + count
        self.failed[name] = operation, error, total


def _slow(namespace: str, operations: Sequence[Operation], took_s: float) -> SlowOperation:
    """Describe a call that may be one of the slowest."""
    kinds = {JOINED.get(operation.kind, operation.kind) for operation in operations}
    name = kinds.pop() if len(kinds) == 1 else "execute"
    count = sum(operation.count for operation in operations)
    return SlowOperation(namespace, name, count, took_s, 0.0, **_origin(operations))


def _origin(operations: Sequence[Operation]) -> dict[str, str | None]:
    """Return what operations are found by in logs and traces: of the first that has it, if one has."""
    request = next((each.request for each in operations if each.request is not None), None)
    spans = next((each.spans for each in operations if each.spans is not None), None)
    traceparent = None if spans is None else Traceparents(spans).leading()
    return {
        "request_id": request_id(request) if isinstance(request, SessionRequest) else request,
        "trace_id": None if traceparent is None else traceparent.split("-")[1],
    }


def refusals_of(value: Any) -> list[ParqueDBError]:
    """Return why some of the writes of a run were refused, from its value."""
    if isinstance(value, Answers):
        return list(value.refused.values())
    # A run of which a retry was under way is answered one by one.
    return [each.error for each in value if each.error is not None] if isinstance(value, list) else []


def rows_of(kind: str, value: Any) -> int:
    """Return how many documents the answer to an operation tells of; 0 for one of a form unknown here."""
    try:
        return _rows_of(kind, value)
    except (KeyError, TypeError):
        return 0  # A number more or less must not turn an answer into an error.


def _rows_of(kind: str, value: Any) -> int:
    listed = _LISTED.get(kind)
    if listed is not None:
        return len(value[listed])
    if kind == "create_many":
        return len(value["ids"]) - len(value["errors"])
    if kind == INSERT_ARROW:
        return int(value["rows"])
    if kind in {"update_many", "upsert"}:
        return int(value["modified"]) + (value["upserted_id"] is not None)
    if isinstance(value, list):
        return len(value)
    return int(value) if isinstance(value, int) else int(value is not None)

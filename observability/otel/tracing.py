"""Spans out of hooks: what ParqueDB does, in the words of OpenTelemetry's database conventions.

    span                   kind              parent
    {operation} {ns}       CLIENT            the caller's active span
    {operation} {ns}       SERVER (actor)    the context's `traceparent`: the first operation the call carries
    commit {ns}            INTERNAL          the first sampled write in the group; links to the others
    storage.{operation}    CLIENT            the active span: the commit, or the read that needs the object
    flush {ns}, ...        INTERNAL          the context's `traceparent`, if any

A storage span of a local directory or of memory is INTERNAL, since nothing remote is called.

Source:
    OpenTelemetry semantic conventions, "Database client spans" (stable); `parquedb.*` attributes are ours.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider

from parquedb.errors import AlreadyExistsError, ETagMismatchError, ObjectNotFoundError, ParqueDBError
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
from parquedb.observability.otel.active_span import ActiveSpan
from parquedb.observability.otel.propagation import context_from, span_context_of

DB_SYSTEM = "parquedb"
LINKS_MAX = 128
"""Links on one span; the SDK's own default limit, beyond which it would drop the first ones."""

_OPEN_MAX = 10_000
_LOCAL_BACKENDS = frozenset({"local", "memory"})
# Answers that a caller asks for on purpose: the span says so, and is no failed one.
_ANSWERS = (ObjectNotFoundError, AlreadyExistsError, ETagMismatchError)


class OpenTelemetryHook:
    """A hook that makes one span per operation and one per commit group.

    Register it in every process that shall be traced. It pickles, but a provider does not travel: elsewhere the hook
    uses that process's global one.
    """

    inline = True
    """Stay in the operation's own context, however slow: spans nest by it."""

    def __init__(self, tracer_provider: TracerProvider | None = None, *, record_exceptions: bool = False) -> None:
        """Make spans with a provider.

        Args:
            tracer_provider: The global one by default, looked up for each span until one is set.
            record_exceptions: Whether spans carry messages and stacks of errors. They may quote documents.
        """
        self._tracer = trace.get_tracer("parquedb", tracer_provider=tracer_provider)
        self._record_exceptions = record_exceptions
        self._open: dict[int, ActiveSpan] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self._record_exceptions,))

    def on_query_start(self, ctx: QueryContext) -> None:
        """Start a span for a read."""
        self._start_call(ctx)

    def on_query_end(self, ctx: QueryContext, result: QueryResult) -> None:
        """End the span of a read."""
        self._end(ctx, result)

    def on_query_error(self, ctx: QueryContext, error: BaseException) -> None:
        """End the span of a read that failed."""
        self._fail(ctx, error)

    def on_mutation_start(self, ctx: MutationContext) -> None:
        """Start a span for a write."""
        self._start_call(ctx)

    def on_mutation_end(self, ctx: MutationContext, result: MutationResult) -> None:
        """End the span of a write."""
        self._end(ctx, result)

    def on_mutation_error(self, ctx: MutationContext, error: BaseException) -> None:
        """End the span of a write that failed."""
        self._fail(ctx, error)

    def on_storage_start(self, ctx: StorageContext) -> None:
        """Start a span for one attempt of a storage call."""
        kind = SpanKind.INTERNAL if ctx.backend in _LOCAL_BACKENDS else SpanKind.CLIENT
        span = self._start(ctx, f"storage.{ctx.operation}", kind, _parent(ctx.traceparent))
        if span.is_recording():
            attributes: dict[str, Any] = {
                "parquedb.storage.operation": ctx.operation,
                "parquedb.storage.key": ctx.key,
                "parquedb.storage.backend": ctx.backend or None,
                "parquedb.storage.request.bytes": ctx.bytes,
                "parquedb.storage.range.start": ctx.start,
                "parquedb.storage.range.length": ctx.length,
                "parquedb.attempt": ctx.attempt if ctx.attempt > 1 else None,
                db.DB_NAMESPACE: ctx.namespace,
            }
            span.set_attributes(_known(attributes))

    def on_storage_end(self, ctx: StorageContext, result: StorageResult) -> None:
        """End the span of a storage call."""
        self._end(ctx, result)

    def on_storage_error(self, ctx: StorageContext, error: BaseException) -> None:
        """End the span of a storage call that failed, or that was answered with a no."""
        self._fail(ctx, error)

    def on_commit_start(self, ctx: CommitContext) -> None:
        """Start the span of a commit group, linked to the writes it carries."""
        parents = tuple(dict.fromkeys(ctx.traceparents))
        # The first sampled one: under an unsampled parent the group would vanish from its neighbours' traces too.
        parent = next((one for one in parents if _sampled(one)), parents[0] if parents else None)
        # No fallback to the active span: the task that commits was started by some earlier, unrelated call.
        span = self._start(
            ctx,
            f"commit {ctx.namespace}",
            SpanKind.INTERNAL,
            context_from(parent),
            links=_links(one for one in parents if one != parent),
        )
        if span.is_recording():
            attributes: dict[str, Any] = {
                db.DB_OPERATION_NAME: "commit",
                db.DB_OPERATION_BATCH_SIZE: ctx.writes if ctx.writes > 1 else None,
                "parquedb.commit.kind": ctx.kind,
                "parquedb.commit.epoch": ctx.epoch,
                "parquedb.commit.position": ctx.position,
                "parquedb.commit.writes": ctx.writes,
                "parquedb.commit.bytes": ctx.bytes,
                "parquedb.actor": ctx.actor,
            }
            span.set_attributes(_database(ctx.namespace) | _known(attributes))

    def on_commit_end(self, ctx: CommitContext, result: CommitResult) -> None:
        """End the span of a commit group that landed."""
        self._end(ctx, result)

    def on_commit_error(self, ctx: CommitContext, error: BaseException) -> None:
        """End the span of a commit group that did not land, or may not have."""
        self._fail(ctx, error)

    def on_flush(self, ctx: FlushContext) -> None:
        """Make a span of a flush that is over."""
        self._past("flush", ctx)

    def on_compaction(self, ctx: CompactionContext) -> None:
        """Make a span of a compaction that is over."""
        self._past("compaction", ctx)

    def on_cold_start(self, ctx: ColdStartContext) -> None:
        """Make a span of an opening that is over."""
        self._past("cold_start", ctx)

    def on_circuit_change(self, ctx: CircuitContext) -> None:
        """Note the change on the active span, whose call caused it."""
        attributes = {"parquedb.circuit": ctx.circuit, "parquedb.circuit.before": ctx.before}
        trace.get_current_span().add_event(
            "parquedb.circuit_change", attributes | {"parquedb.circuit.after": ctx.after}
        )

    def _start_call(self, ctx: QueryContext | MutationContext) -> None:
        span = self._start(
            ctx,
            f"{ctx.operation} {ctx.namespace}",
            SpanKind.CLIENT if ctx.side == "client" else SpanKind.SERVER,
            # The client's caller is in the same process: its span is the active one.
            _parent(ctx.traceparent if ctx.side == "actor" else None),
            links=_links(one for one in dict.fromkeys(ctx.traceparents) if one != ctx.traceparent),
        )
        if span.is_recording():
            attributes: dict[str, Any] = {
                db.DB_OPERATION_NAME: ctx.operation,
                db.DB_OPERATION_BATCH_SIZE: ctx.batch_size if ctx.batch_size > 1 else None,
                "parquedb.operation.id": ctx.operation_id,
                "parquedb.attempt": ctx.attempt if ctx.attempt > 1 else None,
                "parquedb.actor": ctx.actor,
            }
            span.set_attributes(_database(ctx.namespace) | _known(attributes))

    def _start(
        self, subject: object, name: str, kind: SpanKind, parent: Context, links: list[Link] | None = None
    ) -> Span:
        span = self._tracer.start_span(name, parent, kind, links=links)
        opened = ActiveSpan(span, subject)
        with self._lock:
            # An operation that is never ended must not hold memory for ever.
            lost = self._open.pop(next(iter(self._open))) if len(self._open) >= _OPEN_MAX else None
            self._open[id(subject)] = opened
        if lost is not None:
            lost.span.end()
        return span

    def _take(self, subject: object) -> Span | None:
        with self._lock:
            opened = self._open.pop(id(subject), None)
        if opened is None:
            return None
        opened.detach()
        return opened.span

    def _end(self, subject: object, result: object) -> None:
        span = self._take(subject)
        if span is None:
            return
        if span.is_recording():
            span.set_attributes(_result_attributes(subject, result))
        span.end()

    def _fail(self, subject: object, error: BaseException) -> None:
        span = self._take(subject)
        if span is None:
            return
        if span.is_recording():
            span.set_attribute(ERROR_TYPE, type(error).__name__)
            if isinstance(error, ParqueDBError):
                span.set_attribute(db.DB_RESPONSE_STATUS_CODE, str(error.code.value))
            if not (isinstance(subject, StorageContext) and isinstance(error, _ANSWERS)):
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                if self._record_exceptions:
                    span.record_exception(error)
        span.end()

    def _past(self, what: str, ctx: FlushContext | CompactionContext | ColdStartContext) -> None:
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            f"{what} {ctx.namespace}",
            context_from(ctx.traceparent),
            SpanKind.INTERNAL,
            start_time=end_ns - int(ctx.duration_s * 1e9),
        )
        if span.is_recording():
            facts = {
                f"parquedb.{what}.{field.name}": getattr(ctx, field.name)
                for field in fields(ctx)
                if field.name not in {"namespace", "duration_s", "traceparent"}
            }
            span.set_attributes(_database(ctx.namespace) | {db.DB_OPERATION_NAME: what} | _known(facts))
        span.end(end_ns)


def _rebuild(record_exceptions: bool) -> OpenTelemetryHook:
    return OpenTelemetryHook(record_exceptions=record_exceptions)


def _parent(traceparent: str | None) -> Context:
    """Return the remote parent if one is named, with the active context's other values; else the active context."""
    return context_from(traceparent, otel_context.get_current())


def _sampled(traceparent: str) -> bool:
    span_context = span_context_of(traceparent)
    return span_context is not None and span_context.trace_flags.sampled


def _links(traceparents: Iterable[str]) -> list[Link] | None:
    links: list[Link] = []
    for one in traceparents:
        if len(links) == LINKS_MAX:
            break
        span_context = span_context_of(one)
        if span_context is not None and span_context.trace_flags.sampled:
            links.append(Link(span_context))
    return links or None


def _database(namespace: str) -> dict[str, Any]:
    # A namespace is both: the collection that is named and the unit that is owned.
    return {db.DB_SYSTEM_NAME: DB_SYSTEM, db.DB_NAMESPACE: namespace, db.DB_COLLECTION_NAME: namespace}


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not known; OpenTelemetry has no None."""
    return {name: value for name, value in attributes.items() if value is not None}


_RESULT_NAMES = {
    QueryContext: "parquedb.result",
    MutationContext: "parquedb.result",
    CommitContext: "parquedb.commit",
    StorageContext: "parquedb.storage.response",
}


def _result_attributes(subject: object, result: object) -> dict[str, Any]:
    prefix = _RESULT_NAMES[type(subject)]
    # The span has its own duration; a second one would only disagree.
    names = [field.name for field in fields(result) if field.name != "duration_s"]  # type: ignore[arg-type]
    attributes = _known({f"{prefix}.{name}": getattr(result, name) for name in names})
    if isinstance(result, QueryResult) and result.rows is not None:
        attributes["db.response.returned_rows"] = result.rows
    return attributes

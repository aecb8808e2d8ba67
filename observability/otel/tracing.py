"""Spans out of hooks: what ParqueDB does, in the words of OpenTelemetry's database conventions.

    span                   kind              parent
    {operation} {ns}       CLIENT            the caller's active span
    {operation} {ns}       SERVER (actor)    the first sampled operation the call carries; links to the others
    commit {ns}            INTERNAL          the call that brought the first write; links to the writes it carries
    storage.{operation}    CLIENT            the active span: the commit, or the read that needs the object
    {operation} {ns} attempt  INTERNAL       the active span: the operation that was sent more than once
    flush {ns}, ...        INTERNAL          the context's `traceparent`, if any

A storage span of a local directory or of memory is INTERNAL, since nothing remote is called. All names and attributes
are in `docs/tracing.md`.

Source:
    OpenTelemetry semantic conventions, "Database client spans" (stable); `parquedb.*` attributes are ours.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider

from parquedb.observability.brief import Kind
from parquedb.observability.contexts import (
    AttemptContext,
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
from parquedb.observability.otel.brief_spans import NUMBERS_MAX, BriefSpans
from parquedb.observability.otel.lean_span import SpanTemplate
from parquedb.observability.otel.lean_tracer import LeanSpans, SpanSource, TracerSpans
from parquedb.observability.otel.propagation import Traceparents, context_from, is_sampled
from parquedb.observability.otel.vocabulary import (
    LINKS_MAX,
    attempt_template,
    call_name,
    call_template,
    commit_template,
    known,
    mark_failed,
    own_template,
    result_attributes,
    storage_template,
)

_OPEN_MAX: Final = 10_000
_TEMPLATES_MAX: Final = 10_000


class OpenTelemetryHook:
    """A hook that makes one span per operation and one per commit group.

    Register it in every process that shall be traced. It pickles, but a provider does not travel: elsewhere the hook
    uses that process's global one.
    """

    inline = True
    """Stay in the operation's own context, however slow: spans nest by it."""

    outline = True
    """Ids, filters and options are not for spans: they may be many, and may be secret."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        record_exceptions: bool = False,
        spans: SpanSource | None = None,
    ) -> None:
        """Make spans with a provider.

        Args:
            tracer_provider: The global one by default, looked up for each span until one is set.
            record_exceptions: Whether spans carry messages and stacks of errors. They may quote documents.
            spans: Where spans come from instead of a provider.
        """
        self._spans = spans or TracerSpans(tracer_provider)
        self._templates: dict[tuple[str, ...], SpanTemplate] = {}
        self._record_exceptions = record_exceptions
        self._open: dict[int, ActiveSpan] = {}
        self._briefs: dict[Kind, BriefSpans] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self._record_exceptions,))

    def brief(self, kind: Kind) -> BriefSpans | None:
        """Take operations in brief (`parquedb.observability.brief`), where spans are our own.

        What carries messages of errors is told whole, and so is everything to whoever may have changed what is told.
        """
        source = self._spans
        if not isinstance(source, LeanSpans) or self._record_exceptions or type(self) is not OpenTelemetryHook:
            return None
        if len(kind.names) > NUMBERS_MAX:
            return None
        found = self._briefs.get(kind)
        # Namespaces may be many; spans of those beyond the bound are whole, and cost a little more.
        if found is None and len(self._briefs) < _TEMPLATES_MAX:
            found = self._briefs[kind] = BriefSpans(kind, source, self)
        return found

    def on_query_start(self, ctx: QueryContext) -> None:
        """Start a span for a read."""
        self._start_call(ctx)

    def on_query_end(self, ctx: QueryContext, result: QueryResult) -> None:
        """End the span of a read."""
        self.finish(ctx, result)

    def on_query_error(self, ctx: QueryContext, error: BaseException) -> None:
        """End the span of a read that failed."""
        self.fail(ctx, error)

    def on_mutation_start(self, ctx: MutationContext) -> None:
        """Start a span for a write."""
        self._start_call(ctx)

    def on_mutation_end(self, ctx: MutationContext, result: MutationResult) -> None:
        """End the span of a write."""
        self.finish(ctx, result)

    def on_mutation_error(self, ctx: MutationContext, error: BaseException) -> None:
        """End the span of a write that failed."""
        self.fail(ctx, error)

    def on_storage_start(self, ctx: StorageContext) -> None:
        """Start a span for a storage call."""
        template = self._template("storage", ctx.operation, ctx.backend, ctx.namespace or "", make=storage_template)
        span = self._start(ctx, template, _parent(ctx.traceparent))
        if span.is_recording():
            attributes: dict[str, Any] = {
                "parquedb.storage.key": ctx.key,
                "parquedb.storage.request.bytes": ctx.bytes,
                "parquedb.storage.range.start": ctx.start,
                "parquedb.storage.range.length": ctx.length,
                "parquedb.attempt": ctx.attempt if ctx.attempt > 1 else None,
            }
            span.set_attributes(known(attributes))

    def on_storage_end(self, ctx: StorageContext, result: StorageResult) -> None:
        """End the span of a storage call."""
        self.finish(ctx, result)

    def on_storage_error(self, ctx: StorageContext, error: BaseException) -> None:
        """End the span of a storage call that failed, or that was answered with a no."""
        self.fail(ctx, error)

    def on_commit_start(self, ctx: CommitContext) -> None:
        """Start the span of a commit group, linked to the writes it carries."""
        writes = Traceparents.of(ctx.traceparents)
        # Under an unsampled parent the group would vanish from the traces of all it carries.
        parent = ctx.traceparent if is_sampled(ctx.traceparent) else writes.leading() or ctx.traceparent
        # No fallback to the active span: the task that commits was started by some earlier, unrelated call.
        template = self._template("commit", ctx.namespace, make=commit_template)
        span = self._start(ctx, template, context_from(parent), _links(writes, parent))
        if span.is_recording():
            attributes: dict[str, Any] = {
                db.DB_OPERATION_BATCH_SIZE: ctx.writes if ctx.writes > 1 else None,
                "parquedb.commit.kind": ctx.kind,
                "parquedb.commit.epoch": ctx.epoch,
                "parquedb.commit.position": ctx.position,
                "parquedb.commit.writes": ctx.writes,
                "parquedb.commit.bytes": ctx.bytes,
                "parquedb.actor": ctx.actor,
            }
            span.set_attributes(known(attributes))

    def on_commit_end(self, ctx: CommitContext, result: CommitResult) -> None:
        """End the span of a commit group that landed."""
        self.finish(ctx, result)

    def on_commit_error(self, ctx: CommitContext, error: BaseException) -> None:
        """End the span of a commit group that did not land, or may not have."""
        self.fail(ctx, error)

    def on_flush(self, ctx: FlushContext) -> None:
        """Make a span of a flush that is over."""
        self._past("flush", ctx)

    def on_compaction(self, ctx: CompactionContext) -> None:
        """Make a span of a compaction that is over."""
        self._past("compaction", ctx)

    def on_cold_start(self, ctx: ColdStartContext) -> None:
        """Make a span of an opening that is over."""
        self._past("cold_start", ctx)

    def on_attempt(self, ctx: AttemptContext) -> None:
        """Make a span of one of several attempts, below the operation's own, which is active."""
        template = self._template("attempt", ctx.operation, ctx.namespace, ctx.actor or "", make=attempt_template)
        end_ns = time.time_ns()
        span = self._spans.begin(template, otel_context.get_current(), (), end_ns - int(ctx.duration_s * 1e9))
        if span.is_recording():
            span.set_attribute("parquedb.attempt", ctx.attempt)
            if ctx.error is not None:
                span.set_attribute(ERROR_TYPE, ctx.error)
                span.set_status(Status(StatusCode.ERROR, ctx.error))
        span.end(end_ns)

    def on_circuit_change(self, ctx: CircuitContext) -> None:
        """Note the change on the active span, whose call caused it."""
        attributes = {"parquedb.circuit": ctx.circuit, "parquedb.circuit.before": ctx.before}
        trace.get_current_span().add_event(
            "parquedb.circuit_change", attributes | {"parquedb.circuit.after": ctx.after}
        )

    def _start_call(self, ctx: QueryContext | MutationContext) -> None:
        operation = call_name(ctx.operation, several=ctx.batch_size > 1)
        template = self._template("call", operation, ctx.namespace, ctx.side, ctx.actor or "", make=call_template)
        links = _links(Traceparents.of(ctx.traceparents), ctx.traceparent) if ctx.traceparents else ()
        # The client's caller is in the same process: its span is the active one.
        span = self._start(ctx, template, _parent(ctx.traceparent if ctx.side == "actor" else None), links)
        if (ctx.batch_size > 1 or ctx.attempt > 1) and span.is_recording():
            if ctx.batch_size > 1:
                span.set_attribute(db.DB_OPERATION_BATCH_SIZE, ctx.batch_size)
            if ctx.attempt > 1:
                span.set_attribute("parquedb.attempt", ctx.attempt)

    def _template(self, *key: str, make: Callable[..., SpanTemplate]) -> SpanTemplate:
        template = self._templates.get(key)
        if template is None:
            template = make(*key[1:])
            # Namespaces may be many; those beyond the bound cost a little more.
            if len(self._templates) < _TEMPLATES_MAX:
                self._templates[key] = template
        return template

    def _start(self, subject: object, template: SpanTemplate, parent: Context, links: Sequence[bytes] = ()) -> Span:
        span = self._spans.begin(template, parent, links)
        self.adopt(subject, span)
        return span

    def adopt(self, subject: object, span: Span) -> None:
        """Make a span the active one until the operation that it was started for ends."""
        self._open[id(subject)] = ActiveSpan(span, subject)
        if len(self._open) > _OPEN_MAX:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """End an operation that nobody has ended: it must not hold memory for ever."""
        try:
            lost = self._open.pop(next(iter(self._open)), None)
        except RuntimeError:  # Another thread has changed it meanwhile; the next start tries again.
            return
        if lost is not None:
            lost.span.end()

    def _take(self, subject: object) -> Span | None:
        opened = self._open.pop(id(subject), None)
        if opened is None:
            return None
        opened.detach()
        return opened.span

    def finish(self, subject: object, result: object) -> None:
        """End a span with what its operation came to."""
        span = self._take(subject)
        if span is None:
            return
        if span.is_recording():
            span.set_attributes(result_attributes(result))
        span.end()

    def fail(self, subject: object, error: BaseException) -> None:
        """End a span with why its operation failed."""
        span = self._take(subject)
        if span is None:
            return
        if span.is_recording():
            failed = mark_failed(span, error, of_storage=isinstance(subject, StorageContext))
            if failed and self._record_exceptions:
                span.record_exception(error)
        span.end()

    def _past(self, what: str, ctx: FlushContext | CompactionContext | ColdStartContext) -> None:
        end_ns = time.time_ns()
        template = self._template(what, ctx.namespace, make=lambda namespace: own_template(what, namespace))
        start_ns = end_ns - int(ctx.duration_s * 1e9)
        span = self._spans.begin(template, context_from(ctx.traceparent), (), start_ns)
        if span.is_recording():
            facts = {
                f"parquedb.{what}.{field.name}": getattr(ctx, field.name)
                for field in fields(ctx)
                if field.name not in {"namespace", "duration_s", "traceparent"}
            }
            span.set_attributes(known(facts))
        span.end(end_ns)


def _rebuild(record_exceptions: bool) -> OpenTelemetryHook:
    return OpenTelemetryHook(record_exceptions=record_exceptions)


def _parent(traceparent: str | None) -> Context:
    """Return the remote parent if one is named, with the active context's other values; else the active context."""
    return context_from(traceparent, otel_context.get_current())


def _links(spans: Traceparents, parent: str | None) -> Sequence[bytes]:
    return spans.sampled(besides=parent)[:LINKS_MAX]

"""Making a span the active one for as long as its operation runs, whatever task or thread ends it."""

import contextvars

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

_KEY = otel_context.create_key("parquedb-active-span")


class ActiveSpan:
    """A span that has started, and how to take it off the active context again.

    Attributes:
        span: The span.
        subject: What it was started for; held, so that its `id()` stays its own.
    """

    __slots__ = ("_attached", "_ended", "_token", "span", "subject")

    def __init__(self, span: Span, subject: object) -> None:
        self.span = span
        self.subject = subject
        self._ended = False
        self._attached: Context | None = otel_context.set_value(_KEY, self, trace.set_span_in_context(span))
        self._token: contextvars.Token[Context] = otel_context.attach(self._attached)

    def detach(self) -> None:
        """Make the span before this one active again, unless the operation ends in another task or thread."""
        self._ended = True
        current = otel_context.get_current()
        # Endings may come out of order (two operations of one task): a span that ended below another one is taken
        # off when that other one ends. Else it would stay active in a long-lived task and adopt all later spans.
        while isinstance(top := current.get(_KEY), ActiveSpan) and top._ended and current is top._attached:
            top._attached = None  # Breaks a cycle that only the garbage collector would find.
            try:
                # `otel_context.detach` would log an error for a token of another task.
                top._token.var.reset(top._token)
            except (ValueError, RuntimeError):
                return
            current = otel_context.get_current()

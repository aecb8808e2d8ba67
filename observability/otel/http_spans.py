"""Spans of HTTP requests that this process answers, and the callers' spans that come with them.

Source:
    OpenTelemetry semantic conventions, "HTTP spans", server (stable).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry.semconv.attributes import error_attributes, http_attributes, url_attributes
from opentelemetry.trace import SpanKind, Status, StatusCode

from parquedb.observability.otel.active_span import ActiveSpan
from parquedb.observability.otel.export import process_telemetry
from parquedb.observability.otel.lean_span import SpanTemplate
from parquedb.observability.otel.lean_tracer import SpanSource, TracerSpans
from parquedb.observability.otel.propagation import context_from, traceparent_of

KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
OTHER_METHOD: Final = "_OTHER"

_TEMPLATES_MAX: Final = 256
_SERVER_ERROR: Final = 500


class HttpSpans:
    """Starts server spans.

    Args:
        spans: Where they come from; by default what this process's environment asks for, or the application's
            provider.
    """

    def __init__(self, spans: SpanSource | None = None) -> None:
        telemetry = process_telemetry() if spans is None else None
        provider = None if telemetry is None else telemetry.provider
        self._spans = spans or (TracerSpans() if provider is None else provider.spans)
        self._templates: dict[tuple[str, str], SpanTemplate] = {}

    def begin(self, method: str, route: str, path: str, traceparent: str | None) -> "HttpSpan":
        """Start the span of a request and make it the active one.

        Args:
            method: Of the request.
            route: The template that its path fits; empty for none.
            path: Its path.
            traceparent: The caller's span, if it names one.
        """
        span = self._spans.begin(self._template(method, route), context_from(traceparent))
        if span.is_recording():
            span.set_attribute(url_attributes.URL_PATH, path)
        return HttpSpan(ActiveSpan(span, self))

    def _template(self, method: str, route: str) -> SpanTemplate:
        template = self._templates.get((method, route))
        if template is None:
            attributes = {http_attributes.HTTP_REQUEST_METHOD: method, url_attributes.URL_SCHEME: "http"}
            if route:
                attributes[http_attributes.HTTP_ROUTE] = route
            name = "HTTP" if method == OTHER_METHOD else method
            template = SpanTemplate(f"{name} {route}".strip(), SpanKind.SERVER, attributes)
            if len(self._templates) < _TEMPLATES_MAX:
                self._templates[method, route] = template
        return template


class HttpSpan:
    """The span of one request.

    Attributes:
        traceparent: What others may hang their spans under; None where there is no trace.
    """

    __slots__ = ("_active", "traceparent")

    def __init__(self, active: ActiveSpan) -> None:
        self._active = active
        span_context = active.span.get_span_context()
        self.traceparent = traceparent_of(span_context) if span_context.is_valid else None

    def end(self, status: int) -> None:
        """End it with the status of the answer; 0 where there was none."""
        self._active.detach()
        span = self._active.span
        if span.is_recording():
            if status:
                span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, status)
            # What the caller did wrong is no error of the server.
            if not status or status >= _SERVER_ERROR:
                span.set_attribute(error_attributes.ERROR_TYPE, str(status or "no_response"))
                span.set_status(Status(StatusCode.ERROR))
        span.end()


@contextmanager
def remote_span(traceparent: str | None) -> Iterator[None]:
    """Make another process's span the active one for the block, if it is one."""
    base = otel_context.get_current()
    found = context_from(traceparent, base)
    if found is base:
        yield
        return
    token = otel_context.attach(found)
    try:
        yield
    finally:
        otel_context.detach(token)

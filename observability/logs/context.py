"""What a record is about, taken from where it was logged: bound fields, the process's own, the active span."""

import contextvars
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import get_current

from parquedb.observability.logs.fields import SPAN_ID, TRACE_ID
from parquedb.observability.otel.propagation import span_context_of

_NOTHING: Final[Mapping[str, Any]] = {}
_bound: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("parquedb_log_fields", default=_NOTHING)
_process: dict[str, Any] = {}


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Put fields on every record of ours that is logged inside the block, by this task or thread and what it starts.

    Args:
        **fields: Such as `request_id` of the application's own request; see `parquedb.observability.logs.fields`. A
            record that says something else by itself wins, and an inner block over an outer one.
    """
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def set_process_fields(**fields: Any) -> None:
    """Put fields on every record of ours in this process from now on, unless something nearer says otherwise.

    For processes with one job: the owner of a namespace names it once, and records from below say whose they are.
    """
    _process.update(fields)


def context_fields(traceparent: str | None = None) -> dict[str, Any]:
    """Return what the context knows now.

    Args:
        traceparent: The span that a record is about, where another one is active here or none.
    """
    fields = {**_process, **_bound.get()}
    span = span_context_of(traceparent)
    if span is None and get_current():
        span = trace.get_current_span().get_span_context()
    if span is not None and span.is_valid:
        fields[TRACE_ID], fields[SPAN_ID] = trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id)
    return fields

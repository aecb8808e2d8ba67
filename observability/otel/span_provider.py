"""The OpenTelemetry SDK's part in sending spans: its exporters, its sampler and its resource, set by `OTEL_*`.

Apart from `export`, because importing the SDK delays the start of every owner, and few send spans.
"""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext

from parquedb.observability.logs import get_logger
from parquedb.observability.otel.brief_spans import BriefSpans, Series
from parquedb.observability.otel.exporters import otlp_protocol
from parquedb.observability.otel.lean_span import SpanTemplate
from parquedb.observability.otel.lean_tracer import Decide, LeanSpans, Share, always, as_the_parent
from parquedb.observability.otel.resource import process_resource
from parquedb.observability.otel.span_queue import QueueLimits, Sink, SpanQueue
from parquedb.observability.otel.span_sinks import ReadableSink, grpc_sink, http_sink
from parquedb.observability.otel.tail import Tail

_logger = get_logger(__name__)

# Looked up on first use: gRPC costs 50 ms and 20 MB that HTTP users need not pay.
_PROTOCOLS: Final[Mapping[str, tuple[str, Callable[[Any, Resource, Series], Sink]]]] = {
    "http/protobuf": ("opentelemetry.exporter.otlp.proto.http.trace_exporter", http_sink),
    "grpc": ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", grpc_sink),
}


class LeanProvider:
    """Samples, queues and sends the spans of this process.

    Attributes:
        resource: Describes this process.
        queue: Where finished spans wait.
        spans: Starts them.
    """

    def __init__(self, names: Sequence[str], environ: Mapping[str, str], service_name: str) -> None:
        """Make one with its exporters; `close` ends it.

        Args:
            names: `otlp` or `console`, any of them.
            environ: The variables that select the protocol.
            service_name: `service.name` of the spans, unless the environment has one.

        Raises:
            ConfigurationError: the environment asks for a protocol that does not exist.
        """
        self.resource = process_resource(service_name)
        series: dict[int, BriefSpans] = {}  # Sinks have to know what records are of.
        self.queue = SpanQueue([_sink(name, environ, self.resource, series) for name in names], queue_limits())
        # Only the SDK's provider reads OTEL_TRACES_SAMPLER; it makes no spans here.
        sampler = TracerProvider(resource=self.resource, shutdown_on_exit=False).sampler
        # Who switches sampling off, or leaves it to the callers, wants nothing beyond that.
        tail = None if sampler in (ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF) else Tail()
        self.spans = LeanSpans(self.queue.put, decide_by(sampler), tail, series)

    def close(self, timeout_s: float) -> None:
        """Send what waits and close the exporters, in at most `timeout_s` seconds."""
        self.queue.close(timeout_s)


def decide_by(sampler: Sampler) -> Decide:
    """Return what asks a sampler of the SDK; the usual ones need not be asked."""
    if sampler is DEFAULT_ON:
        return as_the_parent
    if sampler is ALWAYS_ON:
        return always
    shares = sampler._root if type(sampler) is ParentBasedTraceIdRatio else sampler
    if type(shares) is TraceIdRatioBased:
        return Share(shares.bound, parental=shares is not sampler)

    def decide(context: Context | None, _above: SpanContext | None, trace_id: int, template: SpanTemplate) -> bool:
        result = sampler.should_sample(context, trace_id, template.name, template.kind, template.attributes, ())
        return result.decision is Decision.RECORD_AND_SAMPLE

    return decide


def _sink(name: str, environ: Mapping[str, str], resource: Resource, series: Series) -> Sink:
    if name == "console":
        return ReadableSink(ConsoleSpanExporter(), resource, series)
    module, make = _PROTOCOLS[otlp_protocol("TRACES", environ)]
    return make(importlib.import_module(module), resource, series)


def queue_limits() -> QueueLimits:
    """Return the bounds of the queue as `OTEL_BSP_*` say."""
    usual = QueueLimits()
    spans_max = _number(OTEL_BSP_MAX_QUEUE_SIZE, usual.spans_max)
    batch_max = _number(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, usual.batch_max)
    delay_ms = _number(OTEL_BSP_SCHEDULE_DELAY, int(usual.delay_s * 1000))
    return QueueLimits(spans_max, min(batch_max, spans_max), delay_ms / 1000)


def _number(variable: str, default: int) -> int:
    """Return a positive number; as OpenTelemetry wants it, one that is none is reported and the default stands."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and 0 < int(text) <= _NUMBER_MAX:
        return int(text)
    _logger.warning("%s: expected a number of 1 to %d, got %r; %d stands", variable, _NUMBER_MAX, text, default)
    return default


_NUMBER_MAX: Final = 10_000_000

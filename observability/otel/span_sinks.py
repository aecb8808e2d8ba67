"""Sending lean spans through the SDK's exporters, which know endpoints, headers, certificates, compression and retries.

The exporters encode spans themselves, at ten times the cost of `otlp_encoding`. Where their insides are as we know them
they are handed the finished bytes; where a version of theirs differs, they get spans as they expect them.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Status

from parquedb.observability.otel.brief_encoding import encode_briefs
from parquedb.observability.otel.brief_spans import BriefSpan, clock_offset_ns, whole
from parquedb.observability.otel.lean_span import LeanSpan
from parquedb.observability.otel.lean_tracer import SCHEMA_URL, SCOPE
from parquedb.observability.otel.otlp_encoding import encode_request, envelope
from parquedb.observability.otel.propagation import unpacked
from parquedb.observability.otel.version import VERSION

_CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SCOPE = InstrumentationScope(SCOPE, VERSION, SCHEMA_URL)


class ReadableSink:
    """Hands any exporter spans as the SDK has them.

    Args:
        exporter: Closed with the sink.
        resource: Describes this process.
    """

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource

    def send(self, spans: Sequence[LeanSpan | BriefSpan]) -> bool:
        """Send spans that have ended; False when they are lost."""
        offset_ns = clock_offset_ns()
        wholes = [whole(span, offset_ns) if isinstance(span, tuple) else span for span in spans]
        result = self._exporter.export([readable(span, self._resource) for span in wholes])
        return result is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Close the exporter; a pause between two of its attempts ends at once."""
        self._exporter.shutdown()


class _HttpSink:
    """Sends encoded spans with the client of the HTTP exporter."""

    def __init__(self, exporter: Any, resource: Resource) -> None:
        self._exporter = exporter
        self._around = _envelope(resource)

    def send(self, spans: Sequence[LeanSpan | BriefSpan]) -> bool:
        sent: bool = self._exporter._client.export(_encoded(spans, self._around)).success
        return sent

    def close(self) -> None:
        self._exporter.shutdown()


def http_sink(module: Any, resource: Resource) -> "ReadableSink | _HttpSink":
    """Return a sink for OTLP over HTTP.

    Args:
        module: The SDK's, with `OTLPSpanExporter`.
        resource: Describes this process.
    """
    exporter = module.OTLPSpanExporter()
    client = getattr(exporter, "_client", None)
    if not callable(getattr(client, "export", None)):
        return ReadableSink(exporter, resource)
    spare_look_ups(getattr(getattr(client, "_transport", None), "_session", None), getattr(exporter, "_endpoint", ""))
    return _HttpSink(exporter, resource)


def spare_look_ups(session: Any, endpoint: str) -> None:
    """Let a session of `requests` ask its environment once instead of at each request, which is a third of its cost.

    Args:
        session: The exporter's; one that is not of `requests` itself is left alone.
        endpoint: Where the spans go.
    """
    requests = sys.modules.get("requests")
    if requests is None or type(session) is not requests.Session:
        return
    finds = (
        requests.utils.get_environ_proxies(endpoint)
        or requests.utils.get_netrc_auth(endpoint)
        or (endpoint.startswith("https:") and any(os.environ.get(name) for name in _CERTIFICATES))
    )
    session.trust_env = bool(finds)


class _GrpcSink:
    """Sends encoded spans with the stub of the gRPC exporter, which takes a message."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    def send(self, spans: Sequence[LeanSpan | BriefSpan]) -> bool:
        sent: bool = self._exporter.export(spans) is SpanExportResult.SUCCESS
        return sent

    def close(self) -> None:
        self._exporter.shutdown()


def grpc_sink(module: Any, resource: Resource) -> "ReadableSink | _GrpcSink":
    """Return a sink for OTLP over gRPC; see `http_sink`."""
    known: Any = module.OTLPSpanExporter
    if not callable(getattr(known, "_translate_data", None)):
        return ReadableSink(known(), resource)
    around = _envelope(resource)

    class Exporter(known):  # type: ignore[misc] # Its module is imported only where gRPC is asked for.
        def _translate_data(self, data: Sequence[LeanSpan | BriefSpan]) -> ExportTraceServiceRequest:
            request = ExportTraceServiceRequest()
            request.ParseFromString(_encoded(data, around))
            return request

    return _GrpcSink(Exporter())


def readable(span: LeanSpan, resource: Resource) -> ReadableSpan:
    """Return a lean span as exporters of the SDK expect it."""
    return ReadableSpan(
        span.template.name,
        span.get_span_context(),
        span.parent,
        resource,
        {**span.template.attributes, **span.attributes},
        [Event(name, attributes, at_ns) for at_ns, name, attributes in span.events],
        [Link(unpacked(link)) for link in span.links],
        span.template.kind,
        status=Status(*span.status),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _encoded(spans: Sequence[LeanSpan | BriefSpan], around: tuple[bytes, bytes]) -> bytes:
    briefs = [span for span in spans if isinstance(span, tuple)]
    others = [span for span in spans if not isinstance(span, tuple)]
    return encode_request(others, around, encode_briefs(briefs, clock_offset_ns()))


def _envelope(resource: Resource) -> tuple[bytes, bytes]:
    return envelope(resource.attributes, SCOPE, VERSION, SCHEMA_URL)

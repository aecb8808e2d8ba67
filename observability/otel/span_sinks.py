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
from parquedb.observability.otel.brief_spans import BriefSpan, Series, clock_offset_ns, whole
from parquedb.observability.otel.kept_connection import KeptConnection, is_plain
from parquedb.observability.otel.lean_span import LeanSpan
from parquedb.observability.otel.lean_tracer import SCHEMA_URL, SCOPE
from parquedb.observability.otel.otlp_encoding import RequestEncoder, envelope
from parquedb.observability.otel.propagation import unpacked
from parquedb.observability.otel.version import VERSION

_CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SCOPE = InstrumentationScope(SCOPE, VERSION, SCHEMA_URL)


class ReadableSink:
    """Hands any exporter spans as the SDK has them.

    Args:
        exporter: Closed with the sink.
        resource: Describes this process.
        series: What brief spans are of.
    """

    def __init__(self, exporter: SpanExporter, resource: Resource, series: Series) -> None:
        self._exporter = exporter
        self._resource = resource
        self._series = series

    def send(self, spans: Sequence[LeanSpan | BriefSpan]) -> bool:
        """Send spans that have ended; False when they are lost."""
        offset_ns = clock_offset_ns()
        wholes = [span if isinstance(span, LeanSpan) else whole(span, self._series, offset_ns) for span in spans]
        result = self._exporter.export([readable(span, self._resource) for span in wholes])
        return result is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Close the exporter; a pause between two of its attempts ends at once."""
        self._exporter.shutdown()


class _HttpSink:
    """Sends encoded spans with the client of the HTTP exporter."""

    def __init__(self, exporter: Any, resource: Resource, series: Series) -> None:
        self._exporter = exporter
        self._encoder = _Encoder(resource, series)
        self._takes_views = type(getattr(exporter._client, "_transport", None)) is KeptConnection

    def send(self, spans: Sequence[LeanSpan | BriefSpan]) -> bool:
        request = self._encoder.encode(spans)
        sent: bool = self._exporter._client.export(request if self._takes_views else bytes(request)).success
        return sent

    def close(self) -> None:
        self._exporter.shutdown()


def http_sink(module: Any, resource: Resource, series: Series) -> "ReadableSink | _HttpSink":
    """Return a sink for OTLP over HTTP.

    Args:
        module: The SDK's, with `OTLPSpanExporter`.
        resource: Describes this process.
        series: What brief spans are of.
    """
    exporter = module.OTLPSpanExporter()
    client = getattr(exporter, "_client", None)
    if not callable(getattr(client, "export", None)):
        return ReadableSink(exporter, resource, series)
    spare_requests(client, getattr(exporter, "_endpoint", ""))
    return _HttpSink(exporter, resource, series)


def spare_requests(client: Any, endpoint: str) -> None:
    """Let a client of the SDK send without `requests` where that has nothing to add, for it takes most of the time.

    Elsewhere its session asks its environment once instead of at each request, if there is nothing to be found there.

    Args:
        client: The exporter's; one whose session is not of `requests` itself is left alone.
        endpoint: Where the spans go.
    """
    transport: Any = getattr(client, "_transport", None)
    session: Any = getattr(transport, "_session", None)
    requests = sys.modules.get("requests")
    if requests is None or type(session) is not requests.Session:
        return
    session.trust_env = bool(
        requests.utils.get_environ_proxies(endpoint)
        or requests.utils.get_netrc_auth(endpoint)
        or (endpoint.startswith("https:") and any(os.environ.get(name) for name in _CERTIFICATES))
    )
    if not session.trust_env and is_plain(endpoint):
        client._transport = KeptConnection(endpoint)
        transport.close()


class _GrpcSink:
    """Sends encoded spans with the stub of the gRPC exporter, which takes a message."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    def send(self, spans: Sequence[LeanSpan | BriefSpan]) -> bool:
        sent: bool = self._exporter.export(spans) is SpanExportResult.SUCCESS
        return sent

    def close(self) -> None:
        self._exporter.shutdown()


def grpc_sink(module: Any, resource: Resource, series: Series) -> "ReadableSink | _GrpcSink":
    """Return a sink for OTLP over gRPC; see `http_sink`."""
    known: Any = module.OTLPSpanExporter
    if not callable(getattr(known, "_translate_data", None)):
        return ReadableSink(known(), resource, series)
    encoder = _Encoder(resource, series)

    class Exporter(known):  # type: ignore[misc] # Its module is imported only where gRPC is asked for.
        def _translate_data(self, data: Sequence[LeanSpan | BriefSpan]) -> ExportTraceServiceRequest:
            request = ExportTraceServiceRequest()
            request.ParseFromString(bytes(encoder.encode(data)))
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


class _Encoder:
    """Encodes the spans of this process."""

    def __init__(self, resource: Resource, series: Series) -> None:
        self._requests = RequestEncoder(envelope(resource.attributes, SCOPE, VERSION, SCHEMA_URL))
        self._series = series

    def encode(self, spans: Sequence[LeanSpan | BriefSpan]) -> memoryview:
        """Return a request with all of them; it is good until the next one."""
        others = [span for span in spans if type(span) is LeanSpan]
        briefs = encode_briefs(spans, self._series, clock_offset_ns())
        return self._requests.encode(others, briefs)

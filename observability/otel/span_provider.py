"""The OpenTelemetry SDK's part in sending spans: a provider with exporters and a resource.

Apart from `export`, because importing the SDK delays the start of every owner, and few send spans.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter

from parquedb.errors import ConfigurationError

# Looked up on first use: gRPC costs 50 ms and 20 MB that HTTP users need not pay.
_PROTOCOLS = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
}


def make_provider(
    names: Sequence[str], environ: Mapping[str, str], service_name: str
) -> tuple[TracerProvider, list[SpanExporter]]:
    """Return a provider and its exporters, which the caller shuts down.

    Args:
        names: `otlp` or `console`, any of them.
        environ: The variables that select the protocol.
        service_name: `service.name` of the spans, unless the environment has one.

    Raises:
        ConfigurationError: the environment asks for a protocol that does not exist.
    """
    exporters = [_exporter(name, environ) for name in names]
    # Our own bounded shutdown runs at exit instead of the SDK's.
    provider = TracerProvider(resource=_resource(service_name), shutdown_on_exit=False)
    for exporter in exporters:
        console = isinstance(exporter, ConsoleSpanExporter)
        provider.add_span_processor(SimpleSpanProcessor(exporter) if console else BatchSpanProcessor(exporter))
    return provider, exporters


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter()
    variable = next(
        (one for one in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL") if environ.get(one)), ""
    )
    protocol = environ.get(variable, "http/protobuf").strip().lower()
    if protocol not in _PROTOCOLS:
        raise ConfigurationError(
            f"{variable}: expected one of {', '.join(_PROTOCOLS)}; got {protocol!r}", setting=variable
        )
    module: Any = importlib.import_module(_PROTOCOLS[protocol])
    exporter: SpanExporter = module.OTLPSpanExporter()
    return exporter


def _resource(service_name: str) -> Resource:
    # `Resource.create` lets the environment's name win only over its own default, so ours goes in underneath.
    resource = Resource.create()
    named = str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    return resource.merge(Resource({SERVICE_NAME: service_name})) if named else resource

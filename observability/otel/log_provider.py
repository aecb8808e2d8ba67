"""The OpenTelemetry SDK's part in sending log records: a provider with exporters and a resource.

Apart from `log_records`, because importing the SDK delays the start of every owner, and few send logs.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    ConsoleLogRecordExporter,
    LogRecordExporter,
    SimpleLogRecordProcessor,
)

from parquedb.observability.otel.exporters import otlp_protocol
from parquedb.observability.otel.resource import process_resource

# Looked up on first use: gRPC costs 50 ms and 20 MB that HTTP users need not pay.
_HOMES: Final = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc._log_exporter",
}


def make_log_provider(
    names: Sequence[str], environ: Mapping[str, str], service_name: str
) -> tuple[LoggerProvider, tuple[LogRecordExporter, ...]]:
    """Return a provider and its exporters, which the caller shuts down.

    Args:
        names: `otlp` or `console`, any of them.
        environ: The variables that select the protocol.
        service_name: `service.name` of the records, unless the environment has one.

    Raises:
        ConfigurationError: the environment asks for a protocol that does not exist.
    """
    exporters = tuple(_exporter(name, environ) for name in names)
    # Our own bounded shutdown runs at exit instead of the SDK's.
    provider = LoggerProvider(resource=process_resource(service_name), shutdown_on_exit=False)
    for exporter in exporters:
        console = isinstance(exporter, ConsoleLogRecordExporter)
        processor = SimpleLogRecordProcessor(exporter) if console else BatchLogRecordProcessor(exporter)
        provider.add_log_record_processor(processor)
    return provider, exporters


def _exporter(name: str, environ: Mapping[str, str]) -> LogRecordExporter:
    if name == "console":
        return ConsoleLogRecordExporter(sys.stdout)
    module: Any = importlib.import_module(_HOMES[otlp_protocol("LOGS", environ)])
    exporter: LogRecordExporter = module.OTLPLogExporter()
    return exporter

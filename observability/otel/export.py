"""Sending spans to a collector, set up by the standard `OTEL_*` variables and by nothing else.

Nothing is exported unless a variable asks for it or the caller brings a provider:

    OTEL_SDK_DISABLED=true              nothing, whatever else is set
    OTEL_TRACES_EXPORTER                `otlp`, `console`, `none`, or several with commas
    OTEL_EXPORTER_OTLP_ENDPOINT         alone means `otlp`; also OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
    OTEL_EXPORTER_OTLP_PROTOCOL         `http/protobuf` (the default) or `grpc`; also OTEL_EXPORTER_OTLP_TRACES_PROTOCOL

Headers, certificates, compression, sampling, batching and resource attributes are read by the SDK itself. An
application that has set a global provider keeps it: the hook then uses that one, and its owner shuts it down.

Source:
    OpenTelemetry specification, "OpenTelemetry Environment Variable Specification" and "OTLP Exporter Configuration".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import trace

from parquedb.observability.otel.exporters import SHUTDOWN_S, at_exit, exporters_wanted, not_at_exit
from parquedb.observability.otel.tracing import OpenTelemetryHook

if TYPE_CHECKING:
    from parquedb.observability.otel.span_provider import LeanProvider

_OF_ONE_PROCESS = frozenset({"service.instance.id", "host.name", "process.pid"})


@dataclass(slots=True, eq=False)
class Telemetry:
    """The hook to register, and what has to be closed at the end.

    Attributes:
        hook: Makes the spans.
        provider: Where they go; None for a provider that the application owns.
    """

    hook: OpenTelemetryHook
    provider: LeanProvider | None = None

    def shutdown(self, timeout_s: float = SHUTDOWN_S) -> None:
        """Send what is waiting and close, in at most `timeout_s` seconds; what was not sent by then is lost.

        May be called again, and runs at exit if nobody called it. Leaves alone a provider that the caller brought.
        """
        if self.provider is not None:
            not_at_exit(self.shutdown)
            self.provider.close(timeout_s)


def configure_tracing(
    tracer_provider: trace.TracerProvider | None = None,
    *,
    service_name: str = "parquedb",
    environ: Mapping[str, str] | None = None,
) -> Telemetry | None:
    """Set tracing up as the environment says; None when nothing asks for it.

    Args:
        tracer_provider: Use this one, whatever the environment says; the caller closes it.
        service_name: `service.name` of the spans, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has one.
        environ: The variables that select exporters; the process's own by default.

    Raises:
        ConfigurationError: A variable asks for an exporter or a protocol that does not exist.
    """
    environ = os.environ if environ is None else environ
    if tracer_provider is not None:
        return Telemetry(OpenTelemetryHook(tracer_provider))
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return Telemetry(OpenTelemetryHook())
    wanted = exporters_wanted("TRACES", environ)
    if not wanted:
        return None
    from parquedb.observability.otel.span_provider import LeanProvider  # noqa: PLC0415 - few need the SDK

    provider = LeanProvider(wanted, environ, service_name)
    telemetry = Telemetry(OpenTelemetryHook(spans=provider.spans), provider)
    at_exit(telemetry.shutdown)
    return telemetry


def otel_variables() -> dict[str, str]:
    """Return this process's `OTEL_*` variables, for a process of ours that does not inherit them."""
    found = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    described = found.get("OTEL_RESOURCE_ATTRIBUTES")
    if described:
        # What they say of this one process is not true of another.
        pairs = (pair for pair in described.split(",") if pair.partition("=")[0].strip() not in _OF_ONE_PROCESS)
        found["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(pairs)
    return found


def process_telemetry() -> Telemetry | None:
    """Return the telemetry that this process's environment asks for, the same one each time; None if it asks for none.

    Raises:
        ConfigurationError: see `configure_tracing`.
    """
    if not exporters_wanted("TRACES", os.environ):
        return None
    with _process_lock:
        if not _process:
            made = configure_tracing()
            if made is not None:
                _process.append(made)
        return _process[0] if _process else None


def take_process_telemetry() -> Telemetry | None:
    """Hand over what `process_telemetry` returns: the caller closes it, and the next connection reads the variables."""
    with _process_lock:
        return _process.pop() if _process else None


_process: list[Telemetry] = []
_process_lock = threading.Lock()

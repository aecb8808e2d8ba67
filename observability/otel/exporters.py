"""What the standard `OTEL_*` variables ask for, of any signal: which exporters, by which protocol, for which resource.

    OTEL_SDK_DISABLED=true              nothing, whatever else is set
    OTEL_<SIGNAL>_EXPORTER              `otlp`, `console`, `none`, or several with commas
    OTEL_EXPORTER_OTLP_ENDPOINT         alone means `otlp`; also OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT
    OTEL_EXPORTER_OTLP_PROTOCOL         `http/protobuf` (the default) or `grpc`; also OTEL_EXPORTER_OTLP_<SIGNAL>_...

Source:
    OpenTelemetry specification, "OpenTelemetry Environment Variable Specification" and "OTLP Exporter Configuration".
"""

import atexit
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, Protocol

from parquedb.errors import ConfigurationError

Signal = Literal["TRACES", "METRICS", "LOGS"]
OtlpProtocol = Literal["http/protobuf", "grpc"]

EXPORTERS: Final = ("otlp", "console", "none")
SHUTDOWN_S: Final = 2.0
"""Seconds that closing may take when the collector does not answer."""

_HTTP: Final = "http/protobuf"


class Exporter(Protocol):
    """What sends; its `shutdown` interrupts a pause between two attempts."""

    def shutdown(self) -> None:
        """Give up."""


def exporters_wanted(signal: Signal, environ: Mapping[str, str]) -> list[str]:
    """Return `otlp` or `console`, any of them, or nothing.

    Raises:
        ConfigurationError: a variable asks for an exporter that does not exist.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    variable = f"OTEL_{signal}_EXPORTER"
    asked = environ.get(variable, "").strip()
    if not asked:
        endpoints = (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        return ["otlp"] if any(environ.get(name, "").strip() for name in endpoints) else []
    names = list(dict.fromkeys(name.strip().lower() for name in asked.split(",") if name.strip()))
    for name in names:
        if name not in EXPORTERS:
            raise ConfigurationError(
                f"{variable}: expected some of {', '.join(EXPORTERS)}; got {name!r}", setting=variable
            )
    return [] if "none" in names else names


def otlp_protocol(signal: Signal, environ: Mapping[str, str]) -> OtlpProtocol:
    """Return how OTLP travels.

    Raises:
        ConfigurationError: a variable asks for a protocol that does not exist.
    """
    names = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    variable = next((name for name in names if environ.get(name)), names[1])
    protocol = environ.get(variable, _HTTP).strip().lower()
    if protocol == _HTTP:
        return "http/protobuf"
    if protocol == "grpc":
        return "grpc"
    raise ConfigurationError(f"{variable}: expected one of {_HTTP}, grpc; got {protocol!r}", setting=variable)


def shut_down(close: Callable[[], object], exporters: Iterable[Exporter], timeout_s: float = SHUTDOWN_S) -> None:
    """Send what is waiting and close, in at most `timeout_s` seconds; what was not sent by then is lost.

    Args:
        close: A provider's `shutdown`. The SDK waits up to 30 s in there and offers no shorter wait.
        exporters: Interrupted when three quarters of the time are over.
        timeout_s: Seconds for all of it.
    """
    deadline_s = time.monotonic() + timeout_s
    closing = threading.Thread(target=close, name="parquedb-otel-shutdown", daemon=True)
    try:
        closing.start()
    except RuntimeError:  # The interpreter is past starting threads.
        for exporter in exporters:
            exporter.shutdown()
        return
    closing.join(timeout_s * 0.75)
    if closing.is_alive():
        for exporter in exporters:
            exporter.shutdown()
        closing.join(max(0.0, deadline_s - time.monotonic()))


def at_exit(close: Callable[[], object]) -> None:
    """Have something closed when the process ends, at the same time as the others: all in `SHUTDOWN_S` seconds."""
    _endings.append(close)


def not_at_exit(close: Callable[[], object]) -> None:
    """Take back `at_exit`; nothing happens where that was never said."""
    if close in _endings:
        _endings.remove(close)


@atexit.register
def _close_all() -> None:
    # One after the other, three signals whose collector is gone would delay the end of a process three times.
    deadline_s = time.monotonic() + SHUTDOWN_S
    closing = []
    for close in _endings:
        thread = threading.Thread(target=close, name="parquedb-otel-exit", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # The interpreter is past starting threads.
            close()
        else:
            closing.append(thread)
    for thread in closing:
        thread.join(max(0.0, deadline_s - time.monotonic()))


_endings: list[Callable[[], object]] = []

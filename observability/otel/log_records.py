"""Our log records as OpenTelemetry's, sent where the standard `OTEL_*` variables say.

Nothing is exported unless a variable asks for it, see `parquedb.observability.otel.exporters`; with
`OTEL_LOGS_EXPORTER=none` logs stay at home while spans travel. An application that has set a global logger provider
keeps it: our records then go through that one, and its owner shuts it down.

A record keeps its time, level, message, trace and span; `event` becomes its event name, and what else it carries its
attributes, by OpenTelemetry's names where there are any:

    namespace    db.namespace               error     error.type, exception.message, exception.stacktrace
    operation    db.operation.name                    and, where it is ours, db.response.status_code
    others       parquedb.<name>            logger    the instrumentation scope
"""

import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry import _logs
from opentelemetry._logs import NoOpLoggerProvider, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes import exception_attributes as exception
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from parquedb.observability.logs.fields import (
    ERROR,
    EVENT,
    NAMESPACE,
    OPERATION,
    SPAN_ID,
    TRACE_ID,
    facts_of,
)
from parquedb.observability.logs.logger import get_logger
from parquedb.observability.logs.record_filter import RecordFilter
from parquedb.observability.logs.repeats import RepeatFilter
from parquedb.observability.otel.exporters import (
    SHUTDOWN_S,
    Exporter,
    at_exit,
    exporters_wanted,
    not_at_exit,
    shut_down,
)
from parquedb.observability.otel.propagation import context_from

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider as SdkLoggerProvider

_SEVERITIES: Final = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
    (logging.DEBUG, SeverityNumber.DEBUG),
)
_NAMES: Final = {NAMESPACE: db.DB_NAMESPACE, OPERATION: db.DB_OPERATION_NAME}
_APART: Final = frozenset({EVENT, ERROR, TRACE_ID, SPAN_ID})
# What sending itself may log; a record of theirs that came here would cause the next one.
_SENDERS: Final = ("opentelemetry", "urllib3", "requests", "grpc")
_prepare = RecordFilter()


class OpenTelemetryLogHandler(logging.Handler):
    """Hands records to an OpenTelemetry logger provider; never waits and never raises.

    Args:
        provider: The global one by default, looked up for each record until one is set.
    """

    def __init__(self, provider: _logs.LoggerProvider | None = None) -> None:
        super().__init__()
        self._provider = provider
        self._busy = threading.local()
        self._repeats = RepeatFilter(self.handle)
        self.addFilter(self._repeats)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over one record."""
        if record.name.split(".", 1)[0] in _SENDERS or getattr(self._busy, "emitting", False):
            return
        self._busy.emitting = True
        try:
            _prepare.filter(record)
            self._hand_over(record)
        except Exception:  # noqa: BLE001 - telemetry fails alone
            self.handleError(record)
        finally:
            self._busy.emitting = False

    def close(self) -> None:
        """Hand over what repeats have held back."""
        self._repeats.flush()
        super().close()

    def _hand_over(self, record: logging.LogRecord) -> None:
        facts = facts_of(record)
        number = next((number for level, number in _SEVERITIES if record.levelno >= level), SeverityNumber.TRACE)
        _logs.get_logger(record.name, logger_provider=self._provider).emit(
            timestamp=int(record.created * 1e9),
            # Not the active one: a repeat is told later, and elsewhere.
            context=_span_of(facts),
            severity_number=number,
            severity_text=record.levelname,
            body=record.getMessage(),
            attributes=attributes_of(facts),
            event_name=facts.get(EVENT),
        )


class LogExport:
    """A handler on our tree, and what has to be closed at the end.

    Attributes:
        handler: Sends our records.
        provider: The provider they go through; None for a global one that the application owns.
    """

    def __init__(
        self,
        handler: OpenTelemetryLogHandler,
        provider: "SdkLoggerProvider | None" = None,
        exporters: tuple[Exporter, ...] = (),
    ) -> None:
        """Put the handler on our tree."""
        self.handler = handler
        self.provider = provider
        self._exporters = exporters
        get_logger().addHandler(handler)

    def shutdown(self, timeout_s: float = SHUTDOWN_S) -> None:
        """Take the handler off, send what is waiting and close, in at most `timeout_s` seconds.

        May be called again, and runs at exit if nobody called it. Leaves alone a provider that the application owns.
        """
        get_logger().removeHandler(self.handler)
        self.handler.close()
        not_at_exit(self.shutdown)
        provider, self.provider = self.provider, None
        if provider is not None:
            shut_down(provider.shutdown, self._exporters, timeout_s)


def export_logs(
    provider: _logs.LoggerProvider | None = None,
    *,
    service_name: str = "parquedb",
    environ: Mapping[str, str] | None = None,
) -> LogExport | None:
    """Send our records where the environment says; None when nothing asks for it.

    Args:
        provider: Use this one, whatever the environment says; the caller closes it.
        service_name: `service.name` of the records, unless the environment has one.
        environ: The variables that select exporters; the process's own by default.

    Raises:
        ConfigurationError: a variable asks for an exporter or a protocol that does not exist.
    """
    environ = os.environ if environ is None else environ
    if provider is not None:
        return LogExport(OpenTelemetryLogHandler(provider))
    wanted = exporters_wanted("LOGS", environ)
    if not wanted:
        return None
    if _has_global_provider():
        return LogExport(OpenTelemetryLogHandler())
    from parquedb.observability.otel.log_provider import make_log_provider  # noqa: PLC0415 - few need the SDK

    made, exporters = make_log_provider(wanted, environ, service_name)
    export = LogExport(OpenTelemetryLogHandler(made), made, exporters)
    at_exit(export.shutdown)
    return export


def process_log_export() -> LogExport | None:
    """Return what this process's environment asks for, the same one each time; None if it asks for nothing.

    Raises:
        ConfigurationError: see `export_logs`.
    """
    with _process_lock:
        if not _process:
            made = export_logs()
            if made is not None:
                _process.append(made)
        return _process[0] if _process else None


_process: list[LogExport] = []
_process_lock = threading.Lock()


def attributes_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's fields as attributes."""
    attributes: dict[str, Any] = {
        _NAMES.get(name, f"parquedb.{name}"): _attribute(value) for name, value in facts.items() if name not in _APART
    }
    error = facts.get(ERROR)
    if isinstance(error, dict):
        found = {
            ERROR_TYPE: error.get("name"),
            db.DB_RESPONSE_STATUS_CODE: error.get("code"),
            exception.EXCEPTION_TYPE: error.get("name"),
            exception.EXCEPTION_MESSAGE: error.get("message"),
            exception.EXCEPTION_STACKTRACE: error.get("stack"),
            "parquedb.error": orjson.dumps(
                {key: error[key] for key in ("context", "cause") if error.get(key)}
            ).decode(),
        }
        attributes.update({name: value for name, value in found.items() if value not in (None, "{}")})
    return attributes


def _attribute(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else orjson.dumps(value).decode()


def _span_of(facts: Mapping[str, Any]) -> Context:
    return context_from(f"00-{facts.get(TRACE_ID)}-{facts.get(SPAN_ID)}-01")


def _has_global_provider() -> bool:
    found = _logs.get_logger_provider()
    return not isinstance(found, NoOpLoggerProvider) and type(found).__name__ != "ProxyLoggerProvider"

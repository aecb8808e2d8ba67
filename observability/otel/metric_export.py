"""Sending metrics to a collector, set up by the standard `OTEL_*` variables (see `exporters`) and by nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from parquedb.observability.otel.exporters import at_exit, exporters_wanted

if TYPE_CHECKING:
    from parquedb.observability.metrics.http_requests import HttpRequests
    from parquedb.observability.metrics.snapshot import MetricsSnapshot
    from parquedb.observability.otel.metric_provider import MetricSender


def configure_metrics(
    *, service_name: str = "parquedb", environ: Mapping[str, str] | None = None
) -> MetricSender | None:
    """Set the sending of metrics up as the environment says; None when nothing asks for it.

    The sender is shut down at exit if nobody did it before.

    Args:
        service_name: `service.name`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has one.
        environ: The variables; the process's own by default.

    Raises:
        ConfigurationError: a variable asks for an exporter or a protocol that does not exist, or is no number.
    """
    environ = os.environ if environ is None else environ
    wanted = exporters_wanted("METRICS", environ)
    if not wanted:
        return None
    from parquedb.observability.otel.metric_provider import make_sender  # noqa: PLC0415 - few processes need the SDK

    sender = make_sender(wanted, environ, service_name)
    at_exit(sender.shutdown)
    return sender


def export_metrics(source: Callable[[], MetricsSnapshot]) -> Callable[[], None]:
    """Send what a source counts, if this process's environment asks for that; return how to stop asking the source.

    Raises:
        ConfigurationError: see `configure_metrics`.
    """
    sender = _process_sender()
    return _nothing if sender is None else sender.add(source)


def export_requests(requests: HttpRequests) -> Callable[[], None]:
    """Send the counts of HTTP requests that this process answers; as `export_metrics`."""
    sender = _process_sender()
    return _nothing if sender is None else sender.add_requests(requests)


def _process_sender() -> MetricSender | None:
    with _lock:
        if not _senders:
            sender = configure_metrics()
            if sender is not None:
                _senders.append(sender)
        return _senders[0] if _senders else None


def _nothing() -> None:
    """Stop what was never begun."""


_senders: list[MetricSender] = []
_lock = threading.Lock()

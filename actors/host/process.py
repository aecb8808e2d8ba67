"""Making a process ready to own a namespace: the client's environment, the hooks, the telemetry."""

import gc
import os
import pickle
from collections.abc import Callable, Mapping

from parquedb.observability.hooks import HookRegistry, load_hooks
from parquedb.observability.logs.configuration import apply_log_settings
from parquedb.observability.logs.context import set_process_fields
from parquedb.observability.logs.redaction import redactor
from parquedb.observability.otel.export import process_telemetry
from parquedb.observability.otel.log_records import process_log_export
from parquedb.observability.otel.process_facts import describe_process
from parquedb.settings import Settings

OWNER_SCRIPT = "parquedb-owner"
"""What owners are called in the worker logs."""

GC_THRESHOLDS = (100_000, 20, 100)
"""Allocations before the youngest generation is looked through, and how often the older ones are."""


def prepare_process(
    settings: Settings,
    hooks: bytes,
    variables: Mapping[str, str],
    identity: Mapping[str, str],
    *,
    own_namespace: str | None = None,
) -> HookRegistry:
    """Set this process up and return its hooks.

    Args:
        settings: What the client resolved; names hooks to load.
        hooks: Pickled hook objects besides those; may be empty.
        variables: Environment variables of the client; those that this process has already stay.
        identity: What telemetry says of this process as a whole, if it is for one namespace.
        own_namespace: The one namespace that this process is for. Its logs are then ours to set up: they go where Ray
            keeps what a worker writes on stderr, and name the namespace. None where others log here as well.

    Raises:
        ConfigurationError: a hook cannot be loaded, or a variable asks for telemetry that does not exist.
    """
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    if own_namespace is not None:
        describe_process(identity)
        apply_log_settings(settings)
        set_process_fields(namespace=own_namespace)
        process_log_export()
    # The process holds many live documents and makes almost no cycles: at Python's default thresholds a quarter of its
    # time would go into looking for garbage.
    gc.set_threshold(*GC_THRESHOLDS)
    registry = HookRegistry()
    for hook in load_hooks([*settings.hooks, *(pickle.loads(hooks) if hooks else ())]):  # noqa: S301
        registry.register_hook(hook)
    telemetry = process_telemetry()
    if telemetry is not None:
        registry.register_hook(telemetry.hook)
    if settings.worker_logs is not None:
        _store_logs(settings)
    return registry


def finish_process() -> None:
    """Store what waits, in a process that is about to end."""
    while _endings:
        _endings.pop()()


_endings: list[Callable[[], None]] = []


def _store_logs(settings: Settings) -> None:
    from parquedb.storage.worker_logs import attach_worker_logs, close_worker_logs  # noqa: PLC0415 - few owners do this

    attach_worker_logs(settings, script=OWNER_SCRIPT, redact=redactor.value)
    _endings.append(close_worker_logs)

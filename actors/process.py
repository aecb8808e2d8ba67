"""Making a process ready to own a namespace: the client's environment, the hooks, the telemetry."""

import gc
import logging
import os
import pickle
from collections.abc import Mapping

from parquedb.observability.hooks import HookRegistry, load_hooks
from parquedb.observability.logs import get_logger
from parquedb.observability.otel.export import process_telemetry
from parquedb.settings import Settings
from parquedb.storage.worker_logs import attach_worker_logs

OWNER_SCRIPT = "parquedb-owner"
"""What owners are called in the worker logs."""

GC_THRESHOLDS = (100_000, 20, 100)
"""Allocations before the youngest generation is looked through, and how often the older ones are."""


def prepare_process(settings: Settings, hooks: bytes, variables: Mapping[str, str]) -> HookRegistry:
    """Set this process up and return its hooks.

    Args:
        settings: What the client resolved; names hooks to load.
        hooks: Pickled hook objects besides those; may be empty.
        variables: Environment variables of the client; those that this process has already stay.

    Raises:
        ConfigurationError: a hook cannot be loaded, or a variable asks for telemetry that does not exist.
    """
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    # The process holds many live documents and makes almost no cycles: at Python's default thresholds a quarter of its
    # time would go into looking for garbage.
    gc.set_threshold(*GC_THRESHOLDS)
    registry = HookRegistry()
    for hook in load_hooks([*settings.hooks, *(pickle.loads(hooks) if hooks else ())]):  # noqa: S301
        registry.register_hook(hook)
    telemetry = process_telemetry()
    if telemetry is not None:
        registry.register_hook(telemetry.hook)
    # After everything else that sets up logging: a handler of ours must not look like one of the application's.
    attach_worker_logs(settings, script=OWNER_SCRIPT)
    if settings.worker_logs is not None and get_logger().level == logging.NOTSET:
        get_logger().setLevel(settings.log_level)
    return registry

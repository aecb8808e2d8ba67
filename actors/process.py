"""Making a process ready to own a namespace: the client's environment, the hooks, the telemetry."""

import gc
import os
import pickle
from collections.abc import Mapping

import ray

from parquedb.observability.hooks import HookRegistry, load_hooks
from parquedb.observability.otel.export import process_telemetry
from parquedb.settings import Settings

GC_THRESHOLDS = (100_000, 20, 100)
"""Allocations before the youngest generation is looked through, and how often the older ones are."""


def prepare_process(settings: Settings, hooks: bytes, variables: Mapping[str, str], namespace: str) -> HookRegistry:
    """Set this process up and return its hooks.

    Args:
        settings: What the client resolved; names hooks to load.
        hooks: Pickled hook objects besides those; may be empty.
        variables: Environment variables of the client; those that this process has already stay.
        namespace: What it is to own; telemetry says so.

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
    telemetry = process_telemetry(_identity(namespace))
    if telemetry is not None:
        registry.register_hook(telemetry.hook)
    return registry


def _identity(namespace: str) -> dict[str, str]:
    """Return what telemetry says of this process as a whole."""
    facts = {"parquedb.process.role": "owner", "parquedb.namespace": namespace}
    # Asked without Ray, `get_runtime_context` would start one.
    if ray.is_initialized():
        context = ray.get_runtime_context()
        facts |= {"parquedb.node.id": context.get_node_id(), "parquedb.actor.id": context.get_actor_id() or ""}
    return facts

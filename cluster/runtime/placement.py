"""Finding the actor of a namespace, or starting it."""

import contextlib
from typing import Any

import ray
import ray.util
from ray.exceptions import RayError

from parquedb.access.grants import GrantKeys
from parquedb.actors.host.remote import RemoteNamespaceActor
from parquedb.cluster.runtime.naming import actor_name, database_name, is_actor_name, namespace_of
from parquedb.observability.otel.export import otel_variables
from parquedb.settings import Settings

CLOSE_TIMEOUT_S = 5.0
"""Seconds that the end of a cluster waits for its owners."""


_found: dict[str, dict[str, Any]] = {}
"""Handles of all actors that this process has found, by name, by the node that it belonged to."""


def _found_here() -> dict[str, Any]:
    """Return those of the Ray that this process belongs to now; what it found in others is of no use any more."""
    here = ray.get_runtime_context().get_node_id()
    for left in [node for node in _found if node != here]:
        _found.pop(left, None)
    return _found.setdefault(here, {})


def node_options(settings: Settings) -> dict[str, Any]:
    """Return the options of an actor that say which nodes it may run on."""
    # Ray puts an actor that asks for nothing on any node, also on a head with `--num-cpus=0`.
    return {"label_selector": dict(settings.owner_labels)}


def find_or_create(settings: Settings, namespace: str, hooks: bytes = b"") -> Any:
    """Return the handle of the actor that serves `namespace`; every process gets the same one.

    Args:
        settings: Of the database; an actor that runs already keeps those it was started with.
        namespace: A checked name.
        hooks: Pickled hook objects for a new actor.
    """
    # Detached: the owner outlives the process that happened to call first. Ray restarts it after a crash; what storage
    # holds decides whether it still is the owner.
    name = actor_name(settings, namespace)
    handle = RemoteNamespaceActor.options(
        name=name,
        namespace=settings.ray_namespace,
        lifetime="detached",
        get_if_exists=True,
        # Ray itself would keep any number of calls, of each process, in memory.
        max_pending_calls=settings.client.pending_calls_max,
        **node_options(settings),
    ).remote(
        *(settings, namespace, hooks, settings.reveal_secret(), otel_variables()),
        GrantKeys(database_name(settings), settings.access.reveal_keys()),
    )
    _found_here()[name] = handle
    return handle


def find(settings: Settings, namespace: str) -> Any | None:
    """Return the handle of the actor that serves `namespace`; None when there is none."""
    return _handle(actor_name(settings, namespace), settings.ray_namespace)


def _handle(name: str, ray_namespace: str) -> Any | None:
    try:
        handle = _found_here()[name] = ray.get_actor(name, ray_namespace)
    except ValueError:
        _found_here().pop(name, None)
        return None
    return handle


def close_owners() -> None:
    """Let every owner in this cluster say goodbye to its log: whoever opens it next need not wait out a lease.

    For a cluster that is about to end. Never raises, and gives up after `CLOSE_TIMEOUT_S`.
    """
    # Whatever goes wrong: an owner that says nothing is waited out.
    with contextlib.suppress(RayError, RuntimeError):
        named = [each for each in ray.util.list_named_actors(all_namespaces=True) if is_actor_name(each["name"])]
        handles = [_handle(each["name"], each["namespace"]) for each in named]
        replies = [handle.close.remote() for handle in handles if handle is not None]
        if replies:
            ray.wait(replies, num_returns=len(replies), timeout=CLOSE_TIMEOUT_S)


def known_owners(settings: Settings) -> dict[str, Any]:
    """Return the handles of those actors of this database that this process has found before, by namespace."""
    named = ((namespace_of(settings, name), handle) for name, handle in list(_found_here().items()))
    return {namespace: handle for namespace, handle in named if namespace is not None}


def served_namespaces(settings: Settings) -> list[str]:
    """List the namespaces of this database that have an actor in this cluster, sorted."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    names = (namespace_of(settings, each["name"]) for each in actors if each["namespace"] == settings.ray_namespace)
    return sorted(name for name in names if name is not None)

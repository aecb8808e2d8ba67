"""Finding the actor of a namespace, or starting it."""

import contextlib
from typing import Any

import ray
import ray.util
from ray.exceptions import RayError

from parquedb.access.grants import GrantKeys
from parquedb.actors.host.namespace_actor import RemoteNamespaceActor
from parquedb.cluster.runtime.naming import actor_name, database_name, is_actor_name, namespace_of
from parquedb.observability.otel.export import otel_variables
from parquedb.settings import Settings

CLOSE_TIMEOUT_S = 5.0
"""Seconds that the end of a cluster waits for its owners."""


def find_or_create(settings: Settings, namespace: str, hooks: bytes = b"") -> Any:
    """Return the handle of the actor that serves `namespace`; every process gets the same one.

    Args:
        settings: Of the database; an actor that runs already keeps those it was started with.
        namespace: A checked name.
        hooks: Pickled hook objects for a new actor.
    """
    # Detached: the owner outlives the process that happened to call first. Ray restarts it after a crash; what storage
    # holds decides whether it still is the owner.
    return RemoteNamespaceActor.options(
        name=actor_name(settings, namespace),
        namespace=settings.ray_namespace,
        lifetime="detached",
        get_if_exists=True,
        # Ray itself would keep any number of calls, of each process, in memory.
        max_pending_calls=settings.client.pending_calls_max,
        label_selector=dict(settings.owner_labels),
    ).remote(
        *(settings, namespace, hooks, settings.reveal_secret(), otel_variables()),
        GrantKeys(database_name(settings), settings.access.reveal_keys()),
    )


def find(settings: Settings, namespace: str) -> Any | None:
    """Return the handle of the actor that serves `namespace`; None when there is none."""
    return _handle(actor_name(settings, namespace), settings.ray_namespace)


def _handle(name: str, ray_namespace: str) -> Any | None:
    try:
        return ray.get_actor(name, ray_namespace)
    except ValueError:
        return None


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


def served_namespaces(settings: Settings) -> list[str]:
    """List the namespaces of this database that have an actor in this cluster, sorted."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    names = (namespace_of(settings, each["name"]) for each in actors if each["namespace"] == settings.ray_namespace)
    return sorted(name for name in names if name is not None)

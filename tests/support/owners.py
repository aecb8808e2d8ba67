"""Owners on the Ray of the tests, and their end."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ray
import ray.util

import parquedb
from parquedb.cluster.runtime.naming import is_actor_name
from parquedb.cluster.runtime.placement import find
from tests.support.places import NAMESPACE


@asynccontextmanager
async def database(place: dict[str, Any]) -> AsyncIterator[parquedb.AsyncDatabase]:
    """A database whose owner is ended afterwards."""
    async with await parquedb.connect_async(**place) as db:
        try:
            yield db
        finally:
            owner = find(db.settings, NAMESPACE)
            if owner is not None:
                ray.kill(owner)


def end_owners() -> None:
    """End every owner in the cluster, of whatever database."""
    for each in ray.util.list_named_actors(all_namespaces=True):
        if is_actor_name(each["name"]):
            with contextlib.suppress(ValueError):  # It has just ended by itself.
                ray.kill(ray.get_actor(each["name"], each["namespace"]))

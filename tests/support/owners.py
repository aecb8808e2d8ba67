"""Databases for tests on Ray whose owners end with them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ray

import parquedb
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

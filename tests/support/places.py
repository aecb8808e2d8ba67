"""Databases for tests, on a directory or an S3 server, and engines on them without Ray."""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests import arguments, read_arguments
from parquedb.actors.requests.operations import Operation
from parquedb.clock import SystemClock
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.backends.layers import wrap_backend
from parquedb.storage.open import open_backend
from tests.support.s3_servers import S3Server

NAMESPACE = "posts"

BUSY = {
    "read_lease_s": 0.1,
    "flush_rows": 1500,
    "checkpoint_entries_max": 32,
    "log_grace_s": 3.0,
    "snapshot_grace_s": 4.0,
    "collect_interval_s": 2.0,
}
"""Engine settings under which a short load meets flushes, checkpoints and collections."""


def on_disk(folder: Path, **settings: Any) -> dict[str, Any]:
    """Return the arguments of `connect` for a database in a directory."""
    return {"url": str(folder / "db"), **settings}


def on_s3(server: S3Server, prefix: str, *, endpoint_url: str | None = None, **settings: Any) -> dict[str, Any]:
    """Return the arguments of `connect` for a database on an S3 server, perhaps through a proxy."""
    credentials = {"endpoint_url": endpoint_url or server.endpoint_url, "key": server.key, "secret": server.secret}
    return {"url": f"s3://{server.bucket}/{prefix}", **credentials, **settings}


def settings_of(place: Mapping[str, Any]) -> Settings:
    """Return the settings that `connect` would use."""
    return load_settings(**place)


class EngineCollection:
    """The methods of a collection over an engine in this process, without request ids and retries."""

    def __init__(self, engine: NamespaceEngine, namespace: str = NAMESPACE) -> None:
        self.engine = engine
        self._namespace = namespace

    async def create(self, data: Mapping[str, Any], *, id: str, timeout_s: float | None = None) -> Any:  # noqa: A002
        return await self.run(arguments.create(self._namespace, data, id=id), timeout_s)

    async def update(self, id: str, ops: Mapping[str, Any], *, timeout_s: float | None = None, **more: Any) -> Any:  # noqa: A002
        return await self.run(arguments.update(self._namespace, id, ops, **more), timeout_s)

    async def batch(self, operations: list[dict[str, Any]], *, timeout_s: float | None = None) -> Any:
        return await self.run(arguments.batch(self._namespace, operations), timeout_s)

    async def get(self, id: str, *, timeout_s: float | None = None) -> Any:  # noqa: A002 - as in the client
        return await self.run(read_arguments.get(self._namespace, id), timeout_s)

    async def run(self, operation: Operation, timeout_s: float | None) -> Any:
        wire = operation.to_wire()
        wire[6] = timeout_s
        [outcome] = await self.engine.execute([Operation.from_wire(wire)])
        return outcome.result()


@asynccontextmanager
async def engine_on(
    settings: Settings, seed: str, *hook_objects: object, namespace: str = NAMESPACE
) -> AsyncIterator[NamespaceEngine]:
    """An engine with a store of its own, not yet opened; afterwards it is gone without a farewell."""
    rng, clock, hooks = random.Random(seed), SystemClock(), HookRegistry()
    for hook in hook_objects:
        hooks.register_hook(hook)
    storage = wrap_backend(open_backend(settings), settings.storage, clock=clock, hooks=hooks, rng=rng)
    engine = NamespaceEngine(namespace, storage, settings.engine, clock=clock, rng=rng, hooks=hooks)
    try:
        yield engine
    finally:
        engine.abandon()
        await storage.close()

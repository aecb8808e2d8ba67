"""The peer of every call: an actor that does nothing, with the options of the real one."""

import os
from typing import Any

import ray

from parquedb.actors.host.remote import CONCURRENT_CALLS_MAX, HEALTH_CALLS_MAX


class Noop:
    """Answers."""

    async def f(self) -> None:
        """Do nothing."""

    async def pid(self) -> int:
        """The process that answers."""
        return os.getpid()

    @ray.method(concurrency_group="health")
    async def ping(self) -> None:
        """Answer beside the others."""


_OPTIONS: dict[str, Any] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": CONCURRENT_CALLS_MAX,
    "concurrency_groups": {"health": HEALTH_CALLS_MAX},
}

RemoteNoop: Any = ray.remote(**_OPTIONS)(Noop)


def start_noop() -> Any:
    """Start one and wait until it answers."""
    actor = RemoteNoop.remote()
    ray.get(actor.f.remote())
    return actor

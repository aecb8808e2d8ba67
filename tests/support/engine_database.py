"""An `AsyncDatabase` whose owners run in this process, without Ray: for whatever stands on top of one."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.settings.environment import load_settings
from tests.support.local_connection import LocalConnection


class EngineDatabase(AsyncDatabase):
    """A database over engines, that notes what it is asked.

    Attributes:
        asked: All operations, as (namespace, operation, seconds that it was given).
        refuse: Raised instead of sending an operation, as often as there are some.
        patience: Seconds that owners were given for their metrics, of each time they were asked.
    """

    def __init__(self, folder: Path, **engine_settings: Any) -> None:
        super().__init__(LocalConnection(load_settings(str(folder)), **engine_settings))
        self.asked: list[tuple[str, Operation, float | None]] = []
        self.refuse: list[Exception] = []
        self.patience: list[float | None] = []

    def acting_for(self, permissions: object) -> "EngineDatabase":
        """Return itself: what a caller may do is checked before it is noted here."""
        return self

    async def metrics_by_process(
        self, *, timeout_s: float | None = None, owners: bool = True
    ) -> dict[str, MetricsSnapshot]:
        """Answer as ever, and note how long owners were given."""
        self.patience.append(timeout_s)
        return await super().metrics_by_process(timeout_s=timeout_s, owners=owners)

    def _run(self, namespace: str, operation: Operation, timeout_s: float | None) -> Awaitable[Outcome]:
        self.asked.append((namespace, operation, timeout_s))
        if self.refuse:
            return _refused(self.refuse.pop())
        return super()._run(namespace, operation, timeout_s)


async def _refused(error: Exception) -> Outcome:
    raise error

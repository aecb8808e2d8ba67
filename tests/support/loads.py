"""Loads by a caller against engines in this process: the steps of the client without Ray."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import INSERT_ARROW, Operation, Outcome
from parquedb.actors.requests.packing import decode_operations, pack
from parquedb.cluster.loads.bulk_steps import Ask, advance
from parquedb.cluster.loads.direct_storage import DirectStorage
from parquedb.cluster.transport.delivery import Delivery
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend

Between = Callable[[Operation], Awaitable[None]]


class LoadersStore(DelegatingBackend):
    """The store as the loader reaches it.

    Attributes:
        created: Keys that the loader has created.
        cuts: Bytes by which each object that it stores is cut short, behind its back.
    """

    def __init__(self, inner: StorageBackend, *, cuts: int = 0) -> None:
        super().__init__(inner)
        self.created: list[str] = []
        self.cuts = cuts

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> Any:
        """Create, and remember it."""
        self.created.append(key)
        return await self.inner.create(key, data[: len(data) - self.cuts], timeout_s=timeout_s)


class Caller:
    """Takes the steps of loads.

    Attributes:
        owner: Who is asked; a test may put another one in its place between two steps.
        direct: The caller's way to the store.
        asked: Kinds of the operations that were asked so far.
    """

    def __init__(self, owner: NamespaceEngine, store: StorageBackend) -> None:
        self.owner = owner
        self.direct = DirectStorage(lambda: store)
        self.asked: list[str] = []

    async def walk(self, steps: Any, between: Between | None = None) -> Any:
        """Take all steps; return what they come to.

        Args:
            steps: See `parquedb.cluster.loads.bulk_steps`.
            between: Awaited before a load of stored files is sent, with its operation.
        """
        outcome: Outcome | None = None
        while isinstance(step := await asyncio.to_thread(advance, steps, outcome, outcome and outcome.error), Ask):
            self.asked.append(step.operation.kind)
            if between is not None and step.operation.kind == INSERT_ARROW and "files" in step.operation.body:
                await between(step.operation)
            # Through its wire form, as from another process.
            part = Delivery(step.operation, now_s=0.0, timeout_s=step.timeout_s).part(0.0)
            [outcome] = await self.owner.execute(decode_operations(pack([part])))
        return step.value

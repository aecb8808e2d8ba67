"""What every method of a collection stands on: its namespace, and the way to the owner."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.pages import Document
from parquedb.cluster.loads.bulk_steps import Ask, Steps, advance
from parquedb.errors import ParqueDBError
from parquedb.storage.keys import check_namespace

if TYPE_CHECKING:
    from parquedb.cluster.client.async_database import AsyncDatabase
    from parquedb.cluster.client.database import Database

T = TypeVar("T")


class CollectionBase:
    """A namespace of a `Database`."""

    __slots__ = ("_database", "namespace")

    def __init__(self, database: "Database", namespace: str) -> None:
        """Name a namespace; use `Database.collection`."""
        self.namespace = check_namespace(namespace)
        self._database = database

    @property
    def actor(self) -> Any:
        """The Ray actor handle: `ray.get(posts.actor.create.remote({...}))`; starts the actor if there is none."""
        return self._database._link(self.namespace).handle()

    def _run(self, operation: Operation, timeout_s: float | None) -> Outcome:
        return self._database._run(self.namespace, operation, timeout_s)

    def _walk(self, steps: Steps[T]) -> T:
        """Ask the owner what some steps ask; return what they come to."""
        outcome: Outcome | None = None
        error: ParqueDBError | None = None
        while isinstance(step := advance(steps, outcome, error), Ask):
            try:
                outcome, error = self._run(*step), None
            except ParqueDBError as raised:
                error = raised
        value: T = step.value
        return value

    def _document(self, operation: Operation, timeout_s: float | None) -> Document:
        document: Document = self._run(operation, timeout_s).value
        return document

    def _number(self, operation: Operation, timeout_s: float | None) -> int:
        number: int = self._run(operation, timeout_s).value
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._database, self.namespace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.namespace!r} of {self._database.url!r})"


class AsyncCollectionBase:
    """A namespace of an `AsyncDatabase`."""

    __slots__ = ("_database", "namespace")

    def __init__(self, database: "AsyncDatabase", namespace: str) -> None:
        """Name a namespace; use `AsyncDatabase.collection`."""
        self.namespace = check_namespace(namespace)
        self._database = database

    @property
    def actor(self) -> Any:
        """The Ray actor handle: `await posts.actor.create.remote({...})`; starts the actor if there is none."""
        return self._database._link(self.namespace).handle()

    def _run(self, operation: Operation, timeout_s: float | None) -> Awaitable[Outcome]:
        return self._database._run(self.namespace, operation, timeout_s)

    async def _walk(self, steps: Steps[T]) -> T:
        """Ask the owner what some steps ask; return what they come to. What they do in between is done in threads."""
        outcome: Outcome | None = None
        error: ParqueDBError | None = None
        while isinstance(step := await asyncio.to_thread(advance, steps, outcome, error), Ask):
            try:
                outcome, error = await self._run(*step), None
            except ParqueDBError as raised:
                error = raised
        value: T = step.value
        return value

    async def _document(self, operation: Operation, timeout_s: float | None) -> Document:
        document: Document = (await self._run(operation, timeout_s)).value
        return document

    async def _number(self, operation: Operation, timeout_s: float | None) -> int:
        number: int = (await self._run(operation, timeout_s)).value
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._database, self.namespace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.namespace!r} of {self._database.url!r})"

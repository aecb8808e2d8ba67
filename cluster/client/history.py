"""The methods of a collection about its past, for synchronous use and for coroutines."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any

from parquedb.actors.reads.history import LIMIT_DEFAULT
from parquedb.actors.requests import past_arguments
from parquedb.actors.requests.arguments import check_timeout
from parquedb.actors.requests.operations import Operation
from parquedb.cluster.client.connection import Connection
from parquedb.cluster.client.history_results import AsyncChangeFeed, AsyncHistory, ChangeFeed, History, changes_of
from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase

if TYPE_CHECKING:
    from parquedb.cluster.snapshots.snapshot import Snapshot
    from parquedb.cluster.transport.credentials import Credentials


class HistoryMethods(CollectionBase):
    """What was, and what happens.

    Superseded states are kept for `settings.engine.history_window_s` and within `history_bytes_max`.
    """

    __slots__ = ()

    def history(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        *,
        after: int = 0,
        limit: int = LIMIT_DEFAULT,
        timeout_s: float | None = None,
    ) -> History:
        """Return the changes of one document, oldest first; iterating goes through all of them.

        A document that never was has none. `truncated` says whether older ones may have been forgotten.

        Args:
            id: Of the document.
            after: Only changes with a greater seq.
            limit: Changes per page, 1 to 1 000; large ones make a page shorter.
            timeout_s: Seconds for each page.
        """

        def following(after: int) -> History:
            return self.history(id, after=after, limit=limit, timeout_s=timeout_s)

        answer = self._run(past_arguments.history(self.namespace, id, after=after, limit=limit), timeout_s).value
        return History(changes_of(answer), answer["more"], answer["cut"], answer["oldest"], following)

    def changes(self, after: int = 0, *, follow: bool = True, timeout_s: float | None = None) -> ChangeFeed:
        """Return an iterator over all changes with a greater seq than `after`, in order, each exactly once.

        It goes on at the next owner when one fails, and gives up when none answers for `timeout_s`. To resume later,
        keep the `seq` of the last change dealt with.

        Args:
            after: 0 for all that are kept since the first; `stats()["seq"]` for those to come.
            follow: Whether to wait for the next change at the end, or to stop there.
            timeout_s: Seconds for each question.

        Raises:
            EventNotFoundError: (while iterating) changes right after `after` are not kept any more.
            ValidationError: (while iterating) `after` lies in the future.
        """
        past_arguments.changes(self.namespace, after=after)
        limit_s = check_timeout(timeout_s, self._database.settings.client.timeout_s)

        def ask(after: int, wait_s: float) -> Mapping[str, Any]:
            return self._run(_question(self.namespace, after, wait_s, limit_s), limit_s).value  # type: ignore[no-any-return]

        return ChangeFeed(ask, after, follow=follow, patience_s=limit_s)

    def snapshot(self, *, timeout_s: float | None = None) -> "Snapshot":
        """Take an immutable view of the namespace as it is now, to be read straight from storage; close it after use.

        Raises:
            ConfigurationError: the storage is out of reach here: `memory://`, or behind a gateway.
        """
        limit_s = check_timeout(timeout_s, self._database.settings.client.timeout_s)
        return _snapshot(self._database._connection, self.namespace, limit_s, self._database._credentials)


class AsyncHistoryMethods(AsyncCollectionBase):
    """What was, and what happens; see `HistoryMethods`."""

    __slots__ = ()

    async def history(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        *,
        after: int = 0,
        limit: int = LIMIT_DEFAULT,
        timeout_s: float | None = None,
    ) -> AsyncHistory:
        """Return the changes of one document, oldest first; `async for` goes through all; see `Collection.history`."""

        def following(after: int) -> Awaitable[AsyncHistory]:
            return self.history(id, after=after, limit=limit, timeout_s=timeout_s)

        operation = past_arguments.history(self.namespace, id, after=after, limit=limit)
        answer = (await self._run(operation, timeout_s)).value
        return AsyncHistory(changes_of(answer), answer["more"], answer["cut"], answer["oldest"], following)

    def changes(self, after: int = 0, *, follow: bool = True, timeout_s: float | None = None) -> AsyncChangeFeed:
        """Return an iterator over all changes after a seq for `async for`; see `Collection.changes`."""
        past_arguments.changes(self.namespace, after=after)
        limit_s = check_timeout(timeout_s, self._database.settings.client.timeout_s)

        async def ask(after: int, wait_s: float) -> Mapping[str, Any]:
            return (await self._run(_question(self.namespace, after, wait_s, limit_s), limit_s)).value  # type: ignore[no-any-return]

        return AsyncChangeFeed(ask, after, follow=follow, patience_s=limit_s)

    async def snapshot(self, *, timeout_s: float | None = None) -> "Snapshot":
        """Take an immutable view of the namespace; its methods are blocking ones, see `Snapshot`."""
        limit_s = check_timeout(timeout_s, self._database.settings.client.timeout_s)
        database = self._database
        return await asyncio.to_thread(_snapshot, database._connection, self.namespace, limit_s, database._credentials)


def _snapshot(connection: Connection, namespace: str, limit_s: float, credentials: "Credentials") -> "Snapshot":
    # Half a second to import, Ray among it, for a method that few programs call.
    from parquedb.cluster.snapshots.snapshot import take_snapshot  # noqa: PLC0415

    return take_snapshot(connection, namespace, limit_s, credentials)


def _question(namespace: str, after: int, wait_s: float, limit_s: float) -> Operation:
    # Half of the time is for the answer's way.
    return past_arguments.changes(namespace, after=after, wait_s=min(wait_s, limit_s / 2))

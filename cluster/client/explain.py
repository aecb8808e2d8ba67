"""The `explain` of a collection, for synchronous use and for coroutines."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones
# ruff: noqa: A002 - `filter` is the public name of an argument

from collections.abc import Mapping
from typing import Any

from parquedb.actors.requests import read_arguments
from parquedb.actors.requests.read_arguments import EXECUTION_STATS, LIMIT_DEFAULT, AsOf, Fields, SortSpec
from parquedb.cluster.client.explanation import Explanation
from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase


class ExplainMethods(CollectionBase):
    """How queries are carried out."""

    __slots__ = ()

    def explain(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        operation: str = "find",
        verbosity: str = EXECUTION_STATS,
        sort: SortSpec | None = None,
        limit: int = LIMIT_DEFAULT,
        skip: int = 0,
        fields: Fields | None = None,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> Explanation:
        """Say how a find or count is carried out: what it looks at, what it skips, and where conditions are decided.

        Args:
            filter: As in `find`; so is what is not named here.
            operation: `find` or `count`.
            verbosity: `executionStats` runs the query and tells what it did, `queryPlanner` only plans it.
            sort: `find` only.
            limit: `find` only.
            skip: `find` only.
            fields: `find` only.
            include_deleted: Whether soft-deleted documents are seen.
            as_of: A point of the past.
            timeout_s: Seconds for the call.

        Raises:
            ValidationError: an argument is of the wrong kind.
            QueryError: filter, sort or fields are not understood.
        """
        asked = read_arguments.explain(
            self.namespace,
            filter,
            operation=operation,
            verbosity=verbosity,
            sort=sort,
            limit=limit,
            skip=skip,
            fields=fields,
            include_deleted=include_deleted,
            as_of=as_of,
        )
        return Explanation.of(self._run(asked, timeout_s).value)


class AsyncExplainMethods(AsyncCollectionBase):
    """How queries are carried out, for coroutines."""

    __slots__ = ()

    async def explain(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        operation: str = "find",
        verbosity: str = EXECUTION_STATS,
        sort: SortSpec | None = None,
        limit: int = LIMIT_DEFAULT,
        skip: int = 0,
        fields: Fields | None = None,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> Explanation:
        """Say how a find or count is carried out; see `Collection.explain`."""
        asked = read_arguments.explain(
            self.namespace,
            filter,
            operation=operation,
            verbosity=verbosity,
            sort=sort,
            limit=limit,
            skip=skip,
            fields=fields,
            include_deleted=include_deleted,
            as_of=as_of,
        )
        return Explanation.of((await self._run(asked, timeout_s)).value)

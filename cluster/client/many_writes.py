"""Writes to all documents that a filter matches."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from parquedb.actors.requests import many_arguments
from parquedb.actors.requests.operations import Operation, Request
from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase


class UpdateResult(NamedTuple):
    """What an update by filter came to.

    Attributes:
        matched: Documents that the filter matched.
        modified: Those of them that the update changed; each took one step of its version.
        upserted_id: `$id` of the document that was inserted because none matched; None if none was.
    """

    matched: int
    modified: int
    upserted_id: str | None = None


class ManyMethods(CollectionBase):
    """Writes by filter. Each is atomic: all of its changes are in one commit, or none is made.

    At most `engine.many_documents_max` documents are changed at once; a filter that matches more is refused.
    """

    __slots__ = ()

    def update_many(
        self,
        filter: Mapping[str, Any] | None,  # noqa: A002 - the public name of the argument
        ops: Mapping[str, Any],
        *,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        upsert: bool = False,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> UpdateResult:
        """Update every document that matches; one that the update leaves as it was keeps its version.

        Args:
            filter: Which documents; None or `{}` for all.
            ops: Update operators; in a path, `$` is the element of an array that the filter matched.
            array_filters: Which elements each `$[<identifier>]` in a path means.
            upsert: Insert a document made of the filter's equalities and `ops` if none matches.
            actor: Who is said to do it.
            request_id: Makes a repeated call answer what the first came to.
            timeout_s: Seconds for the call with all its repeats.

        Raises:
            InvalidFilterError, InvalidUpdateError: not understood; nothing was changed.
            ValidationError: some document would not be valid; nothing was changed.
            QuotaExceededError: more documents match than one call may change.
        """
        operation = many_arguments.update_many(
            self.namespace,
            filter,
            ops,
            array_filters=array_filters,
            upsert=upsert,
            actor=actor,
            request_id=request_id,
        )
        return self._result(operation, timeout_s)

    def upsert(
        self,
        filter: Mapping[str, Any] | None,  # noqa: A002 - the public name of the argument
        ops: Mapping[str, Any],
        *,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> UpdateResult:
        """Update the first document that matches, in order of `$id`, or insert one as `update_many(upsert=True)` does.

        Raises:
            InvalidFilterError, InvalidUpdateError, ValidationError: as `update_many`.
        """
        operation = many_arguments.upsert(
            self.namespace, filter, ops, array_filters=array_filters, actor=actor, request_id=request_id
        )
        return self._result(operation, timeout_s)

    def delete_many(
        self,
        filter: Mapping[str, Any] | None,  # noqa: A002 - the public name of the argument
        *,
        hard: bool = False,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Delete every document that matches (None or `{}`: all), and return how many; see `delete`.

        Raises:
            InvalidFilterError: not understood; nothing was changed.
            QuotaExceededError: more documents match than one call may change.
        """
        operation = many_arguments.delete_many(self.namespace, filter, hard=hard, actor=actor, request_id=request_id)
        return self._number(operation, timeout_s)

    def _result(self, operation: Operation, timeout_s: float | None) -> UpdateResult:
        return UpdateResult(**self._run(operation, timeout_s).value)


class AsyncManyMethods(AsyncCollectionBase):
    """Writes by filter; see `ManyMethods`."""

    __slots__ = ()

    async def update_many(
        self,
        filter: Mapping[str, Any] | None,  # noqa: A002 - the public name of the argument
        ops: Mapping[str, Any],
        *,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        upsert: bool = False,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> UpdateResult:
        """Update every document that matches; see `Collection.update_many`."""
        operation = many_arguments.update_many(
            self.namespace,
            filter,
            ops,
            array_filters=array_filters,
            upsert=upsert,
            actor=actor,
            request_id=request_id,
        )
        return await self._result(operation, timeout_s)

    async def upsert(
        self,
        filter: Mapping[str, Any] | None,  # noqa: A002 - the public name of the argument
        ops: Mapping[str, Any],
        *,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> UpdateResult:
        """Update the first document that matches, or insert one; see `Collection.upsert`."""
        operation = many_arguments.upsert(
            self.namespace, filter, ops, array_filters=array_filters, actor=actor, request_id=request_id
        )
        return await self._result(operation, timeout_s)

    async def delete_many(
        self,
        filter: Mapping[str, Any] | None,  # noqa: A002 - the public name of the argument
        *,
        hard: bool = False,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Delete every document that matches; see `Collection.delete_many`."""
        operation = many_arguments.delete_many(self.namespace, filter, hard=hard, actor=actor, request_id=request_id)
        return await self._number(operation, timeout_s)

    async def _result(self, operation: Operation, timeout_s: float | None) -> UpdateResult:
        return UpdateResult(**(await self._run(operation, timeout_s)).value)

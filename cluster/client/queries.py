"""The methods of a collection that read, for synchronous use and for coroutines."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones
# ruff: noqa: A002 - `id` and `filter` are the public names of arguments

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from parquedb.actors.requests import read_arguments
from parquedb.actors.requests.operations import Operation
from parquedb.actors.requests.read_arguments import AsOf, Fields, SortSpec
from parquedb.cluster.client.pages import AsyncFind, AsyncPage, Document, Page
from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase
from parquedb.errors import EntityNotFoundError


class QueryMethods(CollectionBase):
    """Reads of a collection.

    Queries that take longer than `timeout_s` raise `QueryTimeoutError`, those that hold more memory than
    `settings.engine.query_memory_max` raise `QueryMemoryError`. With `as_of`, the seq of a change or a time, they see
    the state as it was then, or raise `SnapshotNotFoundError` where that is not kept any more.
    """

    __slots__ = ()

    def get(
        self,
        id: str,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        fields: Fields | None = None,
        timeout_s: float | None = None,
    ) -> Document | None:
        """Return a document, or None; `fields` as in `find`."""
        operation = read_arguments.get(self.namespace, id, include_deleted=include_deleted, as_of=as_of, fields=fields)
        document: Document | None = self._run(operation, timeout_s).value
        return document

    def get_or_raise(
        self,
        id: str,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        fields: Fields | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Return a document.

        Raises:
            EntityNotFoundError: there is none.
        """
        document = self.get(id, include_deleted=include_deleted, as_of=as_of, fields=fields, timeout_s=timeout_s)
        if document is None:
            raise EntityNotFoundError(id=id, namespace=self.namespace)
        return document

    def exists(
        self,
        id: str,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> bool:
        """Whether there is such a document; by a filter, ask `find_one`."""
        operation = read_arguments.exists(self.namespace, id, include_deleted=include_deleted, as_of=as_of)
        there: bool = self._run(operation, timeout_s).value
        return there

    def find(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        sort: SortSpec | None = None,
        limit: int = read_arguments.LIMIT_DEFAULT,
        skip: int = 0,
        cursor: str | None = None,
        fields: Fields | None = None,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        total: bool = False,
        timeout_s: float | None = None,
    ) -> Page:
        """Return a page of the documents that match; iterating it follows the cursor.

        A document that exists all along and keeps what it sorts by is met exactly once, whatever is written meanwhile.

        Args:
            filter: MongoDB-style; None matches all.
            sort: `"-age"`, `["name", "-age"]`, `{"name": 1, "age": -1}` or `[("name", 1), ("age", -1)]`; equal ones
                by `$id`, as are all when it is None.
            limit: Documents per page, 1 to 10 000.
            skip: Leave out so many of the first, at most 100 000; a cursor costs less.
            cursor: `next_cursor` of the page before, of the same filter and sort.
            fields: `["title", "author.name"]` for these with `$id` and `version`, `{"title": 1}` for these with `$id`,
                `{"body": 0}` for all but these; None for whole documents.
            include_deleted: Whether soft-deleted documents are seen.
            as_of: Look at the state after the change with this seq, or at this time.
            total: Whether to count all matches as well, at the same moment.
            timeout_s: Seconds for each page.

        Raises:
            InvalidFilterError: the filter is not understood.
            InvalidSortError: the sort order is not understood.
            InvalidProjectionError: the fields are not understood.
            InvalidInputError: the cursor is one of another query.
        """
        options: dict[str, Any] = {
            "sort": sort,
            "limit": limit,
            "fields": fields,
            "include_deleted": include_deleted,
            "as_of": as_of,
        }
        first = read_arguments.find(self.namespace, filter, skip=skip, cursor=cursor, total=total, **options)

        def page(operation: Operation) -> Page:
            answer = self._run(operation, timeout_s).value
            return Page(answer["items"], answer["next_cursor"], answer.get("total"), following)

        def following(cursor: str) -> Page:
            return page(read_arguments.find(self.namespace, filter, cursor=cursor, **options))

        return page(first)

    def find_one(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        sort: SortSpec | None = None,
        fields: Fields | None = None,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> Document | None:
        """Return the first document that matches, or None; arguments and errors as in `find`."""
        operation = read_arguments.find_one(
            self.namespace, filter, sort=sort, fields=fields, include_deleted=include_deleted, as_of=as_of
        )
        document: Document | None = self._run(operation, timeout_s).value
        return document

    def count(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Count the documents that match."""
        return self._number(
            read_arguments.count(self.namespace, filter, include_deleted=include_deleted, as_of=as_of), timeout_s
        )

    def distinct(
        self,
        field: str,
        filter: Mapping[str, Any] | None = None,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """Return the distinct values of a field, in sort order; the elements of an array count one by one.

        Raises:
            InvalidFilterError: the filter is not understood.
            InvalidProjectionError: the field is no path.
            QueryError: there are more than 100 000 values.
        """
        operation = read_arguments.distinct(self.namespace, field, filter, include_deleted=include_deleted, as_of=as_of)
        values: list[Any] = self._run(operation, timeout_s).value
        return values

    def aggregate(
        self,
        pipeline: Sequence[Mapping[str, Any]],
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> list[Document]:
        """Run a pipeline and return what comes out: `[{"$match": ...}, {"$group": {"_id": "$tag", ...}}]`.

        Stages: `$match $group $sort $project $limit $skip $unwind $count $addFields $set $unset $sortByCount`. In
        expressions `"$$id"` is the field `$id`. Without `$sort` the order is not defined.

        Raises:
            InvalidPipelineError: a stage or operator is not understood, or cannot take a value; `stage` says where.
            QueryError: more than 100 000 documents come out.
        """
        operation = read_arguments.aggregate(self.namespace, pipeline, include_deleted=include_deleted, as_of=as_of)
        documents: list[Document] = self._run(operation, timeout_s).value
        return documents


class AsyncQueryMethods(AsyncCollectionBase):
    """Reads of a collection.

    Queries that take longer than `timeout_s` raise `QueryTimeoutError`, those that hold more memory than
    `settings.engine.query_memory_max` raise `QueryMemoryError`. With `as_of`, the seq of a change or a time, they see
    the state as it was then, or raise `SnapshotNotFoundError` where that is not kept any more.
    """

    __slots__ = ()

    async def get(
        self,
        id: str,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        fields: Fields | None = None,
        timeout_s: float | None = None,
    ) -> Document | None:
        """Return a document, or None; `fields` as in `find`."""
        operation = read_arguments.get(self.namespace, id, include_deleted=include_deleted, as_of=as_of, fields=fields)
        document: Document | None = (await self._run(operation, timeout_s)).value
        return document

    async def get_or_raise(
        self,
        id: str,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        fields: Fields | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Return a document.

        Raises:
            EntityNotFoundError: there is none.
        """
        document = await self.get(id, include_deleted=include_deleted, as_of=as_of, fields=fields, timeout_s=timeout_s)
        if document is None:
            raise EntityNotFoundError(id=id, namespace=self.namespace)
        return document

    async def exists(
        self,
        id: str,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> bool:
        """Whether there is such a document; by a filter, ask `find_one`."""
        operation = read_arguments.exists(self.namespace, id, include_deleted=include_deleted, as_of=as_of)
        there: bool = (await self._run(operation, timeout_s)).value
        return there

    def find(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        sort: SortSpec | None = None,
        limit: int = read_arguments.LIMIT_DEFAULT,
        skip: int = 0,
        cursor: str | None = None,
        fields: Fields | None = None,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        total: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncFind:
        """Find the documents that match: `await` gives a page, `async for` all of them.

        A document that exists all along and keeps what it sorts by is met exactly once, whatever is written meanwhile.

        Args:
            filter: MongoDB-style; None matches all.
            sort: `"-age"`, `["name", "-age"]`, `{"name": 1, "age": -1}` or `[("name", 1), ("age", -1)]`; equal ones
                by `$id`, as are all when it is None.
            limit: Documents per page, 1 to 10 000.
            skip: Leave out so many of the first, at most 100 000; a cursor costs less.
            cursor: `next_cursor` of the page before, of the same filter and sort.
            fields: `["title", "author.name"]` for these with `$id` and `version`, `{"title": 1}` for these with `$id`,
                `{"body": 0}` for all but these; None for whole documents.
            include_deleted: Whether soft-deleted documents are seen.
            as_of: Look at the state after the change with this seq, or at this time.
            total: Whether to count all matches as well, at the same moment.
            timeout_s: Seconds for each page.

        Raises:
            InvalidFilterError: (when awaited) the filter is not understood.
            InvalidSortError: the sort order is not understood.
            InvalidProjectionError: the fields are not understood.
            InvalidInputError: (when awaited) the cursor is one of another query.
        """
        options: dict[str, Any] = {
            "sort": sort,
            "limit": limit,
            "fields": fields,
            "include_deleted": include_deleted,
            "as_of": as_of,
        }
        first = read_arguments.find(self.namespace, filter, skip=skip, cursor=cursor, total=total, **options)

        async def page(operation: Operation) -> AsyncPage:
            answer = (await self._run(operation, timeout_s)).value
            return AsyncPage(answer["items"], answer["next_cursor"], answer.get("total"), following)

        def following(cursor: str) -> Awaitable[AsyncPage]:
            return page(read_arguments.find(self.namespace, filter, cursor=cursor, **options))

        return AsyncFind(lambda: page(first))

    async def find_one(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        sort: SortSpec | None = None,
        fields: Fields | None = None,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> Document | None:
        """Return the first document that matches, or None; arguments and errors as in `find`."""
        operation = read_arguments.find_one(
            self.namespace, filter, sort=sort, fields=fields, include_deleted=include_deleted, as_of=as_of
        )
        document: Document | None = (await self._run(operation, timeout_s)).value
        return document

    async def count(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Count the documents that match."""
        operation = read_arguments.count(self.namespace, filter, include_deleted=include_deleted, as_of=as_of)
        return await self._number(operation, timeout_s)

    async def distinct(
        self,
        field: str,
        filter: Mapping[str, Any] | None = None,
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """Return the distinct values of a field, in sort order; the elements of an array count one by one.

        Raises:
            InvalidFilterError: the filter is not understood.
            InvalidProjectionError: the field is no path.
            QueryError: there are more than 100 000 values.
        """
        operation = read_arguments.distinct(self.namespace, field, filter, include_deleted=include_deleted, as_of=as_of)
        values: list[Any] = (await self._run(operation, timeout_s)).value
        return values

    async def aggregate(
        self,
        pipeline: Sequence[Mapping[str, Any]],
        *,
        include_deleted: bool = False,
        as_of: AsOf | None = None,
        timeout_s: float | None = None,
    ) -> list[Document]:
        """Run a pipeline and return what comes out: `[{"$match": ...}, {"$group": {"_id": "$tag", ...}}]`.

        Stages: `$match $group $sort $project $limit $skip $unwind $count $addFields $set $unset $sortByCount`. In
        expressions `"$$id"` is the field `$id`. Without `$sort` the order is not defined.

        Raises:
            InvalidPipelineError: a stage or operator is not understood, or cannot take a value; `stage` says where.
            QueryError: more than 100 000 documents come out.
        """
        operation = read_arguments.aggregate(self.namespace, pipeline, include_deleted=include_deleted, as_of=as_of)
        documents: list[Document] = (await self._run(operation, timeout_s)).value
        return documents

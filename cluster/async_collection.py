"""A namespace of a database, for use in coroutines."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parquedb.actors import arguments
from parquedb.actors.operations import Operation, Outcome, Request
from parquedb.cluster.bulk import Created, chunks
from parquedb.cluster.pages import AsyncFind, AsyncPage, Document
from parquedb.errors import EntityNotFoundError, ParqueDBError
from parquedb.storage.keys import check_namespace

if TYPE_CHECKING:
    from parquedb.cluster.async_client import AsyncDatabase


class AsyncCollection:
    """One namespace of a database. Pickles; opens nothing until it is used.

    Every method takes `timeout_s`, seconds for the call with all its repeats (default: `settings.client.timeout_s`).
    An argument of the wrong kind raises `ValidationError` before anything is sent. A write of which nobody can say
    whether it was applied when the time is over raises `OutcomeUnknownError` with its `request_id`.
    """

    __slots__ = ("_database", "namespace")

    def __init__(self, database: "AsyncDatabase", namespace: str) -> None:
        """Name a namespace; use `AsyncDatabase.collection`."""
        self.namespace = check_namespace(namespace)
        self._database = database

    @property
    def actor(self) -> Any:
        """The Ray actor handle: `await posts.actor.create.remote({...})`; starts the actor if there is none."""
        return self._database._link(self.namespace).calls.handle()

    async def create(
        self,
        data: Mapping[str, Any],
        *,
        id: str | None = None,  # noqa: A002 - the public name of the argument
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Store a new document and return it as stored.

        Raises:
            AlreadyExistsError: the id is taken.
        """
        operation = arguments.create(self.namespace, data, id=id, actor=actor, request_id=request_id)
        document: Document = (await self._run(operation, timeout_s)).value
        return document

    async def create_many(
        self,
        docs: Sequence[Mapping[str, Any]],
        *,
        ordered: bool = True,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> list[str | ParqueDBError]:
        """Store many new documents, each for itself; large lists travel in several calls.

        Returns:
            One entry per document: its id, or the error that refused it. When `ordered`, the first refusal ends it and
            what follows is `CancelledError_`.
        """
        created = Created(ordered=ordered)
        for operation in chunks(self.namespace, docs, ordered=ordered, actor=actor, request_id=request_id):
            if not created.add((await self._run(operation, timeout_s)).value, len(operation.body)):
                break
        return created.finish(len(docs))

    async def get(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        *,
        include_deleted: bool = False,
        fields: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Document | None:
        """Return a document, or None."""
        operation = arguments.get(self.namespace, id, include_deleted=include_deleted, fields=fields)
        document: Document | None = (await self._run(operation, timeout_s)).value
        return document

    async def get_or_raise(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        *,
        include_deleted: bool = False,
        fields: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Return a document.

        Raises:
            EntityNotFoundError: there is none.
        """
        document = await self.get(id, include_deleted=include_deleted, fields=fields, timeout_s=timeout_s)
        if document is None:
            raise EntityNotFoundError(id=id, namespace=self.namespace)
        return document

    async def exists(self, id: str, *, timeout_s: float | None = None) -> bool:  # noqa: A002 - public name
        """Whether there is such a document."""
        return await self.get(id, fields=("$id",), timeout_s=timeout_s) is not None

    def find(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the public name of the argument
        *,
        limit: int = arguments.FIND_LIMIT,
        cursor: str | None = None,
        fields: Sequence[str] | None = None,
        include_deleted: bool = False,
        total: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncFind:
        """Find the documents that match: `await` gives a page, `async for` all of them.

        Args:
            filter: MongoDB-style; None matches all.
            limit: Documents per page, 1 to 10 000.
            cursor: `next_cursor` of the page before.
            fields: Top-level fields to return; None for whole documents.
            include_deleted: Whether soft-deleted documents are seen.
            total: Whether to count all matches as well.
            timeout_s: Seconds for each page.

        Raises:
            InvalidFilterError: (when awaited) the filter is not understood.
        """
        options: dict[str, Any] = {"limit": limit, "fields": fields, "include_deleted": include_deleted}
        first = arguments.find(self.namespace, filter, cursor=cursor, **options)

        async def page(operation: Operation, *, counted: bool) -> AsyncPage:
            answer = (await self._run(operation, timeout_s)).value
            matches = None
            if counted:
                matches = await self.count(filter, include_deleted=include_deleted, timeout_s=timeout_s)
            return AsyncPage(answer["items"], answer["next_cursor"], matches, following)

        def following(cursor: str) -> Awaitable[AsyncPage]:
            return page(arguments.find(self.namespace, filter, cursor=cursor, **options), counted=False)

        return AsyncFind(lambda: page(first, counted=total))

    async def find_one(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the public name of the argument
        *,
        fields: Sequence[str] | None = None,
        include_deleted: bool = False,
        timeout_s: float | None = None,
    ) -> Document | None:
        """Return the first document that matches, by `$id`, or None."""
        page = await self.find(filter, limit=1, fields=fields, include_deleted=include_deleted, timeout_s=timeout_s)
        return page.items[0] if page.items else None

    async def count(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the public name of the argument
        *,
        include_deleted: bool = False,
        timeout_s: float | None = None,
    ) -> int:
        """Count the documents that match."""
        return await self._number(arguments.count(self.namespace, filter, include_deleted=include_deleted), timeout_s)

    async def update(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        ops: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        upsert: bool = False,
        return_document: str = "after",
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> Document | None:
        """Apply update operators and return the document after (or before) it; None before an insert by `upsert`.

        Raises:
            EntityNotFoundError: there is no such document.
            VersionConflictError: it is at another version than expected.
            InvalidUpdateError: the operators are not understood.
        """
        operation = arguments.update(
            self.namespace,
            id,
            ops,
            expected_version=expected_version,
            upsert=upsert,
            return_document=return_document,
            actor=actor,
            request_id=request_id,
        )
        document: Document | None = (await self._run(operation, timeout_s)).value
        return document

    async def replace(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        data: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Put other fields in the place of a document's; raises like `update`."""
        operation = arguments.replace(
            self.namespace, id, data, expected_version=expected_version, actor=actor, request_id=request_id
        )
        document: Document = (await self._run(operation, timeout_s)).value
        return document

    async def delete(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        *,
        hard: bool = False,
        expected_version: int | None = None,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Hide a document, or remove it for good when `hard`; return how many that were (0 or 1).

        Raises:
            VersionConflictError: it is at another version than expected.
        """
        operation = arguments.delete(
            self.namespace, id, hard=hard, expected_version=expected_version, actor=actor, request_id=request_id
        )
        return await self._number(operation, timeout_s)

    async def restore(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        *,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Bring a soft-deleted document back and return it.

        Raises:
            EntityNotFoundError: there is none, deleted or not.
        """
        operation = arguments.restore(self.namespace, id, actor=actor, request_id=request_id)
        document: Document = (await self._run(operation, timeout_s)).value
        return document

    async def batch(
        self,
        operations: Sequence[Mapping[str, Any]],
        *,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """Execute several writes, all or nothing: `[{"op": "create", "data": {...}}, {"op": "delete", "id": "a"}]`.

        Returns:
            What each would have returned, in order.

        Raises:
            ParqueDBError: the first refusal; none of them has been applied.
        """
        operation = arguments.batch(self.namespace, operations, actor=actor, request_id=request_id)
        values: list[Any] = (await self._run(operation, timeout_s)).value
        return values

    async def flush(self, *, timeout_s: float | None = None) -> None:
        """Fold everything acknowledged so far into Parquet files."""
        await self._database._ask(self.namespace, "flush", timeout_s)

    async def stats(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the owner's counters and sizes."""
        stats: dict[str, Any] = await self._database._ask(self.namespace, "stats", timeout_s)
        return stats

    def _run(self, operation: Operation, timeout_s: float | None) -> Awaitable[Outcome]:
        return self._database._run(self.namespace, operation, timeout_s)

    async def _number(self, operation: Operation, timeout_s: float | None) -> int:
        number: int = (await self._run(operation, timeout_s)).value
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return AsyncCollection, (self._database, self.namespace)

    def __repr__(self) -> str:
        return f"AsyncCollection({self.namespace!r} of {self._database.url!r})"

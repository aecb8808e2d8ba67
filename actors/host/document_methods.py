"""The methods of the actor that are named like the client's: each is one operation."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parquedb.actors.requests import arguments, many_arguments, past_arguments, read_arguments, schema_arguments
from parquedb.actors.requests.operations import Operation

Build = Callable[..., Operation]
"""Makes an operation of the namespace and the arguments of a method."""


class DocumentMethods:
    """What the bare handle can do with documents; same arguments, same answers and same errors as the client.

    Each takes a `grant` besides, which it needs where the database requires one.
    """

    @abstractmethod
    async def _one(self, build: Build, /, *given: Any, grant: str | None = None, **options: Any) -> Any:
        """Run the operation that `build` makes of what is given and return its value, or raise its error."""

    async def create(self, data: Mapping[str, Any], **options: Any) -> Any:
        """Create a document; see `Collection.create`."""
        return await self._one(arguments.create, data, **options)

    async def create_many(self, docs: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """Create many documents in one commit group; see `Collection.create_many`."""
        return await self._one(arguments.create_many, docs, **options)

    async def get(self, id: str, **options: Any) -> Any:  # noqa: A002 - the public name of the argument
        """Return a document or None; see `Collection.get`."""
        return await self._one(read_arguments.get, id, **options)

    async def exists(self, id: str, **options: Any) -> Any:  # noqa: A002 - the public name of the argument
        """Whether there is such a document; see `Collection.exists`."""
        return await self._one(read_arguments.exists, id, **options)

    async def find(self, filter: Mapping[str, Any] | None = None, **options: Any) -> Any:  # noqa: A002 - public name
        """Return `{"items": [...], "next_cursor": ...}`; see `Collection.find`."""
        return await self._one(read_arguments.find, filter, **options)

    async def count(self, filter: Mapping[str, Any] | None = None, **options: Any) -> Any:  # noqa: A002 - public name
        """Count documents; see `Collection.count`."""
        return await self._one(read_arguments.count, filter, **options)

    async def find_one(self, filter: Mapping[str, Any] | None = None, **options: Any) -> Any:  # noqa: A002 - as above
        """Return the first document that matches, or None; see `Collection.find_one`."""
        return await self._one(read_arguments.find_one, filter, **options)

    async def distinct(self, field: str, filter: Mapping[str, Any] | None = None, **options: Any) -> Any:  # noqa: A002 - as above
        """Return the distinct values of a field; see `Collection.distinct`."""
        return await self._one(read_arguments.distinct, field, filter, **options)

    async def explain(self, filter: Mapping[str, Any] | None = None, **options: Any) -> Any:  # noqa: A002 - as above
        """Return how a find or count is carried out, as plain data; see `Collection.explain`."""
        return await self._one(read_arguments.explain, filter, **options)

    async def aggregate(self, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """Run an aggregation pipeline; see `Collection.aggregate`."""
        return await self._one(read_arguments.aggregate, pipeline, **options)

    async def update(self, id: str, ops: Mapping[str, Any], **options: Any) -> Any:  # noqa: A002 - public name
        """Update a document; see `Collection.update`."""
        return await self._one(arguments.update, id, ops, **options)

    async def replace(self, id: str, data: Mapping[str, Any], **options: Any) -> Any:  # noqa: A002 - public name
        """Replace a document; see `Collection.replace`."""
        return await self._one(arguments.replace, id, data, **options)

    async def delete(self, id: str, **options: Any) -> Any:  # noqa: A002 - the public name of the argument
        """Delete a document; see `Collection.delete`."""
        return await self._one(arguments.delete, id, **options)

    async def restore(self, id: str, **options: Any) -> Any:  # noqa: A002 - the public name of the argument
        """Bring a soft-deleted document back; see `Collection.restore`."""
        return await self._one(arguments.restore, id, **options)

    async def batch(self, operations: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """Execute several writes, all or nothing; see `Collection.batch`."""
        return await self._one(arguments.batch, operations, **options)

    async def register(self, schema: Any, **options: Any) -> Any:
        """Register a schema; see `Collection.register`."""
        return await self._one(schema_arguments.register, schema, **options)

    async def schema(self, **options: Any) -> Any:
        """Return the schema in force as plain data, or None; see `Collection.schema`."""
        return await self._one(schema_arguments.schema, **options)

    async def history(self, id: str, **options: Any) -> Any:  # noqa: A002 - the public name of the argument
        """Return changes of one document as plain data; see `parquedb.actors.reads.history.History.of_document`."""
        return await self._one(past_arguments.history, id, **options)

    async def changes(self, **options: Any) -> Any:
        """Return the changes after a seq as plain data; see `parquedb.actors.reads.history.History.changes`."""
        return await self._one(past_arguments.changes, **options)

    async def update_many(self, filter: Any, ops: Mapping[str, Any], **options: Any) -> Any:  # noqa: A002 - as above
        """Update all documents that match; see `Collection.update_many`."""
        return await self._one(many_arguments.update_many, filter, ops, **options)

    async def upsert(self, filter: Any, ops: Mapping[str, Any], **options: Any) -> Any:  # noqa: A002 - as above
        """Update the first document that matches, or insert one; see `Collection.upsert`."""
        return await self._one(many_arguments.upsert, filter, ops, **options)

    async def delete_many(self, filter: Any, **options: Any) -> Any:  # noqa: A002 - as above
        """Delete all documents that match; see `Collection.delete_many`."""
        return await self._one(many_arguments.delete_many, filter, **options)

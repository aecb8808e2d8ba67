"""The methods of a collection about its schema, for synchronous use and for coroutines."""

from dataclasses import dataclass
from typing import Any

from parquedb.actors.requests import schema_arguments
from parquedb.actors.requests.operations import Request
from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase
from parquedb.schemas.model import Schema


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The schema in force.

    Attributes:
        version: 1 for the first, +1 per change.
        seq: Of its registration; it binds every later write.
        mode: `strict`, `permissive` or `warn`.
        schema: What it says.
        versions: Number, seq and mode of every version so far, itself the last.
    """

    version: int
    seq: int
    mode: str
    schema: Schema
    versions: tuple[tuple[int, int, str], ...]


def _version(wire: dict[str, Any]) -> SchemaVersion:
    versions = tuple((number, seq, mode) for number, seq, mode in wire["versions"])
    return SchemaVersion(wire["version"], wire["seq"], wire["mode"], Schema.from_wire(wire["schema"]), versions)


class SchemaMethods(CollectionBase):
    """The schema of a collection."""

    __slots__ = ()

    def register(
        self,
        schema: Any,
        *,
        mode: str = "permissive",
        validate_existing: bool = False,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> SchemaVersion:
        """Hold every later write to a schema; the one in force, registered again, changes nothing.

        Args:
            schema: A pydantic model class, a dict in compact notation, or a `Schema`.
            mode: `strict` refuses fields that are not declared, `permissive` accepts them, `warn` only logs and counts.
            validate_existing: Look at every document first and refuse the schema if one is not as it says.
            request_id: Makes a repeated call harmless.
            timeout_s: See the class.

        Raises:
            ValidationError: the schema cannot be read, or an existing document is not as it says.
            SchemaMismatchError: it cannot follow the one in force; `reasons` says why.
        """
        operation = schema_arguments.register(
            self.namespace, schema, mode=mode, validate_existing=validate_existing, request_id=request_id
        )
        return _version(self._run(operation, timeout_s).value)

    def schema(self, *, timeout_s: float | None = None) -> SchemaVersion | None:
        """Return the schema in force, or None."""
        wire = self._run(schema_arguments.schema(self.namespace), timeout_s).value
        return None if wire is None else _version(wire)


class AsyncSchemaMethods(AsyncCollectionBase):
    """The schema of a collection, for coroutines; see `SchemaMethods`."""

    __slots__ = ()

    async def register(
        self,
        schema: Any,
        *,
        mode: str = "permissive",
        validate_existing: bool = False,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> SchemaVersion:
        """Hold every later write to a schema; see `SchemaMethods.register`."""
        operation = schema_arguments.register(
            self.namespace, schema, mode=mode, validate_existing=validate_existing, request_id=request_id
        )
        return _version((await self._run(operation, timeout_s)).value)

    async def schema(self, *, timeout_s: float | None = None) -> SchemaVersion | None:
        """Return the schema in force, or None."""
        wire = (await self._run(schema_arguments.schema(self.namespace), timeout_s)).value
        return None if wire is None else _version(wire)

"""Looking at the existing documents before a schema that asks for it is registered (`validate_existing`)."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from parquedb.actors.reads.reader import Reader
from parquedb.actors.requests.operations import Operation
from parquedb.actors.writes.schemas import guard_of
from parquedb.documents.filters import compile_filter
from parquedb.errors import ParqueDBError, QueryTimeoutError, ValidationError
from parquedb.schemas.guard import Guard, Mode
from parquedb.storage.query.scan_rows import stream


def is_due(operation: Operation) -> bool:
    """Whether an operation has to be examined before it is decided."""
    return operation.kind == "register" and bool(operation.options.get("validate_existing"))


async def examined(operations: Sequence[Operation], reader: Reader, timeout_s: float) -> list[Operation]:
    """Return the operations; those that are due know up to which seq all is well, or what is wrong.

    Args:
        operations: Of one call.
        reader: Reads the documents.
        timeout_s: For operations that bring no deadline of their own.
    """
    return [
        await _examined(operation, reader, operation.timeout_s or timeout_s) if is_due(operation) else operation
        for operation in operations
    ]


async def _examined(operation: Operation, reader: Reader, timeout_s: float) -> Operation:
    found: dict[str, Any]
    try:
        async with asyncio.timeout(timeout_s):
            found = {"checked_seq": await _checked(guard_of(operation), reader)}
    except ParqueDBError as error:
        found = {"violation": error}
    except TimeoutError:
        found = {"violation": QueryTimeoutError(timeout_s=timeout_s)}
    return msgspec.structs.replace(operation, options={**operation.options, **found})


async def _checked(guard: Guard, reader: Reader) -> int:
    """Return the seq of the state in which every document, soft-deleted ones included, is as the guard asks.

    Raises:
        ValidationError: one is not; names it.
    """
    snapshot, seq = await reader.snapshot()
    if guard.mode is not Mode.WARN:
        async for documents in stream(snapshot, compile_filter(None), None):
            await snapshot.source.run(partial(_check_all, guard, documents))
    return seq


def _check_all(guard: Guard, documents: Sequence[dict[str, Any]]) -> None:
    for document in documents:
        try:
            guard.check(document)
        except ValidationError as error:
            message = f"the existing document {document['$id']!r} is not as declared: {error.message}"
            raise ValidationError(message, code=error.code, context=error.context) from None

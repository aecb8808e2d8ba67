"""Loading Arrow data: it travels as Arrow streams and becomes data files, never Python dicts on the way."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from parquedb.actors import checks
from parquedb.actors.operations import INSERT_ARROW, Operation, Request
from parquedb.cluster.collection_base import AsyncCollectionBase, CollectionBase

PIECE_ROWS_MAX: Final = 1 << 20
"""Documents that one commit loads."""

PIECE_BYTES_MAX: Final = 256 << 20
"""Arrow data of one commit, in bytes, unless a single batch is larger."""


def loads(
    data: Any, *, id_column: str = "$id", actor: str | None = None, request_id: Request | None = None
) -> Iterator[Operation]:
    """Cut Arrow data into operations of one commit each.

    Raises:
        ValidationError: not Arrow data, or an argument of the wrong kind.
    """
    options = checks.given_options(
        id_column=None if id_column == "$id" else checks.optional_text("id_column", id_column),
        actor=checks.optional_text("actor", actor),
    )
    given = checks.request(request_id)
    for number, piece in enumerate(_pieces(_batches(data))):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, piece.schema) as writer:
            writer.write_table(piece)
        # A caller's id names the first piece; the others take theirs from it, so that a repeated call finds each.
        own = f"{given}#{number}" if isinstance(given, str) and number else given
        yield Operation(INSERT_ARROW, None, {"ipc": sink.getvalue().to_pybytes()}, options, own)


def _batches(data: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(data, pa.RecordBatch):
        return iter([data])
    if isinstance(data, pa.RecordBatchReader):
        return iter(data)
    # A Table, or a pyarrow.dataset.Dataset, which is not imported for this alone.
    if not hasattr(data, "to_batches"):
        checks.refuse("data", "a pyarrow Table, RecordBatch, RecordBatchReader or Dataset", data)
    return iter(data.to_batches())


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        for start in range(0, batch.num_rows, PIECE_ROWS_MAX):
            part = batch.slice(start, PIECE_ROWS_MAX)
            if held and (rows + part.num_rows > PIECE_ROWS_MAX or size + part.nbytes > PIECE_BYTES_MAX):
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
    if held:
        yield pa.Table.from_batches(held)


class BulkMethods(CollectionBase):
    """Bulk loads."""

    __slots__ = ()

    def insert_arrow(
        self,
        data: Any,
        *,
        id_column: str = "$id",
        actor: str | None = None,
        request_id: Request | None = None,
        on_progress: Callable[[int], object] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Store the rows of Arrow data as new documents and return how many they are.

        Columns become fields, null means no field. Values are kept exactly or refused by name. Up to a million rows are
        one commit, all or nothing; more take several, in order, and what was committed before a refusal stays.

        Args:
            data: A pyarrow `Table`, `RecordBatch`, `RecordBatchReader` or `Dataset`.
            id_column: Holds the ids, bare or full; without a column `$id` they are made.
            actor: Who is said to make the documents.
            request_id: Makes a repeated call store nothing twice.
            on_progress: Called after each commit with the rows stored so far.
            timeout_s: Seconds for each commit.

        Raises:
            ValidationError: a column or value that documents cannot hold, or that the schema refuses.
            AlreadyExistsError: an id is taken, or twice in the data; nothing of that commit was stored.
        """
        stored = 0
        for operation in loads(data, id_column=id_column, actor=actor, request_id=request_id):
            stored += self._run(operation, timeout_s).value["rows"]
            if on_progress is not None:
                on_progress(stored)
        return stored


class AsyncBulkMethods(AsyncCollectionBase):
    """Bulk loads."""

    __slots__ = ()

    async def insert_arrow(
        self,
        data: Any,
        *,
        id_column: str = "$id",
        actor: str | None = None,
        request_id: Request | None = None,
        on_progress: Callable[[int], object] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Store the rows of Arrow data as new documents; see `Collection.insert_arrow`."""
        stored = 0
        for operation in loads(data, id_column=id_column, actor=actor, request_id=request_id):
            stored += (await self._run(operation, timeout_s)).value["rows"]
            if on_progress is not None:
                on_progress(stored)
        return stored

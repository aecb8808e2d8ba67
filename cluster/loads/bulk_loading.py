"""Loading Arrow data: made into data files here, stored from here, and committed by the owner (see `bulk_steps`).

Little data, and data of a caller who cannot reach the store, travels to the owner as an Arrow stream instead.
"""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from parquedb.actors.loads.load import Load, Terms
from parquedb.actors.requests import checks
from parquedb.actors.requests.arguments import check_timeout
from parquedb.actors.requests.operations import INSERT_ARROW, Operation, Request
from parquedb.cluster.loads.bulk_steps import (
    Ask,
    Steps,
    direct_steps,
    left_s,
    new_request,
    part_of,
    store_on,
    ulid_under,
    unknown_of,
)
from parquedb.cluster.loads.direct_storage import DirectStorage
from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase
from parquedb.errors import OutcomeUnknownError
from parquedb.storage.backend import StorageBackend

PIECE_ROWS_MAX: Final = 1 << 20
"""Documents that one commit loads."""

PIECE_BYTES_MAX: Final = 256 << 20
"""Arrow data of one commit, in bytes, unless a single batch is larger."""

DIRECT_BYTES_MIN: Final = 1 << 20
"""Less Arrow data than this goes through the owner: asking for terms first would take longer than that."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one commit loads.

    Attributes:
        table: The data.
        options: `id_column` and `actor`, where they differ from their defaults.
        request: Its request id; None for one of the client's session.
        whole: That of the call it is a piece of.
    """

    table: pa.Table
    options: Mapping[str, Any]
    request: Request | None
    whole: Request | None

    def operation(self) -> Operation:
        """Return the operation that carries the data to the owner."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema) as writer:
            writer.write_table(self.table)
        return Operation(INSERT_ARROW, None, {"ipc": sink.getvalue().to_pybytes()}, self.options, self.request)

    @property
    def large(self) -> bool:
        """Whether it is worth storing directly."""
        return bool(self.table.nbytes >= DIRECT_BYTES_MIN)


def pieces(
    data: Any, *, id_column: str = "$id", actor: str | None = None, request_id: Request | None = None
) -> Iterator[Piece]:
    """Cut Arrow data into pieces of one commit each.

    Raises:
        ValidationError: not Arrow data, or an argument of the wrong kind.
    """
    options = checks.given_options(
        id_column=None if id_column == "$id" else checks.optional_text("id_column", id_column),
        actor=checks.optional_text("actor", actor),
    )
    given = checks.request(request_id)
    for number, table in enumerate(_tables(_batches(data))):
        if given is None and table.nbytes >= DIRECT_BYTES_MIN:
            given = new_request()
        # So that a repeated call finds each.
        yield Piece(table, options, part_of(given, number), given)


def _batches(data: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(data, pa.RecordBatch):
        return iter([data])
    if isinstance(data, pa.RecordBatchReader):
        return iter(data)
    # A Table, or a pyarrow.dataset.Dataset, which is not imported for this alone.
    if not hasattr(data, "to_batches"):
        checks.refuse("data", "a pyarrow Table, RecordBatch, RecordBatchReader or Dataset", data)
    return iter(data.to_batches())


def _tables(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
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


def arrow_steps(direct: DirectStorage | None, namespace: str, piece: Piece, deadline_s: float) -> Steps[int]:
    """Load one piece, and return the number of its rows. Between questions it takes CPU time and waits for storage.

    Args:
        direct: The way to the store; None where there is none.
        namespace: Whose documents they are.
        piece: What to load.
        deadline_s: When the caller stops waiting, monotonic seconds.
    """
    id_column, actor = piece.options.get("id_column", "$id"), piece.options.get("actor")

    async def stored(storage: StorageBackend, terms: Terms) -> Load:
        store, plan = store_on(storage, terms), terms.plan(namespace, actor=actor, id_column=id_column)
        rows = await store.rows(piece.table, plan, ulid_under(terms))
        return terms.load(await store.store(rows, plan), fresh=id_column not in piece.table.column_names, answer={})

    if piece.large and piece.request is not None and direct is not None and direct.usable:
        applied = yield from direct_steps(direct, [piece.request], piece.options, deadline_s, stored)
        if applied is not None:
            return applied.answer["rows"]  # type: ignore[no-any-return]  # A number.
    outcome = yield Ask(piece.operation(), left_s(deadline_s))
    return outcome.value["rows"]  # type: ignore[no-any-return]  # As above.


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
        limit_s = check_timeout(timeout_s, self._database.settings.client.timeout_s)
        stored = 0
        for piece in pieces(data, id_column=id_column, actor=actor, request_id=request_id):
            deadline_s = time.monotonic() + limit_s
            try:
                steps = arrow_steps(self._database._connection.direct, self.namespace, piece, deadline_s)
                stored += self._walk(steps)
            except OutcomeUnknownError as error:
                raise unknown_of(error, piece.whole, "a part of the load") from error
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
        limit_s = check_timeout(timeout_s, self._database.settings.client.timeout_s)
        stored = 0
        for piece in pieces(data, id_column=id_column, actor=actor, request_id=request_id):
            deadline_s = time.monotonic() + limit_s
            try:
                steps = arrow_steps(self._database._connection.direct, self.namespace, piece, deadline_s)
                stored += await self._walk(steps)
            except OutcomeUnknownError as error:
                raise unknown_of(error, piece.whole, "a part of the load") from error
            if on_progress is not None:
                on_progress(stored)
        return stored

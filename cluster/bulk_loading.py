"""Loading Arrow data: made into data files here, stored from here, and committed by the owner.

    caller                                   owner
    terms? ------------------------------->  epoch, columns, schema, limits; or what the request came to before
    make data files, store them
    their description -------------------->  look at their ends, at their ids; one log entry
                       <-------------------  rows; or "load again": another owner, another schema

Little data, and data of a caller who cannot reach the store, travels to the owner as an Arrow stream instead.
"""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones

import asyncio
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from parquedb.actors import checks
from parquedb.actors.arguments import check_timeout
from parquedb.actors.load import Load, Terms, first_ulid
from parquedb.actors.operations import BULK_TERMS, INSERT_ARROW, Operation, Outcome, Request
from parquedb.clock import SystemClock
from parquedb.cluster.collection_base import AsyncCollectionBase, CollectionBase
from parquedb.cluster.direct_storage import DirectStorage, UnreachableError
from parquedb.cluster.sessions import parse_request_id
from parquedb.errors import ConflictError, ErrorCode, ObjectNotFoundError, OutcomeUnknownError, ParqueDBError
from parquedb.errors import TimeoutError as DeadlineError
from parquedb.ids import random_token
from parquedb.storage.backend import StorageBackend
from parquedb.storage.bulk_store import BulkStore
from parquedb.storage.commit import Committer

PIECE_ROWS_MAX: Final = 1 << 20
"""Documents that one commit loads."""

PIECE_BYTES_MAX: Final = 256 << 20
"""Arrow data of one commit, in bytes, unless a single batch is larger."""

DIRECT_BYTES_MIN: Final = 1 << 20
"""Less Arrow data than this goes through the owner: asking for terms first would take longer than that."""

_TOKEN_CHARS: Final = 26
_DIRECT_SHARE: Final = 0.5
"""Of the time left, what storing directly may take; the rest is for the owner's part, or for the way through him."""

# Names of files must differ between forked processes.
_random = random.SystemRandom()

Steps = Generator[Operation, Outcome, dict[str, Any]]
"""What has to be asked of the owner, one after the other; gets the outcomes, or has the errors thrown in."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one commit loads.

    Attributes:
        table: The data.
        options: `id_column` and `actor`, where they differ from their defaults.
        request: Its request id; None for one of the client's session.
    """

    table: pa.Table
    options: Mapping[str, Any]
    request: Request | None

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
            given = f"load-{random_token(_TOKEN_CHARS)}"
        # A caller's id names the first piece; the others take theirs from it, so that a repeated call finds each.
        own = f"{given}#{number}" if isinstance(given, str) and number else given
        yield Piece(table, options, own)


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


def arrow_steps(direct: DirectStorage, namespace: str, piece: Piece, deadline_s: float) -> Steps:
    """Load one piece, and return `{"rows": number}`. Between its steps it takes CPU time and waits for storage.

    Args:
        direct: The way to the store.
        namespace: Whose documents they are.
        piece: What to load.
        deadline_s: When the caller stops waiting, monotonic seconds.
    """

    async def stored(storage: StorageBackend, terms: Terms) -> Load:
        store = store_on(storage, terms)
        id_column = piece.options.get("id_column", "$id")
        plan = terms.plan(namespace, actor=piece.options.get("actor"), id_column=id_column)
        rows = await store.rows(piece.table, plan, first_ulid(terms.at.timestamp(), _random))
        fresh = id_column not in piece.table.column_names
        return terms.load(await store.store(rows, plan), fresh=fresh, answer={})

    if piece.large and piece.request is not None:
        answer = yield from direct_steps(direct, [piece.request], piece.options, deadline_s, stored)
        if answer is not None:
            return answer[1]
    outcome = yield piece.operation()
    return outcome.value  # type: ignore[no-any-return]  # The value of an `insert_arrow`.


def store_on(storage: StorageBackend, terms: Terms) -> BulkStore:
    """Return what makes and stores files under some terms, on the running loop."""
    return BulkStore(Committer(storage, SystemClock(), _random), terms.epoch, _random, asyncio.to_thread)


def direct_steps(
    direct: DirectStorage,
    requests: list[Request],
    options: Mapping[str, Any],
    deadline_s: float,
    stored: Callable[[StorageBackend, Terms], Any],
) -> Generator[Operation, Outcome, tuple[int, dict[str, Any]] | None]:
    """Make files, store them and have them committed, again and again while terms change meanwhile.

    Args:
        direct: The way to the store.
        requests: The load's own id, and others of which one may have been applied in its place.
        options: Of the operation.
        deadline_s: Monotonic seconds.
        stored: Makes and stores the files.

    Returns:
        Which of `requests` was applied, now or earlier, and its answer; None where the store cannot be reached.
    """
    names = [request if isinstance(request, tuple) else parse_request_id(request) for request in requests]
    while direct.usable:
        asked = yield Operation(BULK_TERMS, body=[list(name) if isinstance(name, tuple) else name for name in names])
        if "known" in asked.value:
            index, answer = asked.value["known"]
            return index, answer
        terms = Terms.from_wire(asked.value["terms"])
        try:
            time_s = _DIRECT_SHARE * left_s(deadline_s)
            load: Load = direct.run(lambda storage, terms=terms: stored(storage, terms), time_s)  # type: ignore[misc]
            outcome = yield Operation(INSERT_ARROW, None, load.to_wire(), options, requests[0])
        except UnreachableError:
            return None
        except ObjectNotFoundError as error:
            # Stored, and yet not there: the owner looks at another place under the same name.
            direct.avoid(error)
        except ConflictError as error:
            if error.code is not ErrorCode.CONCURRENT_MODIFICATION:
                raise
        else:
            return 0, outcome.value
    return None


def left_s(deadline_s: float) -> float:
    """Return the seconds until a deadline.

    Raises:
        TimeoutError: it has passed; nothing was stored.
    """
    left = deadline_s - time.monotonic()
    if left <= 0:
        raise DeadlineError("the load was not ready at its deadline; nothing of it is stored")
    return left


def advance(steps: Steps, outcome: Outcome | None, error: ParqueDBError | None) -> Operation | dict[str, Any]:
    """Tell what the last step came to; return what to ask next, or the answer at the end."""
    try:
        return steps.throw(error) if error is not None else steps.send(outcome)  # type: ignore[arg-type]  # None first.
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # Of `Steps`.


def unknown_of(error: OutcomeUnknownError, piece: Piece) -> OutcomeUnknownError:
    """Return an error that names the id of the whole call, which finds every piece of it."""
    request = piece.request
    if not isinstance(request, str) or error.request_id != request:
        return error
    return OutcomeUnknownError(
        f"a part of the load may or may not have been stored; the same call with request_id="
        f"{request.partition('#')[0]!r} finds out and never stores it twice",
        request_id=request.partition("#")[0],
        cause=error,
    )


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
                stored += self._walk(steps, deadline_s)["rows"]
            except OutcomeUnknownError as error:
                raise unknown_of(error, piece) from error
            if on_progress is not None:
                on_progress(stored)
        return stored

    def _walk(self, steps: Steps, deadline_s: float) -> dict[str, Any]:
        """Take the steps of a load; return its answer."""
        outcome: Outcome | None = None
        error: ParqueDBError | None = None
        while isinstance(step := advance(steps, outcome, error), Operation):
            try:
                outcome, error = self._run(step, left_s(deadline_s)), None
            except ParqueDBError as raised:
                error = raised
        return step


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
                stored += (await self._walk(steps, deadline_s))["rows"]
            except OutcomeUnknownError as error:
                raise unknown_of(error, piece) from error
            if on_progress is not None:
                on_progress(stored)
        return stored

    async def _walk(self, steps: Steps, deadline_s: float) -> dict[str, Any]:
        """Take the steps of a load; return its answer. What they do between is done in threads."""
        outcome: Outcome | None = None
        error: ParqueDBError | None = None
        while isinstance(step := await asyncio.to_thread(advance, steps, outcome, error), Operation):
            try:
                outcome, error = await self._run(step, left_s(deadline_s)), None
            except ParqueDBError as raised:
                error = raised
        return step

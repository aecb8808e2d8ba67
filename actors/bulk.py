"""Bulk loads: data files that are stored already, or Arrow data to be made into such, committed by one log entry.

Most loaders write the files by themselves, straight to storage, and send only what is to be said of them: the owner
looks whether the objects are there and whether their ids are free, and commits. Nothing of the data passes through it.

A file belongs to the epoch in its name. An owner of another epoch refuses it, because it may have been collected: files
of earlier epochs that nothing names are anybody's garbage, files of its own an owner never deletes.
"""

import asyncio
import random
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, NoReturn

import pyarrow as pa

from parquedb.actors.calls import Call, PendingKey, Write, key_of
from parquedb.actors.checkpoint import Checkpointer
from parquedb.actors.commit_group import BulkRequest
from parquedb.actors.draft import Draft
from parquedb.actors.evaluate import Prepared
from parquedb.actors.lease import Lease
from parquedb.actors.new_ids import NewIds
from parquedb.actors.operations import INSERT_ARROW, Operation, Outcome, SessionRequest
from parquedb.actors.state import NamespaceState, log_datetime
from parquedb.actors.write_queue import unknown
from parquedb.actors.writer import Writer
from parquedb.clock import Clock
from parquedb.errors import (
    BackpressureError,
    ConflictError,
    ErrorCode,
    InternalError,
    InvalidInputError,
    ObjectNotFoundError,
    ParqueDBError,
    ValidationError,
)
from parquedb.errors import TimeoutError as DeadlineError
from parquedb.schemas.guard import Guard, Mode
from parquedb.schemas.registered import Version
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.bulk import FILE_BYTES_MAX, FILE_ROWS_MAX, Bulk, Hold, Plan, build, check_names, with_found
from parquedb.storage.columns import ColumnRegistry
from parquedb.storage.commit import Committer
from parquedb.storage.data_file import DataFile
from parquedb.storage.events import RequestRecord
from parquedb.storage.manifest import object_key

LOADS_MAX: Final = 16
"""Loads of one namespace that may be under way at once."""

COMMIT_ROWS_MAX: Final = 4 * FILE_ROWS_MAX
"""Documents that one entry loads; more take several, and then it is not all or nothing."""

COMMIT_FILES_MAX: Final = 64

_KEY = re.compile(r"data/(\d+)-[0-9a-f]{32}\.parquet")
_RANDOM_BITS: Final = 80


@dataclass(frozen=True, slots=True)
class Load:
    """Stored files that wait to be committed.

    Attributes:
        files: Their seqs count from 0 in each.
        columns: Wire form of the registry of their columns.
        epoch: Of the owner whose names they have.
        schema: Number of the schema that the documents were held to; 0 for none.
        at: When the documents are said to be made.
        fresh: Whether all ids were made for this, so that nobody can have them.
    """

    files: tuple[DataFile, ...]
    columns: Mapping[str, Any]
    epoch: int
    schema: int
    at: datetime
    fresh: bool

    def to_wire(self) -> dict[str, Any]:
        """Return plain data for `from_wire`."""
        return {
            "files": [file.to_wire() for file in self.files],
            "columns": dict(self.columns),
            "epoch": self.epoch,
            "schema": self.schema,
            "at": self.at,
            "fresh": self.fresh,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Load":
        """Rebuild what `to_wire` gave, if it can be committed.

        Raises:
            InvalidInputError: it cannot.
        """
        try:
            load = cls(**{**wire, "files": tuple(map(DataFile.from_wire, wire["files"]))})
            ColumnRegistry.from_wire(load.columns)
            epochs = {found and int(found[1]) for found in (_KEY.fullmatch(file.key) for file in load.files)}
            counted = all(file.seq_first == 0 and file.seq_last == file.rows - 1 >= 0 for file in load.files)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInputError(f"not a bulk load: {type(error).__name__}: {error}") from error
        distinct = len({file.key for file in load.files}) == len(load.files)
        if epochs != {load.epoch} or not counted or not distinct or load.at.tzinfo is None:
            raise InvalidInputError("not a bulk load: its files have other names or seqs than such files have")
        if len(load.files) > COMMIT_FILES_MAX or sum(file.rows for file in load.files) > COMMIT_ROWS_MAX:
            message = f"one commit loads at most {COMMIT_FILES_MAX} files and {COMMIT_ROWS_MAX:,} documents"
            raise InvalidInputError(message)
        return load


def hold_of(version: Version | None) -> Hold | None:
    """Return what holds new documents to a schema; None where there is none."""
    if version is None:
        return None
    guard = Guard(version.schema, version.mode)

    def hold(document: dict[str, Any]) -> None:
        guard.fill(document, new=True)
        try:
            guard.check(document)
        except ValidationError:
            if guard.mode is not Mode.WARN:
                raise

    return hold


def first_ulid(at_s: float, rng: random.Random) -> int:
    """Return the number of a ULID made at a Unix time."""
    return int(at_s * 1000) << _RANDOM_BITS | rng.getrandbits(_RANDOM_BITS)


class BulkLoads:
    """The bulk loads of one namespace.

    Args:
        state: Checked against, and changed only by entries that have landed.
        writer: Commits.
        checkpointer: Flushes, where a removed document stands in the way of one with its id.
        lease: Confirms refusals.
        storage: Where the files are.
        settings: Bounds.
        clock: Times of documents.
        rng: Names of files.
        spawn: Starts a task of the engine's own.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the engine wires it once
        self,
        state: NamespaceState,
        writer: Writer,
        checkpointer: Checkpointer,
        lease: Lease,
        storage: StorageBackend,
        settings: EngineSettings,
        *,
        clock: Clock,
        rng: random.Random,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._state = state
        self._writer = writer
        self._checkpointer = checkpointer
        self._lease = lease
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._spawn = spawn
        self._committer = Committer(storage, clock, rng)
        self._under_way: dict[PendingKey | int, _Attempt] = {}
        self._loads = 0

    def terms(self) -> dict[str, Any]:
        """Return what whoever makes files by himself has to know, as plain data."""
        state, settings = self._state, self._settings
        version = state.schemas.registered.current
        return {
            "epoch": state.epoch,
            "at": log_datetime(state.now_us(self._clock.now())),
            "registry": state.registry.to_wire(),
            "schema": None if version is None else version.to_wire(),
            "bytes_max": settings.document_bytes_max,
            "depth_max": settings.depth_max,
        }

    async def answer(self, call: Call, operations: Sequence[tuple[int, Operation]]) -> None:
        """Settle the bulk loads of a call; other operations are left alone."""
        for place, operation in operations:
            if operation.kind == INSERT_ARROW:
                call.settle(place, await self.insert(operation))

    async def insert(self, operation: Operation) -> Outcome:
        """Carry out an `insert_arrow`; its value is `{"rows": number}`. Never raises for what the load comes to."""
        write = Write(
            Prepared(INSERT_ARROW, (), 0, _committed_alone),
            operation.request,
            int(operation.age_s * 1_000_000),
            None,
            [],
        )
        known = self._writer.recall(write)
        if known is not None:
            return known
        key = key_of(operation.request)
        attempt = self._under_way.get(key) if key is not None else None
        if attempt is None:
            if len(self._under_way) >= LOADS_MAX:
                busy = BackpressureError(f"{LOADS_MAX} bulk loads are under way already", retry_after=1.0)
                return Outcome(error=busy)
            self._loads += 1
            attempt = _Attempt(write, asyncio.get_running_loop().create_future())
            self._under_way[self._loads if key is None else key] = attempt
            self._spawn(self._work(operation, attempt, self._loads if key is None else key))
        timeout_s = operation.timeout_s or self._settings.request_timeout_s
        attempt.waiting += 1
        try:
            await asyncio.wait({attempt.done}, timeout=timeout_s)
        finally:
            attempt.waiting -= 1
        if attempt.done.done():
            return attempt.done.result()
        if attempt.request is not None and attempt.request.committing:
            return Outcome(error=unknown(write, "the commit is still under way"))
        if attempt.waiting:
            return Outcome(error=unknown(write, "a retry of it is still waiting"))
        late = DeadlineError("the load was still being checked at its deadline; nothing of it is stored")
        attempt.given_up = late
        return Outcome(error=late)

    async def _work(self, operation: Operation, attempt: "_Attempt", name: PendingKey | int) -> None:
        try:
            outcome = await self._outcome(operation, attempt)
        except ParqueDBError as error:
            outcome = Outcome(error=await self._confirmed(error))
        except asyncio.CancelledError:
            # The engine is over, and its end may have come at any moment.
            attempt.settle(Outcome(error=unknown(attempt.write, "ownership was lost")))
            raise
        finally:
            self._under_way.pop(name, None)
        attempt.settle(outcome)

    async def _outcome(self, operation: Operation, attempt: "_Attempt") -> Outcome:
        body = operation.body
        load = await self._made(operation) if "table" in body or "ipc" in body else Load.from_wire(body)
        await asyncio.gather(*map(self._see, load.files))
        ids = NewIds(self._state, load.files, self._storage, self._checkpointer.flush)
        while True:
            if not load.fresh:
                await ids.check()
            if attempt.given_up is not None:
                raise attempt.given_up
            request = BulkRequest(partial(self._decide, load, ids, attempt), asyncio.get_running_loop().create_future())
            attempt.request = request
            self._writer.submit_bulk(request)
            entry = await request.landed
            if entry is not None:
                return Outcome({"rows": entry.header.count}, seq=entry.next_seq - 1)

    def _decide(self, load: Load, ids: NewIds, attempt: "_Attempt") -> Bulk | None:
        """Return what to commit now; None when ids have to be looked at again. Never waits."""
        state = self._state
        if attempt.given_up is not None:
            raise attempt.given_up
        if load.epoch != state.epoch:
            raise _stale("its files belong to another owner of the namespace")
        if load.schema != state.schemas.registered.number:
            raise _stale("a schema was registered meanwhile")
        if load.at > log_datetime(state.now_us(self._clock.now())):
            raise InvalidInputError("not a bulk load: its documents are said to be made in the future")
        if {file.key for file in state.files.files} & {file.key for file in load.files}:
            raise InvalidInputError("not a bulk load: its files are part of the namespace already")
        if not load.fresh and not ids.hold():
            return None
        request = attempt.write.request
        wire = list(request) if isinstance(request, SessionRequest) else request
        rows = sum(file.rows for file in load.files)
        records = () if wire is None else (RequestRecord(wire, INSERT_ARROW, 0, rows, {"rows": rows}),)
        return Bulk(load.files, load.columns, records)

    async def _see(self, file: DataFile) -> None:
        """Make sure that a file is there, as large as it is said to be."""
        try:
            info = await self._storage.stat(self._state.prefix + file.key)
        except ObjectNotFoundError:
            raise _stale(f"the file {file.key!r} is not in the store") from None
        if info.size != file.bytes:
            raise InvalidInputError(f"not a bulk load: {file.key!r} has {info.size} bytes instead of {file.bytes}")

    async def _made(self, operation: Operation) -> Load:
        """Make the files of Arrow data that came along."""
        state, terms = self._state, self.terms()
        table = _table(operation.body)
        if not 1 <= table.num_rows <= COMMIT_ROWS_MAX:
            message = f"one call carries 1 to {COMMIT_ROWS_MAX:,} rows, not {table.num_rows:,}; a client sends more"
            raise InvalidInputError(message)
        version = state.schemas.registered.current
        plan = Plan(
            namespace=state.namespace,
            at=terms["at"],
            actor=operation.options.get("actor"),
            id_column=operation.options.get("id_column", "$id"),
            registry=state.registry,
            hold=hold_of(version),
            bytes_max=terms["bytes_max"],
            depth_max=terms["depth_max"],
        )
        check_names(table.schema, plan.id_column)
        fresh = plan.id_column not in table.column_names
        ulid, columns, files = first_ulid(plan.at.timestamp(), self._rng), ColumnRegistry.empty(), []
        for piece in cut(table):
            key = object_key("data", state.epoch, self._rng.randbytes(16).hex(), ".parquet")
            built = await state.files.run(partial(build, key, piece, plan, ulid))
            await self._committer.store(state.prefix + key, built.data)
            ulid += piece.num_rows
            columns = with_found(columns, built.columns)
            plan = replace(plan, registry=with_found(plan.registry, built.columns))
            files.append(built.file)
        number = 0 if version is None else version.number
        return Load(tuple(files), columns.to_wire(), state.epoch, number, plan.at, fresh)

    async def _confirmed(self, error: ParqueDBError) -> ParqueDBError:
        """Return a refusal, once nobody else can have made it untrue."""
        try:
            await self._lease.confirm()
        except ParqueDBError as lost:
            return lost
        return error


@dataclass(slots=True)
class _Attempt:
    """A load on its way, and who waits for it."""

    write: Write
    done: "asyncio.Future[Outcome]"
    request: BulkRequest | None = None
    waiting: int = 0
    given_up: ParqueDBError | None = None

    def settle(self, outcome: Outcome) -> None:
        if not self.done.done():
            self.done.set_result(outcome)


def cut(table: pa.Table) -> list[pa.Table]:
    """Return the rows of a table in pieces that each become one file."""
    rows = table.num_rows
    pieces = max(-(-rows // FILE_ROWS_MAX), -(-table.nbytes // FILE_BYTES_MAX), 1)
    step = -(-rows // pieces)
    return [table.slice(start, step) for start in range(0, rows, step)]


def _table(body: Mapping[str, Any]) -> pa.Table:
    table = body.get("table")
    if table is None:
        try:
            table = pa.ipc.open_stream(body["ipc"]).read_all()
        except (pa.ArrowException, OSError, TypeError) as error:
            raise InvalidInputError(f"not an Arrow stream: {error}") from error
    if not isinstance(table, pa.Table):
        raise ValidationError(field="table", expected="a pyarrow.Table", actual=type(table).__name__)
    return table


def _stale(why: str) -> ConflictError:
    return ConflictError(f"{why}; load again", code=ErrorCode.CONCURRENT_MODIFICATION)


def _committed_alone(_draft: Draft) -> NoReturn:
    raise InternalError("a bulk load is committed by an entry of its own")

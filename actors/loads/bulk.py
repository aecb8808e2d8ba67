"""Bulk loads: data files that are stored already, or Arrow data to be made into such, committed by one log entry.

Most loaders write the files by themselves, straight to storage, and send only what is to be said of them: the owner
looks whether the objects are there and whether their ids are free, and commits. Nothing of the data passes through it.

A file belongs to the epoch in its name. An owner of another epoch refuses it, because it may have been collected: files
of earlier epochs that nothing names are anybody's garbage, files of its own an owner never deletes.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NoReturn

import pyarrow as pa

from parquedb.actors.folding.checkpoint import Checkpointer
from parquedb.actors.loads.load import COMMIT_ROWS_MAX, Load, Terms, first_ulid
from parquedb.actors.loads.load_checks import checked, end_of
from parquedb.actors.loads.new_ids import NewIds
from parquedb.actors.requests.operations import BULK_TERMS, INSERT_ARROW, Operation, Outcome, Request, SessionRequest
from parquedb.actors.state.lease import Lease
from parquedb.actors.state.namespace_state import NamespaceState, log_datetime
from parquedb.actors.writes.calls import UNTRACED, Call, PendingKey, Write, key_of
from parquedb.actors.writes.commit_group import BulkRequest
from parquedb.actors.writes.draft import Draft
from parquedb.actors.writes.evaluate import Prepared
from parquedb.actors.writes.write_queue import unknown
from parquedb.actors.writes.writer import Writer
from parquedb.clock import Clock
from parquedb.errors import (
    BackpressureError,
    ConflictError,
    ErrorCode,
    InternalError,
    InvalidInputError,
    ParqueDBError,
    ValidationError,
)
from parquedb.errors import TimeoutError as DeadlineError
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.bulk.load_entry import Bulk
from parquedb.storage.bulk.store import BulkStore
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.log.commit import Committer
from parquedb.storage.log.events import RequestRecord

LOADS_MAX: Final = 16
"""Loads of one namespace that may be under way at once."""


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

    def terms(self) -> Terms:
        """Return what whoever makes files has to know."""
        state, settings = self._state, self._settings
        return Terms(
            epoch=state.epoch,
            at=log_datetime(state.now_us(self._clock.now())),
            registry=state.registry,
            version=state.schemas.registered.current,
            bytes_max=settings.document_bytes_max,
            depth_max=settings.depth_max,
        )

    async def answer(self, call: Call, operations: Sequence[tuple[int, Operation]]) -> None:
        """Settle what a call has to do with bulk loads; other operations are left alone."""
        for place, operation in operations:
            if operation.kind == INSERT_ARROW:
                call.settle(place, await self.insert(operation))
            elif operation.kind == BULK_TERMS:
                call.settle(place, self._asked(operation))

    def _asked(self, operation: Operation) -> Outcome:
        """Answer who wants to load: `{"terms": ...}`, or `{"known": [index, answer]}` of a request applied already.

        Terms that are old by the time they are used are refused then, so nobody is asked whether they still hold.
        """
        for index, request in enumerate(operation.body):
            named = SessionRequest(*request) if isinstance(request, list) else request
            known = self._writer.recall(_write(named, 0.0))
            if known is not None:
                return known if known.error is not None else Outcome({"known": [index, known.value]}, seq=known.seq)
        return Outcome({"terms": self.terms().to_wire()}, seq=self._state.next_seq - 1)

    async def insert(self, operation: Operation) -> Outcome:
        """Carry out an `insert_arrow`; its value is `{"rows": number}` and `Load.answer`. Raises for no load."""
        write = _write(operation.request, operation.age_s)
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
        except Exception as error:
            # Whatever is odd about one load's data must not end the owner, unless its entry may be on the way.
            if attempt.request is not None and attempt.request.committing:
                raise
            trouble = f"the load could not be carried out, and nothing of it is stored: {type(error).__name__}: {error}"
            outcome = Outcome(error=InternalError(trouble, cause=error))
        finally:
            self._under_way.pop(name, None)
        attempt.settle(outcome)

    async def _outcome(self, operation: Operation, attempt: "_Attempt") -> Outcome:
        body = operation.body
        load = await (self._made(operation) if "table" in body or "ipc" in body else self._seen(body))
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
                return Outcome({"rows": entry.header.count, **load.answer}, seq=entry.next_seq - 1)

    def _decide(self, load: Load, ids: NewIds, attempt: "_Attempt") -> Bulk | None:
        """Return what to commit now; None when ids have to be looked at again. Never waits."""
        state = self._state
        if attempt.given_up is not None:
            raise attempt.given_up
        self._check_terms(load)
        if load.at > log_datetime(state.now_us(self._clock.now())):
            raise InvalidInputError("not a bulk load: its documents are said to be made in the future")
        if {file.key for file in state.files.files} & {file.key for file in load.files}:
            raise InvalidInputError("not a bulk load: its files are part of the namespace already")
        if not load.fresh and not ids.hold():
            return None
        request = attempt.write.request
        wire = list(request) if isinstance(request, SessionRequest) else request
        answer = {"rows": load.rows, **load.answer}
        records = () if wire is None else (RequestRecord(wire, INSERT_ARROW, 0, load.rows, answer),)
        return Bulk(load.files, load.columns, records)

    def _check_terms(self, load: Load) -> None:
        if load.epoch != self._state.epoch:
            raise _stale("its files belong to another owner of the namespace")
        if load.schema != self._state.schemas.registered.number:
            raise _stale("a schema was registered meanwhile")

    async def _seen(self, body: Mapping[str, Any]) -> Load:
        """Return a load of files that somebody else has stored, as their ends show them."""
        load = Load.from_wire(body)
        # Before anything is read: what is of another epoch may be gone, which says nothing about the store.
        self._check_terms(load)
        files = await asyncio.gather(*[self._see(file, load) for file in load.files])
        return replace(load, files=tuple(files))

    async def _see(self, file: DataFile, load: Load) -> DataFile:
        try:
            return await self._look_at(file, load)
        except InvalidInputError:
            # What was damaged on its way here is no fault of the loader's, and looks like one (rule 7).
            return await self._look_at(file, load)

    async def _look_at(self, file: DataFile, load: Load) -> DataFile:
        state = self._state
        end = await self._storage.read_range(state.prefix + file.key, *end_of(file))
        seen: DataFile = await state.files.run(partial(checked, file, load.columns, end, state.namespace))
        return seen

    async def _made(self, operation: Operation) -> Load:
        """Make the files of Arrow data that came along."""
        terms, options = self.terms(), operation.options
        table = _table(operation.body)
        if not 1 <= table.num_rows <= COMMIT_ROWS_MAX:
            message = f"one call carries 1 to {COMMIT_ROWS_MAX:,} rows, not {table.num_rows:,}; a client sends more"
            raise InvalidInputError(message)
        id_column = options.get("id_column", "$id")
        plan = terms.plan(self._state.namespace, actor=options.get("actor"), id_column=id_column)
        store = BulkStore(self._committer, terms.epoch, self._rng, self._state.files.run)
        rows = await store.rows(table, plan, first_ulid(terms.at.timestamp(), self._rng))
        return terms.load(await store.store(rows, plan), fresh=id_column not in table.column_names, answer={})

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


def _write(request: Request | None, age_s: float) -> Write:
    return Write(Prepared(INSERT_ARROW, (), 0, _committed_alone), request, int(age_s * 1_000_000), UNTRACED, [])


def _committed_alone(_draft: Draft) -> NoReturn:
    raise InternalError("a bulk load is committed by an entry of its own")

"""Writes to all documents that a filter matches: `update_many`, `delete_many`, `upsert`.

The documents are found by a query and the write is then decided like any other, in one step, against the newest state:
what no longer matches is left out, and what has come to match since the query is found among the documents changed
since. Where these can no longer be told, because a flush or a bulk load has put them into files, the query runs again.
All changes of one such write are in one log entry: it happens whole or not at all.
"""

import asyncio
import builtins
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from parquedb.actors.reads.queries import filter_of
from parquedb.actors.reads.reader import Reader
from parquedb.actors.requests.operations import MANY, Operation, Outcome
from parquedb.actors.state.lease import Lease
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.writes.calls import Awaited, Call, Origin, Write
from parquedb.actors.writes.commit_group import NotLoaded
from parquedb.actors.writes.draft import Draft
from parquedb.actors.writes.evaluate import BASE_BYTES, Prepared, Rules, delete, prepare, step
from parquedb.actors.writes.write_queue import WriteQueue
from parquedb.actors.writes.writer import Writer
from parquedb.documents.budget import Budget, size_of
from parquedb.documents.codec import encode
from parquedb.documents.filters import Predicate, compile_filter
from parquedb.documents.seeding import seed_from_filter
from parquedb.documents.updates import Update, compile_update
from parquedb.errors import (
    BackpressureError,
    ConcurrentModificationError,
    CorruptionError,
    ParqueDBError,
    QueryMemoryError,
    QuotaExceededError,
    TimeoutError,  # noqa: A004 - the public name of the error
)
from parquedb.settings import EngineSettings
from parquedb.storage.keys import check_id, split_id
from parquedb.storage.query import scan

_TRIES_MAX: Final = 8
_CANDIDATES: Final = 64
"""Documents found for a write that changes only the first: others may change the first ones before it is decided."""

_US: Final = 1_000_000


class _LookAgain(ConcurrentModificationError):  # noqa: N818 - control flow between decision and query
    """What the query found can no longer be completed from memory; never reaches a user."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the query saw.

    Attributes:
        ids: Bare ids in order of `$id`.
        seq: Of the last change it saw.
        complete: Whether no others matched.
    """

    ids: tuple[str, ...]
    seq: int
    complete: bool


class Many:
    """Decides writes by filter for one namespace.

    Args:
        rules: What documents must keep to.
        state: The committed state.
        reader: Finds documents.
        settings: How many documents one write may change, what it may hold, and how long it may take.
        writer: Remembers what was answered before.
        queue: Where writes wait.
        lease: Tells whether a missing object means that a rival took over.
    """

    def __init__(  # noqa: PLR0913 - the engine wires it once
        self,
        rules: Rules,
        state: NamespaceState,
        reader: Reader,
        settings: EngineSettings,
        *,
        writer: Writer,
        queue: WriteQueue,
        lease: Lease,
    ) -> None:
        self._rules = rules
        self._state = state
        self._reader = reader
        self._writer = writer
        self._queue = queue
        self._lease = lease
        self._documents_max = settings.many_documents_max
        self._bytes_max = settings.group_bytes_max
        self._memory_max = settings.query_memory_max
        self._timeout_s = settings.request_timeout_s

    async def answer(
        self,
        call: Call,
        operations: Sequence[tuple[int, Operation]],
        on_deadline: Callable[[Awaited], Outcome],
        span: bytes | None,
    ) -> None:
        """Settle the writes by filter of a call; other operations are left alone."""
        mine = [(place, operation) for place, operation in operations if operation.kind in MANY]
        await asyncio.gather(*(self._one(call, place, operation, on_deadline, span) for place, operation in mine))

    async def _one(
        self,
        call: Call,
        place: int,
        operation: Operation,
        on_deadline: Callable[[Awaited], Outcome],
        span: bytes | None,
    ) -> None:
        timeout_s = operation.timeout_s or self._timeout_s
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        try:
            work = _Work.of(operation, self._rules, self._bytes_max)
            for _ in range(_TRIES_MAX):
                async with asyncio.timeout_at(end_s), self._reader.gate.turn():
                    found = await self._found(work)
                write = Write(
                    self._prepared(work, found),
                    operation.request,
                    int(operation.age_s * _US),
                    Origin(span, operation.spans or b""),
                    [],
                )
                outcome = await self._decided(write, end_s - loop.time(), on_deadline)
                if not isinstance(outcome.error, _LookAgain):
                    call.settle(place, outcome)
                    return
            raise BackpressureError("other writes went on too fast to find what this one matches", retry_after=0.1)
        except builtins.TimeoutError:
            late = TimeoutError("the documents were not found in time; nothing is applied", timeout_s=timeout_s)
            call.settle(place, Outcome(error=late))
        except ParqueDBError as error:
            call.settle(place, Outcome(error=error))

    async def _decided(self, write: Write, left_s: float, on_deadline: Callable[[Awaited], Outcome]) -> Outcome:
        """Queue a write and return what it came to."""
        waiting = Call(1)
        write.waiters.append((waiting, 0))
        # A write that was applied stays applied: its retry needs no room in the queue and no storage.
        admitted = self._writer.recall(write) or self._queue.admit(write, left_s)
        if isinstance(admitted, Outcome):
            return admitted
        waiting.expect(admitted, 0, max(0.0, left_s))
        [outcome] = await waiting.wait(on_deadline)
        return outcome

    async def _found(self, work: "_Work") -> _Found:
        snapshot, seq = await self._reader.snapshot()
        bound = _CANDIDATES if work.only_first else self._documents_max
        try:
            budget = Budget(self._memory_max)
            items = await scan.find(snapshot, work.predicate, limit=bound + 1, fields=("$id",), budget=budget)
            if len(items) > bound and not work.only_first:
                matched = await scan.count(snapshot, work.predicate)
                raise QuotaExceededError(
                    f"{work.kind}: the filter matches {matched:,} documents, more than the {bound:,} that one write "
                    "may change (`engine.many_documents_max`); narrow it, for example by ranges of $id"
                )
        except QueryMemoryError as error:
            raise QuotaExceededError(
                f"{work.kind}: what the filter looks at takes more than the {self._memory_max:,} bytes that one write "
                "may hold in memory (`engine.query_memory_max`); narrow it, for example by ranges of $id",
                cause=error,
            ) from error
        except CorruptionError as error:
            raise await self._lease.explain(error) from error
        ids = tuple(item["$id"].partition("/")[2] for item in items[:bound])
        return _Found(ids, seq, complete=len(items) <= bound)

    def _prepared(self, work: "_Work", found: _Found) -> Prepared:
        def run(draft: Draft) -> Any:
            branch = draft.branch()
            ids = self._matching(work, found, branch, draft)
            answer = work.apply(branch, ids)
            self._check_bytes(work, branch)
            draft.merge(branch)
            return answer

        changes = 1 if work.only_first else max(1, len(found.ids))
        size = min((work.size + BASE_BYTES) * changes, self._bytes_max)
        # The id of what may be inserted is looked up as well, so it has to be loaded like the others.
        ids = found.ids if work.insert_id is None else (*found.ids, work.insert_id)
        return Prepared(work.kind, ids, size, run)

    def _check_bytes(self, work: "_Work", branch: Draft) -> None:
        """Refuse what would not fit into one log entry."""
        size = 0
        for id_ in branch.touched():
            size += len(encode(branch.current(id_)))
            if size > self._bytes_max and branch.count > 1:
                raise _too_large(work.kind, branch.count, self._bytes_max)

    def _matching(self, work: "_Work", found: _Found, branch: Draft, draft: Draft) -> list[str]:
        """Return the documents that match now, in order of `$id`.

        Raises:
            _LookAgain: that can no longer be told.
            NotLoaded: it can be told in the next group.
        """
        state = self._state
        if any(file.seq_last > found.seq for file in state.files.files):
            raise _LookAgain("what changed since is in files already")
        if any(work.predicate(event.document(at)) for event in draft.created() for at in range(len(event))):
            raise NotLoaded  # The draft can't show them. In the next group this comes first, and they are in memory.
        memtables = (state.active,) if state.frozen is None else (state.active, state.frozen)
        changed = [id_ for memtable in memtables for id_, row in memtable.rows.items() if row.seq > found.seq]
        matching = {
            id_
            for id_ in (*found.ids, *changed, *draft.touched())
            if (document := branch.current(id_)) is not None and work.predicate(document)
        }
        if len(matching) > self._documents_max:
            raise _LookAgain("more match by now than one write may change")
        ids = sorted(matching)
        if not work.only_first:
            return ids
        if not found.complete and (not ids or ids[0] > found.ids[-1]):
            raise _LookAgain("none of the documents found matches any more, and which one comes next is not known")
        return ids[:1]


@dataclass(frozen=True, slots=True)
class _Work:
    """A checked write by filter.

    Attributes:
        kind: The operation's kind.
        predicate: Which documents, soft-deleted ones aside.
        only_first: Whether only the first in order of `$id` is meant.
        size: Estimated bytes that one change adds.
        insert_id: Bare id of what it inserts if nothing matches, where the filter names one.
        apply: Changes the documents of these ids in a draft, and returns the answer.
    """

    kind: str
    predicate: Predicate
    only_first: bool
    size: int
    apply: Callable[[Draft, Sequence[str]], Any]
    insert_id: str | None = None

    @classmethod
    def of(cls, operation: Operation, rules: Rules, bytes_max: int) -> "_Work":
        """Check an operation.

        Args:
            operation: A write by filter.
            rules: What documents must keep to.
            bytes_max: What its changes may take.

        Raises:
            InvalidFilterError, InvalidUpdateError, ValidationError: it is not understood.
        """
        options, given = operation.options, operation.options.get("filter") or {}
        predicate = compile_filter(filter_of(options))
        by = options.get("actor")
        if operation.kind == "delete_many":
            delete = _deletion(hard=bool(options.get("hard")), by=by)
            return cls(operation.kind, predicate, only_first=False, size=BASE_BYTES, apply=delete)
        only_first = operation.kind == "upsert"
        inserting = only_first or bool(options.get("upsert"))
        update = compile_update(operation.body, array_filters=options.get("array_filters"), matched_by=predicate)
        apply = _updating(update, given if inserting else None, rules, by, bytes_max)
        size, insert_id = size_of(operation.body), _named(given, rules) if inserting else None
        return cls(operation.kind, predicate, only_first, size, apply, insert_id)


def _named(filter: Mapping[str, Any], rules: Rules) -> str | None:  # noqa: A002 - MongoDB's name for it
    """Return the bare id that a document made of a filter has, if it has one."""
    try:
        own = seed_from_filter(filter).get("$id")
        return check_id(split_id(own, rules.namespace)) if isinstance(own, str) else None
    except ParqueDBError:
        return None  # As any other than a text it is refused when it comes to inserting; the filter may well match.


def _too_large(what: str, count: int, bytes_max: int) -> QuotaExceededError:
    return QuotaExceededError(
        f"{what}: {count:,} documents would change, together more than the {bytes_max:,} bytes that one write may log "
        "(`engine.group_bytes_max`); narrow the filter, for example by ranges of $id"
    )


def _deletion(*, hard: bool, by: str | None) -> Callable[[Draft, Sequence[str]], int]:
    def apply(draft: Draft, ids: Sequence[str]) -> int:
        return sum(delete(draft, id_, draft.current(id_), hard=hard, by=by) for id_ in ids)

    return apply


def _updating(
    update: Update, insert: Mapping[str, Any] | None, rules: Rules, by: str | None, bytes_max: int
) -> Callable[[Draft, Sequence[str]], dict[str, Any]]:
    """Return what changes documents; with `insert`, the filter whose equalities a new document starts with."""

    def apply(draft: Draft, ids: Sequence[str]) -> dict[str, Any]:
        modified = size = 0
        for id_ in ids:
            found = draft.current(id_)
            if found is not None:
                changed = update.apply(found, now=draft.now)
                # One encoding tells what `==` does not: 1 from 1.0 and True.
                encoded = encode(changed)
                if encoded != encode(found):
                    step(draft, id_, found, changed, rules, by=by)
                    modified += 1
                    size += len(encoded)
                # Said as soon as it is certain: an update may make each of the documents as large as one can be.
                if size > bytes_max and modified > 1:
                    raise _too_large("the update", modified, bytes_max)
        upserted = None
        if not ids and insert is not None:
            made = update.apply(seed_from_filter(insert), now=draft.now, inserting=True)
            operation = Operation("create", None, made, {} if by is None else {"actor": by})
            upserted = prepare(operation, rules).run(draft)["$id"]
        return {"matched": len(ids), "modified": modified, "upserted_id": upserted}

    return apply

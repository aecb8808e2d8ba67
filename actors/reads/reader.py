"""Answering reads from the committed state: memtable and Parquet together, under the read lease.

Each read decides what it saw in one section without awaiting, after the lease was confirmed; bytes it still has to
fetch are of immutable files, so fetching them later changes nothing.
"""

import asyncio
import random
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec

from parquedb.actors.reads.explain import explained_cost, prepare_explain
from parquedb.actors.reads.past_reads import PastReader
from parquedb.actors.reads.queries import prepare
from parquedb.actors.reads.query_gate import QueryGate
from parquedb.actors.reporting.read_counts import count_reads
from parquedb.actors.requests.operations import ANSWERED_APART, GETS, PAST, Operation, Outcome
from parquedb.actors.state.lease import Lease
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.writes.calls import Call
from parquedb.clock import Clock
from parquedb.documents.budget import Budget
from parquedb.documents.codec import encode
from parquedb.documents.projection import parse_projection
from parquedb.errors import BackpressureError, CorruptionError, ParqueDBError, QueryMemoryError, QueryTimeoutError
from parquedb.errors import TimeoutError as DeadlineError
from parquedb.schemas import registered
from parquedb.storage.files.data_files import IndexNotLoaded
from parquedb.storage.keys import check_id
from parquedb.storage.query.scan_counts import ScanCost, ScanCounts, counting_reads
from parquedb.storage.query.scan_plan import ScanSnapshot

T = TypeVar("T")
Document = dict[str, Any]

_BY_ID = frozenset({"get", "exists"})
_SMALL = frozenset({"schema", "pin", "unpin"})
"""What reads no document; a snapshot that cannot renew its pin would lose its files."""

_ANSWER_SHARE = 0.05
"""Part of a query's time that is left for its answer's way: a caller who waits no longer would not see why."""
_INLINE_ROWS: Final = 256


class Reader:
    """Reads of one namespace.

    Args:
        state: The committed state.
        lease: Confirmed before each answer.
        memory_max: Bytes that one query may hold, estimated.
        past: Answers reads that look beyond the present.
        rng: Spreads those who are refused.
        clock: Measures how long refusing lasts.

    Attributes:
        gate: Through which every query goes.
    """

    def __init__(  # noqa: PLR0913 - as of `QueryGate`, besides what reads need
        self,
        state: NamespaceState,
        lease: Lease,
        memory_max: int,
        past: PastReader,
        *,
        rng: random.Random,
        clock: Clock,
    ) -> None:
        running_max, waiting_max = state.settings.queries_max, state.settings.queries_waiting_max
        self.gate = QueryGate(running_max, waiting_max, rng, clock=clock, name=state.namespace)
        self._state = state
        self._lease = lease
        self._past = past
        self._memory_max = memory_max

    async def answer(self, call: Call, reads: Sequence[tuple[int, Operation]], timeout_s: float) -> None:
        """Settle the reads of a call; gets of one call share their look-ups.

        Args:
            call: Whose outcomes to set.
            reads: Place of each read in the call, and the read.
            timeout_s: For reads that bring no deadline of their own.
        """
        gets = [(place, operation) for place, operation in reads if _is_get(operation)]
        work = [self._gets(call, gets, timeout_s)] if gets else []
        for place, operation in reads:
            if operation.kind == GETS:
                work.append(self._many(call, place, operation, timeout_s))
            elif not _is_get(operation) and operation.kind not in ANSWERED_APART:
                work.append(self._query(call, place, operation, timeout_s))
        await asyncio.gather(*work)

    def at_once(self, call: Call, reads: Sequence[tuple[int, Operation]]) -> list[tuple[int, Operation]]:
        """Settle the reads of a call that need not wait for anything; return the others."""
        if not self._lease.holds():
            return list(reads)
        left, seq = [], self._state.next_seq - 1
        for place, operation in reads:
            cached = map(self._state.cache.get, operation.body) if operation.kind == GETS else [None]
            found = [each for each in cached if each is not None]
            if len(found) < operation.count or sum(map(len, found)) > self._memory_max:
                left.append((place, operation))
            else:
                call.settle(place, Outcome(list(map(msgspec.Raw, found)), seq=seq))
                count_reads(hits=len(found))
        return left

    async def _many(self, call: Call, place: int, operation: Operation, timeout_s: float) -> None:
        """Answer gets of whole documents."""
        timeout_s = operation.timeout_s or timeout_s
        try:
            ids = [check_id(id_) for id_ in operation.body]
            async with asyncio.timeout(timeout_s):
                found = await self._explained(self._encoded(ids))
            if len(ids) > 1 and sum(len(each) for each in found if each is not None) > self._memory_max:
                raise _too_much()
        except QueryMemoryError:
            call.settle(place, Outcome(error=_too_much()))
            return
        except (ParqueDBError, TimeoutError) as error:
            call.settle(place, Outcome(error=error if isinstance(error, ParqueDBError) else _late(timeout_s)))
            return
        call.settle(place, Outcome(found, seq=self._state.next_seq - 1))

    async def _encoded(self, ids: Sequence[str]) -> list[msgspec.Raw | None]:
        """Return visible documents as they travel, and keep them for the next who asks."""
        cache = self._state.cache
        found = {id_: encoded for id_ in ids if (encoded := cache.get(id_)) is not None}
        count_reads(hits=len(found))
        # Asked even for none: the lease has to be confirmed.
        documents = await self.documents({id_ for id_ in ids if id_ not in found})
        if any(cache.get(id_) is not encoded for id_, encoded in found.items()):
            # Something changed while this waited, and all of an answer is of one moment.
            found, documents = {}, await self.documents(set(ids))
        for id_, document in documents.items():
            if document is not None and "deletedAt" not in document:
                found[id_] = encoded = encode(document)
                cache.put(id_, encoded)
        return [msgspec.Raw(found[id_]) if id_ in found else None for id_ in ids]

    async def _gets(self, call: Call, gets: Sequence[tuple[int, Operation]], timeout_s: float) -> None:
        longest_s = max(operation.timeout_s or timeout_s for _, operation in gets)
        try:
            async with asyncio.timeout(longest_s):
                found = await self._explained(self.documents({operation.id or "" for _, operation in gets}))
        except QueryMemoryError:
            half = len(gets) // 2
            for place, _ in gets[half:]:
                call.settle(place, Outcome(error=_too_much()))
            await self._gets(call, gets[:half], timeout_s)
            return
        except (ParqueDBError, TimeoutError) as error:
            refusal = error if isinstance(error, ParqueDBError) else _late(longest_s)
            for place, _ in gets:
                call.settle(place, Outcome(error=refusal))
            return
        seq = self._state.next_seq - 1
        budget = Budget(self._memory_max) if len(gets) > 1 else None
        for place, operation in gets:
            try:
                shown = _shown(found[operation.id or ""], operation.options)
                if budget is not None and operation.kind == "get":
                    budget.hold((shown,))
                call.settle(place, Outcome(shown is not None if operation.kind == "exists" else shown, seq=seq))
            except QueryMemoryError:
                call.settle(place, Outcome(error=_too_much()))
            except ParqueDBError as error:
                call.settle(place, Outcome(error=error))

    async def documents(self, ids: set[str]) -> dict[str, Document | None]:
        """Return the committed state of documents, soft-deleted ones included; None where there is none.

        Raises:
            QueryMemoryError: those of several that lie in files take more than one read may hold.
        """
        loaded: dict[str, Any] = {}
        stored = 0
        while True:
            if not self._lease.holds():
                await self._lease.confirm()
            found: dict[str, Document | None] = {}
            missing: list[str] = []
            for id_ in ids:
                known, document = self._state.in_memory(id_)
                if not known:
                    try:
                        location = self._state.files.locate_now(id_)
                    except IndexNotLoaded:
                        missing.append(id_)
                        continue
                    if location is not None:
                        at, document = loaded.get(id_, (None, None))
                        if at != location:
                            missing.append(id_)
                            continue
                found[id_] = document
            if not missing:
                count_reads(hits=len(ids) - stored, misses=stored)
                return found
            budget = Budget(self._memory_max) if len(missing) > 1 else None
            with counting_reads(ScanCounts()) as counts:
                loaded.update(await self._state.files.fetch(missing, budget))
            stored = max(stored, len(missing) if counts.storage_reads else 0)

    async def completed(self, outcome: Outcome) -> Outcome:
        """Return the answer to a repeated request with its documents whole again, where only their names were kept."""
        if isinstance(outcome.value, list):
            value: Any = [await self._completed(each) for each in outcome.value]
        else:
            value = await self._completed(outcome.value)
        return Outcome(value, seq=outcome.seq, duplicate=True)

    async def _completed(self, value: Any) -> Any:
        if not isinstance(value, dict) or set(value) != {"$id", "version"}:
            return value
        id_ = value["$id"].partition("/")[2]
        try:
            document = (await self.documents({id_}))[id_]
        except ParqueDBError:
            return value  # The write is known to be applied; its answer must not turn into an error.
        return value if document is None or document["version"] != value["version"] else document

    async def _query(self, call: Call, place: int, operation: Operation, timeout_s: float) -> None:
        timeout_s = operation.timeout_s or timeout_s
        try:
            async with asyncio.timeout(timeout_s * (1 - _ANSWER_SHARE)):
                if operation.kind in _SMALL:
                    call.settle(place, await self._answer(operation))
                    return
                async with self.gate.turn():
                    call.settle(place, await self._explained(self._answer(operation)))
        except ParqueDBError as error:
            call.settle(place, Outcome(error=error))
        except TimeoutError:
            call.settle(place, Outcome(error=QueryTimeoutError(timeout_s=timeout_s)))

    async def _answer(self, operation: Operation) -> Outcome:
        if operation.kind == "schema":
            return await self._schema()
        if operation.kind in PAST:
            value = await self._past.answer(operation, self._snapshot)
            return Outcome(value, seq=self._state.next_seq - 1)
        namespace, options = self._state.namespace, operation.options
        as_of = options.get("as_of")
        if operation.kind in _BY_ID:
            found, seq = await self._past.document(operation.id or "", as_of, self.documents)
            shown = _shown(found, options)
            return Outcome(shown is not None if operation.kind == "exists" else shown, seq=seq)
        if operation.kind == "explain":
            ask = prepare_explain(options, namespace=namespace, memory_max=self._memory_max)
        else:
            ask = prepare(operation.kind, options, namespace=namespace, memory_max=self._memory_max)
        counts = ScanCounts()
        with counting_reads(counts):
            snapshot, seq = await (self.snapshot() if as_of is None else self._past.view(as_of, self._snapshot))
            value = await ask(replace(snapshot, counts=counts))
        if operation.kind != "explain":
            count_reads(hits=int(not counts.storage_reads), misses=int(counts.storage_reads > 0))
        cost = explained_cost(value) if operation.kind == "explain" else ScanCost.of(counts, snapshot.files)
        return Outcome(value, seq=seq, cost=cost)

    async def _schema(self) -> Outcome:
        if not self._lease.holds():
            await self._lease.confirm()
        return Outcome(registered.answer(self._state.schemas.registered), seq=self._state.next_seq - 1)

    async def snapshot(self) -> tuple[ScanSnapshot, int]:
        """Return what a query sees now, and the seq of the last change in it."""
        snapshot = await self._snapshot()
        return snapshot, self._state.next_seq - 1

    async def _explained(self, reading: Awaitable[T]) -> T:
        """Read; an object that is missing because a successor collected it is reported as what it means."""
        try:
            return await reading
        except CorruptionError as error:
            raise await self._lease.explain(error) from error

    async def _snapshot(self, until: int | None = None) -> ScanSnapshot:
        """Take what a query sees, in one section without awaiting after the lease was confirmed.

        Args:
            until: Leave out what is in memory of documents that changed after this seq.
        """
        state = self._state
        while True:
            await self._decode()
            await state.resolve(state.active)
            if state.frozen is not None:
                await state.resolve(state.frozen)
            if not self._lease.holds():
                await self._lease.confirm()
            if not state.active.unresolved and not (state.frozen is not None and state.frozen.unresolved):
                return self._taken(until)

    async def _decode(self) -> None:
        """Decode documents that nobody has read yet off the loop: of many, that takes long."""
        packed = self._state.active.packed()
        if len(packed) > _INLINE_ROWS:
            await self._state.files.run(lambda: [row.document for row in packed])

    def _taken(self, until: int | None) -> ScanSnapshot:
        state = self._state
        memory = [document for document, seq in state.rows_in_memory() if until is None or seq <= until]
        return ScanSnapshot.of(state.files, memory)


def _is_get(operation: Operation) -> bool:
    return operation.kind in _BY_ID and operation.options.get("as_of") is None


def _shown(document: Document | None, options: Mapping[str, Any]) -> Document | None:
    """Return what a get shows of a document.

    Raises:
        InvalidProjectionError: `fields` names something that is no path.
    """
    if document is None or ("deletedAt" in document and not options.get("include_deleted")):
        return None
    projection = parse_projection(options.get("fields"))
    return document if projection is None else projection(document)


def _too_much() -> BackpressureError:
    # Names no time to come back: whoever asks again does so alone.
    return BackpressureError("the documents asked for in one call take more than one read may hold; ask for fewer")


def _late(timeout_s: float) -> DeadlineError:
    return DeadlineError(timeout_s=timeout_s)

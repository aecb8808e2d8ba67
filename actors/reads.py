"""Answering reads from the committed state: memtable and Parquet together, under the read lease.

Each read decides what it saw in one section without awaiting, after the lease was confirmed; bytes it still has to
fetch are of immutable files, so fetching them later changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from parquedb.actors.calls import Call
from parquedb.actors.lease import Lease
from parquedb.actors.operations import Operation, Outcome
from parquedb.actors.state import NamespaceState
from parquedb.documents.filters import compile_filter
from parquedb.errors import CorruptionError, ParqueDBError, ValidationError
from parquedb.errors import TimeoutError as DeadlineError
from parquedb.storage import scan
from parquedb.storage.data_files import IndexNotLoaded
from parquedb.storage.scan_plan import ScanSnapshot
from parquedb.storage.select import select_fields

T = TypeVar("T")
Document = dict[str, Any]
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 10_000


class Reader:
    """Reads of one namespace.

    Args:
        state: The committed state.
        lease: Confirmed before each answer.
        run: Runs CPU work off the event loop.
    """

    def __init__(self, state: NamespaceState, lease: Lease, run: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._state = state
        self._lease = lease
        self._run = run

    async def answer(self, call: Call, reads: Sequence[tuple[int, Operation]], timeout_s: float) -> None:
        """Settle the reads of a call; gets of one call share their look-ups.

        Args:
            call: Whose outcomes to set.
            reads: Place of each read in the call, and the read.
            timeout_s: For reads that bring no deadline of their own.
        """
        gets = [(place, operation) for place, operation in reads if operation.kind == "get"]
        scans = [(place, operation) for place, operation in reads if operation.kind != "get"]
        work = [self._gets(call, gets, timeout_s)] if gets else []
        await asyncio.gather(*work, *(self._scan(call, place, op, timeout_s) for place, op in scans))

    async def _gets(self, call: Call, gets: Sequence[tuple[int, Operation]], timeout_s: float) -> None:
        longest_s = max(operation.timeout_s or timeout_s for _, operation in gets)
        try:
            async with asyncio.timeout(longest_s):
                found = await self._explained(self.documents({operation.id or "" for _, operation in gets}))
        except (ParqueDBError, TimeoutError) as error:
            refusal = error if isinstance(error, ParqueDBError) else _late(longest_s)
            for place, _ in gets:
                call.settle(place, Outcome(error=refusal))
            return
        seq = self._state.next_seq - 1
        for place, operation in gets:
            try:
                call.settle(place, Outcome(_shown(found[operation.id or ""], operation.options), seq=seq))
            except ParqueDBError as error:
                call.settle(place, Outcome(error=error))

    async def documents(self, ids: set[str]) -> dict[str, Document | None]:
        """Return the committed state of documents, soft-deleted ones included; None where there is none."""
        loaded: dict[str, Any] = {}
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
                return found
            loaded.update(await self._state.files.fetch(missing))

    async def completed(self, outcome: Outcome) -> Outcome:
        """Return the answer to a repeated request with its document whole again, where only its name was kept."""
        value = outcome.value
        if not isinstance(value, dict) or set(value) != {"$id", "version"}:
            return outcome
        id_ = value["$id"].partition("/")[2]
        try:
            document = (await self.documents({id_}))[id_]
        except ParqueDBError:
            return outcome  # The write is known to be applied; its answer must not turn into an error.
        if document is None or document["version"] != value["version"]:
            return outcome
        return Outcome(document, seq=outcome.seq, duplicate=True)

    async def _scan(self, call: Call, place: int, operation: Operation, timeout_s: float) -> None:
        timeout_s = operation.timeout_s or timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                work = self._find if operation.kind == "find" else self._count
                call.settle(place, await self._explained(work(operation.options)))
        except ParqueDBError as error:
            call.settle(place, Outcome(error=error))
        except TimeoutError:
            call.settle(place, Outcome(error=_late(timeout_s)))

    async def _explained(self, reading: Awaitable[T]) -> T:
        """Read; an object that is missing because a successor collected it is reported as what it means."""
        try:
            return await reading
        except CorruptionError as error:
            raise await self._lease.explain(error) from error

    async def _find(self, options: Mapping[str, Any]) -> Outcome:
        limit = options.get("limit", LIMIT_DEFAULT)
        if not isinstance(limit, int) or not 1 <= limit <= LIMIT_MAX:
            raise ValidationError(field="limit", expected=f"an int from 1 to {LIMIT_MAX}", actual=repr(limit))
        cursor = options.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise ValidationError(field="cursor", expected="the next_cursor of a page", actual=repr(cursor))
        after_id = None if cursor is None else f"{self._state.namespace}/{cursor}"
        predicate = compile_filter(_with_deleted(options))
        snapshot = await self._snapshot()
        seq = self._state.next_seq - 1
        items = await scan.find(snapshot, predicate, limit=limit + 1, after_id=after_id, fields=options.get("fields"))
        more = len(items) > limit
        items = items[:limit]
        cursor = items[-1]["$id"].partition("/")[2] if more else None
        return Outcome({"items": items, "next_cursor": cursor}, seq=seq)

    async def _count(self, options: Mapping[str, Any]) -> Outcome:
        predicate = compile_filter(_with_deleted(options))
        snapshot = await self._snapshot()
        seq = self._state.next_seq - 1
        return Outcome(await scan.count(snapshot, predicate), seq=seq)

    async def _snapshot(self) -> ScanSnapshot:
        """Take what a query sees, in one section without awaiting after the lease was confirmed."""
        state = self._state
        while True:
            await state.resolve(state.active)
            if state.frozen is not None:
                await state.resolve(state.frozen)
            if not self._lease.holds():
                await self._lease.confirm()
            if not state.active.unresolved and not (state.frozen is not None and state.frozen.unresolved):
                return self._taken()

    def _taken(self) -> ScanSnapshot:
        state = self._state
        memory = list(state.active.documents())
        if state.frozen is not None:
            active = state.active.rows
            memory.extend(
                row.document for id_, row in state.frozen.rows.items() if row.document is not None and id_ not in active
            )
        return ScanSnapshot.of(state.files, memory)


def _shown(document: Document | None, options: Mapping[str, Any]) -> Document | None:
    """Return what a get shows of a document.

    Raises:
        InvalidProjectionError: `fields` names something that is no path.
    """
    if document is None or ("deletedAt" in document and not options.get("include_deleted")):
        return None
    fields = options.get("fields")
    return document if fields is None else select_fields(fields)(document)


def _with_deleted(options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the filter of a query; unless asked otherwise it hides soft-deleted documents."""
    given = options.get("filter")
    if options.get("include_deleted"):
        return given
    hidden = {"deletedAt": {"$exists": False}}
    return {"$and": [given, hidden]} if given else hidden


def _late(timeout_s: float) -> DeadlineError:
    return DeadlineError(timeout_s=timeout_s)

"""Telling hooks of what an owner is asked to do.

Each call that it receives is announced: the writes in it as one mutation, the reads as one query, under the operation's
own name where all are of one kind and as `execute` otherwise.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from parquedb.actors.reporting.descriptions import (
    batch_size,
    context_of,
    count_of,
    errors_of,
    mutation_numbers,
    mutation_result,
    name_of,
    query_numbers,
    query_result,
)
from parquedb.actors.requests.operations import BULK_TERMS, Operation, Outcome
from parquedb.errors import ParqueDBError
from parquedb.observability.brief import UNKNOWN, Kind, Work, Works
from parquedb.observability.contexts import MutationContext, MutationResult
from parquedb.observability.hooks import Group, HookRegistry
from parquedb.observability.hooks import Operation as Announced
from parquedb.observability.otel.propagation import NO_SPAN, PACKED_BYTES, Traceparents, current_packed, leading
from parquedb.storage.query.scan_counts import ScanCounts, counting_reads

UNANNOUNCED: Final = frozenset({BULK_TERMS, "pin", "unpin"})
"""Questions that a method asks behind the caller's back."""

CarryOut = Callable[[bytes | None], Awaitable[list[Outcome]]]

_WRITTEN: Final = ("batch_size", "rows", "bytes", "version", "seq", "errors")
_READ: Final = ("batch_size", "rows", "bytes", "cached", "row_groups_scanned", "row_groups_skipped", "seq")
_NAMES_MAX: Final = 1000
"""Names of operations that are remembered together with those who take them in brief."""


class Announcer:
    """Tells the hooks of the calls to one owner.

    Args:
        hooks: Whom to tell.
        namespace: What the owner owns.
        actor: The owner's name, if it has one.
    """

    def __init__(self, hooks: HookRegistry, namespace: str, actor: str | None) -> None:
        self._hooks = hooks
        self._namespace = namespace
        self._actor = actor
        self._generation = -1
        self._works: dict[tuple[Group, str, bool], tuple[Works, ...]] = {}

    @property
    def idle(self) -> bool:
        """Whether nobody listens to calls."""
        hooks = self._hooks
        return not (hooks.active and (hooks.hears("mutation") or hooks.hears("query")))

    async def announced(self, operations: Sequence[Operation], carry_out: CarryOut) -> list[Outcome]:
        """Carry out a call and tell of it.

        Args:
            operations: What the call carries.
            carry_out: Does it; is given the span that is active meanwhile, packed (`otel.propagation`).
        """
        group: Group = "mutation" if operations and operations[0].is_write else "query"
        size = sum(map(batch_size, operations))
        work = self._in_brief(group, operations, several=size > 1)
        if work is None:
            return await self._announced(operations, carry_out)
        several = size if size > 1 else UNKNOWN
        counts = None
        try:
            if group == "mutation":
                outcomes = await carry_out(current_packed())
            else:
                with counting_reads(ScanCounts()) as counts:
                    outcomes = await carry_out(current_packed())
        except BaseException as error:
            work.error(error, (several,))
            raise
        refusal = _refusal(operations, outcomes)
        if refusal is not None:
            work.error(refusal, (several,))
        else:
            known = (
                query_numbers(operations, outcomes, counts)
                if group == "query"
                else mutation_numbers(operations, outcomes)
            )
            work.end((several, *known))
        return outcomes

    def _in_brief(self, group: Group, operations: Sequence[Operation], *, several: bool) -> Work | None:
        """Start a call in brief: where all who listen want that, it is the first attempt, and all is of one group."""
        is_write = group == "mutation"
        for operation in operations:
            if operation.is_write is not is_write or operation.kind in UNANNOUNCED or operation.attempt > 1:
                return None
        if not operations:
            return None
        if self._generation != self._hooks.generation:
            self._generation, self._works = self._hooks.generation, {}
        key = (group, name_of(operations), several)
        works = self._works.get(key)
        if works is None:
            numbers = _WRITTEN if is_write else _READ
            told = Kind(*key[:2], self._namespace, self._actor or "", numbers, "actor", several=several)
            works = self._hooks.works(told)
            if len(self._works) < _NAMES_MAX:
                self._works[key] = works
        if not works:
            return None
        callers = b"".join(one.spans for one in operations if one.spans is not None)
        if len(callers) % PACKED_BYTES or NO_SPAN in callers:
            callers = Traceparents(callers).packed
        return Work(works, leading(callers), callers)

    async def _announced(self, operations: Sequence[Operation], carry_out: CarryOut) -> list[Outcome]:
        """Tell of a call by contexts and results."""
        writes = self._start("mutation", operations)
        reads = self._start("query", operations)
        counts = ScanCounts()
        try:
            with counting_reads(counts):
                outcomes = await carry_out(current_packed())
        except BaseException as error:
            for part in (reads, writes):
                if part is not None:
                    part[0].error(error)
            raise
        for part, result_of in ((reads, partial(query_result, counts=counts)), (writes, mutation_result)):
            if part is not None:
                announced, places = part
                _end(announced, [operations[at] for at in places], [outcomes[at] for at in places], result_of)
        return outcomes

    def _start(self, group: Group, operations: Sequence[Operation]) -> tuple[Announced, list[int]] | None:
        """Announce the writes or the reads of a call; return that with their places, or None where there are none."""
        if not self._hooks.hears(group):
            return None
        is_write = group == "mutation"
        places = [
            at
            for at, operation in enumerate(operations)
            if operation.is_write is is_write and operation.kind not in UNANNOUNCED
        ]
        if not places:
            return None
        mine = operations if len(places) == len(operations) else [operations[at] for at in places]
        callers = Traceparents(b"".join(one.spans for one in mine if one.spans is not None))
        context = context_of(
            group,
            mine,
            self._namespace,
            side="actor",
            actor=self._actor,
            traceparent=callers.leading(),
            traceparents=callers,
            details=self._hooks.wants_details(group),
        )
        return self._hooks.start(group, context), places


@contextmanager
def announced_upkeep(hooks: HookRegistry, what: str, namespace: str, actor: str | None) -> Iterator[None]:
    """Tell the hooks of something that an owner is asked to do for its files."""
    if not hooks.hears("mutation"):
        yield
        return
    announced = hooks.start("mutation", MutationContext(what, namespace, side="actor", actor=actor))
    try:
        yield
    except BaseException as error:
        announced.error(error)
        raise
    announced.end(MutationResult(announced.elapsed_s()))


def _end(
    announced: Announced,
    operations: Sequence[Operation],
    outcomes: Sequence[Outcome],
    result_of: Callable[[Sequence[Operation], Sequence[Outcome], float], object],
) -> None:
    """Tell how a call ended: badly where nothing of it succeeded."""
    refusal = _refusal(operations, outcomes)
    if refusal is not None:
        announced.error(refusal)
    else:
        announced.end(result_of(operations, outcomes, announced.elapsed_s()))


def _refusal(operations: Sequence[Operation], outcomes: Sequence[Outcome]) -> ParqueDBError | None:
    """Return the first refusal of a call of which everything was refused; None for all others."""
    refused = [error for pair in zip(operations, outcomes, strict=True) for error in errors_of(*pair)]
    return refused[0] if refused and len(refused) >= sum(map(count_of, operations)) else None

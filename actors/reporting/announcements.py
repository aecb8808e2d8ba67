"""Telling hooks of what an owner is asked to do.

Each call that it receives is announced: the writes in it as one mutation, the reads as one query, under the operation's
own name where all are of one kind and as `execute` otherwise.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from parquedb.actors.reporting.descriptions import context_of, count_of, errors_of, mutation_result, query_result
from parquedb.actors.requests.operations import BULK_TERMS, Operation, Outcome
from parquedb.observability.contexts import MutationContext, MutationResult
from parquedb.observability.hooks import Group, HookRegistry
from parquedb.observability.hooks import Operation as Announced
from parquedb.observability.otel.propagation import Traceparents, current_traceparent
from parquedb.storage.query.scan_counts import ScanCounts, counting_reads

UNANNOUNCED: Final = frozenset({BULK_TERMS, "pin", "unpin"})
"""Questions that a method asks behind the caller's back."""

Work = Callable[[str | None], Awaitable[list[Outcome]]]


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

    @property
    def idle(self) -> bool:
        """Whether nobody listens to calls."""
        hooks = self._hooks
        return not (hooks.active and (hooks.hears("mutation") or hooks.hears("query")))

    async def announced(self, operations: Sequence[Operation], work: Work) -> list[Outcome]:
        """Carry out a call and tell of it.

        Args:
            operations: What the call carries.
            work: Carries them out; is given the span that is active meanwhile.
        """
        writes = self._start("mutation", operations)
        reads = self._start("query", operations)
        counts = ScanCounts()
        try:
            with counting_reads(counts):
                outcomes = await work(current_traceparent())
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
    refused = [error for pair in zip(operations, outcomes, strict=True) for error in errors_of(*pair)]
    if len(refused) >= sum(map(count_of, operations)):
        announced.error(refused[0])
    else:
        announced.end(result_of(operations, outcomes, announced.elapsed_s()))

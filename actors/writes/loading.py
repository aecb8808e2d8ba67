"""Fetching the documents that writes look at, when these lie in data files."""

from collections.abc import Sequence

from parquedb.actors.requests.operations import Outcome
from parquedb.actors.state.lease import Lease
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.writes.calls import Write
from parquedb.actors.writes.write_queue import WriteQueue
from parquedb.documents.budget import Budget
from parquedb.errors import ParqueDBError, QueryMemoryError, QuotaExceededError


async def load_for(
    writes: Sequence[Write], state: NamespaceState, queue: WriteQueue, lease: Lease, *, memory_max: int
) -> None:
    """Give the writes their documents: the first of them, as many as fit; one that can never be served is refused.

    Args:
        writes: In their order, at least one. Those that get nothing will come again.
        state: Where the documents are.
        queue: Answers the refused.
        lease: Tells whether a missing object means that a rival took over.
        memory_max: Bytes that the documents may take together, estimated. A single document may take more.
    """
    ids = list({id_ for write in writes for id_ in write.prepared.ids if not state.in_memory(id_)[0]})
    try:
        loaded = await state.files.fetch(ids, Budget(memory_max) if len(ids) > 1 else None)
    except ParqueDBError as error:
        if len(writes) == 1:
            queue.finish(writes[0], Outcome(error=await _refusal(writes[0], error, lease, memory_max)))
        elif isinstance(error, QueryMemoryError):
            await load_for(writes[: len(writes) // 2], state, queue, lease, memory_max=memory_max)
        else:
            # One damaged file must not refuse writes that have nothing to do with it.
            for write in writes:
                await load_for([write], state, queue, lease, memory_max=memory_max)
        return
    for write in writes:
        write.loaded = {id_: loaded[id_] for id_ in write.prepared.ids if id_ in loaded}


async def _refusal(write: Write, error: ParqueDBError, lease: Lease, memory_max: int) -> ParqueDBError:
    if not isinstance(error, QueryMemoryError):
        return await lease.explain(error)
    return QuotaExceededError(
        f"{write.prepared.kind}: the documents it looks at take more than the {memory_max:,} bytes that one write may "
        "hold in memory (`engine.query_memory_max`); narrow it, for example by ranges of $id",
        cause=error,
    )

"""Fetching the documents that writes look at, when these lie in data files."""

from collections.abc import Sequence

from parquedb.actors.calls import Write
from parquedb.actors.lease import Lease
from parquedb.actors.operations import Outcome
from parquedb.actors.state import NamespaceState
from parquedb.actors.write_queue import WriteQueue
from parquedb.errors import ParqueDBError


async def load_for(writes: Sequence[Write], state: NamespaceState, queue: WriteQueue, lease: Lease) -> None:
    """Give each write its documents; one whose documents can't be read is refused."""
    ids = list({id_ for write in writes for id_ in write.prepared.ids if not state.in_memory(id_)[0]})
    try:
        loaded = await state.files.fetch(ids)
    except ParqueDBError as error:
        if len(writes) > 1:
            # One damaged file must not refuse writes that have nothing to do with it.
            for write in writes:
                await load_for([write], state, queue, lease)
            return
        queue.finish(writes[0], Outcome(error=await lease.explain(error)))
        return
    for write in writes:
        write.loaded = {id_: loaded[id_] for id_ in write.prepared.ids if id_ in loaded}

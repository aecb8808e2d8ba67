"""What a retried write was answered before."""

from datetime import datetime

from parquedb.actors.calls import Write
from parquedb.actors.operations import Outcome
from parquedb.actors.state import NamespaceState
from parquedb.errors import ParqueDBError


def recalled(write: Write, state: NamespaceState, now: datetime) -> Outcome | None:
    """Return what a retry was answered before, or why that can't be known; None when it is new."""
    request = write.request
    if request is None:
        return None
    try:
        if isinstance(request, str):
            receipt = state.request_ids.lookup(request, write.age_us, state.now_us(now))
        else:
            receipt = state.sessions.lookup(request)
    except ParqueDBError as error:
        return Outcome(error=error)
    return None if receipt is None else Outcome(receipt.value, seq=receipt.seq, duplicate=True)

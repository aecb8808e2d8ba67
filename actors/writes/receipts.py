"""What a write is answered, and what a retry of it was answered before."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from parquedb.actors.requests.operations import Outcome, Request
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.writes.calls import Write
from parquedb.actors.writes.draft import Draft
from parquedb.errors import ParqueDBError
from parquedb.storage.log.events import UNANSWERED, Event, RequestRecord

_DERIVABLE: Final = frozenset({"create", "update", "replace", "restore"})


class Answered(NamedTuple):
    """The answer of a write that changes something.

    Attributes:
        kind: The operation's kind.
        first: Index of its first event in the group.
        events: How many events it has.
        value: The answer.
        derivable: Whether the last event says it.
        encoded: The answer as it travels, where that is known.
    """

    kind: str
    first: int
    events: int
    value: Any
    derivable: bool
    encoded: bytes | None

    def record(self, request: Request) -> RequestRecord:
        """Return what the log keeps of it for a retry."""
        known_as = self.kind if self.derivable or self.value is not None else UNANSWERED
        value = None if self.derivable else self.value
        wire = list(request) if isinstance(request, tuple) else request
        return RequestRecord(wire, known_as, self.first, self.events, value)


def answered(write: Write, value: Any, draft: Draft, first: int) -> Answered:
    """Describe the answer of a write that has just added the events of a draft from `first` on."""
    kind, last = write.prepared.kind, draft.events[-1]
    if kind in _DERIVABLE and isinstance(last, Event) and value is last.document:
        return Answered(kind, first, draft.count - first, value, True, last.encoded)
    return Answered(kind, first, draft.count - first, value, False, None)


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

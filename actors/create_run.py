"""Creates that arrived one after the other and name no ids: decided, logged and answered as one.

They cannot conflict with each other nor with anything else, and with thousands a second what each would cost alone is
most of what an owner can do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from parquedb.actors.calls import Call, PendingKey, Stage, Write
from parquedb.actors.evaluate import BASE_BYTES, MANAGED, Document, Draft, Prepared, Rules
from parquedb.actors.operations import Operation, Outcome, SessionRequest
from parquedb.storage.events import Action, Run

RUN_MIN: Final = 2
"""Creates that are worth deciding as one."""


@dataclass(slots=True, eq=False)
class CreateRun(Write):
    """A run on its way; its answer is the list of its documents.

    Attributes:
        requests: Their ids, in the order of `waiters`.
        late: Callers of retries, with the index of the create they wait for.
        left: Callers whose time was up.
    """

    requests: list[SessionRequest] = field(default_factory=list)
    late: list[tuple[Call, int, int]] = field(default_factory=list)
    left: set[tuple[Call, int]] = field(default_factory=set)

    @property
    def count(self) -> int:
        """Operations it stands for."""
        return len(self.requests)

    @property
    def keys(self) -> Sequence[PendingKey]:
        """What retries of its creates are recognized by."""
        return [(session, seq) for session, seq, _, _ in self.requests]

    @property
    def awaited(self) -> bool:
        """Whether anybody still waits for one of them."""
        return len(self.left) < len(self.waiters) + len(self.late)

    def runs(self, first_event: int) -> Iterator[Run]:
        """Cut the requests where their numbers have gaps; `first_event` is the index of the first one's event."""
        requests, start = self.requests, 0
        for end in range(1, len(requests) + 1):
            if end == len(requests) or requests[end].seq != requests[end - 1].seq + 1:
                session, seq, _, born = requests[start]
                # The client waits for nothing below the newest `low` it has told.
                yield Run(session, seq, requests[end - 1].low, born, first_event + start, end - start)
                start = end

    def join(self, retry: Write) -> None:
        """Let those who sent a retry of one of its creates wait for that one."""
        at = self.keys.index(retry.keys[0])
        self.late.extend((call, place, at) for call, place in retry.waiters)

    def leave(self, call: Call, place: int) -> None:
        """Forget a caller whose time is up."""
        self.left.add((call, place))

    def finish(self, outcome: Outcome) -> None:
        """Answer everybody who still waits, each with his own document."""
        self.stage = Stage.DONE
        parts = [outcome] * len(self.requests)
        if outcome.error is None:
            parts = [Outcome(document, seq=seq) for seq, document in enumerate(outcome.value, outcome.seq)]
        for (call, place), part in zip(self.waiters, parts, strict=True):
            call.settle(place, part)
        for call, place, at in self.late:
            call.settle(place, parts[at])
        self.waiters, self.late, self.left = [], [], set()


def run_end(operations: Sequence[Operation], start: int) -> int:
    """Return the end (exclusive) of the run of creates that starts at `start`; `start` itself if there is none.

    In a run are first attempts of one session, each numbered above the one before, with normalized documents
    that name no id, and no options.
    """
    session: bytes | None = None
    seq = 0
    for at in range(start, len(operations)):
        operation = operations[at]
        request = operation.request
        if (
            operation.kind != "create"
            or operation.id is not None
            or not operation.size
            or operation.age_s
            or operation.options
            or not isinstance(request, SessionRequest)
            or request.session != (session or request.session)
            or request.seq <= seq
            or "$id" in operation.body
        ):
            return at
        session, seq = request.session, request.seq
    return len(operations)


def prepare_run(operations: Sequence[Operation], rules: Rules) -> Prepared | None:
    """Check creates without ids that came one after the other; None if they must be checked one by one.

    Args:
        operations: Creates with normalized documents (`Operation.size`), no `$id` and no options.
        rules: See `Rules`.
    """
    bodies: list[Document] = []
    size = 0
    for operation in operations:
        if operation.size > rules.document_bytes_max or not MANAGED.isdisjoint(operation.body):
            return None
        bodies.append(operation.body)
        size += operation.size + BASE_BYTES
    prefix = f"{rules.namespace}/"

    def run(draft: Draft) -> list[Document]:
        now = draft.now
        documents = []
        for body in bodies:
            # A fresh ULID is nobody's: looking it up would cost as much as all the rest.
            id_ = draft.new_id()
            document = {"$id": prefix + id_, **body, "version": 1, "createdAt": now, "updatedAt": now}
            draft.add(Action.CREATE, id_, document)
            documents.append(document)
        return documents

    return Prepared("create", (), size, run)

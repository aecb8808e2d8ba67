"""Creates of one session that name no ids and left its client together: decided, logged and answered as one.

They cannot conflict with each other nor with anything else, and with thousands a second what each would cost alone is
most of what an owner can do. Their documents stay as the caller encoded them until somebody reads one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from parquedb.actors.calls import Call, PendingKey, Write
from parquedb.actors.draft import Draft
from parquedb.actors.evaluate import BASE_BYTES, Prepared, Rules
from parquedb.actors.operations import Operation, Outcome, SessionRequest
from parquedb.errors import InternalError, InvalidInputError, ValidationError
from parquedb.storage.events import Created


@dataclass(slots=True, eq=False)
class CreateRun(Write):
    """A run on its way; its answer is a `Created`, or a list of one outcome for each (see `schemas.decide_run`).

    Attributes:
        first: Request of the first create; the others' numbers follow it.
        sizes: Bytes of each document.
        encoded: The documents, one behind the other.
        late: Callers of retries, with the index of the create they wait for.
    """

    first: SessionRequest = field(kw_only=True)
    sizes: list[int] = field(kw_only=True)
    encoded: bytes = field(kw_only=True)
    late: list[tuple[Call, int, int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Operations it stands for."""
        return len(self.sizes)

    @property
    def awaited(self) -> bool:
        """Whether anybody still waits for one of them."""
        return bool(self.waiters or self.late)

    def index(self, key: PendingKey) -> int:
        """Return which of its creates a request id names; -1 for none."""
        if isinstance(key, str) or key[0] != self.first.session:
            return -1
        at = key[1] - self.first.seq
        return at if 0 <= at < self.count else -1

    @property
    def keys(self) -> Sequence[PendingKey]:
        """What retries of its creates are recognized by."""
        return [(self.first.session, self.first.seq + at) for at in range(self.count)]

    def overlaps(self, other: "CreateRun") -> bool:
        """Whether some request is in both."""
        mine, others = self.first, other.first
        return (
            mine.session == others.session
            and mine.seq < others.seq + other.count
            and others.seq < mine.seq + self.count
        )

    def decide(self, namespace: str, draft: Draft) -> Created:
        """Add the documents to a group."""
        ids = draft.new_ids(self.count)
        created = Created(f"{namespace}/", ids, draft.now, self.sizes, self.encoded, list(self.first))
        draft.add_created(created)
        return created

    def join(self, retry: Write) -> None:
        """Let those who sent a retry of one of its creates wait for that one."""
        at = self.index(retry.keys[0])
        self.late.extend((call, place, at) for call, place in retry.waiters)

    def leave(self, call: Call, place: int) -> None:
        """Forget a caller whose time is up."""
        self.waiters = [waiter for waiter in self.waiters if waiter != (call, place)]
        self.late = [late for late in self.late if late[:2] != (call, place)]

    def finish(self, outcome: Outcome) -> None:
        """Answer everybody who still waits; who sent a retry gets his own document."""
        late, self.late = self.late, []
        super(CreateRun, self).finish(outcome)
        for call, place, at in late:
            call.settle(place, self._own(outcome, at))

    @staticmethod
    def _own(outcome: Outcome, at: int) -> Outcome:
        if outcome.error is not None:
            return outcome
        if isinstance(outcome.value, Created):
            return Outcome(outcome.value.document(at), seq=outcome.seq + at)
        own: Outcome = outcome.value[at]
        return own


def create_run(operation: Operation, rules: Rules, waiter: tuple[Call, int], traceparent: str | None) -> CreateRun:
    """Make a run of an operation `creates`.

    Raises:
        InvalidInputError: it is not well formed.
        ValidationError: a document is larger than the namespace allows.
    """
    first = operation.request
    try:
        sizes, encoded = operation.body
        fits = sizes and sum(sizes) == len(encoded)
    except (TypeError, ValueError):
        fits = False
    if not fits or not isinstance(first, SessionRequest):
        raise InvalidInputError("not a run of creates: sizes, documents and requests do not fit together")
    if max(sizes) > rules.document_bytes_max:
        expected = f"a document of at most {rules.document_bytes_max:,} bytes"
        raise ValidationError(field="document", expected=expected, actual=f"{max(sizes)} bytes")
    prepared = Prepared("create", (), operation.size + BASE_BYTES * len(sizes), _decided_whole)
    return CreateRun(prepared, None, 0, traceparent, [waiter], first=first, sizes=sizes, encoded=encoded)


def _decided_whole(_draft: Draft) -> NoReturn:
    raise InternalError("a run of creates is decided as one")

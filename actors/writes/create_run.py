"""Creates of one session that name no ids and left its client together: decided, logged and answered as one.

They cannot conflict with each other nor with anything else, and with thousands a second what each would cost alone is
most of what an owner can do. Their documents stay as the caller encoded them until somebody reads one.
"""

from dataclasses import dataclass, field
from typing import NoReturn

from parquedb.actors.requests.operations import Operation, Outcome, SessionRequest
from parquedb.actors.writes.calls import Call, Origin
from parquedb.actors.writes.draft import Draft
from parquedb.actors.writes.evaluate import BASE_BYTES, Prepared, Rules
from parquedb.actors.writes.runs import Run
from parquedb.errors import InternalError, InvalidInputError, ValidationError
from parquedb.storage.log.events import Created


@dataclass(slots=True, eq=False)
class CreateRun(Run):
    """A run on its way; its answer is a `Created`, or a list of one outcome for each (see `schemas.decide_run`).

    Attributes:
        sizes: Bytes of each document.
        encoded: The documents, one behind the other.
    """

    sizes: list[int] = field(kw_only=True)
    encoded: bytes = field(kw_only=True)

    @property
    def count(self) -> int:
        """Operations it stands for."""
        return len(self.sizes)

    def decide(self, namespace: str, draft: Draft) -> Created:
        """Add the documents to a group."""
        ids = draft.new_ids(self.count)
        created = Created(f"{namespace}/", ids, draft.now, self.sizes, self.encoded, list(self.first))
        draft.add_created(created)
        return created

    def own(self, outcome: Outcome, at: int) -> Outcome:
        """Return what the outcome of all, which is no error, says of one."""
        if isinstance(outcome.value, Created):
            return Outcome(outcome.value.document(at), seq=outcome.seq + at)
        return super(CreateRun, self).own(outcome, at)


def create_run(operation: Operation, rules: Rules, waiter: tuple[Call, int], origin: Origin) -> CreateRun:
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
    return CreateRun(prepared, None, 0, origin, [waiter], first=first, sizes=sizes, encoded=encoded)


def _decided_whole(_draft: Draft) -> NoReturn:
    raise InternalError("a run of creates is decided as one")

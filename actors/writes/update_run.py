"""Updates of one session that left its client together: decided, logged and answered as one.

One is decided after the other, each against what the ones before made, and each may be refused for itself. What must
be fetched first leaves the run, with whatever in it touches the same document later, and goes on as single writes.

On the way the body is `[ids, expected versions, shapes, which, operands]`: for each update its id, the version expected
or nil (all nil may be one nil), the index of its shape (all 0 may be nil) and its operands; shapes are `Shape.key`.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from parquedb.actors.requests.operations import CREATES, UPDATES, Operation, Outcome, SessionRequest
from parquedb.actors.writes.calls import Call, Origin, PendingKey, Stage, Write
from parquedb.actors.writes.commit_group import NotLoaded
from parquedb.actors.writes.draft import Document, Draft
from parquedb.actors.writes.evaluate import BASE_BYTES, Prepared, Rules, next_version, prepare, present, visible
from parquedb.actors.writes.runs import Run
from parquedb.actors.writes.unforeseen import told
from parquedb.documents.codec import encode
from parquedb.documents.update_shapes import Shape, ops_of, shape_of
from parquedb.errors import InternalError, InvalidInputError, ParqueDBError
from parquedb.observability.otel.propagation import PACKED_BYTES
from parquedb.storage.keys import check_id
from parquedb.storage.log.events import Action, Updated


@dataclass(slots=True)
class Answers:
    """What those updates of a run came to that were decided in it.

    Attributes:
        updated: The changes; None when there are none.
        refused: Why others were refused, by their places in the run.
    """

    updated: Updated | None
    refused: dict[int, ParqueDBError]


@dataclass(slots=True)
class Change:
    """One update of a run.

    Attributes:
        id: Bare id.
        expected: The version it expects, if it does.
        shape: What is done; None for what has no shape here, which leaves the run.
        operands: With these.
        alone: The same as a single write; of what has a shape only made when it has to leave.
        refusal: Why it is refused whatever the document is.
    """

    id: str
    expected: int | None
    shape: Shape | None
    operands: list[Any]
    alone: Prepared | None = None
    refusal: ParqueDBError | None = None

    def prepared(self, rules: Rules) -> Prepared:
        """Return it as a single write; raises as `prepare` does, but not for what has a shape and a good id."""
        if self.alone is None:
            ops = {} if self.shape is None else self.shape.ops(self.operands)
            self.alone = prepare(_single(self.id, ops, self.expected), rules)
        return self.alone


@dataclass(slots=True, eq=False)
class UpdateRun(Run):
    """A run on its way; its answer is an `Answers`, or a list of one outcome for each once some have left it.

    Attributes:
        changes: The updates.
        rules: What documents must keep to.
        apart: Those that have left the run, by their places in it.
    """

    changes: list[Change] = field(kw_only=True)
    rules: Rules = field(kw_only=True)
    apart: dict[int, Write] = field(default_factory=dict)
    _gathered: list[Outcome | None] = field(default_factory=list)
    _missing: int = 0

    @property
    def length(self) -> int:
        """Requests in it."""
        return len(self.changes)

    @property
    def count(self) -> int:
        """Operations it stands for."""
        return len(self.changes) - len(self.apart)

    def index(self, key: PendingKey) -> int:
        """Return which of its writes a request id names; -1 for none."""
        at = super(UpdateRun, self).index(key)
        return -1 if at in self.apart else at

    def decide(self, draft: Draft, held: Collection[str]) -> tuple[Answers, list[int]]:
        """Add the changes to a group.

        Args:
            draft: The group's.
            held: Documents of which an earlier write has yet to be decided.

        Returns:
            What the updates came to, and the places of those that cannot be decided yet.
        """
        decided: list[tuple[int, str, Document, bytes]] = []
        refused: dict[int, ParqueDBError] = {}
        left: list[int] = []
        mine: dict[str, Document] = {}
        waiting: set[str] = set()
        for at, change in enumerate(self.changes):
            id_ = change.id
            if change.refusal is not None:
                refused[at] = change.refusal
                continue
            try:
                if change.shape is None or id_ in waiting or id_ in held:
                    raise NotLoaded  # noqa: TRY301 - one place lets them leave
                found = mine.get(id_) or draft.current(id_)
                document, encoded = self._changed(draft, change, change.shape, found)
            except NotLoaded:
                # With what comes later for the same document.
                waiting.add(id_)
                left.append(at)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this update's alone
                refused[at] = told(error, self.rules.namespace, "update")
            else:
                mine[id_] = document
                decided.append((at, id_, document, encoded))
        return Answers(self._added(draft, decided), refused), left

    def _added(self, draft: Draft, decided: Sequence[tuple[int, str, Document, bytes]]) -> Updated | None:
        if not decided:
            return None
        numbers, ids, documents, encoded = map(list, zip(*decided, strict=True))
        updated = Updated(ids, documents, numbers, list(self.first), encoded)
        draft.add_updated(updated)
        return updated

    def _changed(self, draft: Draft, change: Change, shape: Shape, found: Document | None) -> tuple[Document, bytes]:
        """Return the next version of a document, also as it is encoded; raises the refusal."""
        expected = change.expected
        if found is None or "deletedAt" in found or (expected is not None and expected != found["version"]):
            found = present(visible(found), change.id, {"expected_version": expected}, self.rules)
        changed = shape.apply(found, change.operands, draft.now)
        # Of what makes an update keep a document's form all but this is true of every shape.
        keeps_form = shape.is_ascii
        document, encoded = next_version(found, changed, self.rules, now=draft.now, keeps_form=keeps_form)
        if draft.schemas.registered.guard is not None:
            draft.schemas.hold(Action.UPDATE, change.id, document)
            encoded = encode(document)
        return document, encoded

    def part(self, left: Sequence[int]) -> list[Write]:
        """Return the updates at some places as single writes, which answer through the run."""
        each = self.prepared.size // self.length
        self._gathered, self._missing = [None] * self.length, self.length
        session, seq, low, born = self.first
        for at in left:
            request = SessionRequest(session, seq + at, low, born)
            prepared = self.changes[at].prepared(self.rules)
            caller = self.origin.callers[at * PACKED_BYTES : (at + 1) * PACKED_BYTES]
            self.apart[at] = Write(prepared, request, 0, Origin(self.origin.call, caller), [(self, at)])
            self.prepared.size -= each
        return list(self.apart.values())

    def settle(self, place: int, outcome: Outcome) -> None:
        """Take the outcome of one that has left."""
        self._gather(place, outcome)

    def finish(self, outcome: Outcome) -> None:
        """Answer everybody who still waits, as soon as those that have left are answered too."""
        if not self.apart:
            super(UpdateRun, self).finish(outcome)
            return
        self.stage = Stage.DONE
        for at in range(self.length):
            if at not in self.apart:
                self._gather(at, outcome if outcome.error is not None else self.own(outcome, at))

    def _gather(self, at: int, outcome: Outcome) -> None:
        self._gathered[at] = outcome
        if self.late:
            late, self.late = self.late, [each for each in self.late if each[2] != at]
            for call, place, which in late:
                if which == at:
                    call.settle(place, outcome)
        self._missing -= 1
        if not self._missing:
            waiters, self.waiters = self.waiters, []
            for call, place in waiters:
                call.settle(place, Outcome(self._gathered))

    def wanted(self, at: int) -> bool:
        """Whether a retry waits for the update at a place."""
        return any(which == at for _, _, which in self.late)

    def outcomes(self, undecided: Outcome) -> list[Outcome | Write]:
        """Return for each update its outcome, or the single write whose outcome is still to come.

        Args:
            undecided: The outcome of those that are neither answered nor apart.
        """
        return [each or self.apart.get(at) or undecided for at, each in enumerate(self._gathered)]

    def own(self, outcome: Outcome, at: int) -> Outcome:
        """Return what the outcome of all, which is no error, says of one."""
        answers = outcome.value
        if not isinstance(answers, Answers):
            return super(UpdateRun, self).own(outcome, at)
        if at in answers.refused:
            return Outcome(error=answers.refused[at])
        updated = answers.updated
        if updated is None or updated.encoded is None:
            raise InternalError("an update of a run was neither made nor refused")
        place = bisect_left(updated.numbers, at)
        return Outcome(updated.documents[place], None, outcome.seq + place, False, updated.encoded[place])


def update_run(operation: Operation, rules: Rules, waiter: tuple[Call, int], origin: Origin) -> UpdateRun:
    """Make a run of an operation `updates`.

    Raises:
        InvalidInputError: it is not well formed.
    """
    first = operation.request
    try:
        changes = _changes(operation.body, rules)
    except (TypeError, ValueError, IndexError, AttributeError):
        changes = []
    if not changes or not isinstance(first, SessionRequest):
        raise InvalidInputError("not a run of updates: ids, shapes, operands and requests do not fit together")
    prepared = Prepared("update", (), operation.size + BASE_BYTES * len(changes), _decided_apart)
    return UpdateRun(prepared, None, 0, origin, [waiter], first=first, changes=changes, rules=rules)


def _changes(body: Any, rules: Rules) -> list[Change]:
    """Read the body of a run; what is wrong with one update is that one's refusal.

    Raises:
        ValueError, TypeError, IndexError, AttributeError: the body is none.
    """
    ids, expected, keys, which, given = body
    keys = [tuple(map(tuple, key)) for key in keys]
    shapes = list(map(shape_of, keys))
    versions = expected or [None] * len(ids)
    changes = []
    for id_, version, at, values in zip(ids, versions, which or [0] * len(ids), given, strict=True):
        shape = shapes[at]
        operands = None if shape is None else shape.operands(values, rules.depth_max)
        try:
            if operands is None:
                # Nothing that is usual here: a bound that its sender does not know, or an operator that we do not.
                alone = prepare(_single(id_, ops_of(keys[at], values), version), rules)
                change = Change(id_, version, None, [], alone)
            else:
                change = Change(check_id(id_), version, shape, operands)
        except ParqueDBError as error:
            change = Change(id_, version, None, [], None, error)
        changes.append(change)
    return changes


def _single(id_: str, ops: dict[str, dict[str, Any]], expected: int | None) -> Operation:
    return Operation("update", id_, ops, {} if expected is None else {"expected_version": expected})


def refusals(operation: Operation, outcome: Outcome) -> int:
    """Return how many operations of callers an outcome refuses."""
    if outcome.error is not None:
        return operation.count
    if isinstance(outcome.value, Answers):
        return len(outcome.value.refused)
    if operation.kind in {CREATES, UPDATES} and isinstance(outcome.value, list):
        return sum(own.error is not None for own in outcome.value)
    return 0


def _decided_apart(_draft: Draft) -> NoReturn:
    raise InternalError("a run of updates is decided as one")

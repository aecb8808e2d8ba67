"""Schemas in the write path: registering one, and holding a group's documents to the one in force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.actors.state.sessions import Receipt
from parquedb.actors.writes.unforeseen import told
from parquedb.documents.codec import decode
from parquedb.errors import ConflictError, ErrorCode, ParqueDBError, ValidationError
from parquedb.observability.logs import get_logger
from parquedb.schemas.guard import Guard, Mode
from parquedb.schemas.model import Schema
from parquedb.schemas.registered import Registered, Version, answer
from parquedb.schemas.source import checked
from parquedb.storage.files.columns import ColumnRegistry, with_declared
from parquedb.storage.files.declared import declared_columns
from parquedb.storage.log.events import Action, Created, Event, RequestRecord

if TYPE_CHECKING:
    from parquedb.actors.writes.create_run import CreateRun
    from parquedb.actors.writes.draft import Draft

_logger = get_logger(__name__)

SCHEMA_ID: Final = ""
"""In the place of a document's id in the event of a registration; no document can have it."""

REGISTER_BYTES: Final = 10_000
"""What a registration costs in the queue, about."""

_HELD: Final = frozenset({Action.CREATE, Action.UPDATE, Action.REPLACE})
"""What a document has to pass. Deleting and restoring must not fail for what a document was before."""


@dataclass(slots=True)
class Warned:
    """Violations let through in mode `warn`.

    Attributes:
        count: Documents with at least one.
        first: Id and violation of the first.
    """

    count: int = 0
    first: tuple[str, ValidationError] | None = None

    def add(self, other: Warned) -> None:
        """Count those of another one, which came later."""
        self.count += other.count
        self.first = self.first or other.first

    def log(self, namespace: str, version: Version) -> None:
        """Say so."""
        if self.first is not None:
            which = f"version {version.number} of the schema"
            _logger.warning(
                "namespace %s: %d documents are not as %s says; %r: %s", namespace, self.count, which, *self.first
            )


class SchemaState:
    """What is committed of a namespace's schemas.

    Attributes:
        registered: The versions.
        warned: Violations let through since this owner opened.
        fills_in: Whether a version in force since this owner opened has had defaults.
    """

    __slots__ = ("fills_in", "registered", "warned")

    def __init__(self) -> None:
        self.registered = Registered()
        self.warned = Warned()
        self.fills_in = False

    def restore(self, wire: Any) -> None:
        """Become what a manifest says."""
        self.registered = Registered.from_wire(wire or ())
        self.fills_in = self.registered.fills_in

    def register(self, event: Event) -> SchemaState:
        """Put the version of a landed event in force; return itself."""
        if event.document is not None:
            self.registered = self.registered.extended(Version.from_wire(event.document))
            self.fills_in |= self.registered.fills_in
        return self

    def declared(self, registry: ColumnRegistry) -> ColumnRegistry:
        """Return the columns with those that the schema in force declares."""
        current = self.registered.current
        return registry if current is None else with_declared(registry, declared_columns(current.schema))

    def warn(self, namespace: str, warned: Warned) -> None:
        """Count and log the violations of an entry that has landed."""
        if warned.count and self.registered.current is not None:
            self.warned.add(warned)
            warned.log(namespace, self.registered.current)


class DraftSchemas:
    """The schemas as a draft sees them: those committed, and what the draft itself registers.

    Args:
        registered: What is in force.
    """

    __slots__ = ("registered", "warned")

    def __init__(self, registered: Registered) -> None:
        self.registered = registered
        self.warned = Warned()

    def hold(self, action: Action, id_: str, document: dict[str, Any] | None) -> None:
        """Fill in a document's defaults, in place, and check it.

        Raises:
            ValidationError: it is not as declared, and the mode refuses that.
        """
        guard = self.registered.guard
        if guard is None or document is None or action not in _HELD:
            return
        guard.fill(document, new=action is not Action.UPDATE)
        try:
            guard.check(document)
        except ValidationError as error:
            if guard.mode is not Mode.WARN:
                raise
            self.warned.add(Warned(1, (id_, error)))

    def branch(self) -> DraftSchemas:
        """Return what a branch of the draft starts from."""
        return DraftSchemas(self.registered)

    def merge(self, branch: DraftSchemas) -> None:
        """Take over everything a branch changed."""
        self.registered = branch.registered
        self.warned.add(branch.warned)


def schema_event(version: Version) -> Event:
    """Return the event of a registration."""
    return Event(Action.SCHEMA.value, SCHEMA_ID, version.to_wire())


def prepared_register(operation: Operation) -> Callable[[Draft], Any]:
    """Check a registration and return what decides it.

    `body` is `{"schema": wire form, "mode": ...}`. Of the options, `checked_seq` says up to which seq the existing
    documents are known to pass, and `violation` is the error of one that does not (see `examination`).

    Raises:
        ValidationError: the schema or the mode is not well formed, or the violation.
    """
    schema, mode = _body(operation)
    violation = operation.options.get("violation")
    if isinstance(violation, ParqueDBError):
        raise violation
    checked_seq = operation.options.get("checked_seq")

    def run(draft: Draft) -> dict[str, Any] | None:
        seq = draft.next_seq
        if checked_seq is not None and checked_seq != seq - 1:
            raise ConflictError(
                "documents were written while the existing ones were being checked; register again",
                code=ErrorCode.CONCURRENT_MODIFICATION,
            )
        version = draft.schemas.registered.following(schema, mode, seq, checked=checked_seq is not None)
        if version is not None:
            draft.register(version)
        return answer(draft.schemas.registered)

    return run


def guard_of(operation: Operation) -> Guard:
    """Return the guard that a registration asks for, as strict as its mode; raises like `prepared_register`."""
    schema, mode = _body(operation)
    return Guard(schema, mode)


def _body(operation: Operation) -> tuple[Schema, Mode]:
    body = operation.body
    try:
        schema, mode = Schema.from_wire(body["schema"]), Mode(body["mode"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValidationError(
            field="schema", expected="the wire form of a schema and a mode", actual=f"{type(error).__name__}: {error}"
        ) from error
    return checked(schema), mode


def decide_run(
    run: CreateRun, namespace: str, draft: Draft
) -> tuple[Created | list[Outcome], list[tuple[RequestRecord, Receipt]]]:
    """Decide a run of creates under a schema.

    Returns:
        What `CreateRun.decide` returns where the documents may stay as they are. Else one outcome for each document,
        and what is to be remembered of those that were created.
    """
    guard = draft.schemas.registered.guard
    if guard is None or not _touches(guard, run):
        return run.decide(namespace, draft), []
    outcomes: list[Outcome] = []
    settled: list[tuple[RequestRecord, Receipt]] = []
    created = Created(f"{namespace}/", draft.new_ids(run.count), draft.now, run.sizes, run.encoded, list(run.first))
    session, seq, low, born = run.first
    for at, id_ in enumerate(created.ids):
        document = created.document(at)
        first, own_seq = draft.count, draft.next_seq
        try:
            draft.add(Action.CREATE, id_, document)
        except Exception as error:
            if draft.count != first:
                raise
            outcomes.append(Outcome(error=told(error, namespace, "create")))
            continue
        outcomes.append(Outcome(document, seq=own_seq))
        record = RequestRecord([session, seq + at, low, born], "create", first, 1)
        settled.append((record, Receipt("create", own_seq, document)))
    return outcomes, settled


def _touches(guard: Guard, run: CreateRun) -> bool:
    """Whether the guard fills in or refuses something of a run."""
    end = 0
    for size in run.sizes:
        start, end = end, end + size
        body = decode(memoryview(run.encoded)[start:end])
        try:
            if guard.fill(body, new=True):
                return True
            guard.check(body)
        except Exception:  # noqa: BLE001 - whatever it is, then it matters which document it is of
            return True
    return False

"""What a write does to the documents, decided without I/O: an operation, checked once, then run against a draft.

`prepare` does everything that needs no document (validation, compiling the update) when the operation arrives.
`Prepared.run` decides against the newest state, numbered by the order in which the owner runs it.

Invariants:
    E1. A refused operation leaves the draft as it was.
    E2. A document's version rises by exactly one per event.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from parquedb.actors.requests.operations import MANAGED, Operation
from parquedb.actors.writes.draft import Document, Draft
from parquedb.actors.writes.schemas import REGISTER_BYTES, prepared_register
from parquedb.documents.codec import encode, measure
from parquedb.documents.updates import compile_update
from parquedb.documents.values import TEXT_FIELDS, normalize_sized
from parquedb.errors import (
    AlreadyExistsError,
    EntityNotFoundError,
    InvalidInputError,
    ParqueDBError,
    ValidationError,
    VersionConflictError,
)
from parquedb.storage.keys import check_id, split_id
from parquedb.storage.log.events import Action

BASE_BYTES: Final = 100
"""What an operation costs in the queue beside its document."""

_CREATION: Final = ("$id", "createdAt", "createdBy")
# None of these moves a value to another depth.
_KEEPS_DEPTH: Final = frozenset({"$set", "$unset", "$inc", "$mul", "$min", "$max", "$bit", "$currentDate"})
_ESTIMATE_MAX: Final = 9
"""At most so many times its encoded size is a document's estimated one; see `documents.values.normalize_sized`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What preparing needs to know of the namespace.

    Attributes:
        namespace: Its name; documents are `<namespace>/<id>`.
        document_bytes_max: Estimated size of a document.
        depth_max: Levels of nesting.
    """

    namespace: str
    document_bytes_max: int
    depth_max: int


@dataclass(slots=True)
class Prepared:
    """A checked write, ready to be decided.

    Attributes:
        kind: The operation's kind.
        ids: Bare ids whose committed state it looks at.
        size: Estimated bytes it adds.
        run: Decides against a draft: adds events and returns the answer, or raises the refusal.
    """

    kind: str
    ids: tuple[str, ...]
    size: int
    run: Callable[[Draft], Any]


def prepare(operation: Operation, rules: Rules) -> Prepared:
    """Check a write as far as that goes without its document.

    Raises:
        ValidationError: a document, id or option is of the wrong kind; says what was expected.
        InvalidUpdateError: the update operators are not understood.
        InvalidInputError: not a write.
    """
    if operation.kind not in _PREPARE:
        raise InvalidInputError(f"{operation.kind!r} is not a write; expected one of {', '.join(sorted(_PREPARE))}")
    return _PREPARE[operation.kind](operation, rules)


def _create(operation: Operation, rules: Rules) -> Prepared:
    data, size = _document(operation.body, rules, operation.size)
    own = data.pop("$id", None)
    named = None if own is None else check_id(split_id(own, rules.namespace))
    id_ = named if operation.id is None else check_id(operation.id)
    if named not in (None, id_):
        raise ValidationError(
            "the document's $id is not the id given", field="$id", expected=f"{rules.namespace}/{id_}", actual=own
        )
    by = operation.options.get("actor")

    def run(draft: Draft) -> Document:
        # A fresh id is nobody's. It must not be looked up: no load would ever bring in an id that each try makes anew.
        chosen = id_ or draft.new_ids(1)[0]
        if id_ is not None and draft.current(id_) is not None:
            raise AlreadyExistsError(id=chosen, namespace=rules.namespace)
        document = _born(chosen, data, rules, draft.now, by)
        draft.add(Action.CREATE, chosen, document)
        return document

    return Prepared("create", () if id_ is None else (id_,), size + BASE_BYTES, run)


def _create_many(operation: Operation, rules: Rules) -> Prepared:
    if not isinstance(operation.body, list):
        raise ValidationError(field="docs", expected="a list of documents", actual=type(operation.body).__name__)
    ordered = bool(operation.options.get("ordered", True))
    each = -(-operation.size // max(1, len(operation.body)))
    items: list[Prepared | ParqueDBError] = []
    for body in operation.body:
        try:
            items.append(_create(Operation("create", None, body, operation.options, size=each), rules))
        except ParqueDBError as error:
            items.append(error)
            if ordered:
                break

    def run(draft: Draft) -> dict[str, Any]:
        ids: list[str | None] = []
        errors: list[list[Any]] = []
        # A branch: half of it must not stay behind when a document has yet to be loaded.
        branch = draft.branch()
        for index, item in enumerate(items):
            try:
                if isinstance(item, ParqueDBError):
                    raise item
                ids.append(item.run(branch)["$id"])
            except ParqueDBError as error:
                ids.append(None)
                errors.append([index, error.to_json()])
                if ordered:
                    break
        draft.merge(branch)
        return {"ids": ids, "errors": errors}

    good = [item for item in items if isinstance(item, Prepared)]
    touched = tuple(id_ for item in good for id_ in item.ids)
    return Prepared("create_many", touched, sum(item.size for item in good) + BASE_BYTES, run)


def _update(operation: Operation, rules: Rules) -> Prepared:
    id_, options = _required_id(operation), operation.options
    update = compile_update(operation.body, array_filters=options.get("array_filters"), depth_max=rules.depth_max)
    keeps_form = _keeps_form(operation.body)
    upsert, by = bool(options.get("upsert")), options.get("actor")
    before = options.get("return_document") == "before"

    def run(draft: Draft) -> Document | None:
        found = visible(draft.current(id_))
        if found is None and upsert and options.get("expected_version") is None:
            if draft.current(id_) is not None:
                raise AlreadyExistsError(f"{rules.namespace}/{id_} is deleted; restore it first", id=id_)
            made, _ = _document(update.apply({}, now=draft.now, inserting=True), rules)
            document = _born(id_, made, rules, draft.now, by)
            draft.add(Action.CREATE, id_, document)
            return None if before else document
        found = present(found, id_, options, rules)
        changed = update.apply(found, now=draft.now)
        document = step(draft, id_, found, changed, rules, by=by, keeps_form=keeps_form)
        return found if before else document

    return Prepared("update", (id_,), measure(operation.body) + BASE_BYTES, run)


def _keeps_form(ops: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a compiled update turns any document into one that is well-formed but for its size."""
    if not _KEEPS_DEPTH.issuperset(ops):
        return False
    for fields in ops.values():
        for path in fields:
            # Other top-level names have rules of their own.
            if path[0] == "$" or "\0" in path or not path.isascii() or path.partition(".")[0] in TEXT_FIELDS:
                return False
    return True


def _replace(operation: Operation, rules: Rules) -> Prepared:
    id_, options = _required_id(operation), operation.options
    # A document that came from `get` carries managed fields; replacing with it means its other fields.
    body = operation.body
    if isinstance(body, Mapping):
        body = {name: value for name, value in body.items() if name not in MANAGED}
    data, size = _document(body, rules, operation.size)
    own = data.pop("$id", None)
    if own is not None and split_id(own, rules.namespace) != id_:
        raise ValidationError(
            "$id cannot change: replace got a document with another one",
            field="$id",
            expected=f"{rules.namespace}/{id_}",
            actual=own,
        )

    def run(draft: Draft) -> Document:
        found = present(visible(draft.current(id_)), id_, options, rules)
        kept: Document = {name: found[name] for name in _CREATION if name in found}
        document = _stepped({**kept, **data}, found, draft.now, options.get("actor"))
        draft.add(Action.REPLACE, id_, document)
        return document

    return Prepared("replace", (id_,), size + BASE_BYTES, run)


def _delete(operation: Operation, rules: Rules) -> Prepared:
    id_, options = _required_id(operation), operation.options
    hard, by = bool(options.get("hard")), options.get("actor")

    def run(draft: Draft) -> int:
        found = draft.current(id_)
        seen = found if hard or found is None or "deletedAt" not in found else None
        _check_version(seen, id_, options, rules)
        return delete(draft, id_, seen, hard=hard, by=by)

    return Prepared("delete", (id_,), BASE_BYTES, run)


def _restore(operation: Operation, rules: Rules) -> Prepared:
    id_, options = _required_id(operation), operation.options

    def run(draft: Draft) -> Document:
        found = present(draft.current(id_), id_, options, rules)
        if "deletedAt" not in found:
            return found
        kept = {name: value for name, value in found.items() if name not in ("deletedAt", "deletedBy")}
        document = _stepped(kept, found, draft.now, options.get("actor"))
        draft.add(Action.RESTORE, id_, document)
        return document

    return Prepared("restore", (id_,), BASE_BYTES, run)


def _batch(operation: Operation, rules: Rules) -> Prepared:
    if not isinstance(operation.body, list):
        raise ValidationError(field="batch", expected="a list of operations", actual=type(operation.body).__name__)
    parts = [Operation.from_wire(wire) for wire in operation.body]
    if any(part.kind in ("batch", "create_many") for part in parts):
        raise InvalidInputError("a batch holds single writes, not another batch or create_many")
    steps = [prepare(part, rules) for part in parts]

    def run(draft: Draft) -> list[Any]:
        branch = draft.branch()
        values = []
        for index, step in enumerate(steps):
            try:
                values.append(step.run(branch))
            except ParqueDBError as error:
                context = {**error.context, "batch_index": index}
                raise type(error)(error.message, code=error.code, context=context) from error
        draft.merge(branch)
        return values

    ids = tuple(id_ for step in steps for id_ in step.ids)
    return Prepared("batch", ids, sum(step.size for step in steps) + BASE_BYTES, run)


def _register(operation: Operation, _rules: Rules) -> Prepared:
    return Prepared("register", (), REGISTER_BYTES, prepared_register(operation))


_PREPARE: Final[Mapping[str, Callable[[Operation, Rules], Prepared]]] = {
    "create": _create,
    "create_many": _create_many,
    "update": _update,
    "replace": _replace,
    "delete": _delete,
    "restore": _restore,
    "batch": _batch,
    "register": _register,
}


def step(  # noqa: PLR0913 - a change is all of this
    draft: Draft,
    id_: str,
    found: Document,
    changed: Document,
    rules: Rules,
    *,
    by: str | None,
    keeps_form: bool = False,
) -> Document:
    """Make an update's result the next version of a document, and return that.

    Args:
        draft: Where to.
        id_: Bare id.
        found: The document before.
        changed: And after, with the managed fields still those of `found`. It is taken over.
        rules: What it must keep to.
        by: Who changes it.
        keeps_form: Whether the result can break no rule but that of its size.

    Raises:
        ValidationError: it is larger or deeper than allowed, or not what the schema asks for.
    """
    document, encoded = next_version(found, changed, rules, now=draft.now, by=by, keeps_form=keeps_form)
    draft.add(Action.UPDATE, id_, document, encoded)
    return document


def next_version(  # noqa: PLR0913 - as of `step`
    found: Document, changed: Document, rules: Rules, *, now: datetime, by: str | None = None, keeps_form: bool = False
) -> tuple[Document, bytes]:
    """Return an update's result as the next version of a document, also encoded; see `step`."""
    if not keeps_form:
        _document({name: value for name, value in changed.items() if name not in MANAGED}, rules)
    document = _stepped(changed, found, now, by)
    encoded = encode(document)
    if keeps_form and len(encoded) > rules.document_bytes_max // _ESTIMATE_MAX:
        _document({name: value for name, value in document.items() if name not in MANAGED}, rules)
    return document, encoded


def delete(draft: Draft, id_: str, seen: Document | None, *, hard: bool, by: str | None) -> int:
    """Delete a document as it was seen; return how many that were."""
    if seen is None:
        return 0
    if hard:
        draft.add(Action.REMOVE, id_, None)
    else:
        document = _stepped(dict(seen), seen, draft.now, by)
        document["deletedAt"] = draft.now
        if by is not None:
            document["deletedBy"] = by
        draft.add(Action.DELETE, id_, document)
    return 1


def _document(data: Any, rules: Rules, size: int = 0) -> tuple[Document, int]:
    """Return a checked copy of user data, and its estimated bytes; `size` as in `Operation.size`."""
    if size and isinstance(data, dict):
        if size > rules.document_bytes_max:
            expected = f"a document of at most {rules.document_bytes_max:,} bytes"
            raise ValidationError(field="document", expected=expected, actual=f"about {size} bytes")
        document = dict(data)
    else:
        document, size = normalize_sized(data, bytes_max=rules.document_bytes_max, depth_max=rules.depth_max)
    if not MANAGED.isdisjoint(document):
        name = min(MANAGED.intersection(document))
        raise ValidationError(
            f"{name!r} is set by the database and cannot be given",
            field=name,
            expected="a field of your own",
            actual=name,
        )
    return document, size


def _required_id(operation: Operation) -> str:
    if operation.id is None:
        raise ValidationError(field="id", expected="the id of a document", actual="None")
    return check_id(operation.id)


def _born(id_: str, data: Document, rules: Rules, now: datetime, by: str | None) -> Document:
    document = {"$id": f"{rules.namespace}/{id_}", **data, "version": 1, "createdAt": now, "updatedAt": now}
    if by is not None:
        document["createdBy"] = document["updatedBy"] = by
    return document


def _stepped(changed: Document, before: Document, now: datetime, by: str | None) -> Document:
    """Return `changed` as the next version of `before`."""
    changed["version"] = before["version"] + 1
    changed.setdefault("createdAt", before["createdAt"])
    changed["updatedAt"] = now
    if by is not None:
        changed["updatedBy"] = by
    else:
        changed.pop("updatedBy", None)
    return changed


def visible(found: Document | None) -> Document | None:
    """Return a document unless it has been deleted."""
    return None if found is None or "deletedAt" in found else found


def present(found: Document | None, id_: str, options: Mapping[str, Any], rules: Rules) -> Document:
    """Return a document that is there, at the version the caller expects."""
    _check_version(found, id_, options, rules)
    if found is None:
        raise EntityNotFoundError(id=id_, namespace=rules.namespace)
    return found


def _check_version(found: Document | None, id_: str, options: Mapping[str, Any], rules: Rules) -> None:
    expected = options.get("expected_version")
    actual = None if found is None else found["version"]
    if expected is not None and expected != actual:
        raise VersionConflictError(expected=expected, actual=actual, id=id_, namespace=rules.namespace)

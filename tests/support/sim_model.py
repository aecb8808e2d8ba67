"""What each operation has to do, said once more and independently: a model of documents of a few fields.

A document of the model is a dict of `n`, `tag`, `version`, `deleted` and, where the stored one has them, `mark`,
`level` and `grade`. Models are values: applying an operation returns the changes and leaves the model as it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parquedb.actors.requests.operations import Operation
from parquedb.schemas.source import parse
from tests.support.sim_plans import NAMESPACE

Bare = dict[str, Any]
Change = tuple[str, Bare | None]

FIELDS = ("mark", "level", "grade")
"""Fields that not every document has."""

SCHEMAS: tuple[dict[str, str], ...] = (
    {"n": "int!", "tag": "string!"},
    {"n": "int!", "tag": "string!", "mark": "int"},
    {"n": "int!", "tag": "string!", "mark": "int", "level": "int = 1"},
    {"n": "int!", "tag": "string!", "mark": "float", "level": "int = 1", "grade": "int! = 5"},
)
"""A namespace's schemas, in the order in which they can follow each other."""

SCHEMA_WIRES = [parse(source).to_wire() for source in SCHEMAS]
_MARKS: tuple[tuple[type, ...], ...] = ((object,), (object,), (int,), (int,), (int, float))
"""What `mark` may be under no schema, and under each of them."""


class Refused(Exception):  # noqa: N818 - a verdict of the model, no fault
    """The model refuses an operation: names of the errors that may say so, and the version it saw."""

    def __init__(self, *names: str, actual: int | None = None) -> None:
        super().__init__(*names)
        self.names, self.actual = names, actual


@dataclass(slots=True)
class Model:
    """A namespace.

    Attributes:
        documents: By bare id.
        schema: How many of `SCHEMAS` have been passed; 0 for none.
        registered: Number of registrations.
    """

    documents: dict[str, Bare] = field(default_factory=dict)
    schema: int = 0
    registered: int = 0

    def copy(self) -> "Model":
        return Model(dict(self.documents), self.schema, self.registered)

    def set(self, changes: Sequence[Change]) -> None:
        """Make changes real."""
        for id_, document in changes:
            if document is None:
                self.documents.pop(id_, None)
            else:
                self.documents[id_] = document

    def matching(self, filter_: Mapping[str, Any] | None) -> list[str]:
        """Return the ids of the visible documents that pass a filter, in order."""
        return sorted(
            id_ for id_, one in self.documents.items() if not one["deleted"] and passes(filter_ or {}, id_, one["n"])
        )


def passes(filter_: Mapping[str, Any], id_: str, n: int) -> bool:
    """Whether a document passes one of the filters that the simulation uses."""
    for name, wanted in filter_.items():
        if name == "$id":
            if wanted != f"{NAMESPACE}/{id_}":
                return False
        elif isinstance(wanted, Mapping):
            if n < wanted["$gte"]:
                return False
        elif n != wanted:
            return False
    return True


def bare(document: Mapping[str, Any] | None) -> Bare | None:
    """Return what the model knows of a stored document."""
    if document is None:
        return None
    found = {name: document[name] for name in FIELDS if name in document}
    return {
        "n": document["n"],
        "tag": document["tag"],
        "version": document["version"],
        "deleted": "deletedAt" in document,
        **found,
    }


def apply(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    """Do an operation as the specification says.

    Args:
        operation: What is asked.
        model: The namespace before it.
        fresh: The ids that the database makes for documents without one.

    Returns:
        The changes in order, and the answer as far as it is compared; None where it is not.

    Raises:
        Refused: it has no effect and says so.
    """
    return _APPLY.get(operation.kind, _one)(operation, model, fresh)


def _batch(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    local, changes = model.copy(), []
    for wire in operation.body:
        made, _ = apply(Operation.from_wire(wire), local, fresh)
        changes += made
        local.set(made)
    return changes, None


def _create(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    id_ = operation.id
    if id_ is not None and id_ in model.documents:
        raise Refused("AlreadyExistsError")
    made = _held(_born(operation.body), model.schema, new=True)
    return [(next(fresh) if id_ is None else id_, made)], None


def _create_many(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    local, changes, ids = model.copy(), [], []
    for body in operation.body:
        ids.append(None)
        try:
            made, _ = _create(Operation("create", body["$id"].removeprefix(f"{NAMESPACE}/"), body), local, fresh)
        except Refused:
            if operation.options.get("ordered"):
                break
            continue
        changes += made
        local.set(made)
        ids[-1] = body["$id"]
    return changes, {"ids": ids}


def _load(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    """Load rows in bulk: all or nothing, and each under an id that nobody has."""
    names, changes = [], []
    for row in operation.body["rows"]:
        own = row.get("$id")
        if own in model.documents:
            names.append("AlreadyExistsError")
        try:
            changes.append((next(fresh) if own is None else own, _held(_born(row), model.schema, new=True)))
        except Refused as refused:
            names.extend(refused.names)
    if names:
        raise Refused(*names)
    return changes, {"rows": len(changes)}


def _register(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    number = SCHEMA_WIRES.index(operation.body["schema"]) + 1
    if operation.options.get("validate_existing"):
        for document in model.documents.values():
            _held(document, number, new=None)
    if number == model.schema:
        return [], None
    if number < model.schema:
        raise Refused("SchemaMismatchError")
    return [("", {"schema": number})], None


def _update_many(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    filter_, inserting = operation.options["filter"], operation.options.get("upsert")
    ids = model.matching(filter_)
    if operation.kind == "upsert":
        ids, inserting = ids[:1], True
    changes: list[Change] = [(id_, _updated(operation.body, model.documents[id_], model.schema)) for id_ in ids]
    made = None
    if not ids and inserting:
        named = filter_.get("$id")
        id_ = next(fresh) if named is None else named.removeprefix(f"{NAMESPACE}/")
        if id_ in model.documents:
            raise Refused("AlreadyExistsError")
        start = filter_["n"] if isinstance(filter_.get("n"), int) else 0
        body = {"n": start + operation.body["$inc"]["n"], **operation.body["$set"]}
        changes, made = [(id_, _held(_born(body), model.schema, new=True))], f"{NAMESPACE}/{id_}"
    return changes, {"matched": len(ids), "modified": len(ids), "upserted_id": made}


def _delete_many(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    ids = model.matching(operation.options["filter"])
    if operation.options.get("hard"):
        return [(id_, None) for id_ in ids], len(ids)
    changed = ((id_, model.documents[id_]) for id_ in ids)
    return [(id_, {**one, "version": one["version"] + 1, "deleted": True}) for id_, one in changed], len(ids)


def _one(operation: Operation, model: Model, fresh: Iterator[str]) -> tuple[list[Change], Any]:
    """Change one document that is there."""
    kind, id_, body, options = operation.kind, operation.id or "", operation.body, operation.options
    found = model.documents.get(id_)
    hidden = found is not None and found["deleted"] and kind != "restore" and not options.get("hard")
    shown = None if hidden else found
    expected, actual = options.get("expected_version"), None if shown is None else shown["version"]
    if expected is not None and expected != actual:
        raise Refused("VersionConflictError", actual=actual)
    if shown is None:
        if kind == "delete":
            return [], 0
        raise Refused("EntityNotFoundError")
    if kind == "delete" and options.get("hard"):
        return [(id_, None)], 1
    if kind == "restore" and not shown["deleted"]:
        return [], None
    if kind == "update":
        return [(id_, _updated(body, shown, model.schema))], None
    changed = {**shown, "version": shown["version"] + 1}
    if kind == "replace":
        return [(id_, {**_held(_born(body), model.schema, new=True), "version": changed["version"]})], None
    return [(id_, {**changed, "deleted": kind == "delete"})], 1 if kind == "delete" else None


def _born(body: Mapping[str, Any]) -> Bare:
    found = {name: body[name] for name in FIELDS if name in body}
    return {"n": body["n"], "tag": body["tag"], "version": 1, "deleted": False, **found}


def _updated(body: Mapping[str, Any], before: Bare, schema: int) -> Bare:
    changed = {**before, **body["$set"], "n": before["n"] + body["$inc"]["n"], "version": before["version"] + 1}
    return _held(changed, schema, new=False)


def _held(document: Bare, schema: int, *, new: bool | None) -> Bare:
    """Fill in what a schema says (`new` None: nothing), and refuse what it refuses."""
    filled = dict(document)
    if new and schema >= 3:
        filled.setdefault("level", 1)
    if new is not None and schema >= 4:
        filled.setdefault("grade", 5)
    lacks = schema >= 4 and "grade" not in filled
    if lacks or not isinstance(filled.get("mark", 0), _MARKS[schema]):
        raise Refused("ValidationError")
    return filled


_APPLY = {
    "batch": _batch,
    "create": _create,
    "create_many": _create_many,
    "insert_arrow": _load,
    "register": _register,
    "update_many": _update_many,
    "upsert": _update_many,
    "delete_many": _delete_many,
}

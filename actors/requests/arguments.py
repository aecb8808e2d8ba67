"""The arguments of every public method, checked and turned into an `Operation`.

The sync client, the async client, the raw actor methods and the dict form (`{"op": "create", "data": {...}}`) all come
through here, so that one call means the same everywhere and a mistake is named before anything is sent.
"""

# ruff: noqa: PLR0913 - the arguments are those of the public methods
# ruff: noqa: ARG001 - every builder takes the namespace, so that all are called alike

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parquedb.actors.requests import checks
from parquedb.actors.requests.many_arguments import delete_many, update_many, upsert
from parquedb.actors.requests.operations import Operation, Request
from parquedb.actors.requests.past_arguments import changes, history
from parquedb.actors.requests.read_arguments import aggregate, count, distinct, exists, explain, find, find_one, get
from parquedb.actors.requests.schema_arguments import register, schema
from parquedb.documents.update_shapes import shaped_update
from parquedb.documents.updates import compile_update
from parquedb.documents.values import MANAGED_FIELDS, normalize_sized
from parquedb.errors import ParqueDBError, ValidationError

_RETURN_DOCUMENT = ("after", "before")


def create(
    namespace: str,
    data: Mapping[str, Any],
    *,
    id: str | None = None,  # noqa: A002 - the public name of the argument
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `create`."""
    options = {} if actor is None else checks.given_options(actor=checks.optional_text("actor", actor))
    document, size = normalize_sized(checks.document("data", data))
    return Operation(
        "create", checks.optional_id(namespace, id), document, options, checks.request(request_id), size=size
    )


def create_many(
    namespace: str,
    docs: Sequence[Mapping[str, Any]],
    *,
    ordered: bool = True,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `create_many`."""
    body = [checks.document(f"docs[{index}]", data) for index, data in enumerate(checks.sequence("docs", docs))]
    options = checks.given_options(actor=checks.optional_text("actor", actor))
    if not checks.flag("ordered", ordered):
        options["ordered"] = False
    try:
        pairs = [normalize_sized(data) for data in body]
    except ValidationError:
        # Which of them is wrong is part of the answer, so the owner checks them one by one.
        return Operation("create_many", None, body, options, checks.request(request_id))
    size = sum(size for _, size in pairs)
    return Operation("create_many", None, [data for data, _ in pairs], options, checks.request(request_id), size=size)


def update(
    namespace: str,
    id: str,  # noqa: A002 - the public name of the argument
    ops: Mapping[str, Any],
    *,
    expected_version: int | None = None,
    upsert: bool = False,
    array_filters: Sequence[Mapping[str, Any]] | None = None,
    return_document: str = "after",
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `update`; the operators travel as `compile_update` understands them."""
    document_id, given = checks.document_id(namespace, id), checks.document("ops", ops)
    if return_document not in _RETURN_DOCUMENT:
        checks.refuse("return_document", '"after" or "before"', return_document)
    options: dict[str, Any] = {}
    if expected_version is not None:
        options["expected_version"] = checks.version(expected_version)
    if upsert is not False:
        options |= checks.given_options(upsert=checks.flag("upsert", upsert))
    if return_document != "after":
        options["return_document"] = "before"
    if actor is not None:
        options["actor"] = checks.optional_text("actor", actor)
    shaped = shaped_update(given) if array_filters is None else None
    if shaped is not None:
        return Operation("update", document_id, shaped.ops, options, checks.request(request_id), shaped=shaped)
    compiled = compile_update(given, array_filters=array_filters)
    if compiled.array_filters:
        options["array_filters"] = compiled.array_filters
    return Operation("update", document_id, compiled.ops, options, checks.request(request_id))


def replace(
    namespace: str,
    id: str,  # noqa: A002 - the public name of the argument
    data: Mapping[str, Any],
    *,
    expected_version: int | None = None,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `replace`."""
    options = checks.given_options(
        expected_version=checks.version(expected_version), actor=checks.optional_text("actor", actor)
    )
    # A document that came from `get` carries what the database set; replacing with it means its other fields.
    given = {name: value for name, value in checks.document("data", data).items() if name not in MANAGED_FIELDS}
    document, size = normalize_sized(given)
    return Operation(
        "replace", checks.document_id(namespace, id), document, options, checks.request(request_id), size=size
    )


def delete(
    namespace: str,
    id: str,  # noqa: A002 - the public name of the argument
    *,
    hard: bool = False,
    expected_version: int | None = None,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `delete`."""
    options = checks.given_options(
        hard=checks.flag("hard", hard),
        expected_version=checks.version(expected_version),
        actor=checks.optional_text("actor", actor),
    )
    return Operation("delete", checks.document_id(namespace, id), None, options, checks.request(request_id))


def restore(
    namespace: str,
    id: str,  # noqa: A002 - the public name of the argument
    *,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `restore`."""
    options = checks.given_options(actor=checks.optional_text("actor", actor))
    return Operation("restore", checks.document_id(namespace, id), None, options, checks.request(request_id))


def batch(
    namespace: str,
    operations: Sequence[Mapping[str, Any]],
    *,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `batch`: single-document writes in dict form, all or nothing."""
    wires = []
    for index, item in enumerate(checks.sequence("operations", operations)):
        operation = parse(namespace, item, at=f"operations[{index}]")
        if operation.kind not in _SINGLE_WRITES:
            checks.refuse(
                f"operations[{index}].op", f"one of {', '.join(sorted(_SINGLE_WRITES))}", operation.kind, shown=True
            )
        if operation.request is not None:
            checks.refuse(
                f"operations[{index}].request_id", "no request_id inside a batch (the batch has one)", "a request id"
            )
        wires.append(operation.to_wire())
    return Operation(
        "batch",
        None,
        wires,
        checks.given_options(actor=checks.optional_text("actor", actor)),
        checks.request(request_id),
    )


BUILDERS: Mapping[str, Callable[..., Operation]] = {
    builder.__name__: builder
    for builder in (
        *(create, create_many, update, replace, delete, restore, batch),
        *(get, exists, find, find_one, count, distinct, aggregate, explain),
        *(update_many, delete_many, upsert),
        *(register, schema),
        *(history, changes),
    )
}
# Made once: it would take longer than all the checks together.
_SIGNATURES = {name: inspect.signature(builder) for name, builder in BUILDERS.items()}
_SINGLE_WRITES = frozenset({"create", "update", "replace", "delete", "restore"})


def parse(namespace: str, item: Mapping[str, Any] | Operation, *, at: str = "operation") -> Operation:
    """Read one operation in dict form: `op` names the method, the other keys are its arguments.

    Args:
        namespace: The namespace it is for.
        item: Such a dict, or an `Operation`, which is returned as it is.
        at: Where the item stands in the caller's arguments, for the message.

    Raises:
        ValidationError: not such a dict, or an argument is missing, unknown or of the wrong kind.
    """
    if isinstance(item, Operation):
        return item
    if not isinstance(item, Mapping):
        checks.refuse(at, 'a dict such as {"op": "create", "data": {...}}', item)
    arguments = dict(item)
    name = arguments.pop("op", None)
    builder = BUILDERS.get(name) if isinstance(name, str) else None
    if builder is None:
        checks.refuse(f"{at}.op", f"one of {', '.join(sorted(BUILDERS))}", name, shown=True)
    try:
        _SIGNATURES[builder.__name__].bind(namespace, **arguments)
    except TypeError as error:
        raise ValidationError(f"{at}: {name}: {error}", field=at, expected=f"the arguments of {name}") from None
    try:
        return builder(namespace, **arguments)
    except ParqueDBError as error:
        error.add_note(f"in {at}")
        raise


def check_timeout(timeout_s: float | None, default_s: float) -> float:
    """Return the seconds a call may take.

    Raises:
        ValidationError: not a positive, finite number.
    """
    if timeout_s is None:
        return default_s
    # `0 < x < inf` is false for NaN as well.
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s < float("inf"):
        checks.refuse("timeout_s", "a positive number of seconds", timeout_s)
    return float(timeout_s)

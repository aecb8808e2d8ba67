"""The arguments of every public method, checked and turned into an `Operation`.

The sync client, the async client, the raw actor methods and the dict form (`{"op": "create", "data": {...}}`) all come
through here, so that one call means the same everywhere and a mistake is named before anything is sent.
"""

# ruff: noqa: PLR0913 - the arguments are those of the public methods
# ruff: noqa: ARG001 - every builder takes the namespace, so that all are called alike

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from parquedb.actors.operations import Operation, Request
from parquedb.documents.values import MANAGED_FIELDS, normalize_sized
from parquedb.errors import ParqueDBError, ValidationError
from parquedb.storage.keys import check_id, split_id

FIND_LIMIT = 100
FIND_LIMIT_MAX = 10_000
BATCH_ITEMS_MAX = 10_000
REQUEST_ID_CHARS_MAX = 512

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
    options = {} if actor is None else _options(actor=_optional_text("actor", actor))
    document, size = normalize_sized(_document("data", data))
    return Operation("create", _optional_id(namespace, id), document, options, _request(request_id), size=size)


def create_many(
    namespace: str,
    docs: Sequence[Mapping[str, Any]],
    *,
    ordered: bool = True,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `create_many`."""
    body = [_document(f"docs[{index}]", data) for index, data in enumerate(_sequence("docs", docs))]
    options = _options(actor=_optional_text("actor", actor))
    if not _flag("ordered", ordered):
        options["ordered"] = False
    try:
        pairs = [normalize_sized(data) for data in body]
    except ValidationError:
        # Which of them is wrong is part of the answer, so the owner checks them one by one.
        return Operation("create_many", None, body, options, _request(request_id))
    size = sum(size for _, size in pairs)
    return Operation("create_many", None, [data for data, _ in pairs], options, _request(request_id), size=size)


def get(
    namespace: str,
    id: str,  # noqa: A002 - the public name of the argument
    *,
    include_deleted: bool = False,
    fields: Sequence[str] | None = None,
) -> Operation:
    """Check the arguments of `get`."""
    options = _options(include_deleted=_flag("include_deleted", include_deleted), fields=_fields(fields))
    return Operation("get", _id(namespace, id), None, options)


def find(
    namespace: str,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 - the public name of the argument
    *,
    limit: int = FIND_LIMIT,
    cursor: str | None = None,
    fields: Sequence[str] | None = None,
    include_deleted: bool = False,
) -> Operation:
    """Check the arguments of `find`."""
    options = _options(
        filter=_filter(filter),
        cursor=_optional_text("cursor", cursor),
        fields=_fields(fields),
        include_deleted=_flag("include_deleted", include_deleted),
    )
    if type(limit) is not int or not 1 <= limit <= FIND_LIMIT_MAX:
        _refuse("limit", "an int from 1 to 10 000", limit)
    options["limit"] = limit
    return Operation("find", None, None, options)


def count(
    namespace: str,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 - the public name of the argument
    *,
    include_deleted: bool = False,
) -> Operation:
    """Check the arguments of `count`."""
    options = _options(filter=_filter(filter), include_deleted=_flag("include_deleted", include_deleted))
    return Operation("count", None, None, options)


def update(
    namespace: str,
    id: str,  # noqa: A002 - the public name of the argument
    ops: Mapping[str, Any],
    *,
    expected_version: int | None = None,
    upsert: bool = False,
    return_document: str = "after",
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `update`."""
    if return_document not in _RETURN_DOCUMENT:
        _refuse("return_document", '"after" or "before"', return_document)
    options = _options(
        expected_version=_version(expected_version),
        upsert=_flag("upsert", upsert),
        return_document="before" if return_document == "before" else None,
        actor=_optional_text("actor", actor),
    )
    return Operation("update", _id(namespace, id), _document("ops", ops), options, _request(request_id))


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
    options = _options(expected_version=_version(expected_version), actor=_optional_text("actor", actor))
    # A document that came from `get` carries what the database set; replacing with it means its other fields.
    given = {name: value for name, value in _document("data", data).items() if name not in MANAGED_FIELDS}
    document, size = normalize_sized(given)
    return Operation("replace", _id(namespace, id), document, options, _request(request_id), size=size)


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
    options = _options(
        hard=_flag("hard", hard),
        expected_version=_version(expected_version),
        actor=_optional_text("actor", actor),
    )
    return Operation("delete", _id(namespace, id), None, options, _request(request_id))


def restore(
    namespace: str,
    id: str,  # noqa: A002 - the public name of the argument
    *,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `restore`."""
    options = _options(actor=_optional_text("actor", actor))
    return Operation("restore", _id(namespace, id), None, options, _request(request_id))


def batch(
    namespace: str,
    operations: Sequence[Mapping[str, Any]],
    *,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `batch`: single-document writes in dict form, all or nothing."""
    wires = []
    for index, item in enumerate(_sequence("operations", operations)):
        operation = parse(namespace, item, at=f"operations[{index}]")
        if operation.kind not in _SINGLE_WRITES:
            _refuse(
                f"operations[{index}].op", f"one of {', '.join(sorted(_SINGLE_WRITES))}", operation.kind, shown=True
            )
        if operation.request is not None:
            _refuse(
                f"operations[{index}].request_id", "no request_id inside a batch (the batch has one)", "a request id"
            )
        wires.append(operation.to_wire())
    return Operation("batch", None, wires, _options(actor=_optional_text("actor", actor)), _request(request_id))


BUILDERS: Mapping[str, Callable[..., Operation]] = {
    builder.__name__: builder
    for builder in (create, create_many, get, find, count, update, replace, delete, restore, batch)
}
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
        _refuse(at, 'a dict such as {"op": "create", "data": {...}}', item)
    arguments = dict(item)
    name = arguments.pop("op", None)
    builder = BUILDERS.get(name) if isinstance(name, str) else None
    if builder is None:
        _refuse(f"{at}.op", f"one of {', '.join(sorted(BUILDERS))}", name, shown=True)
    try:
        inspect.signature(builder).bind(namespace, **arguments)
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
        _refuse("timeout_s", "a positive number of seconds", timeout_s)
    return float(timeout_s)


def _refuse(field: str, expected: str, actual: object, *, shown: bool = False) -> NoReturn:
    # Values may be secret or huge: numbers and names of operations are shown, the rest is named by its type.
    number = isinstance(actual, int | float) and not isinstance(actual, bool)
    got = repr(actual)[:80] if number or (shown and isinstance(actual, str)) else type(actual).__name__
    raise ValidationError(f"{field}: expected {expected}, got {got}", field=field, expected=expected, actual=got)


def _options(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value is not False}


def _id(namespace: str, value: object) -> str:
    if type(value) is not str:
        _refuse("id", "a str", value)
    return check_id(split_id(value, namespace))


def _optional_id(namespace: str, value: object) -> str | None:
    return None if value is None else _id(namespace, value)


def _document(field: str, value: object) -> dict[str, Any]:
    if type(value) is dict:
        return value
    if not isinstance(value, Mapping):
        _refuse(field, "a dict", value)
    return dict(value)


def _filter(value: object) -> dict[str, Any] | None:
    return None if value is None else _document("filter", value) or None


def _sequence(field: str, value: object) -> Sequence[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        _refuse(field, "a list", value)
    if len(value) > BATCH_ITEMS_MAX:
        _refuse(field, f"at most {BATCH_ITEMS_MAX} items", len(value))
    return value


def _fields(value: object) -> list[str] | None:
    if value is None:
        return None
    names = _sequence("fields", value)
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name:
            _refuse(f"fields[{index}]", "the name of a field", name)
    return list(names)


def _flag(field: str, value: object) -> bool:
    if value is not True and value is not False:
        _refuse(field, "True or False", value)
    return value


def _version(value: object) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        _refuse("expected_version", "an int of at least 1", value)
    return value


def _optional_text(field: str, value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        _refuse(field, "a str that is not empty", value)
    return value


def _request(value: Request | None) -> Request | None:
    if value is None or isinstance(value, tuple):
        return value
    if not isinstance(value, str) or not 0 < len(value) <= REQUEST_ID_CHARS_MAX:
        _refuse("request_id", f"a str of 1 to {REQUEST_ID_CHARS_MAX} characters", value)
    return value

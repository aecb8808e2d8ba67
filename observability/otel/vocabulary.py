"""The words of spans: how operations are named, which attributes they have, and what is said of those that failed.

Source:
    OpenTelemetry semantic conventions, "Database client spans" (stable); `parquedb.*` attributes are ours.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from parquedb.errors import AlreadyExistsError, ETagMismatchError, ObjectNotFoundError, ParqueDBError
from parquedb.observability.brief import Kind
from parquedb.observability.contexts import CommitResult, MutationResult, QueryResult, StorageResult
from parquedb.observability.otel.lean_span import SpanTemplate

DB_SYSTEM: Final = "parquedb"
LINKS_MAX: Final = 128
"""Links on one span; the SDK's own default limit, beyond which it would drop the first ones."""

_RETURNED_ROWS: Final = "db.response.returned_rows"  # Not stable, so not among the stable names.
_SEVERAL = frozenset({"execute", "batch", "create_many", "insert_arrow", "get_many", "import_file"})
"""Operations whose names say already that they are several."""

_LOCAL_BACKENDS = frozenset({"local", "memory"})
# Answers that a caller asks for on purpose: the span says so, and is no failed one.
_ANSWERS: Final[Mapping[type[BaseException], str]] = {
    ObjectNotFoundError: "not_found",
    AlreadyExistsError: "exists",
    ETagMismatchError: "changed",
}


def call_template(operation: str, namespace: str, side: str, actor: str) -> SpanTemplate:
    """Return what the spans of an operation of callers have in common; for its name see `call_name`."""
    attributes = _database(namespace) | {db.DB_OPERATION_NAME: operation}
    if actor:
        attributes["parquedb.actor"] = actor
    kind = SpanKind.CLIENT if side == "client" else SpanKind.SERVER
    return SpanTemplate(f"{operation} {namespace}", kind, attributes)


def call_name(operation: str, *, several: bool) -> str:
    """Return the name of an operation of callers; `several` says whether it carries some that are alike."""
    return f"BATCH {operation}" if several and operation not in _SEVERAL else operation


def attempt_template(operation: str, namespace: str, actor: str) -> SpanTemplate:
    """Return what the spans of attempts have in common."""
    call = call_template(operation, namespace, "client", actor)
    return SpanTemplate(f"{call.name} attempt", SpanKind.INTERNAL, call.attributes)


def commit_template(namespace: str) -> SpanTemplate:
    """Return what the spans of commits have in common."""
    return own_template("commit", namespace)


def own_template(what: str, namespace: str) -> SpanTemplate:
    """Return what the spans of something that an owner does by itself have in common."""
    attributes = _database(namespace) | {db.DB_OPERATION_NAME: what}
    return SpanTemplate(f"{what} {namespace}", SpanKind.INTERNAL, attributes)


def storage_template(operation: str, backend: str, namespace: str) -> SpanTemplate:
    """Return what the spans of a call to the store have in common."""
    kind = SpanKind.INTERNAL if backend in _LOCAL_BACKENDS else SpanKind.CLIENT
    attributes = {
        "parquedb.storage.operation": operation,
        "parquedb.storage.backend": backend or None,
        "parquedb.namespace": namespace or None,
    }
    return SpanTemplate(f"storage.{operation}", kind, known(attributes))


def template_of(kind: Kind) -> SpanTemplate:
    """Return what the spans of operations have in common that are told in brief."""
    if kind.group == "storage":
        return storage_template(kind.operation, kind.backend, kind.namespace)
    if kind.group == "commit":
        made = commit_template(kind.namespace)
        told = {"parquedb.commit.kind": kind.operation, "parquedb.actor": kind.actor or None}
        return SpanTemplate(made.name, made.kind, {**made.attributes, **known(told)})
    name = call_name(kind.operation, several=kind.several)
    return call_template(name, kind.namespace, kind.side, kind.actor)


def attribute_of(group: str, name: str) -> str:
    """Return the attribute of one of the `names` or `words` of a kind."""
    return _BRIEF[group, name]


def _database(namespace: str) -> dict[str, Any]:
    # A namespace is both: the collection that is named and the unit that is owned.
    return {db.DB_SYSTEM_NAME: DB_SYSTEM, db.DB_NAMESPACE: namespace, db.DB_COLLECTION_NAME: namespace}


def known(attributes: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not known; OpenTelemetry has no None."""
    return {name: value for name, value in attributes.items() if value is not None}


# The span has its own duration; a second one would only disagree.
_RESULTS: Final[Mapping[type, tuple[tuple[str, str], ...]]] = {
    kind: tuple((field.name, f"{prefix}.{field.name}") for field in fields(kind) if field.name not in left_out)
    for kind, prefix, left_out in (
        (QueryResult, "parquedb.result", ("duration_s", "rows")),
        (MutationResult, "parquedb.result", ("duration_s",)),
        (CommitResult, "parquedb.commit", ("duration_s",)),
        (StorageResult, "parquedb.storage.response", ("duration_s",)),
    )
}

_BRIEF: Final[Mapping[tuple[str, str], str]] = {
    **{("query", field): name for field, name in _RESULTS[QueryResult]},
    **{("mutation", field): name for field, name in _RESULTS[MutationResult]},
    **{("commit", field): name for field, name in _RESULTS[CommitResult]},
    **{("commit", field): f"parquedb.commit.{field}" for field in ("epoch", "position", "writes", "bytes")},
    **{("storage", field): name for field, name in _RESULTS[StorageResult]},
    **{(group, "batch_size"): db.DB_OPERATION_BATCH_SIZE for group in ("query", "mutation", "commit")},
    # Rows of a query have a name of OpenTelemetry's, and one that was not given.
    ("query", "rows"): _RETURNED_ROWS,
    ("storage", "key"): "parquedb.storage.key",
    ("storage", "sent"): "parquedb.storage.request.bytes",
    ("storage", "start"): "parquedb.storage.range.start",
    ("storage", "length"): "parquedb.storage.range.length",
}


BOOLEANS: Final = frozenset({"parquedb.result.cached", "parquedb.storage.response.cached"})
"""Those of the numbers that only say yes or no."""


def result_attributes(result: object) -> dict[str, Any]:
    """Return what a result says as attributes."""
    attributes: dict[str, Any] = {}
    for field, name in _RESULTS[type(result)]:
        value = getattr(result, field)
        if value is not None:
            attributes[name] = value
    if type(result) is QueryResult and result.rows is not None:
        attributes[_RETURNED_ROWS] = result.rows
    return attributes


def mark_failed(span: Span, error: BaseException, *, of_storage: bool) -> bool:
    """Say on a span that its operation failed, or that the store's answer was a no; return which of both it was.

    The span still has to be ended.
    """
    answer = _ANSWERS.get(type(error)) if of_storage else None
    if answer is not None:
        span.set_attribute("parquedb.storage.answer", answer)
        return False
    span.set_attribute(ERROR_TYPE, type(error).__name__)
    if isinstance(error, ParqueDBError) and not of_storage:
        span.set_attribute(db.DB_RESPONSE_STATUS_CODE, str(error.code.value))
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
    return True

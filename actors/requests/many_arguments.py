"""The arguments of writes by filter, checked and turned into an `Operation`."""

# ruff: noqa: PLR0913 - the arguments are those of the public methods

from collections.abc import Mapping, Sequence
from typing import Any

from parquedb.actors.requests import checks
from parquedb.actors.requests.operations import Operation, Request
from parquedb.documents.filters import compile_filter
from parquedb.documents.updates import compile_update


def update_many(
    namespace: str,  # noqa: ARG001 - every builder takes the namespace, so that all are called alike
    filter: Mapping[str, Any] | None,  # noqa: A002 - the public name of the argument
    ops: Mapping[str, Any],
    *,
    array_filters: Sequence[Mapping[str, Any]] | None = None,
    upsert: bool = False,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `update_many`."""
    options = checks.given_options(
        filter=checks.filter_document(filter),
        upsert=checks.flag("upsert", upsert),
        actor=checks.optional_text("actor", actor),
    )
    return _updating("update_many", ops, array_filters, options, request_id)


def delete_many(
    namespace: str,  # noqa: ARG001 - as above
    filter: Mapping[str, Any] | None,  # noqa: A002 - as above
    *,
    hard: bool = False,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `delete_many`."""
    options = checks.given_options(
        filter=checks.filter_document(filter),
        hard=checks.flag("hard", hard),
        actor=checks.optional_text("actor", actor),
    )
    return Operation("delete_many", None, None, options, checks.request(request_id))


def upsert(
    namespace: str,  # noqa: ARG001 - as above
    filter: Mapping[str, Any] | None,  # noqa: A002 - as above
    ops: Mapping[str, Any],
    *,
    array_filters: Sequence[Mapping[str, Any]] | None = None,
    actor: str | None = None,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `upsert`."""
    options = checks.given_options(filter=checks.filter_document(filter), actor=checks.optional_text("actor", actor))
    return _updating("upsert", ops, array_filters, options, request_id)


def _updating(
    kind: str,
    ops: Mapping[str, Any],
    array_filters: Sequence[Mapping[str, Any]] | None,
    options: dict[str, Any],
    request_id: Request | None,
) -> Operation:
    given = checks.document("ops", ops)
    matched_by = compile_filter(options.get("filter"))
    compiled = compile_update(given, array_filters=array_filters, matched_by=matched_by)
    if compiled.array_filters:
        options["array_filters"] = compiled.array_filters
    return Operation(kind, None, compiled.ops, options, checks.request(request_id))

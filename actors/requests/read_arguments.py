"""The arguments of every public method that reads, checked and turned into an `Operation`; see `arguments`."""

# ruff: noqa: PLR0913 - the arguments are those of the public methods
# ruff: noqa: ARG001 - every builder takes the namespace, so that all are called alike
# ruff: noqa: A002 - `id` and `filter` are the public names of arguments

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from parquedb.actors.requests import checks
from parquedb.actors.requests.operations import Operation
from parquedb.documents.aggregation import STAGES_MAX, parse_pipeline
from parquedb.documents.budget import Budget
from parquedb.documents.distinct import Distinct
from parquedb.documents.filters import plain
from parquedb.documents.sorting import parse_sort

QUERY_PLANNER: Final = "queryPlanner"
EXECUTION_STATS: Final = "executionStats"

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 10_000
SKIP_MAX: Final = 100_000

AsOf = int | datetime
"""A point of the past: the seq of the last change that counts, or a time."""

Fields = Sequence[str] | Mapping[str, Any]
"""A projection: fields to include, or a dict of fields to include (1) or to exclude (0)."""

SortSpec = str | Sequence[Any] | Mapping[str, int]
"""An order: `"-age"`, `["name", "-age"]`, `{"name": 1, "age": -1}` or `[("name", 1), ("age", -1)]`."""


def get(
    namespace: str, id: str, *, include_deleted: bool = False, as_of: AsOf | None = None, fields: Fields | None = None
) -> Operation:
    """Check the arguments of `get`."""
    options = {}
    if include_deleted is not False or as_of is not None or fields is not None:
        options = checks.given_options(
            include_deleted=checks.flag("include_deleted", include_deleted),
            as_of=checks.as_of(as_of),
            fields=checks.projection(fields),
        )
    return Operation("get", checks.document_id(namespace, id), None, options)


def exists(namespace: str, id: str, *, include_deleted: bool = False, as_of: AsOf | None = None) -> Operation:
    """Check the arguments of `exists`."""
    options = checks.given_options(
        include_deleted=checks.flag("include_deleted", include_deleted), as_of=checks.as_of(as_of)
    )
    return Operation("exists", checks.document_id(namespace, id), None, options)


def find(
    namespace: str,
    filter: Mapping[str, Any] | None = None,
    *,
    sort: SortSpec | None = None,
    limit: int = LIMIT_DEFAULT,
    skip: int = 0,
    cursor: str | None = None,
    fields: Fields | None = None,
    include_deleted: bool = False,
    as_of: AsOf | None = None,
    total: bool = False,
) -> Operation:
    """Check the arguments of `find`."""
    options = _selection(filter, sort, fields, include_deleted=include_deleted, as_of=as_of)
    options["limit"] = checks.whole_number("limit", limit, 1, LIMIT_MAX)
    options |= checks.given_options(
        skip=checks.whole_number("skip", skip, 0, SKIP_MAX) or None,
        cursor=checks.optional_text("cursor", cursor),
        total=checks.flag("total", total),
    )
    if skip and cursor is not None:
        checks.refuse("skip", "0 beside a cursor, which already says where to begin", skip)
    return Operation("find", None, None, options)


def find_one(
    namespace: str,
    filter: Mapping[str, Any] | None = None,
    *,
    sort: SortSpec | None = None,
    fields: Fields | None = None,
    include_deleted: bool = False,
    as_of: AsOf | None = None,
) -> Operation:
    """Check the arguments of `find_one`."""
    return Operation(
        "find_one", None, None, _selection(filter, sort, fields, include_deleted=include_deleted, as_of=as_of)
    )


def count(
    namespace: str, filter: Mapping[str, Any] | None = None, *, include_deleted: bool = False, as_of: AsOf | None = None
) -> Operation:
    """Check the arguments of `count`."""
    options = checks.given_options(
        filter=checks.filter_document(filter),
        include_deleted=checks.flag("include_deleted", include_deleted),
        as_of=checks.as_of(as_of),
    )
    return Operation("count", None, None, options)


def explain(
    namespace: str,
    filter: Mapping[str, Any] | None = None,
    *,
    operation: str = "find",
    verbosity: str = EXECUTION_STATS,
    sort: SortSpec | None = None,
    limit: int = LIMIT_DEFAULT,
    skip: int = 0,
    fields: Fields | None = None,
    include_deleted: bool = False,
    as_of: AsOf | None = None,
) -> Operation:
    """Check the arguments of `explain`."""
    if verbosity not in {QUERY_PLANNER, EXECUTION_STATS}:
        checks.refuse("verbosity", f"{QUERY_PLANNER!r} or {EXECUTION_STATS!r}", verbosity, shown=True)
    if operation == "count":
        if sort is not None or skip or fields is not None or limit != LIMIT_DEFAULT:
            checks.refuse("operation", "'find' beside sort, limit, skip or fields", operation, shown=True)
        asked = count(namespace, filter, include_deleted=include_deleted, as_of=as_of)
    elif operation == "find":
        asked = find(
            namespace,
            filter,
            sort=sort,
            limit=limit,
            skip=skip,
            fields=fields,
            include_deleted=include_deleted,
            as_of=as_of,
        )
    else:
        checks.refuse("operation", "'find' or 'count'", operation, shown=True)
    return Operation("explain", None, None, {**asked.options, "operation": operation, "verbosity": verbosity})


def distinct(
    namespace: str,
    field: str,
    filter: Mapping[str, Any] | None = None,
    *,
    include_deleted: bool = False,
    as_of: AsOf | None = None,
) -> Operation:
    """Check the arguments of `distinct`."""
    Distinct(field, Budget(0))
    options = checks.given_options(
        field=field,
        filter=checks.filter_document(filter),
        include_deleted=checks.flag("include_deleted", include_deleted),
        as_of=checks.as_of(as_of),
    )
    return Operation("distinct", None, None, options)


def aggregate(
    namespace: str, pipeline: Sequence[Mapping[str, Any]], *, include_deleted: bool = False, as_of: AsOf | None = None
) -> Operation:
    """Check the arguments of `aggregate`."""
    if isinstance(pipeline, str | bytes | Mapping) or not isinstance(pipeline, Sequence):
        checks.refuse("pipeline", "a list of stages", pipeline)
    if len(pipeline) > STAGES_MAX:
        checks.refuse("pipeline", f"at most {STAGES_MAX} stages", len(pipeline))
    stages = plain(pipeline, "pipeline")
    parse_pipeline(stages)
    options = checks.given_options(
        include_deleted=checks.flag("include_deleted", include_deleted), as_of=checks.as_of(as_of)
    )
    return Operation("aggregate", None, None, {"pipeline": stages, **options})


def _selection(
    filter: Mapping[str, Any] | None,
    sort: SortSpec | None,
    fields: Fields | None,
    *,
    include_deleted: bool,
    as_of: AsOf | None,
) -> dict[str, Any]:
    return checks.given_options(
        filter=checks.filter_document(filter),
        sort=parse_sort(sort).to_wire() or None,
        fields=checks.projection(fields),
        include_deleted=checks.flag("include_deleted", include_deleted),
        as_of=checks.as_of(as_of),
    )

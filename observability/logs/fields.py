"""What a record of ours carries besides its message: the names that formatters, views and alerts go by.

Each is an attribute of the `logging.LogRecord`, given by `extra={...}` or put there from the context of the operation
(`parquedb.observability.logs.context`). A field that is not known is absent, never None.

    event        what happened, in words that do not change: `owner.opened`, `commit.unknown`, ...
    namespace    the namespace it is about
    operation    `create`, `find`, ...; in an owner `execute`, or what it does by itself: `commit`, `flush`, `compact`
    request_id   of the write, or of the application's own request where that has bound one
    trace_id     32 hexadecimal digits, of the active span
    span_id      16 hexadecimal digits, of the active span
    duration     seconds that it took
    error        the exception that it is about, and from then on its `to_json` data; `exc_info` wins, and adds stacks

Any other attribute that `extra` adds is a fact of that one event, such as `epoch` or `rows`. `traceparent` names the
span that the record is about, where another one is active or none; it becomes `trace_id` and `span_id`.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from parquedb.errors.plain import text_of

EVENT: Final = "event"
NAMESPACE: Final = "namespace"
OPERATION: Final = "operation"
REQUEST_ID: Final = "request_id"
TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
DURATION: Final = "duration"
ERROR: Final = "error"

TRACEPARENT: Final = "traceparent"
PREPARED: Final = "parquedb_prepared"
"""Marks a record that has its context and has lost its secrets; holds the hash of the template it had before."""

CONTEXT_FIELDS: Final = (NAMESPACE, OPERATION, REQUEST_ID, TRACE_ID, SPAN_ID)
"""What the context of an operation puts on a record that does not say it by itself."""

FIELDS: Final = (EVENT, *CONTEXT_FIELDS, DURATION, ERROR)
"""The fields with a meaning of their own, in the order in which they are shown."""

# What `logging` itself puts on a record; `message` and `asctime` are left by formatters, `taskName` is of Python 3.12.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", PREPARED}


def facts_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return everything that `extra` or the context put on a record, by name; the fields above come first.

    Names that begin with an underscore are others' bookkeeping (Ray stamps every record of its processes).
    """
    extra = {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and value is not None and not name.startswith("_")
    }
    return {name: extra[name] for name in FIELDS if name in extra} | extra


def template_of(record: logging.LogRecord) -> int:
    """Return what records of one template have in common, whatever their arguments; never raises."""
    try:
        return hash(record.msg)
    except Exception:  # noqa: BLE001 - applications log dicts and objects of their own as well
        return hash(text_of(record.msg))

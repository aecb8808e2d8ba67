"""Python's log records on their way into the worker logs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from parquedb.observability.logs.fields import ERROR, facts_of
from parquedb.observability.worker_logs.rows import exception_fields

OWN_LOGGERS = "parquedb.observability.worker_logs"


class WorkerLogsHandler(logging.Handler):
    """Hands records to a view. Never blocks, and never raises: what cannot become a row is counted.

    Left out is what the view itself logs, and everything logged by the thread that stores the rows: one flush would
    give rise to the next, for ever.

    Args:
        ingest: Takes a record as a dict.
        reject: Counts one that could not be taken.
        own_thread: Tells the identity of the thread that stores the rows.
        level: Least severe level that is taken.
    """

    def __init__(
        self,
        ingest: Callable[[dict[str, Any]], object],
        reject: Callable[[], None],
        own_thread: Callable[[], int | None],
        level: int | str = logging.NOTSET,
    ) -> None:
        super().__init__(level)
        self._ingest = ingest
        self._reject = reject
        self._own_thread = own_thread

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record in."""
        try:
            if record.thread == self._own_thread() or record.name.startswith(OWN_LOGGERS):
                return
            self._ingest(fields_of(record))
        except Exception:  # noqa: BLE001 - whoever logs must not suffer from it
            self._reject()


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return a log record as a record of the worker logs; what `extra` added and has no column becomes attributes."""
    fields = dict(facts_of(record))
    fields["log_time"] = record.created
    fields["level"] = record.levelname
    fields["logger"] = record.name
    fields["message"] = _message(record)
    error = fields.pop(ERROR, None)
    if isinstance(error, Mapping):
        # Prepared already: plain data, without secrets, where `exc_info` may still hold some.
        fields |= _of_prepared(error)
    elif record.exc_info and record.exc_info[1] is not None:
        fields |= exception_fields(record.exc_info[1])
    elif isinstance(error, BaseException):
        fields |= {"exception": type(error).__name__, "exception_message": str(error)}
    elif error is not None:
        fields["exception"] = str(error)
    return fields


def _of_prepared(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns for an error in the form of `ParqueDBError.to_json`; its code and context are attributes."""
    rest = {name: value for name, value in error.items() if name not in {"name", "message", "stack"}}
    fields = {
        "exception": error.get("name", "Exception"),
        "exception_message": error.get("message"),
        "stack": error.get("stack"),
    }
    return fields | {ERROR: rest} if rest else fields


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit, or that cannot be shown
        return f"{record.msg!s} (its arguments do not fit: {sys.exc_info()[1]})"

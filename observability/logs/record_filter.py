"""What every record of ours passes before any handler sees it, the application's own included."""

import logging
from typing import Any

from parquedb.errors import ParqueDBError
from parquedb.errors.plain import text_of
from parquedb.observability.logs.context import context_fields
from parquedb.observability.logs.fields import ERROR, PREPARED, TRACEPARENT, facts_of, template_of
from parquedb.observability.logs.redaction import MASK, Redactor, redactor

_TEXT = logging.Formatter()


class RecordFilter(logging.Filter):
    """Adds the context to a record and takes the secrets out of it; lets every record pass.

    `error` becomes `ParqueDBError.to_json` data, with stacks where there was an `exc_info`. An `exc_info` that quotes a
    secret is replaced by its redacted text (`exc_text`), for what handlers make of the exception is out of our hands.
    """

    def __init__(self, hiding: Redactor = redactor) -> None:
        super().__init__()
        self._redactor = hiding

    def filter(self, record: logging.LogRecord) -> bool:
        """Prepare a record, once; never raises, for it runs inside what is being logged."""
        if PREPARED not in vars(record):
            vars(record)[PREPARED] = template_of(record)
            try:
                self._prepare(record)
            except Exception as problem:  # noqa: BLE001 - a log line is lost rather than a secret or an operation
                record.msg, record.args = "a record could not be prepared: %s", (type(problem).__name__,)
                record.exc_info = record.exc_text = None
                for name in facts_of(record):
                    del vars(record)[name]
        return True

    def _prepare(self, record: logging.LogRecord) -> None:
        given, hide = vars(record), self._redactor
        for name, value in context_fields(given.pop(TRACEPARENT, None)).items():
            if given.get(name) is None:
                given[name] = value
        if isinstance(record.args, dict):
            record.args = hide.argument(record.args)
        elif record.args:
            record.args = tuple(map(hide.argument, record.args))
        # The whole message and not its parts: in "password=%s" only both together are a secret.
        message = text_of(record.getMessage())
        shown = hide.text(message)
        if shown != message:
            record.msg, record.args = shown, None
        self._prepare_error(record)
        for name, value in facts_of(record).items():
            if name != ERROR:
                given[name] = MASK if hide.is_secret(name) else hide.value(value)

    def _prepare_error(self, record: logging.LogRecord) -> None:
        given = vars(record)
        raised = record.exc_info[1] if record.exc_info else None
        error = given.get(ERROR) if raised is None else raised
        if error is None:
            return
        if not isinstance(error, BaseException):
            given[ERROR] = self._redactor.value(error)
            return
        plain = error_facts(error, stack=raised is not None)
        given[ERROR] = self._redactor.value(plain)
        if record.exc_info and given[ERROR] != plain:
            record.exc_text = self._redactor.text(_TEXT.formatException(record.exc_info))
            record.exc_info = None


def error_facts(error: BaseException, *, stack: bool) -> dict[str, Any]:
    """Return any exception in the form of `ParqueDBError.to_json`; one of another library has `name` and `message`."""
    if isinstance(error, ParqueDBError):
        return error.to_json(stack=stack)
    facts: dict[str, Any] = ParqueDBError("-", cause=error).to_json(stack=stack).get("cause", {})
    return facts or {"name": type(error).__name__, "message": text_of(error)}

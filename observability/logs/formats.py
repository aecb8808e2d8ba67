"""How a record is written: for people on a terminal, or as one JSON object per line for machines."""

import logging
import re
from datetime import UTC, datetime
from typing import Final

import orjson

from parquedb.errors.plain import jsonable, text_of
from parquedb.observability.logs.fields import ERROR, EVENT, NAMESPACE, SPAN_ID, facts_of
from parquedb.observability.logs.record_filter import RecordFilter

LINE_BYTES_MAX: Final = 256 * 1024
"""Size of a line of JSON; of a record that is larger only the fields that every record has are kept."""

# A newline in a document's id must not look like the next record, nor an escape sequence reach a terminal.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSHOWN = frozenset({EVENT, ERROR, SPAN_ID})
_prepare = RecordFilter()


class JsonFormatter(logging.Formatter):
    """One JSON object per line.

    `timestamp` (UTC, ISO 8601), `level`, `logger`, `message` and `pid` are always there; then the fields of
    `parquedb.observability.logs.fields` that are known, and whatever else the record carries.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        _prepare.filter(record)
        always = {
            "timestamp": _timestamp(record, "microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "pid": record.process,
        }
        facts = facts_of(record)
        try:
            line = orjson.dumps({**always, **facts, **always})
        except TypeError:  # What was prepared is JSON data; somebody has added to it since.
            line = orjson.dumps({**always, **jsonable(facts), **always})
        if len(line) > LINE_BYTES_MAX:
            line = orjson.dumps({**always, "truncated": True})
        return line.decode()


class ConsoleFormatter(logging.Formatter):
    """Lines for people: time, level, logger, process, message, and what else is known as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the lines of a stack where there is one."""
        _prepare.filter(record)
        message = _CONTROLS.sub(_escaped, _message(record))
        time = _timestamp(record, "milliseconds")
        line = f"{time} {record.levelname} {record.name} [{record.process}] {message}"
        for name, value in facts_of(record).items():
            shown = _CONTROLS.sub(_escaped, f"{value:.3f}" if isinstance(value, float) else str(value))
            if name not in _UNSHOWN and not (name == NAMESPACE and shown in message):
                line += f" {name}={shown}"
        return line + self._error_lines(record)

    def _error_lines(self, record: logging.LogRecord) -> str:
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            return "\n" + "\n".join(_CONTROLS.sub(_escaped, line) for line in record.exc_text.splitlines())
        error = vars(record).get(ERROR)
        if not isinstance(error, dict):
            return ""
        text = text_of(error.get("message", ""))
        code = f" error={error.get('code') or error.get('name')}"
        return code if text in record.getMessage() else f"{code}: {_CONTROLS.sub(_escaped, text)}"


def _timestamp(record: logging.LogRecord, precision: str) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    return text_of(record.getMessage())


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()

"""One row of the worker logs: its columns, and how records of many shapes become rows of exact types.

A *record* is a dict with some of the `COLUMNS` below (`timestamp` may stand for `log_time`); what else it holds becomes
`attributes`. A record with `logs` or `exceptions` describes an *event*, one invocation of a worker, and gives a row for
each of its lines, or one row of kind `event` where it has none; so every event can be counted.

Source: the rows are those that ParqueDB for Workers keeps of Cloudflare's tail events, with our context fields.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

TEXT_COLUMNS: Final = (
    "kind", "event_id", "script", "worker", "level", "logger", "event", "message", "outcome",
    "exception", "exception_message", "stack", "http_method", "http_url",
    "namespace", "operation", "request_id", "trace_id", "span_id", "attributes",
)  # fmt: skip
"""Columns of text, in the order of a row; `attributes` is a JSON object."""

TIME_COLUMNS: Final = ("event_time", "log_time")
NUMBER_COLUMNS: Final = ("http_status", "duration")
COLUMNS: Final = ("id", *TIME_COLUMNS, *TEXT_COLUMNS, *NUMBER_COLUMNS)

EVENT_TIME, LOG_TIME, FIRST_TEXT = 0, 1, len(TIME_COLUMNS)
OUTCOME_AT: Final = FIRST_TEXT + TEXT_COLUMNS.index("outcome")
LEVEL_AT: Final = FIRST_TEXT + TEXT_COLUMNS.index("level")
SCRIPT_AT: Final = FIRST_TEXT + TEXT_COLUMNS.index("script")

TEXT_CHARS_MAX: Final = 32_768
"""Characters of one text; what is beyond is cut off, and `...` says so."""

LINES_MAX: Final = 10_000
"""Lines of one event that become rows."""

ROW_BYTES: Final = 640
"""What a row takes in memory besides its texts: the tuple, two ints, the heads of a dozen texts."""

Row = tuple[Any, ...]
"""The values of `COLUMNS` without `id`: times as microseconds since 1970 (UTC), texts, status, seconds; or None."""

Redact = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Takes a record about to become a row and returns what may be stored of it."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_MIN: Final = -62_135_596_800_000_000
_MICROS_MAX: Final = 253_402_300_799_999_999
_TIMES: Final = frozenset({*TIME_COLUMNS, "timestamp"})
_KNOWN: Final = frozenset({*COLUMNS, "timestamp", "logs", "exceptions"}) - {"id"}
_STATUS_MAX: Final = 2**31 - 1

LEVELS: Final[dict[Any, str]] = {
    "DEBUG": "DEBUG", "INFO": "INFO", "WARNING": "WARNING", "ERROR": "ERROR", "CRITICAL": "CRITICAL",
    "debug": "DEBUG", "info": "INFO", "log": "INFO", "warn": "WARNING", "warning": "WARNING", "error": "ERROR",
    "critical": "CRITICAL", "fatal": "CRITICAL", "trace": "DEBUG",
    10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL",
}  # fmt: skip
"""What the levels of Python, of JavaScript's console and of syslog-like libraries are called here."""


class RowMaker:
    """Makes rows of records.

    Args:
        script: Name of the program, for records that bring none.
        worker: Name of this process, likewise.
        redact: Applied to every record first; None stores records as they are.
    """

    def __init__(self, script: str, worker: str, redact: Redact | None = None) -> None:
        self._script = script
        self._worker = worker
        self._redact = redact

    def rows(self, record: Mapping[str, Any], now_micros: int) -> list[tuple[Row, int]]:
        """Return the rows of a record, each with the bytes it takes in memory.

        Args:
            record: See the module; never changed.
            now_micros: The time for records that bring none.

        Raises:
            Exception: what `redact` raised; then nothing of the record may be stored.
        """
        if "logs" in record or "exceptions" in record:
            return [self._row(line, now_micros) for line in lines_of_event(record)]
        return [self._row(record, now_micros)]

    def _row(self, record: Mapping[str, Any], now: int) -> tuple[Row, int]:
        if self._redact is not None:
            record = self._redact(dict(record))
        get = record.get
        log_time = get("log_time")
        if log_time is None:
            log_time = get("timestamp")
        event_time = get("event_time")
        at = now if log_time is None else micros_of(log_time)
        since = at if event_time is None else micros_of(event_time)
        texts = [get(name) for name in TEXT_COLUMNS]
        if not _KNOWN.issuperset(record) or texts[_ATTRIBUTES] is not None:
            texts[_ATTRIBUTES] = _attributes(record)
        if at is None or since is None:
            texts[_ATTRIBUTES] = _attributes(record, _TIMES)
            at = now if at is None else at
            since = at if since is None else since
        level = texts[_LEVEL]
        texts[_LEVEL] = LEVELS.get(level) or _level(level)
        if texts[_KIND] is None:
            texts[_KIND] = "log"
        if texts[_OUTCOME] is None:
            texts[_OUTCOME] = "ok" if texts[_EXCEPTION] is None else "exception"
        if texts[_SCRIPT] is None:
            texts[_SCRIPT] = self._script
        if texts[_WORKER] is None:
            texts[_WORKER] = self._worker
        size = _size(texts)
        if not 0 <= size <= TEXT_CHARS_MAX:
            attributes = texts[_ATTRIBUTES]
            texts = [_text(value) for value in texts]
            if attributes is not None and len(attributes) > TEXT_CHARS_MAX:
                # What was cut would be no JSON.
                texts[_ATTRIBUTES] = orjson.dumps({"truncated": attributes[: TEXT_CHARS_MAX // 8]}).decode()
            size = max(0, _size(texts))
        return (since, at, *texts, _status(get("http_status")), _seconds(get("duration"))), ROW_BYTES + size


_KIND, _EVENT_ID, _SCRIPT, _WORKER, _LEVEL = (
    TEXT_COLUMNS.index(name) for name in ("kind", "event_id", "script", "worker", "level")
)
_OUTCOME, _EXCEPTION, _ATTRIBUTES = (TEXT_COLUMNS.index(name) for name in ("outcome", "exception", "attributes"))


def lines_of_event(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a record for each line (`logs`) and each exception (`exceptions`) of an event; itself, where it has none.

    A line is a record of its own, and what it does not say, the event says. At most `LINES_MAX` of them.
    """
    common = {name: value for name, value in event.items() if name not in {"logs", "exceptions"}}
    logs, exceptions = (
        [line if isinstance(line, Mapping) else {"message": str(line)} for line in _listed(event.get(name))]
        for name in ("logs", "exceptions")
    )
    if "event_time" not in common and "timestamp" in common:
        common["event_time"] = common.pop("timestamp")
    if not logs and not exceptions:
        yield {"kind": "event", **common}
        return
    for number, line in enumerate([*logs, *exceptions]):
        if number == LINES_MAX:
            return
        if number < len(logs):
            yield {**common, "kind": "log", **line}
            continue
        named = {"exception": line.get("name", "Error"), "exception_message": line.get("message")}
        rest = {name: value for name, value in line.items() if name != "name"}
        yield {**common, "kind": "exception", "level": "ERROR", "outcome": "exception", **named, **rest}


def micros_of(value: Any) -> int | None:
    """Return a moment as microseconds since 1970 in UTC: a datetime (a naive one is UTC), Unix seconds, or ISO text.

    None for what is no moment of the years 1 to 9999.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        since = (value if value.tzinfo is not None else value.replace(tzinfo=UTC)) - _EPOCH
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MICROS_MAX:
        micros = round(value * 1_000_000)
    else:
        return None
    return micros if _MICROS_MIN <= micros <= _MICROS_MAX else None


def exception_fields(error: BaseException) -> dict[str, str]:
    """Return the columns that tell of an exception, its stack included."""
    stack = "".join(traceback.format_exception(error)) if error.__traceback__ is not None else None
    fields = {"exception": type(error).__name__, "exception_message": str(error)}
    return fields if stack is None else {**fields, "stack": stack}


def _listed(lines: object) -> Iterable[Any]:
    return lines if isinstance(lines, list | tuple) else () if lines is None else (lines,)


def _attributes(record: Mapping[str, Any], also: Iterable[str] = ()) -> str | None:
    given = record.get("attributes")
    facts = dict(given) if isinstance(given, Mapping) else {} if given is None else {"attributes": given}
    facts |= {name: value for name, value in record.items() if name not in _KNOWN or name in also}
    if not facts:
        return None
    try:
        return orjson.dumps(facts, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # Too deep, an int of more than 64 bits, half of a surrogate pair.
        shown = {ascii(name): ascii(value)[:TEXT_CHARS_MAX] for name, value in facts.items()}
        return orjson.dumps(shown).decode()


def _level(level: Any) -> str:
    if level is None:
        return "INFO"
    text = str(level)[:32].upper()
    return LEVELS.get(text.lower(), text)


def _size(texts: list[Any]) -> int:
    """Return the bytes of the texts at most; below 0 where one is no text that can be stored."""
    try:
        joined = "".join([text for text in texts if text is not None])
        if joined.isascii():
            return len(joined)
        joined.encode()
    except (TypeError, UnicodeEncodeError):
        return -1
    return 4 * len(joined)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = (value if isinstance(value, str) else str(value)).encode(errors="replace").decode()
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 3] + "..."


def _status(value: Any) -> int | None:
    if type(value) is int and 0 <= value <= _STATUS_MAX:
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) <= 3 else None  # noqa: PLR2004


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None  # noqa: PLR2004

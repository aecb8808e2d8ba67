"""Lines for people and for machines; whatever a record holds, it stays one line."""

import json
import logging

import pytest

from parquedb.errors import VersionConflictError
from parquedb.observability.logs.formats import LINE_BYTES_MAX, ConsoleFormatter, JsonFormatter
from tests.observability.logs.kept import fresh_logger, raised


def logged(message: str, *args: object, **extra: object) -> logging.LogRecord:
    logger, kept = fresh_logger()
    logger.warning(message, *args, extra=extra)
    record = kept.records[0]
    record.created, record.process, record.name = 1_700_000_000.25, 4711, "parquedb.actors.engine"
    return record


def test_a_json_line_has_the_fields_of_the_specification():
    conflict = VersionConflictError(expected=1, actual=2)
    record = logged(
        "slow %s", "create", namespace="posts", operation="create", request_id="r", duration=1.5, error=conflict, rows=3
    )
    assert json.loads(JsonFormatter().format(record)) == {
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "level": "WARNING",
        "logger": "parquedb.actors.engine",
        "message": "slow create",
        "pid": 4711,
        "namespace": "posts",
        "operation": "create",
        "request_id": "r",
        "duration": 1.5,
        "error": conflict.to_json(),
        "rows": 3,
    }


@pytest.mark.parametrize(
    "value",
    [float("nan"), 2**70, b"\xff", {1: {2}}, {"deep": [object()]}, "\ud800", "two\nlines", None, [[[[["x"]]]]]],
    ids=["nan", "large", "bytes", "set", "object", "surrogate", "lines", "none", "deep"],
)
def test_any_value_makes_one_line_of_json(value):
    line = JsonFormatter().format(logged("odd %s", value, odd=value))
    assert "\n" not in line
    assert json.loads(line)["logger"] == "parquedb.actors.engine"


def test_a_field_cannot_take_the_place_of_what_every_record_has():
    found = json.loads(JsonFormatter().format(logged("true", level="FORGED", timestamp="never", logger="x")))
    assert (found["level"], found["logger"]) == ("WARNING", "parquedb.actors.engine")
    assert found["timestamp"] != "never"


def test_a_line_that_would_be_huge_keeps_what_every_record_has():
    line = JsonFormatter().format(logged("huge %s", "x" * 10**6, rows=["y" * 1000] * 1000))
    found = json.loads(line)
    assert len(line) < LINE_BYTES_MAX
    assert found["truncated"] is True
    assert found["message"].startswith("huge xxx")


def test_a_console_line_says_what_is_known():
    record = logged("namespace %s: slow", "posts", namespace="posts", duration=1.5, trace_id="ab", event="x.y")
    assert ConsoleFormatter().format(record) == (
        "2023-11-14T22:13:20.250Z WARNING parquedb.actors.engine [4711] namespace posts: slow "
        "trace_id=ab duration=1.500"
    )


def test_a_console_line_names_the_code_of_an_error_and_does_not_repeat_it():
    conflict = VersionConflictError(expected=1, actual=2)
    assert ConsoleFormatter().format(logged("refused: %s", conflict, error=conflict)).endswith("error=VERSION_CONFLICT")
    assert f"error=VERSION_CONFLICT: {conflict}" in ConsoleFormatter().format(logged("refused", error=conflict))


def test_text_of_users_forges_no_console_line():
    line = ConsoleFormatter().format(logged("id %s", "a\n2023 ERROR forged\x1b[31m\u2028", id="b\r\nc"))
    assert line.count("\n") == 0
    assert "\x1b" not in line
    assert "a\\n2023 ERROR forged\\x1b[31m\\u2028" in line


def test_a_stack_follows_its_console_line():
    logger, kept = fresh_logger()
    logger.error("failed", exc_info=raised(ValueError("broken")))
    lines = ConsoleFormatter().format(kept.records[0]).splitlines()
    assert lines[0].endswith("failed")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: broken"


def test_a_record_of_the_application_is_written_as_well():
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, "password=%s", ("hunter2",), None)
    found = json.loads(JsonFormatter().format(record))
    assert (found["logger"], found["message"]) == ("shop", "password=***")

"""An application says once how ParqueDB logs; nothing outside our tree notices."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from parquedb.errors import ConfigurationError
from parquedb.observability.logs import get_logger
from parquedb.observability.logs.configuration import LogHandler, configure_logging
from tests.observability.logs.kept import Kept


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture(autouse=True)
def undone():
    yield
    configure_logging(stream=io.StringIO())()
    assert not any(isinstance(handler, LogHandler) for handler in get_logger().handlers)


def test_records_are_written_in_the_asked_form_at_the_asked_level(stream):
    configure_logging("WARNING", format="json", stream=stream)
    get_logger("storage").info("too little")
    get_logger("storage").warning("slow", extra={"namespace": "posts"})
    [line] = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["logger"], found["message"], found["namespace"]) == ("parquedb.storage", "slow", "posts")


def test_a_part_of_the_tree_may_have_its_own_level(stream):
    configure_logging("ERROR", levels={"storage": "DEBUG", "actors.engine": "INFO"}, stream=stream)
    get_logger("storage.backends.s3").debug("1")
    get_logger("actors.engine").info("2")
    get_logger("actors.writer").warning("no")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["1", "2"]


def test_the_environment_decides_what_the_arguments_do_not(stream, monkeypatch):
    monkeypatch.setenv("PARQUEDB_LOG_LEVEL", "error")
    monkeypatch.setenv("PARQUEDB_LOG_FORMAT", "JSON")
    monkeypatch.setenv("PARQUEDB_LOG_LEVELS", "cluster=debug, storage.log=INFO")
    monkeypatch.setenv("PARQUEDB_LOG_REDACT", "ssn,diagnosis")
    configure_logging(stream=stream)
    get_logger("actors").warning("no")
    get_logger("cluster.link").debug("found %s", {"ssn": "078", "n": 1})
    assert json.loads(stream.getvalue())["message"] == "found {'ssn': ***, 'n': 1}"


def test_it_replaces_what_it_set_up_before_and_can_be_undone(stream):
    other, level = io.StringIO(), get_logger().level
    configure_logging(stream=other)
    undo = configure_logging(stream=stream)
    get_logger().warning("once")
    undo()
    undo()
    get_logger().warning("nobody hears this")
    assert (stream.getvalue().count("once"), other.getvalue()) == (1, "")
    assert get_logger().level == level
    assert get_logger().propagate


def test_the_root_logger_is_left_alone(stream):
    root = logging.getLogger()
    before = (list(root.handlers), root.level, list(root.filters))
    configure_logging(stream=stream)
    logging.getLogger("shop").warning("mine")
    assert (list(root.handlers), root.level, list(root.filters)) == before
    assert stream.getvalue() == ""


def test_with_root_the_applications_records_are_written_too_and_none_twice(stream):
    undo = configure_logging(format="json", stream=stream, root=True)
    logging.getLogger("shop").info("mine")
    get_logger("storage").info("ours")
    undo()
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["mine", "ours"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_with_root_an_application_may_log_what_it_likes(stream, log_format):
    undo = configure_logging(root=True, stream=stream, format=log_format)
    logging.getLogger("app").warning({"cart": 7})
    undo()
    assert "cart" in stream.getvalue()


def test_what_is_written_here_is_not_passed_on_to_the_root_logger_until_it_is_undone(stream):
    above = Kept()
    logging.getLogger().addHandler(above)
    try:
        undo = configure_logging(stream=stream)
        get_logger("storage").warning("ours")
        undo()
        get_logger("storage").warning("anybody's")
    finally:
        logging.getLogger().removeHandler(above)
    assert above.messages == ["anybody's"]


def test_repeats_are_told_at_the_latest_when_it_is_undone(stream, monkeypatch):
    monkeypatch.setenv("PARQUEDB_LOG_REPEATS_MAX", "3")
    undo = configure_logging(stream=stream)
    for _ in range(10):
        get_logger("storage").warning("refused")
    undo()
    assert [line.partition("] ")[2] for line in stream.getvalue().splitlines()] == [
        *["refused"] * 3,
        "repeated 7 times: refused repeats=7",
    ]


def test_what_was_held_back_is_told_when_the_program_ends():
    program = (
        "from parquedb.observability.logs import get_logger\n"
        "from parquedb.observability.logs.configuration import configure_logging\n"
        "configure_logging()\n"
        "for _ in range(15): get_logger('x').warning('refused')\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60, env=environ)
    assert "repeated 5 times: refused" in done.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PARQUEDB_LOG_LEVEL", "LOUD", "expected 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
        ("PARQUEDB_LOG_FORMAT", "xml", "expected 'console' or 'json'"),
        ("PARQUEDB_LOG_LEVELS", "storage=LOUD", "expected 'DEBUG'"),
        ("PARQUEDB_LOG_LEVELS", "=DEBUG", 'such as "storage=DEBUG"'),
        ("PARQUEDB_LOG_REDACT", "card.number", "expected plain names of fields"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        configure_logging()
    assert name in str(caught.value)
    assert message in str(caught.value)

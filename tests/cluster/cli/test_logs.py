"""`parquedb logs`, run as a user runs it: what it prints, how it ends, and that it needs storage only."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from parquedb.cluster.cli.logs import line_of
from parquedb.cluster.cli.main import main
from parquedb.cluster.cli.times import moment
from parquedb.cluster.cli.wording import clean
from parquedb.errors import InvalidInputError
from parquedb.observability.worker_logs.view import WorkerLogsView
from parquedb.storage.worker_logs import open_worker_logs

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
COMMAND = [sys.executable, "-m", "parquedb.cluster.cli", "logs"]
NOW = datetime.now(UTC)

RECORDS: list[dict[str, Any]] = [
    {"message": "yesterday's news", "level": "INFO", "event_time": NOW - timedelta(days=2)},
    {"message": "opened", "level": "INFO", "namespace": "posts", "duration": 0.25},
    {"message": "sold out", "level": "WARNING", "request_id": "r1", "script": "shop"},
    {"message": "GET /", "level": "INFO", "http_method": "GET", "http_status": 500, "trace_id": "ab" * 16},
    {
        "message": "it broke",
        "level": "ERROR",
        "exception": "ValueError",
        "exception_message": "no such item",
        "stack": "Traceback:\n  here\nValueError: no such item",
    },
]


@pytest.fixture
def place(tmp_path: Path) -> str:
    url = str(tmp_path / "logs")
    with open_worker_logs(url, script="job", worker="here:1") as view:
        view.ingest([{"event_time": NOW + timedelta(milliseconds=at)} | record for at, record in enumerate(RECORDS)])
    return url


def run(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=ENVIRONMENT | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_the_newest_rows_come_oldest_first_a_line_each_and_exceptions_below(place: str) -> None:
    code, lines, told = run(place, "--limit", "4")
    assert (code, told) == (0, "")
    assert lines[0] == f"{NOW + timedelta(milliseconds=1):%Y-%m-%d %H:%M:%S.%f}"[:-3] + (
        " INFO     job opened  namespace=posts duration=0.25s"
    )
    assert lines[1].endswith(" WARNING  shop sold out  request_id=r1")
    assert lines[2].endswith(f" GET /  trace_id={'ab' * 16} http_method=GET http_status=500")
    assert lines[3].endswith(" ERROR    job it broke")
    assert lines[4:] == ["    ValueError: no such item"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--level", "warning"], ["sold out", "it broke"]),
        (["--level", "CRITICAL"], []),
        (["--since", "1d"], ["opened", "sold out", "GET /", "it broke"]),
        (["--until", "1d"], ["yesterday's news"]),
        (["--since", "3d", "--until", f"{NOW:%Y-%m-%dT%H:%M:%S.%f}"], ["yesterday's news"]),
        (["--script", "shop"], ["sold out"]),
        (["--namespace", "posts"], ["opened"]),
        (["--request-id", "r1"], ["sold out"]),
        (["--trace-id", "ab" * 16], ["GET /"]),
        (["--outcome", "exception"], ["it broke"]),
        (["--grep", "no such|^sold"], ["sold out", "it broke"]),
        (["--grep", "sold", "--level", "ERROR"], []),
    ],
)
def test_rows_must_pass_every_filter_and_the_exit_code_says_whether_one_does(
    place: str, filters: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", place, "--json", *filters]) == (0 if expected else 1)
    told = capsys.readouterr()
    assert [json.loads(line)["message"] for line in told.out.splitlines()] == expected
    assert told.err == ""


def test_stacks_are_shown_when_asked_for(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", place, "--level", "error", "--stacks"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["    Traceback:", "      here", "    ValueError: no such item"]


def test_statistics_count_a_time_by_level_outcome_script_and_exception(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", place, "--stats", "--since", "1d", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["rows"] == 4
    assert counted["by_level"] == {"INFO": 2, "WARNING": 1, "ERROR": 1}
    assert main(["logs", place, "--stats"]) == 0
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert words[0][:3] == ["5", "rows", "from"]
    assert ["INFO", "3", "60.0%"] in words
    assert ["ValueError", "1", "20.0%"] in words
    assert main(["logs", place, "--stats", "--since", "2000-01-01", "--until", "2000-01-02"]) == 1


def test_where_nobody_says_otherwise_the_logs_are_those_of_the_environment(place: str) -> None:
    code, lines, _ = run("--script", "shop", environment={"PARQUEDB_WORKER_LOGS": place})
    assert (code, len(lines)) == (0, 1)
    code, _, told = run()
    assert code == 2
    assert "expected the URL of the logs: as an argument, or in PARQUEDB_WORKER_LOGS" in told


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--since", "soon"], "--since: expected an age such as 30s"),
        (["--grep", "("], "INVALID_FILTER"),
        (["--stats", "--level", "INFO"], "--stats counts all rows of a time"),
        (["--follow", "--until", "1h"], "--follow has no end"),
    ],
)
def test_what_cannot_be_asked_exits_with_2_and_says_why(
    place: str, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", place, *arguments]) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert told.out == ""


def test_a_place_that_is_not_there_or_empty_exits_with_2_and_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", str(tmp_path / "nowhere")]) == 2
    assert "cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    assert main(["logs", str(tmp_path)]) == 2
    assert "no logs are stored in" in capsys.readouterr().err


def test_following_shows_the_last_rows_and_then_each_one_that_is_stored_until_it_is_interrupted(place: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, place, "--follow", "--limit", "1", "--level", "WARNING", "--json"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        seen = [json.loads(process.stdout.readline())["message"]]
        with open_worker_logs(place) as view:
            for number in range(3):
                view.ingest([{"message": f"late {number}", "level": "ERROR"}, {"message": "quiet", "level": "INFO"}])
                view.flush()
                seen.append(json.loads(process.stdout.readline())["message"])
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert seen == ["it broke", "late 0", "late 1", "late 2"]
    assert process.stdout.read() == ""
    assert process.stderr.read() == "parquedb: interrupted\n"


def test_it_starts_no_ray_and_a_reader_who_has_seen_enough_is_no_error(place: str) -> None:
    code = "import sys; from parquedb.cluster.cli.main import main; main(); print('ray' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "logs", place],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
    with open_worker_logs(place) as view:
        view.ingest({"message": "x" * 1000} for _ in range(2000))
    reading = subprocess.Popen(
        [*COMMAND, place, "--limit", "2000"], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert reading.stdout is not None
    assert reading.stderr is not None
    reading.stdout.readline()
    reading.stdout.close()
    assert reading.stderr.read() == b""
    assert reading.wait(60) == 2


def test_a_terminal_gets_colours_by_level_and_nothing_that_it_would_obey() -> None:
    row = {
        "event_time": NOW,
        "level": "ERROR",
        "script": "s\x1b]0;owned\x07",
        "kind": "log",
        "message": "two\nlines \x1b[2J [bold]not ours[/] \u202e",
    }
    screen = Console(file=StringIO(), force_terminal=True, color_system="standard", width=200, highlight=False)
    screen.print(line_of(row))
    assert isinstance(screen.file, StringIO)
    shown = screen.file.getvalue()
    assert "\x1b[31m ERROR " in shown
    assert "s\\x1b]0;owned\\x07" in shown
    assert "two\n    lines \\x1b[2J [bold]not ours[/] \\u202e" in shown


def test_a_gap_and_an_event_without_a_message_are_lines_too() -> None:
    row = {"event_time": NOW, "level": "INFO", "script": "edge", "kind": "event"}
    assert line_of(row).plain.endswith("edge event")
    assert line_of(row | {"event": "owner.opened"}).plain.endswith("edge owner.opened")


def test_times_are_ages_or_of_iso_8601_and_utc() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert moment("90m", "--since", now) == datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
    assert moment("2w", "--since", now) == datetime(2026, 2, 15, 12, tzinfo=UTC)
    assert moment("2026-02-03", "--since", now) == datetime(2026, 2, 3, tzinfo=UTC)
    assert moment("2026-02-03T04:05+02:00", "--since", now) == datetime(2026, 2, 3, 2, 5, tzinfo=UTC)
    assert moment(None, "--since", now) is None
    with pytest.raises(InvalidInputError):
        moment("999999999w", "--since", now)


def test_text_that_can_be_printed_stays_as_it_is() -> None:
    assert clean("Grüße, 世界\n\tend") == "Grüße, 世界\n\tend"


def test_the_view_that_only_reads_is_refused_a_missing_directory_at_the_first_question(tmp_path: Path) -> None:
    view: WorkerLogsView = open_worker_logs(str(tmp_path / "missing"), read_only=True)
    with pytest.raises(Exception, match="cannot be used"):
        view.find()
    view.close()

"""The `parquedb` command as a whole: reading its line, exit codes, errors, and what starting it costs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parquedb.cluster.cli.main import ended, main
from parquedb.cluster.cli.terminal import output, page_width
from parquedb.cluster.cli.work import Work
from parquedb.errors import NetworkError
from tests.cluster.cli.conftest import Run

NAMES = (
    *("demo", "serve", "status", "health", "verify", "query", "import", "export"),
    *("namespaces", "compact", "metrics", "logs", "usage", "keys"),
)


def test_help_names_the_sub_commands(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    assert all(f" {name} " in done.out for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_sub_command_has_help_with_an_example(name: str, run: Run) -> None:
    words = [name, "list"] if name == "keys" else [name]
    done = run(*words, "--help")
    assert done.code == 0
    assert f"Usage: parquedb {' '.join(words)}" in done.out
    assert "For example:" in done.out
    assert f"\n parquedb {' '.join(words)}" in done.out
    assert "--json" in done.out


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"demo", "keys"}))
def test_the_first_argument_is_the_url(name: str, run: Run) -> None:
    first = run(name, "--help").out.split("─ Arguments ─")[1].splitlines()[1]
    assert " URL " in first


@pytest.mark.parametrize("name", ["query", "import", "export"])
def test_where_something_has_to_follow_the_url_it_cannot_be_left_out(name: str, run: Run) -> None:
    done = run(name)
    assert done.code == 2
    assert "Missing argument 'URL'" in done.err


def test_the_version_needs_no_sub_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("parquedb 0.")


@pytest.mark.parametrize("words", [["query", "--help"], ["no-such-command"]], ids=" ".join)
def test_help_and_refusals_wait_for_no_heavy_library(words: list[str]) -> None:
    code = (
        "import sys; from parquedb.cluster.cli.main import main; main(sys.argv[1:]);"
        "heavy = {'ray', 'pyarrow', 'numpy', 'opentelemetry', 'httpx', 'fastapi'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing command."),
        (["lgos"], "Did you mean 'logs'?"),
        (["demo", "--flights", "0"], "Invalid value for '--flights'"),
        (["verify", "--fast"], "No such option: --fast"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_what_is_wrong(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    first, usage, more = told.err.splitlines()
    assert first.startswith("parquedb: INVALID_INPUT: ")
    assert said in first
    assert usage.startswith("usage: parquedb")
    assert more.endswith("--help` says more")


def test_an_error_is_one_line_or_one_json_object_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "nowhere")]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("parquedb: ")
    code = told.err.split(": ")[1]
    for words in (["verify", str(tmp_path / "nowhere"), "--json"], ["verify", "--json", "--fast"]):
        assert main(words) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert json.loads(told.err)["code"] == ("INVALID_INPUT" if "--fast" in words else code)


def test_a_dash_in_the_place_of_the_url_is_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARQUEDB_URL", str(tmp_path / "of-the-environment"))
    for words in (["verify"], ["verify", "-"], ["verify", "-", "posts"]):
        assert main(words) == 2
        assert "of-the-environment" in capsys.readouterr().err


def failing(error: BaseException) -> Callable[[], Work]:
    """Return a command line whose work ends so."""

    def work() -> bool:
        raise error

    return lambda: work


def test_what_nobody_foresaw_exits_with_2_and_shows_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(failing(ZeroDivisionError("oops"))) == 2, "1 would be an answer"
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.splitlines()[-1] == "parquedb: INTERNAL: ZeroDivisionError: oops"


def test_an_error_of_ours_shows_its_message_without_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    away = failing(NetworkError("the store is away"))
    assert ended(away) == 2
    assert capsys.readouterr().err == "parquedb: NETWORK_ERROR: the store is away\n"
    assert ended(away, as_json=True) == 2
    assert json.loads(capsys.readouterr().err)["message"] == "the store is away"


def test_what_the_system_refuses_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    full = failing(OSError(28, "No space left on device", "page.html"))
    assert ended(full) == 2
    assert capsys.readouterr().err == (
        "parquedb: STORAGE_ERROR: the system refused something: [Errno 28] No space left on device: 'page.html'\n"
    )


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "2>/dev/full", "2>&-", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize("words", ["--version", "verify no-such-place"])
def test_streams_that_take_nothing_cost_the_words_and_not_the_exit_code(words: str, redirection: str) -> None:
    command = f"{sys.executable} -m parquedb.cluster.cli {words} {redirection}"
    done = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True)
    refused = words != "--version" or redirection.startswith(">/dev/full")
    assert done.returncode == (2 if refused else 0)
    assert "Traceback" not in done.stderr


def test_what_the_encoding_of_the_output_lacks_is_spelled_out() -> None:
    code = "from parquedb.cluster.cli.main import main, sys; main(['--version']); print('Zo\u00eb')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.splitlines()[1] == r"Zo\xeb"


def test_no_is_an_answer_of_its_own() -> None:
    assert ended(lambda: lambda: True) == 0
    assert ended(lambda: lambda: False) == 1


@pytest.mark.parametrize("reading", [failing(KeyboardInterrupt()), lambda: 130], ids=["at work", "while it is read"])
def test_ctrl_c_exits_with_130(reading: Callable[[], Work | int], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(reading) == 130
    assert capsys.readouterr().err == "parquedb: interrupted\n"


def test_what_no_terminal_shows_has_no_width_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = output()
    assert page_width(screen) is None
    said = "several words of which none may be parted from the next " * 1_000
    with screen.capture() as capture:
        screen.print(said)
    assert capture.get() == f"{said}\n"

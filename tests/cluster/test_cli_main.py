"""The `parquedb` command as a whole: reading its line, exit codes, errors, and what starting it costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from parquedb.cluster.cli.main import main


def test_help_names_the_sub_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("demo", "serve", "verify", "logs", "usage", "keys"))


def test_the_version_needs_no_sub_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("parquedb 0.")


@pytest.mark.parametrize(
    "words", [["--help"], ["keys", "--help"], ["logs", "--help"], ["no-such-command"]], ids=" ".join
)
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

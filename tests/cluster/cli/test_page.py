"""docs/command.md is held to the command: its tables name every option, its examples print what stands below them."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import parquedb
from parquedb.cluster.cli.application import application
from tests.cluster.cli.conftest import ORDERS, Run
from tests.support.gateway_server import GatewayServer

PAGE = Path(__file__).parents[3] / "docs" / "command.md"
TEXT = PAGE.read_text()
SECTIONS = dict(re.findall(r"^##+ `([a-z ]+)`\n(.*?)(?=^##|\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
MARK = "<!-- run by tests/cluster/cli/test_page.py -->"
_EXAMPLE = rf"^{re.escape(MARK)}\n```sh\n(.*?)\n```\n```text\n(.*?)```"
EXAMPLES = re.findall(_EXAMPLE, TEXT, flags=re.MULTILINE | re.DOTALL)
GATEWAY = "https://db.example.com"
STORED = ("verify", "namespaces")
"""Sub-commands that read the directory itself; the others ask the gateway in front of it."""


def commands() -> Iterator[tuple[str, Any]]:
    for name, command in typer.main.get_command(application()).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        yield from [(name, command)] if inner is None else ((f"{name} {one}", each) for one, each in inner.items())


COMMANDS = dict(commands())


def row(parameter: Any) -> tuple[str, str]:
    """Return how a parameter stands in the table: its words, and what its help says."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`", parameter.help
    # Releases of typer differ in the name.
    kind = getattr(parameter, "type_descriptor", None) or parameter.type
    choices = getattr(kind, "choices", None)
    value = "\\|".join(choices).lower() if choices else parameter.metavar
    names = ", ".join(sorted(parameter.opts, key=len, reverse=True))
    default = parameter.default
    told = "" if default is None or default is False or "default" in parameter.help else f" (default: {default})"
    return f"`{names} {value}`".replace(" `", "`"), parameter.help + told.replace(".0)", ")")


def table(command: Any) -> str:
    rows = [row(one) for one in command.params]
    return "\n".join(["| | |", "|---|---|", *(f"| {words} | {said} |" for words, said in rows)])


def test_every_sub_command_has_a_section_and_no_other_has() -> None:
    assert set(SECTIONS) - {"keys"} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_a_sub_command_is_its_options(name: str) -> None:
    assert table(COMMANDS[name]) in SECTIONS[name]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "customers.csv").write_text("no,name,city\n1,Ada,Bern\n2,Grace,Basel\n2,Again,Basel\n3,Edsger,Bern\n")
    with GatewayServer(str(folder / "data")) as server:
        with parquedb.connect(server.url) as database:
            database["orders"].create_many(ORDERS)
            database["orders"].flush()
        yield folder, server.url


def alike(text: str) -> str:
    """Return a text without what differs from run to run: times, sizes, ids, and how wide a table is for them."""
    text = re.sub(r"canary-[0-9a-f]{32}", "canary-#", text)
    return re.sub(r" +", " ", re.sub(r"\d[\d,.]*( ?(µs|ms|s|B|kB)\b)?", "#", text))


@pytest.mark.parametrize(("line", "expected"), EXAMPLES, ids=[line for line, _ in EXAMPLES])
def test_an_example_prints_what_stands_below_it(
    line: str, expected: str, place: tuple[Path, str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = place
    monkeypatch.chdir(folder)
    # As a terminal of 80 columns shows it, but for colours.
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    command, *words = shlex.split(line)
    assert command == "parquedb"
    shown_url = GATEWAY if GATEWAY in words else "./data"
    ended = run(*(word if words[0] in STORED else word.replace(shown_url, url) for word in words))
    shown = (ended.out + ended.err).replace(url, shown_url)
    assert alike("\n".join(row.rstrip() for row in shown.splitlines()) + "\n") == alike(expected)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 8

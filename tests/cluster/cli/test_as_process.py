"""The command as a process of its own: terminals, pipes that close, signals."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest
from rich.cells import cell_len

import parquedb
from tests.support.gateway_server import GatewayServer

COMMAND = [sys.executable, "-m", "parquedb.cluster.cli"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR", "TERM"}}
ENVIRONMENT |= {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color"}
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(columns: int, *words: str, **environment: str) -> str:
    """Run the command on a terminal so many columns wide; return all that was written there."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *words], stdin=follower, stdout=follower, stderr=follower, env=ENVIRONMENT | environment
    ) as process:
        os.close(follower)
        text = b"".join(read(leader))
        assert process.wait(60) in {0, 1, 2}
    os.close(leader)
    return text.decode().replace("\r\n", "\n")


def read(leader: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(leader, 65_536)
        except OSError:  # The other side is closed.
            return
        if not part:
            return
        yield part


@pytest.mark.parametrize(("columns", "name"), [(80, "query"), (200, "status")])
def test_what_a_terminal_shows_fits_it_and_has_colours(gateway: str, columns: int, name: str) -> None:
    text = on_terminal(columns, name, gateway, *(["orders", "--limit", "3"] if name == "query" else []))
    assert "\x1b[" in text
    lines = [_ESCAPE.sub("", line) for line in text.splitlines()]
    assert max(map(cell_len, lines)) <= columns
    assert any("orders" in line for line in lines)


LONG = "a-namespace-with-quite-a-long-name-of-a-tenant"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A directory and the URL of a gateway over it, with a namespace whose name is long."""
    folder = str(tmp_path_factory.mktemp("database"))
    with GatewayServer(folder) as server:
        with parquedb.connect(server.url) as database:
            database[LONG].create_many([{"$id": f"o{number}", "city": "Zürich"} for number in range(1_234)])
            database[LONG].flush()
        yield folder, server.url


def asked(place: tuple[str, str]) -> dict[str, list[str]]:
    """The commands whose answers have names and tables."""
    folder, url = place
    return {
        "health": ["health", url],
        "status": ["status", url],
        "namespaces": ["namespaces", folder],
        "sizes": ["namespaces", folder, "--sizes"],
        "verify": ["verify", folder, "--quick"],
        "query": ["query", url, LONG, "--explain"],
    }


@pytest.mark.parametrize("name", ["health", "status", "namespaces", "sizes", "verify"])
@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_loses_no_name_and_no_number(place: tuple[str, str], columns: int, name: str) -> None:
    text = _ESCAPE.sub("", on_terminal(columns, *asked(place)[name], NO_COLOR="1"))
    assert LONG in text
    if name == "sizes":
        assert ["their", "rows", "1,234"] in [line.split() for line in text.splitlines()]
    if name != "verify":  # Its bars are drawn over each other, and cut.
        assert "…" not in text


@pytest.mark.parametrize("name", ["health", "status", "namespaces", "sizes", "verify", "query"])
def test_what_goes_into_a_pipe_is_the_same_for_every_width(place: tuple[str, str], name: str) -> None:
    def piped(**environment: str) -> str:
        done = subprocess.run(
            [*COMMAND, *asked(place)[name]], env=ENVIRONMENT | environment, capture_output=True, text=True, check=True
        )
        # Times and what they do to the widths of columns differ from run to run.
        return re.sub(r" +", " ", re.sub(r"[\d.]+ m?s\b", "#", _ESCAPE.sub("", done.stdout)))

    wide = piped()
    assert LONG in wide or name == "query"
    assert piped(COLUMNS="40") == wide
    assert piped(COLUMNS="40", FORCE_COLOR="1") == wide


def test_no_color_is_heeded_on_a_terminal_too(gateway: str) -> None:
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", on_terminal(80, "health", gateway, NO_COLOR="1"))


@pytest.mark.parametrize("words", [["query", "--limit", "0"], ["query", "--json", "--limit", "0"], ["export", "-"]])
def test_a_reader_who_has_seen_enough_ends_it_without_a_word(gateway: str, words: list[str]) -> None:
    command = [*COMMAND, words[0], gateway, "orders", *words[1:]]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 2


def test_ctrl_c_ends_watching_with_130_and_one_word(gateway: str) -> None:
    words = [*COMMAND, "metrics", gateway, "--watch", "--every", "0.1", "--json"]
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert "operations" in json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaints == "parquedb: interrupted\n"

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

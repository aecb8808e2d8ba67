"""A shell that runs the blocks of a page one after the other, as somebody would who copies them into a terminal.

Three commands are not run as they stand: `make TARGET` is a dry run, the extras of a `pip install` have to exist, and
`parquedb serve` goes to the background, on a free port that stands for 8000 from then on.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.collector import free_port
from tests.support.pages import ROOT, Block, matches

COMMANDS = re.compile(
    r"\.|cat|cd|cp|curl|cut|date|echo|export|grep|head|jq|ls|make|mkdir|parquedb|pip|printf|python|sed|sort|tail|test|true"
    r"|unset|wc"
)
"""What a block may call; anything else needs an excuse, so that no page ends what it has not started."""
PORT = "8000"
_MARK = "\x1e"
_FUNCTIONS = """
set -euo pipefail
served=()
ended() {
    for one in "${served[@]}"; do kill -TERM "$one"; wait "$one" || echo "parquedb serve ended with $?" >&2; done
}
trap ended EXIT
parquedb() {
    if [ "${1-}" != serve ]; then command parquedb "$@"; return; fi
    local said line
    exec {said}< <(exec parquedb "$@")
    served+=($!)
    while IFS= read -r line <&"$said"; do
        case $line in *http://127.0.0.1:*) echo "$line"; return 0;; esac
    done
    return 1
}
"""
_IN_FORM = f"""
make() {{ command make -C '{ROOT}' PY=python -n "$@" > /dev/null; }}
pip() {{ [ "${{1-}}" = install ]; }}
"""


def foreign_commands(code: str) -> set[str]:
    """Return the commands of a script that a block may not call."""
    found = set()
    for line in _commands(code):
        words = line.split()
        while words and re.match(r"\w+=", words[0]):
            words.pop(0)
        if words and not COMMANDS.fullmatch(words[0]):
            found.add(words[0])
    return found


def _commands(code: str) -> Iterator[str]:
    """Yield the simple commands of a script; what is quoted has none, `$(...)` aside."""
    until = ""
    for line in re.sub(r"\\\n", " ", code).splitlines():
        if until:
            until = "" if line.strip() == until else until
            continue
        heredoc = re.search(r"<<'?(\w+)'?", line)
        until = heredoc[1] if heredoc else ""
        inner = re.findall(r"\$\(([^()]*)\)", line)
        bare = re.sub(r"\$\([^()]*\)", "''", line)
        bare = re.sub(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"", "''", bare)
        bare = re.sub(r"(?:^|\s)#.*", "", bare)
        for part in (*inner, bare):
            yield from (each.strip() for each in re.split(r"\|\|?|&&|;", part) if each.strip())


class PageShell:
    """A bash that keeps its folder and variables from block to block.

    Attributes:
        url: Where a server listens that a block has started.
    """

    def __init__(self, folder: Path, environment: dict[str, str], functions: str) -> None:
        self._folder = folder
        self._port = str(free_port())
        self.url = f"http://127.0.0.1:{self._port}"
        self._complaints = folder.parent / f"{folder.name}.stderr"
        with self._complaints.open("w") as stderr:
            self._bash = subprocess.Popen(
                ["bash", "-c", f'{functions}while IFS= read -r line; do eval "$line"; done'],
                cwd=folder,
                env=environment | {"PARQUEDB_GATEWAY__PORT": self._port},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def run(self, block: Block) -> str:
        """Run a block and return what it prints.

        Raises:
            AssertionError: a command of it failed, or it prints something else than the page shows.
        """
        script = self._folder.parent / f"{self._folder.name}.{block.line}.sh"
        script.write_text(re.sub(rf"\b{PORT}\b", self._port, block.code))
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"source '{script}' </dev/null; printf '\\n{_MARK}\\n'\n")
        self._bash.stdin.flush()
        told, ended = self._until_mark()
        told = told.replace(f":{self._port}", f":{PORT}")
        said = f"{block}\n{block.code}\nprinted\n{told}\nand complained\n{self._complaints.read_text()}"
        assert not ended, f"a command failed: {said}"
        assert block.output is None or matches(block.output, told), f"expected\n{block.output}\nof {said}"
        return told

    def close(self) -> None:
        """End it, and what it has started.

        Raises:
            AssertionError: a server did not end in order.
        """
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._until_mark()
        self._bash.wait()
        complaints = self._complaints.read_text()
        assert "parquedb serve ended with" not in complaints, complaints

    def _until_mark(self) -> tuple[str, bool]:
        assert self._bash.stdout is not None
        lines = []
        for line in self._bash.stdout:
            if line == f"{_MARK}\n":
                return "".join(lines)[:-1], False  # Without the line break in front of the mark.
            lines.append(line)
        return "".join(lines), True


@contextmanager
def page_shell(folder: Path, *, in_form: bool = True, **variables: str) -> Iterator[PageShell]:
    """A shell in a folder.

    Args:
        folder: Where it is; its parent takes scripts and complaints.
        in_form: Whether `make` and `pip` are looked at instead of run, and `python` and `parquedb` are those of
            the tests.
        variables: Added to its environment, or with "" taken out of it.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PARQUEDB_", "OTEL_"))}
    environment |= {"no_proxy": "127.0.0.1"}
    if in_form:
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        environment["PYTHONPATH"] = str(ROOT)
    environment = {key: value for key, value in (environment | variables).items() if value}
    shell = PageShell(folder, environment, _FUNCTIONS + (_IN_FORM if in_form else ""))
    try:
        yield shell
    finally:
        shell.close()


def unknown_extras(code: str) -> set[str]:
    """Return what a script would install of ParqueDB that does not exist."""
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    asked = re.findall(r"^pip install .*\[([\w,-]+)\]", code, re.MULTILINE)
    return {extra for each in asked for extra in each.split(",")} - known

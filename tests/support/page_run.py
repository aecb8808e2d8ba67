"""Running a page from its first block to its last, in a folder that holds what its examples take for granted."""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

import parquedb
from tests.support.page_shell import PageShell, page_shell
from tests.support.pages import ONE_SESSION, ROOT, Block, blocks, matches


def is_one_session(page: Path) -> bool:
    """Whether the blocks of a page go on from each other."""
    return ONE_SESSION in page.read_text()


def in_order(page: Path) -> list[Block]:
    """Return the blocks of a page that are run together: those for a shell, and all of a page of one session."""
    together = is_one_session(page)
    return [block for block in blocks(page) if block.runs and (together or block.language == "sh")]


def compiled(block: Block) -> CodeType:
    """Return a Python block as code whose lines are those of the page."""
    return compile("\n" * block.line + block.code, str(ROOT / block.page), "exec")


def run_python(block: Block, names: dict[str, Any]) -> None:
    """Run a Python block, and hold what it prints against the page.

    Raises:
        AssertionError: it prints something else, or says so itself.
    """
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compiled(block), names)
    expected = block.output
    assert expected is None or matches(expected, told.getvalue()), f"{block} printed\n{told.getvalue()}"


def lay_out(page: Path, folder: Path, files: Mapping[str, str] | None = None) -> None:
    """Put the files of a page into a folder, or others in their place, and a small database where none is made."""
    for block in blocks(page):
        if block.title and block.language != "python":
            (folder / block.title).write_text((files or {}).get(block.title, block.code), encoding="utf-8")
    if not is_one_session(page):
        seed(str(folder / "data"))


def seed(url: str, **settings: Any) -> None:
    """Make a small database: the posts that examples ask for."""
    with parquedb.connect(url, **settings) as db:
        db["posts"].create_many([{"$id": "hello", "title": "Hello", "views": 1}, {"$id": "bye", "title": "Bye"}])


def run(page: Path, folder: Path, shell: PageShell) -> None:
    """Run the blocks of a page that go together."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        for block in in_order(page):
            if block.language == "sh":
                shell.run(block)
            else:
                run_python(block, names)


@contextmanager
def joined_shell(folder: Path, ray_address: str, **variables: str) -> Iterator[PageShell]:
    """A shell whose commands join the Ray of the tests instead of starting one each."""
    given = {"PARQUEDB_RAY_ADDRESS": ray_address, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", ""), **variables}
    with page_shell(folder, **given) as shell:
        yield shell

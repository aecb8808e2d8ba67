"""The way of somebody who has never heard of us, along docs/getting-started.md, with a file of their own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support.page_run import in_order, joined_shell, lay_out, run
from tests.support.page_shell import page_shell
from tests.support.pages import ROOT, Block, blocks

PAGE = ROOT / "docs" / "getting-started.md"
CONSOLE = "/console" in PAGE.read_text()
"""Whether the page leads to the console, which a browser has to draw then."""
# As Excel in Switzerland writes it: a byte order mark, CRLF, semicolons, their dates, decimal commas, empty cells and
# lines, quotes and line breaks in cells; and the columns and customers that the page speaks of.
OWN = (
    "\ufeffnumber;name;city;since;revenue;note;Geburtstag;Rabatt %\r\n"
    "00017;Zoë Müller;Zürich;2019-04-01;1200.50;;01.04.1961;2,5\r\n"
    '00018;"Weiß; Jörg";Köln;2020-05-06;;"ruft ""später"" an\r\nnur freitags";;\r\n'
    "00023;Ana Núñez;Zürich;2023-11-30;310.00;;24.12.1990;\r\n"
    "\r\n"
)

pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is missing")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    made = tmp_path / "mine"
    made.mkdir()
    return made


def look_around(url: str) -> None:
    """Look at what the page says to open in the end."""
    assert httpx.get(f"{url}/ready").json()["status"] == "healthy"
    assert "parquedb_operations_total" in httpx.get(f"{url}/metrics").text
    assert "/v1/{namespace}" in httpx.get(f"{url}/openapi.json").text
    assert httpx.get(f"{url}/docs").status_code == 200
    if CONSOLE:
        assert "customers" in drawn(f"{url}/console")


def drawn(url: str) -> str:
    """Return what a browser makes of a page, scripts run."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return httpx.get(f"{url}/data").text  # What it would draw.
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=10000",
        "--dump-dom",
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_page_leads_from_a_file_of_ones_own_to_answers_about_it(folder: Path, ray_cluster: str) -> None:
    lay_out(PAGE, folder, {"customers.csv": OWN})
    assert [path.name for path in folder.iterdir()] == ["customers.csv"]
    with joined_shell(folder, ray_cluster) as shell:
        run(PAGE, folder, shell)
        look_around(shell.url)
    exported = subprocess.run(
        [sys.executable, "-m", "parquedb.cluster.cli", "query", str(folder / "data"), "customers", "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PARQUEDB_RAY_ADDRESS": ray_cluster},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for kept in ("Weiß; Jörg", "Köln", "2020-05-06", 'ruft \\"später\\" an\\r\\nnur freitags'):
        assert kept in exported


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone beside the folder, as the page asks for, with what has been changed since."""
    made = tmp_path / "parquedb"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".wheel"
    )
    shutil.copytree(ROOT, made, symlinks=True, ignore=ignored)
    return made


@pytest.fixture
def short() -> Iterator[str]:
    """A folder whose path is short enough for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="pq", dir="/tmp", ignore_cleanup_errors=True) as made:
        yield made


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_every_command_works_as_written_in_a_fresh_environment_under_a_fresh_home(
    folder: Path, checkout: Path, tmp_path: Path, short: str
) -> None:
    lay_out(PAGE, folder)
    home = tmp_path / "home"
    home.mkdir()
    [install] = [block for block in blocks(PAGE) if block.run_by == "tests/docs/test_newcomer.py"]
    # What pip has downloaded before is the one thing that a newcomer would not have.
    cache = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True)
    variables = {"HOME": str(home), "PIP_CACHE_DIR": cache.stdout.strip(), "PYTHONPATH": "", "VIRTUAL_ENV": ""}
    # Ray writes into a folder that all users share where its newest cluster is, and joins it: that of other tests.
    rays = dict.fromkeys((name for name in os.environ if name.startswith("RAY_")), "") | {"RAY_TMPDIR": short}
    python = {"PATH": os.pathsep.join([str(Path(sys.executable).resolve().parent), os.environ["PATH"]])}
    with page_shell(folder, in_form=False, **variables, **rays, **python) as shell:
        shell.run(install)
        for block in scripts():
            shell.run(block)
        look_around(shell.url)
    assert sorted(path.name for path in folder.iterdir()) == [".venv", "customers.csv", "data"]


def scripts() -> Iterator[Block]:
    """Yield the blocks of the page for a shell; Python that stands together is one program."""
    waiting = []
    for block in in_order(PAGE):
        if block.language == "python":
            waiting.append(block)
            continue
        if waiting:
            yield program(waiting)
            waiting = []
        yield block


def program(parts: list[Block]) -> Block:
    """Return Python blocks as one command."""
    code = "\n".join(block.code for block in parts)
    output = "".join(block.output or "" for block in parts)
    return replace(parts[0], language="sh", code=f"python - <<'PYTHON'\n{code}PYTHON\n", output=output)

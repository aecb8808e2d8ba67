"""The commands of every page run in a shell, and print what stands behind them."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.gateway_server import GatewayServer
from tests.support.page_run import in_order, is_one_session, joined_shell, lay_out, run, seed
from tests.support.page_shell import PageShell
from tests.support.pages import ROOT, Block, blocks, name, pages, parse
from tests.support.s3_servers import S3Server

# `test_newcomer.py` runs the other one.
PAGES = [page for page in pages() if in_order(page) and name(page) != "docs/getting-started.md"]

pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is missing")


def stores(page: Path) -> list[str]:
    """Return the places in buckets that the commands of a page speak of."""
    return sorted({url for block in in_order(page) for url in re.findall(r"s3://[\w-]+/[\w/-]*\w", block.code)})


@pytest.fixture
def variables(page: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What the commands of a page are to find in their environment."""
    found: dict[str, str] = {}
    if stores(page):
        moto: S3Server = request.getfixturevalue("moto")
        found |= {"PARQUEDB_ENDPOINT_URL": moto.endpoint_url, "PARQUEDB_KEY": moto.key, "PARQUEDB_SECRET": moto.secret}
        for url in stores(page):
            httpx.put(f"{moto.endpoint_url}/{url.split('/')[2]}").raise_for_status()
            seed(url, endpoint_url=moto.endpoint_url, key=moto.key, secret=moto.secret)
    if any("$GATEWAY" in block.code for block in in_order(page)):
        with GatewayServer() as gateway:
            yield found | {"GATEWAY": gateway.url}
    else:
        yield found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_of_a_page_run(page: Path, variables: dict[str, str], ray_cluster: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    lay_out(page, folder)
    with joined_shell(folder, ray_cluster, **variables) as shell:
        run(page, folder, shell)


def test_pages_of_one_session_have_python_and_pages_with_commands_are_many() -> None:
    assert len(PAGES) >= 6
    for page in PAGES:
        if is_one_session(page):
            assert "python" in {block.language for block in blocks(page) if block.runs}, name(page)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[PageShell]:
    folder = tmp_path / "here"
    folder.mkdir()
    with joined_shell(folder, "") as shell:
        yield shell


def block(code: str, output: str = "") -> Block:
    [parsed, *_] = parse(f"```sh\n{code}```\n" + (f"```text\n{output}```\n" if output else ""), "docs/none.md")
    return parsed


def test_a_shell_keeps_its_variables_and_sees_what_is_wrong(shell: PageShell) -> None:
    assert shell.run(block("a=1\ncd ..\n")) == ""
    assert shell.run(block("echo $a; pwd | grep -c here || true\n", "1\n0\n")) == "1\n0\n"
    assert shell.run(block("printf 'x\\ny\\nz'\n", "x\n...\n")) == "x\ny\nz"
    with pytest.raises(AssertionError, match="expected"):
        shell.run(block("echo two\n", "one\n"))
    with pytest.raises(AssertionError, match=r"No rule to make target"):
        shell.run(block("make nonsense\n"))


@pytest.mark.parametrize("code", ["false\n", "false | true\n", "echo $unknown\n", "test 1 = 2\necho on\n"])
def test_a_command_that_fails_is_seen(shell: PageShell, code: str) -> None:
    with pytest.raises(AssertionError, match="a command failed"):
        shell.run(block(code))


def test_the_tests_run_the_checkout(shell: PageShell) -> None:
    told = shell.run(block("python -c 'import parquedb; print(parquedb.__file__)'\n"))
    assert Path(told.strip()).parent.resolve() == (ROOT / "parquedb").resolve()
    assert "PARQUEDB_SECRET" not in os.environ

"""The page and its files: what they may load, and from where."""

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

import parquedb.cluster.gateway.console.page as page_module
from tests.cluster.gateway.conftest import Clients

STATIC = Path(page_module.__file__).parent / "static"
FILES = sorted(path.name for path in STATIC.iterdir() if path.suffix != ".html")
PAGES = ("/console", "/docs")


def test_there_are_files_to_look_at() -> None:
    assert {"main.js", "console.css"} <= set(FILES)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_may_run_its_own_files_and_nothing_else(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_works_below_a_prefix_for_it_names_no_absolute_place(client: httpx.AsyncClient, path: str) -> None:
    page = (await client.get(path)).text
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(named) >= 3
    for one in named:
        assert not one.startswith(("/", "http")), one
        assert one.startswith("#") or (await client.get(f"/{one}")).status_code == 200, one
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=|<script>", page)


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_kept_until_it_changes_and_names_no_other_host(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/console/{name}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    again = await client.get(f"/console/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # Names of namespaces in SVG are none that anything is fetched from.
    assert not re.findall(r"https?://(?!www\.w3\.org/)", answer.text)
    if name.endswith(".js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", answer.text)


def test_the_modules_are_well_formed() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here to read JavaScript with")
    for name in FILES:
        if name.endswith(".js"):
            checked = subprocess.run([node, "--check", STATIC / name], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_a_module_says_what_it_is_for_and_is_no_longer_than_one_of_python(name: str) -> None:
    text = (STATIC / name).read_text()
    assert text.startswith("/**")
    assert len(text.splitlines()) <= 400


async def test_a_head_has_no_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/console")
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 500


async def test_what_is_no_file_of_it_is_not_found(client: httpx.AsyncClient) -> None:
    for path in (
        "/console/index.html",
        "/console/docs.html",
        "/console/page.py",
        "/console/..%2fpage.py",
        "/console/a/b",
    ):
        assert (await client.get(path)).status_code == 404


async def test_each_page_can_be_switched_off(clients: Clients) -> None:
    for settings, shown in (({"console": False}, ["/docs"]), ({"docs": False}, ["/console"]), ({}, list(PAGES))):
        client = clients(**settings)
        assert [path for path in PAGES if (await client.get(path)).status_code == 200] == shown
        assert (await client.get("/console/dom.js")).status_code == 200
        assert (await client.get("/console/data")).status_code == (200 if "/console" in shown else 404)
    none = clients(console=False, docs=False)
    for path in (*PAGES, "/console/data", "/console/dom.js", "/openapi.json"):
        assert (await none.get(path)).status_code == 404

"""What the pages name exists, and what they link to is there."""

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from parquedb.settings import Settings
from parquedb.settings.gateway import GatewaySettings, gateway_env_name
from tests.support.conventions import documented
from tests.support.pages import ROOT, anchors, links, name, pages, parse

PAGES = pages()
FOLDERS = "parquedb|observability|storage|actors|cluster|tests|benchmarks|docs"


def code_in(page: Path) -> str:
    """Return only what stands in backticks or code blocks; prose may say `make sure`."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_only_make_targets_that_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", code_in(page)))
    assert named <= targets
    assert name(page) != "README.md" or {"demo", "test"} <= named


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    named = set(re.findall(rf"(?<![\w/.])(?:{FOLDERS})/[\w/.-]*", code_in(page)))
    # A module may be named without its suffix.
    missing = {path for path in named if not any((ROOT / (path.rstrip(".") + end)).exists() for end in ("", ".py"))}
    assert missing == set()
    assert name(page) != "README.md" or len(named) >= 10


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_only_modules_and_attributes_that_exist(page: Path) -> None:
    named = set(
        re.findall(r"\bparquedb\.(?:actors|cluster|documents|errors|observability|storage)[\w.]*", code_in(page))
    )
    # Names of telemetry look alike; a table says what each is, and tests hold what is sent to the tables.
    named -= documented(page.name).keys()
    assert [dotted for dotted in sorted(named) if not exists(dotted.rstrip("."))] == []


def exists(dotted: str) -> bool:
    """Say whether a dotted name leads to a module, or to something inside one."""
    found: object = importlib.import_module("parquedb")
    for part in dotted.split(".")[1:]:
        path = f"{getattr(found, '__name__', '')}.{part}"
        if not hasattr(found, part) and importlib.util.find_spec(path):
            importlib.import_module(path)
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def broken(page: Path) -> list[str]:
    """Return the links of a page within the checkout that lead nowhere."""
    found = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c-d\n# Twice\n# Twice\n[1](#a-b-c-d) [2](#twice-1) [3](page.md#twice) [4](https://x.y)\n")
    assert broken(page) == []
    page.write_text("# A\n[1](#b) [2](none.md) [3](page.md#c) `[4](#in-code)`\n```text\n# D\n[5](#e)\n```\n[6](#d)\n")
    (tmp_path / "other.md").write_text("")
    from tests.support.pages import blocks  # noqa: PLC0415

    blocks.cache_clear()
    assert broken(page) == ["#b", "none.md", "page.md#c", "#d"]
    blocks.cache_clear()


def test_text_shown_as_code_ends() -> None:
    with pytest.raises(ValueError, match=r"docs/none\.md:2"):
        parse("text\n```python\npass\n", "docs/none.md")


def variables_of(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the environment variables of a group of settings and of the groups in it."""
    for field, about in model.model_fields.items():
        yield f"{prefix}{field.upper()}"
        for kind in (about.annotation, *get_args(about.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from variables_of(kind, f"{prefix}{field.upper()}__")


VARIABLES = {
    *variables_of(Settings, "PARQUEDB_"),
    *variables_of(GatewaySettings, "PARQUEDB_GATEWAY__"),
    gateway_env_name("environment"),
}
# Those that are no setting are spelt out where they are read.
SPELT = "".join(path.read_text() for folder in FOLDERS.split("|")[:5] for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_only_variables_that_exist(page: Path) -> None:
    named = set(re.findall(r"PARQUEDB_(?:[A-Z]+_{1,2})*[A-Z]+\b(?!_)", page.read_text())) - VARIABLES
    assert {variable for variable in named if f'"{variable}"' not in SPELT} == set()

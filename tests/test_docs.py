"""The documentation is held to the code: examples run, and what is named exists."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.conventions import documented

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = "parquedb|observability|storage|actors|cluster|tests|benchmarks|docs"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def examples(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code_in(page: Path) -> str:
    """Return only what stands in backticks or code blocks; prose may say `make sure`."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), flags=re.DOTALL))


EXAMPLES = [
    pytest.param(page, number, id=f"{name(page)}-{number + 1}")
    for page in PAGES
    for number in range(len(examples(page)))
]


def test_the_pages_have_examples_to_run() -> None:
    assert len(examples(ROOT / "README.md")) >= 3
    assert len(examples(ROOT / "docs" / "schemas.md")) >= 2


@pytest.mark.parametrize(("page", "number"), EXAMPLES)
def test_an_example_runs(
    page: Path, number: int, ray_cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # The examples write to ./data.
    code = compile(examples(page)[number], f"{name(page)}, example {number + 1}", "exec")
    exec(code, {"__name__": "__main__"})
    assert (tmp_path / "data").is_dir()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_only_make_targets_that_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", code_in(page)))
    assert named <= targets
    assert page.name != "README.md" or {"demo", "test"} <= named


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    named = set(re.findall(rf"(?<![\w/.])(?:{FOLDERS})/[\w/.-]*", code_in(page)))
    # A module may be named without its suffix.
    missing = {path for path in named if not any((ROOT / (path.rstrip(".") + end)).exists() for end in ("", ".py"))}
    assert missing == set()
    assert page.name != "README.md" or len(named) >= 10


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


def test_make_prints_every_target_it_has() -> None:
    printed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"make ([a-z-]+)", printed)) == set(phony[1].split())


def test_the_command_says_what_it_can_do() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "parquedb.cluster.cli", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "demo" in answer.stdout

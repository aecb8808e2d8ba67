"""`docs/scenarios.md` and the scripts are held to each other."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scenarios.md").read_text()
FILES = sorted(path for path in Path(__file__).parent.glob("test_*.py") if path.name != Path(__file__).name)


def names_in(path: Path) -> set[str]:
    """Return the names of the tests that a file holds."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = (node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions))
    return {name for name in names if name.startswith("test_")}


def section_of(path: Path) -> str:
    """Return the part of the page that is about a file."""
    _, _, rest = PAGE.partition(f": `{path.relative_to(ROOT)}`\n")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_script_has_its_row_and_each_row_its_script(path: Path) -> None:
    rows = re.findall(r"^\|[^|]*\|[^|]*\| `(test_\w+)` \|", section_of(path), flags=re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == names_in(path)


def test_each_counter_example_has_its_script() -> None:
    _, _, table = PAGE.partition("## The counter-examples")
    rows = re.findall(r"^\| (\d+)\. .*\| `(test_\w+)` \|$", table.partition("\n## ")[0], flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 13))
    assert {name for _, name in rows} <= set().union(*map(names_in, FILES))


def test_each_test_named_elsewhere_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    assert [f"{file}::{name}" for file, name in named if name not in names_in(ROOT / file)] == []

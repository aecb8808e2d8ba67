"""`docs/production-checklist.md` promises nothing that is not proved: each line has a proof, and each proof exists."""

import ast
import re
from functools import cache

import pytest

from tests.drills.incidents import INCIDENTS
from tests.drills.site import ROOT

PAGE = ROOT / "docs" / "production-checklist.md"
LINES = [line for line in PAGE.read_text().splitlines() if line.startswith("| ☐")]
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
SECTIONS = ("Storage", "Security", "Backups", "Alerts", "Capacity", "Nodes and the head", "Upgrades")


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[2].strip()[:40])
def test_a_line_says_what_and_how_and_has_a_proof(line: str) -> None:
    _, _, what, how, proof, _ = (cell.strip() for cell in line.split("|"))
    assert what
    assert how
    assert TEST.search(proof) or re.search(r"drills? `|`parquedb |`make |`up\{|exit code", proof), proof


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[2].strip()[:40])
def test_the_tests_that_prove_a_line_exist(line: str) -> None:
    for path, name in TEST.findall(line):
        assert (ROOT / path).is_file(), path
        # A whole file proves nothing in particular.
        assert name in functions(path), f"{path} has no {name or 'test that is named'}"


def test_the_drills_that_prove_a_line_exist() -> None:
    named = {
        name for found in re.findall(r"drills? ((?:`[\w-]+`(?:, )?)+)", PAGE.read_text()) for name in found.split(", ")
    }
    assert {name.strip("`") for name in named if name} <= {incident.name for incident in INCIDENTS}
    assert len(named) >= 8


def test_every_subject_has_its_section_and_every_proof_is_looked_at() -> None:
    assert re.findall(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE) == list(SECTIONS)
    assert len(LINES) > 30
    assert len(TEST.findall(PAGE.read_text())) >= 25

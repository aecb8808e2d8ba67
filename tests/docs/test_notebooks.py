"""docs/guides/notebooks.md and the notebook made of it run in a real kernel, whose event loop runs all the time."""

from pathlib import Path

import nbformat
import pytest

from tests.support.notebook import NOTEBOOK, PAGE, cells_of, notebook_of, run, said
from tests.support.pages import matches

assert PAGE.name == "notebooks.md"  # guides/notebooks.md


def test_the_notebook_is_the_page() -> None:
    stored, made = nbformat.read(NOTEBOOK, as_version=4), notebook_of(PAGE)
    nbformat.validate(stored)
    assert [(cell.cell_type, cell.source) for cell in stored.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ], "make it anew: python -m tests.support.notebook"
    assert any("image/png" in output.get("data", {}) for cell in stored.cells for output in cell.get("outputs", []))


@pytest.mark.faults
def test_every_cell_runs_and_says_what_the_page_says(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = notebook_of(PAGE)
    run(made, tmp_path, PARQUEDB_RAY_ADDRESS=ray_cluster)
    cells = [cell for cell in made.cells if cell.cell_type == "code"]
    for block, cell in zip(cells_of(PAGE), cells, strict=True):
        assert block.output is None or matches(block.output, said(cell)), (block, said(cell))
    assert (tmp_path / "data" / "visits").is_dir()

"""docs/guides/notebooks.ipynb is made from docs/guides/notebooks.md, and run in a real kernel.

python -m tests.support.notebook     # writes it anew, with what its cells print
"""

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.support.pages import ROOT, Block, blocks

PAGE = ROOT / "docs" / "guides" / "notebooks.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")
CELL_S = 60
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def cells_of(page: Path) -> list[Block]:
    """Return the blocks that become code cells."""
    return [block for block in blocks(page) if block.language == "python"]


def notebook_of(page: Path) -> Any:
    """Make the notebook: text between the blocks is markdown, and what the page shows of their output is left out."""
    made = new_notebook(metadata={"kernelspec": _KERNEL})
    for number, (words, code) in enumerate(_parts(page)):
        if words:
            made.cells.append(new_markdown_cell(words, id=f"words-{number}"))
        if code:
            made.cells.append(new_code_cell(code.rstrip("\n"), id=f"code-{number}"))
    return made


def _parts(page: Path) -> list[tuple[str, str]]:
    text, found = page.read_text().partition("\n")[2], []  # The first line is for the tests.
    for block in cells_of(page):
        words, _, text = text.partition(f"```python\n{block.code}```\n")
        found.append((_outside(words), block.code))
        if block.output is not None:
            text = text.removeprefix(f"```text\n{block.output}```\n")
    return [*found, (_outside(text), "")]


def _outside(words: str) -> str:
    # A line that begins with `>` is about the page, and a comment is for the tests.
    kept = "\n".join(line for line in words.splitlines() if not line.startswith((">", "<!--")))
    return re.sub(r"\n{3,}", "\n\n", kept).strip()


def run(notebook: Any, folder: Path, **variables: str) -> None:
    """Run all cells in a kernel of its own, in a folder; the first that fails raises `CellExecutionError`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PARQUEDB_")}
    environment |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "module://matplotlib_inline.backend_inline", **variables}
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=CELL_S, kernel_name="python3", resources=where)
    asyncio.run(_execute(client, environment))


async def _execute(client: NotebookClient, environment: dict[str, str]) -> None:
    client.create_kernel_manager()
    async with client.async_setup_kernel(env=environment):
        for index, cell in enumerate(client.nb.cells):
            await client.async_execute_cell(cell, index)


def said(cell: Any) -> str:
    """Return what a cell printed, and the value of its last line, as text."""
    told = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "".join(part if part.endswith("\n") else f"{part}\n" for part in told)


def main() -> None:
    """Write the notebook."""
    made = notebook_of(PAGE)
    with tempfile.TemporaryDirectory() as folder:
        run(made, Path(folder))
    for cell in made.cells:
        cell.metadata = {}  # When it ran.
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(made, NOTEBOOK)


if __name__ == "__main__":
    sys.exit(main())

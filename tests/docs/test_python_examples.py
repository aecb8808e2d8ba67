"""The Python examples of every page run as they stand there, each in a folder of its own."""

from pathlib import Path

import pytest

from tests.support.page_run import is_one_session, run_python
from tests.support.pages import Block, blocks, pages

EXAMPLES = [
    block
    for page in pages()
    if not is_one_session(page)
    for block in blocks(page)
    if block.runs and block.language == "python"
]


def test_the_pages_have_examples_to_run() -> None:
    assert len([block for block in EXAMPLES if block.page == "README.md"]) >= 3
    assert len([block for block in EXAMPLES if block.page == "docs/schemas.md"]) >= 2


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_runs(block: Block, ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The examples write to ./data.
    run_python(block, {"__name__": "__main__"})
    assert (tmp_path / "data").is_dir()

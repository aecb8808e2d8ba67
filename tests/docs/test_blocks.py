"""No code stands in the documentation that is neither run nor visibly excused."""

import pytest

from tests.support.page_shell import foreign_commands, unknown_extras
from tests.support.pages import CODE, DATA, ROOT, Block, blocks, name, pages, parse

ALL = [block for page in pages() for block in blocks(page)]
TESTS = {name(path): path.read_text() for path in (ROOT / "tests").rglob("*.py")}


def faults(block: Block) -> list[str]:
    """Say what keeps a block from being held to the code."""
    found = []
    if block.language not in CODE | DATA:
        found.append(f"{block.language!r} is no language of ours: python and sh run, {', '.join(sorted(DATA))} do not")
    if block.run_by and block.page.removeprefix("docs/") not in TESTS.get(block.run_by, ""):
        found.append(f"{block.run_by} does not take it from {block.page}")
    if block.title and block.language in CODE and not fetched(block):
        found.append(f"no test takes {block.title} from it")
    if block.runs and block.language == "sh":
        found += [f"{each} may not be run; say why above the fence" for each in sorted(foreign_commands(block.code))]
        found += [f"there is no extra {each}" for each in sorted(unknown_extras(block.code))]
    return found


def fetched(block: Block) -> bool:
    page = block.page.removeprefix("docs/")
    return any(f'"{block.title}"' in text and f'"{page}"' in text for text in TESTS.values())


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_is_run_or_says_why_not(block: Block) -> None:
    assert faults(block) == []


PAGE = """
<!-- run by tests/conftest.py -->
```sh
ls
```

<!-- not run: it needs a cluster -->
```sh
kubectl apply -f x.yaml
```

```sh
id=$(parquedb keys issue a --json | jq -r .id)   # ray stop
cat <<'END' > file
ray stop
END
```

```bash
ls
```

```sh
cat $(ray status) 'kill' | tee x && parquedb demo; rm -r y
pip install 'parquedb[nonsense]'
```

```python title="nowhere.py"
pass
```
"""


def test_what_nobody_runs_is_found() -> None:
    told = [faults(block) for block in parse(PAGE, "docs/none.md")]
    assert [bool(each) for each in told] == [True, False, False, True, True, True]
    named = [f"{each} may not be run; say why above the fence" for each in ("ray", "rm", "tee")]
    assert told[4] == [*named, "there is no extra nonsense"]


def test_most_blocks_run() -> None:
    assert sum(block.runs for block in ALL) > 40
    assert {block.language for block in ALL if block.runs} == CODE


@pytest.mark.parametrize("block", [block for block in ALL if block.reason or block.run_by], ids=str)
def test_only_code_is_excused(block: Block) -> None:
    assert block.language in CODE
    assert not (block.reason and block.run_by)

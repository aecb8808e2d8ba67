"""The pages of the documentation, taken apart: fenced blocks of code, headings, links.

What becomes of a block is said by its fence, or by a comment in the line above it:

- ```` ```python ```` runs, alone, in a folder of its own; on a page that says `<!-- one session -->` blocks go on from
  each other, in one folder.
- ```` ```python title="app.py" ```` is a file, which a test takes from the page by `listing`.
- ```` ```sh ```` runs in a shell (`tests/support/page_shell.py`), all blocks of a page in order and in one folder. A
  block ```` ```text ```` right behind it is what it has to print; `...` stands for anything in a line, and a line of
  `...` for any lines.
- ```` ```csv title="people.csv" ```` is a file that lies in the folder.
- `<!-- not run: because ... -->` and `<!-- run by tests/... -->` excuse a block from all that;
  `<!-- all run by ... -->` in the first line of a page excuses all of its blocks that say nothing else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = {"python", "sh"}
DATA = {"", "text", "csv", "json", "yaml", "toml", "ini", "xml", "sql", "promql", "dockerfile", "mermaid"}
"""Nothing that runs by itself."""
ONE_SESSION = "<!-- one session -->"
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_ALL = re.compile(r"<!-- all run by (\S+) -->$")
_COMMENT = re.compile(r"^ *<!-- (?P<kind>not run:|run by) *(?P<words>.+?) *-->$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: Where it stands, from the root of the checkout.
        line: Of its fence, from 1.
        language: The first word of the info string, or "".
        title: The file that it is, if it is one.
        code: What is in it.
        output: The text block right behind it; None where there is none.
        reason: Why it is not run.
        run_by: The test that takes it from the page instead, from the root of the checkout.
    """

    page: str
    line: int
    language: str
    title: str
    code: str
    output: str | None
    reason: str
    run_by: str

    @property
    def runs(self) -> bool:
        """Whether the tests of this folder run it."""
        return self.language in CODE and not (self.title or self.reason or self.run_by)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every page, README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(path: Path) -> str:
    """Return where a page is, from the root of the checkout."""
    return path.relative_to(ROOT).as_posix()


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """Return the fenced blocks of a page, in order."""
    return tuple(parse(page.read_text(), name(page)))


def parse(text: str, page: str) -> list[Block]:
    """Take a page's blocks out of its text.

    Raises:
        ValueError: a block does not end.
    """
    lines = text.splitlines()
    found: list[tuple[int, int, Block]] = []
    for_all = _ALL.match(lines[0]) if lines else None
    at = 0
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if opening is None:
            at += 1
            continue
        end = next((i for i in range(at + 1, len(lines)) if lines[i].strip() == opening["fence"]), None)
        if end is None:
            raise ValueError(f"{page}:{at + 1}: the block does not end")
        indent = len(opening["indent"])
        code = "".join(f"{line[indent:]}\n" for line in lines[at + 1 : end])
        block = _block(page, at, opening["info"], code, lines[at - 1] if at else "")
        if for_all and block.language in CODE and not block.reason:
            block = replace(block, run_by=for_all[1])
        found.append((at, end, block))
        at = end + 1
    return list(_with_output(found))


def _block(page: str, at: int, info: str, code: str, above: str) -> Block:
    title = re.search(r'\btitle="([^"]+)"', info)
    comment = _COMMENT.match(above)
    said = {comment["kind"]: comment["words"]} if comment else {}
    return Block(
        page=page,
        line=at + 1,
        language=info.split(maxsplit=1)[0] if info.strip() else "",
        title=title[1] if title else "",
        code=code,
        output=None,
        reason=said.get("not run:", ""),
        run_by=said.get("run by", ""),
    )


def _with_output(found: list[tuple[int, int, Block]]) -> Iterator[Block]:
    for (_, end, block), after in zip_longest(found, found[1:]):
        output = None
        if after is not None and after[0] == end + 1 and after[2].language == "text" and block.language in CODE:
            output = after[2].code
        yield replace(block, output=output)


def listing(page: str, title: str) -> str:
    """Return a file that a page below docs/ spells out."""
    [code] = [block.code for block in blocks(ROOT / "docs" / page) if block.title == title]
    return code


def prose(page: Path) -> str:
    """Return a page without its blocks, line by line as it was."""
    text = page.read_text()
    for block in blocks(page):
        text = text.replace(block.code, "\n" * block.code.count("\n"), 1)
    return text


def links(page: Path) -> list[str]:
    """Return where the links and pictures of a page lead."""
    without_spans = re.sub(r"`[^`\n]*`", "``", prose(page))
    return re.findall(r"\]\(([^()\s]+)\)", without_spans)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    made = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), flags=re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = found[anchor] = found.get(anchor, -1) + 1
        made.add(f"{anchor}-{count}" if count else anchor)
    return made


def matches(expected: str, told: str) -> bool:
    """Whether an output is the one a page shows."""
    parts = []
    for line in expected.splitlines():
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(r".*?".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n")
    return re.fullmatch("".join(parts), told if told.endswith("\n") or not told else f"{told}\n") is not None

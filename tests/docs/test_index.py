"""docs/README.md leads to every page."""

import re

from tests.support.pages import ROOT, links, pages

INDEX = ROOT / "docs" / "README.md"


def test_every_page_is_in_the_index_once() -> None:
    listed = [link.partition("#")[0] for link in links(INDEX)]
    wanted = [page.relative_to(INDEX.parent).as_posix() for page in pages() if INDEX.parent in page.parents]
    wanted.remove("README.md")
    rows = re.findall(r"^\| \[[^\]]+\]\(([^)#]+)\) \| .{10,} \|$", INDEX.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(wanted), "each has a row of its own, with a line about it"
    assert set(listed) - {"../README.md"} == set(wanted)

"""`docs/runbook.md` as data, so that page and drills cannot drift apart.

An entry is a section `## Title` with a line `**Alert**: ...` that names the alert of the incident and a line
`**May come along**: ...` with those that its consequences may fire. Behind **Look first**, **Remedy** and **Over when**
stands a block of shell commands each.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"
STEPS = ("Look first", "Remedy", "Over when")
PARTS = ("You see", "It means", "What goes on", "Do not")

_ALERT = re.compile(r"ParqueDB\w+")


@dataclass(frozen=True)
class Entry:
    """What the runbook says of one incident.

    Attributes:
        name: Anchor of its section.
        alert: The one that names it.
        companions: Alerts that may fire beside it.
        blocks: Shell commands, by step.
        text: All of the section.
    """

    name: str
    alert: str
    companions: frozenset[str]
    blocks: Mapping[str, str]
    text: str


def anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def entries(page: Path = PAGE) -> dict[str, Entry]:
    """Return the entries of the page, by name."""
    sections = re.split(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)[1:]
    found = (_entry(title, text) for title, text in zip(sections[::2], sections[1::2], strict=True))
    return {entry.name: entry for entry in found if entry is not None}


def _entry(title: str, text: str) -> Entry | None:
    named = re.search(r"^\*\*Alert\*\*:(.*)$", text, flags=re.MULTILINE)
    if named is None:
        return None  # A section about something else.
    along = re.search(r"^\*\*May come along\*\*:((?:.*\n)+?)$", text, flags=re.MULTILINE)
    [alert] = _ALERT.findall(named[1])
    return Entry(
        anchor(title),
        alert,
        frozenset(_ALERT.findall(along[1]) if along else ()),
        {step: _block(text, step) for step in STEPS},
        text,
    )


def _block(text: str, step: str) -> str:
    found = re.search(rf"^\*\*{step}\*\*.*?^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return found[1] if found else ""

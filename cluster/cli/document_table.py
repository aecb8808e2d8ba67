"""Documents as a table: one row each, with as many of their fields as the screen is wide."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from parquedb.cluster.cli.wording import one_line
from parquedb.documents import extended_json
from parquedb.documents.values import MANAGED_FIELDS

WIDTH_LEAST: Final = 12
"""Cells of a column below which its values say too little; narrower ones are never made wider."""

_GAP: Final = 2
_LAST: Final = {name: rank for rank, name in enumerate(["version", *sorted(set(MANAGED_FIELDS) - {"version"})])}
_NUMBERS: Final = (int, float, Decimal)


@dataclass(frozen=True, slots=True)
class Column:
    """One field on the screen: its name, how many cells it takes, and whether its values are numbers."""

    name: str
    width: int
    right: bool


class DocumentTable:
    """Prints pages of documents under one heading; the first page decides about columns.

    Args:
        screen: Where to.
        width: Cells of a line; None where lines may be of any length, for files and other programs.

    Attributes:
        hidden: Fields of the first page that are not shown, for want of room.
    """

    def __init__(self, screen: Console, width: int | None) -> None:
        self._screen = screen
        self._width = width
        self._columns: tuple[Column, ...] = ()
        self.hidden: list[str] = []

    def show(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Print some more documents; `hidden` names the fields of the first page for which there is no room."""
        if not documents:
            return
        if not self._columns:
            self._choose(documents)
            self._print((_cut(one.name, one) for one in self._columns), style="bold")
        for document in documents:
            self._print(_cut(cell_of(document[one.name]) if one.name in document else "", one) for one in self._columns)

    def _print(self, cells: Iterable[str], style: str = "") -> None:
        line = Text((" " * _GAP).join(cells).rstrip(), style=style)
        self._screen.print(line, no_wrap=True, overflow="ignore", crop=False)

    def _choose(self, documents: Sequence[Mapping[str, Any]]) -> None:
        names = sorted(dict.fromkeys(name for one in documents for name in one), key=_rank)
        wanted = {name: _natural(name, documents) for name in names}
        widths = wanted if self._width is None else chosen(wanted, self._width)
        self.hidden = [name for name in names if name not in widths]
        self._columns = tuple(Column(name, width, _is_number(name, documents)) for name, width in widths.items())


def chosen(wanted: Mapping[str, int], width: int) -> dict[str, int]:
    """Return the columns to show and how wide each is; those that the database sets only where others lose nothing.

    Args:
        wanted: How wide each had to be for its longest value, in order.
        width: Of the screen.
    """
    own = {name: most for name, most in wanted.items() if name not in _LAST}
    widths = fitted(own or wanted, width)
    if not own or widths != own:
        return widths
    for name in (name for name in wanted if name in _LAST):
        if sum(widths.values()) + _GAP * len(widths) + wanted[name] > width:
            break
        widths[name] = wanted[name]
    return widths


def fitted(wanted: Mapping[str, int], width: int) -> dict[str, int]:
    """Return the columns for which there is room, first ones first, and how wide each is.

    Args:
        wanted: How wide each had to be for its longest value, in order.
        width: Of the screen.
    """
    widths: dict[str, int] = {}
    left = width
    for name, most in wanted.items():
        least = min(most, WIDTH_LEAST) + (_GAP if widths else 0)
        if least > left and widths:
            break
        widths[name] = min(most, WIDTH_LEAST, width)
        left -= least
    # What is left is shared out a cell at a time among those that want more, so that none takes it all.
    while left > 0 and (narrow := [name for name in widths if widths[name] < wanted[name]]):
        for name in narrow[:left]:
            widths[name] += 1
            left -= 1
    return widths


def cell_of(value: Any) -> str:
    """Return a value as it stands in a table: on one line, with nothing that a terminal would obey."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(" ").removesuffix("+00:00") + "Z"
    if isinstance(value, Decimal | UUID):
        return str(value)
    return one_line(extended_json.dumps(value))


def _natural(name: str, documents: Sequence[Mapping[str, Any]]) -> int:
    return max(cell_len(text) for text in (one_line(name), *(cell_of(one[name]) for one in documents if name in one)))


def _is_number(name: str, documents: Sequence[Mapping[str, Any]]) -> bool:
    return all(isinstance(one[name], _NUMBERS) and one[name] is not True for one in documents if name in one)


def _rank(name: str) -> int:
    """Return the place of a field: the id, the user's in the order in which they appear, those of the database."""
    return -1 if name == "$id" else 1 + _LAST[name] if name in _LAST else 0


def _cut(text: str, column: Column) -> str:
    """Return a text of exactly the column's width."""
    text = one_line(text)
    length = cell_len(text)
    if length > column.width:
        return set_cell_size(text, max(column.width - 1, 0)) + "…"
    filling = " " * (column.width - length)
    return filling + text if column.right else text + filling
